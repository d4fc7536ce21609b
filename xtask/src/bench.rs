//! `cargo xtask bench`: Hull and its peers on this machine, interleaved in one run.
//!
//! Everything runs in mount and network namespaces of its own, in cgroups and directories that are removed at the
//! end. Each contestant has a cgroup that holds its client, daemon, supervisors and containers together, so that
//! its processor time is one number that nothing escapes from. Round after round every contestant does the same
//! once; medians are reported, since a mean would tell of the machine's other work.

mod contest;
mod engine;
mod engines;
mod http;
mod network;
mod output;
mod report;
mod runtimes;
mod thousand;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_cgroup::Cgroup;

use crate::{Outcome, say};
use report::Report;

/// Tells the second half, which runs inside of the namespaces, where to work.
const INSIDE: &str = "HULL_BENCH_DIRECTORY";

/// The peers that Debian packages, by command.
const PEERS: [&str; 4] = ["runc:runc", "crun:crun", "podman:podman", "dockerd:docker.io"];

/// What was asked for on the command line.
#[derive(Debug, Clone)]
struct Options {
    rounds: usize,
    build: bool,
    peers: bool,
    parts: Vec<String>,
    write: bool,
    dist: PathBuf,
    before: Option<PathBuf>,
}

/// What a run consists of, in its order; all but the first need engines.
const PARTS: [&str; 8] = ["runtimes", "idle", "commands", "api", "many", "thousand", "logs", "network"];

const USAGE: &str =
    "usage: cargo xtask bench [--rounds N] [--no-build] [--no-peers] [--no-write] [--dist DIR] \
    [--before DIR] [runtimes] [idle] [commands] [api] [many] [thousand] [logs] [network]
  --before DIR: let the programs in DIR take part as well
  without all parts, or with --before, docs/benchmarks.md is not written";

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            rounds: 30,
            build: true,
            peers: true,
            parts: Vec::new(),
            write: true,
            dist: PathBuf::from("dist"),
            before: None,
        };
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            match arg {
                "--rounds" => options.rounds = args.next().and_then(|n| n.parse().ok()).ok_or(USAGE)?,
                "--dist" => options.dist = args.next().map(PathBuf::from).ok_or(USAGE)?,
                "--no-build" => options.build = false,
                "--no-peers" => options.peers = false,
                "--no-write" => options.write = false,
                "--before" => options.before = Some(args.next().map(PathBuf::from).ok_or(USAGE)?),
                part if PARTS.contains(&part) => options.parts.push(part.to_owned()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        options.write &= options.parts.is_empty() && options.before.is_none();
        Ok(options)
    }
}

/// Where a run works: a directory and a cgroup, both gone after it.
#[derive(Debug, Clone)]
struct Bench {
    directory: PathBuf,
    cgroup: String,
    dist: PathBuf,
    /// Other programs of ours that take part as "before".
    before: Option<PathBuf>,
    peers: bool,
    rounds: usize,
    parts: Vec<String>,
}

impl Bench {
    /// Whether this part was asked for.
    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

pub(crate) fn run(args: &[String]) -> Outcome {
    let options = Options::parse(args)?;
    match std::env::var_os(INSIDE) {
        Some(directory) => inside(&options, PathBuf::from(directory)),
        None => outside(&options, args),
    }
}

/// Builds, installs the peers, runs the second half and removes what it used.
fn outside(options: &Options, args: &[String]) -> Outcome {
    if options.build {
        status(Command::new("make").arg("build"))?;
    }
    if options.peers {
        status(Command::new("scripts/need").args(PEERS).args([
            "cc:gcc",
            "busybox:busybox-static",
            "/usr/bin/time:time",
            "iperf3:iperf3",
            "wrk:wrk",
        ]))?;
    }
    let directory = std::env::temp_dir().join(format!("hull-bench-{}", std::process::id()));
    fs::create_dir(&directory).map_err(|why| format!("mkdir {}: {why}", directory.display()))?;
    let program = std::env::current_exe().map_err(|why| format!("find this program: {why}"))?;
    let outcome = status(
        Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "--"])
            .arg(program)
            .arg("bench")
            .args(args)
            .env(INSIDE, &directory),
    );
    let tidied = clean_up(&directory);
    outcome.and(tidied)
}

fn clean_up(directory: &Path) -> Outcome {
    if let Ok(cgroup) = Cgroup::open(&cgroup_of(directory)) {
        cgroup.kill().and_then(|()| cgroup.remove()).map_err(|why| why.to_string())?;
    }
    fs::remove_dir_all(directory).map_err(|why| format!("remove {}: {why}", directory.display()))
}

fn cgroup_of(directory: &Path) -> String {
    format!("/{}", directory.file_name().unwrap_or_default().to_string_lossy())
}

fn inside(options: &Options, directory: PathBuf) -> Outcome {
    status(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    leave_hybrid();
    let programs = |dist: &PathBuf| {
        fs::canonicalize(dist).map_err(|why| format!("{}: {why} (make build)", dist.display()))
    };
    let bench = Bench {
        cgroup: cgroup_of(&directory),
        directory,
        dist: programs(&options.dist)?,
        before: options.before.as_ref().map(programs).transpose()?,
        peers: options.peers,
        rounds: options.rounds,
        parts: options.parts.clone(),
    };
    let mut report = Report::default();
    if bench.wants(PARTS[0]) {
        runtimes::run(&bench, &mut report)?;
    }
    if PARTS[1..].iter().any(|part| bench.wants(part)) {
        engines::run(&bench, &mut report)?;
    }
    say(report.text());
    match options.write {
        true => report.write(Path::new("docs/benchmarks.md"), options.rounds),
        false => Ok(()),
    }
}

/// crun refuses hosts that have a version 2 hierarchy with controllers beside version 1. So that all run on the
/// same, it is taken out of sight: in this mount namespace only, and before our own look at the host.
fn leave_hybrid() {
    let unified = "/sys/fs/cgroup/unified";
    if Path::new(unified).join("cgroup.procs").exists() {
        // If it stays, crun says so in its column.
        let _ = status(Command::new("umount").arg(unified));
    }
}

fn status(command: &mut Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(why) => Err(format!("{command:?}: {why}")),
    }
}
