//! The ways in and out that gateway modes and the daemon's configuration open, in both families: containers, the host as
//! a router, and a client outside that knows the way to the containers' own addresses. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;

use hull_network::{Config, NetworkRequest, Networks, Pool6Request, Protocol};
use hull_sys::netns;
use world::six::*;
use world::*;

const SUBNET: &str = "10.9.8.0/24";
const SUBNET6: &str = "fd50::/64";

/// A network of both families with these options of the bridge driver.
fn network(options: &[(&str, &str)]) -> NetworkRequest {
    let key = |name: &str| format!("com.docker.network.bridge.{name}");
    let options: BTreeMap<_, _> =
        options.iter().map(|(name, value)| (key(name), (*value).to_owned())).collect();
    let ipv6 = Pool6Request { subnet: SUBNET6.parse().ok(), ..Pool6Request::default() };
    NetworkRequest {
        name: "blue".to_owned(),
        subnet: SUBNET.parse().ok(),
        ipv6: Some(ipv6),
        options,
        ..NetworkRequest::default()
    }
}

/// By IPv4, by IPv6.
type Both<T> = [T; 2];

/// Who the container sees when it is asked over TCP at its own addresses; `None`: nobody gets there.
fn seen(from: BorrowedFd<'_>, server: &Container, port: u16) -> Both<Option<IpAddr>> {
    [ask_tcp(from, server.ip(), port).map(IpAddr::V4), ask6(from, six(server), port)[0]]
}

fn pings(from: BorrowedFd<'_>, to: IpAddr) -> bool {
    let ping = || {
        let mut command = Command::new("busybox");
        command.args(["ping", "-c", "1", "-W", "1", &to.to_string()]).output().expect("tests need busybox")
    };
    netns::within(from, ping).unwrap().status.success()
}

/// Published at 8080, and another port of the container's.
fn server(networks: &Networks) -> Container {
    let server = Container::new(networks, "server", "blue", &[publish(Protocol::Tcp, 8080, 80)]);
    for port in [80, 81] {
        // One socket for both families: an IPv4 client would be seen as ::ffff:…
        serve_tcp(server.sandbox.as_fd(), port);
        serve6_only(server.sandbox.as_fd(), port);
    }
    server
}

/// A network's ways, for each family.
struct Ways {
    /// Whether the published port, another one, and echo requests reach the container's own address from outside.
    published: bool,
    other: bool,
    ping: bool,
    /// Whether a port of the host leads to it, and it leaves under the host's address.
    translated: bool,
}

const NAT: Ways = Ways { published: false, other: false, ping: false, translated: true };
const UNPROTECTED: Ways = Ways { published: true, other: true, ping: true, translated: true };
const ROUTED: Ways = Ways { published: true, other: false, ping: true, translated: false };
/// By trusted interfaces, and by all of them with `--allow-direct-routing`.
const DIRECT: Ways = Ways { published: true, other: false, ping: false, translated: true };

fn check(config: &Config, options: &[(&str, &str)], ways: &Both<Ways>) {
    on_a_host(|world| {
        wire6(&world);
        world.client_routes([10, 9, 8, 0], 24);
        let networks = world.open_with(config.clone());
        networks.create(network(options)).unwrap();
        let server = server(&networks);
        let outside = world.client.as_fd();
        let client = [IpAddr::V4(CLIENT), IpAddr::V6(CLIENT6)];
        for port in [80, 81] {
            let reached = |ways: &Ways| if port == 80 { ways.published } else { ways.other };
            let wanted: Both<_> = [0, 1].map(|family| reached(&ways[family]).then_some(client[family]));
            assert_eq!(seen(outside, &server, port), wanted, "port {port} of {options:?}");
        }
        for (address, ways) in [IpAddr::V4(server.ip()), six(&server).into()].into_iter().zip(ways) {
            assert_eq!(pings(outside, address), ways.ping, "ping {address} of {options:?}");
        }
        let by_host = || [ask_tcp(outside, HOST, 8080).map(IpAddr::V4), ask6(outside, HOST6, 8080)[0]];
        let wanted: Both<_> = [0, 1].map(|family| ways[family].translated.then_some(client[family]));
        assert_eq!(by_host(), wanted, "the host's port, {options:?}");
        flush_table();
        assert!(networks.heal().unwrap());
        assert_eq!(by_host(), wanted, "the host's port, {options:?}, made anew");
        // And the way out: who the client sees.
        serve_tcp(outside, 7000);
        serve6_only(outside, 7000);
        let inside = server.sandbox.as_fd();
        let found = [ask_tcp(inside, CLIENT, 7000).map(IpAddr::V4), ask6(inside, CLIENT6, 7000)[0]];
        let own = [IpAddr::V4(server.ip()), six(&server).into()];
        let host = [IpAddr::V4(HOST), HOST6.into()];
        let wanted: Both<_> =
            [0, 1].map(|family| Some(if ways[family].translated { host[family] } else { own[family] }));
        assert_eq!(found, wanted, "out of {options:?}");
        // Nothing stays when it goes.
        networks.release(&server.id).unwrap();
        drop(server);
        wait_for_no_container_links();
        networks.remove("blue").unwrap();
        assert_eq!(["open", "direct", "routed", "unprotected", "ports"].map(elements), [Some(0); 5]);
    });
}

#[test]
fn gateway_modes_hold_in_both_families() {
    let (v4, v6) = ("gateway_mode_ipv4", "gateway_mode_ipv6");
    let config = Config::default();
    check(&config, &[], &[NAT, NAT]);
    check(&config, &[(v4, "nat-unprotected"), (v6, "nat-unprotected")], &[UNPROTECTED, UNPROTECTED]);
    check(&config, &[(v4, "routed"), (v6, "routed")], &[ROUTED, ROUTED]);
    // Each family has a mode of its own.
    check(&config, &[(v6, "routed")], &[NAT, ROUTED]);
    check(&config, &[(v4, "routed"), (v6, "nat-unprotected")], &[ROUTED, UNPROTECTED]);
    check(&config, &[("trusted_host_interfaces", "wire0")], &[DIRECT, DIRECT]);
    check(&config, &[(v4, "routed"), ("trusted_host_interfaces", "wire0")], &[ROUTED, DIRECT]);
}

#[test]
fn direct_routing_opens_published_ports_and_no_others() {
    let config = Config { direct_routing: true, ..Config::default() };
    check(&config, &[], &[DIRECT, DIRECT]);
    check(&config, &[("trusted_host_interfaces", "wire0")], &[DIRECT, DIRECT]);
    check(&config, &[("gateway_mode_ipv6", "routed")], &[DIRECT, ROUTED]);
    check(&config, &[("gateway_mode_ipv4", "nat-unprotected")], &[UNPROTECTED, DIRECT]);
}

#[test]
fn direct_routing_follows_the_ports_of_a_running_container() {
    on_a_host(|world| {
        wire6(&world);
        world.client_routes([10, 9, 8, 0], 24);
        let networks = world.open_with(Config { direct_routing: true, ..Config::default() });
        networks.create(network(&[])).unwrap();
        let server = server(&networks);
        let reached =
            || seen(world.client.as_fd(), &server, 81) == [Some(CLIENT.into()), Some(CLIENT6.into())];
        assert!(!reached());
        let endpoints = networks.publish_ports(&server.id, &[publish(Protocol::Tcp, 8081, 81)]).unwrap();
        assert!(reached());
        let ports: Vec<_> = endpoints.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
        networks.withdraw_ports(&server.id, &ports).unwrap();
        assert_eq!(seen(world.client.as_fd(), &server, 81), [None; 2]);
        assert_eq!(seen(world.client.as_fd(), &server, 80), [None; 2]);
        // Without the option nothing of it is left.
        networks.publish_ports(&server.id, &[publish(Protocol::Tcp, 8081, 81)]).unwrap();
        drop(networks);
        let networks = world.open();
        networks.reconcile(&[server.id.clone()].into()).unwrap();
        assert_eq!(seen(world.client.as_fd(), &server, 81), [None; 2]);
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8081), Some(CLIENT));
    });
}

#[test]
fn marked_packets_pass_but_to_internal_networks() {
    on_a_host(|world| {
        wire6(&world);
        world.client_routes([10, 9, 0, 0], 16);
        let networks = world.open_with(Config { accepted_mark: "2/3".parse().ok(), ..Config::default() });
        networks.create(network(&[])).unwrap();
        let vault = NetworkRequest {
            name: "vault".to_owned(),
            internal: true,
            subnet: "10.9.7.0/24".parse().ok(),
            ..dual("vault", "fd51::/64")
        };
        networks.create(vault).unwrap();
        let server = server(&networks);
        let kept = Container::new(&networks, "kept", "vault", &[]);
        serve_tcp(kept.sandbox.as_fd(), 81);
        serve6_only(kept.sandbox.as_fd(), 81);
        let outside = world.client.as_fd();
        let own: [IpAddr; 2] = [server.ip().into(), six(&server).into()];
        let mark = |value: &str| {
            let rules = format!(
                "table inet other {{
chain marks {{
type filter hook prerouting priority raw;
\
                 iifname \"wire0\" meta mark set {value}
}}
}}"
            );
            let run = |arguments: &[&str]| Command::new("nft").args(arguments).output().unwrap();
            run(&["delete", "table", "inet", "other"]);
            let made = run(&[&rules]);
            assert!(made.status.success(), "{made:?}");
        };
        assert_eq!(seen(outside, &server, 81), [None; 2]);
        mark("0xd");
        assert_eq!(seen(outside, &server, 81), [None; 2], "another mark");
        mark("0xe");
        let client = [Some(CLIENT.into()), Some(CLIENT6.into())];
        assert_eq!(seen(outside, &server, 81), client);
        assert!(own.iter().all(|address| pings(outside, *address)));
        assert_eq!(seen(outside, &kept, 81), [None; 2], "internal");
        assert!(!networks.heal().unwrap(), "it is a part of the table as it is to be");
    });
}

#[test]
fn isolated_networks_have_no_address_of_the_host_in_either_family() {
    on_a_host(|world| {
        wire6(&world);
        world.client_routes([10, 9, 8, 0], 24);
        let networks = world.open();
        let isolated = [("gateway_mode_ipv4", "isolated"), ("gateway_mode_ipv6", "isolated")];
        for one in isolated {
            let refused = networks.create(network(&[one])).unwrap_err().to_string();
            assert_eq!(refused, "gateway mode 'isolated' can only be used for an internal network");
        }
        let name = ("name", "blue0");
        let wish = NetworkRequest { internal: true, ..network(&[isolated[0], isolated[1], name]) };
        networks.create(wish).unwrap();
        let [one, other] = ["one", "other"].map(|name| Container::new(&networks, name, "blue", &[]));
        serve_tcp(one.sandbox.as_fd(), 81);
        serve6_only(one.sandbox.as_fd(), 81);
        let neighbour = [Some(other.ip().into()), Some(six(&other).into())];
        assert_eq!(seen(other.sandbox.as_fd(), &one, 81), neighbour);
        let here = netns::current().unwrap();
        assert_eq!(seen(here.as_fd(), &one, 81), [None; 2], "the host");
        assert_eq!(seen(world.client.as_fd(), &one, 81), [None; 2], "the client");
        let addresses = Command::new("ip").args(["-o", "addr", "show", "dev", "blue0"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&addresses.stdout), "", "no address, not even a link-local one");
        let inside =
            netns::within(one.sandbox.as_fd(), || Command::new("ip").args(["-6", "route"]).output().unwrap());
        assert!(!String::from_utf8_lossy(&inside.unwrap().stdout).contains("default"));
        assert_eq!(one.endpoint.gateway, None::<Ipv4Addr>);
        assert_eq!(one.endpoint.gateway6, None);
    });
}
