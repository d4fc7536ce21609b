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
    assert_eq!(subnets(&daemon, "bridge")[0], "fd77::/64", "what somebody has named comes first");
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
        assert!(eventually(PATIENCE, || fetch(shut).is_some()), "the host itself");
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

#[test]
fn the_hosts_name_means_all_its_addresses() {
    let hosts = |daemon: &Daemon, more: &[&str]| {
        let run = ["run", "--rm", "--add-host", "gw:host-gateway"];
        daemon.hull([&run[..], more, &["busybox", "cat", "/etc/hosts"]].concat()).ok().to_owned()
    };
    let flags = ["--ipv6", "--bip", "10.214.0.1/24", "--bip6", "fd79::1/64"];
    let daemon = start(&[&flags[..], &["--default-gateway", "10.214.0.9"]].concat());
    let text = hosts(&daemon, &[]);
    assert!(text.contains("10.214.0.1\tgw\nfd79::1\tgw\n"), "{text}");
    let run = ["run", "-d", "--name", "web", "busybox", "sleep", "1000"];
    daemon.hull(run).ok();
    assert_eq!(of(&daemon, "web", ".Gateway"), "10.214.0.9");
    daemon.hull(["exec", "web", "ip", "route"]).says("default via 10.214.0.9");
    let template = "{{(index .IPAM.Config 0).AuxiliaryAddresses}}";
    daemon.hull(["network", "inspect", "-f", template, "bridge"]).says("10.214.0.9");
    daemon.hull(["rm", "-f", "web"]).ok();
    // A container without IPv6 in a network with it.
    let off = ["--sysctl", "net.ipv6.conf.all.disable_ipv6=1"];
    let text = hosts(&daemon, &off);
    assert!(text.starts_with("127.0.0.1\tlocalhost\n10.214.0.1\tgw\n"), "{text}");
    daemon.hull([&["run", "-d", "--name", "four"], &off[..], &["busybox", "sleep", "1000"]].concat()).ok();
    assert_eq!(of(&daemon, "four", ".GlobalIPv6Address"), "");
    daemon.hull(["rm", "-f", "four"]).ok();
    drop(daemon);
    // Of a flag with one value the last one holds; of a list all.
    let named =
        ["--host-gateway-ip", "fd80::7", "--host-gateway-ip", "10.7.0.7", "--icc=true", "--icc=false"];
    let daemon = start(&named);
    let text = hosts(&daemon, &[]);
    assert!(text.contains("10.7.0.7\tgw\nfd80::7\tgw\n"), "{text}");
    let icc = "{{index .Options \"com.docker.network.bridge.enable_icc\"}}";
    assert_eq!(daemon.hull(["network", "inspect", "-f", icc, "bridge"]).ok(), "false");
}

#[test]
fn options_say_which_families_a_network_has() {
    let option = |family: &str, value: &str| {
        format!("--default-network-opt=bridge=com.docker.network.enable_{family}={value}")
    };
    let daemon = start(&[&option("ipv4", "false"), &option("ipv6", "true")]);
    let made = |body: serde_json::Value, version: &str| {
        let answer = daemon.api("POST", &format!("/{version}/networks/create"), Some(&body));
        assert_eq!(answer.status, 201, "{body}");
        let made = daemon.api("GET", "/networks/made", None).json();
        daemon.hull(["network", "rm", "made"]).ok();
        let has = |field: &str| made[field].as_bool().expect("a flag");
        (has("EnableIPv4"), has("EnableIPv6"), made["Options"].as_object().expect("options").len())
    };
    let now = "v1.51";
    assert_eq!(made(serde_json::json!({"Name": "made"}), now), (false, true, 2));
    assert_eq!(made(serde_json::json!({"Name": "made", "EnableIPv4": true}), now), (true, true, 1));
    let both = serde_json::json!({"Name": "made", "EnableIPv4": true, "EnableIPv6": false});
    assert_eq!(made(both, now), (true, false, 0));
    let own = serde_json::json!({"Name": "made", "Options": {"com.docker.network.enable_ipv4": "1"}});
    assert_eq!(made(own, now), (true, true, 2));
    // Before that version of the API nobody could be without IPv4.
    let daemon = start(&[]);
    let body = serde_json::json!({"Name": "old", "EnableIPv4": false, "EnableIPv6": true});
    assert_eq!(daemon.api("POST", "/v1.46/networks/create", Some(&body)).status, 201);
    assert_eq!(daemon.api("GET", "/networks/old", None).json()["EnableIPv4"], true);
    let wrong = serde_json::json!({"Name": "x", "Options": {"com.docker.network.enable_ipv6": "maybe"}});
    let refused = daemon.api("POST", "/networks/create", Some(&wrong));
    let why = "driver-opt \"com.docker.network.enable_ipv6\" is not a valid bool";
    assert_eq!((refused.status, refused.json()["message"].as_str()), (400, Some(why)));
    daemon.hull(["network", "rm", "old"]).ok();
}

#[test]
fn endpoints_are_what_the_request_says() {
    let daemon = start(&[]);
    for (name, subnet) in [("red", "10.215.0.0/24"), ("blue", "10.215.1.0/24")] {
        daemon.hull(["network", "create", "--subnet", subnet, name]).ok();
        // Nobody has named a gateway.
        let template = "{{json .IPAM.Config}}";
        let found = daemon.hull(["network", "inspect", "-f", template, name]);
        assert_eq!(found.ok(), format!("[{{\"Subnet\":\"{subnet}\"}}]"));
    }
    let create = |endpoints: serde_json::Value| {
        let body = serde_json::json!({
            "Image": "busybox", "Cmd": ["sleep", "1000"], "NetworkingConfig": {"EndpointsConfig": endpoints}
        });
        daemon.api("POST", "/v1.51/containers/create?name=box", Some(&body))
    };
    // Who names networks and no mode is in those alone.
    let options = serde_json::json!({"com.docker.network.endpoint.ifname": "eth1"});
    let made = create(serde_json::json!({
        "red": {"DriverOpts": options}, "blue": {"MacAddress": "02:00:00:00:00:09"}
    }));
    assert_eq!(made.status, 201);
    daemon.hull(["start", "box"]).ok();
    daemon.hull(["exec", "box", "ip", "addr", "show", "eth1"]).says("10.215.0.2/24");
    daemon.hull(["exec", "box", "ip", "addr", "show", "eth0"]).says("10.215.1.2/24");
    daemon.hull(["exec", "box", "ip", "addr", "show", "eth2"]).fails(1);
    let taken =
        ["network", "connect", "--driver-opt", "com.docker.network.endpoint.ifname=eth0", "bridge", "box"];
    daemon.hull(taken).complains("error renaming interface to \"eth0\": file exists");
    daemon.hull(["rm", "-f", "box"]).ok();
    let wrong = serde_json::json!({"com.docker.network.endpoint.sysctls": "net.ipv4.ip_forward=1"});
    let refused = create(serde_json::json!({"red": {"DriverOpts": wrong}}));
    let why = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(refused.status, 400, "{why}");
    assert!(why.contains("unrecognised network interface sysctl 'net.ipv4.ip_forward=1'"), "{why}");
    let right =
        serde_json::json!({"com.docker.network.endpoint.sysctls": "net.ipv4.conf.ifname.log_martians=1"});
    assert_eq!(create(serde_json::json!({"red": {"DriverOpts": right}})).status, 201);
    daemon.hull(["start", "box"]).ok();
    daemon.hull(["exec", "box", "cat", "/proc/sys/net/ipv4/conf/eth0/log_martians"]).says("1");
    daemon.hull(["rm", "-f", "box"]).ok();
    // Older clients look for the hardware address there.
    let run = ["run", "-d", "--name", "box", "--network", "red", "--mac-address", "02:00:00:00:00:07"];
    daemon.hull([&run[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let old = daemon.api("GET", "/v1.51/containers/box/json", None).json();
    assert_eq!(old["Config"]["MacAddress"], "02:00:00:00:00:07");
    daemon.hull(["rm", "-f", "box"]).ok();
    daemon.hull(["network", "rm", "red", "blue"]).ok();
}
