//! Containers in networks: what the record wishes, and what the kernel has of it while the container runs.

mod endpoint;
mod live;
mod pattern;
mod ports;
mod start;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hull_network::{Network, NetworkRequest, Noticed};
use hull_sys::Context;
use rustix::fs::{Mode, OFlags};
use tokio::io::unix::AsyncFd;

use crate::containers::Entry;
use crate::events::EventKind;
use crate::model::{Container, NetworkSettings, Pruned};
use crate::{Engine, Error, Result};

pub(crate) use ports::wire_protocol;
pub(crate) use start::Connected;

/// The firewall is made anew at once, but for somebody who goes on changing it no more often than this.
const HEALING_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// The name of the network of that name or id; what is not found keeps what it was called.
    fn network_name(&self, name: &str) -> String {
        self.networks.find(name).map_or_else(|_| name.to_owned(), |network| network.name)
    }

    /// The addresses of the default bridge: the host, as containers see it.
    pub(crate) fn default_gateways(&self) -> Vec<IpAddr> {
        let Ok(bridge) = self.networks.find("bridge") else { return Vec::new() };
        let v4 = bridge.ipam.iter().filter_map(|ipam| ipam.gateway).map(IpAddr::from);
        v4.chain(bridge.ipam6.iter().filter_map(|ipam| ipam.gateway).map(IpAddr::from)).collect()
    }

    /// Looks after the firewall for as long as the engine lives: what somebody else has changed is made again.
    pub(crate) fn watch_firewall(self: &Arc<Self>) -> Result<()> {
        let watch = self.networks.watch_firewall()?;
        let readable = watch.as_fd().try_clone_to_owned().op("dup")?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of types that do not keep their descriptor open; an OwnedFd does"
        )]
        let readable = AsyncFd::new(readable).map_err(|error| Error::system(format!("epoll: {error}")))?;
        // Whatever has happened before it was watched.
        self.networks.heal()?;
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Ok(mut ready) = readable.readable().await {
                ready.clear_ready();
                let noticed = watch.look();
                if matches!(noticed, Ok(Noticed::Nothing)) {
                    continue;
                }
                let Some(networks) = engine.upgrade().map(|engine| Arc::clone(&engine.networks)) else {
                    return;
                };
                let heal = move || match noticed.map_err(hull_network::Error::from)? {
                    Noticed::Nothing => Ok(false),
                    Noticed::Change => networks.rebuild_firewall().map(|()| true),
                    Noticed::TooMuch => networks.heal(),
                };
                match tokio::task::spawn_blocking(heal).await {
                    Ok(Ok(false)) => {}
                    Ok(Ok(true)) => {
                        tracing::warn!("the firewall was changed by somebody else; it stands again");
                        tokio::time::sleep(HEALING_PAUSE).await;
                    }
                    Ok(Err(error)) => tracing::error!("look after the firewall: {error}"),
                    Err(error) => tracing::error!("look after the firewall: {error}"),
                }
            }
        });
        Ok(())
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
        let unused = |network: &Network| {
            !network.predefined() && network.endpoints.is_empty() && network.configuration.is_none()
        };
        for network in self.networks.list()?.into_iter().filter(|network| unused(network) && select(network))
        {
            let named = |container: &Arc<Container>| container.network.networks.contains_key(&network.name);
            if !self.containers().iter().any(named) {
                self.network_remove(&network.id).await?;
                pruned.removed.push(network.name);
            }
        }
        let attributes = [("reclaimed".to_owned(), "0".to_owned())];
        self.events.emit(EventKind::Network, "prune", "", attributes.into());
        Ok(pruned)
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

/// The network namespace of a process.
pub(crate) fn namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    Ok(rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)?)
}
