//! A network.

use hull_api::wire::network as wire;
use hull_network::{Driver, Endpoint, IdlePool, Ipam, Ipam6, Network};

/// A network; with the containers in it for inspect.
pub(crate) fn network(network: &Network, with_containers: bool) -> wire::Network {
    let endpoints = network.endpoints.iter().filter(|_| with_containers);
    let [enable_ipv4, enable_ipv6] = families(network);
    wire::Network {
        name: network.name.clone(),
        id: network.id.clone(),
        created: jiff::Timestamp::try_from(network.created).map(super::time).unwrap_or_default(),
        scope: "local".to_owned(),
        driver: network.driver.name().to_owned(),
        enable_ipv4,
        enable_ipv6,
        ipam: wire::Ipam {
            driver: "default".to_owned(),
            options: network.ipam_options.clone(),
            config: (!matches!(network.driver, Driver::Host | Driver::Null)).then(|| subnets(network)),
        },
        internal: network.internal,
        attachable: network.attachable,
        containers: Some(
            endpoints.map(|endpoint| (endpoint.container.clone(), container(endpoint))).collect(),
        ),
        options: network.options.clone(),
        labels: network.labels.clone(),
        config_from: wire::ConfigReference { network: network.config_from.clone().unwrap_or_default() },
        config_only: network.configuration.is_some(),
        status: with_containers.then(|| super::subnets::status(network)),
        ..wire::Network::default()
    }
}

/// Whether it has IPv4, and IPv6.
fn families(network: &Network) -> [bool; 2] {
    match &network.configuration {
        Some(wished) => [!wished.without_ipv4, wished.ipv6.is_some()],
        // Host and none have no subnets of theirs, and are said to have IPv4; so those whose plugins choose.
        None => {
            let has_ipv4 = !network.ipam.is_empty() || network.predefined() || network.driver == Driver::Cni;
            [has_ipv4, !network.ipam6.is_empty()]
        }
    }
}

/// In Docker's order: what somebody has named, then what came from the pools; IPv4 before IPv6.
fn subnets(network: &Network) -> Vec<wire::IpamConfig> {
    let v4 = |chosen: bool| network.ipam.iter().filter(move |ipam| ipam.chosen == chosen).map(pool);
    let v6 = |chosen: bool| network.ipam6.iter().filter(move |ipam| ipam.chosen == chosen).map(pool6);
    let idle = |v4: bool| network.idle.iter().filter(move |pool| pool.is_ipv4() == v4);
    let named = v4(true).chain(idle(true).map(idle_pool)).chain(v6(true)).chain(idle(false).map(idle_pool));
    named.chain(v4(false)).chain(v6(false)).collect()
}

fn idle_pool(idle: &IdlePool) -> wire::IpamConfig {
    wire::IpamConfig {
        subnet: idle.subnet.to_string(),
        ip_range: idle.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: idle.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: idle.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
    }
}

fn pool(ipam: &Ipam) -> wire::IpamConfig {
    wire::IpamConfig {
        subnet: ipam.subnet.to_string(),
        ip_range: ipam.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: shown(ipam.gateway, ipam.chosen, ipam.names_gateway),
        auxiliary_addresses: ipam.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
    }
}

fn pool6(ipam: &Ipam6) -> wire::IpamConfig {
    wire::IpamConfig {
        subnet: ipam.subnet.to_string(),
        ip_range: ipam.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: shown(ipam.gateway, ipam.chosen, ipam.names_gateway),
        auxiliary_addresses: ipam.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
    }
}

/// As in Docker: the configuration of a subnet that somebody has chosen is what he said, not what was found.
fn shown(gateway: Option<impl ToString>, chosen: bool, named: bool) -> String {
    gateway.filter(|_| named || !chosen).map(|gateway| gateway.to_string()).unwrap_or_default()
}

fn container(endpoint: &Endpoint) -> wire::NetworkContainer {
    wire::NetworkContainer {
        name: endpoint.name.clone(),
        endpoint_id: endpoint.id.clone(),
        mac_address: endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        ipv4_address: endpoint.address.map(|on| on.to_string()).unwrap_or_default(),
        ipv6_address: endpoint.address6.map(|on| on.to_string()).unwrap_or_default(),
    }
}
