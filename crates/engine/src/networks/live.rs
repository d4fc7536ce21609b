//! Connecting containers with networks and disconnecting them, also while they run.

use std::os::fd::AsFd;
use std::sync::Arc;

use hull_network::{Driver, Network};

use super::endpoint::{check_endpoint, endpoint_request, fill_in};
use super::namespace_of;
use super::ports::wanted_ports;
use crate::model::{Container, EndpointSettings, NetworkMode};
use crate::{Engine, Error, Result};

impl Engine {
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
        match NetworkMode::parse(&now.host.network_mode) {
            NetworkMode::Network(_) => {}
            NetworkMode::None => {
                return Err(Error::invalid(
                    "container cannot be connected to multiple networks with one of the networks in private (none) mode",
                ));
            }
            NetworkMode::Host | NetworkMode::Container(_) => {
                return Err(Error::invalid(
                    "container sharing network namespace with another container or host cannot be connected to any \
                     other network",
                ));
            }
        }
        joinable(&network, &wish)?;
        check_endpoint(&network.name, Some(&network), &wish)?;
        if now.network.networks.contains_key(&network.name) {
            return Err(Error::new(
                crate::Kind::Forbidden,
                format!("endpoint with name {} already exists in network {}", now.name, network.name),
            ));
        }
        let mut settings = EndpointSettings { network_id: network.id.clone(), ..wish };
        if now.state.status.is_running() {
            let mut request = endpoint_request(&now, &network.name, &settings, wanted_ports(&now)?)?;
            request.links = self.reached_by_links(&now, &network.name);
            // In a routed network they are opened; ports of the host stay where they are, unless this is the first way out.
            let others = self.networks.endpoints(&now.id)?;
            request.publishes =
                others.iter().all(|other| other.gateway.is_none() && other.gateway6.is_none());
            let (networks, namespace) = (Arc::clone(&self.networks), namespace_of(now.state.pid)?);
            let (engine, container) = (Arc::clone(self), Arc::clone(&now));
            let connect = move || {
                let endpoint = networks.connect(namespace.as_fd(), request)?;
                match engine.pace(&container, namespace.as_fd()) {
                    Ok(()) => Ok(endpoint),
                    Err(error) => {
                        // The refusal is what the user has to hear of.
                        let _ = networks.disconnect(namespace.as_fd(), &container.id, &endpoint.network_id);
                        Err(error)
                    }
                }
            };
            let endpoint = tokio::task::spawn_blocking(connect).await??;
            settings = fill_in(settings, &now, &endpoint);
        }
        let ports = self.published_ports(&now)?;
        let change = |container: &mut Container| {
            container.network.networks.insert(network.name.clone(), settings);
            container.network.ports = ports;
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
            let (id, network, wishes) = (now.id.clone(), network.id.clone(), wanted_ports(&now)?);
            let disconnect = move || {
                networks.disconnect(namespace.as_fd(), &id, &network)?;
                // If its ports of the host went with it, the network that gives the way out now has them.
                let left = networks.endpoints(&id)?;
                let has_ports = left.iter().flat_map(|other| &other.ports).any(|port| !port.is_routed());
                let leads_out = left.iter().any(|other| other.gateway.is_some() || other.gateway6.is_some());
                if !has_ports && leads_out && !wishes.is_empty() {
                    // The container has left its network all the same.
                    if let Err(error) = networks.publish_ports(&id, &wishes) {
                        tracing::warn!("publish the ports of container {id} by another network: {error}");
                    }
                }
                Ok::<_, hull_network::Error>(())
            };
            tokio::task::spawn_blocking(disconnect).await??;
        }
        let ports = self.published_ports(&now)?;
        let now = self.change(&entry, |container| {
            container.network.networks.remove(&network.name);
            container.network.ports = ports;
        })?;
        if now.state.status.is_running() {
            self.write_hosts(&now)?;
            self.renew_names(&now).await?;
        }
        self.emit_of(&network, "disconnect", Some(&now.id));
        Ok(())
    }
}

/// Whether a container can be connected with a network beside others, and with this wish, running or not.
fn joinable(network: &Network, wish: &EndpointSettings) -> Result<()> {
    match network.driver {
        Driver::Host => Err(Error::invalid(
            "container cannot be disconnected from host network or connected to host network",
        )),
        Driver::Null => Err(Error::invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        )),
        _ if network.predefined() && wish.wants_address() => {
            Err(Error::invalid("user specified IP address is supported on user defined networks only"))
        }
        _ => Ok(()),
    }
}
