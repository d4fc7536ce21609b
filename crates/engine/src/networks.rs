//! Containers in networks: what the record wishes, and what the kernel has of it while the container runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hull_network::{Endpoint, EndpointRequest, MacAddr, Network, NetworkRequest, Networks, PortBinding};
use hull_sys::Context;
use rustix::fs::{Mode, OFlags};

use crate::containers::Entry;
use crate::events::EventKind;
use crate::model::{
    Container, EndpointSettings, HostPort, NetworkMode, NetworkSettings, NetworkingConfig, Port, Protocol,
    Pruned,
};
use crate::{Engine, Error, Result};

/// What the options of an endpoint begin with.
const ENDPOINT_OPTIONS: &str = "com.docker.network.endpoint.";
/// How often the firewall is looked at.
const FIREWALL_INTERVAL: Duration = Duration::from_secs(5);

/// The connections of a container on its way; undone unless kept.
pub(crate) struct Connected<'a> {
    networks: &'a Networks,
    container: Option<String>,
    /// What the container's record is to say.
    pub(crate) settings: NetworkSettings,
}

impl Connected<'_> {
    /// They stay.
    pub(crate) fn keep(mut self) -> NetworkSettings {
        self.container = None;
        std::mem::take(&mut self.settings)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        if let Some(container) = &self.container {
            // What stays behind is swept at the next opening.
            let _ = self.networks.release(container);
        }
    }
}

impl Engine {
    /// The networks that a request for a container names, the one of its mode among them.
    pub(crate) fn wanted_networks(
        &self,
        container: &Container,
        wanted: NetworkingConfig,
    ) -> Result<BTreeMap<String, EndpointSettings>> {
        let mode = match NetworkMode::parse(&container.host.network_mode) {
            NetworkMode::Container(_) => return Ok(BTreeMap::new()),
            mode => mode.to_string(),
        };
        let mut networks: BTreeMap<String, EndpointSettings> = BTreeMap::new();
        for (name, settings) in wanted.endpoints {
            let name = if name == "default" { mode.clone() } else { name };
            networks.insert(self.network_name(&name), settings);
        }
        let own = networks.entry(self.network_name(&mode)).or_default();
        if own.wanted_mac.is_empty() {
            own.wanted_mac.clone_from(&container.config.mac_address);
        }
        for (name, settings) in &mut networks {
            if settings.wants_address() && hull_network::PREDEFINED.contains(&name.as_str()) {
                return Err(Error::invalid(
                    "user specified IP address is supported on user defined networks only",
                ));
            }
            // An unknown network is an error of the start, as in Docker: here it would read as a missing image.
            settings.network_id = self.networks.find(name).map(|network| network.id).unwrap_or_default();
            settings.mac_address.clone_from(&settings.wanted_mac);
        }
        Ok(networks)
    }

    /// The name of the network of that name or id; what is not found keeps what it was called.
    fn network_name(&self, name: &str) -> String {
        self.networks.find(name).map_or_else(|_| name.to_owned(), |network| network.name)
    }

    /// The gateway of the default bridge: the host, as containers see it.
    pub(crate) fn default_gateway(&self) -> Option<String> {
        let bridge = self.networks.find("bridge").ok()?;
        bridge.ipam.first().map(|ipam| ipam.gateway.to_string())
    }

    /// The network namespace that a container is to run in; `None`: the host's.
    pub(crate) fn sandbox(&self, container: &Container) -> Result<Option<OwnedFd>> {
        match NetworkMode::parse(&container.host.network_mode) {
            NetworkMode::Host => Ok(None),
            NetworkMode::None | NetworkMode::Network(_) => Ok(Some(self.networks.sandbox()?.into_fd())),
            NetworkMode::Container(other) => {
                let other = self.container(&other)?;
                if !other.state.status.is_running() {
                    return Err(Error::conflict(format!(
                        "cannot join network of a non running container: {}",
                        other.id
                    )));
                }
                namespace_of(other.state.pid).map(Some)
            }
        }
    }

    /// Sees that the next start finds a network namespace that is ready.
    pub(crate) fn prepare_sandbox(&self) {
        if self.options.remap.is_some() {
            // They belong to their containers' users.
            return;
        }
        let networks = Arc::clone(&self.networks);
        // Whoever finds none makes one.
        tokio::task::spawn_blocking(move || networks.prepare_sandbox());
    }

    /// Connects a container that is about to start with its networks.
    pub(crate) fn connect_networks(
        &self,
        container: &Container,
        sandbox: Option<&OwnedFd>,
    ) -> Result<Connected<'_>> {
        let mut connected = Connected {
            networks: &self.networks,
            container: Some(container.id.clone()),
            settings: container.network.clone(),
        };
        let settings = &mut connected.settings;
        settings.ports = container.config.exposed_ports.iter().map(|port| (*port, None)).collect();
        let (Some(sandbox), mode @ NetworkMode::Network(_)) =
            (sandbox, NetworkMode::parse(&container.host.network_mode))
        else {
            return Ok(connected);
        };
        settings.sandbox_id = crate::identity::fresh()?;
        let first = self.network_name(&mode.to_string());
        let mut names: Vec<(String, i64)> =
            settings.networks.iter().map(|(name, on)| (name.clone(), on.gw_priority)).collect();
        // The network of the highest priority, among equals the mode's, gives the default route and publishes the ports.
        names.sort_by_key(|(name, priority)| (std::cmp::Reverse(*priority), *name != first));
        let way_out = self.way_out(&names);
        for (name, _) in names {
            let ports = if Some(&name) == way_out.as_ref() { wanted_ports(container)? } else { Vec::new() };
            let wish = settings.networks.get(&name).cloned().unwrap_or_default();
            let request = endpoint_request(container, &name, &wish, ports)?;
            let endpoint = self
                .networks
                .connect(sandbox.as_fd(), request)
                .map_err(|error| Error::from(error).within("failed to set up container networking"))?;
            publish(&mut settings.ports, &endpoint);
            settings.networks.insert(name, fill_in(wish, container, &endpoint));
        }
        Ok(connected)
    }

    /// The first network that is not internal; with one network there is no question.
    fn way_out(&self, names: &[(String, i64)]) -> Option<String> {
        let leads_out = |name: &str| self.networks.find(name).is_ok_and(|network| !network.internal);
        let mut candidates = names.iter().map(|(name, _)| name);
        candidates.find(|name| names.len() == 1 || leads_out(name)).cloned()
    }

    /// Ends the connections of a container that does not run any more.
    pub(crate) async fn release_networks(&self, id: &str) -> Result<()> {
        let (networks, id) = (Arc::clone(&self.networks), id.to_owned());
        Ok(tokio::task::spawn_blocking(move || networks.release(&id)).await??)
    }

    /// Looks after the firewall for as long as the engine lives: what somebody else has flushed is made again.
    pub(crate) fn watch_firewall(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(FIREWALL_INTERVAL).await;
                let Some(networks) = engine.upgrade().map(|engine| Arc::clone(&engine.networks)) else {
                    return;
                };
                match tokio::task::spawn_blocking(move || networks.heal()).await {
                    Ok(Ok(true)) => {
                        tracing::warn!("the firewall was changed by somebody else; it stands again")
                    }
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => tracing::error!("look after the firewall: {error}"),
                    Err(error) => tracing::error!("look after the firewall: {error}"),
                }
            }
        });
    }

    /// Every network with its endpoints.
    pub fn networks(&self) -> Result<Vec<Network>> {
        Ok(self.networks.list()?)
    }

    /// The network of that name or id.
    pub fn network(&self, name: &str) -> Result<Network> {
        Ok(self.networks.inspect(name)?)
    }

    /// The id of the network of that name or id; what is not found keeps what it was called.
    pub fn network_id(&self, name: &str) -> String {
        self.networks.find(name).map_or_else(|_| name.to_owned(), |network| network.id)
    }

    /// Makes a network; returns its id.
    pub async fn network_create(&self, request: NetworkRequest) -> Result<String> {
        let networks = Arc::clone(&self.networks);
        let id = tokio::task::spawn_blocking(move || networks.create(request)).await??;
        self.emit_network(&id, "create", None);
        Ok(id)
    }

    /// Removes a network that no container uses.
    pub async fn network_remove(&self, name: &str) -> Result<()> {
        let network = self.networks.find(name)?;
        let (networks, id) = (Arc::clone(&self.networks), network.id.clone());
        tokio::task::spawn_blocking(move || networks.remove(&id)).await??;
        self.emit_of(&network, "destroy", None);
        Ok(())
    }

    /// Removes the networks that no container is in and that `select` wants.
    pub async fn networks_prune(&self, select: impl Fn(&Network) -> bool + Send) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let unused = |network: &Network| !network.predefined() && network.endpoints.is_empty();
        for network in self.networks.list()?.into_iter().filter(|network| unused(network) && select(network))
        {
            let named = |container: &Arc<Container>| container.network.networks.contains_key(&network.name);
            if !self.containers().iter().any(named) {
                self.network_remove(&network.id).await?;
                pruned.removed.push(network.name);
            }
        }
        Ok(pruned)
    }

    /// Connects a container with a further network, at once if it runs.
    pub async fn network_connect(
        self: &Arc<Self>,
        network: &str,
        container: &str,
        wish: EndpointSettings,
    ) -> Result<()> {
        let entry = self.containers.find(container)?;
        let _gate = entry.gate.lock().await;
        let (network, now) = (self.networks.find(network)?, entry.now());
        if !matches!(NetworkMode::parse(&now.host.network_mode), NetworkMode::Network(_)) {
            return Err(Error::conflict(format!(
                "container cannot be connected to network {}: it has the network mode {}",
                network.name, now.host.network_mode
            )));
        }
        if now.network.networks.contains_key(&network.name) {
            return Err(Error::new(
                crate::Kind::Forbidden,
                format!("endpoint with name {} already exists in network {}", now.name, network.name),
            ));
        }
        let mut settings = EndpointSettings { network_id: network.id.clone(), ..wish };
        if now.state.status.is_running() {
            let request = endpoint_request(&now, &network.name, &settings, Vec::new())?;
            let (networks, namespace) = (Arc::clone(&self.networks), namespace_of(now.state.pid)?);
            let connect = move || networks.connect(namespace.as_fd(), request);
            let endpoint = tokio::task::spawn_blocking(connect).await??;
            settings = fill_in(settings, &now, &endpoint);
        }
        let change = |container: &mut Container| {
            container.network.networks.insert(network.name.clone(), settings);
        };
        let now = self.change(&entry, change)?;
        if now.state.status.is_running() {
            self.write_hosts(&now)?;
            self.renew_names(&now).await?;
        }
        self.emit_of(&network, "connect", Some(&now.id));
        Ok(())
    }

    /// Takes a container out of a network, at once if it runs.
    /// With `force` a container that is gone is no error.
    pub async fn network_disconnect(
        self: &Arc<Self>,
        network: &str,
        container: &str,
        force: bool,
    ) -> Result<()> {
        let entry = match self.containers.find(container) {
            Err(error) if force && error.kind == crate::Kind::NotFound => return Ok(()),
            found => found?,
        };
        let _gate = entry.gate.lock().await;
        let (network, now) = (self.networks.find(network)?, entry.now());
        if !now.network.networks.contains_key(&network.name) {
            return Err(Error::new(
                crate::Kind::Forbidden,
                format!("container {} is not connected to network {}", now.id, network.name),
            ));
        }
        if now.state.status.is_running() {
            let (networks, namespace) = (Arc::clone(&self.networks), namespace_of(now.state.pid)?);
            let (id, network) = (now.id.clone(), network.id.clone());
            let disconnect = move || networks.disconnect(namespace.as_fd(), &id, &network);
            tokio::task::spawn_blocking(disconnect).await??;
        }
        let now = self.change(&entry, |container| drop(container.network.networks.remove(&network.name)))?;
        if now.state.status.is_running() {
            self.write_hosts(&now)?;
            self.renew_names(&now).await?;
        }
        self.emit_of(&network, "disconnect", Some(&now.id));
        Ok(())
    }

    /// Tells that a container came into or went out of its networks.
    pub(crate) fn emit_networks(&self, settings: &NetworkSettings, entry: &Entry, action: &str) {
        for endpoint in settings.networks.values().filter(|endpoint| !endpoint.endpoint_id.is_empty()) {
            self.emit_network(&endpoint.network_id, action, Some(&entry.id));
        }
    }

    fn emit_network(&self, id: &str, action: &str, container: Option<&str>) {
        if let Ok(network) = self.networks.find(id) {
            self.emit_of(&network, action, container);
        }
    }

    fn emit_of(&self, network: &Network, action: &str, container: Option<&str>) {
        let mut attributes = BTreeMap::new();
        attributes.insert("name".to_owned(), network.name.clone());
        attributes.insert("type".to_owned(), network.driver.to_string());
        attributes.extend(container.map(|container| ("container".to_owned(), container.to_owned())));
        self.events.emit(EventKind::Network, action, &network.id, attributes);
    }
}

impl NetworkSettings {
    /// The settings of a container that does not run: wishes stay, facts go.
    pub(crate) fn clear(&mut self) {
        self.sandbox_id.clear();
        self.sandbox_key.clear();
        self.ports.clear();
        for endpoint in self.networks.values_mut() {
            endpoint.endpoint_id.clear();
            endpoint.gateway.clear();
            endpoint.ip_address.clear();
            endpoint.ip_prefix_len = 0;
            endpoint.ipv6_gateway.clear();
            endpoint.global_ipv6_address.clear();
            endpoint.global_ipv6_prefix_len = 0;
            endpoint.mac_address.clone_from(&endpoint.wanted_mac);
        }
    }
}

/// The network namespace of a process.
pub(crate) fn namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    Ok(rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)?)
}

fn endpoint_request(
    container: &Container,
    network: &str,
    wish: &EndpointSettings,
    ports: Vec<PortBinding>,
) -> Result<EndpointRequest> {
    let option = |name: &str| wish.driver_opts.as_ref()?.get(&format!("{ENDPOINT_OPTIONS}{name}"));
    let mac = match wish.wanted_mac.as_str() {
        "" => None,
        text => Some(text.parse::<MacAddr>()?),
    };
    Ok(EndpointRequest {
        container: container.id.clone(),
        name: container.name.clone(),
        network: network.to_owned(),
        ipv4: wish.wanted_ipv4,
        ipv6: wish.wanted_ipv6,
        mac,
        interface: option("ifname").cloned(),
        sysctls: option("sysctls").iter().flat_map(|list| list.split(',')).map(String::from).collect(),
        ports,
        hostname: container.config.hostname.clone(),
        aliases: wish.aliases.clone().unwrap_or_default(),
    })
}

fn fill_in(wish: EndpointSettings, container: &Container, endpoint: &Endpoint) -> EndpointSettings {
    let mut dns_names = None;
    if !hull_network::PREDEFINED.contains(&endpoint.network.as_str()) {
        let mut names = vec![container.name.clone()];
        names.extend(wish.aliases.iter().flatten().cloned());
        names.extend([container.short_id().to_owned(), container.config.hostname.clone()]);
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        dns_names = Some(names);
    }
    EndpointSettings {
        network_id: endpoint.network_id.clone(),
        endpoint_id: endpoint.id.clone(),
        gateway: endpoint.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        ip_address: endpoint.address.addr().to_string(),
        ip_prefix_len: endpoint.address.prefix_len(),
        ipv6_gateway: endpoint.gateway6.map(|gateway| gateway.to_string()).unwrap_or_default(),
        global_ipv6_address: endpoint.address6.map(|on| on.addr().to_string()).unwrap_or_default(),
        global_ipv6_prefix_len: endpoint.address6.map(|on| on.prefix_len()).unwrap_or_default(),
        mac_address: endpoint.mac.to_string(),
        dns_names,
        ..wish
    }
}

/// What is to be published: the bindings, and with `-P` every exposed port.
fn wanted_ports(container: &Container) -> Result<Vec<PortBinding>> {
    let host = &container.host;
    let mut wanted = Vec::new();
    for (port, bindings) in &host.port_bindings {
        let anywhere = [HostPort::default()];
        let bindings = if bindings.is_empty() { &anywhere[..] } else { bindings };
        for binding in bindings {
            wanted.push(port_binding(*port, binding)?);
        }
    }
    if host.publish_all_ports {
        let exposed = container.config.exposed_ports.iter();
        for port in exposed.filter(|port| !host.port_bindings.contains_key(port)) {
            wanted.push(port_binding(*port, &HostPort::default())?);
        }
    }
    Ok(wanted)
}

fn port_binding(port: Port, binding: &HostPort) -> Result<PortBinding> {
    let invalid = || Error::invalid(format!("invalid port specification: \"{}\"", binding.host_port));
    let host_ports = match binding.host_port.as_str() {
        "" | "0" => None,
        text => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let first = first.parse().map_err(|_| invalid())?;
            let last = last.parse().map_err(|_| invalid())?;
            if first > last {
                return Err(invalid());
            }
            Some(first..=last)
        }
    };
    let host_ip = match binding.host_ip.trim_matches(['[', ']']) {
        "" => None,
        text => {
            Some(text.parse::<IpAddr>().map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?)
        }
    };
    let protocol = match port.protocol {
        Protocol::Tcp => hull_network::Protocol::Tcp,
        Protocol::Udp => hull_network::Protocol::Udp,
        Protocol::Sctp => hull_network::Protocol::Sctp,
    };
    Ok(PortBinding { container_port: port.number, protocol, host_ip, host_ports })
}

fn publish(ports: &mut BTreeMap<Port, Option<Vec<HostPort>>>, endpoint: &Endpoint) {
    for published in &endpoint.ports {
        let protocol = match published.protocol {
            hull_network::Protocol::Tcp => Protocol::Tcp,
            hull_network::Protocol::Udp => Protocol::Udp,
            hull_network::Protocol::Sctp => Protocol::Sctp,
        };
        let port = Port { number: published.container_port, protocol };
        let place =
            HostPort { host_ip: published.host_ip.to_string(), host_port: published.host_port.to_string() };
        ports.entry(port).or_default().get_or_insert_default().push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    fn port(text: &str) -> Port {
        text.parse().unwrap()
    }

    #[test]
    fn bindings_become_wishes() {
        let place = |ip: &str, port: &str| HostPort { host_ip: ip.into(), host_port: port.into() };
        let wish = port_binding(port("53/udp"), &place("127.0.0.1", "5300-5310")).unwrap();
        assert_eq!(wish.host_ports, Some(5300..=5310));
        assert_eq!(wish.host_ip, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(port_binding(port("80"), &place("", "")).unwrap().host_ports, None);
        for wrong in [place("", "x"), place("", "90-80"), place("", "70000"), place("nowhere", "80")] {
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
            wanted.iter().map(|wish| (wish.container_port, wish.host_ports.clone())).collect();
        assert_eq!(found, [(80, Some(8080..=8080)), (443, None)]);
    }
}
