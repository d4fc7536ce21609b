//! Ports of a running container that come and go.
//!
//! The endpoint's row has the ports first, then the firewall; a port that goes leaves the firewall first, then the row.
//! So after a crash the row may say more than was asked for and never less; the engine compares it with its own record.

use std::net::{Ipv4Addr, Ipv6Addr};

use hull_sys::Result as SysResult;

use super::attach::target;
use super::way_out::leader;
use super::{Bridged, Networks, lock};
use crate::firewall::{Target, Way};
use crate::port::joined;
use crate::records::Recorded;
use crate::reservation::Owner;
use crate::route::Link;
use crate::{Driver, Endpoint, Error, Network, PortBinding, Published, Result, bridge};

impl Networks {
    /// Publishes further ports of a running container: at the endpoints that have the others, and at those in
    /// routed networks. Returns its endpoints as they are then. On failure nothing has changed.
    pub fn publish_ports(&self, container: &str, wishes: &[PortBinding]) -> Result<Vec<Endpoint>> {
        self.publish_by(container, wishes, [true; 2])
    }

    /// The same for a container that has left a network: what it published there is published by those that lead out now,
    /// in each family of which no port is left.
    pub fn republish_ports(&self, container: &str, wishes: &[PortBinding]) -> Result<Vec<Endpoint>> {
        let left = self.endpoints(container)?;
        let published = || left.iter().flat_map(|endpoint| &endpoint.ports).filter(|port| !port.is_routed());
        let lacks = [true, false].map(|v4| !published().any(|port| port.host_ip.is_ipv4() == v4));
        let led = [
            left.iter().any(|endpoint| endpoint.gateway.is_some()),
            left.iter().any(|endpoint| endpoint.gateway6.is_some()),
        ];
        // What comes by IPv6 is relayed where there is IPv4 alone.
        let families = [lacks[0] && led[0], lacks[1] && (led[0] || led[1])];
        match families {
            [false, false] => Ok(left),
            families => self.publish_by(container, wishes, families),
        }
    }

    fn publish_by(
        &self,
        container: &str,
        wishes: &[PortBinding],
        families: [bool; 2],
    ) -> Result<Vec<Endpoint>> {
        let mut endpoints = self.endpoints_of(container)?;
        endpoints.retain(|(network, _)| network.driver == Driver::Bridge && !network.internal);
        let publishers = publishers(&endpoints);
        if publishers == [None; 2] {
            return Err(Error::Conflict(format!(
                "container {container} is in no network that ports can be published by"
            )));
        }
        let mut done = Vec::new();
        for (network, recorded) in &endpoints {
            let is_it = |publisher: Option<&str>| publisher.is_none_or(|id| id == recorded.endpoint.id);
            let publishes = [0, 1].map(|family: usize| families[family] && is_it(publishers[family]));
            match self.add_ports(network, recorded, wishes, publishes) {
                Ok(added) => done.push((network, recorded, added)),
                Err(error) => {
                    for (network, recorded, added) in done {
                        // The first failure is the one to tell.
                        let _ = self.take_ports(network, &recorded.endpoint.id, &added);
                    }
                    return Err(error);
                }
            }
        }
        self.endpoints(container)
    }

    /// Takes ports of a running container back, at all its endpoints. Returns them as they are then.
    pub fn withdraw_ports(&self, container: &str, ports: &[Published]) -> Result<Vec<Endpoint>> {
        for (network, recorded) in self.endpoints_of(container)? {
            self.take_ports(&network, &recorded.endpoint.id, ports)?;
        }
        self.endpoints(container)
    }

    fn endpoints_of(&self, container: &str) -> Result<Vec<(Network, Recorded)>> {
        self.records.read(|rows| {
            let endpoints = rows.endpoints_of_container(container)?.into_iter();
            endpoints.map(|recorded| Ok((rows.network(&recorded.endpoint.network_id)?, recorded))).collect()
        })
    }

    /// Whose ports an endpoint's are.
    pub(super) fn owner<'a>(
        &self,
        bridged: &Bridged<'_>,
        endpoint: &'a str,
        name: &'a str,
        (address, address6): (Option<Ipv4Addr>, Option<Ipv6Addr>),
    ) -> Owner<'a> {
        Owner {
            endpoint,
            name,
            address,
            address6,
            default_ip: bridged.settings.host_ip.unwrap_or(self.config.default_ip),
            routed: bridged.settings.ways.map(|way| way == Way::Routed),
            publishes: [true; 2],
        }
    }

    fn add_ports(
        &self,
        network: &Network,
        recorded: &Recorded,
        wishes: &[PortBinding],
        publishes: [bool; 2],
    ) -> Result<Vec<Published>> {
        let Some(bridged) = Bridged::of(network)? else { return Ok(Vec::new()) };
        let endpoint = &recorded.endpoint;
        let own = self.owner(&bridged, &endpoint.id, &endpoint.name, endpoint.by_family());
        let owner = Owner { publishes, ..own };
        let (reservation, before, after) = self.records.change(|rows| {
            let before = rows.endpoint(&endpoint.id)?;
            let already = before.ports.iter().map(|port| usize::from(port.count)).sum();
            let reservation = self.ports.reserve(owner, wishes, already)?;
            let mut after = before.clone();
            let new = reservation.published().iter();
            // What a routed network has opened already is as good as opened again.
            let new = new.flat_map(|port| port.without(if port.is_routed() { &before.ports } else { &[] }));
            after.ports = joined(before.ports.iter().copied().chain(new));
            rows.set_ports(&endpoint.id, &after.ports)?;
            Ok((reservation, before, after))
        })?;
        let changed = self.healed(self.change(network, &before, &after)?);
        if let Err(error) = changed.and_then(|()| self.let_in(&bridged, &recorded.link(), &after)) {
            self.records.change(|rows| rows.set_ports(&endpoint.id, &before.ports))?;
            // Whatever of the change there is goes; if the firewall refuses that, it is made anew.
            let _ = self.rebuild_firewall();
            return Err(error);
        }
        let added = reservation.published().to_vec();
        reservation.keep();
        Ok(added)
    }

    fn take_ports(&self, network: &Network, endpoint: &str, ports: &[Published]) -> Result<()> {
        let before = self.records.read(|rows| rows.endpoint(endpoint))?;
        let mut after = before.clone();
        after.ports = before.ports.iter().flat_map(|port| port.without(ports)).collect();
        if after.ports == before.ports {
            return Ok(());
        }
        let withdrawn = self.change(network, &before, &after)?;
        self.records.change(|rows| rows.set_ports(endpoint, &after.ports))?;
        let gone: Vec<_> = before.ports.iter().flat_map(|port| port.without(&after.ports)).collect();
        self.ports.release(endpoint, &gone);
        match withdrawn {
            Ok(()) => Ok(()),
            // The row is right by now.
            Err(_) => self.rebuild_firewall(),
        }
    }

    /// The firewall's side, and how it went: it may have to be made anew.
    fn change(&self, network: &Network, before: &Endpoint, after: &Endpoint) -> Result<SysResult<()>> {
        let none = |endpoint: &Endpoint| {
            let (address, address6) = endpoint.by_family();
            Target { address, address6, ports: Vec::new(), trusted: Vec::new() }
        };
        let of = |endpoint: &Endpoint| {
            target(network, endpoint).map(|target| target.unwrap_or_else(|| none(endpoint)))
        };
        let (before, after) = (of(before)?, of(after)?);
        Ok(self.firewall.change(&before, &after))
    }

    /// What the first published port needs of the container's port of the bridge, and of the bridge.
    fn let_in(&self, bridged: &Bridged<'_>, link: &str, endpoint: &Endpoint) -> Result<()> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let filtered = self.filtered.load(std::sync::atomic::Ordering::Relaxed);
        let mut routes = lock(&self.routes);
        let at = |link: Option<Link>| link.map(|link| (link.index, link.bridge)).unwrap_or_default();
        let (own, _) = at(routes.find(&bridged.settings.bridge)?);
        let (_, bridge) = at(routes.find(link)?);
        routes.set_port_mode(link, bridge::port_mode(&bridged.settings, true, filtered, bridge != own))?;
        drop(routes);
        bridge::accept_loopback_answers(&bridged.settings.bridge)
    }
}

/// The ids of the endpoints that have the container's ports of the host, by IPv4 and by IPv6: those that have some already;
/// else, as at a start, those that lead out. A family without any is published by the other's.
fn publishers(endpoints: &[(Network, Recorded)]) -> [Option<&str>; 2] {
    let published = |recorded: &&Recorded, v4: bool| {
        let mut ports = recorded.endpoint.ports.iter();
        ports.any(|port| !port.is_routed() && port.host_ip.is_ipv4() == v4)
    };
    let all: Vec<&Recorded> = endpoints.iter().map(|(_, recorded)| recorded).collect();
    let of = |v4: bool| {
        let has_ports = all.iter().find(|recorded| published(recorded, v4));
        let it = has_ports.copied().or_else(|| leader(&all, v4));
        it.map(|recorded| recorded.endpoint.id.as_str())
    };
    let first = || all.first().map(|recorded| recorded.endpoint.id.as_str());
    match [of(true), of(false)] {
        [None, None] => [first(), first()],
        [v4, v6] => [v4.or(v6), v6.or(v4)],
    }
}
