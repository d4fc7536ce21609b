//! A network.

use hull_api::wire::network as wire;
use hull_network::{Driver, Endpoint, Ipam, Ipam6, Network};

/// A network; with the containers in it for inspect.
pub(crate) fn network(network: &Network, with_containers: bool) -> wire::Network {
    let endpoints = network.endpoints.iter().filter(|_| with_containers);
    wire::Network {
        name: network.name.clone(),
        id: network.id.clone(),
        created: jiff::Timestamp::try_from(network.created).map(super::time).unwrap_or_default(),
        scope: "local".to_owned(),
        driver: network.driver.name().to_owned(),
        // Host and none have no subnets of theirs, and are said to have IPv4; so those whose plugins choose.
        enable_ipv4: !network.ipam.is_empty() || network.predefined() || network.driver == Driver::Cni,
        enable_ipv6: !network.ipam6.is_empty(),
        ipam: wire::Ipam {
            driver: "default".to_owned(),
            options: network.ipam_options.clone(),
            config: network.ipam.iter().map(pool).chain(network.ipam6.iter().map(pool6)).collect(),
        },
        internal: network.internal,
        attachable: network.attachable,
        containers: endpoints.map(|endpoint| (endpoint.container.clone(), container(endpoint))).collect(),
        options: network.options.clone(),
        labels: network.labels.clone(),
        status: with_containers.then(|| super::subnets::status(network)),
        ..wire::Network::default()
    }
}

fn pool(ipam: &Ipam) -> wire::IpamConfig {
    wire::IpamConfig {
        subnet: ipam.subnet.to_string(),
        ip_range: ipam.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: ipam.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: ipam.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
    }
}

fn pool6(ipam: &Ipam6) -> wire::IpamConfig {
    wire::IpamConfig {
        subnet: ipam.subnet.to_string(),
        ip_range: ipam.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: ipam.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: ipam.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
    }
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
