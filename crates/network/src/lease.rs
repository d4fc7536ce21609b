//! Which address a container gets.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::network::{Ipam, Ipam6};

/// The next free address after `last`, around the end of the range.
pub(crate) fn next<E>(
    ipam: &Ipam,
    last: Option<Ipv4Addr>,
    mut taken: impl FnMut(Ipv4Addr) -> Result<bool, E>,
) -> Result<Option<Ipv4Addr>, E> {
    let range = ipam.range.unwrap_or(ipam.subnet);
    let bounds = (u32::from(range.network()).into(), u32::from(range.broadcast()).into());
    // A number within IPv4 bounds has 32 bits.
    let address = |number: u128| Ipv4Addr::from(number as u32);
    let last = last.map(|last| u32::from(last).into());
    let found = turn(bounds, last, |number| Ok(usable(ipam, address(number)) && !taken(address(number))?))?;
    Ok(found.map(address))
}

/// The same for IPv6.
pub(crate) fn next6<E>(
    ipam: &Ipam6,
    last: Option<Ipv6Addr>,
    mut taken: impl FnMut(Ipv6Addr) -> Result<bool, E>,
) -> Result<Option<Ipv6Addr>, E> {
    let range = ipam.range.unwrap_or(ipam.subnet);
    let bounds = (u128::from(range.network()), u128::from(range.broadcast()));
    let found = turn(bounds, last.map(u128::from), |number| {
        Ok(usable6(ipam, number.into()) && !taken(number.into())?)
    })?;
    Ok(found.map(Ipv6Addr::from))
}

/// The first free number behind `last`, or else from the beginning.
fn turn<E>(
    (first, end): (u128, u128),
    last: Option<u128>,
    mut free: impl FnMut(u128) -> Result<bool, E>,
) -> Result<Option<u128>, E> {
    let start = last.map_or(first, |last| last.saturating_add(1)).max(first);
    for number in (start..=end).chain(first..start.min(end.saturating_add(1))) {
        if free(number)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Whether a container may have it: inside the subnet, and nobody's by definition.
pub(crate) fn usable(ipam: &Ipam, address: Ipv4Addr) -> bool {
    // Subnets of one or two addresses have neither a network nor a broadcast address (RFC 3021).
    let edge = ipam.subnet.prefix_len() < 31
        && (address == ipam.subnet.network() || address == ipam.subnet.broadcast());
    ipam.subnet.contains(&address)
        && !edge
        && Some(address) != ipam.gateway
        && !ipam.auxiliary.values().any(|auxiliary| *auxiliary == address)
}

/// The same for IPv6, where the first address of a subnet is that of its routers (RFC 4291).
pub(crate) fn usable6(ipam: &Ipam6, address: Ipv6Addr) -> bool {
    ipam.subnet.contains(&address)
        && (address != ipam.subnet.network() || ipam.subnet.prefix_len() > 126)
        && Some(address) != ipam.gateway
        && !ipam.auxiliary.values().any(|auxiliary| *auxiliary == address)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    fn ipam(subnet: &str, range: Option<&str>) -> Ipam {
        let subnet: ipnet::Ipv4Net = subnet.parse().unwrap();
        Ipam {
            subnet,
            gateway: subnet.hosts().next(),
            range: range.map(|range| range.parse().unwrap()),
            auxiliary: BTreeMap::from([("router".to_owned(), Ipv4Addr::new(10, 0, 0, 3))]),
            chosen: true,
            names_gateway: false,
        }
    }

    fn given(ipam: &Ipam, last: Option<[u8; 4]>, taken: &[[u8; 4]]) -> Option<Ipv4Addr> {
        let taken = |ip: Ipv4Addr| Ok::<_, Infallible>(taken.contains(&ip.octets()));
        next(ipam, last.map(Ipv4Addr::from), taken).unwrap()
    }

    #[test]
    fn addresses_go_round_and_skip_the_reserved() {
        let ipam = ipam("10.0.0.0/29", None);
        assert_eq!(given(&ipam, None, &[]), Some([10, 0, 0, 2].into()));
        assert_eq!(given(&ipam, Some([10, 0, 0, 2]), &[]), Some([10, 0, 0, 4].into()));
        assert_eq!(given(&ipam, Some([10, 0, 0, 6]), &[]), Some([10, 0, 0, 2].into()));
        assert_eq!(given(&ipam, Some([10, 0, 0, 4]), &[[10, 0, 0, 5]]), Some([10, 0, 0, 6].into()));
        let all = [[10, 0, 0, 2], [10, 0, 0, 4], [10, 0, 0, 5], [10, 0, 0, 6]];
        assert_eq!(given(&ipam, Some([10, 0, 0, 4]), &all), None);
        assert_eq!(given(&ipam, Some([10, 0, 0, 4]), &[all[0], all[2], all[3]]), Some([10, 0, 0, 4].into()));
    }

    #[test]
    fn a_range_bounds_what_is_given_not_what_is_usable() {
        let ipam = ipam("10.0.0.0/24", Some("10.0.0.128/30"));
        assert_eq!(given(&ipam, None, &[]), Some([10, 0, 0, 128].into()));
        assert_eq!(given(&ipam, Some([10, 0, 0, 131]), &[]), Some([10, 0, 0, 128].into()));
        assert!(usable(&ipam, [10, 0, 0, 9].into()));
        assert!(!usable(&ipam, [10, 0, 1, 9].into()));
    }
}
