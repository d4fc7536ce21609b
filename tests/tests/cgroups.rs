//! One container through everything that the engine does by cgroups. It runs on this host and once more where
//! there is version 2 alone (`xtask/src/hosts.rs`): so it is one test with one daemon, since that machine is slow.

use std::fs;
use std::path::{Path, PathBuf};

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};

/// Whether the host has version 2 alone.
fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Where a container's cgroup has its files of a controller.
fn directory(daemon: &Daemon, id: &str, controller: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup").join(if unified() { "" } else { controller });
    root.join(daemon.cgroup().trim_start_matches('/')).join(id)
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|why| panic!("{}: {why}", file.display())).trim().to_owned()
}

#[test]
fn the_engine_on_this_hosts_cgroups() {
    let mut daemon = Daemon::with_busybox();
    let version = daemon.hull(["info", "--format", "{{.CgroupVersion}}"]);
    assert_eq!(version.ok(), if unified() { "2" } else { "1" });

    let flags = ["-m", "32m", "--cpus", "0.5", "--pids-limit", "20", "--name", "box"];
    let script = "while true; do echo tick; sleep 0.05; done";
    let run = [&["run", "-d"], &flags[..], &["busybox", "sh", "-c", script]].concat();
    let id = daemon.hull(run).ok().to_owned();
    limits_hold(&daemon, &id);
    sessions_join_the_cgroup(&daemon, &id);
    the_frozen_stand_still(&daemon, &id);

    let pid = daemon.hull(["inspect", "-f", "{{.State.Pid}}", "box"]).ok().to_owned();
    daemon.kill9();
    daemon.restart();
    let found = daemon.hull(["inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "box"]);
    assert_eq!(found.ok(), format!("true {pid}"));
    let stats = daemon.hull(["stats", "--no-stream", "--format", "{{.MemUsage}}", "box"]);
    assert!(stats.ok().ends_with("/ 32MiB"), "{stats:#?}");
    memory_kills(&daemon);
    daemon.hull(["rm", "-f", "box"]).ok();
    assert!(!directory(&daemon, &id, "pids").exists(), "its cgroup goes with it");
}

fn limits_hold(daemon: &Daemon, id: &str) {
    let [memory, pids, cpu] = ["memory", "pids", "cpu"].map(|controller| directory(daemon, id, controller));
    assert_eq!(read(&pids.join("pids.max")), "20");
    match unified() {
        true => {
            assert_eq!(read(&memory.join("memory.max")), "33554432");
            assert_eq!(read(&cpu.join("cpu.max")), "50000 100000");
        }
        false => {
            assert_eq!(read(&memory.join("memory.limit_in_bytes")), "33554432");
            assert_eq!(read(&cpu.join("cpu.cfs_quota_us")), "50000");
        }
    }
    let bomb = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 5 & done; wait";
    // Not in the box: its own shell forks, too, and ends when it cannot.
    daemon.hull(["run", "--rm", "--pids-limit", "20", "busybox", "sh", "-c", bomb]).complains("can't fork");
    daemon.hull(["update", "--pids-limit", "30", "box"]).ok();
    assert_eq!(read(&pids.join("pids.max")), "30");
}

fn sessions_join_the_cgroup(daemon: &Daemon, id: &str) {
    let seen = daemon.hull(["exec", "box", "cat", "/proc/self/cgroup"]);
    match unified() {
        true => assert_eq!(seen.ok(), "0::/", "a cgroup namespace of its own"),
        false => assert!(seen.ok().contains(id), "{seen:#?}"),
    }
}

fn the_frozen_stand_still(daemon: &Daemon, id: &str) {
    daemon.hull(["pause", "box"]).ok();
    let frozen = match unified() {
        true => read(&directory(daemon, id, "").join("cgroup.events")).contains("frozen 1"),
        false => daemon.hull(["inspect", "-f", "{{.State.Paused}}", "box"]).ok() == "true",
    };
    assert!(frozen);
    let before = daemon.hull(["logs", "box"]).lines().len();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(daemon.hull(["logs", "box"]).lines().len(), before);
    daemon.hull(["unpause", "box"]).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "box"]).lines().len() > before));
}

fn memory_kills(daemon: &Daemon) {
    let greedy = ["run", "--name", "greedy", "-m", "16m", "busybox", "tail", "/dev/zero"];
    daemon.hull(greedy).fails(137);
    assert_eq!(daemon.hull(["inspect", "-f", "{{.State.OOMKilled}}", "greedy"]).ok(), "true");
}
