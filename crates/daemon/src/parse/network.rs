//! Networks and endpoints as asked for.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

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
        wanted_ipv6: address(&ipam.ipv6_address, "IPv6")?
            .map(|address: Ipv6Addr| match address.to_ipv4_mapped() {
                // It is one of IPv4 in disguise.
                Some(_) => Err(wrong_address("IPv6", &ipam.ipv6_address)),
                None => Ok(address),
            })
            .transpose()?,
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

/// Refuses what Go does not read as a hardware address: pairs of digits, or groups of four. Since version 1.52 of the
/// API that is found while the body is read, before anybody knows what the address is for.
pub(crate) fn check_mac(text: &str) -> Result<(), Error> {
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups = |separator, width| {
        let all = text.split(separator).all(|part| digits(part, width));
        if all { text.split(separator).count() * width / 2 } else { 0 }
    };
    let is_one =
        [groups(':', 2), groups('-', 2), groups('.', 4)].iter().any(|bytes| [6, 8, 20].contains(bytes));
    match text.is_empty() || is_one {
        true => Ok(()),
        false => Err(invalid(format!("invalid JSON: address {text}: invalid MAC address"))),
    }
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

/// Options that say whether a network has a family where the request does not.
const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

/// The body of `/networks/create`; `defaults` are the options that networks of a driver have unless they say otherwise.
pub(crate) fn network_request(
    wire: wire::NetworkCreateRequest,
    defaults: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<hull_network::NetworkRequest, Error> {
    let config_from = wire.config_from.map(|from| from.network).filter(|name| !name.is_empty());
    if wire.config_only && (wire.ingress || wire.internal || wire.attachable || !wire.scope.is_empty()) {
        return Err(forbidden(
            "configuration network can only contain network specific fields. Network operator fields like [ ingress | \
             internal | attachable | scope ] are not supported.",
        ));
    }
    if wire.config_only && config_from.is_some() {
        return Err(forbidden("a configuration network cannot depend on another configuration network"));
    }
    if wire.ingress {
        return Err(forbidden("Ingress network can only be global scope network"));
    }
    if wire.scope == "swarm" {
        return Err(forbidden("cannot create a swarm scoped network when swarm is not active"));
    }
    let ipam = wire.ipam.unwrap_or_default();
    let config = ipam.config.unwrap_or_default();
    match ipam.driver.as_str() {
        "" | "default" => {}
        // It gives no addresses, and every network here needs some.
        "null" if config.iter().all(|pool| pool.subnet.is_empty()) => {
            return Err(invalid("ipv4 pool is empty"));
        }
        "null" => return Err(invalid("null ipam driver does not handle specific address pool requests")),
        other => return Err(Error::not_found(format!("plugin \"{other}\" not found"))),
    }
    let mut options = wire.options.unwrap_or_default();
    if config_from.is_none() {
        let driver = if wire.driver.is_empty() { "bridge" } else { &wire.driver };
        for (name, value) in defaults.get(driver).into_iter().flatten() {
            options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let has_ipv4 = family(wire.enable_ipv4, &mut options, ENABLE_IPV4)?.unwrap_or(true);
    let has_ipv6 = family(wire.enable_ipv6, &mut options, ENABLE_IPV6)?.unwrap_or(false);
    let (idle, config) = config.into_iter().partition(|pool| match is_v6(pool) {
        true => !has_ipv6,
        false => !has_ipv4 && !pool.subnet.is_empty(),
    });
    let idle: Vec<wire::IpamConfig> = idle;
    let pools = pools(config, &wire.driver)?;
    let mut v6 = pools.v6.into_iter().map(pool6).collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut v4 = pools.v4.into_iter();
    let first = v4.next().unwrap_or_default();
    Ok(hull_network::NetworkRequest {
        name: wire.name,
        driver: wire.driver,
        without_ipv4: !has_ipv4,
        subnet: part(&first.subnet, "subnet")?,
        gateway: part(&first.gateway, "gateway")?,
        range: part(&first.ip_range, "ip-range")?,
        auxiliary: auxiliary(first.auxiliary_addresses)?,
        more: v4.map(pool4).collect::<Result<_, _>>()?,
        internal: wire.internal,
        attachable: wire.attachable,
        ipv6: has_ipv6.then(|| v6.next().unwrap_or_default()),
        more6: v6.collect(),
        // As in Docker, a subnet of a family that is off is left aside, and shown.
        idle: idle.into_iter().map(idle_pool).collect::<Result<_, _>>()?,
        ipam_options: ipam.options,
        options,
        labels: wire.labels.unwrap_or_default(),
        config_only: wire.config_only,
        config_from,
    })
}

/// Whether somebody has said that a network has a family. An option that does not count is not shown.
fn family(
    said: Option<bool>,
    options: &mut BTreeMap<String, String>,
    option: &str,
) -> Result<Option<bool>, Error> {
    if said.is_some() {
        options.remove(option);
        return Ok(said);
    }
    let read = |text: &String| {
        model::go_bool(text).ok_or_else(|| invalid(format!("driver-opt {option:?} is not a valid bool")))
    };
    options.get(option).map(read).transpose()
}

fn forbidden(message: &str) -> Error {
    Error::new(hull_engine::Kind::Forbidden, message.to_owned())
}

/// The pools of each family, in their order.
#[derive(Default)]
struct Pools {
    v4: Vec<wire::IpamConfig>,
    v6: Vec<wire::IpamConfig>,
}

/// Sorts pools by their families. Several of one are for networks on an interface of the host's.
fn pools(config: Vec<wire::IpamConfig>, driver: &str) -> Result<Pools, Error> {
    let mut pools = Pools::default();
    for pool in config {
        if pool.subnet.is_empty() {
            return Err(invalid("invalid network config:\ninvalid subnet : invalid CIDR block notation"));
        }
        check_families(&pool)?;
        let of_family = if is_v6(&pool) { &mut pools.v6 } else { &mut pools.v4 };
        if !of_family.is_empty() && !["macvlan", "ipvlan"].contains(&driver) {
            return Err(forbidden("bridge driver doesn't support multiple subnets"));
        }
        of_family.push(pool);
    }
    Ok(pools)
}

fn is_v6(pool: &wire::IpamConfig) -> bool {
    match pool.subnet.as_str() {
        "" => [&pool.gateway, &pool.ip_range].iter().any(|text| text.contains(':')),
        subnet => subnet.contains(':'),
    }
}

/// Refuses a pool whose parts are not of its subnet's family.
fn check_families(pool: &wire::IpamConfig) -> Result<(), Error> {
    let is_v6 = pool.subnet.contains(':');
    let family = if is_v6 { "an IPv6" } else { "an IPv4" };
    let other = |text: &str| match is_v6 {
        true => text.parse::<std::net::Ipv4Addr>().is_ok(),
        false => text.contains(':'),
    };
    let auxiliary =
        pool.auxiliary_addresses.iter().map(|(name, ip)| ("auxiliary address", name.as_str(), ip.as_str()));
    let range = pool.ip_range.split('/').next().unwrap_or_default();
    let parts = [("ip-range", pool.ip_range.as_str(), range), ("gateway", &pool.gateway, &pool.gateway)];
    match parts.into_iter().chain(auxiliary).find(|(_, _, address)| other(address)) {
        Some((what, shown, _)) => {
            let text =
                format!("invalid network config:\ninvalid {what} {shown}: parent subnet is {family} block");
            Err(invalid(text))
        }
        None => Ok(()),
    }
}

fn idle_pool(wire: wire::IpamConfig) -> Result<hull_network::IdlePool, Error> {
    check_families(&wire)?;
    Ok(hull_network::IdlePool {
        subnet: part(&wire.subnet, "subnet")?
            .ok_or_else(|| invalid("invalid network config:\nno matching subnet".to_owned()))?,
        gateway: part(&wire.gateway, "gateway")?,
        range: part(&wire.ip_range, "ip-range")?,
        auxiliary: auxiliary(wire.auxiliary_addresses)?,
    })
}

fn pool4(wire: wire::IpamConfig) -> Result<hull_network::PoolRequest, Error> {
    Ok(hull_network::PoolRequest {
        subnet: part(&wire.subnet, "subnet")?
            .ok_or_else(|| invalid("invalid network config:\nno matching subnet".to_owned()))?,
        gateway: part(&wire.gateway, "gateway")?,
        range: part(&wire.ip_range, "ip-range")?,
        auxiliary: auxiliary(wire.auxiliary_addresses)?,
    })
}

fn pool6(wire: wire::IpamConfig) -> Result<hull_network::Pool6Request, Error> {
    Ok(hull_network::Pool6Request {
        subnet: part(&wire.subnet, "subnet")?,
        gateway: part(&wire.gateway, "gateway")?,
        range: part(&wire.ip_range, "ip-range")?,
        auxiliary: auxiliary(wire.auxiliary_addresses)?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_as_go_does() {
        for right in
            ["", "02:00:00:00:00:01", "02-00-00-00-00-0a", "0200.0000.0001", "00:00:00:00:fe:80:00:01"]
        {
            assert!(check_mac(right).is_ok(), "{right}");
        }
        for wrong in ["frob", "02:00:00:00:00", "02:00:00:00:00:1", "02:00-00:00:00:01", "02:00:00:00:00:0g"]
        {
            let why = check_mac(wrong).unwrap_err().message;
            assert_eq!(why, format!("invalid JSON: address {wrong}: invalid MAC address"));
        }
    }
}
