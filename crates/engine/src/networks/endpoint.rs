//! A container's place in a network: as the record wishes it, and as it is while the container runs.

use hull_network::{Endpoint, EndpointRequest, MacAddr, PortBinding};

use crate::Result;
use crate::model::{Container, EndpointSettings, NetworkSettings};

/// What the options of an endpoint begin with.
const ENDPOINT_OPTIONS: &str = "com.docker.network.endpoint.";

pub(super) fn endpoint_request(
    container: &Container,
    network: &str,
    wish: &EndpointSettings,
    ports: Vec<PortBinding>,
) -> Result<EndpointRequest> {
    let option = |name: &str| wish.driver_opts.as_ref()?.get(&format!("{ENDPOINT_OPTIONS}{name}"));
    let mac = match wish.wanted_mac.as_str() {
        "" => None,
        text => Some(text.parse::<MacAddr>()?),
    };
    Ok(EndpointRequest {
        container: container.id.clone(),
        name: container.name.clone(),
        network: network.to_owned(),
        ipv4: wish.wanted_ipv4,
        ipv6: wish.wanted_ipv6,
        before: (None, None),
        mac,
        interface: option("ifname").cloned(),
        sysctls: option("sysctls").iter().flat_map(|list| list.split(',')).map(String::from).collect(),
        priority: wish.gw_priority,
        ports,
        publishes: false,
        hostname: container.config.hostname.clone(),
        aliases: wish.aliases.clone().unwrap_or_default(),
    })
}

pub(super) fn fill_in(
    wish: EndpointSettings,
    container: &Container,
    endpoint: &Endpoint,
) -> EndpointSettings {
    let mut dns_names = None;
    if !hull_network::PREDEFINED.contains(&endpoint.network.as_str()) {
        let mut names = vec![container.name.clone()];
        names.extend(wish.aliases.iter().flatten().cloned());
        names.extend([container.short_id().to_owned(), container.config.hostname.clone()]);
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        dns_names = Some(names);
    }
    EndpointSettings {
        network_id: endpoint.network_id.clone(),
        endpoint_id: endpoint.id.clone(),
        gateway: endpoint.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        ip_address: endpoint.address.map(|on| on.addr().to_string()).unwrap_or_default(),
        ip_prefix_len: endpoint.address.map(|on| on.prefix_len()).unwrap_or_default(),
        ipv6_gateway: endpoint.gateway6.map(|gateway| gateway.to_string()).unwrap_or_default(),
        global_ipv6_address: endpoint.address6.map(|on| on.addr().to_string()).unwrap_or_default(),
        global_ipv6_prefix_len: endpoint.address6.map(|on| on.prefix_len()).unwrap_or_default(),
        mac_address: endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        dns_names,
        ..wish
    }
}

impl NetworkSettings {
    /// The settings of a container that does not run: wishes stay, facts go.
    pub(crate) fn clear(&mut self) {
        self.sandbox_id.clear();
        self.sandbox_key.clear();
        self.ports.clear();
        for endpoint in self.networks.values_mut() {
            endpoint.endpoint_id.clear();
            endpoint.gateway.clear();
            endpoint.ip_address.clear();
            endpoint.ip_prefix_len = 0;
            endpoint.ipv6_gateway.clear();
            endpoint.global_ipv6_address.clear();
            endpoint.global_ipv6_prefix_len = 0;
            endpoint.mac_address.clone_from(&endpoint.wanted_mac);
        }
    }
}
