//! Networks with IPv6 beside IPv4, as clients see them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use hull_testkit::output::{PATIENCE, eventually};
use hull_testkit::{Daemon, images};

const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

fn start(daemon: &Daemon, name: &str, flags: &[&str]) {
    daemon.hull([&["run", "-d", "--name", name], flags, &SLEEP].concat()).ok();
}

fn of(daemon: &Daemon, name: &str, field: &str) -> String {
    let template = format!("{{{{range .NetworkSettings.Networks}}}}{{{{{field}}}}}{{{{end}}}}");
    daemon.hull(["inspect", "-f", &template, name]).ok().to_owned()
}

fn fetch(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn a_network_has_both_families() {
    let mut daemon = Daemon::with_busybox();
    let flags = ["--subnet", "10.50.0.0/24", "--subnet", "fd50::/64", "--gateway", "fd50::9"];
    daemon.hull([&["network", "create", "--ipv6"], &flags[..], &["blue"]].concat()).ok();
    let network = daemon.hull(["network", "inspect", "blue"]).json();
    assert_eq!((&network[0]["EnableIPv4"], &network[0]["EnableIPv6"]), (&true.into(), &true.into()));
    assert_eq!(network[0]["IPAM"]["Config"][1]["Subnet"], "fd50::/64");
    assert_eq!(network[0]["IPAM"]["Config"][1]["Gateway"], "fd50::9");
    start(&daemon, "one", &["--network", "blue"]);
    start(&daemon, "two", &["--network", "blue", "--ip6", "fd50::77"]);
    assert_eq!(of(&daemon, "one", ".GlobalIPv6Address"), "fd50::1");
    assert_eq!(of(&daemon, "two", ".GlobalIPv6Address"), "fd50::77");
    assert_eq!(of(&daemon, "two", ".GlobalIPv6PrefixLen"), "64");
    assert_eq!(of(&daemon, "two", ".IPv6Gateway"), "fd50::9");
    let network = daemon.hull(["network", "inspect", "blue"]).json();
    let containers: Vec<_> = network[0]["Containers"].as_object().expect("containers").values().collect();
    assert!(containers.iter().any(|one| one["IPv6Address"] == "fd50::77/64"), "{containers:?}");

    let ping = |from: &str, to: &str| daemon.hull(["exec", from, "ping", "-6", "-c", "1", "-w", "5", to]);
    ping("one", "two").says("fd50::77");
    ping("two", "fd50::9").ok();
    daemon.hull(["exec", "two", "cat", "/etc/hosts"]).says("fd50::77\t").says("10.50.0.");
    let route = daemon.hull(["exec", "two", "ip", "-6", "route"]);
    route.says("default via fd50::9");
    daemon.kill9();
    daemon.restart();
    let ping = |from: &str, to: &str| daemon.hull(["exec", from, "ping", "-6", "-c", "1", "-w", "5", to]);
    ping("two", "one").ok();
    daemon.hull(["network", "disconnect", "blue", "two"]).ok();
    assert!(!daemon.hull(["exec", "two", "ip", "-6", "addr"]).ok().contains("fd50"));
    daemon.hull(["network", "connect", "--ip6", "fd50::78", "blue", "two"]).ok();
    ping("one", "two").says("fd50::78");
    daemon.hull(["rm", "-f", "one", "two"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn a_port_is_published_in_both_families() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "--ipv6", "--subnet", "fd50::/64", "blue"]).ok();
    let script = "mkdir /www; echo hello >/www/hello; exec httpd -f -p '[::]:80' -h /www";
    let run =
        ["run", "-d", "--name", "web", "--network", "blue", "-p", "18083:80", "busybox", "sh", "-c", script];
    daemon.hull(run).ok();
    assert_eq!(daemon.hull(["port", "web", "80"]).lines(), ["0.0.0.0:18083", "[::]:18083"]);
    for address in ["127.0.0.1:18083", "[fd50::1]:18083"] {
        let found = || fetch(address).is_some_and(|text| text.contains("hello"));
        assert!(eventually(PATIENCE, found), "{address}");
    }
    let other = ["run", "--rm", "--network", "blue", "-p", "[::]:18083:80", "busybox", "true"];
    daemon.hull(other).complains("Bind for [::]:18083 failed: port is already allocated").fails(125);
    daemon.hull(["rm", "-f", "web"]).ok();
    assert!(fetch("[fd50::1]:18083").is_none(), "closed again");
    daemon.hull(["network", "rm", "blue"]).ok();
}

/// CVE-2024-32473: containers of networks without IPv6 had link-local addresses. CVE-2020-13401: a container's router
/// advertisements were believed.
#[test]
fn what_is_off_is_off() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "--ipv6", "blue"]).ok();
    daemon.hull(["network", "create", "plain"]).ok();
    start(&daemon, "four", &["--network", "plain"]);
    start(&daemon, "six", &["--network", "blue"]);
    let addresses = daemon.hull(["exec", "four", "cat", "/proc/net/if_inet6"]).ok().to_owned();
    assert!(addresses.lines().all(|line| line.ends_with(" lo")), "{addresses}");
    let accepts = |name: &str| {
        daemon.hull(["exec", name, "cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"]).ok().to_owned()
    };
    assert_eq!(accepts("six"), "0");
    for network in ["blue", "plain"] {
        let id = daemon.hull(["network", "inspect", "-f", "{{.Id}}", network]).ok().to_owned();
        let read = |name: &str| {
            let path = format!("/proc/sys/net/ipv6/conf/br-{}/{name}", &id[..12]);
            std::fs::read_to_string(path).expect("a switch").trim().to_owned()
        };
        assert_eq!(read("accept_ra"), "0");
        assert_eq!(read("disable_ipv6"), if network == "plain" { "1" } else { "0" });
    }
    daemon.hull(["rm", "-f", "four", "six"]).ok();
    daemon.hull(["network", "rm", "blue", "plain"]).ok();
}

#[test]
fn wishes_that_cannot_be_met_are_refused() {
    let daemon = Daemon::with_busybox();
    let create = |flags: &[&str]| daemon.hull([&["network", "create"], flags, &["blue"]].concat());
    create(&["--subnet", "10.1.0.0/24", "--subnet", "10.2.0.0/24"]).complains("multiple subnets").fails(1);
    create(&["--ipv6", "--subnet", "fd50::1/64"]).complains("invalid subnet fd50::1/64").fails(1);
    create(&["--ipv6", "--gateway", "fd50::1"]).complains("must have a corresponding subnet").fails(1);
    daemon.hull(["network", "create", "--subnet", "10.50.0.0/24", "blue"]).ok();
    let run = ["run", "--rm", "--network", "blue", "--ip6", "fd50::2", "busybox", "true"];
    daemon.hull(run).complains("networks with user configured subnets").fails(125);
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn ports_are_reached_by_ipv6_where_the_container_has_none() {
    let serve = "mkdir /www; echo inside >/www/hello; exec httpd -f -p 80 -h /www";
    let run = ["run", "-d", "--name", "web", "-p", "18083:80", "busybox", "sh", "-c", serve];
    let mut daemon = Daemon::with_busybox();
    daemon.hull(run).ok();
    assert_eq!(daemon.hull(["port", "web", "80"]).lines(), ["0.0.0.0:18083", "[::]:18083"]);
    for _ in 0..2 {
        let fetched = || fetch("[::1]:18083").is_some_and(|text| text.contains("inside"));
        assert!(eventually(PATIENCE, fetched));
        daemon.kill9();
        daemon.restart();
    }
    // The port is free at once, for us and for others.
    daemon.hull(["restart", "-t", "0", "web"]).ok();
    daemon.hull(["rm", "-f", "web"]).ok();
    TcpListener::bind("[::]:18083").expect("a free port");
}

#[test]
fn without_the_userland_proxy_ports_are_those_of_the_containers_families() {
    let daemon = Daemon::start_with(&["--userland-proxy=false"]);
    let archive = images::busybox(daemon.dir()).expect("an archive");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    daemon.hull(["run", "-d", "--name", "web", "-p", "18083:80", "busybox", "sleep", "1000"]).ok();
    assert_eq!(daemon.hull(["port", "web", "80"]).ok(), "0.0.0.0:18083");
    assert!(std::net::TcpStream::connect("[::1]:18083").is_err());
}

#[test]
fn each_family_is_published_by_the_network_that_has_it() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["network", "create", "four"]).ok();
    daemon.docker(["network", "create", "--ipv4=false", "--ipv6", "--subnet", "fd66::/64", "six"]).ok();
    daemon.docker(["network", "create", "--ipv6", "sixandfour"]).ok();
    let run = |flags: &[&str]| {
        let serve = "mkdir /www; echo hello >/www/hello; exec httpd -f -p 80 -h /www";
        let start = ["run", "-d", "--name", "box", "-p", "18085:80"];
        daemon.docker([&start[..], flags, &["busybox", "sh", "-c", serve]].concat()).ok();
    };
    let published = || {
        let template = "{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{.HostPort}},{{end}}{{end}}";
        daemon.docker(["inspect", "-f", template, "box"]).ok().to_owned()
    };
    let reached = |address: &str| fetch(address).is_some_and(|text| text.ends_with("hello\n"));
    let both = || [reached("127.0.0.1:18085"), reached("[fd66::1]:18085")];
    let (v4, v6) = ("0.0.0.0 18085,", ":: 18085,");

    run(&["--network", "four", "--network", "six"]);
    assert_eq!(published(), [v4, v6].concat());
    assert!(eventually(PATIENCE, || both() == [true; 2]), "{:?}", both());
    daemon.docker(["network", "disconnect", "four", "box"]).ok();
    assert_eq!((published().as_str(), both()), (v6, [false, true]), "it never went by the other network");
    daemon.docker(["network", "connect", "four", "box"]).ok();
    assert_eq!((published(), both()), ([v4, v6].concat(), [true; 2]));
    daemon.docker(["network", "disconnect", "six", "box"]).ok();
    assert_eq!(
        (published(), both()),
        ([v4, v6].concat(), [true; 2]),
        "relayed, as without the other network"
    );
    daemon.docker(["network", "connect", "six", "box"]).ok();
    daemon.docker(["network", "disconnect", "four", "box"]).ok();
    assert_eq!((published().as_str(), both()), (v6, [false, true]));
    daemon.docker(["rm", "-f", "box"]).ok();

    // A network that has both is preferred to one that comes first.
    run(&["--network", "four", "--network", "sixandfour"]);
    assert_eq!(published(), [v4, v6].concat());
    let device = |name: &str| {
        let route = daemon.docker(["exec", "box", "ip", name, "route", "show", "default"]).ok().to_owned();
        route.split(' ').skip_while(|word| *word != "dev").nth(1).map(str::to_owned)
    };
    assert_eq!(device("-4"), device("-6"));
    daemon.docker(["network", "disconnect", "sixandfour", "box"]).ok();
    assert_eq!((published(), both()), ([v4, v6].concat(), [true; 2]));
    daemon.docker(["rm", "-f", "box"]).ok();

    let own = ["-p", "127.0.0.1:18086:80", "-p", "[::1]:18087:80"];
    run(&[&own[..], &["--network", "four", "--network", "six"]].concat());
    let all = "0.0.0.0 18085,127.0.0.1 18086,:: 18085,::1 18087,";
    let mut found: Vec<_> = published().split_inclusive(',').map(str::to_owned).collect();
    found.sort();
    assert_eq!(found.concat(), all);
    assert!(eventually(PATIENCE, || reached("127.0.0.1:18086")));
    daemon.docker(["rm", "-f", "box"]).ok();
    for network in ["four", "six", "sixandfour"] {
        daemon.docker(["network", "rm", network]).ok();
    }
}

#[test]
fn among_equals_the_network_whose_name_comes_first_leads_out() {
    let daemon = Daemon::with_busybox();
    for (name, subnet) in [("zz", "10.61.0.0/24"), ("aa", "10.62.0.0/24")] {
        daemon.docker(["network", "create", "--subnet", subnet, name]).ok();
    }
    daemon.docker(["run", "-d", "--name", "box", "--network", "zz", "busybox", "sleep", "1000"]).ok();
    let route = || daemon.docker(["exec", "box", "ip", "route", "show", "default"]).ok().to_owned();
    assert!(route().starts_with("default via 10.61.0.1 "), "{}", route());
    daemon.docker(["network", "connect", "aa", "box"]).ok();
    assert!(route().starts_with("default via 10.62.0.1 "), "{}", route());
    daemon.docker(["restart", "-t", "0", "box"]).ok();
    assert!(route().starts_with("default via 10.62.0.1 "), "{}", route());
    daemon.docker(["network", "disconnect", "aa", "box"]).ok();
    assert!(route().starts_with("default via 10.61.0.1 "), "{}", route());
    daemon.docker(["rm", "-f", "box"]).ok();
    daemon.docker(["network", "rm", "aa", "zz"]).ok();
}
