//! What a network costs does not grow with the number of the others. Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and speak as tests do")]

mod world;

use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use hull_network::{Config, NetworkRequest, Networks, Pool};
use world::*;

/// So often each is measured; the least is what the work takes, all else is somebody else's.
const TRIES: usize = 15;
/// A thousand networks may cost that many times as much as fifty.
const GROWTH: u32 = 8;

fn network(name: &str) -> NetworkRequest {
    NetworkRequest { name: name.to_owned(), ..NetworkRequest::default() }
}

/// To create a network, to connect with it, to disconnect, to remove it: the least of some tries.
fn costs(networks: &Networks) -> [Duration; 4] {
    let mut least = [Duration::MAX; 4];
    for number in 0..TRIES {
        let name = format!("measured{number}");
        let sandbox = networks.sandbox().unwrap();
        let mut step = |place: usize, work: &dyn Fn()| {
            let start = Instant::now();
            work();
            least[place] = least[place].min(start.elapsed());
        };
        step(0, &|| drop(networks.create(network(&name)).unwrap()));
        step(1, &|| drop(networks.connect(sandbox.as_fd(), request("a", &name, &[])).unwrap()));
        step(2, &|| networks.disconnect(sandbox.as_fd(), &id("a"), &name).unwrap());
        step(3, &|| networks.remove(&name).unwrap());
        // The kernel takes its time for the link, and holds its lock meanwhile.
        std::thread::sleep(Duration::from_millis(60));
    }
    least
}

#[test]
fn a_thousand_networks_cost_little_more_than_fifty_each() {
    on_a_host(|world| {
        let pools = vec![Pool { base: "10.0.0.0/8".parse().unwrap(), size: 24 }];
        let networks = world.open_with(Config { pools, ..Config::default() });
        let mut at = Vec::new();
        let mut made = 0;
        for number in [50, 1_000] {
            while made < number {
                networks.create(network(&format!("network{made}"))).unwrap();
                made += 1;
            }
            at.push(costs(&networks));
        }
        println!("create, connect, disconnect, remove: with 50 {:?}, with 1,000 {:?}", at[0], at[1]);
        for (place, what) in ["create", "connect", "disconnect", "remove"].iter().enumerate() {
            let (few, many) = (at[0][place].max(Duration::from_millis(1)), at[1][place]);
            assert!(many < few * GROWTH, "{what}: {few:?} with 50, {many:?} with 1,000");
        }
    });
}

/// What the host uses is seen at each creation anew, whoever has changed it.
#[test]
fn pools_follow_the_hosts_routes() {
    on_a_host(|world| {
        let pools = vec![Pool { base: "10.1.0.0/20".parse().unwrap(), size: 24 }];
        let networks = world.open_with(Config { pools, bridge: None, ..Config::default() });
        let ip = |arguments: &str| {
            assert!(
                Command::new("ip").args(arguments.split(' ')).status().unwrap().success(),
                "ip {arguments}"
            );
        };
        let next = |name: &str| {
            networks.create(network(name)).unwrap();
            let subnet = networks.find(name).unwrap().ipam[0].subnet.to_string();
            networks.remove(name).unwrap();
            subnet
        };
        assert_eq!(next("a"), "10.1.0.0/24");
        // A VPN with a route in the middle of a piece, and one around several.
        ip("route add 10.1.0.128/30 dev wire0");
        assert_eq!(next("b"), "10.1.1.0/24");
        ip("route add 10.1.0.0/22 dev wire0");
        assert_eq!(next("c"), "10.1.4.0/24");
        // An address without a route of its own, and an interface that is down.
        ip("addr add 10.1.4.7/32 dev wire0");
        assert_eq!(next("d"), "10.1.5.0/24");
        ip("link add idle type bridge");
        ip("addr add 10.1.5.1/24 dev idle");
        assert_eq!(next("e"), "10.1.6.0/24");
        // A default route takes nothing away.
        ip("route add default via 198.51.100.2");
        ip("route del 10.1.0.0/22 dev wire0");
        assert_eq!(next("f"), "10.1.1.0/24");
        ip("route del 10.1.0.128/30 dev wire0");
        assert_eq!(next("g"), "10.1.0.0/24");
        // A hole that a removed network has left is filled.
        for name in ["one", "two", "three"] {
            networks.create(network(name)).unwrap();
        }
        networks.remove("two").unwrap();
        assert_eq!(next("h"), "10.1.1.0/24");
        // An earlier version's database has no tables of what is taken: they are made from the networks.
        drop(networks);
        world
            .db
            .lock()
            .unwrap()
            .execute_batch("DROP TABLE network_links; DROP TABLE network_subnets")
            .unwrap();
        let networks = world.open_with(Config { bridge: None, ..Config::default() });
        let overlapping = NetworkRequest { subnet: "10.1.2.0/23".parse().ok(), ..network("i") };
        let refused = networks.create(overlapping).unwrap_err().to_string();
        assert_eq!(refused, "invalid pool request: Pool overlaps with other one on this address space");
    });
}
