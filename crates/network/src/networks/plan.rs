//! What a new network gets: its subnets, gateways and bridge, decided from the wish and from what is taken.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use ipnet::{Ipv4Net, Ipv6Net};

use super::vlan::check_parent;
use super::{Bridged, Networks, lock, new_id};
use crate::network::{Ipam, Ipam6};
use crate::records::Rows;
use crate::{Driver, Error, Network, NetworkRequest, Pool6, Pool6Request, Result, pool};

const OWN_PREFIX: &str = "own-prefix";

impl Networks {
    /// Everything a network needs, decided; the caller records it in the same transaction.
    pub(super) fn plan(
        &self,
        rows: &Rows<'_>,
        request: NetworkRequest,
        driver: Driver,
        occupied: &Occupied,
    ) -> Result<Network> {
        let networks = rows.networks()?;
        if networks.iter().any(|network| network.name == request.name) {
            return Err(Error::Conflict(format!("network with name {} already exists", request.name)));
        }
        let ipam = match request.without_ipv4 || driver == Driver::Cni {
            true => None,
            false => Some(self.plan4(&networks, &request, driver, &occupied.v4)?),
        };
        let ipam6 = match request.ipv6.as_ref().filter(|_| driver != Driver::Cni) {
            Some(wish) => Some(self.plan6(rows, &networks, wish, driver, &occupied.v6)?),
            None => None,
        };
        let mut network = blank(&request.name, driver)?;
        network.ipam = ipam.into_iter().collect();
        network.ipam6 = ipam6;
        network.internal = request.internal;
        network.attachable = request.attachable;
        network.options = request.options;
        for (name, value) in self.config.default_options.get(driver.name()).into_iter().flatten() {
            network.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
        network.labels = request.labels;
        let chosen = [request.gateway.is_some(), request.ipv6.is_some_and(|wish| wish.gateway.is_some())];
        drop_gateways(&mut network, chosen)?;
        check_bridge(&networks, &network)?;
        check_parent(&networks, &network)?;
        Ok(network)
    }

    /// The IPv4 subnet: the chosen one, or one of the pools.
    fn plan4(
        &self,
        networks: &[Network],
        request: &NetworkRequest,
        driver: Driver,
        occupied: &[Ipv4Net],
    ) -> Result<Ipam> {
        match request.subnet {
            Some(subnet) => chosen(networks, subnet, request, driver),
            None if request.gateway.is_some() || request.range.is_some() || !request.auxiliary.is_empty() => {
                Err(Error::Invalid("invalid network config:\nno matching subnet".to_owned()))
            }
            None => self.pooled_ipam(networks, occupied, driver),
        }
    }

    /// The IPv6 subnet: the chosen one, or a piece of the configured pools or of this host's own prefix.
    pub(super) fn plan6(
        &self,
        rows: &Rows<'_>,
        networks: &[Network],
        wish: &Pool6Request,
        driver: Driver,
        occupied: &[Ipv6Net],
    ) -> Result<Ipam6> {
        if !self.ipv6 {
            return Err(Error::Invalid("this host's kernel has no IPv6".to_owned()));
        }
        let others = networks.iter().filter(|other| !may_share(driver, other.driver));
        let mut taken: Vec<_> = others.filter_map(|network| Some(network.ipam6.as_ref()?.subnet)).collect();
        match wish.subnet {
            Some(subnet) => chosen6(&taken, subnet, wish, driver),
            None if wish.gateway.is_some() || wish.range.is_some() || !wish.auxiliary.is_empty() => {
                Err(Error::Invalid("invalid network config:\nno matching subnet".to_owned()))
            }
            None => {
                taken.extend(networks.iter().filter_map(|network| Some(network.ipam6.as_ref()?.subnet)));
                taken.extend(occupied);
                let pools = match self.config.pools6.is_empty() {
                    true => vec![Pool6 { base: own_prefix(rows)?, size: 64 }],
                    false => self.config.pools6.clone(),
                };
                let subnet = pool::first_free6(&pools, &taken).ok_or_else(|| {
                    Error::Unavailable("all predefined address pools have been fully subnetted".to_owned())
                })?;
                let gateway = has_own_gateway(driver).then(|| first_host6(subnet));
                Ok(Ipam6 { subnet, gateway, range: None, auxiliary: BTreeMap::new(), chosen: false })
            }
        }
    }

    /// A subnet of the pools that neither the host nor another network uses.
    pub(super) fn pooled_ipam(
        &self,
        networks: &[Network],
        occupied: &[Ipv4Net],
        driver: Driver,
    ) -> Result<Ipam> {
        let mut taken = occupied.to_vec();
        taken.extend(networks.iter().flat_map(|network| network.ipam.iter().map(|ipam| ipam.subnet)));
        let subnet = pool::first_free(&self.config.pools, &taken).ok_or_else(|| {
            Error::Unavailable("all predefined address pools have been fully subnetted".to_owned())
        })?;
        Ok(Ipam {
            subnet,
            gateway: has_own_gateway(driver).then(|| first_host(subnet)),
            range: None,
            auxiliary: BTreeMap::new(),
            chosen: false,
        })
    }

    /// What the host itself uses: destinations of its routes and its addresses.
    pub(super) fn occupied(&self) -> Result<Occupied> {
        let mut routes = lock(&self.routes);
        let mut v4 = routes.destinations()?;
        v4.extend(routes.addresses()?.into_iter().map(|(_, address)| address.trunc()));
        let v6 = if self.ipv6 { routes.destinations6()? } else { Vec::new() };
        Ok(Occupied { v4, v6 })
    }
}

/// Where the host has no address and nothing leads out, no address is kept for it unless the user has chosen one: a
/// subnet of two addresses has room for two containers then.
fn drop_gateways(network: &mut Network, chosen: [bool; 2]) -> Result<()> {
    let Some(bridged) = Bridged::of(network)? else { return Ok(()) };
    let [v4, v6] = bridged.settings.has_addresses();
    let none = network.internal && !v4;
    if let Some(ipam) = network.ipam.first_mut().filter(|_| none && !chosen[0]) {
        ipam.gateway = None;
    }
    if let Some(ipam) = network.ipam6.as_mut().filter(|_| !v6 && !chosen[1]) {
        ipam.gateway = None;
    }
    Ok(())
}

/// What the host itself uses, which no pool is to give away.
pub(super) struct Occupied {
    pub(super) v4: Vec<Ipv4Net>,
    pub(super) v6: Vec<Ipv6Net>,
}

/// Whether the host is the gateway of a network of this driver. Elsewhere it is somebody on the wire, whom the user names.
fn has_own_gateway(driver: Driver) -> bool {
    driver == Driver::Bridge
}

/// Whether networks of these drivers may have the same subnet: they are on the same wire.
fn may_share(driver: Driver, other: Driver) -> bool {
    driver == Driver::Macvlan && other == Driver::Macvlan
}

/// The subnet that the user has chosen.
fn chosen(networks: &[Network], subnet: Ipv4Net, request: &NetworkRequest, driver: Driver) -> Result<Ipam> {
    let invalid = |text: String| Error::Invalid(format!("invalid network config:\n{text}"));
    if subnet.trunc() != subnet {
        return Err(invalid(format!("invalid subnet {subnet}: it should be {}", subnet.trunc())));
    }
    if subnet.prefix_len() > 31 {
        return Err(invalid(format!("invalid subnet {subnet}: no room for a container")));
    }
    if let Some(range) = request.range.filter(|range| !subnet.contains(range)) {
        return Err(invalid(format!(
            "invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"
        )));
    }
    let gateway = request.gateway.or_else(|| has_own_gateway(driver).then(|| first_host(subnet)));
    if let Some(gateway) = gateway.filter(|gateway| !subnet.contains(gateway)) {
        return Err(invalid(format!(
            "invalid gateway {gateway}: parent subnet {subnet} doesn't contain this address"
        )));
    }
    if let Some((name, _)) = request.auxiliary.iter().find(|(_, address)| !subnet.contains(*address)) {
        return Err(invalid(format!(
            "invalid auxiliary address {name}: parent subnet {subnet} doesn't contain this address"
        )));
    }
    let others = networks.iter().filter(|other| !may_share(driver, other.driver));
    let mut others = others.flat_map(|network| &network.ipam);
    if others.any(|other| pool::overlap(&other.subnet, &subnet)) {
        return Err(Error::Forbidden(
            "invalid pool request: Pool overlaps with other one on this address space".to_owned(),
        ));
    }
    Ok(Ipam { subnet, gateway, range: request.range, auxiliary: request.auxiliary.clone(), chosen: true })
}

/// The IPv6 subnet that the user has chosen.
fn chosen6(taken: &[Ipv6Net], subnet: Ipv6Net, wish: &Pool6Request, driver: Driver) -> Result<Ipam6> {
    let invalid = |text: String| Error::Invalid(format!("invalid network config:\n{text}"));
    let outside = |what: &str, object: String| {
        invalid(format!("invalid {what} {object}: parent subnet {subnet} doesn't contain this address"))
    };
    if subnet.trunc() != subnet {
        return Err(invalid(format!("invalid subnet {subnet}: it should be {}", subnet.trunc())));
    }
    if subnet.prefix_len() > 126 {
        return Err(invalid(format!("invalid subnet {subnet}: no room for a container")));
    }
    if let Some(range) = wish.range.filter(|range| !subnet.contains(range)) {
        return Err(invalid(format!(
            "invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"
        )));
    }
    let gateway = wish.gateway.or_else(|| has_own_gateway(driver).then(|| first_host6(subnet)));
    if let Some(gateway) = gateway.filter(|gateway| !subnet.contains(gateway)) {
        return Err(outside("gateway", gateway.to_string()));
    }
    if let Some((name, _)) = wish.auxiliary.iter().find(|(_, address)| !subnet.contains(*address)) {
        return Err(outside("auxiliary address", name.clone()));
    }
    if taken.iter().any(|other| other.contains(&subnet) || subnet.contains(other)) {
        return Err(Error::Forbidden(
            "invalid pool request: Pool overlaps with other one on this address space".to_owned(),
        ));
    }
    Ok(Ipam6 { subnet, gateway, range: wish.range, auxiliary: wish.auxiliary.clone(), chosen: true })
}

/// This host's prefix of unique local addresses (RFC 4193), drawn when it is first needed.
fn own_prefix(rows: &Rows<'_>) -> Result<Ipv6Net> {
    if let Some(prefix) = rows.fact(OWN_PREFIX)? {
        return Ok(prefix);
    }
    let [a, b, c, d, e] = super::random::<5>()?;
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
    let prefix = Ipv6Net::new(octets.into(), 48)
        .map_err(|_| Error::Invalid("prefix of unique local addresses".to_owned()))?;
    rows.set_fact(OWN_PREFIX, &prefix)?;
    Ok(prefix)
}

fn first_host6(subnet: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(subnet.network()) | 1)
}

/// Two networks have two bridges.
fn check_bridge(networks: &[Network], network: &Network) -> Result<()> {
    let Some(bridged) = Bridged::of(network)? else { return Ok(()) };
    bridged.settings.check(network)?;
    for other in networks {
        let Some(existing) = Bridged::of(other)? else { continue };
        if existing.settings.bridge == bridged.settings.bridge {
            return Err(Error::Forbidden(format!(
                "cannot create network {} ({}): conflicts with network {} ({}): networks have same bridge name",
                network.id, bridged.settings.bridge, other.id, existing.settings.bridge
            )));
        }
    }
    Ok(())
}

pub(super) fn blank(name: &str, driver: Driver) -> Result<Network> {
    Ok(Network {
        id: new_id()?,
        name: name.to_owned(),
        created: SystemTime::now(),
        driver,
        ipam: Vec::new(),
        ipam6: None,
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        endpoints: Vec::new(),
    })
}

/// The first address that can be an interface's.
fn first_host(subnet: Ipv4Net) -> Ipv4Addr {
    subnet.hosts().next().unwrap_or(subnet.network())
}
