//! Connecting containers with networks and disconnecting them, also while they run.

use std::os::fd::AsFd;
use std::sync::Arc;

use hull_network::{Driver, Network};

use super::endpoint::{check_endpoint, endpoint_request, fill_in};
use super::namespace_of;
use super::ports::wanted_ports;
use crate::containers::Entry;
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
        entry.unless_over(self.connect_entry(&entry, network, wish)).await
    }

    async fn connect_entry(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        network: &str,
        wish: EndpointSettings,
    ) -> Result<()> {
        let _gate = entry.enter().await?;
        let (network, now) = (self.networks.find(network)?, entry.now());
        check_endpoint(&network.name, Some(&network), &wish)?;
        if now.network.networks.contains_key(&network.name) {
            return Err(Error::new(
                crate::Kind::Forbidden,
                format!("endpoint with name {} already exists in network {}", now.name, network.name),
            ));
        }
        joinable(&now, &network)?;
        let mut settings = EndpointSettings { network_id: network.id.clone(), ..wish };
        if now.state.status.is_running() {
            let mut request = endpoint_request(&now, &network.name, &settings, wanted_ports(&now)?)?;
            request.links = self.reached_by_links(&now, &network.name);
            // In a routed network they are opened; ports of the host stay where they are until it is known who leads out,
            // unless this is the first way out of the family.
            let others = self.networks.endpoints(&now.id)?;
            let published = others.iter().flat_map(|other| &other.ports).filter(|port| !port.is_routed());
            let has_six = published.clone().any(|port| port.host_ip.is_ipv6());
            let leads = [
                others.iter().any(|other| other.gateway.is_some()),
                others.iter().any(|other| other.gateway6.is_some()),
            ];
            request.publishes =
                [!leads[0] && !published.clone().any(|port| port.host_ip.is_ipv4()), !leads[1] && !has_six];
            let (networks, namespace) = (Arc::clone(&self.networks), namespace_of(now.state.pid)?);
            let (engine, container) = (Arc::clone(self), Arc::clone(&now));
            let wishes = request.ports.clone();
            let connect = move || {
                let endpoint = networks.connect(namespace.as_fd(), request)?;
                match engine.pace(&container, namespace.as_fd()) {
                    Ok(()) => {
                        if !wishes.is_empty()
                            && let Err(error) = networks.move_ports(&container.id, &wishes)
                        {
                            // The container is in its network all the same.
                            tracing::warn!(
                                container = container.id,
                                "publish its ports by another network: {error}"
                            );
                        }
                        Ok(endpoint)
                    }
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
        let now = self.change(entry, change)?;
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
        let entry = self.containers.find(container).map_err(|error| match error.kind {
            crate::Kind::NotFound if force => Error::not_found(format!("endpoint {container} not found")),
            _ => error,
        })?;
        entry.unless_over(self.disconnect_entry(&entry, network, force)).await
    }

    async fn disconnect_entry(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        network: &str,
        force: bool,
    ) -> Result<()> {
        let _gate = entry.enter().await?;
        let (found, now) = (self.networks.find(network), entry.now());
        let runs = now.state.status.is_running();
        if found.is_err() && !runs && now.network.networks.contains_key(network) {
            // The network has gone, but for the record of the container.
            return self
                .change(entry, |container| drop(container.network.networks.remove(network)))
                .map(drop);
        }
        let network = match found {
            Err(hull_network::Error::NotFound(_)) if force => {
                return Err(not_connected(&now, network));
            }
            found => found?,
        };
        if network.driver == Driver::Host && now.host.network_mode == "host" {
            return Err(Error::invalid(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        if !now.network.networks.contains_key(&network.name) {
            return Err(not_connected(&now, &network.name));
        }
        // Nothing of the kernel's belongs to no network.
        if runs && network.driver != Driver::Null {
            let (networks, namespace) = (Arc::clone(&self.networks), namespace_of(now.state.pid)?);
            let (id, network, wishes) = (now.id.clone(), network.id.clone(), wanted_ports(&now)?);
            let disconnect = move || {
                networks.disconnect(namespace.as_fd(), &id, &network)?;
                // If its ports of the host went with it, the network that gives the way out now has them.
                if !wishes.is_empty()
                    && let Err(error) = networks.republish_ports(&id, &wishes)
                {
                    // The container has left its network all the same.
                    tracing::warn!("publish the ports of container {id} by another network: {error}");
                }
                Ok::<_, hull_network::Error>(())
            };
            tokio::task::spawn_blocking(disconnect).await??;
        }
        let ports = self.published_ports(&now)?;
        let now = self.change(entry, |container| {
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

fn not_connected(container: &Container, network: &str) -> Error {
    let network = match container.state.status.is_running() {
        true => format!("network {network}"),
        false => format!("the network {network}"),
    };
    Error::new(crate::Kind::Forbidden, format!("container {} is not connected to {network}", container.id))
}

/// Whether a container can be connected with a network beside others, running or not.
fn joinable(container: &Container, network: &Network) -> Result<()> {
    let networks = &container.network.networks;
    match (NetworkMode::parse(&container.host.network_mode), network.driver) {
        (NetworkMode::Host | NetworkMode::Container(_), _) => Err(Error::invalid(
            "container sharing network namespace with another container or host cannot be connected to any other \
             network",
        )),
        (_, Driver::Host) => Err(Error::invalid(
            "cannot connect container to host network - container must be created in host network mode",
        )),
        // Who has left that network may be in others.
        (_, driver) if networks.contains_key("none") || (driver == Driver::Null && !networks.is_empty()) => {
            Err(Error::invalid(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode",
            ))
        }
        _ => Ok(()),
    }
}
