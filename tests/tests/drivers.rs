//! Networks on an interface of the host: macvlan, ipvlan, and what they make of it. The neighbour on the wire is a
//! network namespace of the test's own.

use std::process::{Child, Command, Stdio};

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};

const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

/// The end of a wire whose other end is in the neighbour's namespace.
struct Wire {
    name: &'static str,
    neighbour: Child,
}

impl Wire {
    /// The neighbour has `address`.
    fn new(name: &'static str, address: &str) -> Self {
        let neighbour = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().expect("unshare");
        let wire = Self { name, neighbour };
        let pid = wire.neighbour.id().to_string();
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("own namespace");
        let theirs = || std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs != own);
        assert!(eventually(PATIENCE, theirs), "the neighbour has a namespace of its own");
        ip(&["link", "add", name, "type", "veth", "peer", "name", "wire", "netns", &pid]);
        ip(&["link", "set", name, "up"]);
        wire.inside(&["ip", "link", "set", "wire", "up"]);
        wire.inside(&["ip", "addr", "add", address, "dev", "wire"]);
        wire
    }

    /// Runs a command at the neighbour's; says whether it succeeded.
    fn inside(&self, command: &[&str]) -> bool {
        let pid = self.neighbour.id().to_string();
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &pid, "-n"]).args(command).stdout(Stdio::null());
        nsenter.status().expect("nsenter").success()
    }

    fn reaches(&self, address: &str) -> bool {
        eventually(PATIENCE, || self.inside(&["busybox", "ping", "-c", "1", "-w", "1", address]))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", self.name]).status();
        let _ = self.neighbour.kill();
        let _ = self.neighbour.wait();
    }
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().expect("iproute2").success(), "ip {arguments:?}");
}

fn has_link(name: &str) -> bool {
    Command::new("ip").args(["link", "show", name]).output().expect("iproute2").status.success()
}

fn create(daemon: &Daemon, name: &str, flags: &[&str]) -> String {
    daemon.hull([&["network", "create", "-d", "macvlan"], flags, &[name]].concat()).ok().to_owned()
}

fn run(daemon: &Daemon, name: &str, flags: &[&str]) {
    daemon.hull([&["run", "-d", "--name", name], flags, &SLEEP].concat()).ok();
}

fn of(daemon: &Daemon, name: &str, field: &str) -> String {
    let template = format!("{{{{range .NetworkSettings.Networks}}}}{{{{{field}}}}}{{{{end}}}}");
    daemon.hull(["inspect", "-f", &template, name]).ok().to_owned()
}

#[test]
fn a_network_on_a_wire_has_several_subnets() {
    let mut daemon = Daemon::with_busybox();
    let wire = Wire::new("wire0", "10.66.0.1/30");
    assert!(wire.inside(&["ip", "addr", "add", "10.67.0.1/24", "dev", "wire"]));
    assert!(wire.inside(&["ip", "addr", "add", "fd67::9/64", "dev", "wire", "nodad"]));
    let first = ["-o", "parent=wire0", "--subnet", "10.66.0.0/30", "--gateway", "10.66.0.1"];
    let second = ["--subnet", "10.67.0.0/24", "--gateway", "10.67.0.1", "--ip-range", "10.67.0.128/25"];
    let six = ["--ipv6", "--subnet", "fd66::/126", "--subnet", "fd67::/64", "--gateway", "fd67::9"];
    let overlap = ["--subnet", "10.66.0.0/16"];
    let create_of =
        |flags: &[&str]| daemon.hull([&["network", "create", "-d", "macvlan"], flags, &["lan"]].concat());
    create_of(&[&first[..], &overlap].concat()).complains("overlap").fails(1);
    create_of(&[&first[..], &second, &six].concat()).ok();
    let inspected = daemon.hull(["network", "inspect", "lan"]).json();
    let subnets: Vec<_> = inspected[0]["IPAM"]["Config"].as_array().expect("pools").iter().collect();
    assert_eq!(
        subnets.iter().map(|pool| &pool["Subnet"]).collect::<Vec<_>>(),
        ["10.66.0.0/30", "10.67.0.0/24", "fd66::/126", "fd67::/64"]
    );
    assert_eq!(
        (&subnets[1]["Gateway"], &subnets[1]["IPRange"]),
        (&"10.67.0.1".into(), &"10.67.0.128/25".into())
    );
    // The first subnet with a free address gives it, and its router.
    for (name, ip, gateway) in [("one", "10.66.0.2", "10.66.0.1"), ("two", "10.67.0.128", "10.67.0.1")] {
        run(&daemon, name, &["--network", "lan"]);
        assert_eq!(
            (of(&daemon, name, ".IPAddress"), of(&daemon, name, ".Gateway")),
            (ip.to_owned(), gateway.to_owned())
        );
        assert!(wire.reaches(ip), "{ip}");
        daemon.hull(["exec", name, "ip", "route"]).says(&format!("default via {gateway} dev eth0"));
    }
    run(&daemon, "three", &["--network", "lan", "--ip", "10.67.0.7", "--ip6", "fd67::77"]);
    assert_eq!(
        (of(&daemon, "three", ".IPPrefixLen"), of(&daemon, "three", ".IPv6Gateway")),
        ("24".to_owned(), "fd67::9".to_owned())
    );
    assert!(wire.reaches("10.67.0.7") && wire.reaches("fd67::77"));
    let outside = ["run", "--rm", "--network", "lan", "--ip", "10.68.0.2", "busybox", "true"];
    daemon.hull(outside).complains("no configured subnet").fails(125);
    // What any of its subnets has no other network gets.
    let taken = ["network", "create", "--subnet", "10.67.0.0/25", "blue"];
    daemon.hull(taken).complains("Pool overlaps with other one on this address space").fails(1);
    daemon.kill9();
    daemon.restart();
    daemon.hull(["restart", "-t", "0", "two"]).ok();
    assert_eq!(of(&daemon, "two", ".Gateway"), "10.67.0.1");
    daemon.hull(["rm", "-f", "one", "two", "three"]).ok();
    daemon.hull(["network", "rm", "lan"]).ok();
}

#[test]
fn macvlan_is_on_the_wire() {
    let mut daemon = Daemon::with_busybox();
    let wire = Wire::new("wire0", "10.66.0.1/24");
    let subnet = ["-o", "parent=wire0", "--subnet", "10.66.0.0/24"];
    create(&daemon, "lan", &[&subnet[..], &["--gateway", "10.66.0.1"]].concat());
    run(&daemon, "one", &["--network", "lan", "--ip", "10.66.0.20", "--mac-address", "02:00:00:00:66:20"]);
    run(&daemon, "two", &["--network", "lan", "-p", "18099:80"]);
    assert_eq!(of(&daemon, "one", ".MacAddress"), "02:00:00:00:66:20");
    assert_eq!(of(&daemon, "one", ".Gateway"), "10.66.0.1");
    assert_eq!(of(&daemon, "two", ".IPAddress"), "10.66.0.2");
    assert!(wire.reaches("10.66.0.20") && wire.reaches("10.66.0.2"), "the neighbour sees both");
    daemon.hull(["exec", "one", "ip", "route"]).says("default via 10.66.0.1 dev eth0");
    daemon.hull(["exec", "one", "ip", "link", "show", "eth0"]).says("eth0@if");
    let ping = |to: &str| daemon.hull(["exec", "one", "ping", "-c", "1", "-w", "5", to]);
    ping("two").says("10.66.0.2");
    ping("10.66.0.1").ok();
    assert_eq!(daemon.hull(["port", "two"]).ok(), "", "there is no host between it and the wire");

    daemon.kill9();
    daemon.restart();
    assert!(wire.reaches("10.66.0.20"), "it lives on without the daemon");
    let ping = |to: &str| daemon.hull(["exec", "one", "ping", "-c", "1", "-w", "5", to]);
    ping("two").says("10.66.0.2");
    daemon.hull(["network", "disconnect", "lan", "two"]).ok();
    assert!(!daemon.hull(["exec", "two", "ls", "/sys/class/net"]).ok().contains("eth0"));
    daemon.hull(["network", "connect", "--ip", "10.66.0.30", "lan", "two"]).ok();
    ping("two").says("10.66.0.30");
    let paced = ["run", "--rm", "--network-rate-in", "1m", "--network", "lan", "busybox", "true"];
    daemon.hull(paced).complains("cannot hold a rate inwards").fails(125);
    daemon.hull(["restart", "-t", "0", "one"]).ok();
    assert!(wire.reaches("10.66.0.20"));
    daemon.hull(["network", "rm", "lan"]).complains("has active endpoints").fails(1);
    daemon.hull(["rm", "-f", "one", "two"]).ok();
    daemon.hull(["network", "rm", "lan"]).ok();
    assert!(has_link("wire0"), "the administrator's interface stays");
}

#[test]
fn macvlan_has_four_modes() {
    let daemon = Daemon::with_busybox();
    let wire = Wire::new("wire0", "10.66.0.1/24");
    let subnet = ["-o", "parent=wire0", "--subnet", "10.66.0.0/24"];
    for (mode, neighbourly) in [("bridge", true), ("private", false), ("vepa", false)] {
        let option = format!("macvlan_mode={mode}");
        create(&daemon, "lan", &[&subnet[..], &["-o", &option]].concat());
        run(&daemon, "one", &["--network", "lan", "--ip", "10.66.0.20"]);
        run(&daemon, "two", &["--network", "lan", "--ip", "10.66.0.21"]);
        assert!(wire.reaches("10.66.0.20"), "{mode}");
        let ping = daemon.hull(["exec", "one", "ping", "-c", "1", "-w", "2", "10.66.0.21"]);
        assert_eq!(ping.code == 0, neighbourly, "{mode}");
        daemon.hull(["rm", "-f", "one", "two"]).ok();
        daemon.hull(["network", "rm", "lan"]).ok();
    }
    create(&daemon, "all", &[&subnet[..], &["-o", "macvlan_mode=passthru"]].concat());
    run(&daemon, "one", &["--network", "all", "--ip", "10.66.0.20"]);
    assert!(wire.reaches("10.66.0.20"));
    let second = daemon.hull(["run", "--rm", "--network", "all", "busybox", "true"]);
    second.complains("failed to create the macvlan port").fails(125);
    // The kernel frees the interface before the answer: a restart finds it.
    for _ in 0..3 {
        daemon.hull(["restart", "-t", "0", "one"]).ok();
    }
    daemon.hull(["rm", "-f", "one"]).ok();
    daemon.hull(["network", "rm", "all"]).ok();
}

#[test]
fn macvlan_without_a_parent_leads_nowhere() {
    let daemon = Daemon::with_busybox();
    let id = create(&daemon, "alone", &["--subnet", "192.168.135.0/31"]);
    let parent = format!("dm-{}", &id[..12]);
    assert!(has_link(&parent), "{parent}");
    run(&daemon, "one", &["--network", "alone"]);
    assert_eq!(of(&daemon, "one", ".IPAddress"), "192.168.135.0", "no gateway takes an address");
    let ping = ["run", "--rm", "--network", "alone", "busybox", "ping", "-c", "1", "-w", "5", "one"];
    daemon.hull(ping).says("1 packets received");
    let outside = daemon.hull(["exec", "one", "ping", "-c", "1", "-w", "2", "8.8.8.8"]);
    outside.complains("Network is unreachable");
    daemon.hull(["exec", "one", "nslookup", "somebody.example"]).complains("").says("SERVFAIL");
    let network = daemon.hull(["network", "inspect", "alone"]).json();
    assert_eq!(network[0]["IPAM"]["Config"], serde_json::json!([{ "Subnet": "192.168.135.0/31" }]));
    daemon.hull(["rm", "-f", "one"]).ok();
    daemon.hull(["network", "rm", "alone"]).ok();
    assert!(eventually(PATIENCE, || !has_link(&parent)));
}

#[test]
fn networks_on_one_interface_share_it() {
    let daemon = Daemon::with_busybox();
    let _wire = Wire::new("wire0", "10.66.0.1/24");
    let on = |name: &str, flags: &[&str]| {
        let create = ["network", "create", "-d", "macvlan", "-o", "parent=wire0"];
        daemon.hull([&create[..], flags, &[name]].concat())
    };
    let subnet = ["--subnet", "10.66.0.0/24"];
    on(
        "first",
        &[&subnet[..], &["--ip-range", "10.66.0.0/28", "--aux-address", "router=10.66.0.1"]].concat(),
    )
    .ok();
    on("second", &subnet).ok();
    on("greedy", &["-o", "macvlan_mode=passthru"])
        .complains("cannot use mode passthru, macvlan network")
        .complains("is already using parent interface wire0")
        .fails(1);
    run(&daemon, "one", &["--network", "first"]);
    run(&daemon, "two", &["--network", "second"]);
    assert_eq!(
        (of(&daemon, "one", ".IPAddress"), of(&daemon, "two", ".IPAddress")),
        ("10.66.0.2".into(), "10.66.0.3".into())
    );
    let wish = ["run", "--rm", "--network", "second", "--ip", "10.66.0.2", "busybox", "true"];
    daemon.hull(wish).complains("Address already in use").fails(125);
    daemon.hull(["rm", "-f", "one", "two"]).ok();
    daemon.hull(["network", "rm", "first", "second"]).ok();
    on("greedy", &["-o", "macvlan_mode=passthru"]).ok();
    on("late", &[]).complains("is already using parent interface wire0 in mode passthru").fails(1);
    daemon.hull(["network", "rm", "greedy"]).ok();
}

#[test]
fn wishes_that_no_interface_meets_are_refused_in_dockers_words() {
    let daemon = Daemon::with_busybox();
    for (driver, option, text) in [
        ("macvlan", "parent=lo", "loopback interface is not a valid macvlan parent link"),
        (
            "macvlan",
            "parent=nosuch0",
            "invalid subinterface vlan name nosuch0, example formatting is eth0.10",
        ),
        ("macvlan", "parent=nosuch0.5", "-o parent interface was not found on the host: nosuch0"),
        ("macvlan", "parent=lo.9999", "vlan id must be between 1-4094, received: 9999"),
        ("macvlan", "macvlan_mode=sideways", "requested macvlan mode 'sideways' is not valid"),
        ("ipvlan", "ipvlan_mode=l4", "requested ipvlan mode 'l4' is not valid"),
        ("ipvlan", "ipvlan_flag=x", "requested ipvlan flag 'x' is not valid"),
        ("ipvlan", "parent=lo", "loopback interface is not a valid ipvlan parent link"),
    ] {
        daemon.hull(["network", "create", "-d", driver, "-o", option, "lan"]).complains(text).fails(1);
    }
    assert!(!daemon.hull(["network", "ls"]).ok().contains("lan"), "nothing is left of them");
}

#[test]
fn families_are_chosen_one_by_one() {
    let daemon = Daemon::with_busybox();
    let subnets = ["--subnet", "10.66.77.0/24", "--subnet", "2001:db8:abcd::/64"];
    for driver in ["macvlan", "bridge"] {
        for (v4, v6) in [(true, true), (true, false), (false, true), (false, false)] {
            if (driver, v4, v6) == ("bridge", false, false) {
                continue; // Refused, as in Docker.
            }
            let flags = [format!("--ipv4={v4}"), format!("--ipv6={v6}")];
            let create = ["network", "create", "-d", driver, &flags[0], &flags[1]];
            daemon.hull([&create[..], &subnets, &["lan"]].concat()).ok();
            run(&daemon, "one", &["--network", "lan"]);
            let shown = daemon.hull(["exec", "one", "ip", "addr", "show", "dev", "eth0"]).ok().to_owned();
            assert_eq!((shown.contains(" inet "), shown.contains(" inet6 ")), (v4, v6), "{driver}: {shown}");
            let off = daemon
                .hull(["exec", "one", "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"])
                .ok()
                .to_owned();
            assert_eq!(off, if v6 { "0" } else { "1" }, "{driver}");
            daemon.hull(["exec", "one", "ip", "addr", "show", "dev", "lo"]).says(" inet ").says(" inet6 ");
            let network = daemon.hull(["network", "inspect", "lan"]).json();
            assert_eq!(network[0]["EnableIPv4"], v4);
            assert_eq!(network[0]["EnableIPv6"], v6);
            assert_eq!(of(&daemon, "one", ".IPAddress").is_empty(), !v4);
            if v4 || v6 {
                let ping =
                    ["run", "--rm", "--network", "lan", "busybox", "ping", "-c", "1", "-w", "5", "one"];
                daemon.hull(ping).says("1 packets received");
            }
            daemon.hull(["rm", "-f", "one"]).ok();
            daemon.hull(["network", "rm", "lan"]).ok();
        }
    }
}
