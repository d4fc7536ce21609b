//! One engine under test: its daemon, if it has one, its client, and what its processes weigh.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hull_cgroup::Cgroup;

use super::Bench;
use super::contest::Contestant;

/// How long a daemon gets to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an engine is started and spoken to.
pub(super) struct Engine {
    pub(super) contestant: Contestant,
    /// The client with the words that lead it to this daemon.
    client: Vec<String>,
    /// What `run` is told so that containers stay within the contestant's cgroup.
    run_words: Vec<String>,
    /// What `rm` is told so that it kills at once, as Docker's does.
    remove_words: Vec<String>,
    /// The daemon's command line; empty for an engine without one.
    daemon: Vec<String>,
    child: Option<Child>,
    /// The API's socket, where there is one.
    pub(super) socket: Option<PathBuf>,
    log: PathBuf,
}

impl Engine {
    /// Hull, with the programs in `dist`.
    pub(super) fn hull(bench: &Bench, name: &'static str, dist: &Path) -> Result<Self, String> {
        let contestant = Contestant::new(bench, name)?;
        let home = home(bench, &format!("{name}-engine"))?;
        let socket = home.join("sock");
        let host = format!("unix://{}", socket.display());
        let parent = format!("{}/boxes", contestant.cgroup());
        let daemon = words(&[
            (dist.join("hulld").display().to_string(), ""),
            ("--host=".to_owned(), &host),
            ("--data-root=".to_owned(), &path(&home, "data")),
            ("--exec-root=".to_owned(), &path(&home, "run")),
            ("--pidfile=".to_owned(), &path(&home, "pid")),
            ("--cgroup-parent=".to_owned(), &parent),
        ]);
        let client = vec![dist.join("hull").display().to_string(), "--host".to_owned(), host];
        let log = home.join("log");
        Ok(Self {
            contestant,
            client,
            run_words: Vec::new(),
            remove_words: Vec::new(),
            daemon,
            child: None,
            socket: Some(socket),
            log,
        })
    }

    pub(super) fn docker(bench: &Bench) -> Result<Self, String> {
        let contestant = Contestant::new(bench, "docker")?;
        let home = home(bench, "docker-engine")?;
        let socket = home.join("sock");
        let host = format!("unix://{}", socket.display());
        let parent = format!("{}/boxes", contestant.cgroup());
        let daemon = words(&[
            ("dockerd".to_owned(), ""),
            ("--host=".to_owned(), &host),
            ("--data-root=".to_owned(), &path(&home, "data")),
            ("--exec-root=".to_owned(), &path(&home, "run")),
            ("--pidfile=".to_owned(), &path(&home, "pid")),
            ("--cgroup-parent=".to_owned(), &parent),
            ("--live-restore".to_owned(), ""),
            ("--storage-driver=overlay2".to_owned(), ""),
        ]);
        let client = vec!["docker".to_owned(), "--host".to_owned(), host];
        let log = home.join("log");
        Ok(Self {
            contestant,
            client,
            run_words: Vec::new(),
            remove_words: Vec::new(),
            daemon,
            child: None,
            socket: Some(socket),
            log,
        })
    }

    pub(super) fn podman(bench: &Bench) -> Result<Self, String> {
        let contestant = Contestant::new(bench, "podman")?;
        let home = home(bench, "podman-engine")?;
        let client = words(&[
            ("podman".to_owned(), ""),
            ("--root=".to_owned(), &path(&home, "data")),
            ("--runroot=".to_owned(), &path(&home, "run")),
            ("--cgroup-manager=cgroupfs".to_owned(), ""),
            ("--storage-driver=overlay".to_owned(), ""),
            ("--runtime=crun".to_owned(), ""),
            ("--events-backend=file".to_owned(), ""),
        ]);
        // Its defaults are more than root may have everywhere.
        let run_words = vec![
            format!("--cgroup-parent={}/boxes", contestant.cgroup()),
            "--ulimit=nofile=1024:1024".to_owned(),
            "--ulimit=nproc=1024:1024".to_owned(),
        ];
        let log = home.join("log");
        let remove_words = vec!["--time=0".to_owned()];
        Ok(Self {
            contestant,
            client,
            run_words,
            remove_words,
            daemon: Vec::new(),
            child: None,
            socket: None,
            log,
        })
    }

    /// A call of the client.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.client[0]);
        command.args(&self.client[1..]);
        match args {
            ["run", rest @ ..] => command.arg("run").args(&self.run_words).args(rest),
            ["rm", rest @ ..] => command.arg("rm").args(&self.remove_words).args(rest),
            args => command.args(args),
        };
        command
    }

    /// A call of the client that must succeed.
    pub(super) fn call(&self, args: &[&str]) -> Result<(), String> {
        self.contestant.run(&mut self.command(args))
    }

    /// What a call of the client prints.
    pub(super) fn ask(&self, args: &[&str]) -> Result<String, String> {
        let output = self.command(args).stdin(Stdio::null()).output().map_err(|why| why.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Starts the daemon and waits until it answers.
    pub(super) fn start(&mut self) -> Result<(), String> {
        let Some((program, args)) = self.daemon.split_first() else { return Ok(()) };
        let log = File::create(&self.log).map_err(|why| why.to_string())?;
        let errors = log.try_clone().map_err(|why| why.to_string())?;
        let mut command = Command::new(program);
        let command = command.args(args).stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child =
            Some(self.contestant.within(|| command.spawn().map_err(|why| format!("{program}: {why}")))?);
        let deadline = Instant::now() + PATIENCE;
        while self.contestant.within(|| self.ask(&["ps", "-q"])).is_err() {
            let gone = self.child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(Some(_))));
            if gone || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("does not start: {}", said.lines().last().unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Asks the daemon to end and waits for it.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = child.id().to_string();
        Command::new("kill").arg(&pid).status().map_err(|why| why.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match child.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err("does not end".to_owned());
                }
            }
        }
    }

    pub(super) fn has_daemon(&self) -> bool {
        !self.daemon.is_empty()
    }

    /// Proportional memory, in MiB, of all its processes but those that run `sleep` (the containers themselves),
    /// and how many there are.
    pub(super) fn weight(&self) -> Result<(f64, usize), String> {
        let cgroup = Cgroup::open(self.contestant.cgroup()).map_err(|why| why.to_string())?;
        let pids = cgroup.pids().map_err(|why| why.to_string())?;
        let own = std::process::id();
        let mine = pids.into_iter().filter(|pid| pid.unsigned_abs() != own && name(*pid) != "sleep");
        let weights: Vec<f64> = mine.filter_map(proportional).collect();
        Ok((weights.iter().sum(), weights.len()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its containers end with the cgroup that the run removes.
        let _ = self.stop();
    }
}

fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// The proportional set size in MiB.
fn proportional(pid: i32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(kib.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

fn home(bench: &Bench, name: &str) -> Result<PathBuf, String> {
    let home = bench.directory.join(name);
    fs::create_dir_all(&home).map_err(|why| format!("mkdir {}: {why}", home.display()))?;
    Ok(home)
}

fn path(home: &Path, name: &str) -> String {
    home.join(name).display().to_string()
}

fn words(pairs: &[(String, &str)]) -> Vec<String> {
    pairs.iter().map(|(word, value)| format!("{word}{value}")).collect()
}
