//! A container's place in a network: as the record wishes it, and as it is while the container runs.

use std::net::IpAddr;

use hull_network::{Driver, Endpoint, EndpointRequest, MacAddr, Network, PortBinding};

use crate::model::{Container, EndpointSettings, NetworkSettings};
use crate::{Error, Result};

/// What the options of an endpoint begin with.
const ENDPOINT_OPTIONS: &str = "com.docker.network.endpoint.";

/// Refuses what cannot be in the network called `name`, with all that is wrong. Of one that is not there (yet) little
/// can be told.
pub(super) fn check_endpoint(name: &str, network: Option<&Network>, wish: &EndpointSettings) -> Result<()> {
    if !wish.wanted_mac.is_empty() && wish.wanted_mac.parse::<MacAddr>().is_err() {
        return Err(Error::invalid(format!("invalid MAC address {}", wish.wanted_mac)));
    }
    let predefined = hull_network::PREDEFINED.contains(&name);
    let mut wrong = Vec::new();
    if predefined && wish.wants_address() {
        wrong.push("user specified IP address is supported on user defined networks only".to_owned());
    }
    if predefined && wish.aliases.iter().flatten().next().is_some() {
        wrong.push(
            "network-scoped alias is supported only for containers in user defined networks".to_owned(),
        );
    }
    // What plugins of CNI can do is known to them.
    let judged = network.filter(|network| network.driver != Driver::Cni);
    wrong.extend(judged.into_iter().flat_map(|network| wrong_addresses(network, wish)));
    wrong.extend(sysctls(wish).filter(|text| !hull_network::is_switch(text)).map(|text| {
        format!(
            "unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', \
             'X' must be 'ipv4', 'ipv6' or 'mpls'"
        )
    }));
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(Error::invalid(format!("invalid endpoint settings:\n{one}"))),
        many => Err(Error::invalid(format!("invalid endpoint settings:\n* {}", many.join("\n* ")))),
    }
}

fn option<'a>(wish: &'a EndpointSettings, name: &str) -> Option<&'a String> {
    wish.driver_opts.as_ref()?.get(&format!("{ENDPOINT_OPTIONS}{name}"))
}

/// The switches of the endpoint's interface that somebody wants.
fn sysctls(wish: &EndpointSettings) -> impl Iterator<Item = &str> {
    option(wish, "sysctls").into_iter().flat_map(|list| list.split(','))
}

/// The wished addresses that the user has not chosen a subnet for.
fn wrong_addresses(network: &Network, wish: &EndpointSettings) -> Vec<String> {
    let v4 = network.ipam.iter().filter(|ipam| ipam.chosen);
    let v6 = network.ipam6.iter().filter(|ipam| ipam.chosen);
    let within4 = wish
        .wanted_ipv4
        .map(|ip| (v4.clone().next().is_some(), v4.clone().any(|ipam| ipam.subnet.contains(&ip))));
    let within6 = wish
        .wanted_ipv6
        .map(|ip| (v6.clone().next().is_some(), v6.clone().any(|ipam| ipam.subnet.contains(&ip))));
    let wished =
        [wish.wanted_ipv4.map(IpAddr::from).zip(within4), wish.wanted_ipv6.map(IpAddr::from).zip(within6)];
    let judged = wished.into_iter().flatten().filter_map(|(address, judged)| match judged {
        (false, _) => Some(
            "user specified IP address is supported only when connecting to networks with user configured subnets"
                .to_owned(),
        ),
        (_, false) => Some(format!("no configured subnet or ip-range contain the IP address {address}")),
        _ => None,
    });
    judged.collect()
}

pub(super) fn endpoint_request(
    container: &Container,
    network: &str,
    wish: &EndpointSettings,
    ports: Vec<PortBinding>,
) -> Result<EndpointRequest> {
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
        without_ipv6: container.host.forgoes_ipv6(),
        before: (None, None),
        mac,
        interface: option(wish, "ifname").cloned(),
        sysctls: sysctls(wish).map(String::from).collect(),
        priority: wish.gw_priority,
        ports,
        publishes: [false; 2],
        hostname: container.config.hostname.clone(),
        aliases: wish.aliases.clone().unwrap_or_default(),
        links: Vec::new(),
        link_local: wish.link_local_ips.clone(),
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
