//! What containers use, as their clients see it.

use std::fs;
use std::time::{Duration, Instant};

use hull_testkit::Daemon;
use serde_json::{Value, json};

const NEVER: &str = "0001-01-01T00:00:00Z";

fn stats(daemon: &Daemon, query: &str) -> Value {
    let answer = daemon.api("GET", &format!("/containers/box/stats?{query}"), None);
    assert_eq!(answer.status, 200, "{}", answer.message());
    answer.json()
}

#[test]
fn one_sample_alone_or_with_the_one_before() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "--memory", "64m", "busybox", "sleep", "1000"]).ok();
    let begin = Instant::now();
    let alone = stats(&daemon, "stream=false&one-shot=true");
    assert!(begin.elapsed() < Duration::from_millis(900), "it does not wait: {:?}", begin.elapsed());
    assert_eq!(alone["preread"], NEVER);
    assert_eq!(alone["precpu_stats"]["cpu_usage"]["total_usage"], 0);
    let both = stats(&daemon, "stream=0");
    assert_ne!(both["preread"], NEVER);
    let cpu = |which: &str| both[which]["system_cpu_usage"].as_u64().expect("a number");
    assert!(cpu("cpu_stats") > cpu("precpu_stats") && cpu("precpu_stats") > 0, "{both}");
    assert_eq!((&both["name"], &both["memory_stats"]["limit"]), (&json!("/box"), &json!(64 << 20)));
    assert_eq!(both["os_type"], "linux");
    let old = daemon.api("GET", "/v1.51/containers/box/stats?stream=0&one-shot=1", None).json();
    assert!(old.get("os_type").is_none());
    let wrong = daemon.api("GET", "/containers/box/stats?stream=1&one-shot=1", None);
    assert_eq!((wrong.status, wrong.message().as_str()), (400, "cannot have stream=true and one-shot=true"));
}

#[test]
fn the_figures_are_the_kernels() {
    let daemon = Daemon::with_busybox();
    let script = "head -c 8000000 /dev/zero >/dev/shm/x; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; \
                  ping -c 3 -i 0.1 127.0.0.1 >/dev/null; sleep 1000 & sleep 1000";
    daemon.hull(["run", "-d", "--name", "box", "--pids-limit", "50", "busybox", "sh", "-c", script]).ok();
    std::thread::sleep(Duration::from_secs(3));
    let found = stats(&daemon, "stream=0&one-shot=1");
    let tasks = daemon.hull(["top", "box", "-eo", "pid"]).ok().lines().count() - 1;
    assert_eq!(found["pids_stats"], json!({ "current": tasks, "limit": 50 }));
    let usage = found["memory_stats"]["usage"].as_u64().expect("a number");
    assert!((8_000_000..64_000_000).contains(&usage), "{usage}");
    let used = found["cpu_stats"]["cpu_usage"]["total_usage"].as_u64().expect("a number");
    assert!(used > 1_000_000, "{used} ns");
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", "box"]).ok().to_owned();
    let own = format!("{}/{id}/cpuacct.usage", daemon.cgroup());
    let kernel =
        ["/sys/fs/cgroup/cpuacct/", "/sys/fs/cgroup/cpu,cpuacct/"].map(|root| format!("{root}{own}"));
    if let Some(text) = kernel.iter().find_map(|file| fs::read_to_string(file).ok()) {
        let kernel: u64 = text.trim().parse().expect("a number");
        assert!(kernel >= used && kernel - used < 100_000_000, "{kernel} {used}");
    }
    let networks = found["networks"].as_object().expect("networks");
    assert_eq!(networks.keys().collect::<Vec<_>>(), ["eth0"]);
}

#[test]
fn who_does_not_run_uses_nothing() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    let begin = Instant::now();
    let found = stats(&daemon, "stream=0");
    assert!(begin.elapsed() < Duration::from_millis(900), "there is nothing to wait for");
    assert_eq!(
        (&found["read"], &found["preread"], &found["name"]),
        (&json!(NEVER), &json!(NEVER), &json!("/box"))
    );
    assert_eq!((&found["memory_stats"], &found["pids_stats"]), (&json!({}), &json!({})));
    assert_eq!(found["id"].as_str().map(str::len), Some(64));
    assert_eq!(daemon.api("GET", "/containers/nobody/stats", None).status, 404);
}

#[test]
fn a_stream_has_one_sample_a_second_for_all_who_watch() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let reads = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| line["read"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let streams: Vec<_> = std::thread::scope(|scope| {
        let watch = || daemon.api("GET", "/containers/box/stats", None).body;
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(watch)).collect();
        std::thread::sleep(Duration::from_millis(3800));
        daemon.hull(["rm", "-f", "box"]).ok();
        threads.into_iter().map(|thread| thread.join().expect("a stream")).collect()
    });
    let all: Vec<Vec<String>> = streams.iter().map(|body| reads(&String::from_utf8_lossy(body))).collect();
    assert!(all.iter().all(|reads| (3..=5).contains(&reads.len())), "{all:?}");
    assert_eq!((&all[0][1], &all[0][2]), (&all[1][1], &all[1][2]), "the same samples for everybody");
    let seen = |line: &Value| line["preread"] == NEVER;
    let first: Value =
        serde_json::from_slice(streams[0].split(|byte| *byte == b'\n').next().expect("a line"))
            .expect("JSON");
    assert!(seen(&first), "the first one has none before it");
}
