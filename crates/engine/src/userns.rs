//! Users of containers that are nobody on the host: `userns-remap`.
//!
//! Every container has a user namespace of its own with the daemon's maps, unless it asks for the host's. Its layers and
//! volumes are idmapped mounts: on the disk they have the ids of inside, and are shared with containers of other maps or of
//! none. Its network namespace belongs to its user namespace, so both are made together, before the container.

use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use hull_network::Sandbox;
use hull_oci::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use hull_shim::client::{self, Owner};
use hull_sys::Context;

use crate::model::{Container, HostConfig, NetworkMode};
use crate::{Engine, Error, Result};

/// Consecutive ids: the first inside, the first on the host, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Inside.
    pub inside: u32,
    /// On the host.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// The maps of containers' users and groups. Id 0 is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remap {
    /// Of users.
    pub users: Vec<Range>,
    /// Of groups.
    pub groups: Vec<Range>,
}

impl Remap {
    /// User and group that a container's root is on the host.
    pub fn root(&self) -> (u32, u32) {
        let root = |ranges: &[Range]| {
            ranges.iter().find(|range| range.inside == 0).map_or(u32::MAX, |range| range.outside)
        };
        (root(&self.users), root(&self.groups))
    }
}

/// The namespaces of a container that is about to start.
#[derive(Default)]
pub(crate) struct Namespaces {
    /// The network to join; `None`: the host's.
    pub(crate) network: Option<OwnedFd>,
    /// The users to join; `None`: the host's.
    pub(crate) users: Option<OwnedFd>,
}

/// What a specification says of a container's users.
pub(crate) struct Users<'a> {
    /// The namespace to join.
    pub(crate) path: PathBuf,
    remap: &'a Remap,
}

impl Users<'_> {
    /// The last of the groups that follow each other from 0.
    pub(crate) fn last_group(&self) -> u32 {
        self.remap.groups.iter().find(|range| range.inside == 0).map_or(0, |range| range.size - 1)
    }

    /// The maps of users and of groups.
    pub(crate) fn mappings(&self) -> (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>) {
        (mappings(&self.remap.users), mappings(&self.remap.groups))
    }
}

impl Engine {
    /// The maps of a container; none if it has the host's users.
    pub(crate) fn remap_of(&self, host: &HostConfig) -> Option<&Remap> {
        self.options.remap.as_ref().filter(|_| host.userns_mode != "host")
    }

    /// Refuses what a container with users of its own cannot have, in Docker's words.
    pub(crate) fn check_users(&self, host: &HostConfig) -> Result<()> {
        if self.remap_of(host).is_none() {
            return Ok(());
        }
        if host.privileged {
            return Err(Error::invalid(
                "privileged mode is incompatible with user namespaces.  You must run the container in the host \
                 namespace when running privileged mode",
            ));
        }
        if NetworkMode::parse(&host.network_mode) == NetworkMode::Host {
            return Err(Error::invalid(
                "cannot share the host's network namespace when user namespaces are enabled",
            ));
        }
        if host.pid_mode == "host" {
            return Err(Error::invalid(
                "cannot share the host PID namespace when user namespaces are enabled",
            ));
        }
        if self.foreign_runtime(&host.runtime)?.is_some() {
            return Err(Error::invalid(format!(
                "runtime {} cannot be used with userns-remap (hint: --userns=host)",
                host.runtime
            )));
        }
        Ok(())
    }

    /// Makes or finds the network namespace that a container is to have, and its user namespace.
    pub(crate) fn namespaces(&self, container: &Container) -> Result<Namespaces> {
        let Some(remap) = self.remap_of(&container.host) else {
            return Ok(Namespaces { network: self.sandbox(container)?, users: None });
        };
        let other = self.shares_with(container)?;
        if matches!(NetworkMode::parse(&container.host.network_mode), NetworkMode::Container(_)) {
            let users = other.map(open_users).transpose()?;
            return Ok(Namespaces { network: self.sandbox(container)?, users });
        }
        let (users, groups) = (text(&remap.users), text(&remap.groups));
        let owner = other.map_or(Owner::New(&users, &groups), Owner::Of);
        let (users, network) = client::namespaces(self.shim()?, &owner)?;
        Ok(Namespaces { network: Some(Sandbox::of(network)?.into_fd()), users: Some(users) })
    }

    /// The process of a container whose namespaces this one joins: those belong to its user namespace, which has to be
    /// joined with them.
    fn shares_with(&self, container: &Container) -> Result<Option<i32>> {
        let host = &container.host;
        for mode in [&host.network_mode, &host.pid_mode, &host.ipc_mode] {
            if let Some(other) = mode.strip_prefix("container:") {
                let other = self.container(other)?;
                return Ok(
                    (self.remap_of(&other.host).is_some() && other.state.pid > 0).then_some(other.state.pid)
                );
            }
        }
        Ok(None)
    }

    /// What the specification is to say. The descriptor must be held until the container is there.
    pub(crate) fn users_of(&self, container: &Container, users: Option<&OwnedFd>) -> Option<Users<'_>> {
        let remap = self.remap_of(&container.host)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), users?.as_raw_fd()).into();
        Some(Users { path, remap })
    }

    /// Gives the files that the engine writes for a container to its root.
    pub(crate) fn hand_over_files(&self, container: &Container) -> Result<()> {
        let Some((user, group)) = self.remap_of(&container.host).map(Remap::root) else { return Ok(()) };
        for path in [&container.resolv_conf_path, &container.hostname_path, &container.hosts_path] {
            std::os::unix::fs::chown(path, Some(user), Some(group)).on("chown", path)?;
        }
        Ok(())
    }
}

fn open_users(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    Ok(std::fs::File::open(&path).on("open", &path)?.into())
}

/// Lines as the kernel takes them.
fn text(ranges: &[Range]) -> String {
    ranges.iter().fold(String::new(), |mut text, Range { inside, outside, size }| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{inside} {outside} {size}");
        text
    })
}

fn mappings(ranges: &[Range]) -> Vec<LinuxIdMapping> {
    let mapping = |range: &Range| {
        let builder = LinuxIdMappingBuilder::default().container_id(range.inside);
        builder.host_id(range.outside).size(range.size).build().ok()
    };
    ranges.iter().filter_map(mapping).collect()
}
