//! How many addresses a network has left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hull_api::wire::network::{IpamStatus, NetworkStatus, SubnetStatus};
use hull_network::Network;

/// The addresses of each of a network's subnets, counted.
pub(super) fn status(network: &Network) -> NetworkStatus {
    let mut subnets = BTreeMap::new();
    for ipam in &network.ipam {
        let addresses = network.endpoints.iter().filter_map(|endpoint| endpoint.address);
        let mut used: BTreeSet<IpAddr> = addresses.map(|address| address.addr().into()).collect();
        used.extend(ipam.gateway.map(IpAddr::from));
        used.extend(ipam.auxiliary.values().copied().map(IpAddr::from));
        used.extend([ipam.subnet.network(), ipam.subnet.broadcast()].map(IpAddr::from));
        let range = ipam.range.unwrap_or(ipam.subnet);
        let size = 1_u128 << (32 - range.prefix_len());
        let inside = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if range.contains(ip));
        subnets.insert(ipam.subnet.to_string(), count(&used, size, inside));
    }
    for ipam in &network.ipam6 {
        let addresses = network.endpoints.iter().filter_map(|endpoint| endpoint.address6);
        let mut used: BTreeSet<IpAddr> = addresses.map(|address| address.addr().into()).collect();
        used.extend(ipam.gateway.map(IpAddr::from));
        used.extend(ipam.auxiliary.values().copied().map(IpAddr::from));
        // The first one is any router's.
        used.insert(ipam.subnet.network().into());
        let range = ipam.range.unwrap_or(ipam.subnet);
        let size = 1_u128.checked_shl(128 - u32::from(range.prefix_len())).unwrap_or(u128::MAX);
        let inside = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if range.contains(ip));
        subnets.insert(ipam.subnet.to_string(), count(&used, size, inside));
    }
    NetworkStatus { ipam: IpamStatus { subnets } }
}

fn count(used: &BTreeSet<IpAddr>, size: u128, inside: impl Fn(&IpAddr) -> bool) -> SubnetStatus {
    let taken = used.iter().filter(|ip| inside(ip)).count();
    SubnetStatus {
        ips_in_use: used.len() as u64,
        dynamic_ips_available: u64::try_from(size - taken as u128).unwrap_or(u64::MAX),
    }
}
