//! Networks of a container that is about to start, and of one that has ended.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use hull_network::Networks;

use super::endpoint::{check_endpoint, endpoint_request, fill_in};
use super::namespace_of;
use super::ports::{all_ports, published, wanted_ports};
use crate::checkpoint::Saved;
use crate::model::{Container, EndpointSettings, NetworkMode, NetworkSettings, NetworkingConfig, Status};
use crate::{Engine, Error, Result};

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
        if container.config.network_disabled {
            return Ok(BTreeMap::new());
        }
        let mode = match NetworkMode::parse(&container.host.network_mode) {
            NetworkMode::Container(_) => return Ok(BTreeMap::new()),
            mode => mode.to_string(),
        };
        let mut networks: BTreeMap<String, EndpointSettings> = BTreeMap::new();
        for (name, settings) in wanted.endpoints {
            let name = if name == "default" { mode.clone() } else { name };
            networks.insert(self.network_name(&name), settings);
        }
        // Who names networks and no mode is in those alone.
        let own = self.network_name(&mode);
        if networks.is_empty() || !hull_network::PREDEFINED.contains(&own.as_str()) {
            networks.entry(own.clone()).or_default();
        }
        if let Some(own) = networks.get_mut(&own).filter(|own| own.wanted_mac.is_empty()) {
            own.wanted_mac.clone_from(&container.config.mac_address);
        }
        for (name, settings) in &mut networks {
            // An unknown network is an error of the start, as in Docker: here it would read as a missing image.
            let network = self.networks.find(name).ok();
            check_endpoint(name, network.as_ref(), settings)
                .map_err(|error| error.within(format!("invalid config for network {name}")))?;
            settings.network_id = network.map(|network| network.id).unwrap_or_default();
            settings.mac_address.clone_from(&settings.wanted_mac);
        }
        Ok(networks)
    }

    /// The network namespace that a container is to run in; `None`: the host's.
    pub(crate) fn sandbox(&self, container: &Container) -> Result<Option<OwnedFd>> {
        match NetworkMode::parse(&container.host.network_mode) {
            NetworkMode::Host => Ok(None),
            NetworkMode::None | NetworkMode::Network(_) => Ok(Some(self.networks.sandbox()?.into_fd())),
            NetworkMode::Container(wanted) => {
                let other = self.container(&wanted).map_err(|error| {
                    // Not found would be the container that is to start.
                    Error::conflict(error.within("joining network namespace of container").message)
                })?;
                if other.id == container.id {
                    return Err(Error::invalid("cannot join own network namespace"));
                }
                match other.state.status {
                    Status::Running | Status::Paused => {}
                    Status::Restarting => {
                        return Err(Error::conflict(format!(
                            "cannot join network namespace of container: Container {wanted} is restarting, wait until \
                             the container is running"
                        )));
                    }
                    status => {
                        return Err(Error::conflict(format!(
                            "cannot join network namespace of a non running container: container {} is {}",
                            other.name,
                            status.name()
                        )));
                    }
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
        saved: Option<&Saved>,
    ) -> Result<Connected<'_>> {
        let mut connected = Connected {
            networks: &self.networks,
            container: Some(container.id.clone()),
            settings: container.network.clone(),
        };
        let settings = &mut connected.settings;
        settings.ports = published(&container.config.exposed_ports, &[]);
        let mode = NetworkMode::parse(&container.host.network_mode);
        // Who was made without a network may have left that for others.
        let alone = mode == NetworkMode::None && settings.networks.contains_key("none");
        let (Some(sandbox), NetworkMode::Network(_) | NetworkMode::None, false) = (sandbox, &mode, alone)
        else {
            // Host and none are networks, too, to whoever lists a container's.
            for endpoint in settings.networks.values_mut() {
                endpoint.endpoint_id = crate::identity::fresh()?;
            }
            return Ok(connected);
        };
        settings.sandbox_id = crate::identity::fresh()?;
        let first = self.network_name(&mode.to_string());
        let mut names: Vec<(String, i64)> =
            settings.networks.iter().map(|(name, on)| (name.clone(), on.gw_priority)).collect();
        // Without a default bridge (`--bridge=none`) who wants no other network has none.
        names.retain(|(name, _)| name != "bridge" || self.networks.find(name).is_ok());
        // The mode's is the first interface among equals.
        names.sort_by_key(|(name, priority)| (std::cmp::Reverse(*priority), *name != first));
        let ways_out = self.networks.ways_out(&names, container.host.forgoes_ipv6())?;
        let mut endpoints = Vec::new();
        for (name, _) in names {
            let wish = settings.networks.get(&name).cloned().unwrap_or_default();
            crate::links::check(wish.links.as_deref().unwrap_or_default())
                .map_err(|error| error.within("failed to set up container networking"))?;
            let mut request = endpoint_request(container, &name, &wish, wanted_ports(container)?)?;
            request.publishes = ways_out.each_ref().map(|way| way.as_ref() == Some(&name));
            request.links = self.reached_by_links(container, &name);
            if let Some(before) = saved.and_then(|saved| saved.addresses.get(&wish.network_id)) {
                request.before = (before.ipv4, before.ipv6);
            }
            let endpoint = self
                .networks
                .connect(sandbox.as_fd(), request)
                .map_err(|error| Error::from(error).within("failed to set up container networking"))?;
            settings.networks.insert(name, fill_in(wish, container, &endpoint));
            endpoints.push(endpoint);
        }
        settings.ports = published(&container.config.exposed_ports, &all_ports(endpoints));
        self.pace(container, sandbox.as_fd())?;
        Ok(connected)
    }

    /// Ends the connections of a container that does not run any more.
    pub(crate) async fn release_networks(&self, id: &str) -> Result<()> {
        let (networks, id) = (Arc::clone(&self.networks), id.to_owned());
        Ok(tokio::task::spawn_blocking(move || networks.release(&id)).await??)
    }
}
