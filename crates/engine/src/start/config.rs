//! What the supervisor is told: the specification, and what no specification says.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_oci::runtime::Spec;
use hull_shim::protocol::{Config, Rootfs, Terminal};
use hull_sys::Context;

use super::log;
use crate::engine::private_directory;
use crate::model::Container;
use crate::spec::{self, Facts, SecurityOptions};
use crate::{Engine, Error, Result, machine};

impl Engine {
    /// What the supervisor is told.
    pub(super) fn shim_config(
        &self,
        container: &Container,
        root: hull_snapshot::Mounts,
        users: Option<&OwnedFd>,
    ) -> Result<Config> {
        let config = &container.config;
        let security = SecurityOptions::parse(container.host.security_opt.as_deref().unwrap_or_default())?;
        let capabilities = spec::capabilities_of(&container.host, &self.machine.capabilities)?;
        let [rows, cols] = container.host.console_size;
        let cgroup = container.cgroup_path(&self.options.cgroup_parent);
        let mut facts = self.facts(container, &cgroup)?;
        facts.devices = machine::devices(&container.host.resources, container.host.privileged)?;
        facts.throttles = machine::throttles(&container.host.resources)?;
        facts.pid_of = self.joined_pid(container)?;
        facts.ipc_of = self.joined_ipc(container)?;
        facts.users = self.users_of(container, users);
        let sources = self.sources(container, facts.ipc_of)?;
        let mut spec = spec::of(container, &facts)?;
        let mut extra_groups = container.host.group_add.clone().unwrap_or_default();
        let requests = container.host.resources.device_requests.as_deref().unwrap_or_default();
        self.give_devices(requests, container.host.privileged, &mut spec, &mut extra_groups)?;
        let runtime = self.foreign_runtime(&container.host.runtime)?;
        let privileged = container.host.privileged;
        let seccomp = match (&runtime, spec.linux().clone()) {
            // It compiles what the specification says.
            (Some(_), Some(mut linux)) => {
                linux.set_seccomp(self.filters.policy(&security, privileged, &capabilities)?);
                spec.set_linux(Some(linux));
                None
            }
            _ => self.filters.of(&security, privileged, &capabilities)?,
        };
        let bundle = match spec.hooks() {
            Some(_) if runtime.is_none() => bundle(&container.directory, &mut spec)?,
            // A program makes its own.
            _ => PathBuf::new(),
        };
        Ok(Config {
            id: container.id.clone(),
            bundle,
            spec,
            rootfs: Rootfs::Overlay {
                lower: root.lower,
                upper: root.upper,
                work: root.work,
                // It does not outlive the machine's next start: that finds it ended, and removes it.
                volatile: container.host.auto_remove,
                mapped: users.is_some(),
            },
            // Nobody by name is root, with the groups that the image gives root.
            user: Some(config.user.clone()),
            extra_groups,
            terminal: config.tty.then_some(Terminal { rows, cols }),
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            seccomp,
            runtime,
            netns_fd: None,
            sources,
            log: log::of(container, &self.options.tls)?,
            shared: Vec::new(),
            checkpoint: None,
            cgroup,
        })
    }

    /// What a specification needs to know, without devices and other containers.
    pub(crate) fn facts<'a>(&'a self, container: &Container, cgroup: &'a str) -> Result<Facts<'a>> {
        let init = container.host.resources.init.unwrap_or(self.options.init_by_default);
        // Process 1 of other processes' namespace is theirs already.
        let init = init && matches!(container.host.pid_mode.as_str(), "" | "private");
        Ok(Facts {
            capabilities: &self.machine.capabilities,
            apparmor: self.machine.apparmor,
            cgroup_v2: self.machine.cgroup_v2,
            cgroup,
            ulimits: &self.options.default_ulimits,
            no_new_privileges: self.options.no_new_privileges,
            shm_size: self.options.default_shm_size,
            devices: spec::Devices::default(),
            throttles: spec::Throttles::default(),
            pid_of: None,
            ipc_of: None,
            users: None,
            init: init.then(|| self.options.init.as_deref().unwrap_or(&self.options.shim)),
            processors: self.machine.processors,
            link_variables: self.link_variables(container),
        })
    }
}

/// A directory as hooks know it: the specification, and the place where they find the root.
fn bundle(directory: &Path, spec: &mut Spec) -> Result<PathBuf> {
    let bundle = directory.join("bundle");
    let root = bundle.join("rootfs");
    private_directory(&root)?;
    if let Some(place) = spec.root_mut() {
        place.set_path(root);
    }
    let text = serde_json::to_vec(spec)
        .map_err(|error| Error::system(format!("write the specification for hooks: {error}")))?;
    let path = bundle.join("config.json");
    std::fs::write(&path, text).on("write", &path)?;
    Ok(bundle)
}
