//! Hull's tables beside those of others: what others drop stays dropped, and what others break is healed. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use hull_network::{Config, NetworkRequest, Noticed, Protocol};
use hull_sys::netlink::{CREATE, Family, Message, Socket};
use hull_sys::netns;
use world::*;

/// A table of the administrator's, whose forward chain drops everything.
fn drop_all_forwarding() {
    let bracket = |kind| Message::new(kind, 0, "transaction", "").fixed(&[0, 0, 0, 10]);
    let message = |kind: u16, op| Message::new(10 << 8 | kind, CREATE, op, "own").fixed(&[2, 0, 0, 0]);
    let mut table = message(0, "create table");
    table.put_str(1, "own");
    let mut chain = message(3, "create chain");
    chain.put_str(1, "own").put_str(3, "forward").nest(4, |hook| {
        hook.put(1, &2u32.to_be_bytes()).put(2, &10i32.to_be_bytes());
    });
    chain.put_str(7, "filter").put(5, &0u32.to_be_bytes());
    Socket::open(Family::Netfilter)
        .unwrap()
        .request(vec![bracket(0x10), table, chain, bracket(0x11)])
        .unwrap();
}

#[test]
fn a_rule_of_the_host_that_drops_holds() {
    on_a_host(|world| {
        let networks = world.open();
        let server = Container::new(&networks, "server", "bridge", &[publish(Protocol::Tcp, 8080, 80)]);
        serve_tcp(server.sandbox.as_fd(), 80);
        serve_tcp(world.client.as_fd(), 7000);
        assert!(ask_tcp(world.client.as_fd(), HOST, 8080).is_some());
        drop_all_forwarding();
        assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8080), None, "a published port is no way around it");
        assert_eq!(ask_tcp(server.sandbox.as_fd(), CLIENT, 7000), None);
        assert!(ask_tcp_here(server.ip(), 80).is_some(), "the host itself forwards nothing here");
    });
}

/// nft(8) in the calling thread's namespace.
fn nft(commands: &str) {
    use std::io::Write;
    let mut nft =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft (package nftables)");
    nft.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft: {commands}");
}

#[test]
fn changes_by_others_are_noticed_and_own_ones_are_not() {
    on_a_host(|world| {
        let networks = world.open();
        let watch = networks.watch_firewall().unwrap();
        let server = Container::new(&networks, "server", "bridge", &[publish(Protocol::Tcp, 8080, 80)]);
        networks.create(NetworkRequest { name: "blue".to_owned(), ..NetworkRequest::default() }).unwrap();
        networks.publish_ports(&server.id, &[publish(Protocol::Udp, 8080, 80)]).unwrap();
        networks.rebuild_firewall().unwrap();
        assert_eq!(watch.look().unwrap(), Noticed::Nothing);
        nft("table ip own { chain forward { type filter hook forward priority 10; }; }\ntable inet hull { }");
        assert_eq!(watch.look().unwrap(), Noticed::Nothing, "tables of others");
        let ports = elements("ports");
        for (number, commands) in [
            "flush ruleset",
            "delete table ip hull",
            "flush chain ip hull inbound",
            "flush map ip hull ports",
            "delete element ip hull bridges { hull0 }",
            "flush ruleset\ntable ip own { chain forward { type filter hook forward priority 10; }; }",
        ]
        .iter()
        .enumerate()
        {
            nft(commands);
            assert_eq!(watch.look().unwrap(), Noticed::Change, "{commands}");
            // The check by numbers finds each of them as well.
            match number % 2 {
                0 => networks.rebuild_firewall().unwrap(),
                _ => assert!(networks.heal().unwrap(), "{commands}"),
            }
            assert_eq!((elements("ports"), networks.heal().unwrap()), (ports, false), "{commands}");
            assert_eq!(watch.look().unwrap(), Noticed::Nothing, "it was Hull itself that healed");
        }
        networks.release(&server.id).unwrap();
        assert!(!networks.heal().unwrap());
        // More than can be told.
        let elements: Vec<String> = (1..6000).map(|port| port.to_string()).collect();
        for _ in 0..4 {
            nft(&format!(
                "table ip own {{ set s {{ type inet_service; elements = {{ {} }}; }}; }}",
                elements.join(", ")
            ));
            nft("delete table ip own");
        }
        assert_eq!(watch.look().unwrap(), Noticed::TooMuch);
        assert_eq!(watch.look().unwrap(), Noticed::Nothing);
    });
}

/// CVE-2025-54388, CVE-2025-54410: after a reload of the host's firewall ports at 127.0.0.1 were open to the network, and
/// networks to each other.
#[test]
fn a_healed_table_protects_as_before() {
    on_a_host(|world| {
        let networks = world.open();
        networks.create(NetworkRequest { name: "blue".to_owned(), ..NetworkRequest::default() }).unwrap();
        let mut port = publish(Protocol::Tcp, 8080, 80);
        port.host_ip = Some(Ipv4Addr::LOCALHOST.into());
        let server = Container::new(&networks, "server", "bridge", &[port]);
        let other = Container::new(&networks, "other", "blue", &[]);
        serve_tcp(server.sandbox.as_fd(), 80);
        world.client_routes([172, 17, 0, 0], 16);
        for commands in ["flush ruleset", "delete table ip hull"] {
            nft(commands);
            networks.rebuild_firewall().unwrap();
            assert!(ask_tcp_here(Ipv4Addr::LOCALHOST, 8080).is_some());
            assert_eq!(ask_tcp(world.client.as_fd(), HOST, 8080), None);
            assert_eq!(ask_tcp(world.client.as_fd(), server.ip(), 80), None);
            assert_eq!(ask_tcp(other.sandbox.as_fd(), server.ip(), 80), None);
        }
    });
}

#[test]
fn ports_of_bridges_follow_the_hosts_filter() {
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if !std::path::Path::new(switch).exists() {
        return;
    }
    on_a_host(|world| {
        std::fs::write(switch, "0").unwrap();
        let networks = world.open();
        let server = Container::new(&networks, "server", "bridge", &[publish(Protocol::Tcp, 8080, 80)]);
        serve_tcp(server.sandbox.as_fd(), 80);
        std::fs::write(switch, "1").unwrap();
        assert_eq!(ask_tcp(server.sandbox.as_fd(), HOST, 8080), None, "its port may not send back");
        // The next container that comes has them looked at.
        let _next = Container::new(&networks, "next", "bridge", &[]);
        assert!(ask_tcp(server.sandbox.as_fd(), HOST, 8080).is_some());
    });
}

/// CVE-2025-67499: a published port took what was for the same port of others.
#[test]
fn what_is_not_for_the_host_is_not_translated() {
    on_a_host(|world| {
        let (other, ()) = netns::create(|| set_up("lo")).unwrap();
        second_wire(&other);
        let networks = world.open_with(Config { forward_others: true, ..Config::default() });
        let server = Container::new(&networks, "server", "bridge", &[publish(Protocol::Tcp, 8080, 80)]);
        let range = [publish_range(Protocol::Tcp, 9_000..=9_099, 9_000..=9_099)];
        let _range = Container::new(&networks, "range", "bridge", &range);
        netns::within(other.as_fd(), || route("eth9", [198, 51, 100, 0], 24, [203, 0, 113, 1].into()))
            .unwrap();
        world.client_routes([203, 0, 113, 0], 24);
        for port in [8080, 9_050] {
            serve_tcp(other.as_fd(), port);
            // The container would not answer there.
            assert_eq!(ask_tcp(world.client.as_fd(), [203, 0, 113, 2].into(), port), Some(CLIENT));
            assert!(ask_tcp(server.sandbox.as_fd(), [203, 0, 113, 2].into(), port).is_some());
            assert!(ask_tcp_here([203, 0, 113, 2].into(), port).is_some());
        }
    });
}

/// CRC32c, of which SCTP makes its checksum.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// The beginning of an association (RFC 4960): ports, tag, checksum, and a chunk INIT.
fn sctp_init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 8]].concat();
    packet.extend([1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

#[test]
fn sctp_is_led_in_as_well() {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};
    let raw = || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::SCTP)).unwrap();
        let patience = Some(std::time::Duration::from_millis(400));
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, patience)
            .unwrap();
        socket
    };
    on_a_host(|world| {
        let networks = world.open();
        let ports = [
            publish(Protocol::Sctp, 9899, 5000),
            publish_range(Protocol::Sctp, 7_000..=7_099, 8_000..=8_099),
        ];
        let server = Container::new(&networks, "server", "bridge", &ports);
        let (inside, outside) = (
            netns::within(server.sandbox.as_fd(), raw).unwrap(),
            netns::within(world.client.as_fd(), raw).unwrap(),
        );
        for (host, container) in [(9899, Some(5000u16)), (7_055, Some(8_055)), (9898, None)] {
            let packet = sctp_init(40_000 + host % 100, host);
            rustix::net::sendto(&outside, &packet, SendFlags::empty(), &SocketAddrV4::new(HOST, 0)).unwrap();
            let mut buffer = [0; 256];
            // Behind the IP header of 20 bytes.
            let port = rustix::net::recv(&inside, &mut buffer[..], RecvFlags::empty())
                .is_ok()
                .then(|| u16::from_be_bytes([buffer[22], buffer[23]]));
            assert_eq!(port, container, "port {host}");
        }
    });
}
