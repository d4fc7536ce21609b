//! Published ports: ranges, and ports that come and go while a container runs.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::{Value, json};

fn fetch(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.contains("hello from inside").then_some(text)
}

/// A server at ports 80 and 10080.
const SERVE: &str =
    "mkdir /www; echo hello from inside >/www/hello; httpd -p 10080 -h /www; exec httpd -f -p 80 -h /www";

fn inspect(daemon: &Daemon, name: &str) -> Value {
    daemon.api("GET", &format!("/containers/{name}/json"), None).json()
}

fn server(daemon: &Daemon, name: &str, flags: &[&str]) {
    let command = ["busybox", "sh", "-c", SERVE];
    daemon.hull([&["run", "-d", "--name", name][..], flags, &command].concat()).ok();
}

#[test]
fn ten_thousand_ports_cost_about_what_one_does() {
    let daemon = Daemon::with_busybox();
    server(&daemon, "warm", &[]);
    let timed = |name: &str, ports: &str| {
        let start = Instant::now();
        server(&daemon, name, &["-p", ports]);
        start.elapsed()
    };
    let (one, many) = (timed("one", "18080:80"), timed("many", "10000-19999:20000-29999/udp"));
    println!("one {one:?}, ten thousand {many:?}");
    server(&daemon, "range", &["-p", "10000-10999:10000-10999"]);
    assert!(eventually(PATIENCE, || fetch(10_080).is_some()));
    // To clients each port is by itself, as in Docker.
    let state = inspect(&daemon, "many");
    let (wished, published) = (&state["HostConfig"]["PortBindings"], &state["NetworkSettings"]["Ports"]);
    for ports in [wished, published, &state["Config"]["ExposedPorts"]] {
        assert_eq!(ports.as_object().map(serde_json::Map::len), Some(10_000));
    }
    assert_eq!(wished["25555/udp"], json!([{"HostIp": "", "HostPort": "15555"}]));
    assert_eq!(published["25555/udp"], json!([{"HostIp": "0.0.0.0", "HostPort": "15555"}]));
    let listed = daemon.hull(["ps", "--filter", "publish=15555/udp", "--format", "{{.Names}} {{.Ports}}"]);
    assert!(listed.ok().starts_with("many "), "{listed:?}");
    assert_eq!(daemon.hull(["port", "many", "29999/udp"]).ok(), "0.0.0.0:19999");
    // The record has them once.
    let tables = std::fs::read(daemon.data_root().join("hull.db-wal")).expect("the journal of the database");
    let text = String::from_utf8_lossy(&tables);
    assert!(text.contains("20000-29999/udp") && !text.contains("25555"), "ports are recorded one by one");
    // A port out of the range is taken.
    let taken = daemon.hull(["run", "--rm", "-p", "15555:80/udp", "busybox", "true"]);
    taken.complains("Bind for 0.0.0.0:15555 failed: port is already allocated").fails(125);
}

#[test]
fn a_long_range_is_kept_from_other_programs() {
    let tcp = |address: &str| TcpListener::bind(address).err().map(|error| error.kind());
    let udp = |address: &str| UdpSocket::bind(address).err().map(|error| error.kind());
    let in_use = Some(ErrorKind::AddrInUse);
    let mut daemon = Daemon::with_busybox();
    server(&daemon, "range", &["-p", "10000-10999:10000-10999"]);
    server(&daemon, "local", &["-p", "127.0.0.1:20000-20999:1-1000/udp"]);
    assert!(eventually(PATIENCE, || fetch(10_080).is_some()), "the container has its own ports");
    daemon.hull(["network", "create", "--ipv6", "six"]).ok();
    server(&daemon, "six", &["--network", "six", "-p", "[::1]:21000-21999:1-1000"]);
    for address in [
        "0.0.0.0:10500",
        "127.0.0.1:10999",
        "[::]:10000",
        "[::ffff:127.0.0.1]:10500",
        "[::1]:21500",
        "[::]:21999",
    ] {
        assert_eq!(tcp(address), in_use, "{address}");
    }
    for address in ["0.0.0.0:9999", "[::]:11000", "[::1]:10500", "127.0.0.1:21500", "[::]:22000"] {
        assert_eq!(tcp(address), None, "{address}");
    }
    assert_eq!(udp("0.0.0.0:10500"), None);
    assert_eq!([udp("127.0.0.1:20500"), udp("0.0.0.0:20999")], [in_use; 2]);
    assert_eq!([udp("127.0.0.2:20500"), udp("[::1]:20500"), tcp("127.0.0.1:20500")], [None; 3]);

    daemon.hull(["port", "rm", "range", "10500:10500"]).ok();
    assert_eq!([tcp("0.0.0.0:10499"), tcp("0.0.0.0:10500"), tcp("0.0.0.0:10501")], [in_use, None, in_use]);
    daemon.kill9();
    assert_eq!([tcp("0.0.0.0:10501"), udp("127.0.0.1:20500")], [None; 2]);
    daemon.restart();
    assert_eq!([tcp("0.0.0.0:10501"), udp("127.0.0.1:20500")], [in_use; 2]);
    daemon.hull(["rm", "-f", "range", "local"]).ok();
    assert_eq!([tcp("0.0.0.0:10501"), udp("127.0.0.1:20500")], [None; 2]);
}

#[test]
fn one_free_port_of_a_range() {
    let daemon = Daemon::with_busybox();
    for (name, port) in [("first", "18000"), ("second", "18001")] {
        server(&daemon, name, &["-p", "18000-18001:80"]);
        assert_eq!(daemon.hull(["port", name, "80"]).lines()[0], format!("0.0.0.0:{port}"));
    }
    let none = daemon.hull(["run", "--rm", "-p", "18000-18001:80", "busybox", "true"]);
    none.complains("all ports are allocated").fails(125);
}

#[test]
fn ports_come_and_go() {
    let mut daemon = Daemon::with_busybox();
    server(&daemon, "web", &[]);
    assert!(fetch(18_083).is_none());
    daemon.hull(["port", "add", "web", "18083:80", "18090-18099:10080-10089"]).ok();
    assert!(eventually(PATIENCE, || fetch(18_083).is_some() && fetch(18_090).is_some()));
    assert_eq!(daemon.hull(["port", "web", "80"]).lines()[0], "0.0.0.0:18083");
    assert!(TcpStream::connect("[::1]:18083").is_ok(), "by IPv6 as well");
    // It is so after a restart of the container and of the daemon.
    daemon.hull(["restart", "-t", "0", "web"]).ok();
    assert!(eventually(PATIENCE, || fetch(18_083).is_some() && fetch(18_090).is_some()));
    daemon.restart();
    assert!(fetch(18_083).is_some());

    // Part of a range, then all that port 80 has.
    daemon.hull(["port", "rm", "web", "18090:10080"]).ok();
    assert!(fetch(18_090).is_none());
    let left = inspect(&daemon, "web")["HostConfig"]["PortBindings"].clone();
    assert_eq!(left.as_object().map(serde_json::Map::len), Some(10), "{left}");
    daemon.hull(["port", "rm", "web", "80"]).ok();
    assert!(fetch(18_083).is_none() && TcpStream::connect("[::1]:18083").is_err());
    daemon
        .hull(["port", "rm", "web", "80"])
        .complains("port 80/tcp of container web is not published")
        .fails(1);
    daemon.hull(["restart", "-t", "0", "web"]).ok();
    assert!(fetch(18_083).is_none() && fetch(18_090).is_none(), "they do not come back");

    // Of a container that does not run: for its next start.
    daemon.hull(["create", "--name", "later", "busybox", "sh", "-c", SERVE]).ok();
    daemon.hull(["port", "add", "later", "18083:80"]).ok();
    assert!(fetch(18_083).is_none());
    daemon.hull(["start", "later"]).ok();
    assert!(eventually(PATIENCE, || fetch(18_083).is_some()));
    // Each of a range leads to its own, also from the host's IPv6 addresses.
    server(&daemon, "pair", &["-p", "10079-10080"]);
    let at: Vec<u16> = daemon
        .hull(["port", "pair", "10080"])
        .lines()
        .iter()
        .filter_map(|line| line.rsplit(':').next()?.parse().ok())
        .collect();
    assert_eq!(at.len(), 2);
    assert!(eventually(PATIENCE, || fetch(at[0]).is_some()));
    let mut by_ipv6 = TcpStream::connect(("::1", at[1])).expect("a relay");
    by_ipv6.write_all(b"GET /hello HTTP/1.0\r\n\r\n").expect("a request");
    let mut text = String::new();
    by_ipv6.read_to_string(&mut text).expect("an answer");
    assert!(text.contains("hello from inside"), "{text}");
    // A taken port is refused in Docker's words, and nothing has changed.
    let before = inspect(&daemon, "web");
    daemon
        .hull(["port", "add", "web", "18084:80", "18083:80"])
        .complains("port is already allocated")
        .fails(1);
    let after = inspect(&daemon, "web");
    for part in ["/HostConfig/PortBindings", "/NetworkSettings/Ports"] {
        assert_eq!(before.pointer(part), after.pointer(part));
    }
    let events = daemon.hull(["events", "--since", "1", "--until", "0s", "--format", "{{.Action}}"]);
    assert!(events.ok().contains("port add") && events.ok().contains("port remove"), "{events:?}");
}

#[test]
fn the_api_of_ports() {
    let daemon = Daemon::with_busybox();
    server(&daemon, "web", &["-P", "--expose", "80"]);
    let ports = |port: &str| json!({"PortBindings": {"80/tcp": [{"HostPort": port}]}});
    let added = daemon.api("POST", "/containers/web/ports", Some(&ports("18085")));
    assert_eq!(added.status, 200, "{}", added.message());
    let at = &added.json()["Ports"]["80/tcp"];
    assert!(
        at.as_array().is_some_and(|at| at.contains(&json!({"HostIp": "0.0.0.0", "HostPort": "18085"}))),
        "{at}"
    );
    assert!(eventually(PATIENCE, || fetch(18_085).is_some()));
    let removed = daemon.api("DELETE", "/containers/web/ports", Some(&ports("18085")));
    assert_eq!(removed.status, 200, "{}", removed.message());
    assert!(fetch(18_085).is_none());
    for (method, path, body, status) in [
        ("POST", "/containers/nobody/ports", ports("18085"), 404),
        ("POST", "/containers/web/ports", ports("x"), 400),
        ("POST", "/containers/web/ports", json!({}), 400),
        ("DELETE", "/containers/web/ports", ports("18085"), 404),
        ("DELETE", "/containers/web/ports", json!({"PortBindings": {"81/tcp": []}}), 404),
    ] {
        assert_eq!(daemon.api(method, path, Some(&body)).status, status, "{method} {path} {body}");
    }
    daemon.hull(["run", "-d", "--name", "bare", "--network", "none", "busybox", "sleep", "1000"]).ok();
    let refused = daemon.api("POST", "/containers/bare/ports", Some(&ports("18085")));
    assert_eq!((refused.status, refused.message().contains("network mode none")), (409, true));
}

#[test]
fn gateway_modes_are_seen_in_inspect() {
    let daemon = Daemon::with_busybox();
    let create =
        ["network", "create", "--ipv6", "-o", "com.docker.network.bridge.gateway_mode_ipv6=routed", "blue"];
    daemon.hull(create).ok();
    server(&daemon, "web", &["--network", "blue", "-p", "18086:80"]);
    let ports = inspect(&daemon, "web")["NetworkSettings"]["Ports"]["80/tcp"].clone();
    assert_eq!(ports, json!([{"HostIp": "0.0.0.0", "HostPort": "18086"}, {"HostIp": "::", "HostPort": ""}]));
    let mode = |value: &str| {
        let option = format!("com.docker.network.bridge.gateway_mode_ipv4={value}");
        daemon.hull(["network", "create", "-o", &option, "red"])
    };
    mode("isolated").complains("gateway mode 'isolated' can only be used for an internal network").fails(1);
    mode("open").complains("unknown gateway mode open").fails(1);
    assert!(!daemon.hull(["network", "ls", "--format", "{{.Name}}"]).ok().contains("red"));
}

#[test]
fn ports_move_to_the_network_that_leads_out() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    server(&daemon, "web", &["-p", "18087:80"]);
    daemon.hull(["network", "connect", "blue", "web"]).ok();
    daemon.hull(["network", "disconnect", "bridge", "web"]).ok();
    assert!(eventually(PATIENCE, || fetch(18_087).is_some()));
    assert_eq!(daemon.hull(["port", "web", "80"]).lines()[0], "0.0.0.0:18087");
    daemon.hull(["network", "disconnect", "blue", "web"]).ok();
    assert!(fetch(18_087).is_none());
    assert_eq!(inspect(&daemon, "web")["NetworkSettings"]["Ports"]["80/tcp"], Value::Null);
    daemon.hull(["network", "connect", "bridge", "web"]).ok();
    assert!(eventually(PATIENCE, || fetch(18_087).is_some()));
}

#[test]
fn a_flushed_firewall_is_healed_at_once_and_in_quiet() {
    let daemon = Daemon::with_busybox();
    server(&daemon, "web", &["-p", "18088:80"]);
    assert!(eventually(PATIENCE, || fetch(18_088).is_some()));
    let healed = || daemon.log().matches("the firewall was changed by somebody else").count();
    for (number, commands) in ["flush ruleset", "delete table ip hull"].iter().enumerate() {
        let done = std::process::Command::new("nft").arg(commands).status().expect("nft (package nftables)");
        assert!(done.success());
        let start = Instant::now();
        assert!(
            eventually(PATIENCE, || healed() == number + 1 && fetch(18_088).is_some()),
            "{}",
            daemon.log()
        );
        println!("{:?}", start.elapsed());
    }
    // What the daemon does itself is no reason, nor is what others do to tables of their own.
    daemon.hull(["port", "add", "web", "18089:80"]).ok();
    daemon.hull(["run", "--rm", "-p", "18090:80", "busybox", "true"]).ok();
    let own = "add table ip own; add chain ip own forward { type filter hook forward priority 10; }";
    assert!(std::process::Command::new("nft").arg(own).status().expect("nft").success());
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(healed(), 2, "{}", daemon.log());
}

/// How often the daemon's threads have gone to sleep.
fn sleeps(daemon: &Daemon) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("the daemon runs");
    let status = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let lines = status.filter_map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    lines.sum()
}

#[test]
fn an_idle_daemon_is_not_woken() {
    let daemon = Daemon::with_busybox();
    server(&daemon, "web", &["-p", "18091:80"]);
    // Threads without work end after some seconds; from then on there is nothing to do.
    let quiet = || {
        let before = sleeps(&daemon);
        std::thread::sleep(Duration::from_secs(6));
        sleeps(&daemon) == before
    };
    assert!(eventually(Duration::from_secs(60), quiet), "something wakes it up again and again");
}
