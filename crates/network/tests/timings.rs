//! What the steps of a container's network cost. Measures, asserts nothing. Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and speak as tests do")]

mod world;

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hull_network::{Config, NetworkRequest, Networks, PortBinding, Protocol};
use rusqlite::Connection;
use world::*;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    times.push(start.elapsed());
    result
}

/// Sandbox, connect, release: medians of 200 containers, each with these ports.
fn round(networks: &Networks, what: &str, ports: &[PortBinding]) {
    let (mut sandbox_times, mut connects, mut releases) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..200 {
        let name = number.to_string();
        let sandbox = timed(&mut sandbox_times, || networks.sandbox().unwrap());
        let wish = request(&name, "bridge", ports);
        timed(&mut connects, || networks.connect(sandbox.as_fd(), wish).unwrap());
        timed(&mut releases, || networks.release(&id(&name)).unwrap());
    }
    println!(
        "{what}: sandbox {:?}, connect {:?}, release {:?}",
        median(sandbox_times),
        median(connects),
        median(releases)
    );
}

#[test]
#[ignore = "measures; run by hand, with --release and --nocapture"]
fn timings() {
    on_a_host(|_world| {
        let directory = tempfile::tempdir().unwrap();
        let db = Connection::open(directory.path().join("hull.db")).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;").unwrap();
        let db = Arc::new(Mutex::new(db));
        let open = || Networks::open(Arc::clone(&db), Config::default()).unwrap();
        let mut opens = Vec::new();
        let networks = timed(&mut opens, open);
        round(&networks, "no ports", &[]);
        round(&networks, "one port", &[publish(Protocol::Tcp, 8080, 80)]);
        let thousand: Vec<_> = (0..1000).map(|port| publish(Protocol::Tcp, 10_000 + port, 80)).collect();
        let sandbox = networks.sandbox().unwrap();
        let mut times = Vec::new();
        timed(&mut times, || networks.connect(sandbox.as_fd(), request("big", "bridge", &thousand)).unwrap());
        round(&networks, "one port beside 1000 others", &[publish(Protocol::Tcp, 8080, 80)]);
        timed(&mut times, || networks.release(&id("big")).unwrap());
        let range: Vec<_> = (20_000..30_000).map(|port| publish(Protocol::Tcp, port, port)).collect();
        let sandbox = networks.sandbox().unwrap();
        timed(&mut times, || networks.connect(sandbox.as_fd(), request("range", "bridge", &range)).unwrap());
        timed(&mut times, || networks.release(&id("range")).unwrap());
        println!(
            "connect and release with 1000 ports {:?}, with a range of 10,000 {:?}",
            &times[..2],
            &times[2..]
        );

        let (mut creates, mut connects, mut disconnects, mut removes) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..10 {
            let wish = NetworkRequest { name: "blue".to_owned(), ..NetworkRequest::default() };
            timed(&mut creates, || networks.create(wish).unwrap());
            let sandbox = networks.sandbox().unwrap();
            timed(&mut connects, || networks.connect(sandbox.as_fd(), request("a", "blue", &[])).unwrap());
            timed(&mut disconnects, || networks.disconnect(sandbox.as_fd(), &id("a"), "blue").unwrap());
            timed(&mut removes, || networks.remove("blue").unwrap());
        }
        drop(networks);
        timed(&mut opens, open);
        println!(
            "network create {:?}, connect {:?}, disconnect {:?}, remove {:?}; open {opens:?}",
            median(creates),
            median(connects),
            median(disconnects),
            median(removes)
        );
    });
}
