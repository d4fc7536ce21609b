//! Connecting containers with networks and disconnecting them, also while they run.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::endpoint::{endpoint_request, fill_in};
use super::namespace_of;
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
}
