//! Networks and endpoints as asked for.

use std::collections::BTreeMap;

use hull_api::wire::network as wire;
use hull_engine::{Error, model};

use crate::call::invalid;

/// `NetworkingConfig` of a create.
pub(crate) fn networking(wire: wire::NetworkingConfig) -> Result<model::NetworkingConfig, Error> {
    let endpoints: Result<BTreeMap<_, _>, Error> = wire
        .endpoints_config
        .into_iter()
        .map(|(network, settings)| {
            let within = |error: Error| error.within(format!("invalid config for network {network}"));
            let settings = settings.ok_or_else(|| within(invalid("EndpointsConfig is nil")))?;
            let settings = endpoint(settings).map_err(within)?;
            Ok((network, settings))
        })
        .collect();
    Ok(model::NetworkingConfig { endpoints: endpoints? })
}

/// What is asked of one endpoint.
pub(crate) fn endpoint(wire: wire::EndpointSettings) -> Result<model::EndpointSettings, Error> {
    let ipam_given = wire.ipam_config.is_some();
    let ipam = wire.ipam_config.unwrap_or_default();
    Ok(model::EndpointSettings {
        wanted_ipv4: address(&ipam.ipv4_address, "IPv4")?,
        wanted_ipv6: address(&ipam.ipv6_address, "IPv6")?,
        link_local_ips: ipam
            .link_local_ips
            .iter()
            .map(|text| text.parse().map_err(|_| wrong_address("link-local IP", text)))
            .collect::<Result<_, _>>()?,
        ipam_given,
        links: wire.links,
        aliases: wire.aliases,
        wanted_mac: wire.mac_address.clone(),
        mac_address: wire.mac_address,
        driver_opts: wire.driver_opts,
        gw_priority: wire.gw_priority,
        ..model::EndpointSettings::default()
    })
}

fn address<A: std::str::FromStr>(text: &str, family: &str) -> Result<Option<A>, Error> {
    match text {
        "" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| wrong_address(family, text)),
    }
}

fn wrong_address(kind: &str, text: &str) -> Error {
    invalid(format!("invalid endpoint settings:\ninvalid {kind} address: {text}"))
}

/// The body of `/networks/create`.
pub(crate) fn network_request(
    wire: wire::NetworkCreateRequest,
) -> Result<hull_network::NetworkRequest, Error> {
    if wire.config_only || wire.config_from.is_some_and(|from| !from.network.is_empty()) {
        return Err(Error::not_implemented("configuration-only networks are not supported yet"));
    }
    if wire.ingress {
        return Err(forbidden("Ingress network can only be global scope network"));
    }
    if wire.scope == "swarm" {
        return Err(forbidden("cannot create a swarm scoped network when swarm is not active"));
    }
    let ipam = wire.ipam.unwrap_or_default();
    if !["", "default"].contains(&ipam.driver.as_str()) {
        return Err(Error::not_found(format!(
            "could not find plugin {} in v1 plugin registry: plugin not found",
            ipam.driver
        )));
    }
    let Pools { v4, v6 } = pools(ipam.config)?;
    let v6 = match wire.enable_ipv6.unwrap_or(false) {
        true => Some(hull_network::Pool6Request {
            subnet: part(&v6.subnet, "subnet")?,
            gateway: part(&v6.gateway, "gateway")?,
            range: part(&v6.ip_range, "ip-range")?,
            auxiliary: auxiliary(v6.auxiliary_addresses)?,
        }),
        // As in Docker, a subnet of a family that is off is left aside.
        false => None,
    };
    Ok(hull_network::NetworkRequest {
        name: wire.name,
        driver: wire.driver,
        without_ipv4: wire.enable_ipv4 == Some(false),
        subnet: part(&v4.subnet, "subnet")?,
        gateway: part(&v4.gateway, "gateway")?,
        range: part(&v4.ip_range, "ip-range")?,
        auxiliary: auxiliary(v4.auxiliary_addresses)?,
        internal: wire.internal,
        attachable: wire.attachable,
        ipv6: v6,
        options: wire.options.unwrap_or_default(),
        labels: wire.labels.unwrap_or_default(),
    })
}

fn forbidden(message: &str) -> Error {
    Error::new(hull_engine::Kind::Forbidden, message.to_owned())
}

/// One pool of each family, empty where it is not named.
#[derive(Default)]
struct Pools {
    v4: wire::IpamConfig,
    v6: wire::IpamConfig,
}

fn pools(config: Vec<wire::IpamConfig>) -> Result<Pools, Error> {
    let (mut pools, mut seen) = (Pools::default(), [false; 2]);
    for pool in config {
        let is_v6 = [&pool.subnet, &pool.gateway, &pool.ip_range].iter().any(|text| text.contains(':'));
        if std::mem::replace(&mut seen[usize::from(is_v6)], true) {
            return Err(forbidden("bridge driver doesn't support multiple subnets"));
        }
        if pool.subnet.is_empty() {
            return Err(invalid("invalid network config:\ninvalid subnet : invalid CIDR block notation"));
        }
        match is_v6 {
            true => pools.v6 = pool,
            false => pools.v4 = pool,
        }
    }
    Ok(pools)
}

fn auxiliary<T: std::str::FromStr>(wire: BTreeMap<String, String>) -> Result<BTreeMap<String, T>, Error> {
    wire.into_iter()
        .map(|(name, ip)| match ip.parse() {
            Ok(ip) => Ok((name, ip)),
            Err(_) => Err(invalid(format!(
                "invalid network config:\ninvalid auxiliary address {name}: invalid address"
            ))),
        })
        .collect()
}

/// A part of a pool; empty is none.
fn part<T: std::str::FromStr>(text: &str, what: &str) -> Result<Option<T>, Error> {
    match text {
        "" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| {
            let wanted = if what == "gateway" { "address" } else { "CIDR block notation" };
            invalid(format!("invalid network config:\ninvalid {what} {text}: invalid {wanted}"))
        }),
    }
}
