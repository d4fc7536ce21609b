//! The OCI runtimes alone: the default bundle (`runc spec`) around a static `true`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::contest::{Contestant, Task, race};
use super::report::{Goal, Report};
use super::{Bench, status};

/// One runtime with a bundle for a short and one for a long container.
struct Runtime {
    contestant: Contestant,
    program: PathBuf,
    root: PathBuf,
    short: PathBuf,
    long: PathBuf,
}

impl Runtime {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(args);
        command
    }

    fn call(&self, bundle: &Path, args: &[&str]) -> Result<(), String> {
        self.contestant.run(self.command(args).current_dir(bundle))
    }
}

pub(super) fn run(bench: &Bench, report: &mut Report) -> Result<(), String> {
    let rootfs = bench.directory.join("rootfs");
    make_rootfs(&rootfs)?;
    let floor = floor(bench)?;
    let floor_at = Contestant::new(bench, "floor")?;
    let runtimes = runtimes(bench, &rootfs)?;

    let mut tasks = vec![floor_task(&floor, &floor_at, &rootfs)];
    tasks.extend(
        runtimes
            .iter()
            .map(|runtime| Task::new(&runtime.contestant, || runtime.call(&runtime.short, &["run", "box"]))),
    );
    report.times(
        "runtime: `run` of `true`",
        race(bench.rounds, tasks),
        &[Goal { of: "crun", at_most: 0.4 }, Goal { of: "floor", at_most: 1.5 }],
    );

    let tasks = runtimes.iter().map(|runtime| {
        let steps: [&[&str]; 3] = [&["create", "box"], &["start", "box"], &["delete", "--force", "box"]];
        Task::new(&runtime.contestant, move || {
            steps.iter().try_for_each(|args| runtime.call(&runtime.short, args))
        })
    });
    report.times(
        "runtime: create, start, delete",
        race(bench.rounds, tasks.collect()),
        &[Goal { of: "crun", at_most: 0.4 }],
    );

    let tasks = runtimes.iter().map(|runtime| {
        let long = &runtime.long;
        Task::new(&runtime.contestant, move || runtime.call(long, &["exec", "long", "/bin/true"]))
            .before(move || {
                runtime.call(long, &["create", "long"])?;
                runtime.call(long, &["start", "long"])
            })
            .after(move || runtime.call(long, &["delete", "--force", "long"]))
    });
    report.times("runtime: `exec` of `true`", race(bench.rounds, tasks.collect()), &[]);

    let peaks =
        runtimes.iter().map(|runtime| (runtime.contestant.name, runtime.contestant.within(|| peak(runtime))));
    report.values("runtime: peak memory of `run` (RSS)", "MiB", peaks.collect(), "below crun's");
    Ok(())
}

/// The most that any process of `run` had in memory, in MiB, by time(1).
fn peak(runtime: &Runtime) -> Result<f64, String> {
    let run = runtime.command(&["run", "box"]);
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%M"]).arg(run.get_program()).args(run.get_args()).current_dir(&runtime.short);
    let output = command.stdin(Stdio::null()).output().map_err(|why| format!("/usr/bin/time: {why}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let kib = said.lines().last().and_then(|line| line.trim().parse::<f64>().ok());
    match (output.status.success(), kib) {
        (true, Some(kib)) => Ok(kib / 1024.0),
        _ => Err(said.trim().to_owned()),
    }
}

fn runtimes(bench: &Bench, rootfs: &Path) -> Result<Vec<Runtime>, String> {
    let programs =
        [("hull", bench.dist.join("hull-runtime")), ("crun", "crun".into()), ("runc", "runc".into())];
    let mut runtimes = Vec::new();
    for (name, program) in programs {
        let contestant = Contestant::new(bench, name)?;
        let home = bench.directory.join(name);
        let cgroup = contestant.cgroup().to_owned();
        let short = bundle(&home.join("short"), rootfs, &format!("{cgroup}/short"), &["/bin/true"])?;
        let long = bundle(&home.join("long"), rootfs, &format!("{cgroup}/long"), &["/bin/sleep", "1000"])?;
        runtimes.push(Runtime { contestant, program, root: home.join("state"), short, long });
    }
    Ok(runtimes)
}

fn floor_task<'a>(program: &'a Path, contestant: &'a Contestant, rootfs: &'a Path) -> Task<'a> {
    let cgroup = format!("{}/box", contestant.cgroup());
    let roots = hierarchies();
    Task::new(contestant, move || contestant.run(Command::new(program).arg(rootfs).arg(&cgroup).args(&roots)))
}

/// `v1:DIR` and `v2:DIR` for each hierarchy that is mounted here.
fn hierarchies() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let at = words.next()?.to_owned();
        match words.next()? {
            "cgroup" => Some(format!("v1:{at}")),
            "cgroup2" => Some(format!("v2:{at}")),
            _ => None,
        }
    };
    mounts.lines().filter_map(of).collect()
}

fn floor(bench: &Bench) -> Result<PathBuf, String> {
    let program = bench.directory.join("floor");
    status(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg("bench/floor.c"))?;
    Ok(program)
}

pub(super) fn make_rootfs(rootfs: &Path) -> Result<(), String> {
    let text = |why: std::io::Error| format!("{}: {why}", rootfs.display());
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(directory)).map_err(text)?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.ok_or("no busybox")?, rootfs.join("bin/busybox")).map_err(text)?;
    for applet in ["true", "sh", "sleep", "yes", "head"] {
        symlink("busybox", rootfs.join("bin").join(applet)).map_err(text)?;
    }
    Ok(())
}

/// The bundle that `runc spec` writes, with another program and a cgroup that is the contestant's own.
fn bundle(at: &Path, rootfs: &Path, cgroup: &str, args: &[&str]) -> Result<PathBuf, String> {
    fs::create_dir_all(at).map_err(|why| format!("mkdir {}: {why}", at.display()))?;
    status(Command::new("runc").arg("spec").current_dir(at))?;
    let config = at.join("config.json");
    let text = fs::read_to_string(&config).map_err(|why| format!("{}: {why}", config.display()))?;
    let mut spec: Value = serde_json::from_str(&text).map_err(|why| why.to_string())?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(args);
    spec["root"]["path"] = json!(rootfs);
    spec["linux"]["cgroupsPath"] = json!(cgroup);
    fs::write(&config, spec.to_string()).map_err(|why| format!("{}: {why}", config.display()))?;
    Ok(at.to_path_buf())
}
