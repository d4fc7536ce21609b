//! The name server at 127.0.0.11: what containers are told, and what they are not.

mod dns {
    pub(crate) mod kit;
}

use std::fs;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;

use dns::kit::{Host, address_of, ask, ask_by_tcp, ask_in, inside, pid_of, resolv_conf, sockets_of};
use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};
use simple_dns::{RCODE, TYPE};

const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

fn start(daemon: &Daemon, name: &str, flags: &[&str]) {
    daemon.hull([&["run", "-d", "--name", name], flags, &SLEEP].concat()).ok();
}

#[test]
fn containers_find_each_other() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "one", &["--network", "blue", "--network-alias", "db", "--hostname", "primary"]);
    start(&daemon, "two", &["--network", "blue", "--network-alias", "db"]);
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", "one"]).ok().to_owned();
    let (one, two) = (address_of(&daemon, "one"), address_of(&daemon, "two"));
    for name in ["one", "ONE", "one.blue", "primary", &id[..12]] {
        assert_eq!(ask(&daemon, "two", name, TYPE::A).addresses, [one], "{name}");
    }
    let both = ask(&daemon, "two", "db", TYPE::A);
    assert_eq!(both.sorted(), [one, two], "one alias of two containers");
    assert_eq!(ask_by_tcp(&daemon, "two", "db", TYPE::A).sorted(), [one, two]);
    let none = ask(&daemon, "two", "one", TYPE::AAAA);
    assert_eq!((none.code, none.addresses.len()), (RCODE::NoError, 0), "it exists, and has no such address");
    let IpAddr::V4(v4) = one else { panic!("{one}") };
    let [a, b, c, d] = v4.octets();
    let reverse = ask(&daemon, "two", &format!("{d}.{c}.{b}.{a}.in-addr.arpa"), TYPE::PTR);
    assert_eq!(reverse.names, ["one.blue"]);
    daemon.hull(["exec", "two", "ping", "-c", "1", "-w", "5", "db"]).ok();

    daemon.hull(["rename", "one", "first"]).ok();
    assert_eq!(ask(&daemon, "two", "first", TYPE::A).addresses, [one]);
    assert_ne!(ask(&daemon, "two", "one", TYPE::A).code, RCODE::NoError);
    daemon.hull(["rm", "-f", "first"]).ok();
    assert_eq!(ask(&daemon, "two", "db", TYPE::A).addresses, [two]);
    daemon.hull(["rm", "-f", "two"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn names_of_containers_and_networks_may_have_dots() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "net.blue"]).ok();
    start(&daemon, "one.first", &["--network", "net.blue"]);
    start(&daemon, "two", &["--network", "net.blue"]);
    for name in ["one.first", "one.first.net.blue"] {
        assert_eq!(
            ask(&daemon, "two", name, TYPE::A).addresses,
            [address_of(&daemon, "one.first")],
            "{name}"
        );
    }
    daemon.hull(["rm", "-f", "one.first", "two"]).ok();
    daemon.hull(["network", "rm", "net.blue"]).ok();
}

#[test]
fn links_are_names_of_one_container() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "db", &["--network", "blue"]);
    start(&daemon, "web", &["--network", "blue", "--link", "db:store"]);
    assert_eq!(ask(&daemon, "web", "store", TYPE::A).addresses, [address_of(&daemon, "db")]);
    assert_ne!(ask(&daemon, "db", "store", TYPE::A).code, RCODE::NoError, "it is nobody else's name");
    daemon.hull(["rm", "-f", "db", "web"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn names_end_at_the_network() {
    let daemon = Daemon::with_busybox();
    for network in ["blue", "red"] {
        daemon.hull(["network", "create", network]).ok();
    }
    start(&daemon, "in-blue", &["--network", "blue"]);
    start(&daemon, "in-red", &["--network", "red"]);
    start(&daemon, "on-bridge", &[]);
    assert_ne!(ask(&daemon, "in-red", "in-blue", TYPE::A).code, RCODE::NoError);
    assert_ne!(ask(&daemon, "in-red", "on-bridge", TYPE::A).code, RCODE::NoError);
    assert!(!resolv_conf(&daemon, "on-bridge").contains("127.0.0.11"), "the default bridge has no names");
    daemon.hull(["network", "connect", "--alias", "guest", "red", "in-blue"]).ok();
    let seen = ask(&daemon, "in-red", "guest", TYPE::A).addresses;
    assert_eq!(seen.len(), 1);
    assert_eq!(ask(&daemon, "in-blue", "in-red", TYPE::A).addresses, [address_of(&daemon, "in-red")]);
    daemon.hull(["network", "disconnect", "red", "in-blue"]).ok();
    assert_ne!(ask(&daemon, "in-red", "guest", TYPE::A).code, RCODE::NoError);
    daemon.hull(["rm", "-f", "in-blue", "in-red", "on-bridge"]).ok();
    daemon.hull(["network", "rm", "blue", "red"]).ok();
}

#[test]
fn everything_else_is_asked_where_the_host_asks() {
    let host = Host::with_stub("127.0.0.53");
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "box", &["--network", "blue"]);
    let known = Host::ADDRESS;
    assert_eq!(ask(&daemon, "box", "outside.example", TYPE::A).addresses, [known]);
    assert_eq!(ask(&daemon, "box", "outside.example", TYPE::A).addresses, [known]);
    assert_eq!(host.asked("outside.example"), 1, "the second answer came from the cache");
    assert_eq!(ask(&daemon, "box", "nosuch.example", TYPE::A).code, RCODE::NameError);
    let cut = ask(&daemon, "box", "big.example", TYPE::A);
    assert!(cut.truncated, "a long answer is left to TCP");
    assert_eq!(ask_by_tcp(&daemon, "box", "big.example", TYPE::A).addresses.len(), Host::MANY);
    assert_eq!(ask(&daemon, "box", "edns.example", TYPE::A).addresses.len(), 1, "options pass");
    daemon.hull(["exec", "box", "nslookup", "outside.example"]).says(&known.to_string());

    // The host moves to another network.
    let other = host.moves_to("127.0.0.54");
    assert_eq!(ask(&daemon, "box", "outside.example", TYPE::A).addresses, [known]);
    assert_eq!(other.asked("outside.example"), 1);
    daemon.hull(["rm", "-f", "box"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

/// CVE-2024-29018: questions of an internal network were passed on to servers outside.
#[test]
fn internal_networks_ask_nobody() {
    let host = Host::with_stub("127.0.0.53");
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "--internal", "vault"]).ok();
    start(&daemon, "one", &["--network", "vault"]);
    start(&daemon, "two", &["--network", "vault"]);
    assert_eq!(ask(&daemon, "one", "two", TYPE::A).addresses, [address_of(&daemon, "two")]);
    for kind in [TYPE::A, TYPE::TXT, TYPE::PTR] {
        assert_eq!(ask(&daemon, "one", "outside.example", kind).code, RCODE::ServerFailure);
        assert_eq!(ask_by_tcp(&daemon, "one", "outside.example", kind).code, RCODE::ServerFailure);
    }
    assert_eq!(host.asked("outside.example"), 0);
    daemon.hull(["network", "connect", "bridge", "one"]).ok();
    assert_eq!(ask(&daemon, "one", "outside.example", TYPE::A).addresses, [Host::ADDRESS]);
    daemon.hull(["rm", "-f", "one", "two"]).ok();
    daemon.hull(["network", "rm", "vault"]).ok();
}

/// A server that the user names may be a neighbour, also where nothing leads outside.
#[test]
fn an_internal_network_may_have_its_own_server() {
    let host = Host::with_stub("127.0.0.53");
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "--internal", "vault"]).ok();
    start(&daemon, "server", &["--network", "vault"]);
    let server = address_of(&daemon, "server").to_string();
    let stub = inside(&daemon, "server", || Host::stub("0.0.0.0"));
    start(&daemon, "one", &["--network", "vault", "--dns", &server]);
    assert_eq!(ask(&daemon, "one", "outside.example", TYPE::A).addresses, [Host::ADDRESS]);
    assert_eq!((stub.asked("outside.example"), host.asked("outside.example")), (1, 0));
    // The name server itself is nobody to ask.
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "two", &["--network", "blue", "--dns", "127.0.0.11"]);
    let begun = std::time::Instant::now();
    assert_eq!(ask(&daemon, "two", "outside.example", TYPE::A).code, RCODE::ServerFailure);
    assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(host.asked("outside.example"), 0);
    daemon.hull(["rm", "-f", "server", "one", "two"]).ok();
    daemon.hull(["network", "rm", "vault", "blue"]).ok();
}

#[test]
fn the_users_servers_are_asked_from_the_container() {
    let _host = Host::with_stub("127.0.0.53");
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "server", &["--network", "blue"]);
    let server = address_of(&daemon, "server").to_string();
    let stub = inside(&daemon, "server", || Host::stub("0.0.0.0"));
    let flags = ["--dns", &server, "--dns-search", "corp", "--dns-search", "lan", "--dns-option", "ndots:2"];
    start(&daemon, "box", &[&["--network", "blue"], &flags[..]].concat());
    let conf = resolv_conf(&daemon, "box");
    assert!(conf.contains("\nnameserver 127.0.0.11\nsearch corp lan\noptions ndots:2\n"), "{conf}");
    assert!(conf.contains(&format!("\n# ExtServers: [{server}]\n")), "{conf}");
    assert_eq!(ask(&daemon, "box", "outside.example", TYPE::A).addresses, [Host::ADDRESS]);
    assert_eq!(stub.asked("outside.example"), 1);
    assert_eq!(stub.clients(), [address_of(&daemon, "box")], "the container's own address asks");
    assert_eq!(ask(&daemon, "box", "short", TYPE::A).code, RCODE::NameError, "left to the search domains");
    assert_eq!(stub.asked("short"), 0);
    drop(stub);
    daemon.hull(["rm", "-f", "box", "server"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn port_53_is_the_containers_own() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "box", &["--network", "blue"]);
    let own = inside(&daemon, "box", || {
        (UdpSocket::bind("0.0.0.0:53").expect("udp"), TcpListener::bind("0.0.0.0:53").expect("tcp"))
    });
    assert_eq!(ask(&daemon, "box", "box", TYPE::A).addresses, [address_of(&daemon, "box")]);
    assert_eq!(ask_by_tcp(&daemon, "box", "box", TYPE::A).addresses, [address_of(&daemon, "box")]);
    own.0.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let address = address_of(&daemon, "box");
    UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"own", (address, 53))).expect("sent");
    let mut buffer = [0; 9];
    assert_eq!(own.0.recv(&mut buffer).expect("a question to the container's own server"), 3);
    daemon.hull(["rm", "-f", "box"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn answers_go_on_after_the_daemons_restart() {
    let mut daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "one", &["--network", "blue", "--network-alias", "db"]);
    start(&daemon, "two", &["--network", "blue", "--link", "one:store"]);
    let one = address_of(&daemon, "one");
    daemon.kill9();
    daemon.restart();
    for name in ["one", "db", "store"] {
        assert_eq!(ask(&daemon, "two", name, TYPE::A).addresses, [one], "{name}");
    }
    daemon.hull(["restart", "-t", "0", "two"]).ok();
    assert_eq!(ask(&daemon, "two", "db", TYPE::A).addresses, [one]);
    daemon.hull(["rm", "-f", "one", "two"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

/// The daemon is not the only holder of the sockets: what is asked while it is away is answered when it is back.
#[test]
fn questions_wait_for_the_daemon() {
    let mut daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "one", &["--network", "blue"]);
    let (one, before) = (address_of(&daemon, "one"), sockets_of(&daemon, "one"));
    assert!(eventually(PATIENCE, || is_held_by_supervisor(&daemon, "one", &before[0])));
    let pid = pid_of(&daemon, "one");
    daemon.kill9();
    let asked = std::thread::spawn(move || ask_in(&pid, "one", TYPE::A));
    std::thread::sleep(Duration::from_millis(300));
    daemon.restart();
    assert_eq!(asked.join().expect("an answer").addresses, [one]);
    assert_eq!(sockets_of(&daemon, "one"), before, "they are the same sockets");
    daemon.hull(["rm", "-f", "one"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

/// Whether the supervisor has the container's socket, too.
fn is_held_by_supervisor(daemon: &Daemon, name: &str, socket: &str) -> bool {
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", name]).ok().to_owned();
    let pid = fs::read_to_string(daemon.exec_root().join("shim").join(id).join("shim.pid")).expect("a pid");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", pid.trim())).expect("descriptors");
    let mut targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| target.to_string_lossy() == format!("socket:[{socket}]"))
}

#[test]
fn a_running_container_comes_by_names() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "one", &["--network", "blue"]);
    start(&daemon, "plain", &[]);
    start(&daemon, "edited", &[]);
    daemon.hull(["exec", "edited", "sh", "-c", "echo '# mine' >>/etc/resolv.conf"]).ok();
    for name in ["plain", "edited"] {
        daemon.hull(["network", "connect", "blue", name]).ok();
        assert_eq!(ask(&daemon, name, "one", TYPE::A).addresses, [address_of(&daemon, "one")]);
    }
    assert!(resolv_conf(&daemon, "plain").contains("nameserver 127.0.0.11\n"));
    let edited = resolv_conf(&daemon, "edited");
    assert!(edited.ends_with("# mine\n") && !edited.contains("127.0.0.11"), "{edited}");
    daemon.hull(["rm", "-f", "one", "plain", "edited"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn the_host_has_a_name_everywhere() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "--subnet", "10.66.0.0/24", "blue"]).ok();
    daemon.hull(["network", "create", "--internal", "--subnet", "10.67.0.0/24", "vault"]).ok();
    let ping = |flags: &[&str], name: &str| {
        daemon.hull([&["run", "--rm"], flags, &["busybox", "ping", "-c", "1", "-w", "5", name]].concat())
    };
    for name in ["host.docker.internal", "host.hull.internal"] {
        ping(&["--network", "blue"], name).says("(10.66.0.1)");
        ping(&["--network", "vault"], name).says("(10.67.0.1)");
        assert_eq!(ping(&[], name).code, 0, "the default bridge");
    }
    let own = ["--network", "blue", "--add-host", "host.docker.internal:127.0.0.9"];
    ping(&own, "host.docker.internal").says("(127.0.0.9)");
    ping(&own[2..], "host.docker.internal").says("(127.0.0.9)");
    daemon.hull(["network", "rm", "blue", "vault"]).ok();
}

#[test]
fn a_name_server_costs_the_default_bridge_nothing() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    start(&daemon, "plain", &[]);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("its descriptors").count();
    start(&daemon, "named", &["--network", "blue"]);
    daemon.hull(["rm", "-f", "named"]).ok();
    std::thread::sleep(Duration::from_secs(2));
    let before = descriptors();
    start(&daemon, "named", &["--network", "blue"]);
    assert_eq!((sockets_of(&daemon, "plain").len(), sockets_of(&daemon, "named").len()), (0, 1));
    daemon.hull(["rm", "-f", "named"]).ok();
    assert!(eventually(PATIENCE, || descriptors() <= before), "nothing of it stays");
    daemon.hull(["rm", "-f", "plain"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}
