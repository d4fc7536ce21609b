//! The networks that are always there: bridge, host and none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::layout::{Layout, layout};
use super::plan::{Occupied, blank, chosen};
use super::{Networks, lock};
use crate::config::OWN_BRIDGE;
use crate::network::{GATEWAY, GATEWAY6, Ipam, Ipam6};
use crate::pool::Span;
use crate::records::Rows;
use crate::route::Link;
use crate::{Driver, Error, Network, Pool6Request, PoolRequest, Result, bridge};

impl Networks {
    /// Sees that bridge, host and none are recorded, and that the default bridge is as configured.
    pub(super) fn define_predefined(&self) -> Result<()> {
        let occupied = self.occupied()?;
        let links = lock(&self.routes).links()?;
        let found = self.default_bridge_addresses(&links)?;
        self.records.change(|rows| {
            for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
                if rows.network(name).is_err() {
                    rows.add_network(&blank(name, driver)?)?;
                }
            }
            forget_dead(rows, &links)?;
            self.define_default_bridge(rows, &occupied, &found)
        })
    }

    fn define_default_bridge(&self, rows: &Rows<'_>, occupied: &Occupied, found: &[IpNet]) -> Result<()> {
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
            let before = bridge::addresses(&network)?;
            self.plan_default_bridge(rows, &mut network, found, occupied)?;
            network.options = options;
            self.free_former_addresses(name, found, &before, &bridge::addresses(&network)?)?;
        }
        match new {
            true => rows.add_network(&network),
            false => rows.update_network(&network),
        }
    }

    fn plan_default_bridge(
        &self,
        rows: &Rows<'_>,
        network: &mut Network,
        found: &[IpNet],
        occupied: &Occupied,
    ) -> Result<()> {
        let (found4, found6): (Vec<IpNet>, Vec<IpNet>) =
            found.iter().partition(|address| matches!(address, IpNet::V4(_)));
        let recorded = network.ipam.pop();
        network.ipam = vec![self.default_ipam(rows, recorded, &found4, &occupied.v4)?];
        let recorded = network.ipam6.pop().filter(|_| self.config.ipv6);
        network.ipam6 = match self.config.ipv6 {
            true => vec![self.default_ipam6(rows, &network.id, recorded, &found6, &occupied.v6)?],
            false => Vec::new(),
        };
        Ok(())
    }

    /// As flags and bridge say; else as recorded; else from the pools.
    fn default_ipam(
        &self,
        rows: &Rows<'_>,
        recorded: Option<Ipam>,
        found: &[IpNet],
        occupied: &[Span],
    ) -> Result<Ipam> {
        let (bip, range) = (self.config.bip.map(IpNet::V4), self.config.fixed_cidr.map(IpNet::V4));
        let said = layout(bip, range, found, self.has_own_bridge())?;
        let pooled = recorded.filter(|recorded| !recorded.chosen);
        let is_pooled = |ipam: &Ipam| {
            bip.is_none() && is_found_again(said.as_ref(), ipam.subnet.into(), ipam.gateway.map(IpAddr::V4))
        };
        let mut ipam = match (&said, pooled.filter(is_pooled)) {
            (_, Some(ipam)) => ipam,
            (Some(Layout { subnet: IpNet::V4(subnet), host, range }), None) => {
                let (gateway, range) = (host.and_then(ipv4), range.and_then(net4));
                let wish = PoolRequest { subnet: *subnet, gateway, range, auxiliary: BTreeMap::new() };
                chosen(&wish, Driver::Bridge)?
            }
            _ => self.pooled_ipam(rows, occupied, Driver::Bridge)?,
        };
        let gateway = self.config.default_gateway.map(|gateway| (GATEWAY.to_owned(), gateway));
        ipam.auxiliary = gateway.into_iter().collect();
        check_gateway(self.config.default_gateway.map(IpAddr::V4), ipam.subnet.into())?;
        Ok(ipam)
    }

    /// The default bridge has IPv6 with `--ipv6`.
    fn default_ipam6(
        &self,
        rows: &Rows<'_>,
        id: &str,
        recorded: Option<Ipam6>,
        found: &[IpNet],
        occupied: &[Span],
    ) -> Result<Ipam6> {
        let (bip, range) = (self.config.bip6.map(IpNet::V6), self.config.fixed_cidr6.map(IpNet::V6));
        let said = layout(bip, range, found, self.has_own_bridge())?;
        let pooled = recorded.filter(|recorded| !recorded.chosen);
        let is_pooled = |ipam: &Ipam6| {
            bip.is_none() && is_found_again(said.as_ref(), ipam.subnet.into(), ipam.gateway.map(IpAddr::V6))
        };
        let mut ipam = match (said.as_ref(), pooled.filter(is_pooled)) {
            (_, Some(ipam)) => ipam,
            (said, None) => {
                let wish = Pool6Request {
                    subnet: said.and_then(|said| net6(said.subnet)),
                    gateway: said.and_then(|said| ipv6(said.host?)),
                    range: said.and_then(|said| net6(said.range?)),
                    auxiliary: BTreeMap::new(),
                };
                self.plan6(rows, id, &wish, Driver::Bridge, occupied)?
            }
        };
        let gateway = self.config.default_gateway6.map(|gateway| (GATEWAY6.to_owned(), gateway));
        ipam.auxiliary = gateway.into_iter().collect();
        check_gateway(self.config.default_gateway6.map(IpAddr::V6), ipam.subnet.into())?;
        Ok(ipam)
    }

    /// Whether the default bridge is Hull's own, and not one that the administrator has made.
    fn has_own_bridge(&self) -> bool {
        self.config.bridge.as_deref() == Some(OWN_BRIDGE)
    }

    /// The addresses that the default bridge has by now.
    fn default_bridge_addresses(&self, links: &[Link]) -> Result<Vec<IpNet>> {
        let bridge = links.iter().find(|link| Some(&link.name) == self.config.bridge.as_ref());
        match bridge.filter(|link| link.kind == "bridge") {
            Some(link) => Ok(lock(&self.routes).addresses_of(link.index)?),
            None => Ok(Vec::new()),
        }
    }

    /// Takes from Hull's own bridge what it had from flags that have changed.
    fn free_former_addresses(
        &self,
        name: &str,
        found: &[IpNet],
        before: &[IpNet],
        after: &[IpNet],
    ) -> Result<()> {
        // The same address of a subnet of another size is another address of the link.
        let replaced = |one: &IpNet| after.iter().any(|other| other.addr() == one.addr());
        let former = |one: &&IpNet| !after.contains(one) && (before.contains(one) || replaced(one));
        let former: Vec<IpNet> = found.iter().filter(former).copied().collect();
        match self.has_own_bridge() {
            true => Ok(lock(&self.routes).free_addresses(name, &former)?),
            false => Ok(()),
        }
    }
}

/// Whether what the pools gave is all that flags and bridge say: it is found on the bridge again.
fn is_found_again(said: Option<&Layout>, subnet: IpNet, host: Option<IpAddr>) -> bool {
    said.is_none_or(|said| *said == Layout { subnet, host, range: None })
}

fn check_gateway(gateway: Option<IpAddr>, subnet: IpNet) -> Result<()> {
    match gateway.filter(|gateway| !subnet.contains(gateway)) {
        Some(gateway) => Err(Error::Invalid(format!(
            "default gateway ip must be part of the network: {gateway} is not in {subnet}"
        ))),
        None => Ok(()),
    }
}

fn net4(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

fn net6(net: IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some(net),
    }
}

fn ipv4(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn ipv6(address: IpAddr) -> Option<std::net::Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

/// Rows whose link is gone are of no living container: the host was started anew. They must not keep the default
/// bridge from what is configured now.
fn forget_dead(rows: &Rows<'_>, links: &[Link]) -> Result<()> {
    let mut endpoints = rows.endpoints()?;
    // Whether a container lives whose link is nowhere on the host is seen later.
    let gone = |link: String| !links.iter().any(|found| found.name == link);
    endpoints.retain(|endpoint| endpoint.host_link().is_some_and(gone));
    endpoints.iter().try_for_each(|dead| rows.remove_endpoint(&dead.endpoint.id))
}
