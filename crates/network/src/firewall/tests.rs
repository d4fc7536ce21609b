//! What becomes elements of which map.

use super::elements::behind;
use super::rules::SUBNETS;
use super::*;

fn port(host_ip: [u8; 4], host_port: u16, container_port: u16) -> Published {
    Published { container_port, protocol: Protocol::Tcp, host_ip: host_ip.into(), host_port, count: 1 }
}

/// Elements of ports, bound, ranges, shifted.
fn counts(ports: Vec<Published>) -> [usize; 4] {
    let target = target(ports);
    let counts: Vec<_> =
        port_elements(&[target], Family::V4, false).iter().map(|(_, elements)| elements.len()).collect();
    counts[..4].try_into().unwrap()
}

fn target(ports: Vec<Published>) -> Target {
    Target { address: Some(Ipv4Addr::new(172, 17, 0, 2)), address6: None, ports, trusted: Vec::new() }
}

#[test]
fn a_port_is_one_element_of_the_map_for_its_host_address() {
    assert_eq!(counts(vec![port([0; 4], 8080, 80)]), [1, 0, 0, 0]);
    assert_eq!(counts(vec![port([127, 0, 0, 1], 8080, 80), port([10, 0, 0, 1], 8080, 80)]), [0, 2, 0, 0]);
}

#[test]
fn long_ranges_are_one_element_in_any_order() {
    let mut range: Vec<_> = (10_000..20_000).map(|number| port([0; 4], number, number)).collect();
    range.reverse();
    assert_eq!(counts(range.clone()), [0, 0, 1, 0]);
    range.push(port([0; 4], 80, 80));
    range.retain(|port| port.host_port != 15_000);
    assert_eq!(counts(range), [1, 0, 2, 0]);
}

#[test]
fn ranges_that_change_their_numbers_are_a_few_elements() {
    let range = |host_port, container_port, count| {
        let one = port([0; 4], host_port, container_port);
        vec![Published { count, ..one }]
    };
    assert_eq!(counts(range(10_000, 20_000, 10_000)), [0, 0, 0, 1]);
    assert_eq!(counts(range(8000, 1, 1000)), [0, 0, 0, 1]);
    assert_eq!(counts(range(8000, 1, 7)), [7, 0, 0, 0]);
    // It begins at a prime number.
    let [.., pieces] = counts(range(10_007, 1, 9_000));
    assert!((2..20).contains(&pieces), "{pieces}");
    assert_eq!(counts((1000..1100).map(|number| port([0; 4], number, number + 1)).collect())[3], 1);
}

#[test]
fn routed_ports_open_the_containers_own_address() {
    let routed = |container_port, count| Published { count, ..port([0; 4], 0, container_port) };
    let found = |target: Target| -> Vec<usize> {
        port_elements(&[target], Family::V4, false).iter().map(|(_, elements)| elements.len()).collect()
    };
    // The same port is opened once.
    assert_eq!(found(target(vec![routed(80, 1), routed(80, 1), routed(75, 10)])), [0, 0, 0, 0, 1, 0]);
    let trusted = vec!["eth0".to_owned(), "eth1".to_owned()];
    let ports = vec![port([0; 4], 8080, 80), port([0; 4], 8081, 80)];
    assert_eq!(found(Target { trusted, ..target(ports) }), [2, 0, 0, 0, 0, 2]);
}

#[test]
fn the_highest_subnet_has_no_bound_behind_it() {
    let passage = |subnet: &str| Passage {
        bridge: "hull0".to_owned(),
        subnet: Some(subnet.parse().unwrap()),
        subnet6: None,
        icc: true,
        masquerade: true,
        senders: (None, None),
        internal: false,
        ways: [Way::Nat; 2],
    };
    let bounds = |subnet| {
        let sets = passage_elements(&passage(subnet), Family::V4);
        sets.iter().find(|(set, _)| *set == SUBNETS).map(|(_, elements)| elements.len())
    };
    assert_eq!(bounds("10.0.0.0/8"), Some(2));
    assert_eq!(bounds("255.255.255.0/24"), Some(1));
}

#[test]
fn ports_of_both_families_lead_to_the_address_of_theirs() {
    let six = |host_ip: &str, number| Published {
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: host_ip.parse().unwrap(),
        host_port: number,
        count: 1,
    };
    let ports = vec![port([0; 4], 8080, 80), six("::", 8080), six("2001:db8::1", 8081)];
    let target = Target { address6: "fd00::2".parse().ok(), ..target(ports) };
    let count = |family| -> Vec<usize> {
        port_elements(std::slice::from_ref(&target), family, false)
            .iter()
            .map(|(_, found)| found.len())
            .collect()
    };
    assert_eq!((count(Family::V4), count(Family::V6)), (vec![1, 0, 0, 0, 0, 0], vec![1, 1, 0, 0, 0, 0]));
    assert_eq!(behind(&[10, 0, 255, 255]), Some(vec![10, 1, 0, 0]));
    assert_eq!(behind(&[255; 16]), None);
}
