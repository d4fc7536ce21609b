//! Changing what a container is called and what it may use.

use std::os::fd::AsFd;
use std::sync::Arc;

use crate::containers::Entry;
use crate::create::check;
use crate::model::{Container, ContainerUpdate, Resources, Status};
use crate::networks::namespace_of;
use crate::{Engine, Error, Result, machine, names, spec};

impl Engine {
    /// Gives it another name.
    pub async fn rename(&self, name: &str, new_name: &str) -> Result<()> {
        if name.is_empty() || new_name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let entry = self.containers.find(name)?;
        let not_allocated = |error: Error| error.within("Error when allocating new name");
        let spelled = format!("/{}", new_name.strip_prefix('/').unwrap_or(new_name));
        let new_name = names::check(&spelled).map_err(not_allocated)?;
        let _gate = entry.enter().await?;
        let old_name = entry.now().name.clone();
        if old_name == new_name {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        let reserved = self.containers.reserve(new_name, &entry.id).map_err(not_allocated)?;
        let container = self.change(&entry, |container| container.name = new_name.to_owned())?;
        reserved.keep();
        self.containers.release(&old_name);
        if container.state.status.is_running() {
            let (networks, id, name) = (Arc::clone(&self.networks), entry.id.clone(), new_name.to_owned());
            tokio::task::spawn_blocking(move || networks.rename(&id, &name)).await??;
        }
        self.emit_with(&container, "rename", [("oldName".to_owned(), format!("/{old_name}"))]);
        Ok(())
    }

    /// Changes its limits and restart policy; returns warnings.
    pub async fn update(self: &Arc<Self>, name: &str, mut update: ContainerUpdate) -> Result<Vec<String>> {
        let warnings = check::resources(&mut update.resources, &self.machine, true)?;
        let entry = self.containers.find(name)?;
        entry.unless_over(self.update_entry(&entry, update)).await?;
        Ok(warnings)
    }

    async fn update_entry(self: &Arc<Self>, entry: &Arc<Entry>, update: ContainerUpdate) -> Result<()> {
        let _gate = entry.enter().await?;
        let container = entry.now();
        if matches!(container.state.status, Status::Removing | Status::Dead) {
            return Err(Error::conflict(format!(
                "Cannot update container {}: container is marked for removal and cannot be \"update\"",
                container.id
            )));
        }
        let within = |error: Error| error.within(format!("Cannot update container {}", container.id));
        let has = &container.host.resources;
        check::update(&update, has, container.host.auto_remove).map_err(within)?;
        let mut changed = Container::clone(&container);
        merge(&mut changed.host.resources, &update.resources);
        // What is right alone may be wrong together with what stays.
        check::resources(&mut changed.host.resources.clone(), &self.machine, false).map_err(within)?;
        if container.state.status.is_running() {
            self.apply_limits(&changed).await.map_err(within)?;
        }
        let container = self.change(entry, |container| {
            container.host.resources = changed.host.resources;
            if let Some(policy) = update.restart_policy {
                container.host.restart_policy = policy;
            }
        })?;
        self.emit(&container, "update");
        Ok(())
    }

    /// Puts a running container's limits to work.
    async fn apply_limits(self: &Arc<Self>, container: &Container) -> Result<()> {
        let wanted = &container.host.resources;
        let mut resources = spec::resources_of(wanted, &machine::throttles(wanted)?, Vec::new())?;
        // No list at all leaves the devices as they are; an empty one would forbid them all.
        resources.set_devices(None);
        self.on_cgroup(container, move |cgroup| cgroup.apply(&resources)).await?;
        let (engine, container) = (Arc::clone(self), container.clone());
        tokio::task::spawn_blocking(move || {
            engine.pace(&container, namespace_of(container.state.pid)?.as_fd())
        })
        .await?
    }
}

/// Zero values leave the old ones.
fn merge(into: &mut Resources, update: &Resources) {
    let number = |into: &mut i64, update: i64| {
        if update != 0 {
            *into = update;
        }
    };
    if update.memory != 0 && update.memory_swap == 0 && into.memory_swap == 0 {
        // As for a new container.
        into.memory_swap = update.memory.saturating_mul(2);
    }
    number(&mut into.network_rate_in, update.network_rate_in);
    number(&mut into.network_rate_out, update.network_rate_out);
    number(&mut into.memory, update.memory);
    number(&mut into.memory_swap, update.memory_swap);
    number(&mut into.memory_reservation, update.memory_reservation);
    number(&mut into.cpu_shares, update.cpu_shares);
    number(&mut into.cpu_realtime_period, update.cpu_realtime_period);
    number(&mut into.cpu_realtime_runtime, update.cpu_realtime_runtime);
    number(&mut into.nano_cpus, update.nano_cpus);
    number(&mut into.cpu_period, update.cpu_period);
    number(&mut into.cpu_quota, update.cpu_quota);
    if update.blkio_weight != 0 {
        into.blkio_weight = update.blkio_weight;
    }
    if !update.cpuset_cpus.is_empty() {
        into.cpuset_cpus.clone_from(&update.cpuset_cpus);
    }
    if !update.cpuset_mems.is_empty() {
        into.cpuset_mems.clone_from(&update.cpuset_mems);
    }
    into.pids_limit = update.pids_limit.or(into.pids_limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let mut resources =
            Resources { memory: 64 << 20, memory_swap: 128 << 20, cpu_shares: 512, ..Resources::default() };
        merge(&mut resources, &Resources { memory: 32 << 20, ..Resources::default() });
        assert_eq!(
            (resources.memory, resources.memory_swap, resources.cpu_shares),
            (32 << 20, 128 << 20, 512)
        );
        let mut unlimited = Resources::default();
        merge(&mut unlimited, &Resources { memory: 32 << 20, ..Resources::default() });
        assert_eq!(unlimited.memory_swap, 64 << 20);
    }
}
