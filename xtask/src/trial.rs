//! `cargo xtask test`: builds everything once, then runs each test as a process of its own, in mount and network
//! namespaces of its own, and checks after each that it left nothing behind.
//!
//! A test is failed by its own exit status, by its time running out, or by what it leaves: a process (known by the
//! test's mark in its environment or command line), a cgroup below its own, a file in its own directory, a mount or
//! a link on the host.
//!
//! A test that fails has a second turn when all others are done. If it succeeds then it is *unsteady*: named, with
//! what it said, as something to mend; a few such do not fail a run on a busy machine, more do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Outcome, say};

/// Longer than the slowest test on two busy cores.
const TIME_OUT: Duration = Duration::from_secs(240);

/// So many unsteady tests are bad luck; one more is a bug.
const UNSTEADY_MAX: usize = 2;

/// Below cargo's directory: the programs that the tests of the whole engine run.
pub(crate) const PROGRAMS: &str = "programs";

/// Sets up the namespaces a test runs in: nothing of the host's but its files, and a loopback that works.
const INSIDE: &str = r#"ip link set lo up && exec "$@""#;

/// One test: the binary that holds it and its name there.
#[derive(Debug)]
struct Trial {
    crate_name: String,
    binary: PathBuf,
    directory: PathBuf,
    name: String,
}

/// How one test ended: nothing to say, or why it failed.
type Verdict = Result<(), String>;

/// Runs every test whose "crate::name" contains one of `filters` (all without any), then, if nothing or `--vm` was
/// asked for, those that need another kind of host on it (see `hosts`).
pub(crate) fn run(args: &[String]) -> Outcome {
    let (flags, filters): (Vec<_>, Vec<_>) = args.iter().cloned().partition(|arg| arg == "--vm");
    let binaries = build()?;
    let trials = select(&binaries, &filters)?;
    let started = Instant::now();
    let mut failures = again(run_all(&trials));
    let failed_here = failures.lasting.len();
    if filters.is_empty() || !flags.is_empty() {
        crate::hosts::run(&binaries, !flags.is_empty(), &mut failures);
    }
    for (label, why) in &failures.unsteady {
        say(format!("\n---- unsteady: {label}\n{why}"));
    }
    for (label, why) in &failures.lasting {
        say(format!("\n---- {label}\n{why}"));
    }
    say(format!("\n{:.1} s", started.elapsed().as_secs_f64()));
    let (failed, unsteady) = (failures.lasting.len(), failures.unsteady.len());
    say(format!("{} passed, {failed} failed, {unsteady} unsteady", trials.len() - failed_here));
    match (failed, unsteady) {
        _ if trials.is_empty() => Err("no test matches".to_owned()),
        (1.., _) => Err("tests failed".to_owned()),
        (0, unsteady) if unsteady > UNSTEADY_MAX => Err("more tests are unsteady than may be".to_owned()),
        _ => Ok(()),
    }
}

/// Builds all tests and binaries; the test binaries with the directory of their package.
fn build() -> Result<Vec<(String, PathBuf, PathBuf)>, String> {
    status(Command::new(env!("CARGO")).args(["build", "--workspace", "--bins", "--locked"]))?;
    gather_programs()?;
    let output = Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--no-run", "--locked", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|why| format!("cargo test --no-run: {why}"))?;
    if !output.status.success() {
        return Err("the tests do not build".to_owned());
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let binaries = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(binaries.filter_map(|message| test_binary(&message)).collect())
}

/// The programs as they are installed, in one directory: those of the kernel half are static, since `hull-shim` is
/// also process 1 of containers that have no dynamic loader.
fn gather_programs() -> Outcome {
    let host = host_triple()?;
    status(
        Command::new(env!("CARGO"))
            .args(["build", "--locked", "--target", &host, "-p", "hull-runtime", "-p", "hull-shim", "--bins"])
            .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static"),
    )?;
    let target = target_directory();
    let (debug, fixed) = (target.join("debug"), target.join(&host).join("debug"));
    fs::create_dir_all(target.join(PROGRAMS)).map_err(|why| format!("create {PROGRAMS}: {why}"))?;
    for (from, name) in [(&debug, "hull"), (&debug, "hulld"), (&fixed, "hull-runtime"), (&fixed, "hull-shim")]
    {
        let to = target.join(PROGRAMS).join(name);
        // Not written over: a program of an earlier run may still be executing.
        let _ = fs::remove_file(&to);
        fs::copy(from.join(name), &to).map_err(|why| format!("copy {name}: {why}"))?;
    }
    Ok(())
}

fn host_triple() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|why| format!("rustc -vV: {why}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

/// Where cargo builds.
pub(crate) fn target_directory() -> PathBuf {
    let directory =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    std::path::absolute(&directory).unwrap_or(directory)
}

fn test_binary(message: &Value) -> Option<(String, PathBuf, PathBuf)> {
    if message["profile"]["test"] != Value::Bool(true) {
        return None;
    }
    let binary = PathBuf::from(message["executable"].as_str()?);
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let target = message["target"]["name"].as_str()?.to_owned();
    Some((target, binary, manifest.parent()?.to_path_buf()))
}

fn status(command: &mut Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(why) => Err(format!("{command:?}: {why}")),
    }
}

fn select(binaries: &[(String, PathBuf, PathBuf)], filters: &[String]) -> Result<Vec<Trial>, String> {
    let mut trials = Vec::new();
    for (crate_name, binary, directory) in binaries {
        let listing = Command::new(binary)
            .args(["--list", "--format", "terse"])
            .output()
            .map_err(|why| format!("list {}: {why}", binary.display()))?;
        for line in String::from_utf8_lossy(&listing.stdout).lines() {
            let Some(name) = line.strip_suffix(": test") else { continue };
            let label = format!("{crate_name}::{name}");
            if filters.is_empty() || filters.iter().any(|filter| label.contains(filter.as_str())) {
                let (crate_name, binary, directory) = (crate_name.clone(), binary.clone(), directory.clone());
                trials.push(Trial { crate_name, binary, directory, name: name.to_owned() });
            }
        }
    }
    Ok(trials)
}

/// A test's name, and why it failed.
type Failed = (String, String);

/// What did not succeed.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Succeeded in their second turn.
    pub(crate) unsteady: Vec<Failed>,
    /// Failed twice.
    pub(crate) lasting: Vec<Failed>,
}

/// Gives those that failed a second turn, one by one.
fn again(failed: Vec<(&Trial, String)>) -> Failures {
    let mut failures = Failures::default();
    for (trial, why) in failed {
        match run_one(trial) {
            Ok(()) => failures.unsteady.push((trial.label(), why)),
            Err(_) => failures.lasting.push((trial.label(), why)),
        }
    }
    failures
}

impl Trial {
    fn label(&self) -> String {
        format!("{}::{}", self.crate_name, self.name)
    }
}

/// Runs all of them, as many at once as there are processors; the failures with their reasons.
fn run_all(trials: &[Trial]) -> Vec<(&Trial, String)> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(2, |n| n.get());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let verdict = run_one(trial);
                    let word = if verdict.is_ok() { "ok" } else { "FAILED" };
                    say(format!("{word:>6} {:>7.3} s  {}", started.elapsed().as_secs_f64(), trial.label()));
                    if let (Err(why), Ok(mut list)) = (verdict, failures.lock()) {
                        list.push((trial, why));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap_or_default()
}

fn run_one(trial: &Trial) -> Verdict {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mark = format!("hull-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let directory = PathBuf::from("/tmp").join(&mark);
    fs::create_dir(&directory).map_err(|why| format!("create {}: {why}", directory.display()))?;
    let host = Host::look();
    let verdict = spawn(trial, &directory, &mark).and_then(wait);
    let left = leftovers(&directory, &mark, &host);
    let _ = fs::remove_dir_all(&directory);
    verdict?;
    if left.is_empty() { Ok(()) } else { Err(format!("left behind:\n  {}", left.join("\n  "))) }
}

fn spawn(trial: &Trial, directory: &Path, mark: &str) -> Result<Child, String> {
    Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private", "--", "sh", "-c", INSIDE, "sh"])
        .arg(&trial.binary)
        .args(["--exact", &trial.name, "--nocapture", "--test-threads", "1"])
        .current_dir(&trial.directory)
        .env("TMPDIR", directory)
        .env("HULL_TEST_MARK", mark)
        .env("HULL_BIN_DIR", target_directory().join(PROGRAMS))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| format!("unshare: {why}"))
}

/// Waits for the test, with its output in the verdict when it failed. A test that outlives its time is killed.
fn wait(mut child: Child) -> Verdict {
    let (send, output) = mpsc::channel();
    let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for mut pipe in pipes.into_iter().flatten() {
        let send = send.clone();
        // Not joined: a leaked process may hold the pipe open for ever, and is reported as such.
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            let _ = send.send(String::from_utf8_lossy(&text).into_owned());
        });
    }
    drop(send);
    let deadline = Instant::now() + TIME_OUT;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => break status.to_string(),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(3)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                break format!("not done after {} s", TIME_OUT.as_secs());
            }
            Err(why) => break why.to_string(),
        }
    };
    let mut why = ended;
    while let Ok(text) = output.recv_timeout(Duration::from_secs(1)) {
        why.push('\n');
        why.push_str(&text);
    }
    Err(why)
}

/// What a test must not change on the host.
#[derive(Debug, PartialEq)]
struct Host {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
}

impl Host {
    fn look() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        Self {
            mounts: mounts.lines().map(str::to_owned).collect(),
            links: links.map(|link| link.file_name().to_string_lossy().into_owned()).collect(),
        }
    }
}

/// All that a finished test left: it is named, then ended or removed, so that the next test starts clean.
fn leftovers(directory: &Path, mark: &str, before: &Host) -> Vec<String> {
    let mut left = Vec::new();
    for (pid, command) in processes_of(mark) {
        left.push(format!("process {pid}: {command}"));
        let _ = Command::new("kill").args(["-KILL", &pid]).status();
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        left.push(format!("file {}", entry.path().display()));
    }
    for cgroup in cgroups_of(mark) {
        left.push(format!("cgroup {}", cgroup.display()));
        remove_cgroup(&cgroup);
    }
    let after = Host::look();
    left.extend(after.mounts.difference(&before.mounts).map(|mount| format!("mount {mount}")));
    left.extend(after.links.difference(&before.links).map(|link| format!("link {link}")));
    left
}

/// Processes whose environment or command line carries the mark of the test. Those that are on their way out get
/// a moment.
fn processes_of(mark: &str) -> Vec<(String, String)> {
    for _ in 0..20 {
        if marked(mark).is_empty() {
            return Vec::new();
        }
        thread::sleep(Duration::from_millis(25));
    }
    marked(mark)
}

fn marked(mark: &str) -> Vec<(String, String)> {
    let carries = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if carries(&command) || carries(&environment) {
            found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

fn cgroups_of(mark: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let own = hierarchies.map(|hierarchy| hierarchy.path().join(mark));
    own.chain([Path::new("/sys/fs/cgroup").join(mark)]).filter(|path| path.exists()).collect()
}

/// Removes a cgroup and those below it; the kernel owns the files in it.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
