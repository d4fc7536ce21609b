//! What a new network gets: its subnets, gateways and bridge, decided from the wish and from what is taken.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::vlan::check_parent;
use super::{Bridged, Networks, lock, new_id};
use crate::network::{Ipam, Ipam6};
use crate::pool::{Span, span};
use crate::records::Rows;
use crate::{Driver, Error, Network, NetworkRequest, Pool, Pool6, Pool6Request, PoolRequest, Result, pool};

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
        refuse_known(rows, &request.name)?;
        let chooses = driver != Driver::Cni;
        let ipam = match request.without_ipv4 || !chooses {
            true => Vec::new(),
            false => self.plan4(rows, &request, driver, &occupied.v4)?,
        };
        let ipam6 = match request.ipv6.as_ref().filter(|_| chooses) {
            Some(wish) => self.plan_all6(rows, wish, &request.more6, driver, &occupied.v6)?,
            None => Vec::new(),
        };
        let mut network = blank(&request.name, driver)?;
        network.ipam = ipam;
        network.ipam6 = ipam6;
        network.ipam_options = request.ipam_options;
        network.internal = request.internal;
        network.attachable = request.attachable;
        network.options = request.options;
        network.labels = request.labels;
        network.config_from = request.config_from;
        network.idle = request.idle;
        let chosen = [request.gateway.is_some(), request.ipv6.is_some_and(|wish| wish.gateway.is_some())];
        drop_gateways(&mut network, chosen)?;
        check_bridge(rows, &network)?;
        check_parent(rows, &network)?;
        Ok(network)
    }

    /// The IPv4 subnets: the chosen ones, or one of the pools.
    fn plan4(
        &self,
        rows: &Rows<'_>,
        request: &NetworkRequest,
        driver: Driver,
        occupied: &[Span],
    ) -> Result<Vec<Ipam>> {
        let Some(subnet) = request.subnet else {
            let named = request.gateway.is_some() || request.range.is_some() || !request.auxiliary.is_empty();
            return match named || !request.more.is_empty() {
                true => Err(Error::Invalid("invalid network config:\nno matching subnet".to_owned())),
                false => Ok(vec![self.pooled_ipam(rows, occupied, driver)?]),
            };
        };
        let first = PoolRequest {
            subnet,
            gateway: request.gateway,
            range: request.range,
            auxiliary: request.auxiliary.clone(),
        };
        let mut planned: Vec<Ipam> = Vec::new();
        for wish in std::iter::once(&first).chain(&request.more) {
            let ipam = match wish.subnet.addr().is_unspecified() {
                true => self.sized_ipam(rows, wish, occupied, driver)?,
                false => chosen(wish, driver)?,
            };
            let overlaps = planned.iter().any(|other| overlap(other.subnet, ipam.subnet));
            refuse_taken(overlaps || rows.has_subnet(ipam.subnet, driver, "")?)?;
            planned.push(ipam);
        }
        Ok(planned)
    }

    /// The IPv6 subnets.
    fn plan_all6(
        &self,
        rows: &Rows<'_>,
        wish: &Pool6Request,
        more: &[Pool6Request],
        driver: Driver,
        occupied: &[Span],
    ) -> Result<Vec<Ipam6>> {
        let mut planned: Vec<Ipam6> = Vec::new();
        for wish in std::iter::once(wish).chain(more) {
            let ipam = self.plan6(rows, "", wish, driver, occupied)?;
            refuse_taken(planned.iter().any(|other| overlap(other.subnet, ipam.subnet)))?;
            planned.push(ipam);
        }
        Ok(planned)
    }

    /// An IPv6 subnet: the chosen one, or a piece of the configured pools or of this host's own prefix. What the network
    /// `own` (an id, or nothing) has is free.
    pub(super) fn plan6(
        &self,
        rows: &Rows<'_>,
        own: &str,
        wish: &Pool6Request,
        driver: Driver,
        occupied: &[Span],
    ) -> Result<Ipam6> {
        if !self.ipv6 {
            return Err(Error::Invalid("this host's kernel has no IPv6".to_owned()));
        }
        match wish.subnet {
            Some(subnet) => {
                let ipam = chosen6(subnet, wish, driver)?;
                refuse_taken(rows.has_subnet(subnet, driver, own)?)?;
                Ok(ipam)
            }
            None if wish.gateway.is_some() || wish.range.is_some() || !wish.auxiliary.is_empty() => {
                Err(Error::Invalid("invalid network config:\nno matching subnet".to_owned()))
            }
            None => {
                let mut taken = rows.subnets(false, own)?;
                taken.extend(occupied);
                let pools = match self.config.pools6.is_empty() {
                    true => vec![Pool6 { base: own_prefix(rows)?, size: 64 }],
                    false => self.config.pools6.clone(),
                };
                let subnet = pool::first_free6(&pools, &mut taken).ok_or_else(used_up)?;
                let gateway = has_own_gateway(driver).then(|| first_host6(subnet));
                Ok(Ipam6 {
                    subnet,
                    gateway,
                    range: None,
                    auxiliary: BTreeMap::new(),
                    chosen: false,
                    names_gateway: false,
                })
            }
        }
    }

    /// A subnet of the pools, as long as the wish says: 0.0.0.0/26 is any of 64 addresses.
    fn sized_ipam(
        &self,
        rows: &Rows<'_>,
        wish: &PoolRequest,
        occupied: &[Span],
        driver: Driver,
    ) -> Result<Ipam> {
        let size = wish.subnet.prefix_len();
        if wish.gateway.is_some() || wish.range.is_some() || !wish.auxiliary.is_empty() {
            return Err(Error::Invalid(format!(
                "invalid network config:\ninvalid subnet {}: addresses of it cannot be named before it is chosen",
                wish.subnet
            )));
        }
        let mut taken = rows.subnets(true, "")?;
        taken.extend(occupied);
        let fits = |pool: &&Pool| pool.base.prefix_len() <= size && size < 31;
        let pools: Vec<Pool> =
            self.config.pools.iter().filter(fits).map(|pool| Pool { size, ..*pool }).collect();
        let subnet = pool::first_free(&pools, &mut taken).ok_or_else(used_up)?;
        let gateway = has_own_gateway(driver).then(|| first_host(subnet));
        Ok(Ipam {
            subnet,
            gateway,
            range: None,
            auxiliary: BTreeMap::new(),
            chosen: true,
            // Nobody could have named it.
            names_gateway: true,
        })
    }

    /// A subnet of the pools that neither the host nor another network uses.
    pub(super) fn pooled_ipam(&self, rows: &Rows<'_>, occupied: &[Span], driver: Driver) -> Result<Ipam> {
        let mut taken = rows.subnets(true, "")?;
        taken.extend(occupied);
        let subnet = pool::first_free(&self.config.pools, &mut taken).ok_or_else(used_up)?;
        Ok(Ipam {
            subnet,
            gateway: has_own_gateway(driver).then(|| first_host(subnet)),
            range: None,
            auxiliary: BTreeMap::new(),
            chosen: false,
            names_gateway: false,
        })
    }

    /// What the host itself uses: destinations of its routes and its addresses.
    pub(super) fn occupied(&self) -> Result<Occupied> {
        let mut routes = lock(&self.routes);
        let mut v4: Vec<Span> = routes.destinations()?.into_iter().map(span).collect();
        v4.extend(routes.addresses()?.into_iter().map(|(_, address)| span(address)));
        let v6 = if self.ipv6 { routes.destinations6()? } else { Vec::new() };
        Ok(Occupied { v4, v6: v6.into_iter().map(span).collect() })
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
    if let Some(ipam) = network.ipam6.first_mut().filter(|_| !v6 && !chosen[1]) {
        ipam.gateway = None;
    }
    Ok(())
}

/// What the host itself uses, which no pool is to give away.
pub(super) struct Occupied {
    pub(super) v4: Vec<Span>,
    pub(super) v6: Vec<Span>,
}

/// Whether the host is the gateway of a network of this driver. Elsewhere it is somebody on the wire, whom the user names.
fn has_own_gateway(driver: Driver) -> bool {
    driver == Driver::Bridge
}

fn overlap(one: impl Into<IpNet>, other: impl Into<IpNet>) -> bool {
    let (one, other) = (one.into(), other.into());
    one.contains(&other) || other.contains(&one)
}

fn refuse_taken(taken: bool) -> Result<()> {
    match taken {
        true => Err(Error::Forbidden(
            "invalid pool request: Pool overlaps with other one on this address space".to_owned(),
        )),
        false => Ok(()),
    }
}

fn used_up() -> Error {
    Error::Invalid("all predefined address pools have been fully subnetted".to_owned())
}

/// The subnet that the user has chosen.
pub(super) fn chosen(wish: &PoolRequest, driver: Driver) -> Result<Ipam> {
    let subnet = wish.subnet;
    let gateway = wish.gateway.or_else(|| has_own_gateway(driver).then(|| first_host(subnet)));
    let auxiliary = wish.auxiliary.iter().map(|(name, address)| (name.as_str(), IpAddr::V4(*address)));
    check_chosen(subnet.into(), wish.range.map(IpNet::V4), gateway.map(IpAddr::V4), auxiliary)?;
    Ok(Ipam {
        subnet,
        gateway,
        range: wish.range,
        auxiliary: wish.auxiliary.clone(),
        chosen: true,
        names_gateway: wish.gateway.is_some(),
    })
}

/// The IPv6 subnet that the user has chosen.
fn chosen6(subnet: Ipv6Net, wish: &Pool6Request, driver: Driver) -> Result<Ipam6> {
    let gateway = wish.gateway.or_else(|| has_own_gateway(driver).then(|| first_host6(subnet)));
    let auxiliary = wish.auxiliary.iter().map(|(name, address)| (name.as_str(), IpAddr::V6(*address)));
    check_chosen(subnet.into(), wish.range.map(IpNet::V6), gateway.map(IpAddr::V6), auxiliary)?;
    Ok(Ipam6 {
        subnet,
        gateway,
        range: wish.range,
        auxiliary: wish.auxiliary.clone(),
        chosen: true,
        names_gateway: wish.gateway.is_some(),
    })
}

/// Whether a chosen subnet has room for a container, and all that was named in it is in it.
fn check_chosen<'a>(
    subnet: IpNet,
    range: Option<IpNet>,
    gateway: Option<IpAddr>,
    auxiliary: impl Iterator<Item = (&'a str, IpAddr)> + Clone,
) -> Result<()> {
    let invalid = |text: String| Err(Error::Invalid(format!("invalid network config:\n{text}")));
    let outside = |what: &str, object: &dyn Display, part: &str| {
        invalid(format!("invalid {what} {object}: parent subnet {subnet} doesn't contain {part}"))
    };
    let most = match subnet {
        IpNet::V4(_) => 31,
        IpNet::V6(_) => 126,
    };
    if subnet.trunc() != subnet {
        return invalid(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
    }
    if subnet.prefix_len() > most {
        return invalid(format!("invalid subnet {subnet}: no room for a container"));
    }
    if let Some(range) = range.filter(|range| range.prefix_len() < subnet.prefix_len()) {
        let text = format!("invalid ip-range {range}: CIDR block is bigger than its parent subnet {subnet}");
        return invalid(text);
    }
    if let Some(range) = range.filter(|range| range.trunc() != *range) {
        return invalid(format!("invalid ip-range {range}: it should be {}", range.trunc()));
    }
    if let Some(range) = range.filter(|range| !subnet.contains(range)) {
        return outside("ip-range", &range, "ip-range");
    }
    if let Some(gateway) = gateway.filter(|gateway| !subnet.contains(gateway)) {
        return outside("gateway", &gateway, "this address");
    }
    match auxiliary.clone().find(|(_, address)| !subnet.contains(address)) {
        Some((name, _)) => outside("auxiliary address", &name, "this address"),
        None => check_free(subnet, gateway, auxiliary),
    }
}

/// Whether no address is named twice, and none that is nobody's: a subnet's own, and its broadcast address.
fn check_free<'a>(
    subnet: IpNet,
    gateway: Option<IpAddr>,
    auxiliary: impl Iterator<Item = (&'a str, IpAddr)>,
) -> Result<()> {
    let taken =
        |what: String| Err(Error::Forbidden(format!("failed to allocate {what}: Address already in use")));
    let mut known = match subnet {
        IpNet::V4(subnet) if subnet.prefix_len() < 31 => {
            vec![subnet.network().into(), subnet.broadcast().into()]
        }
        IpNet::V4(_) => Vec::new(),
        IpNet::V6(subnet) => vec![IpAddr::V6(subnet.network())],
    };
    if let Some(gateway) = gateway.filter(|gateway| known.contains(gateway)) {
        return taken(format!("gateway ({gateway})"));
    }
    known.extend(gateway);
    for (name, address) in auxiliary {
        if known.contains(&address) {
            return taken(format!("secondary ip address ({name}:{address})"));
        }
        known.push(address);
    }
    Ok(())
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
fn check_bridge(rows: &Rows<'_>, network: &Network) -> Result<()> {
    let Some(bridged) = Bridged::of(network)? else { return Ok(()) };
    bridged.settings.check(network)?;
    for other in rows.networks_on(&bridged.settings.bridge)? {
        if let Some(existing) = Bridged::of(&other)? {
            return Err(Error::Forbidden(format!(
                "cannot create network {} ({}): conflicts with network {} ({}): networks have same bridge name",
                network.id, bridged.settings.bridge, other.id, existing.settings.bridge
            )));
        }
    }
    Ok(())
}

pub(super) fn refuse_known(rows: &Rows<'_>, name: &str) -> Result<()> {
    match rows.has_name(name)? {
        true => Err(Error::Conflict(format!("network with name {name} already exists"))),
        false => Ok(()),
    }
}

pub(super) fn blank(name: &str, driver: Driver) -> Result<Network> {
    Ok(Network {
        id: new_id()?,
        name: name.to_owned(),
        created: SystemTime::now(),
        driver,
        ipam: Vec::new(),
        ipam6: Vec::new(),
        idle: Vec::new(),
        ipam_options: None,
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        configuration: None,
        config_from: None,
        endpoints: Vec::new(),
    })
}

/// The first address that can be an interface's.
fn first_host(subnet: Ipv4Net) -> Ipv4Addr {
    subnet.hosts().next().unwrap_or(subnet.network())
}
