//! Subnets for networks that name none.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{Pool, Pool6};

/// Addresses from the first to the last, as numbers.
pub(crate) type Span = (u128, u128);

/// The addresses of a subnet.
pub(crate) fn span(net: impl Into<IpNet>) -> Span {
    match net.into() {
        IpNet::V4(net) => (u32::from(net.network()).into(), u32::from(net.broadcast()).into()),
        IpNet::V6(net) => (net.network().into(), net.broadcast().into()),
    }
}

/// The first piece of the pools that overlaps nothing of `taken` (the host's routes and the other networks).
pub(crate) fn first_free(pools: &[Pool], taken: &mut [Span]) -> Option<Ipv4Net> {
    taken.sort_unstable();
    pools.iter().find_map(|pool| {
        let length = 1 << 32_u32.checked_sub(pool.size.into())?;
        let first = free_piece(span(pool.base), length, taken)?;
        Ipv4Net::new(Ipv4Addr::from(u32::try_from(first).ok()?), pool.size).ok()
    })
}

/// The same for IPv6.
pub(crate) fn first_free6(pools: &[Pool6], taken: &mut [Span]) -> Option<Ipv6Net> {
    taken.sort_unstable();
    pools.iter().find_map(|pool| {
        let length = 1_u128.checked_shl(128_u32.checked_sub(pool.size.into())?)?;
        let first = free_piece(span(pool.base), length, taken)?;
        Ipv6Net::new(Ipv6Addr::from(first), pool.size).ok()
    })
}

/// The first address of the first piece of this length that none of `taken`, which is in order, overlaps. Both are gone
/// through once, side by side.
fn free_piece((first, end): Span, length: u128, taken: &[Span]) -> Option<u128> {
    let (mut start, mut others) = (first, taken.iter().peekable());
    // How far what begins before the end of the candidate reaches.
    let mut reach = None;
    while start <= end {
        let last = start.checked_add(length - 1)?;
        while let Some((_, other)) = others.next_if(|(first, _)| *first <= last) {
            reach = reach.max(Some(*other));
        }
        match reach.filter(|reach| *reach >= start) {
            None => return Some(start),
            // What is in the way may be larger than the candidate: the next try begins behind all of it.
            Some(reach) => start = reach.max(last).checked_add(1)?.checked_next_multiple_of(length)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn first_free(pools: &[Pool], taken: &[Ipv4Net]) -> Option<Ipv4Net> {
        super::first_free(pools, &mut taken.iter().map(|net| span(*net)).collect::<Vec<_>>())
    }

    fn first_free6(pools: &[Pool6], taken: &[Ipv6Net]) -> Option<Ipv6Net> {
        super::first_free6(pools, &mut taken.iter().map(|net| span(*net)).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_network_is_dockers() {
        assert_eq!(first_free(&Config::default().pools, &[]), Some(net("172.17.0.0/16")));
    }

    #[test]
    fn what_the_host_routes_is_left_out() {
        let taken = [net("172.17.4.0/24"), net("172.18.0.0/16"), net("172.16.0.0/14")];
        assert_eq!(first_free(&Config::default().pools, &taken), Some(net("172.20.0.0/16")));
        assert_eq!(
            first_free(&Config::default().pools, &[net("172.16.0.0/12")]),
            Some(net("192.168.0.0/20"))
        );
        assert_eq!(first_free(&Config::default().pools, &[net("0.0.0.0/0")]), None);
    }

    #[test]
    fn pieces_of_the_own_prefix_are_given_in_order() {
        let base = [Pool6 { base: "fd12:3456:789a::/48".parse().unwrap(), size: 64 }];
        assert_eq!(first_free6(&base, &[]), "fd12:3456:789a::/64".parse().ok());
        let taken = ["fd12:3456:789a::/64".parse().unwrap(), "fd12:3456:789a:1:8::/96".parse().unwrap()];
        assert_eq!(first_free6(&base, &taken), "fd12:3456:789a:2::/64".parse().ok());
        assert_eq!(first_free6(&base, &["fd00::/8".parse().unwrap()]), None);
    }

    #[test]
    fn pools_end() {
        let pool = Pool { base: net("10.9.0.0/23"), size: 24 };
        assert_eq!(first_free(&[pool], &[net("10.9.0.0/24")]), Some(net("10.9.1.0/24")));
        assert_eq!(first_free(&[pool], &[net("10.9.0.128/25"), net("10.9.1.7/32")]), None);
        let last = Pool { base: net("255.255.255.0/24"), size: 25 };
        assert_eq!(first_free(&[last], &[net("255.255.255.128/25"), net("255.255.255.0/25")]), None);
    }
}
