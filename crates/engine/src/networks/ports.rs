//! Which ports a container publishes: what is wished for, and what has come of it. Ports of a running container come and
//! go, too.
//!
//! A port that comes is published first and recorded then; one that goes leaves the record first. So what a crash leaves
//! is at most a port that is published and not recorded, which is taken back at the next opening.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hull_network::{Endpoint, PortBinding, Published};

use super::pattern;
use crate::containers::Entry;
use crate::model::{Container, HostPort, NetworkMode, PortBindings, Ports, Protocol, Status};
use crate::{Engine, Error, Kind, Result};

/// What is known of the ports of a running container: where each range is published, or that it is only exposed.
pub(crate) type Places = BTreeMap<Ports, Option<Vec<HostPort>>>;

impl Engine {
    /// Publishes further ports of a container, at once if it runs, and whenever it is started.
    pub async fn publish_ports(&self, name: &str, more: PortBindings) -> Result<Arc<Container>> {
        let entry = self.containers.find(name)?;
        let _gate = entry.enter().await?;
        let now = entry.now();
        changeable(&now)?;
        more.values().flatten().try_for_each(crate::create::check::binding)?;
        let wishes = wishes(&more)?;
        if wishes.is_empty() {
            return Err(Error::invalid("no port specified"));
        }
        if now.state.status.is_running() {
            let (networks, id) = (Arc::clone(&self.networks), now.id.clone());
            tokio::task::spawn_blocking(move || networks.publish_ports(&id, &wishes)).await??;
        }
        let places = self.published_ports(&now)?;
        let changed = self.change(&entry, |container| {
            for (ports, at) in &more {
                let all = container.host.port_bindings.entry(*ports).or_default();
                all.extend(if at.is_empty() { vec![HostPort::default()] } else { at.clone() });
            }
            container.network.ports = places;
        })?;
        self.emit(&changed, "port add");
        Ok(changed)
    }

    /// Takes published ports of a container back, at once if it runs, and for its next starts. An empty address or port
    /// of the host stands for any.
    pub async fn withdraw_ports(&self, name: &str, which: PortBindings) -> Result<Arc<Container>> {
        let entry = self.containers.find(name)?;
        let _gate = entry.enter().await?;
        let now = entry.now();
        changeable(&now)?;
        let endpoints = self.networks.endpoints(&now.id)?;
        let facts: Vec<Published> = endpoints.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
        let removal =
            pattern::removal(&chosen(&now), &which, now.state.status.is_running().then_some(&facts));
        if let Some((ports, place)) = removal.unknown {
            let place = pattern::told(ports, &place);
            return Err(Error::new(
                Kind::NotFound,
                format!("port {place} of container {} is not published", now.name),
            ));
        }
        let left: Vec<Published> = facts.iter().flat_map(|fact| fact.without(&removal.gone)).collect();
        let places = match now.state.status.is_running() {
            true => published(&now.config.exposed_ports, &left),
            false => now.network.ports.clone(),
        };
        let changed = self.change(&entry, |container| {
            container.host.port_bindings = removal.left;
            container.host.publish_all_ports = false;
            container.network.ports = places;
        })?;
        if !removal.gone.is_empty() {
            let (networks, id) = (Arc::clone(&self.networks), now.id.clone());
            tokio::task::spawn_blocking(move || networks.withdraw_ports(&id, &removal.gone)).await??;
        }
        self.emit(&changed, "port remove");
        Ok(changed)
    }

    /// What is published of a container, by its endpoints; what it exposes where it does not run.
    pub(super) fn published_ports(&self, container: &Container) -> Result<Places> {
        if !container.state.status.is_running() {
            return Ok(container.network.ports.clone());
        }
        Ok(published(&container.config.exposed_ports, &all_ports(self.networks.endpoints(&container.id)?)))
    }

    /// After an opening: takes back what a crash has left published and not recorded.
    pub(crate) fn withdraw_unrecorded(&self, entry: &Entry) -> Result<()> {
        let container = &*entry.now();
        let endpoints = self.networks.endpoints(&container.id)?;
        let ports = all_ports(endpoints);
        if published(&container.config.exposed_ports, &ports) == container.network.ports {
            return Ok(());
        }
        let recorded = pattern::facts(&container.network.ports);
        let strays: Vec<_> = ports.iter().flat_map(|port| port.without(&recorded)).collect();
        if !strays.is_empty() {
            self.networks.withdraw_ports(&container.id, &strays)?;
        }
        // And what the record has and nothing else is only said to be published.
        let places = self.published_ports(container)?;
        self.change(entry, |container| container.network.ports = places).map(drop)
    }
}

/// Whether ports of it can be published.
fn changeable(container: &Container) -> Result<()> {
    if matches!(container.state.status, Status::Removing | Status::Dead) {
        return Err(Error::conflict(format!("container {} is marked for removal", container.id)));
    }
    match NetworkMode::parse(&container.host.network_mode) {
        NetworkMode::Network(_) => Ok(()),
        mode => Err(Error::conflict(format!(
            "ports of container {} cannot be published: it has the network mode {mode}",
            container.name
        ))),
    }
}

/// What is to be published: the bindings, and with `-P` every exposed port.
pub(super) fn wanted_ports(container: &Container) -> Result<Vec<PortBinding>> {
    wishes(&chosen(container))
}

/// The bindings, those of `-P` among them.
fn chosen(container: &Container) -> PortBindings {
    let mut bindings = container.host.port_bindings.clone();
    if container.host.publish_all_ports {
        for exposed in &container.config.exposed_ports {
            let cut = |left: Vec<Ports>, bound: &Ports| {
                left.iter().flat_map(|ports| ports.without(*bound)).collect()
            };
            let left = container.host.port_bindings.keys().fold(vec![*exposed], cut);
            bindings.extend(left.into_iter().map(|ports| (ports, vec![HostPort::default()])));
        }
    }
    bindings
}

fn wishes(bindings: &PortBindings) -> Result<Vec<PortBinding>> {
    let anywhere = [HostPort::default()];
    let mut wanted = Vec::new();
    for (ports, places) in bindings {
        let places = if places.is_empty() { &anywhere[..] } else { places };
        for place in places {
            wanted.push(port_binding(*ports, place)?);
        }
    }
    Ok(wanted)
}

fn port_binding(ports: Ports, place: &HostPort) -> Result<PortBinding> {
    let host_ports = match place.host_port.as_str() {
        "" | "0" => None,
        text => {
            let invalid = || Error::invalid(format!("invalid port specification: \"{text}\""));
            let (first, last) = place.range().filter(|(first, _)| *first > 0).ok_or_else(invalid)?;
            Some(first..=last)
        }
    };
    let host_ip = match place.host_ip.trim_matches(['[', ']']) {
        "" => None,
        text => {
            Some(text.parse::<IpAddr>().map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?)
        }
    };
    Ok(PortBinding {
        container_ports: ports.first..=ports.last,
        protocol: wire_protocol(ports.protocol),
        host_ip,
        host_ports,
    })
}

pub(crate) fn wire_protocol(protocol: Protocol) -> hull_network::Protocol {
    match protocol {
        Protocol::Tcp => hull_network::Protocol::Tcp,
        Protocol::Udp => hull_network::Protocol::Udp,
        Protocol::Sctp => hull_network::Protocol::Sctp,
    }
}

/// The ports inside of what is published.
pub(super) fn inside(published: &Published) -> Ports {
    let protocol = match published.protocol {
        hull_network::Protocol::Tcp => Protocol::Tcp,
        hull_network::Protocol::Udp => Protocol::Udp,
        hull_network::Protocol::Sctp => Protocol::Sctp,
    };
    Ports { first: published.container_port, last: published.last_container_port(), protocol }
}

/// The ports of endpoints; those of a network that has IPv6 alone come last, as its family does everywhere.
pub(super) fn all_ports(mut endpoints: Vec<Endpoint>) -> Vec<Published> {
    endpoints.sort_by_key(|endpoint| endpoint.address.is_none());
    endpoints.into_iter().flat_map(|endpoint| endpoint.ports).collect()
}

/// Exposed ports and published ones, in ranges within which all are alike.
pub(super) fn published(exposed: &BTreeSet<Ports>, all: &[Published]) -> Places {
    let ranges = || exposed.iter().copied().chain(all.iter().map(inside));
    let mut cuts: BTreeSet<(Protocol, u32)> = BTreeSet::new();
    for ports in ranges() {
        cuts.extend([(ports.protocol, ports.first.into()), (ports.protocol, u32::from(ports.last) + 1)]);
    }
    let pieces = |ports: Ports| {
        let ends = cuts.range(
            (ports.protocol, u32::from(ports.first) + 1)..=(ports.protocol, u32::from(ports.last) + 1),
        );
        let mut first = ports.first;
        let piece = move |(_, end): &(Protocol, u32)| {
            let last = u16::try_from(end - 1).unwrap_or(u16::MAX);
            let piece = Ports { first, last, ..ports };
            first = last.saturating_add(1);
            piece
        };
        ends.map(piece).collect::<Vec<_>>()
    };
    let mut places = Places::new();
    for ports in exposed {
        places.extend(pieces(*ports).into_iter().map(|piece| (piece, None)));
    }
    for port in all {
        for piece in pieces(inside(port)) {
            let place = HostPort { host_ip: port.host_ip.to_string(), host_port: outside(port, piece) };
            places.entry(piece).or_default().get_or_insert_default().push(place);
        }
    }
    places
}

/// The ports of the host of a piece of what is published; empty in a routed network.
fn outside(port: &Published, piece: Ports) -> String {
    if port.is_routed() {
        return String::new();
    }
    let first = port.host_port + (piece.first - port.container_port);
    match piece.last - piece.first {
        0 => first.to_string(),
        more => format!("{first}-{}", first + more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    fn port(text: &str) -> Ports {
        text.parse().unwrap()
    }

    #[test]
    fn bindings_become_wishes() {
        let place = |ip: &str, port: &str| HostPort { host_ip: ip.into(), host_port: port.into() };
        let wish = port_binding(port("53/udp"), &place("127.0.0.1", "5300-5310")).unwrap();
        assert_eq!(wish.host_ports, Some(5300..=5310));
        assert_eq!(wish.host_ip, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(port_binding(port("80"), &place("", "")).unwrap().host_ports, None);
        for wrong in
            [place("", "x"), place("", "90-80"), place("", "70000"), place("nowhere", "80"), place("", "0-3")]
        {
            assert!(port_binding(port("80"), &wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn publishing_all_leaves_chosen_ports_alone() {
        let mut container = fixture();
        container.config.exposed_ports = [port("80"), port("443")].into();
        container.host.publish_all_ports = true;
        container
            .host
            .port_bindings
            .insert(port("80"), vec![HostPort { host_ip: String::new(), host_port: "8080".into() }]);
        let wanted = wanted_ports(&container).unwrap();
        let found: Vec<_> =
            wanted.iter().map(|wish| (*wish.container_ports.start(), wish.host_ports.clone())).collect();
        assert_eq!(found, [(80, Some(8080..=8080)), (443, None)]);
    }

    fn fact(container_port: u16, host_ip: &str, host_port: u16, count: u16) -> Published {
        let protocol = hull_network::Protocol::Tcp;
        Published { container_port, protocol, host_ip: host_ip.parse().unwrap(), host_port, count }
    }

    #[test]
    fn what_is_published_is_cut_where_it_differs() {
        let exposed = [port("80"), port("1000-1999"), port("53/udp")].into();
        let facts =
            [fact(1000, "0.0.0.0", 9000, 1000), fact(1500, "127.0.0.1", 8000, 1), fact(90, "0.0.0.0", 0, 1)];
        let found: Vec<_> = published(&exposed, &facts)
            .into_iter()
            .map(|(ports, places)| {
                let places = places.unwrap_or_default();
                let at: Vec<_> = places.iter().map(|at| format!("{}:{}", at.host_ip, at.host_port)).collect();
                format!("{ports} {}", at.join(" ")).trim().to_owned()
            })
            .collect();
        assert_eq!(
            found,
            [
                "53/udp",
                "80/tcp",
                "90/tcp 0.0.0.0:",
                "1000-1499/tcp 0.0.0.0:9000-9499",
                "1500/tcp 0.0.0.0:9500 127.0.0.1:8000",
                "1501-1999/tcp 0.0.0.0:9501-9999",
            ]
        );
        assert_eq!(published(&BTreeSet::new(), &[fact(1, "0.0.0.0", 1, u16::MAX)]).len(), 1);
    }
}
