//! Freezing containers and thawing them.

use std::time::Duration;

use hull_cgroup::Cgroup;

use crate::model::{Container, Status, WaitCondition};
use crate::{Engine, Error, Result};

/// Time between a container's end and its record of it.
const ENDING: Duration = Duration::from_secs(2);

impl Engine {
    /// Freezes it.
    pub async fn pause(&self, name: &str) -> Result<()> {
        let entry = self.containers.find(name)?;
        let _gate = entry.enter().await?;
        let container = entry.now();
        match container.state.status {
            Status::Running => {}
            Status::Paused => {
                return Err(Error::conflict(format!("Container {} is already paused", container.id)));
            }
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    container.id
                )));
            }
            _ => return Err(Error::conflict(format!("container {} is not running", container.id))),
        }
        self.on_cgroup(&container, Cgroup::freeze).await?;
        let container = self.change(&entry, |container| {
            container.state.status = Status::Paused;
            container.state.nobody_probes();
        })?;
        self.emit(&container, "pause");
        Ok(())
    }

    /// Freezes it, if it does not end at this very moment: whether it is frozen.
    pub(crate) async fn pause_unless_ended(&self, name: &str) -> Result<bool> {
        let Err(why) = self.pause(name).await else { return Ok(true) };
        let ended = self.wait(name, WaitCondition::NotRunning)?.wait();
        match tokio::time::timeout(ENDING, ended).await {
            Ok(_) => Ok(false),
            Err(_) => Err(why),
        }
    }

    /// Thaws it.
    pub async fn unpause(&self, name: &str) -> Result<()> {
        let entry = self.containers.find(name)?;
        let _gate = entry.enter().await?;
        let container = entry.now();
        if container.state.status != Status::Paused {
            return Err(Error::conflict(format!("Container {} is not paused", container.id)));
        }
        self.on_cgroup(&container, Cgroup::thaw).await?;
        let container = self.change(&entry, |container| container.state.status = Status::Running)?;
        self.emit(&container, "unpause");
        Ok(())
    }

    /// Does something with a container's cgroup that may block.
    pub(crate) async fn on_cgroup<T: Send + 'static>(
        &self,
        container: &Container,
        act: impl FnOnce(&Cgroup) -> hull_cgroup::Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = container.cgroup_path(&self.options.cgroup_parent);
        match tokio::task::spawn_blocking(move || act(&Cgroup::open(&path)?)).await? {
            // It has just ended, and its record does not say so yet.
            Err(hull_cgroup::Error::NotFound(_)) => {
                Err(Error::conflict(format!("container {} is not running", container.id)))
            }
            done => Ok(done?),
        }
    }
}
