//! The networks that are always there: bridge, host and none.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::plan::{Occupied, blank};
use super::{Networks, lock};
use crate::network::{Ipam, Ipam6};
use crate::pool::Span;
use crate::records::Rows;
use crate::route::Link;
use crate::{Driver, Error, Pool6Request, Result, bridge};

impl Networks {
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
        occupied: &Occupied,
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
            network.ipam = vec![self.default_ipam(rows, current, bridges.get(name), &occupied.v4)?];
            let current = network.ipam6.pop();
            let planned = self.default_ipam6(rows, &network.id, current, &occupied.v6)?;
            network.ipam6 = planned.into_iter().collect();
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
        occupied: &[Span],
    ) -> Result<Ipam> {
        let range = self.config.fixed_cidr;
        let fixed = |address: Ipv4Net| Ipam {
            subnet: address.trunc(),
            gateway: Some(address.addr()),
            range,
            auxiliary: BTreeMap::new(),
            chosen: self.config.bip.is_some(),
        };
        match (self.config.bip, recorded, existing) {
            (Some(address), ..) => Ok(fixed(address)),
            (None, Some(recorded), _) => Ok(Ipam { range, ..recorded }),
            (None, None, Some(address)) => Ok(fixed(*address)),
            (None, None, None) => {
                let mut ipam = self.pooled_ipam(rows, occupied, Driver::Bridge)?;
                ipam.range = range;
                Ok(ipam)
            }
        }
    }

    /// The default bridge has IPv6 with `--ipv6`: as configured; else as recorded; else from the pools.
    fn default_ipam6(
        &self,
        rows: &Rows<'_>,
        id: &str,
        recorded: Option<Ipam6>,
        occupied: &[Span],
    ) -> Result<Option<Ipam6>> {
        if !self.config.ipv6 {
            return Ok(None);
        }
        let configured = self.config.bip6.map(|address| (address.trunc(), Some(address.addr())));
        let range = self.config.fixed_cidr6;
        let subnet = configured.or_else(|| range.map(|range| (range.trunc(), None)));
        match (subnet, recorded) {
            (None, Some(recorded)) if !recorded.chosen => Ok(Some(recorded)),
            (subnet, _) => {
                let wish = Pool6Request {
                    subnet: subnet.map(|(subnet, _)| subnet),
                    gateway: subnet.and_then(|(_, gateway)| gateway),
                    range: range.filter(|_| configured.is_some()),
                    auxiliary: BTreeMap::new(),
                };
                self.plan6(rows, id, &wish, Driver::Bridge, occupied).map(Some)
            }
        }
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

/// Rows whose link is gone are of no living container: the host was started anew. They must not keep the default
/// bridge from what is configured now.
fn forget_dead(rows: &Rows<'_>, links: &[Link]) -> Result<()> {
    let mut endpoints = rows.endpoints()?;
    // Whether a container lives whose link is nowhere on the host is seen later.
    let gone = |link: String| !links.iter().any(|found| found.name == link);
    endpoints.retain(|endpoint| endpoint.host_link().is_some_and(gone));
    endpoints.iter().try_for_each(|dead| rows.remove_endpoint(&dead.endpoint.id))
}
