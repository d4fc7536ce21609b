//! Making and removing networks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use hull_sys::Result as SysResult;
use ipnet::Ipv4Net;
use rustix::io::Errno;

use super::{Bridged, Networks, lock, new_id};
use crate::network::Ipam;
use crate::records::Rows;
use crate::route::Link;
use crate::{Driver, Error, Network, NetworkRequest, Result, bridge, pool};

const LEFTOVERS: &str = "leftovers";

impl Networks {
    /// Makes a network and returns its id. The name must be free.
    pub fn create(&self, request: NetworkRequest) -> Result<String> {
        let driver = check(&request)?;
        let (occupied, links) = (self.occupied()?, lock(&self.routes).links()?);
        let network = self.records.change(|rows| {
            let network = self.plan(rows, request, driver, &occupied)?;
            rows.add_network(&network)?;
            if lacks_bridge(&network, &links)? {
                // Before it is made: one that a crash leaves is known for ours.
                rows.set_made_bridge(&network.id)?;
            }
            Ok(network)
        })?;
        match self.build(&network) {
            Ok(()) => Ok(network.id),
            Err(error) => {
                self.records.change(|rows| rows.remove_network(&network.id))?;
                Err(error)
            }
        }
    }

    /// Removes a network without endpoints.
    pub fn remove(&self, network: &str) -> Result<()> {
        let network = self.records.change(|rows| {
            let network = rows.network(network)?;
            if network.predefined() {
                return Err(Error::Forbidden(format!(
                    "{} is a pre-defined network and cannot be removed",
                    network.name
                )));
            }
            let endpoints = rows.endpoints_of_network(&network.id)?;
            if !endpoints.is_empty() {
                let users = endpoints.iter().map(|recorded| &recorded.endpoint);
                let users: Vec<_> = users
                    .map(|user| {
                        format!("name:{:?} id:{:?}", user.name, user.id.get(..12).unwrap_or(&user.id))
                    })
                    .collect();
                return Err(Error::Forbidden(format!(
                    "error while removing network: network {} has active endpoints ({})",
                    network.name,
                    users.join(", ")
                )));
            }
            let made = rows.made_bridge(&network.id)?;
            rows.remove_network(&network.id)?;
            if let Some(bridged) = Bridged::of(&network)?.filter(|_| made) {
                add_leftover(rows, &bridged.settings.bridge)?;
            }
            Ok(network)
        })?;
        // The name is free from here on. Should the rest be cut, the next start removes the bridge.
        match Bridged::of(&network)? {
            Some(bridged) => self.firewall.close(&bridged.passage())?,
            None => return Ok(()),
        }
        self.remove_leftovers()
    }

    /// Removes the bridges of removed networks.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let leftovers = self.records.read(leftovers)?;
        if leftovers.is_empty() {
            return Ok(());
        }
        for bridge in &leftovers {
            self.unlink(bridge)?;
        }
        self.records.change(|rows| {
            let mut rest = self::leftovers(rows)?;
            rest.retain(|bridge| !leftovers.contains(bridge));
            rows.set_fact(LEFTOVERS, &rest)
        })
    }

    /// Sees that bridge, host and none are recorded, and that the default bridge is as configured.
    pub(super) fn define_predefined(&self) -> Result<()> {
        let occupied = self.occupied()?;
        let links = lock(&self.routes).links()?;
        let bridges = self.bridge_addresses()?;
        self.records.change(|rows| {
            for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
                if rows.network(name).is_err() {
                    rows.add_network(&blank(name, driver)?)?;
                }
            }
            forget_dead(rows, &links)?;
            self.define_default_bridge(rows, &occupied, &bridges)
        })
    }

    fn define_default_bridge(
        &self,
        rows: &Rows<'_>,
        occupied: &[Ipv4Net],
        bridges: &BTreeMap<String, Ipv4Net>,
    ) -> Result<()> {
        let recorded = match rows.network("bridge") {
            Err(Error::NotFound(_)) => None,
            recorded => Some(recorded?),
        };
        let used = match &recorded {
            Some(network) => !rows.endpoints_of_network(&network.id)?.is_empty(),
            None => false,
        };
        let Some(name) = &self.config.bridge else {
            // Containers that still run on it keep it.
            return recorded.filter(|_| !used).map_or(Ok(()), |network| rows.remove_network(&network.id));
        };
        let options = bridge::default_options(name, &self.config);
        let (mut network, new) = match recorded {
            Some(network) => (network, false),
            None => (blank("bridge", Driver::Bridge)?, true),
        };
        if !used {
            let current = network.ipam.pop();
            network.ipam = vec![self.default_ipam(rows, current, bridges.get(name), occupied)?];
            network.options = options;
        }
        match new {
            true => rows.add_network(&network),
            false => rows.update_network(&network),
        }
    }

    /// As configured; else as recorded; else as the administrator has set the bridge up; else from the pools.
    fn default_ipam(
        &self,
        rows: &Rows<'_>,
        recorded: Option<Ipam>,
        existing: Option<&Ipv4Net>,
        occupied: &[Ipv4Net],
    ) -> Result<Ipam> {
        let range = self.config.fixed_cidr;
        let fixed = |address: Ipv4Net| Ipam {
            subnet: address.trunc(),
            gateway: address.addr(),
            range,
            auxiliary: BTreeMap::new(),
            chosen: self.config.bip.is_some(),
        };
        match (self.config.bip, recorded, existing) {
            (Some(address), ..) => Ok(fixed(address)),
            (None, Some(recorded), _) => Ok(Ipam { range, ..recorded }),
            (None, None, Some(address)) => Ok(fixed(*address)),
            (None, None, None) => {
                let mut ipam = self.pooled_ipam(rows, occupied)?;
                ipam.range = range;
                Ok(ipam)
            }
        }
    }

    /// Everything a network needs, decided; the caller records it in the same transaction.
    fn plan(
        &self,
        rows: &Rows<'_>,
        request: NetworkRequest,
        driver: Driver,
        occupied: &[Ipv4Net],
    ) -> Result<Network> {
        let networks = rows.networks()?;
        if networks.iter().any(|network| network.name == request.name) {
            return Err(Error::Conflict(format!("network with name {} already exists", request.name)));
        }
        let ipam = match request.subnet {
            Some(subnet) => chosen(&networks, subnet, &request)?,
            None if request.gateway.is_some() || request.range.is_some() || !request.auxiliary.is_empty() => {
                return Err(Error::Invalid("invalid network config:\nno matching subnet".to_owned()));
            }
            None => self.pooled_ipam(rows, occupied)?,
        };
        let mut network = blank(&request.name, driver)?;
        network.ipam = vec![ipam];
        network.internal = request.internal;
        network.attachable = request.attachable;
        network.options = request.options;
        network.labels = request.labels;
        check_bridge(&networks, &network)?;
        Ok(network)
    }

    /// A subnet of the pools that neither the host nor another network uses.
    fn pooled_ipam(&self, rows: &Rows<'_>, occupied: &[Ipv4Net]) -> Result<Ipam> {
        let mut taken = occupied.to_vec();
        taken.extend(rows.networks()?.iter().flat_map(|network| network.ipam.iter().map(|ipam| ipam.subnet)));
        let subnet = pool::first_free(&self.config.pools, &taken).ok_or_else(|| {
            Error::Unavailable("all predefined address pools have been fully subnetted".to_owned())
        })?;
        Ok(Ipam {
            subnet,
            gateway: first_host(subnet),
            range: None,
            auxiliary: BTreeMap::new(),
            chosen: false,
        })
    }

    /// The kernel's side of a recorded network.
    fn build(&self, network: &Network) -> Result<()> {
        let Some(bridged) = Bridged::of(network)? else { return Ok(()) };
        let made = bridge::ensure(&mut lock(&self.routes), &bridged.settings, bridged.ipam)?;
        let opened = self.healed(self.firewall.open(&bridged.passage()));
        if opened.is_err() && made {
            lock(&self.routes).remove(&bridged.settings.bridge)?;
        }
        opened
    }

    /// A change of the firewall's sets that failed because somebody has removed the table: the table is made anew
    /// from the records, which have the change already.
    pub(super) fn healed(&self, result: SysResult<()>) -> Result<()> {
        match result {
            Err(error) if error.is(Errno::NOENT) => self.rebuild_firewall(),
            result => Ok(result?),
        }
    }

    /// What the host itself uses: destinations of its routes and its addresses.
    fn occupied(&self) -> Result<Vec<Ipv4Net>> {
        let mut routes = lock(&self.routes);
        let mut occupied = routes.destinations()?;
        occupied.extend(routes.addresses()?.into_iter().map(|(_, address)| address.trunc()));
        Ok(occupied)
    }

    /// The bridges of the host that have an address, by name.
    fn bridge_addresses(&self) -> Result<BTreeMap<String, Ipv4Net>> {
        let mut routes = lock(&self.routes);
        let addresses = routes.addresses()?;
        let bridges = routes.links()?.into_iter().filter(|link| link.kind == "bridge");
        Ok(bridges
            .filter_map(|link| {
                let address = addresses.iter().find(|(index, _)| *index == link.index)?.1;
                Some((link.name, address))
            })
            .collect())
    }
}

/// Whether the bridge of a network is yet to be made.
fn lacks_bridge(network: &Network, links: &[Link]) -> Result<bool> {
    let bridged = Bridged::of(network)?;
    Ok(bridged.is_some_and(|bridged| !links.iter().any(|link| link.name == bridged.settings.bridge)))
}

/// Rows whose link is gone are of no living container: the host was started anew. They must not keep the default
/// bridge from what is configured now.
fn forget_dead(rows: &Rows<'_>, links: &[Link]) -> Result<()> {
    let mut endpoints = rows.endpoints()?;
    endpoints.retain(|endpoint| !links.iter().any(|link| link.name == endpoint.link()));
    endpoints.iter().try_for_each(|dead| rows.remove_endpoint(&dead.endpoint.id))
}

/// The bridges of removed networks that may still be there.
fn leftovers(rows: &Rows<'_>) -> Result<Vec<String>> {
    Ok(rows.fact(LEFTOVERS)?.unwrap_or_default())
}

fn add_leftover(rows: &Rows<'_>, bridge: &str) -> Result<()> {
    let mut all = leftovers(rows)?;
    all.push(bridge.to_owned());
    rows.set_fact(LEFTOVERS, &all)
}

/// What can be told from the request alone.
fn check(request: &NetworkRequest) -> Result<Driver> {
    if request.name.trim().is_empty() {
        return Err(Error::Invalid("invalid name: name is empty".to_owned()));
    }
    if crate::PREDEFINED.contains(&request.name.as_str()) {
        return Err(Error::Forbidden(format!(
            "operation is not permitted on predefined {} network",
            request.name
        )));
    }
    if request.ipv6 {
        return Err(Error::later("IPv6 in networks"));
    }
    match Driver::parse(&request.driver)? {
        Driver::Bridge => Ok(Driver::Bridge),
        driver => Err(Error::Forbidden(format!("only one instance of \"{driver}\" network is allowed"))),
    }
}

/// The subnet that the user has chosen.
fn chosen(networks: &[Network], subnet: Ipv4Net, request: &NetworkRequest) -> Result<Ipam> {
    let invalid = |text: String| Error::Invalid(format!("invalid network config:\n{text}"));
    if subnet.trunc() != subnet {
        return Err(invalid(format!("invalid subnet {subnet}: it should be {}", subnet.trunc())));
    }
    if subnet.prefix_len() > 31 {
        return Err(invalid(format!("invalid subnet {subnet}: no room for a container")));
    }
    if let Some(range) = request.range.filter(|range| !subnet.contains(range)) {
        return Err(invalid(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain it")));
    }
    let gateway = request.gateway.unwrap_or_else(|| first_host(subnet));
    if !subnet.contains(&gateway) {
        return Err(invalid(format!(
            "invalid gateway {gateway}: parent subnet {subnet} doesn't contain this address"
        )));
    }
    if let Some((name, address)) = request.auxiliary.iter().find(|(_, address)| !subnet.contains(*address)) {
        return Err(invalid(format!(
            "invalid auxiliary address {address} ({name}): parent subnet {subnet} doesn't contain this address"
        )));
    }
    let mut others = networks.iter().flat_map(|network| &network.ipam);
    if others.any(|other| pool::overlap(&other.subnet, &subnet)) {
        return Err(Error::Forbidden(
            "invalid pool request: Pool overlaps with other one on this address space".to_owned(),
        ));
    }
    Ok(Ipam { subnet, gateway, range: request.range, auxiliary: request.auxiliary.clone(), chosen: true })
}

/// Two networks have two bridges.
fn check_bridge(networks: &[Network], network: &Network) -> Result<()> {
    let Some(bridged) = Bridged::of(network)? else { return Ok(()) };
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

fn blank(name: &str, driver: Driver) -> Result<Network> {
    Ok(Network {
        id: new_id()?,
        name: name.to_owned(),
        created: SystemTime::now(),
        driver,
        ipam: Vec::new(),
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
