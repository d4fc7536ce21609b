//! The default bridge as flags, records and the bridge itself say it, start by start. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use std::os::fd::AsFd;
use std::process::Command;

use hull_network::{Config, NetworkRequest, Networks};
use world::six::ip;
use world::*;

/// The addresses of a link, IPv4 first.
fn addresses(link: &str) -> Vec<String> {
    let found = Command::new("ip").args(["-o", "addr", "show", "dev", link]).output().unwrap();
    let text = String::from_utf8(found.stdout).unwrap();
    let mut words = text.split_whitespace();
    let mut addresses = Vec::new();
    while let Some(word) = words.next() {
        if ["inet", "inet6"].contains(&word) {
            addresses.extend(words.next().map(str::to_owned));
        }
    }
    addresses
}

/// Opens the networks, which refuses.
fn refusal(world: &World, config: Config) -> String {
    Networks::open(std::sync::Arc::clone(&world.db), config).err().expect("a refusal").to_string()
}

/// Subnet, the host's address, range, and whether the address is shown, of each family; "-" is none.
fn shown(networks: &Networks) -> Vec<String> {
    let network = networks.inspect("bridge").unwrap();
    let text = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
    let line = |subnet: String, host: Option<String>, range: Option<String>, hidden: bool| {
        format!("{subnet} {} {}{}", text(host), text(range), if hidden { " hidden" } else { "" })
    };
    let v4 = network.ipam.iter().map(|ipam| {
        let (host, range) = (ipam.gateway.map(|ip| ip.to_string()), ipam.range.map(|net| net.to_string()));
        line(ipam.subnet.to_string(), host, range, ipam.chosen && !ipam.names_gateway)
    });
    let v6 = network.ipam6.iter().map(|ipam| {
        let (host, range) = (ipam.gateway.map(|ip| ip.to_string()), ipam.range.map(|net| net.to_string()));
        line(ipam.subnet.to_string(), host, range, ipam.chosen && !ipam.names_gateway)
    });
    v4.chain(v6).collect()
}

fn config(bip: &str, range: &str, range6: &str) -> Config {
    Config {
        bip: bip.parse().ok(),
        fixed_cidr: range.parse().ok(),
        ipv6: !range6.is_empty(),
        fixed_cidr6: range6.parse().ok(),
        ..Config::default()
    }
}

#[test]
fn our_own_bridge_follows_the_flags_from_start_to_start() {
    on_a_host(|world| {
        let start = |config: Config| shown(&world.open_with(config));
        assert_eq!(start(Config::default()), ["172.17.0.0/16 172.17.0.1 -"]);
        assert_eq!(start(Config::default()), ["172.17.0.0/16 172.17.0.1 -"]);
        let range = config("", "192.168.176.0/24", "fdd1::/64");
        assert_eq!(
            start(range.clone()),
            ["192.168.176.0/24 192.168.176.1 192.168.176.0/24 hidden", "fdd1::/64 fdd1::1 fdd1::/64 hidden"]
        );
        assert_eq!(
            addresses("hull0"),
            ["192.168.176.1/24", "fdd1::1/64", "fe80::1/64"],
            "the old one is gone"
        );
        // From now on the bridge has an address that counts.
        assert_eq!(
            start(range),
            ["192.168.176.0/24 192.168.176.1 192.168.176.0/24", "fdd1::/64 fdd1::1 fdd1::/64"]
        );
        let wide = config("", "192.168.176.0/20", "");
        assert_eq!(start(wide), ["192.168.176.0/20 192.168.176.1 192.168.176.0/20"]);
        assert_eq!(addresses("hull0")[0], "192.168.176.1/20");
        assert_eq!(
            start(config("10.80.0.9/16", "10.80.7.0/24", "")),
            ["10.80.0.0/16 10.80.0.9 10.80.7.0/24"]
        );
        assert_eq!(addresses("hull0")[0], "10.80.0.9/16");
        assert!(!addresses("hull0").iter().any(|address| address.starts_with("192.")));
    });
}

#[test]
fn a_bridge_of_the_administrator_keeps_its_addresses() {
    on_a_host(|world| {
        ip("link add mine type bridge");
        for address in ["192.168.160.88/20", "192.168.176.88/20", "fdd1::8888/64"] {
            ip(&format!("addr add {address} dev mine"));
        }
        let mine = |range: &str, range6: &str| Config {
            bridge: Some("mine".to_owned()),
            ..config("", range, range6)
        };
        let start = |config: Config| shown(&world.open_with(config));
        assert_eq!(start(mine("", "")), ["192.168.160.0/20 192.168.160.88 -"]);
        assert_eq!(start(mine("192.168.177.0/24", "")), ["192.168.176.0/20 192.168.176.88 192.168.177.0/24"]);
        assert_eq!(start(mine("10.0.0.0/8", "")), ["192.168.160.0/20 192.168.160.88 -"]);
        let both = start(mine("", "fdd1::/112"));
        assert_eq!(both[1], "fdd1::/64 fdd1::8888 fdd1::/112");
        let refused = refusal(&world, mine("", "fdd2::/64"));
        assert!(refused.starts_with("fixed-cidr-v6=fdd2::/64 is outside any subnet implied"), "{refused}");
        let kept = addresses("mine");
        assert!(kept.contains(&"192.168.160.88/20".to_owned()) && kept.contains(&"fdd1::8888/64".to_owned()));
    });
}

#[test]
fn another_gateway_than_the_bridge_may_be_named() {
    on_a_host(|world| {
        let config = Config {
            default_gateway: Some([172, 17, 0, 254].into()),
            default_gateway6: "fdd1::fe".parse().ok(),
            ..config("172.17.0.1/16", "", "fdd1::/64")
        };
        let networks = world.open_with(config.clone());
        let endpoint = Container::new(&networks, "a", "bridge", &[]).endpoint;
        assert_eq!(endpoint.gateway, Some([172, 17, 0, 254].into()));
        assert_eq!(endpoint.gateway6, "fdd1::fe".parse().ok());
        assert_eq!(addresses("hull0")[0], "172.17.0.1/16", "the bridge keeps its own");
        // The same of any bridge network.
        let mut request = NetworkRequest { name: "red".to_owned(), ..NetworkRequest::default() };
        request.subnet = "10.81.0.0/24".parse().ok();
        request.auxiliary.insert("DefaultGatewayIPv4".to_owned(), [10, 81, 0, 9].into());
        networks.create(request).unwrap();
        let endpoint = Container::new(&networks, "b", "red", &[]).endpoint;
        assert_eq!(endpoint.gateway, Some([10, 81, 0, 9].into()));
        drop(networks);
        let elsewhere = Config { default_gateway: Some([10, 0, 0, 1].into()), ..config };
        release_all(&world);
        let refused = refusal(&world, elsewhere);
        assert!(refused.contains("default gateway ip must be part of the network: 10.0.0.1"), "{refused}");
    });
}

/// Without endpoints the default bridge follows the flags again.
fn release_all(world: &World) {
    let networks = world.open();
    for name in ["a", "b"] {
        networks.release(&id(name)).unwrap();
    }
}

#[test]
fn a_small_mtu_leaves_a_link_without_ipv6() {
    on_a_host(|world| {
        let networks = world.open();
        let small = |name: &str| {
            let mut request = NetworkRequest { name: name.to_owned(), ..NetworkRequest::default() };
            request.options.insert("com.docker.network.driver.mtu".to_owned(), "1234".to_owned());
            request
        };
        networks.create(small("red")).unwrap();
        let one = Container::new(&networks, "one", "red", &[]);
        let two = Container::new(&networks, "two", "red", &[]);
        serve_tcp(two.sandbox.as_fd(), 80);
        assert_eq!(ask_tcp(one.sandbox.as_fd(), two.ip(), 80), Some(one.ip()));
        let six = NetworkRequest { ipv6: Some(Default::default()), ..small("blue") };
        assert!(networks.create(six).is_err(), "the kernel refuses its address");
        assert!(networks.find("blue").is_err());
    });
}
