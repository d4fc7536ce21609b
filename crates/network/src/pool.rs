//! Subnets for networks that name none.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::{Pool, Pool6};

/// The first piece of the pools that overlaps nothing of `taken` (the host's routes and the other networks).
pub(crate) fn first_free(pools: &[Pool], taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    pools.iter().find_map(|pool| first_free_of(*pool, taken))
}

/// Whether the two share an address.
pub(crate) fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

/// The first piece of the pools that none of `taken` overlaps.
pub(crate) fn first_free6(pools: &[Pool6], taken: &[Ipv6Net]) -> Option<Ipv6Net> {
    pools.iter().find_map(|pool| first_free6_of(*pool, taken))
}

fn first_free6_of(pool: Pool6, taken: &[Ipv6Net]) -> Option<Ipv6Net> {
    let end = u128::from(pool.base.broadcast());
    let step = 1u128.checked_shl(128 - u32::from(pool.size))?;
    let mut start = u128::from(pool.base.network());
    loop {
        let candidate = Ipv6Net::new(Ipv6Addr::from(start), pool.size).ok()?;
        let in_the_way = taken.iter().filter(|net| net.contains(&candidate) || candidate.contains(*net));
        // What is in the way may be larger than the candidate: the next try begins behind all of it.
        let last = match in_the_way.map(|net| u128::from(net.broadcast())).max() {
            None => return Some(candidate),
            Some(last) => last.max(u128::from(candidate.broadcast())),
        };
        start = last.checked_add(1)?.checked_next_multiple_of(step)?;
        if start > end {
            return None;
        }
    }
}

fn first_free_of(pool: Pool, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let end = u64::from(u32::from(pool.base.broadcast()));
    let mut start = u64::from(u32::from(pool.base.network()));
    while start <= end {
        let candidate = Ipv4Net::new(Ipv4Addr::from(u32::try_from(start).ok()?), pool.size).ok()?;
        // What is in the way may be larger than the candidate: the next try begins behind all of it.
        match taken.iter().filter(|net| overlap(net, &candidate)).map(Ipv4Net::broadcast).max() {
            None => return Some(candidate),
            Some(last) => {
                let behind = u64::from(u32::from(last)).max(u64::from(u32::from(candidate.broadcast()))) + 1;
                start = behind.next_multiple_of(1 << (32 - u32::from(pool.size)));
            }
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
