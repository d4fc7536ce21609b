//! Ports by the thousand, ports that come and go, and the ways in that a network's options open. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hull_network::{Error, NetworkRequest, Networks, Protocol, Published};
use world::*;

const ANY: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn network(name: &str, options: &[(&str, &str)]) -> NetworkRequest {
    let key = |name: &str| format!("com.docker.network.bridge.{name}");
    let options =
        options.iter().map(|(name, value)| (key(name), (*value).to_owned())).collect::<BTreeMap<_, _>>();
    NetworkRequest { name: name.to_owned(), options, ..NetworkRequest::default() }
}

fn text<T>(result: Result<T, Error>) -> String {
    result.err().expect("a refusal").to_string()
}

/// What carries a port of the container on another one of its ports; asked there, it says which one it was.
fn serve(container: &Container, ports: &[u16]) {
    for port in ports {
        serve_tcp(container.sandbox.as_fd(), *port);
        serve_udp(container.sandbox.as_fd(), *port);
    }
}

fn reached(world: &World, port: u16) -> [Option<Ipv4Addr>; 2] {
    [ask_tcp(world.client.as_fd(), HOST, port), ask_udp(world.client.as_fd(), HOST, port)]
}

#[test]
fn ten_thousand_ports_are_one_of_everything() {
    on_a_host(|world| {
        let networks = world.open();
        let one = |container: u16| {
            ANY.map(|protocol| publish_range(protocol, 10_000..=19_999, container..=container + 9_999))
        };
        let mut times = Vec::new();
        for (name, container_port, set) in [("same", 10_000, "ranges"), ("moved", 20_000, "shifted")] {
            let start = Instant::now();
            let server = Container::new(&networks, name, "bridge", &one(container_port));
            times.push(start.elapsed());
            assert_eq!(
                (server.endpoint.ports.len(), elements(set), elements("ports")),
                (2, Some(2), Some(0))
            );
            let row: String = world
                .db
                .lock()
                .unwrap()
                .query_row("SELECT ports FROM network_endpoints", [], |row| row.get(0))
                .unwrap();
            assert!(row.len() < 300, "{row}");
            serve(&server, &[0, 5_555, 9_999].map(|offset| container_port + offset));
            for port in [10_000, 15_555, 19_999] {
                assert_eq!(reached(&world, port), [Some(CLIENT); 2], "port {port}");
            }
            assert_eq!(reached(&world, 10_001), [None; 2], "nobody listens there");
            // And by the host itself.
            assert!(ask_tcp_here(Ipv4Addr::LOCALHOST, 15_555).is_some());
            networks.release(&server.id).unwrap();
            assert_eq!(elements(set), Some(0));
        }
        println!("{times:?}");
        // Ten thousand bound sockets take longer than that.
        assert!(times.iter().all(|time| *time < Duration::from_millis(100)), "{times:?}");
    });
}

#[test]
fn a_moved_range_that_begins_anywhere_keeps_its_order() {
    on_a_host(|world| {
        let networks = world.open();
        // A prime number, so that it becomes several pieces.
        let range = publish_range(Protocol::Tcp, 8_009..=8_108, 1_000..=1_099);
        let server = Container::new(&networks, "server", "bridge", &[range]);
        for offset in [0, 1, 2, 50, 98, 99] {
            // Each answers at its own port only.
            serve_tcp(server.sandbox.as_fd(), 1_000 + offset);
            assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8_009 + offset), Some(CLIENT), "offset {offset}");
        }
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8_012), None);
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8_109), None);
    });
}

#[test]
fn a_range_with_a_listener_in_it_is_refused_as_a_whole() {
    on_a_host(|world| {
        let networks = world.open();
        let _listener = TcpListener::bind(("0.0.0.0", 12_345)).unwrap();
        let sandbox = networks.sandbox().unwrap();
        let wish = [publish_range(Protocol::Tcp, 10_000..=19_999, 20_000..=29_999)];
        let refused = text(networks.connect(sandbox.as_fd(), request("a", "bridge", &wish)));
        let cause = "failed to bind host port for 0.0.0.0:12345:172.17.0.2:22345/tcp: address already in use";
        assert!(refused.ends_with(cause), "{refused}");
        assert!(networks.inspect("bridge").unwrap().endpoints.is_empty());
        let uneven = [publish_range(Protocol::Tcp, 1_000..=1_009, 1_000..=1_008)];
        assert!(networks.connect(sandbox.as_fd(), request("a", "bridge", &uneven)).is_err());
    });
}

#[test]
fn ports_of_a_running_container_come_and_go() {
    on_both_kinds_of_host(|world| {
        let networks = world.open();
        let server = Container::new(&networks, "server", "bridge", &[]);
        serve(&server, &[80, 1_005]);
        assert_eq!(reached(&world, 8080), [None; 2]);
        // A client that goes on asking from one port gets there, too.
        let wishes = ANY.map(|protocol| publish(protocol, 8080, 80));
        let endpoints = networks.publish_ports(&server.id, &wishes).unwrap();
        assert_eq!(endpoints[0].ports.len(), 2);
        assert_eq!(reached(&world, 8080), [Some(CLIENT); 2]);
        // The container itself reaches it, and the host at its loopback address.
        assert!(ask_tcp(server.sandbox.as_fd(), HOST, 8080).is_some());
        assert!(ask_tcp_here(Ipv4Addr::LOCALHOST, 8080).is_some());
        assert!(TcpListener::bind(("0.0.0.0", 8080)).is_err(), "held");

        // Ranges that meet are one, and a part of them can go.
        for (host, container) in [(9_000..=9_009, 1_000..=1_009), (9_010..=9_019, 1_010..=1_019)] {
            networks.publish_ports(&server.id, &[publish_range(Protocol::Tcp, host, container)]).unwrap();
        }
        let range = *networks.endpoints(&server.id).unwrap()[0].ports.last().unwrap();
        assert_eq!((range.host_port, range.count), (9_000, 20));
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 9_005), Some(CLIENT));
        let part = Published { container_port: 1_005, host_port: 9_005, count: 1, ..range };
        let left = networks.withdraw_ports(&server.id, &[part]).unwrap();
        let counts: Vec<_> = left[0].ports.iter().map(|port| port.count).collect();
        assert_eq!(counts, [1, 1, 5, 14]);
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 9_005), None);
        assert!(TcpListener::bind(("0.0.0.0", 9_005)).is_ok(), "free again");
        assert_eq!(reached(&world, 8080), [Some(CLIENT); 2], "others stay");

        // A refusal changes nothing.
        let _other = TcpListener::bind(("0.0.0.0", 9_500)).unwrap();
        let before = networks.endpoints(&server.id).unwrap();
        let wishes = [publish(Protocol::Tcp, 9_400, 80), publish(Protocol::Tcp, 9_500, 80)];
        assert!(text(networks.publish_ports(&server.id, &wishes)).ends_with("address already in use"));
        assert_eq!(networks.endpoints(&server.id).unwrap(), before);
        assert!(TcpListener::bind(("0.0.0.0", 9_400)).is_ok());

        // A reopening finds what is left.
        drop(networks);
        let networks = world.open();
        networks.reconcile(&HashSet::from([server.id.clone()])).unwrap();
        assert_eq!(networks.endpoints(&server.id).unwrap(), before);
        assert_eq!(reached(&world, 8080), [Some(CLIENT); 2]);
        networks.release(&server.id).unwrap();
        assert_eq!(["ports", "shifted", "ranges"].map(elements), [Some(0); 3]);
        assert!(TcpListener::bind(("0.0.0.0", 8080)).is_ok());
    });
}

#[test]
fn a_flushed_table_has_the_ports_that_came_later() {
    on_a_host(|world| {
        let networks = world.open();
        let server = Container::new(&networks, "server", "bridge", &[]);
        serve(&server, &[80]);
        flush_table();
        networks.publish_ports(&server.id, &[publish(Protocol::Tcp, 8080, 80)]).unwrap();
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8080), Some(CLIENT));
        flush_table();
        let ports = networks.endpoints(&server.id).unwrap()[0].ports.clone();
        networks.withdraw_ports(&server.id, &ports).unwrap();
        assert_eq!(elements("ports"), Some(0));
        assert_eq!(
            text(networks.publish_ports("nobody", &[])),
            "container nobody is in no network that ports can be published by"
        );
    });
}

/// Who outside reaches ports 80 (published at 8080) and 81 of a container, by the container's own address.
fn direct(world: &World, networks: &Networks, options: &[(&str, &str)]) -> ([bool; 2], Container) {
    networks
        .create(NetworkRequest { subnet: "10.9.8.0/24".parse().ok(), ..network("blue", options) })
        .unwrap();
    let server = Container::new(networks, "server", "blue", &[publish(Protocol::Tcp, 8080, 80)]);
    serve(&server, &[80, 81]);
    let client = world.client.as_fd();
    ([80, 81].map(|port| ask_tcp(client, server.ip(), port) == Some(CLIENT)), server)
}

#[test]
fn the_gateway_modes_open_what_they_say() {
    let mode = "gateway_mode_ipv4";
    for (options, reached, outside) in [
        (vec![], [false, false], 8080),
        (vec![(mode, "nat")], [false, false], 8080),
        (vec![(mode, "nat-unprotected")], [true, true], 8080),
        (vec![(mode, "routed")], [true, false], 0),
        // Interfaces of trust lead to the published ports only.
        (vec![("trusted_host_interfaces", "none0:wire0")], [true, false], 8080),
        (vec![("trusted_host_interfaces", "wire7")], [false, false], 8080),
    ] {
        on_a_host(|world| {
            let networks = world.open();
            world.client_routes([10, 9, 8, 0], 24);
            let (found, server) = direct(&world, &networks, &options);
            assert_eq!(found, reached, "{options:?}");
            assert_eq!(server.endpoint.ports[0].host_port, outside, "{options:?}");
            let published = ask_tcp(world.client.as_fd(), HOST, 8080);
            assert_eq!(published, (outside != 0).then_some(CLIENT), "{options:?}");
            serve_tcp(world.client.as_fd(), 7000);
            // A routed network's containers are seen under their own addresses.
            let seen = if outside == 0 { server.ip() } else { HOST };
            assert_eq!(ask_tcp(server.sandbox.as_fd(), CLIENT, 7000), Some(seen), "{options:?}");
            // From another network a routed port is reached, and no other.
            let other = Container::new(&networks, "other", "bridge", &[]);
            let by_neighbour =
                [80, 81].map(|port| ask_tcp(other.sandbox.as_fd(), server.ip(), port).is_some());
            let trusted = options.iter().any(|(name, _)| name.starts_with("trusted"));
            assert_eq!(by_neighbour, if trusted { [false; 2] } else { reached }, "{options:?}");
            // Nothing of it is lost when the table is made anew, and nothing stays when the network goes.
            flush_table();
            assert!(networks.heal().unwrap());
            assert_eq!(ask_tcp(world.client.as_fd(), server.ip(), 80).is_some(), reached[0], "{options:?}");
            networks.release(&server.id).unwrap();
            drop(server);
            wait_for_no_container_links_but(1);
            networks.remove("blue").unwrap();
            let sets = ["open", "direct", "routed", "unprotected", "ports"];
            assert_eq!(sets.map(elements), [Some(0); 5], "{options:?}");
        });
    }
}

#[test]
fn a_routed_network_that_is_not_the_way_out_has_its_ports_open() {
    on_a_host(|world| {
        let networks = world.open();
        let blue = NetworkRequest {
            subnet: "10.9.8.0/24".parse().ok(),
            ..network("blue", &[("gateway_mode_ipv4", "routed")])
        };
        networks.create(blue).unwrap();
        world.client_routes([10, 9, 8, 0], 24);
        let ports = [publish(Protocol::Tcp, 8080, 80)];
        let server = Container::new(&networks, "server", "bridge", &ports);
        let mut wish = request("server", "blue", &ports);
        wish.publishes = [false; 2];
        let routed = networks.connect(server.sandbox.as_fd(), wish).unwrap();
        serve(&server, &[80]);
        assert_eq!(routed.ports.iter().map(|port| port.host_port).collect::<Vec<_>>(), [0]);
        // Its answers leave by the other network: the way back is told by the host's own translation only there.
        hull_sys::netns::within(server.sandbox.as_fd(), || {
            route("eth1", [198, 51, 100, 0], 24, routed.gateway.unwrap())
        })
        .unwrap();
        assert_eq!(ask_tcp(world.client.as_fd(), routed.address.unwrap().addr(), 80), Some(CLIENT));
        // What comes later is opened there, too, and goes from both.
        networks.publish_ports(&server.id, &[publish(Protocol::Tcp, 8081, 81)]).unwrap();
        let endpoints = networks.endpoints(&server.id).unwrap();
        let all: Vec<Published> = endpoints.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
        assert_eq!(
            all.iter().map(|port| (port.host_port, port.count)).collect::<Vec<_>>(),
            [(8080, 2), (0, 2)]
        );
        networks.withdraw_ports(&server.id, &all).unwrap();
        assert_eq!((elements("open"), elements("ports")), (Some(0), Some(0)));
    });
}

#[test]
fn an_isolated_network_has_no_address_of_the_host() {
    on_a_host(|world| {
        let networks = world.open();
        let isolated = [("gateway_mode_ipv4", "isolated"), ("name", "blue0")];
        assert_eq!(
            text(networks.create(network("blue", &isolated))),
            "gateway mode 'isolated' can only be used for an internal network"
        );
        assert!(!links().contains(&"blue0".to_owned()) && networks.list().unwrap().len() == 3);
        networks.create(NetworkRequest { internal: true, ..network("blue", &isolated) }).unwrap();
        let [a, b] = ["a", "b"].map(|name| Container::new(&networks, name, "blue", &[]));
        serve(&a, &[80]);
        assert_eq!(ask_tcp(b.sandbox.as_fd(), a.ip(), 80), Some(b.ip()));
        assert_eq!(ask_tcp_here(a.ip(), 80), None, "the host is not in it");
        // Point to point: no address of two is kept for a gateway.
        for (number, option) in
            [("gateway_mode_ipv4", "isolated"), ("inhibit_ipv4", "true")].into_iter().enumerate()
        {
            let name = format!("pair{number}");
            let subnet = format!("10.7.{number}.0/31").parse().ok();
            networks.create(NetworkRequest { internal: true, subnet, ..network(&name, &[option]) }).unwrap();
            assert_eq!(networks.inspect(&name).unwrap().ipam[0].gateway, None);
            let [one, other] =
                ["one", "other"].map(|end| Container::new(&networks, &format!("{end}{number}"), &name, &[]));
            serve(&one, &[80]);
            assert_eq!(ask_tcp(other.sandbox.as_fd(), one.ip(), 80), Some(other.ip()));
        }
        // A bridge with another router on it: no address either, but a way out.
        networks.create(network("red", &[("inhibit_ipv4", "true"), ("name", "red0")])).unwrap();
        let gateway = networks.inspect("red").unwrap().ipam[0].gateway.unwrap();
        assert_eq!(ask_tcp_here(gateway, 80), None);
        let red = Container::new(&networks, "red", "red", &[]);
        serve(&red, &[80]);
        assert_eq!(ask_tcp_here(red.ip(), 80), None);
        assert_eq!(red.endpoint.gateway, Some(gateway));
    });
}

#[test]
fn a_network_has_room_for_more_containers_than_a_bridge_has_ports() {
    const MANY: usize = 1_100;
    on_a_host(|world| {
        let networks = world.open();
        let before = links();
        networks.create(NetworkRequest { internal: true, ..network("blue", &[]) }).unwrap();
        let first = Container::new(&networks, "first", "blue", &[]);
        // All of them in one namespace: what counts is the ports of the bridge.
        let crowd = networks.sandbox().unwrap();
        for number in 0..MANY {
            let mut wish = request(&format!("c{number}"), "blue", &[]);
            wish.interface = Some(format!("c{number}"));
            networks.connect(crowd.as_fd(), wish).unwrap();
        }
        let last = Container::new(&networks, "last", "blue", &[]);
        for (one, other) in [(&first, &last), (&last, &first)] {
            serve(one, &[80]);
            assert_eq!(ask_tcp(other.sandbox.as_fd(), one.ip(), 80), Some(other.ip()));
            assert_eq!(ask_udp(other.sandbox.as_fd(), one.ip(), 80), Some(other.ip()));
            assert!(ask_tcp_here(one.ip(), 80).is_some(), "the host reaches both");
        }
        assert_eq!(elements("bridges"), Some(3));
        // A daemon that comes again knows what there is.
        drop(networks);
        let networks = world.open();
        let live: HashSet<String> =
            networks.inspect("blue").unwrap().endpoints.into_iter().map(|e| e.container).collect();
        let found = networks.reconcile(&live).unwrap();
        assert_eq!((found.endpoints, found.links, elements("bridges")), (0, 0, Some(3)));
        assert!(ask_tcp(first.sandbox.as_fd(), last.ip(), 80).is_some());
        for container in live {
            networks.release(&container).unwrap();
        }
        drop((first, last, crowd));
        wait_for_no_container_links();
        networks.remove("blue").unwrap();
        assert_eq!(elements("bridges"), Some(1));
        assert!(eventually(|| links() == before), "links are left: {:?}", links());
    });
}

#[test]
fn containers_behind_another_bridge_are_kept_apart_without_icc() {
    // With a few containers, by the kernel's own means: what matters is which ports are isolated.
    on_both_kinds_of_host(|world| {
        let networks = world.open();
        networks
            .create(NetworkRequest { internal: true, ..network("blue", &[("enable_icc", "false")]) })
            .unwrap();
        let first = Container::new(&networks, "first", "blue", &[]);
        let crowd = networks.sandbox().unwrap();
        for number in 0..965 {
            let mut wish = request(&format!("c{number}"), "blue", &[]);
            wish.interface = Some(format!("c{number}"));
            networks.connect(crowd.as_fd(), wish).unwrap();
        }
        let [one, other] = ["one", "other"].map(|name| Container::new(&networks, name, "blue", &[]));
        for container in [&first, &one, &other] {
            serve(container, &[80]);
            assert!(ask_tcp_here(container.ip(), 80).is_some(), "the host reaches it");
        }
        for (from, to) in [(&first, &one), (&one, &first), (&one, &other)] {
            assert_eq!(ask_tcp(from.sandbox.as_fd(), to.ip(), 80), None);
        }
    });
}
