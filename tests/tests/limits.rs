//! Limits, held by the kernel.

use std::fs;
use std::path::PathBuf;

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};

/// The file of a container's cgroup, in whichever hierarchy has it.
fn cgroup_file(daemon: &Daemon, id: &str, controller: &str, v1: &str, v2: &str) -> String {
    let below = format!("{}/{id}", daemon.cgroup().trim_start_matches('/'));
    let roots = [PathBuf::from("/sys/fs/cgroup").join(controller), PathBuf::from("/sys/fs/cgroup")];
    let candidates = roots.iter().flat_map(|root| [v1, v2].map(|file| root.join(&below).join(file)));
    let found = candidates.into_iter().find_map(|path| fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("no {v1} or {v2} for {id}")).trim().to_owned()
}

#[test]
fn memory_kills_who_takes_too_much() {
    let daemon = Daemon::with_busybox();
    let output =
        daemon.hull(["run", "--name", "greedy", "-m", "16m", "busybox", "sh", "-c", "tail /dev/zero"]);
    assert_eq!(output.code, 137, "{output:#?}");
    assert_eq!(daemon.hull(["inspect", "-f", "{{.State.OOMKilled}}", "greedy"]).ok(), "true");
}

#[test]
fn limits_reach_the_kernel() {
    let daemon = Daemon::with_busybox();
    let flags = ["-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpu-shares", "512"];
    let all = [&["run", "-d"], &flags[..], &["busybox", "sleep", "1000"]].concat();
    let id = daemon.hull(all).ok().to_owned();
    assert_eq!(cgroup_file(&daemon, &id, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(cgroup_file(&daemon, &id, "pids", "pids.max", "pids.max"), "50");
    let quota = cgroup_file(&daemon, &id, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("50000"));
    daemon.hull(["update", "-m", "128m", "--memory-swap", "-1", &id]).ok();
    assert_eq!(cgroup_file(&daemon, &id, "memory", "memory.limit_in_bytes", "memory.max"), "134217728");
}

#[test]
fn processes_are_counted() {
    let daemon = Daemon::with_busybox();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait";
    let output = daemon.hull(["run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", script]);
    output.complains("can't fork");
}

#[test]
fn ulimits_and_shm_are_set() {
    let daemon = Daemon::with_busybox();
    let output = daemon.hull([
        "run",
        "--rm",
        "--ulimit",
        "nofile=100:200",
        "--shm-size",
        "8m",
        "busybox",
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn; df -m /dev/shm | tail -1 | awk '{print $2}'",
    ]);
    assert_eq!(output.lines(), ["100", "200", "8"]);
}

#[test]
fn a_paused_container_stands_still() {
    let daemon = Daemon::with_busybox();
    let script = "while true; do echo tick; sleep 0.01; done";
    daemon.hull(["run", "-d", "--name", "clock", "busybox", "sh", "-c", script]).ok();
    daemon.hull(["pause", "clock"]).ok();
    let before = daemon.hull(["logs", "clock"]).lines().len();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let after = daemon.hull(["logs", "clock"]).lines().len();
    assert_eq!(before, after);
    daemon.hull(["exec", "clock", "true"]).complains("is paused, unpause the container before exec").fails(1);
    daemon.hull(["unpause", "clock"]).ok();
    daemon.hull(["exec", "clock", "true"]).ok();
}

#[test]
fn limits_change_while_a_container_runs() {
    let daemon = Daemon::with_busybox();
    let flags = ["-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpu-shares", "512"];
    let all = [&["run", "-d"], &flags[..], &["busybox", "sleep", "1000"]].concat();
    let id = daemon.hull(all).ok().to_owned();
    let update = |body: serde_json::Value| {
        let answer = daemon.api("POST", &format!("/containers/{id}/update"), Some(&body));
        assert_eq!(answer.status, 200, "{body}: {}", answer.message());
    };
    update(
        serde_json::json!({"NanoCpus": 1_000_000_000, "CpuShares": 256, "CpusetCpus": "0", "PidsLimit": 20}),
    );
    let quota = cgroup_file(&daemon, &id, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("100000"));
    assert_eq!(cgroup_file(&daemon, &id, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(cgroup_file(&daemon, &id, "pids", "pids.max", "pids.max"), "20");
    update(serde_json::json!({"PidsLimit": -1, "MemoryReservation": 32 << 20}));
    assert_eq!(cgroup_file(&daemon, &id, "pids", "pids.max", "pids.max"), "max");
    let soft = cgroup_file(&daemon, &id, "memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(soft, (32 << 20).to_string());
    // A memory limit alone has to stay below the swap that is set; both together may grow.
    update(serde_json::json!({"Memory": 100 << 20}));
    update(serde_json::json!({"Memory": 256 << 20, "MemorySwap": 512 << 20}));
    let limit = cgroup_file(&daemon, &id, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, (256 << 20).to_string());
    // Another limit has nothing to do with that, also where swap has none.
    update(serde_json::json!({"Memory": 256 << 20, "MemorySwap": -1}));
    update(serde_json::json!({"CpuShares": 512}));
    update(serde_json::json!({"Memory": 256 << 20, "MemorySwap": 512 << 20}));
    // What the kernel refuses is not written down.
    let used = serde_json::json!({"Memory": 6 << 20, "MemorySwap": 6 << 20, "CpusetMems": "7"});
    let answer = daemon.api("POST", &format!("/containers/{id}/update"), Some(&used));
    assert_eq!(answer.status, 400, "{}", answer.message());
    assert_eq!(daemon.hull(["inspect", "-f", "{{.HostConfig.Memory}}", &id]).ok(), (256 << 20).to_string());
    assert_eq!(daemon.hull(["inspect", "-f", "{{.HostConfig.PidsLimit}}", &id]).ok(), "0");
}

#[test]
fn lack_of_memory_is_told_when_it_happens() {
    let daemon = Daemon::with_busybox();
    // A child is killed; the container goes on.
    let script = "tail /dev/zero; echo goes on; sleep 1000";
    let events = daemon.spawn_hull([
        "events",
        "--filter",
        "type=container",
        "--format",
        "{{.Action}} of {{.Actor.Attributes.name}}",
    ]);
    daemon.hull(["run", "-d", "--name=greedy", "-m", "16m", "busybox", "sh", "-c", script]).ok();
    events.wait_for("oom of greedy\n");
    let state = || daemon.api("GET", "/containers/greedy/json", None).json()["State"].clone();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "greedy"]).stdout.contains("goes on")));
    assert_eq!((&state()["Status"], &state()["OOMKilled"]), (&"running".into(), &true.into()));
    daemon.hull(["kill", "greedy"]).ok();
    events.wait_for("die of greedy\n");
    assert_eq!(events.stdout().matches("oom of greedy\n").count(), 1, "{}", events.stdout());
}
