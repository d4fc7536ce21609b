//! Who reaches whom: containers, the host and a client outside, over real sockets. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use hull_network::{Config, EndpointRequest, Link, NetworkRequest, PortBinding, Protocol};
use hull_sys::netns;
use world::*;

const ANY: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn network(name: &str) -> NetworkRequest {
    NetworkRequest { name: name.to_owned(), ..NetworkRequest::default() }
}

#[test]
fn containers_get_out_under_the_hosts_address() {
    on_a_host(|world| {
        let networks = world.open();
        let container = Container::new(&networks, "a", "bridge", &[]);
        serve_tcp(world.client.as_fd(), 7000);
        serve_udp(world.client.as_fd(), 7000);
        assert_eq!(ask_tcp(container.sandbox.as_fd(), CLIENT, 7000), Some(HOST));
        assert_eq!(ask_udp(container.sandbox.as_fd(), CLIENT, 7000), Some(HOST));
    });
}

#[test]
fn a_network_may_leave_by_another_of_the_hosts_addresses() {
    on_a_host(|world| {
        let other = Ipv4Addr::new(198, 51, 100, 9);
        address("wire0", other, 24);
        let networks = world.open();
        let options = [("com.docker.network.host_ipv4".to_owned(), other.to_string())];
        networks.create(NetworkRequest { options: options.into(), ..network("blue") }).unwrap();
        let chosen = Container::new(&networks, "a", "blue", &[publish(Protocol::Tcp, 8080, 80)]);
        let usual = Container::new(&networks, "b", "bridge", &[]);
        serve_tcp(world.client.as_fd(), 7000);
        serve_udp(world.client.as_fd(), 7000);
        serve_tcp(chosen.sandbox.as_fd(), 80);
        for _ in 0..2 {
            assert_eq!(ask_tcp(chosen.sandbox.as_fd(), CLIENT, 7000), Some(other));
            assert_eq!(ask_udp(chosen.sandbox.as_fd(), CLIENT, 7000), Some(other));
            assert_eq!(ask_tcp(usual.sandbox.as_fd(), CLIENT, 7000), Some(HOST));
            assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8080), Some(CLIENT));
            networks.rebuild_firewall().unwrap();
        }
    });
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    on_both_kinds_of_host(|world| {
        let networks = world.open();
        let ports = ANY.map(|protocol| publish(protocol, 8080, 80));
        let server = Container::new(&networks, "server", "bridge", &ports);
        let neighbour = Container::new(&networks, "neighbour", "bridge", &[]);
        serve_tcp(server.sandbox.as_fd(), 80);
        serve_udp(server.sandbox.as_fd(), 80);
        let gateway = server.endpoint.gateway.unwrap();

        // From outside, and the container sees who asks.
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8080), Some(CLIENT));
        assert_eq!(ask_udp(world.client.as_fd(), HOST, 8080), Some(CLIENT));
        // From the host, by each of its addresses.
        for ip in [HOST, gateway, Ipv4Addr::LOCALHOST] {
            assert!(ask_tcp_here(ip, 8080).is_some(), "tcp to {ip}");
            assert!(ask_udp_here(ip, 8080).is_some(), "udp to {ip}");
        }
        // From a neighbour and from the container itself.
        for inside in [&neighbour, &server] {
            for ip in [HOST, gateway] {
                assert!(ask_tcp(inside.sandbox.as_fd(), ip, 8080).is_some(), "tcp from {}", inside.id);
                assert!(ask_udp(inside.sandbox.as_fd(), ip, 8080).is_some(), "udp from {}", inside.id);
            }
        }
        // Neighbours see each other's own addresses.
        assert_eq!(ask_tcp(neighbour.sandbox.as_fd(), server.ip(), 80), Some(neighbour.ip()));
    });
}

#[test]
fn a_client_that_goes_on_sending_finds_the_next_container() {
    on_a_host(|world| {
        let networks = world.open();
        let client = netns::within(world.client.as_fd(), || {
            let socket = std::net::UdpSocket::bind((CLIENT, 5353)).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap();
            socket
        })
        .unwrap();
        let ask = || {
            client.send_to(b"who am I", (HOST, 8080)).unwrap();
            client.recv(&mut [0; 64]).is_ok()
        };
        assert!(!ask());
        let mut ended = Vec::new();
        for name in ["first", "second"] {
            let server = Container::new(&networks, name, "bridge", &[publish(Protocol::Udp, 8080, 80)]);
            serve_udp(server.sandbox.as_fd(), 80);
            assert!(ask() || ask(), "{name}");
            networks.release(&server.id).unwrap();
            // Its namespace and its server are still there, and would still answer.
            ended.push(server);
        }
        assert!(!ask());
    });
}

#[test]
fn what_is_not_published_is_not_reached_from_outside() {
    on_a_host(|world| {
        let networks = world.open();
        let container = Container::new(&networks, "a", "bridge", &[publish(Protocol::Tcp, 8080, 80)]);
        world.client_routes([172, 17, 0, 0], 16);
        for port in [80, 81] {
            serve_tcp(container.sandbox.as_fd(), port);
            assert_eq!(ask_tcp(world.client.as_fd(), container.ip(), port), None, "port {port}");
            assert!(ask_tcp_here(container.ip(), port).is_some(), "the host reaches its containers");
        }
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 80), None);
        assert!(ask_tcp(world.client.as_fd(), HOST, 8080).is_some());
    });
}

#[test]
fn loopback_ports_are_the_hosts_alone() {
    on_a_host(|world| {
        let networks = world.open();
        let mut port = publish(Protocol::Tcp, 8080, 80);
        port.host_ip = Some(Ipv4Addr::LOCALHOST.into());
        let server = Container::new(&networks, "server", "bridge", &[port]);
        serve_tcp(server.sandbox.as_fd(), 80);
        // A service of the host itself, which must not be reached by way of route_localnet either.
        serve_tcp(netns::current().unwrap().as_fd(), 9000);
        assert!(ask_tcp_here(Ipv4Addr::LOCALHOST, 8080).is_some());
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8080), None);
        assert_eq!(ask_tcp_here(HOST, 8080), None);

        // A client that sends loopback addresses over the wire: without a loopback interface, by a route.
        let hostile = |interface: &'static str, gateway: Ipv4Addr| {
            move || {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet"), "1").unwrap();
                std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
                route(interface, [127, 0, 0, 0], 8, gateway);
                [8080, 9000].map(|port| ask_tcp_here(Ipv4Addr::LOCALHOST, port))
            }
        };
        let outside = netns::within(world.client.as_fd(), hostile("wire1", HOST)).unwrap();
        assert_eq!(outside, [None, None]);
        let (bare, ()) = netns::create(|| ()).unwrap();
        let endpoint = networks.connect(bare.as_fd(), request("bare", "bridge", &[])).unwrap();
        let inside = netns::within(bare.as_fd(), hostile("eth0", endpoint.gateway.unwrap())).unwrap();
        assert_eq!(inside, [None, None]);
    });
}

#[test]
fn networks_are_separate_both_ways_but_for_published_ports() {
    on_both_kinds_of_host(|world| {
        let networks = world.open();
        networks.create(network("blue")).unwrap();
        let a = Container::new(&networks, "a", "bridge", &[publish(Protocol::Tcp, 8080, 80)]);
        let b = Container::new(&networks, "b", "blue", &[publish(Protocol::Tcp, 8081, 80)]);
        serve_tcp(a.sandbox.as_fd(), 80);
        serve_tcp(b.sandbox.as_fd(), 80);
        assert_eq!(ask_tcp(a.sandbox.as_fd(), b.ip(), 80), None);
        assert_eq!(ask_tcp(b.sandbox.as_fd(), a.ip(), 80), None);
        assert_eq!(ask_tcp(a.sandbox.as_fd(), HOST, 8081), Some(a.ip()));
        assert_eq!(ask_tcp(b.sandbox.as_fd(), HOST, 8080), Some(b.ip()));
    });
}

#[test]
fn an_internal_network_has_no_way_in_or_out() {
    on_both_kinds_of_host(|world| {
        let networks = world.open();
        networks.create(NetworkRequest { internal: true, ..network("vault") }).unwrap();
        let open = Container::new(&networks, "open", "bridge", &[publish(Protocol::Tcp, 8080, 80)]);
        let ports = [publish(Protocol::Tcp, 8081, 80)];
        let (a, b) =
            (Container::new(&networks, "a", "vault", &ports), Container::new(&networks, "b", "vault", &[]));
        for container in [&open, &a, &b] {
            serve_tcp(container.sandbox.as_fd(), 80);
        }
        serve_tcp(world.client.as_fd(), 7000);
        assert_eq!((a.endpoint.gateway, a.endpoint.ports.len()), (None, 0));
        assert!(ask_tcp(a.sandbox.as_fd(), b.ip(), 80).is_some());
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8081), None);
        // Even a container that makes itself a default route stays inside.
        let gateway = networks.inspect("vault").unwrap().ipam[0].gateway.unwrap();
        netns::within(a.sandbox.as_fd(), || route("eth0", [0; 4], 0, gateway)).unwrap();
        assert_eq!(ask_tcp(a.sandbox.as_fd(), CLIENT, 7000), None);
        assert_eq!(ask_tcp(a.sandbox.as_fd(), HOST, 8080), None);
        assert_eq!(ask_tcp(open.sandbox.as_fd(), a.ip(), 80), None);
    });
}

#[test]
fn without_icc_neighbours_meet_at_published_ports_only() {
    on_both_kinds_of_host(|world| {
        let networks = world.open_with(Config { icc: false, ..Config::default() });
        let a = Container::new(&networks, "a", "bridge", &[publish(Protocol::Tcp, 8080, 80)]);
        let b = Container::new(&networks, "b", "bridge", &[]);
        serve_tcp(a.sandbox.as_fd(), 80);
        serve_tcp(world.client.as_fd(), 7000);
        assert_eq!(ask_tcp(b.sandbox.as_fd(), a.ip(), 80), None);
        // Nor through the host, by a route of its own.
        let gateway = b.endpoint.gateway.unwrap();
        netns::within(b.sandbox.as_fd(), || route("eth0", a.ip().octets(), 32, gateway)).unwrap();
        assert_eq!(ask_tcp(b.sandbox.as_fd(), a.ip(), 80), None);
        assert!(ask_tcp(b.sandbox.as_fd(), HOST, 8080).is_some());
        assert!(ask_tcp(b.sandbox.as_fd(), CLIENT, 7000).is_some());
    });
}

#[test]
fn without_icc_a_link_leads_to_exposed_ports() {
    on_both_kinds_of_host(|world| {
        let config = Config { icc: false, ..Config::default() };
        let networks = world.open_with(config.clone());
        let serve = |name: &str| {
            let container = Container::new(&networks, name, "bridge", &[]);
            serve_tcp(container.sandbox.as_fd(), 80);
            serve_tcp(container.sandbox.as_fd(), 81);
            container
        };
        let db = serve("db");
        let web = networks.sandbox().unwrap();
        let links = vec![Link::new(&db.id, [(Protocol::Tcp, 79..=80), (Protocol::Tcp, 80..=80)])];
        networks.connect(web.as_fd(), EndpointRequest { links, ..request("web", "bridge", &[]) }).unwrap();
        let other = serve("other");
        let answers = |to: Ipv4Addr, port| ask_tcp(web.as_fd(), to, port).is_some();
        assert_eq!(
            [answers(db.ip(), 80), answers(db.ip(), 81), answers(other.ip(), 80)],
            [true, false, false]
        );
        assert_eq!(ask_tcp(other.sandbox.as_fd(), db.ip(), 80), None, "a link is one container's");
        assert_eq!(elements("links"), Some(1));
        assert!(!networks.heal().unwrap(), "the firewall is as the records say");

        // The other comes back with another address; its old one is somebody else's.
        let old = db.ip();
        networks.release(&db.id).unwrap();
        assert_eq!(elements("links"), Some(0));
        let third = serve("third");
        assert_eq!(third.ip(), old);
        let db = serve("db");
        assert_eq!([answers(db.ip(), 80), answers(old, 80)], [true, false]);

        // A daemon that is started anew, or a firewall that somebody has flushed.
        let live = ["db", "web", "other", "third"].map(id).into();
        let again = world.open_with(config);
        again.reconcile(&live).unwrap();
        assert_eq!(
            [answers(db.ip(), 80), answers(db.ip(), 81), answers(other.ip(), 80)],
            [true, false, false]
        );
        again.relink(&id("web"), &[]).unwrap();
        assert_eq!((answers(db.ip(), 80), elements("links")), (false, Some(0)));
        again.relink(&id("web"), &[Link::new(&db.id, [(Protocol::Tcp, 81..=81)])]).unwrap();
        assert_eq!([answers(db.ip(), 80), answers(db.ip(), 81)], [false, true]);
        again.release(&id("web")).unwrap();
        assert_eq!(elements("links"), Some(0));
    });
}

#[test]
fn a_range_of_ports_is_one_element_and_every_port_leads_in() {
    on_a_host(|world| {
        let networks = world.open();
        let range: Vec<PortBinding> =
            (20_000..30_000).map(|port| publish(Protocol::Tcp, port, port)).collect();
        let server = Container::new(&networks, "server", "bridge", &range);
        assert_eq!((elements("ranges"), elements("ports")), (Some(1), Some(0)));
        for port in [20_000, 25_555, 29_999] {
            serve_tcp(server.sandbox.as_fd(), port);
            assert_eq!(ask_tcp(world.client.as_fd(), HOST, port), Some(CLIENT), "port {port}");
        }
        networks.release(&server.id).unwrap();
        assert_eq!(elements("ranges"), Some(0));
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 20_000), None);
    });
}

#[test]
fn hull_makes_no_router_of_the_hosts_other_interfaces() {
    on_a_host(|world| {
        // A second neighbour, on a wire that was there before the daemon.
        let (other, ()) = netns::create(|| set_up("lo")).unwrap();
        let networks = {
            second_wire(&other);
            world.open()
        };
        netns::within(other.as_fd(), || route("eth9", [198, 51, 100, 0], 24, [203, 0, 113, 1].into()))
            .unwrap();
        world.client_routes([203, 0, 113, 0], 24);
        serve_tcp(other.as_fd(), 80);
        assert!(ask_tcp_here([203, 0, 113, 2].into(), 80).is_some());
        assert_eq!(ask_tcp(world.client.as_fd(), [203, 0, 113, 2].into(), 80), None);
        drop(networks);
        // Unless the administrator says so.
        let _networks = world.open_with(Config { forward_others: true, ..Config::default() });
        assert_eq!(ask_tcp(world.client.as_fd(), [203, 0, 113, 2].into(), 80), Some(CLIENT));
    });
}
