//! Which containers have a name server, and what it has to know.
//!
//! One has it from the first network with names on (every one but the default bridge), and keeps it as long as it
//! runs. The sockets are in the container's namespace; see `hull_network`'s module `dns` for the rest.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use hull_network::{Egress, Listeners, NameSettings};

use crate::hosts::host_resolv_conf;
use crate::model::{Container, NetworkMode};
use crate::networks::namespace_of;
use crate::{Engine, Result, links, resolv_conf};

/// The sockets of a name server that nobody serves yet.
pub(crate) struct Door {
    namespace: OwnedFd,
    listeners: Listeners,
}

/// Whether a container asks the engine for names.
pub(crate) fn has_name_server(container: &Container) -> bool {
    let own = matches!(NetworkMode::parse(&container.host.network_mode), NetworkMode::Network(_));
    let named = |name: &String| !hull_network::PREDEFINED.contains(&name.as_str());
    own && container.network.networks.keys().any(named)
}

impl Door {
    fn open(namespace: OwnedFd) -> Result<Self> {
        Ok(Self { listeners: Listeners::open(namespace.as_fd())?, namespace })
    }
}

/// Whether a container's files send its questions to a name server: one that has left its last network with names goes on
/// asking, since its files stay as they are.
fn asks_for_names(container: &Container) -> bool {
    let own = matches!(NetworkMode::parse(&container.host.network_mode), NetworkMode::Network(_));
    let server = format!("nameserver {}", hull_network::NAME_SERVER);
    let says = |text: String| text.lines().any(|line| line.trim() == server);
    own && std::fs::read_to_string(&container.resolv_conf_path).is_ok_and(says)
}

impl Engine {
    /// Makes the sockets for a container that is to have them. Blocks for some tenths of a millisecond.
    pub(crate) fn open_door(&self, container: &Container, sandbox: Option<&OwnedFd>) -> Result<Option<Door>> {
        let Some(sandbox) = sandbox.filter(|_| has_name_server(container)) else { return Ok(None) };
        let namespace = sandbox.try_clone().map_err(|error| crate::Error::system(error.to_string()))?;
        Door::open(namespace).map(Some)
    }

    /// Begins to answer, and has the container's supervisor keep the sockets: questions wait in them while there is
    /// no daemon.
    pub(crate) fn serve_names(&self, container: &Container, door: Door) -> Result<()> {
        let (dir, descriptors) = (self.shim_dir(&container.id), door.listeners.descriptors()?);
        tokio::task::spawn_blocking(move || {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            if let Err(error) = hull_shim::client::hold(&dir, &descriptors) {
                // The next daemon makes others.
                tracing::debug!("keep the sockets of a name server: {error}");
            }
        });
        let settings = self.name_settings(container);
        Ok(self.networks.serve_names(&container.id, door.namespace, door.listeners, settings)?)
    }

    /// The sockets that the supervisor has kept, or others in their place.
    fn reopen_door(&self, container: &Container) -> Result<Door> {
        let namespace = namespace_of(container.state.pid)?;
        let held = hull_shim::client::held(&self.shim_dir(&container.id)).unwrap_or_default();
        match Listeners::from_descriptors(held) {
            Some(listeners) => Ok(Door { namespace, listeners }),
            None => Door::open(namespace),
        }
    }

    /// After a change of a running container's networks: its name server follows, or comes with the first network
    /// that has names.
    pub(crate) async fn renew_names(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        if self.networks.configure_names(&container.id, self.name_settings(container))
            || !has_name_server(container)
        {
            return Ok(());
        }
        self.come_by_names(container).await?;
        match is_untouched(container) {
            true => self.write_resolv_conf(container),
            false => Ok(()),
        }
    }

    /// Serves names to containers that run already: after an opening.
    pub(crate) async fn restore_names(self: &Arc<Self>) {
        for container in self.containers() {
            if container.state.status.is_running()
                && (has_name_server(&container) || asks_for_names(&container))
                && let Err(error) = self.come_by_names(&container).await
            {
                tracing::warn!(container = container.id, "serve names: {error}");
            }
        }
    }

    async fn come_by_names(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        tokio::task::spawn_blocking(move || {
            let door = engine.reopen_door(&container)?;
            engine.serve_names(&container, door)
        })
        .await?
    }

    fn name_settings(&self, container: &Container) -> NameSettings {
        let daemon = self.daemon_resolv_conf();
        let (mut servers, ndots, alone) = resolv_conf::beyond(container, &daemon, &host_resolv_conf());
        if servers.is_empty() && !alone {
            // Nobody has chosen others than the networks know.
            servers = self.networks.name_servers(&container.id).unwrap_or_default();
        }
        let hosts = self.options.host_gateways.clone();
        // It was read when the container was made.
        let egress = Egress::parse(container.host.egress.as_deref().unwrap_or_default()).ok().flatten();
        NameSettings { servers, links: links::aliases(container), ndots, egress, hosts, alone }
    }
}

/// Whether a container's /etc/resolv.conf is as it was when the container started.
fn is_untouched(container: &Container) -> bool {
    let changed = std::fs::metadata(&container.resolv_conf_path).and_then(|file| file.modified());
    let changed = changed.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
    matches!((changed, container.state.started_at), (Some(changed), Some(started)) if changed <= started)
}
