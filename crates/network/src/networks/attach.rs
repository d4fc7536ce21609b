//! Putting containers into networks and taking them out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Bridged, Networks, interface, lock, new_id};
use crate::firewall::Target;
use crate::network::{Ipam, Ipam6};
use crate::records::{Recorded, Rows};
use crate::reservation::{Owner, Reservation};
use crate::route::{Pair, PortMode, Routes};
use crate::{Endpoint, EndpointRequest, Error, MacAddr, Network, Result, bridge, lease};

/// What `connect` has done so far; dropped, it undoes it. Failures of undoing are left to `reconcile`, which
/// finds the row.
struct Attachment<'a> {
    networks: &'a Networks,
    network: Network,
    recorded: Recorded,
    reservation: Option<Reservation<'a>>,
    linked: bool,
}

impl Attachment<'_> {
    fn keep(mut self) -> Endpoint {
        self.linked = false;
        if let Some(reservation) = self.reservation.take() {
            reservation.keep();
        }
        self.recorded.endpoint.clone()
    }
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        if self.reservation.is_none() {
            return;
        }
        if self.linked {
            let _ = lock(&self.networks.routes).remove(&self.recorded.link());
        }
        let _ = self.networks.records.change(|rows| rows.remove_endpoint(&self.recorded.endpoint.id));
    }
}

impl Networks {
    /// Puts a container into a network: address, link, routes and published ports work when this returns; on
    /// failure nothing of it is left. `namespace` is a sandbox, or the namespace of a running container. The first
    /// network that is not internal gives the default route. The networks `host` and `none` have no endpoints.
    pub fn connect(&self, namespace: BorrowedFd<'_>, request: EndpointRequest) -> Result<Endpoint> {
        let switches = interface::switches(&request.sysctls)?;
        let mut attachment = self.record(&request)?;
        self.link(&mut attachment, namespace)?;
        interface::set(namespace, &attachment.recorded.endpoint.interface, &switches)?;
        self.publish(&attachment)?;
        self.name_servers.names.add(&attachment.network, &attachment.recorded.endpoint);
        Ok(attachment.keep())
    }

    /// Takes a running container out of a network, its interface included. If it gave the default route,
    /// another network of the container gives it from now on (`namespace` is needed for that).
    pub fn disconnect(&self, namespace: BorrowedFd<'_>, container: &str, network: &str) -> Result<()> {
        let recorded = self.records.read(|rows| {
            let network = rows.network(network)?;
            let mut endpoints = rows.endpoints_of_container(container)?.into_iter();
            endpoints.find(|recorded| recorded.endpoint.network_id == network.id).ok_or_else(|| {
                Error::Forbidden(format!(
                    "container {container} is not connected to network {}",
                    network.name
                ))
            })
        })?;
        self.withdraw(&recorded.endpoint)?;
        self.unlink(&recorded.link())?;
        self.forget(std::slice::from_ref(&recorded))?;
        match recorded.default_route {
            true => self.move_default_route(namespace, container),
            false => Ok(()),
        }
    }

    /// Ends all endpoints of a container that has ended: ports, addresses and records. The links go with the
    /// namespace. A container without endpoints is no error.
    pub fn release(&self, container: &str) -> Result<()> {
        self.name_servers.stop(container);
        let endpoints = self.records.read(|rows| rows.endpoints_of_container(container))?;
        for recorded in &endpoints {
            self.withdraw(&recorded.endpoint)?;
        }
        self.forget(&endpoints)?;
        for recorded in &endpoints {
            self.sweeper.see_off(recorded.link());
        }
        Ok(())
    }

    /// Frees what the records hold; the kernel's side is gone already or goes by itself.
    pub(super) fn forget(&self, endpoints: &[Recorded]) -> Result<()> {
        if endpoints.is_empty() {
            return Ok(());
        }
        self.records.change(|rows| {
            endpoints.iter().try_for_each(|recorded| rows.remove_endpoint(&recorded.endpoint.id))
        })?;
        for recorded in endpoints {
            self.name_servers.names.remove(&recorded.endpoint);
            self.ports.release(&recorded.endpoint.id, &recorded.endpoint.ports);
        }
        Ok(())
    }

    fn withdraw(&self, endpoint: &Endpoint) -> Result<()> {
        match target(endpoint) {
            Some(target) => Ok(self.firewall.withdraw(&target)?),
            None => Ok(()),
        }
    }

    /// Decides on address, interface and ports, and records them in one transaction.
    fn record(&self, request: &EndpointRequest) -> Result<Attachment<'_>> {
        let id = new_id()?;
        self.records.change(|rows| {
            let network = rows.network(&request.network)?;
            let Some(bridged) = Bridged::of(&network)? else {
                return Err(Error::Forbidden(format!(
                    "container cannot be connected to network {} or disconnected from it",
                    network.name
                )));
            };
            let others = rows.endpoints_of_container(&request.container)?;
            if others.iter().any(|other| other.endpoint.network_id == network.id) {
                return Err(Error::Forbidden(format!(
                    "endpoint with name {} already exists in network {}",
                    request.name, network.name
                )));
            }
            let address = choose_address(rows, &bridged, request.ipv4)?;
            let address6 = choose_address6(rows, &network, request.ipv6)?;
            let owner = Owner { endpoint: &id, name: &request.name, address, ipv6: address6.is_some() };
            let wishes = if network.internal { &[][..] } else { &request.ports };
            let default_ip = bridged.settings.host_ip.unwrap_or(self.config.default_ip);
            let reservation = self.ports.reserve(owner, wishes, default_ip)?;
            let recorded = Recorded {
                default_route: !network.internal && !others.iter().any(|other| other.default_route),
                endpoint: Endpoint {
                    id: id.clone(),
                    container: request.container.clone(),
                    name: request.name.clone(),
                    network_id: network.id.clone(),
                    network: network.name.clone(),
                    interface: interface::choose(request.interface.as_deref(), &others)?,
                    address: with_prefix(address, bridged.ipam)?,
                    gateway: (!network.internal).then_some(bridged.ipam.gateway),
                    gateway6: network.ipam6.as_ref().filter(|_| !network.internal).map(|ipam| ipam.gateway),
                    address6,
                    mac: request.mac.unwrap_or_else(|| MacAddr::of(address)),
                    hostname: request.hostname.clone(),
                    aliases: request.aliases.clone(),
                    ports: reservation.published().to_vec(),
                },
            };
            rows.add_endpoint(&recorded)?;
            let reservation = Some(reservation);
            drop(bridged);
            Ok(Attachment { networks: self, network, recorded, reservation, linked: false })
        })
    }

    fn link(&self, attachment: &mut Attachment<'_>, namespace: BorrowedFd<'_>) -> Result<()> {
        let Some(bridged) = Bridged::of(&attachment.network)? else { return Ok(()) };
        let mut inside = Routes::inside(namespace)?;
        let endpoint = &attachment.recorded.endpoint;
        let outside = attachment.recorded.link();
        let mut routes = lock(&self.routes);
        let bridge = match routes.find(&bridged.settings.bridge)? {
            Some(bridge) => bridge,
            None => restore_bridge(&mut routes, &bridged)?,
        };
        attachment.linked = true;
        routes.add_pair(&Pair {
            outside: &outside,
            bridge: bridge.index,
            inside: &endpoint.interface,
            namespace,
            mac: endpoint.mac,
            mtu: bridged.settings.mtu,
            ipv6: self.ipv6,
        })?;
        let filtered = self.filtered.load(Ordering::Relaxed);
        let mode = bridge::port_mode(&bridged.settings, !endpoint.ports.is_empty(), filtered);
        if mode != PortMode::default() {
            routes.set_port_mode(&outside, mode)?;
        }
        drop(routes);
        let leads = attachment.recorded.default_route;
        let gateway = endpoint.gateway.filter(|_| leads).map(IpAddr::V4);
        inside.configure(&endpoint.interface, endpoint.address, gateway)?;
        if let Some(address) = endpoint.address6 {
            interface::enable_ipv6(namespace, &endpoint.interface)?;
            let gateway = endpoint.gateway6.filter(|_| leads).map(IpAddr::V6);
            inside.configure(&endpoint.interface, address, gateway)?;
        }
        // The kernel passes on that a link has a carrier when it finds the time, and drops packets until then; it
        // does so at once for a link that is asked for: the port first, which then gives the bridge its carrier.
        let mut routes = lock(&self.routes);
        for name in [&outside, &bridged.settings.bridge] {
            routes.find(name)?;
        }
        Ok(())
    }

    fn publish(&self, attachment: &Attachment<'_>) -> Result<()> {
        let endpoint = &attachment.recorded.endpoint;
        let Some(target) = target(endpoint) else { return Ok(()) };
        self.healed(self.firewall.publish(&target))?;
        match Bridged::of(&attachment.network)? {
            Some(bridged) => bridge::accept_loopback_answers(&bridged.settings.bridge),
            None => Ok(()),
        }
    }

    /// Gives the default route to the oldest of the remaining networks that can.
    fn move_default_route(&self, namespace: BorrowedFd<'_>, container: &str) -> Result<()> {
        let endpoints = self.records.read(|rows| rows.endpoints_of_container(container))?;
        let Some((endpoint, gateway)) = endpoints
            .iter()
            .find_map(|recorded| recorded.endpoint.gateway.map(|gateway| (&recorded.endpoint, gateway)))
        else {
            return Ok(());
        };
        let mut inside = Routes::inside(namespace)?;
        inside.add_default(&endpoint.interface, gateway.into())?;
        if let Some(gateway) = endpoint.gateway6 {
            inside.add_default(&endpoint.interface, gateway.into())?;
        }
        self.records.change(|rows| rows.set_default_route(&endpoint.id))
    }
}

/// What leads to an endpoint; `None` without published ports.
pub(super) fn target(endpoint: &Endpoint) -> Option<Target> {
    let ports = endpoint.ports.clone();
    (!ports.is_empty()).then(|| Target {
        address: endpoint.address.addr(),
        address6: endpoint.address6.map(|address| address.addr()),
        ports,
    })
}

/// A bridge that somebody has removed is made again rather than reported.
fn restore_bridge(routes: &mut Routes, bridged: &Bridged<'_>) -> Result<crate::route::Link> {
    bridge::ensure(routes, &bridged.settings, bridged.network)?;
    let name = &bridged.settings.bridge;
    let found = routes.find(name)?;
    Ok(found.ok_or_else(|| hull_sys::Error::new("find link", name, rustix::io::Errno::NODEV))?)
}

fn choose_address(rows: &Rows<'_>, bridged: &Bridged<'_>, wish: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
    let (network, ipam) = (bridged.network, bridged.ipam);
    if let Some(address) = wish {
        return check_wish(rows, network, ipam, address).map(|()| address);
    }
    let last = rows.last_address(&network.id)?;
    let next = lease::next(ipam, last, |address| rows.has_address(&network.id, address))?;
    let address = next.ok_or_else(|| {
        Error::Unavailable(format!(
            "no available IPv4 addresses on this network's address pools: {} ({})",
            network.name, network.id
        ))
    })?;
    rows.set_last_address(&network.id, address)?;
    Ok(address)
}

fn check_wish(rows: &Rows<'_>, network: &Network, ipam: &Ipam, address: Ipv4Addr) -> Result<()> {
    if network.predefined() {
        return Err(Error::Invalid(
            "user specified IP address is supported on user defined networks only".to_owned(),
        ));
    }
    let taken = !lease::usable(ipam, address) || rows.has_address(&network.id, address)?;
    judge_wish(address.into(), ipam.chosen, ipam.subnet.contains(&address), taken)
}

/// Whether an address may be had that a user wishes for: in a network whose subnet was `chosen`, `within` it, not `taken`.
fn judge_wish(address: IpAddr, chosen: bool, within: bool, taken: bool) -> Result<()> {
    if !chosen {
        return Err(Error::Invalid(
            "user specified IP address is supported only when connecting to networks with user configured subnets"
                .to_owned(),
        ));
    }
    if !within {
        return Err(Error::Invalid(format!(
            "no configured subnet or ip-range contain the IP address {address}"
        )));
    }
    match taken {
        true => Err(Error::Forbidden("Address already in use".to_owned())),
        false => Ok(()),
    }
}

/// The IPv6 address in a network that has IPv6.
fn choose_address6(rows: &Rows<'_>, network: &Network, wish: Option<Ipv6Addr>) -> Result<Option<Ipv6Net>> {
    let Some(ipam) = &network.ipam6 else {
        return match wish {
            None => Ok(None),
            Some(address) => Err(Error::Invalid(format!(
                "no configured subnet or ip-range contain the IP address {address}"
            ))),
        };
    };
    let address = match wish {
        Some(address) => check_wish6(rows, network, ipam, address).map(|()| address)?,
        None => {
            let last = rows.last_address6(&network.id)?;
            let next = lease::next6(ipam, last, |address| rows.has_address6(&network.id, address))?;
            let address = next.ok_or_else(|| {
                Error::Unavailable(format!(
                    "no available IPv6 addresses on this network's address pools: {} ({})",
                    network.name, network.id
                ))
            })?;
            rows.set_last_address6(&network.id, address)?;
            address
        }
    };
    let address = Ipv6Net::new(address, ipam.subnet.prefix_len());
    address.map(Some).map_err(|_| Error::Invalid(format!("invalid subnet {}", ipam.subnet)))
}

fn check_wish6(rows: &Rows<'_>, network: &Network, ipam: &Ipam6, address: Ipv6Addr) -> Result<()> {
    let taken = !lease::usable6(ipam, address) || rows.has_address6(&network.id, address)?;
    judge_wish(address.into(), ipam.chosen, ipam.subnet.contains(&address), taken)
}

fn with_prefix(address: Ipv4Addr, ipam: &Ipam) -> Result<Ipv4Net> {
    Ipv4Net::new(address, ipam.subnet.prefix_len())
        .map_err(|_| Error::Invalid(format!("invalid subnet {}", ipam.subnet)))
}
