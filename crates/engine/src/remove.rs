//! Removing containers.

use std::sync::Arc;

use hull_oci::Signal;

use crate::containers::Entry;
use crate::model::{Container, MountKind, Pruned, Status};
use crate::stop::AFTER_KILL;
use crate::{Engine, Error, Result};

impl Engine {
    /// Removes it; with `force` a running one is killed; with `volumes` its anonymous volumes go too.
    pub async fn remove(self: &Arc<Self>, name: &str, force: bool, volumes: bool) -> Result<()> {
        let entry = self.containers.find(name)?;
        loop {
            if entry.now().state.status == Status::Removing && entry.gate.try_lock().is_err() {
                return Err(Error::conflict(format!("removal of container {name} is already in progress")));
            }
            if force {
                self.kill_for_removal(&entry).await?;
            }
            let _gate = entry.gate.lock().await;
            match entry.now().state.status {
                // Its restart policy was faster than the kill.
                Status::Restarting if force => self.end_restarting(&entry)?,
                Status::Running | Status::Paused if force => continue,
                _ => refuse_removal(name, &entry)?,
            }
            return self.erase(&entry, volumes).await;
        }
    }

    async fn kill_for_removal(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<()> {
        let status = entry.now().state.status;
        if !status.is_running() && status != Status::Restarting {
            return Ok(());
        }
        // The removal is ours; the exit must not remove it under us.
        entry.change_in_memory(|container| container.host.auto_remove = false);
        let mut exit = entry.next_exit();
        let Err(error) = self.kill(&entry.id, Some(Signal::KILL)).await else { return Ok(()) };
        // It ended by itself meanwhile; if its record does not say so yet, it will in a moment.
        let over = !entry.now().state.status.is_running() || exit.within(Some(AFTER_KILL)).await;
        if over { Ok(()) } else { Err(error) }
    }

    /// Takes away all there is of a container whose gate the caller holds: intent first, record last.
    pub(crate) async fn erase(self: &Arc<Self>, entry: &Arc<Entry>, volumes: bool) -> Result<()> {
        let container = self.change(entry, |container| {
            container.state.status = Status::Removing;
            // A removal that was cut goes on as it was meant.
            container.state.takes_volumes |= volumes;
        })?;
        if let Err(error) = self.erase_files(&container).await {
            self.change(entry, |container| container.state.status = Status::Dead)?;
            return Err(error.within(format!("cannot remove container \"/{}\"", container.name)));
        }
        entry.close_door();
        if container.state.takes_volumes {
            self.remove_anonymous_volumes(&entry.id, &anonymous_volumes(&container)).await?;
        }
        entry.delete(&self.store)?;
        self.reaper.push(container.directory.clone());
        self.containers.remove(&entry.id);
        self.execs.forget(&entry.id);
        // Last: whoever waits for the removal finds nothing left of it.
        self.emit(&container, "destroy");
        entry.progress.send_modify(|progress| progress.removed = true);
        Ok(())
    }

    /// Takes the writable layer away. Deleting what was in it is nothing that anybody waits for.
    async fn erase_files(&self, container: &Container) -> Result<()> {
        let snapshots = Arc::clone(&self.snapshots);
        let images = container.image_mounts().map(|(key, _)| key);
        let keys: Vec<_> = images.chain([container.id.clone()]).collect();
        tokio::task::spawn_blocking(move || {
            keys.iter().try_for_each(|key| match snapshots.remove(key) {
                Err(hull_snapshot::Error::NotFound(_)) => Ok(()),
                removed => Ok(removed?),
            })
        })
        .await?
    }

    /// Removes the containers that do not run and that `select` wants.
    pub async fn containers_prune(
        self: &Arc<Self>,
        select: impl Fn(&Container) -> bool + Send,
    ) -> Result<Pruned> {
        let idle = |container: &Container| {
            matches!(container.state.status, Status::Created | Status::Exited | Status::Dead)
        };
        let mut pruned = Pruned::default();
        for container in self.containers() {
            if !idle(&container) || !select(&container) {
                continue;
            }
            let (size, _) = self.container_size(&container.id).await.unwrap_or_default();
            match self.remove(&container.id, false, false).await {
                Ok(()) => {
                    pruned.space_reclaimed += size;
                    pruned.removed.push(container.id.clone());
                }
                // Somebody was faster, or started it.
                Err(error) if matches!(error.kind, crate::Kind::NotFound | crate::Kind::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        let attributes = [("reclaimed".to_owned(), pruned.space_reclaimed.to_string())];
        self.events.emit(crate::EventKind::Container, "prune", "", attributes.into());
        Ok(pruned)
    }
}

fn refuse_removal(name: &str, entry: &Entry) -> Result<()> {
    let refused =
        |why: &str| Err(Error::conflict(format!("cannot remove container \"{name}\": container is {why}")));
    match entry.now().state.status {
        Status::Paused => refused("paused and must be unpaused first"),
        status @ (Status::Running | Status::Restarting) => {
            refused(&format!("{}: stop the container before removing or force remove", status.name()))
        }
        _ if entry.progress.borrow().removed => Err(Error::not_found(format!("No such container: {name}"))),
        _ => Ok(()),
    }
}

fn anonymous_volumes(container: &Container) -> Vec<String> {
    let anonymous =
        container.mounts.iter().filter(|mount| mount.kind == MountKind::Volume && mount.anonymous);
    anonymous.map(|mount| mount.name.clone()).collect()
}
