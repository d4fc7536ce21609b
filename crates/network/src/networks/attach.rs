//! Putting containers into networks and taking them out.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use ipnet::{Ipv4Net, Ipv6Net};

use super::address::{choose_address, choose_address6, choose_mac};
use super::way_out::taken_over;
use super::{Bridged, Networks, cni, interface, lock, new_id, vlan};
use crate::firewall::Target;
use crate::records::{Recorded, Rows};
use crate::reservation::{Owner, Reservation};
use crate::route::{Hop, Routes};
use crate::{Driver, Endpoint, EndpointRequest, Error, Network, Result, bridge};

/// What `connect` has done so far; dropped, it undoes it. Failures of undoing are left to `reconcile`, which
/// finds the row.
pub(super) struct Attachment<'a> {
    pub(super) networks: &'a Networks,
    pub(super) network: Network,
    pub(super) recorded: Recorded,
    pub(super) reservation: Option<Reservation<'a>>,
    pub(super) linked: bool,
    /// The default routes that it is to have.
    pub(super) hop4: Option<Hop>,
    pub(super) hop6: Option<Hop>,
}

impl Attachment<'_> {
    /// Gives its interface, which is there, addresses and default routes, and sets it up.
    pub(super) fn configure(&self, inside: &mut Routes, namespace: BorrowedFd<'_>) -> Result<()> {
        let endpoint = &self.recorded.endpoint;
        let name = endpoint.interface.as_str();
        match endpoint.address {
            Some(address) => inside.configure(name, address, self.hop4)?,
            None => inside.up(name)?,
        }
        if let Some(address) = endpoint.address6 {
            interface::enable_ipv6(namespace, name)?;
            inside.configure(name, address, self.hop6)?;
        }
        Ok(())
    }

    /// To be called when its interface has its carrier: what comes by IPv6 from now on is heard.
    pub(super) fn await_heard(&self, namespace: BorrowedFd<'_>) -> Result<()> {
        let endpoint = &self.recorded.endpoint;
        endpoint
            .address6
            .map_or(Ok(()), |on| interface::await_heard(namespace, &endpoint.interface, on.addr()))
    }

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
        if let Some(link) = self.recorded.host_link().filter(|_| self.linked) {
            let _ = lock(&self.networks.routes).remove(&link);
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
        let further = interface::link_local(&request.link_local)?;
        self.follow_bridge_filter()?;
        let mut attachment = self.record(&request)?;
        self.link(&mut attachment, namespace, &request)?;
        for address in further {
            Routes::inside(namespace)?.configure(&attachment.recorded.endpoint.interface, address, None)?;
        }
        interface::set(namespace, &attachment.recorded.endpoint.interface, &switches)?;
        self.publish(&attachment)?;
        self.open_links(&attachment.recorded.endpoint)?;
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
        self.unlink_endpoint(&recorded, namespace)?;
        self.part(std::slice::from_ref(&recorded))?;
        self.hand_on(namespace, &recorded)
    }

    /// Ends all endpoints of a container that has ended: ports, addresses and records. The links go with the
    /// namespace. A container without endpoints is no error.
    pub fn release(&self, container: &str) -> Result<()> {
        let endpoints = self.records.read(|rows| rows.endpoints_of_container(container))?;
        for recorded in &endpoints {
            self.withdraw(&recorded.endpoint)?;
        }
        self.unlink_uppers(container, &endpoints);
        self.unlink_ended(container, &endpoints);
        self.name_servers.stop(container);
        self.part(&endpoints)?;
        for link in endpoints.iter().filter_map(Recorded::host_link) {
            self.sweeper.see_off(link);
        }
        Ok(())
    }

    /// Closes what links have opened, and frees what the records hold.
    fn part(&self, endpoints: &[Recorded]) -> Result<()> {
        let apart = endpoints.iter().any(|recorded| self.keeps_apart(&recorded.endpoint));
        let _linking = apart.then(|| lock(&self.linking));
        self.close_links(endpoints)?;
        self.forget(endpoints)
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
        if endpoint.ports.is_empty() {
            // Nothing to look its network up for.
            return Ok(());
        }
        match target(&self.find(&endpoint.network_id)?, endpoint)? {
            Some(target) => Ok(self.firewall.withdraw(&target)?),
            None => Ok(()),
        }
    }

    /// Decides on address, interface and ports, and records them in one transaction.
    fn record(&self, request: &EndpointRequest) -> Result<Attachment<'_>> {
        let id = new_id()?;
        self.records.change(|rows| {
            let network = rows.network(&request.network)?;
            if network.driver == Driver::Configuration {
                let text = "cannot create endpoint on configuration-only network";
                return Err(Error::Forbidden(text.to_owned()));
            }
            if matches!(network.driver, Driver::Host | Driver::Null) {
                return Err(Error::Forbidden(format!(
                    "container cannot be connected to network {} or disconnected from it",
                    network.name
                )));
            }
            let others = rows.endpoints_of_container(&request.container)?;
            if others.iter().any(|other| other.endpoint.network_id == network.id) {
                return Err(Error::Forbidden(format!(
                    "endpoint with name {} already exists in network {}",
                    request.name, network.name
                )));
            }
            // The plugins of CNI choose for themselves.
            let chooses = network.driver != Driver::Cni;
            let own = request.mac.is_some();
            let wish = request.ipv4.filter(|_| chooses);
            let address = choose_address(rows, &network, wish, request.before.0, own)?;
            let address6 = match request.without_ipv6 {
                true => None,
                false => choose_address6(rows, &network, request.ipv6.filter(|_| chooses), request.before.1)?,
            };
            let reservation = match network.driver {
                Driver::Cni => self.reserve_mapped(rows, &id, &network, request)?,
                _ => self.reserve(&id, &network, request, (address, address6))?,
            };
            let open = !network.is_closed();
            let recorded = Recorded {
                priority: request.priority,
                direct: open && vlan::settings(&network)?.is_some_and(|settings| settings.routes_itself()),
                driver: network.driver,
                links: request.links.clone(),
                endpoint: Endpoint {
                    id: id.clone(),
                    container: request.container.clone(),
                    name: request.name.clone(),
                    network_id: network.id.clone(),
                    network: network.name.clone(),
                    interface: interface::choose(request.interface.as_deref(), &network, &others)?,
                    address,
                    gateway: address.filter(|_| open).and_then(|on| network.gateway_of(on.addr())),
                    gateway6: address6.filter(|_| open).and_then(|on| network.gateway6_of(on.addr())),
                    address6,
                    mac: choose_mac(&network, request.mac, address)?,
                    hostname: request.hostname.clone(),
                    aliases: request.aliases.clone(),
                    dns: Vec::new(),
                    ports: reservation.published().to_vec(),
                },
            };
            rows.add_endpoint(&recorded)?;
            let reservation = Some(reservation);
            let hop4 = taken_over(&recorded, &others, true);
            let hop6 = taken_over(&recorded, &others, false);
            Ok(Attachment { networks: self, network, recorded, reservation, linked: false, hop4, hop6 })
        })
    }

    /// Reserves the wished ports. Only bridges lead from the host's ports to containers.
    fn reserve(
        &self,
        id: &str,
        network: &Network,
        request: &EndpointRequest,
        (address, address6): (Option<Ipv4Net>, Option<Ipv6Net>),
    ) -> Result<Reservation<'_>> {
        let Some(bridged) = Bridged::of(network)?.filter(|_| !network.internal) else {
            return Ok(self.ports.nothing(id));
        };
        let addresses = (address.map(|address| address.addr()), address6.map(|address| address.addr()));
        let owner =
            Owner { publishes: request.publishes, ..self.owner(&bridged, id, &request.name, addresses) };
        self.ports.reserve(owner, &request.ports, 0)
    }

    /// The same where plugins lead from the host's ports to containers, whose addresses they will choose.
    fn reserve_mapped(
        &self,
        rows: &Rows<'_>,
        id: &str,
        network: &Network,
        request: &EndpointRequest,
    ) -> Result<Reservation<'_>> {
        if request.publishes == [false; 2] || request.ports.is_empty() {
            return Ok(self.ports.nothing(id));
        }
        if !cni::maps_ports(rows, &network.id)? {
            return Err(cni::cannot(&network.name, cni::PORTS));
        }
        let owner = Owner {
            endpoint: id,
            name: &request.name,
            address: Some(Ipv4Addr::UNSPECIFIED),
            address6: Some(Ipv6Addr::UNSPECIFIED),
            default_ip: self.config.default_ip,
            routed: [false; 2],
            publishes: [true; 2],
        };
        self.ports.reserve(owner, &request.ports, 0)
    }

    /// Whether ports of the host can lead to containers by this network.
    pub(super) fn publishes(&self, network: &Network) -> bool {
        match network.driver {
            Driver::Bridge => !network.internal,
            Driver::Cni => self.records.read(|rows| cni::maps_ports(rows, &network.id)).unwrap_or(false),
            _ => false,
        }
    }

    fn publish(&self, attachment: &Attachment<'_>) -> Result<()> {
        let endpoint = &attachment.recorded.endpoint;
        let Some(target) = target(&attachment.network, endpoint)? else { return Ok(()) };
        self.healed(self.firewall.publish(&target))?;
        match Bridged::of(&attachment.network)? {
            Some(bridged) => bridge::accept_loopback_answers(&bridged.settings.bridge),
            None => Ok(()),
        }
    }
}

/// What leads to an endpoint; `None` without published ports.
pub(super) fn target(network: &Network, endpoint: &Endpoint) -> Result<Option<Target>> {
    if endpoint.ports.is_empty() {
        return Ok(None);
    }
    let Some(bridged) = Bridged::of(network)? else { return Ok(None) };
    let (address, address6) = endpoint.by_family();
    Ok(Some(Target { address, address6, ports: endpoint.ports.clone(), trusted: bridged.settings.trusted }))
}
