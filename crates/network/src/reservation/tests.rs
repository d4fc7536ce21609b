//! Reservations on the test's own machine, at its loopback address.

use super::*;
use crate::Protocol;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn wish(port: u16) -> PortBinding {
    PortBinding {
        container_ports: 80..=80,
        protocol: Protocol::Tcp,
        host_ip: None,
        host_ports: (port != 0).then_some(port..=port),
    }
}

fn owner(name: &str) -> Owner<'_> {
    Owner {
        endpoint: name,
        name,
        address: Some(Ipv4Addr::new(172, 17, 0, 2)),
        address6: None,
        default_ip: LOOPBACK,
        routed: [false; 2],
        publishes: [true; 2],
    }
}

#[test]
fn a_port_is_free_again_when_its_reservation_is_dropped() {
    let ports = Ports::default();
    let first = ports.reserve(owner("a"), &[wish(0)], 0).unwrap();
    let port = first.published()[0].host_port;
    let text = ports.reserve(owner("b"), &[wish(port)], 0).unwrap_err().to_string();
    let cause = format!("Bind for 127.0.0.1:{port} failed: port is already allocated");
    assert_eq!(text, format!("driver failed programming external connectivity on endpoint b (b): {cause}"));
    assert!(std::net::TcpListener::bind((LOOPBACK, port)).is_err(), "held against other programs");
    drop(first);
    assert!(ports.reserve(owner("b"), &[wish(port)], 0).is_ok());
}

#[test]
fn other_programs_are_respected() {
    let listener = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let ports = Ports::default();
    let text = ports.reserve(owner("a"), &[wish(port)], 0).unwrap_err().to_string();
    assert!(
        text.ends_with(&format!(
            "failed to bind host port for 127.0.0.1:{port}:172.17.0.2:80/tcp: address already in use"
        )),
        "{text}"
    );
    drop(listener);
    assert!(ports.reserve(owner("a"), &[wish(port)], 0).is_ok());
}

#[test]
fn a_failed_wish_frees_those_before_it() {
    let ports = Ports::default();
    let kept = ports.reserve(owner("a"), &[wish(0)], 0).unwrap();
    let taken = kept.published()[0].host_port;
    assert!(ports.reserve(owner("b"), &[wish(0), wish(taken)], 0).is_err());
    assert_eq!(lock(&ports.held).len(), 1);
}

#[test]
fn a_port_is_taken_in_both_families_or_in_none() {
    let other = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let (ports, dual) = (
        Ports::default(),
        Owner { address6: Some(Ipv6Addr::LOCALHOST), default_ip: Ipv4Addr::UNSPECIFIED, ..owner("a") },
    );
    let any = PortBinding { host_ip: None, ..wish(port) };
    assert!(ports.reserve(dual, std::slice::from_ref(&any), 0).is_err());
    assert!(lock(&ports.held).len() == 0);
    drop(other);
    let both = ports.reserve(dual, std::slice::from_ref(&any), 0).unwrap();
    let found: Vec<_> = both.published().iter().map(|port| port.host_ip.to_string()).collect();
    assert_eq!(found, ["0.0.0.0", "::"]);
    assert!(std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_err(), "held in both");
}

#[test]
fn a_range_gives_one_free_port() {
    let ports = Ports::default();
    let first = ports.reserve(owner("a"), &[wish(0)], 0).unwrap();
    let taken = first.published()[0].host_port;
    let mut range = wish(taken);
    range.host_ports = Some(taken..=taken + 20);
    let second = ports.reserve(owner("b"), &[range], 0).unwrap();
    assert!(second.published()[0].host_port > taken);
}

fn range(first: u16, last: u16, inside: u16) -> PortBinding {
    PortBinding {
        container_ports: inside..=inside + (last - first),
        protocol: Protocol::Tcp,
        host_ip: None,
        host_ports: Some(first..=last),
    }
}

#[test]
fn a_range_is_one_reservation() {
    let ports = Ports::default();
    let kept = ports.reserve(owner("a"), &[range(10_000, 19_999, 20_000)], 0).unwrap();
    let [only] = kept.published() else { panic!("{:?}", kept.published()) };
    assert_eq!((only.container_port, only.host_port, only.count), (20_000, 10_000, 10_000));
    assert_eq!(lock(&ports.held).len(), 1);
    for (taken, first) in
        [(wish(15_000), 15_000), (range(19_000, 21_000, 1), 19_000), (range(9_990, 10_010, 1), 10_000)]
    {
        let text = ports.reserve(owner("b"), &[taken], 0).unwrap_err().to_string();
        assert!(
            text.ends_with(&format!("Bind for 127.0.0.1:{first} failed: port is already allocated")),
            "{text}"
        );
    }
    // A part of it can be given back.
    ports.release("a", &[Published { host_port: 15_000, count: 10, ..*only }]);
    assert!(ports.reserve(owner("b"), &[range(15_000, 15_009, 1)], 0).is_ok());
    assert!(ports.reserve(owner("b"), &[wish(15_010)], 0).is_err());
    drop(kept);
    assert_eq!(lock(&ports.held).len(), 0);
}

#[test]
fn a_listener_within_a_range_is_respected() {
    let listener = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (first, last) = (port.saturating_sub(500), port.saturating_add(500));
    let ports = Ports::default();
    let text = ports.reserve(owner("a"), &[range(first, last, 1)], 0).unwrap_err().to_string();
    // Another test may listen within it as well.
    assert!(text.ends_with("/tcp: address already in use"), "{text}");
    let whole = Published {
        container_port: 1,
        protocol: Protocol::Tcp,
        host_ip: LOOPBACK.into(),
        host_port: first,
        count: last - first + 1,
    };
    let lost = ports.restore("a", &[whole], (None, None));
    assert!(lost.iter().any(|lost| lost.host_ports().any(|lost| lost == port)), "{lost:?}");
}

#[test]
fn random_ports_are_not_offered_again_and_none_that_is_in_use() {
    let ports = Ports::default();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let port = ports.reserve(owner("a"), &[wish(0)], 0).unwrap().published()[0].host_port;
        assert!(seen.insert(port), "{port} was just given");
        // The one that would be next is taken by another program, and passed over.
        let Ok(other) = std::net::TcpListener::bind((LOOPBACK, port.saturating_add(1))) else { continue };
        let next = ports.reserve(owner("b"), &[wish(0)], 0).unwrap().published()[0].host_port;
        assert_ne!(next, other.local_addr().unwrap().port());
        assert!(seen.insert(next), "{next} was just given");
    }
}

#[test]
fn a_routed_network_needs_no_port_of_the_host() {
    let _taken = std::net::TcpListener::bind((LOOPBACK, 18_999));
    let ports = Ports::default();
    let routed = Owner {
        routed: [true, false],
        address6: Some(Ipv6Addr::LOCALHOST),
        default_ip: Ipv4Addr::UNSPECIFIED,
        ..owner("a")
    };
    let kept = ports.reserve(routed, &[range(18_990, 18_990, 80)], 0).unwrap();
    let found: Vec<_> =
        kept.published().iter().map(|port| (port.host_ip.to_string(), port.host_port)).collect();
    assert_eq!(found, [("0.0.0.0".to_owned(), 0), ("::".to_owned(), 18_990)]);
    let elsewhere = Owner { publishes: [false; 2], ..routed };
    assert_eq!(ports.reserve(elsewhere, &[wish(18_991)], 0).unwrap().published().len(), 1);
}

#[test]
fn who_names_no_port_does_not_get_the_one_that_is_named_beside() {
    let ports = Ports::default();
    let last = ports.reserve(owner("a"), &[wish(0)], 0).unwrap().published()[0].host_port;
    let both = ports.reserve(owner("b"), &[wish(0), wish(last + 1)], 0).unwrap();
    assert!(both.published().iter().any(|port| port.host_port == last + 1), "{:?}", both.published());
}
