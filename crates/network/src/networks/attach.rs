//! Putting containers into networks and taking them out.

use std::os::fd::BorrowedFd;

use super::address::{choose_address, choose_address6, with_prefix};
use super::{Bridged, Networks, interface, lock, new_id};
use crate::firewall::Target;
use crate::records::Recorded;
use crate::reservation::{Owner, Reservation};
use crate::route::Routes;
use crate::{Endpoint, EndpointRequest, Error, MacAddr, Network, Result, bridge};

/// What `connect` has done so far; dropped, it undoes it. Failures of undoing are left to `reconcile`, which
/// finds the row.
pub(super) struct Attachment<'a> {
    pub(super) networks: &'a Networks,
    pub(super) network: Network,
    pub(super) recorded: Recorded,
    pub(super) reservation: Option<Reservation<'a>>,
    pub(super) linked: bool,
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
