//! The flags that `create` and `run` share, and the request that they make: a file for each group of them.

mod health;
mod host;
mod limits;
mod network;
mod process;
mod resources;
#[cfg(test)]
mod tests;

use hull_api::wire::container::{ContainerConfig, ContainerCreateRequest};
use hull_api::wire::host::HostConfig;
use hull_api::wire::network::NetworkingConfig;

use health::HealthFlags;
use host::HostFlags;
pub(crate) use limits::LimitFlags;
use network::NetworkFlags;
pub(crate) use process::Attaching;
use process::ProcessFlags;
use resources::ResourceFlags;

/// How a container is made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ContainerFlags {
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    host: HostFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    health: HealthFlags,
}

impl ContainerFlags {
    /// The file for the container's id; "" is none.
    pub(crate) fn cidfile(&self) -> &str {
        &self.host.cidfile
    }

    /// Whether the container is removed when it ends.
    pub(crate) fn removes_itself(&self) -> bool {
        self.host.rm
    }

    /// What is attached: what was asked for, else everything (of input only with `-i`).
    pub(crate) fn attaching(&self) -> Attaching {
        self.process.attaching()
    }

    /// Whether streams were asked for one by one.
    pub(crate) fn attach_is_given(&self) -> bool {
        !self.process.attach.is_empty()
    }

    /// The request for an image and its command.
    pub(crate) fn request(&self, image: &str, command: &[String]) -> Result<ContainerCreateRequest, String> {
        let mut config = ContainerConfig { image: image.to_owned(), ..ContainerConfig::default() };
        let mut host_config = HostConfig::default();
        self.host.apply(&mut config, &mut host_config)?;
        self.process.apply(command, &mut config, &mut host_config)?;
        self.network.apply(&mut config, &mut host_config)?;
        self.resources.apply(&mut host_config);
        config.healthcheck = self.health.healthcheck()?;
        let networking_config = NetworkingConfig { endpoints_config: self.network.endpoints()? };
        Ok(ContainerCreateRequest { config, host_config, networking_config })
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
