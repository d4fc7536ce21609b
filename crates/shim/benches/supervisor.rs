//! What a supervisor costs: time to start, bytes a second, memory. Needs root, and mount and network namespaces of its
//! own. `HULL_SHIM` names the program to measure.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

#[path = "../tests/kit/mod.rs"]
mod kit;

use std::io::{Read, Write, stdout};
use std::time::{Duration, Instant};

use hull_shim::protocol::{Attach, LogConfig, LogFile, Request};
use kit::{Client, Container, Host};

const MEGABYTE: usize = 1_000_000;

fn say(line: &str) {
    stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn main() {
    let host = Host::new();
    if let Some(length) = std::env::args().nth(1).and_then(|length| length.parse().ok()) {
        return throughputs(&host, length, 200);
    }
    starts(&host);
    if std::env::args().any(|arg| arg == "starts") {
        return;
    }
    memory(&host);
    throughputs(&host, 100, 400);
    throughputs(&host, 2, 100);
}

fn throughputs(host: &Host, length: usize, megabytes: usize) {
    let line = "x".repeat(length - 1) + "\n";
    let data = line.repeat(megabytes * MEGABYTE / length);
    std::fs::write(host.dir.path().join("root/data"), data).unwrap();
    for (name, log, attached) in
        [("log", true, false), ("attached, no log", false, true), ("attached, log", true, true)]
    {
        let speed = throughput(host, megabytes, log, attached);
        say(&format!("{length}-byte lines, {name}: {speed:.0} MB/s"));
    }
}

/// One container's output of the prepared data, in MB/s from start to exit.
fn throughput(host: &Host, megabytes: usize, log: bool, attached: bool) -> f64 {
    let container = host.container(&["/bin/busybox", "cat", "/data"]);
    let config = LogFile::bounded(container.log_path());
    let container =
        container.with_log(if log { LogConfig::from(config) } else { LogConfig::default() }).create();
    let client =
        attached.then(|| container.connect(&Request::Attach(Attach { stdout: true, ..Attach::default() })));
    let reading = client.map(|(_, stream)| std::thread::spawn(move || swallow(Client(stream))));
    let before = Instant::now();
    let container = container.start();
    assert_eq!(container.wait().code, 0);
    let read = reading.map(|reading| reading.join().unwrap());
    let elapsed = before.elapsed();
    assert!(read.is_none_or(|read| read >= megabytes * MEGABYTE), "{read:?}");
    container.end();
    megabytes as f64 / elapsed.as_secs_f64()
}

/// Reads as a daemon does; how many bytes that was.
fn swallow(mut client: Client) -> usize {
    let mut buffer = vec![0; 256 << 10];
    let mut read = 0;
    loop {
        match client.0.read(&mut buffer).unwrap() {
            0 => return read,
            count => read += count,
        }
    }
}

fn starts(host: &Host) {
    let (mut created, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let container = host.container(&["/bin/busybox", "true"]);
        let before = Instant::now();
        let container = container.create();
        created.push(before.elapsed());
        let container = container.start();
        container.wait();
        ended.push(before.elapsed());
    }
    say(&format!("spawn to Created: {:?}; to Exited: {:?} (medians of 100)", median(created), median(ended)));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Proportional and anonymous memory of idle supervisors, in KiB.
fn memory(host: &Host) {
    let containers: Vec<Container<'_>> =
        (0..10).map(|_| host.shell("echo x; exec sleep 1000").run()).collect();
    std::thread::sleep(Duration::from_secs(1));
    let field = |pid: i32, name: &str| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mean = |name| containers.iter().map(|container| field(container.shim_pid, name)).sum::<u64>() / 10;
    say(&format!("idle, 10 containers: PSS {} KiB, anonymous {} KiB", mean("Pss:"), mean("Anonymous:")));
    for container in &containers {
        container.ask(&Request::Kill(hull_shim::protocol::Kill { signal: 9, exec: None, all: true }));
        container.end();
    }
}
