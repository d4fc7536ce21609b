//! What becomes elements of which map.

use super::*;

fn port(host_ip: [u8; 4], host_port: u16, container_port: u16) -> Published {
    Published { container_port, protocol: Protocol::Tcp, host_ip: host_ip.into(), host_port }
}

fn counts(ports: Vec<Published>) -> [usize; 3] {
    let target = Target { address: Some(Ipv4Addr::new(172, 17, 0, 2)), address6: None, ports };
    let counts: Vec<_> =
        port_elements(&[target], Family::V4).iter().map(|(_, elements)| elements.len()).collect();
    counts.try_into().unwrap()
}

#[test]
fn a_port_is_one_element_of_the_map_for_its_host_address() {
    assert_eq!(counts(vec![port([0; 4], 8080, 80)]), [1, 0, 0]);
    assert_eq!(counts(vec![port([127, 0, 0, 1], 8080, 80), port([10, 0, 0, 1], 8080, 80)]), [0, 2, 0]);
}

#[test]
fn long_ranges_are_one_element_in_any_order() {
    let mut range: Vec<_> = (10_000..20_000).map(|number| port([0; 4], number, number)).collect();
    range.reverse();
    assert_eq!(counts(range.clone()), [0, 0, 1]);
    range.push(port([0; 4], 80, 80));
    range.retain(|port| port.host_port != 15_000);
    assert_eq!(counts(range), [1, 0, 2]);
}

#[test]
fn ranges_that_change_their_numbers_are_single_elements() {
    assert_eq!(counts((1000..1100).map(|number| port([0; 4], number, number + 1)).collect()), [100, 0, 0]);
}

#[test]
fn the_highest_subnet_has_no_bound_behind_it() {
    let passage = |subnet: &str| Passage {
        bridge: "hull0".to_owned(),
        subnet: subnet.parse().ok(),
        subnet6: None,
        icc: true,
        masquerade: true,
        internal: false,
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
    };
    let ports = vec![port([0; 4], 8080, 80), six("::", 8080), six("2001:db8::1", 8081)];
    let target =
        Target { address: Some(Ipv4Addr::new(172, 17, 0, 2)), address6: "fd00::2".parse().ok(), ports };
    let count = |family| -> Vec<usize> {
        port_elements(std::slice::from_ref(&target), family).iter().map(|(_, found)| found.len()).collect()
    };
    assert_eq!((count(Family::V4), count(Family::V6)), (vec![1, 0, 0], vec![1, 1, 0]));
    assert_eq!(behind(&[10, 0, 255, 255]), Some(vec![10, 1, 0, 0]));
    assert_eq!(behind(&[255; 16]), None);
}
