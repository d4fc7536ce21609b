//! The daemon's flags for addresses and for ways in, with somebody on a wire outside: pools that avoid what the host
//! routes, IPv6 on the default bridge, direct routing and accepted marks.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use hull_sys::netns;
use hull_testkit::output::{PATIENCE, eventually};
use hull_testkit::{Daemon, images, namespaces};

const SERVE: &str = "mkdir /www; echo inside >/www/hello; exec httpd -f -p '[::]:80' -h /www";

/// What does not come by then does not come.
const GLANCE: Duration = Duration::from_millis(800);

/// Somebody in a network namespace of his own, on a wire of the host.
struct Outside {
    namespace: OwnedFd,
}

impl Outside {
    /// The host has the first address of each subnet on `wire0`, he has the second.
    fn new(subnets: &[(&str, u8)]) -> Self {
        namespaces::enter();
        let (namespace, ()) = netns::create(|| ()).expect("a namespace");
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        ip(&format!("link add wire0 type veth peer name wire1 netns {path}"));
        ip("link set wire0 up");
        let outside = Self { namespace };
        outside.ip("link set wire1 up");
        outside.ip("link set lo up");
        for (prefix, length) in subnets {
            let nodad = if prefix.contains(':') { " nodad" } else { "" };
            ip(&format!("addr add {prefix}1/{length} dev wire0{nodad}"));
            outside.ip(&format!("addr add {prefix}2/{length} dev wire1{nodad}"));
        }
        outside
    }

    fn ip(&self, arguments: &str) {
        self.within(|| ip(arguments));
    }

    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        netns::within(self.namespace.as_fd(), act).expect("his namespace")
    }

    fn fetches(&self, address: &str) -> bool {
        self.within(|| fetch(address)).is_some_and(|text| text.contains("inside"))
    }

    /// Tells who asks him, one at a time.
    fn serves(&self, port: u16) {
        let listener = self.within(|| TcpListener::bind(("::", port)).expect("his port"));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let who = stream.peer_addr().map(|address| address.ip().to_canonical().to_string());
                let _ = stream.write_all(who.unwrap_or_default().as_bytes());
            }
        });
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("tests need iproute2");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

fn fetch(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&address, GLANCE).ok()?;
    stream.set_read_timeout(Some(GLANCE)).ok()?;
    stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn start(flags: &[&str]) -> Daemon {
    let daemon = Daemon::start_with(flags);
    let archive = images::busybox(daemon.dir()).expect("an archive");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    daemon
}

fn of(daemon: &Daemon, name: &str, field: &str) -> String {
    let template = format!("{{{{range .NetworkSettings.Networks}}}}{{{{{field}}}}}{{{{end}}}}");
    daemon.hull(["inspect", "-f", &template, name]).ok().to_owned()
}

fn subnets(daemon: &Daemon, network: &str) -> Vec<String> {
    let template = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let found = daemon.hull(["network", "inspect", "-f", template, network]);
    found.ok().split_whitespace().map(str::to_owned).collect()
}

/// Who somebody outside says that a container is.
fn seen_as(daemon: &Daemon, name: &str, address: &str) -> Option<IpAddr> {
    let ask = format!("echo | timeout 3 nc {address} 7000");
    daemon.hull(["exec", name, "sh", "-c", &ask]).stdout.trim().parse().ok()
}

#[test]
fn the_default_bridge_has_ipv6_as_the_flags_say() {
    let outside = Outside::new(&[("198.51.100.", 24), ("2001:db8::", 64)]);
    let mut daemon = start(&["--ipv6", "--bip6", "fd77::9/64", "--fixed-cidr-v6", "fd77::5:0/112"]);
    let run = ["run", "-d", "--name", "web", "-p", "18087:80", "busybox", "sh", "-c", SERVE];
    daemon.hull(run).ok();
    assert_eq!(subnets(&daemon, "bridge")[1], "fd77::/64");
    assert_eq!(of(&daemon, "web", ".IPv6Gateway"), "fd77::9");
    assert_eq!(of(&daemon, "web", ".GlobalIPv6PrefixLen"), "64");
    let address = of(&daemon, "web", ".GlobalIPv6Address");
    assert!(address.starts_with("fd77::5:"), "{address}");
    outside.serves(7000);
    outside.ip("route add fd77::/64 via 2001:db8::1");
    for round in ["first", "after a restart"] {
        for place in ["198.51.100.1:18087", "[2001:db8::1]:18087"] {
            assert!(eventually(PATIENCE, || outside.fetches(place)), "{place}, {round}");
        }
        assert!(!outside.fetches(&format!("[{address}]:80")), "not by its own address, {round}");
        assert_eq!(seen_as(&daemon, "web", "2001:db8::2"), "2001:db8::1".parse().ok(), "{round}");
        assert_eq!(seen_as(&daemon, "web", "198.51.100.2"), "198.51.100.1".parse().ok(), "{round}");
        daemon.kill9();
        daemon.restart();
    }
    let other = ["run", "--rm", "busybox", "ping", "-6", "-c", "1", "-w", "5", &address];
    daemon.hull(other).says("1 packets received");
    // Names of the default bridge are in no name server: /etc/hosts knows the container itself, in both families.
    daemon.hull(["exec", "web", "cat", "/etc/hosts"]).says(&format!("{address}\t"));
    daemon.hull(["rm", "-f", "web"]).ok();
}

#[test]
fn pools_of_both_families_avoid_what_the_host_routes() {
    let outside = Outside::new(&[("10.213.0.", 24), ("fd78::", 64)]);
    let pools = ["base=10.213.0.0/16,size=24", "base=fd78::/48,size=64"];
    let flags = ["--ipv6", "--default-address-pool", pools[0], "--default-address-pool", pools[1]];
    let mut daemon = start(&flags);
    outside.serves(7000);
    assert_eq!(subnets(&daemon, "bridge"), ["10.213.1.0/24", "fd78:0:0:1::/64"]);
    let create = |daemon: &Daemon, name: &str| {
        daemon.hull(["network", "create", "--ipv6", name]).ok();
        subnets(daemon, name)
    };
    assert_eq!(create(&daemon, "blue"), ["10.213.2.0/24", "fd78:0:0:2::/64"]);
    // A VPN comes up.
    ip("route add 10.213.3.0/24 via 10.213.0.2");
    ip("route add fd78:0:0:3::/64 via fd78::2");
    assert_eq!(create(&daemon, "red"), ["10.213.4.0/24", "fd78:0:0:4::/64"]);
    for network in ["bridge", "blue", "red"] {
        daemon.hull(["run", "-d", "--name", network, "--network", network, "busybox", "sleep", "1000"]).ok();
        // What the host routes is reached by it, and by its own address there.
        assert_eq!(seen_as(&daemon, network, "10.213.0.2"), "10.213.0.1".parse().ok(), "{network}");
        assert_eq!(seen_as(&daemon, network, "fd78::2"), "fd78::1".parse().ok(), "{network}");
    }
    daemon.kill9();
    daemon.restart();
    assert_eq!(subnets(&daemon, "bridge"), ["10.213.1.0/24", "fd78:0:0:1::/64"]);
    assert_eq!(seen_as(&daemon, "blue", "fd78::2"), "fd78::1".parse().ok());
    daemon.hull(["rm", "-f", "bridge", "blue", "red"]).ok();
    daemon.hull(["network", "rm", "blue", "red"]).ok();
}

#[test]
fn direct_routing_and_marks_open_what_the_flags_say() {
    let outside = Outside::new(&[("198.51.100.", 24), ("2001:db8::", 64)]);
    let daemon = start(&["--allow-direct-routing", "--bridge-accept-fwmark=0xe/0xf"]);
    daemon
        .hull(["network", "create", "--ipv6", "--subnet", "10.50.0.0/24", "--subnet", "fd50::/64", "blue"])
        .ok();
    outside.ip("route add 10.50.0.0/24 via 198.51.100.1");
    outside.ip("route add fd50::/64 via 2001:db8::1");
    let run = |name: &str, flags: &[&str]| {
        let start = ["run", "-d", "--name", name, "--network", "blue"];
        daemon.hull([&start[..], flags, &["busybox", "sh", "-c", SERVE]].concat()).ok();
        [
            format!("{}:80", of(&daemon, name, ".IPAddress")),
            format!("[{}]:80", of(&daemon, name, ".GlobalIPv6Address")),
        ]
    };
    let open = run("open", &["-p", "18088:80"]);
    let shut = run("shut", &[]);
    for [open, shut] in [[&open[0], &shut[0]], [&open[1], &shut[1]]] {
        assert!(eventually(PATIENCE, || outside.fetches(open)), "{open}");
        assert!(fetch(shut).is_some(), "the host itself");
        assert!(!outside.fetches(shut), "{shut} is not published");
    }
    let rules = "table inet other {\nchain marks {\ntype filter hook prerouting priority raw;\n\
                 iifname \"wire0\" meta mark set 0xe\n}\n}";
    assert!(Command::new("nft").arg(rules).status().expect("tests need nftables").success());
    assert!(shut.iter().all(|shut| outside.fetches(shut)), "marked");
    assert!(Command::new("nft").args(["delete", "table", "inet", "other"]).status().expect("nft").success());
    assert!(!shut.iter().any(|shut| outside.fetches(shut)));
    daemon.hull(["rm", "-f", "open", "shut"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}
