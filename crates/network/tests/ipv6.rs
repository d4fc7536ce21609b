//! Networks with both families: who reaches whom over IPv6. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;

use hull_network::{NetworkRequest, Pool6Request, Protocol};
use world::six::*;
use world::*;

#[test]
fn published_ports_are_reached_and_no_others() {
    on_a_host(|world| {
        wire6(&world);
        let networks = world.open();
        networks.create(dual("blue", "fd50::/64")).unwrap();
        let ports = [publish(Protocol::Tcp, 8080, 80), publish(Protocol::Udp, 8080, 80)];
        let server = Container::new(&networks, "server", "blue", &ports);
        let neighbour = Container::new(&networks, "neighbour", "blue", &[]);
        for port in [80, 81] {
            serve6(server.sandbox.as_fd(), port);
        }
        let seen = |ip: Ipv6Addr| [Some(IpAddr::V6(ip)); 2];
        assert_eq!(ask6(world.client.as_fd(), HOST6, 8080), seen(CLIENT6), "the client's address is seen");
        assert_eq!(ask6(neighbour.sandbox.as_fd(), six(&server), 81), seen(six(&neighbour)));
        assert_ne!(ask6(neighbour.sandbox.as_fd(), HOST6, 8080), [None; 2], "hairpin");
        assert_ne!(ask6_here(HOST6, 8080), [None; 2], "the host itself");
        // The kernel sends nothing from ::1 to a container. Who tries is refused and goes on with 127.0.0.1.
        let started = std::time::Instant::now();
        assert!(
            TcpStream::connect_timeout(&SocketAddr::from((Ipv6Addr::LOCALHOST, 8080)), PATIENCE).is_err()
        );
        assert!(started.elapsed() < PATIENCE, "at once");
        assert_eq!(ask6(world.client.as_fd(), six(&server), 81), [None; 2], "not published");
        assert_eq!(ask6(world.client.as_fd(), six(&server), 80), [None; 2], "published elsewhere");
        networks.release(&server.id).unwrap();
        assert_eq!(ask6(world.client.as_fd(), HOST6, 8080), [None; 2]);
    });
}

#[test]
fn networks_are_apart_and_lead_out() {
    on_a_host(|world| {
        wire6(&world);
        let networks = world.open();
        networks.create(dual("blue", "fd50::/64")).unwrap();
        networks.create(dual("red", "fd51::/64")).unwrap();
        networks.create(NetworkRequest { internal: true, ..dual("vault", "fd52::/64") }).unwrap();
        let [blue, red, vault] =
            ["blue", "red", "vault"].map(|name| Container::new(&networks, name, name, &[]));
        for container in [&blue, &red, &vault] {
            serve6(container.sandbox.as_fd(), 80);
        }
        serve6(world.client.as_fd(), 7000);
        assert_eq!(ask6(blue.sandbox.as_fd(), CLIENT6, 7000), [Some(IpAddr::V6(HOST6)); 2]);
        assert_eq!(
            ask6(vault.sandbox.as_fd(), CLIENT6, 7000),
            [None; 2],
            "nothing leaves an internal network"
        );
        assert_eq!(ask6(blue.sandbox.as_fd(), six(&red), 80), [None; 2]);
        assert_eq!(ask6(blue.sandbox.as_fd(), six(&vault), 80), [None; 2]);
        assert_eq!(ask6(world.client.as_fd(), six(&vault), 80), [None; 2]);
    });
}

#[test]
fn the_host_goes_on_learning_routes_from_its_own_links() {
    on_a_host(|world| {
        let networks = world.open();
        let read = |name: &str| {
            let path = format!("/proc/sys/net/ipv6/conf/{name}/forwarding");
            std::fs::read_to_string(path).unwrap().trim().to_owned()
        };
        assert_eq!(read("all"), "0", "no network needs it yet");
        networks.create(dual("blue", "fd50::/64")).unwrap();
        assert_eq!((read("all").as_str(), read("wire0").as_str()), ("1", "0"));
    });
}

#[test]
fn a_container_gets_its_address_again_unless_somebody_has_it() {
    on_a_host(|world| {
        let networks = world.open();
        networks.create(dual("blue", "fd50::/64")).unwrap();
        let again = |name: &str, network: &str, before: &str, before6: &str| {
            let sandbox = networks.sandbox().unwrap();
            let before = (before.parse().ok(), before6.parse().ok());
            let request = hull_network::EndpointRequest { before, ..request(name, network, &[]) };
            let given = networks.connect(sandbox.as_fd(), request).unwrap();
            (given.address.unwrap().addr().to_string(), given.address6.map(|on| on.addr().to_string()))
        };
        assert_eq!(again("a", "bridge", "172.17.0.9", ""), ("172.17.0.9".into(), None));
        assert_eq!(again("b", "bridge", "172.17.0.9", ""), ("172.17.0.2".into(), None));
        assert_eq!(again("c", "bridge", "10.9.9.9", ""), ("172.17.0.3".into(), None), "of another network");
        let subnet = networks.find("blue").unwrap().ipam[0].subnet;
        let former = subnet.hosts().nth(40).unwrap().to_string();
        assert_eq!(again("d", "blue", &former, "fd50::77"), (former.clone(), Some("fd50::77".into())));
        let (other, other6) = again("e", "blue", &former, "fd50::77");
        assert!(other != former && other6.unwrap() != "fd50::77");
        ["a", "b", "c", "d", "e"].iter().for_each(|name| networks.release(&id(name)).unwrap());
    });
}

#[test]
fn addresses_are_given_in_turn_and_subnets_checked() {
    on_a_host(|world| {
        let networks = world.open();
        networks.create(dual("blue", "fd50::/125")).unwrap();
        let given: Vec<_> = ["a", "b"].map(|name| six(&Container::new(&networks, name, "blue", &[]))).into();
        assert_eq!(given, ["fd50::2", "fd50::3"].map(|text| text.parse::<Ipv6Addr>().unwrap()));
        let sandbox = networks.sandbox().unwrap();
        let wish = |address: &str| {
            let wish =
                hull_network::EndpointRequest { ipv6: address.parse().ok(), ..request("c", "blue", &[]) };
            networks.connect(sandbox.as_fd(), wish).map(|endpoint| endpoint.address6.unwrap().to_string())
        };
        assert_eq!(wish("fd50::2").unwrap_err().to_string(), "Address already in use");
        let outside = wish("fd51::2").unwrap_err().to_string();
        assert_eq!(outside, "no configured subnet or ip-range contain the IP address fd51::2");
        assert_eq!(wish("fd50::6").unwrap(), "fd50::6/125");
        let overlaps = networks.create(dual("red", "fd50::/64")).unwrap_err().to_string();
        assert!(overlaps.contains("Pool overlaps"), "{overlaps}");
        let own = |name: &str| {
            let wish = NetworkRequest { ipv6: Some(Pool6Request::default()), ..dual(name, "fd60::/64") };
            let id = networks.create(wish).unwrap();
            networks.find(&id).unwrap().ipam6[0].subnet
        };
        let (first, second) = (own("one"), own("two"));
        assert_eq!((first.prefix_len(), first.addr().octets()[0]), (64, 0xfd));
        assert_eq!(first.addr().octets()[..6], second.addr().octets()[..6], "this host's prefix");
        assert_ne!(first, second);
    });
}

/// The tables of both families come back, and what was recorded with them.
#[test]
fn a_reopening_finds_both_families() {
    on_a_host(|world| {
        wire6(&world);
        let networks = world.open();
        networks.create(dual("blue", "fd50::/64")).unwrap();
        let server = Container::new(&networks, "server", "blue", &[publish(Protocol::Tcp, 8080, 80)]);
        serve6(server.sandbox.as_fd(), 80);
        drop(networks);
        flush_table();
        let networks = world.open();
        networks.reconcile(&[server.id.clone()].into()).unwrap();
        assert_eq!(networks.endpoints(&server.id).unwrap(), std::slice::from_ref(&server.endpoint));
        assert_eq!(ask6(world.client.as_fd(), HOST6, 8080)[0], Some(IpAddr::V6(CLIENT6)));
        flush_table();
        assert!(networks.heal().unwrap());
    });
}
