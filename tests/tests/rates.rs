//! How fast containers may send and receive, and to whom.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use hull_testkit::Daemon;
use serde_json::json;

const BYTES: usize = 1 << 20;
/// What [`BYTES`] take at a mebibyte a second, less what a burst and a queue may make of it.
const SLOW: Duration = Duration::from_millis(600);

/// A network with an address of the host to listen at.
fn with_network() -> Daemon {
    let daemon = Daemon::with_busybox();
    let subnets = ["--subnet", "10.99.0.0/24", "--ipv6", "--subnet", "fd00:99::/64"];
    daemon.hull(["network", "create"].into_iter().chain(subnets).chain(["net"])).ok();
    daemon
}

/// How long a container takes to send that much to the host.
fn sending(daemon: &Daemon, name: &str, host: &str) -> Duration {
    let listener = TcpListener::bind((host, 0)).expect("listen");
    let port = listener.local_addr().expect("address").port();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let (begin, mut count, mut buffer) = (Instant::now(), 0, vec![0; 1 << 16]);
        while count < BYTES {
            count += stream.read(&mut buffer).expect("read");
        }
        begin.elapsed()
    });
    let script = format!("head -c {BYTES} /dev/zero | nc {host} {port}");
    daemon.hull(["exec", name, "sh", "-c", &script]);
    reader.join().expect("reader")
}

/// How long it takes to receive that much.
fn receiving(daemon: &Daemon, name: &str, host: &str) -> Duration {
    let listener = TcpListener::bind((host, 0)).expect("listen");
    let port = listener.local_addr().expect("address").port();
    let writer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.write_all(&vec![b'x'; BYTES]).expect("write");
    });
    let begin = Instant::now();
    let script = format!("nc {host} {port} </dev/null | wc -c");
    assert_eq!(daemon.hull(["exec", name, "sh", "-c", &script]).ok(), BYTES.to_string());
    writer.join().expect("writer");
    begin.elapsed()
}

#[test]
fn rates_hold_both_ways_and_change_while_it_runs() {
    let daemon = with_network();
    let run = ["run", "-d", "--name", "box", "--network", "net", "--network-rate-in", "1m"];
    daemon.hull(run.into_iter().chain(["--network-rate-out", "8388608bit", "busybox", "sleep", "1000"])).ok();
    let host = daemon.api("GET", "/containers/box/json", None).json()["HostConfig"].clone();
    assert_eq!((&host["NetworkRateIn"], &host["NetworkRateOut"]), (&json!(1 << 20), &json!(1 << 20)));
    let stats = daemon.api("GET", "/containers/box/stats?stream=0&one-shot=1", None).json();
    let link = &stats["networks"]["eth0"];
    assert_eq!((&link["rx_rate"], &link["tx_rate"]), (&json!(1 << 20), &json!(1 << 20)));
    assert!(sending(&daemon, "box", "10.99.0.1") > SLOW);
    assert!(receiving(&daemon, "box", "10.99.0.1") > SLOW);

    daemon.hull(["update", "--network-rate-in", "-1", "--network-rate-out", "1gbit", "box"]).ok();
    assert!(sending(&daemon, "box", "10.99.0.1") < SLOW);
    assert!(receiving(&daemon, "box", "10.99.0.1") < SLOW);
    daemon.hull(["update", "--network-rate-out", "1m", "box"]).ok();
    assert!(sending(&daemon, "box", "10.99.0.1") > SLOW);

    // Networks that come later have them, too, and so has the next start.
    daemon.hull(["network", "create", "--subnet", "10.98.0.0/24", "other"]).ok();
    daemon.hull(["network", "connect", "other", "box"]).ok();
    assert!(sending(&daemon, "box", "10.98.0.1") > SLOW);
    daemon.hull(["restart", "-t", "0", "box"]).ok();
    assert!(sending(&daemon, "box", "10.99.0.1") > SLOW);
}

#[test]
fn a_policy_lets_nothing_else_out() {
    let daemon = with_network();
    let open = ["10.99.0.1:7001", "10.99.0.1:7002", "[fd00:99::1]:7001", "[fd00:99::1]:7002"];
    for address in open {
        let listener = TcpListener::bind(address).expect("listen");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b"here\n");
            }
        });
    }
    let run = |name: &'static str, ip: &'static str, flags: &[&str]| {
        let begin = ["run", "-d", "--name", name, "--network", "net", "--ip", ip];
        let end = ["busybox", "nc", "-ll", "-p", "9", "-e", "echo", "here"];
        daemon.hull(begin.iter().chain(flags).chain(&end).copied()).ok();
    };
    run("free", "10.99.0.11", &[]);
    run(
        "held",
        "10.99.0.12",
        &["--egress", "allow=10.99.0.1:7000-7001", "--egress", "allow=[fd00:99::/64]:7001"],
    );
    run("none", "10.99.0.13", &["--egress", "deny"]);
    let reaches = |name: &str, host: &str, port: &str| {
        let script = format!("nc -w3 {host} {port} </dev/null");
        daemon.hull(["exec", name, "sh", "-c", &script]).stdout == "here\n"
    };
    for _ in 0..2 {
        for (name, host, port, expected) in [
            ("free", "10.99.0.1", "7002", true),
            ("held", "10.99.0.1", "7001", true),
            ("held", "10.99.0.1", "7002", false),
            ("held", "fd00:99::1", "7001", true),
            ("held", "fd00:99::1", "7002", false),
            ("none", "10.99.0.1", "7001", false),
            ("none", "fd00:99::1", "7001", false),
            // Names are told, neighbours are not reached, and whoever comes is answered.
            ("held", "10.99.0.11", "9", false),
            ("none", "10.99.0.11", "9", false),
            ("free", "10.99.0.12", "9", true),
            ("free", "10.99.0.13", "9", true),
            ("none", "127.0.0.1", "9", true),
        ] {
            assert_eq!(reaches(name, host, port), expected, "{name} to {host} {port}");
        }
        assert!(daemon.hull(["exec", "none", "nslookup", "free"]).ok().contains("10.99.0."));
        daemon.hull(["restart", "-t", "0", "held", "none"]).ok();
    }
    let capabilities = ["run", "--rm", "--egress", "deny", "busybox", "grep", "CapEff", "/proc/self/status"];
    assert_eq!(daemon.hull(capabilities).ok(), "CapEff:\t00000000a80405fb", "the default without NET_RAW");
}

#[test]
fn what_contradicts_a_policy_or_a_rate_is_refused() {
    let daemon = Daemon::with_busybox();
    for (flags, message) in [
        (&["--egress", "allow=here"][..], "invalid egress policy \"allow=here\""),
        (&["--egress", "deny", "--privileged"], "capabilities that lead round it"),
        (&["--egress", "deny", "--cap-add", "net_raw"], "capabilities that lead round it"),
        (&["--egress", "deny", "--cap-add", "ALL"], "capabilities that lead round it"),
        (&["--egress", "deny", "--network", "host"], "shares the network of others"),
        (&["--network-rate-in", "1m", "--network", "host"], "shares the network of others"),
        (&["--network-rate-in", "fast"], "invalid rate: 'fast'"),
    ] {
        let refused = daemon.hull(["create"].iter().chain(flags).chain(&["busybox", "true"]).copied());
        refused.complains(message);
        assert_ne!(refused.code, 0, "{flags:?}");
    }
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "");
}
