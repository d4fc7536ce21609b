//! Other containers whose namespaces one joins.

use std::sync::Arc;

use crate::model::Container;
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// The process whose pid namespace a container joins.
    pub(super) fn joined_pid(&self, container: &Container) -> Result<Option<i32>> {
        let Some(other) = container.host.pid_mode.strip_prefix("container:") else { return Ok(None) };
        let within = |error: Error| match error.within("failed to join PID namespace") {
            // Docker's clients know this one, and no other of its kind, as a failure of the daemon.
            Error { kind: Kind::Conflict, message } => Error::system(message),
            error => error,
        };
        let other = self.donor(other).map_err(within)?;
        Ok(Some(other.state.pid))
    }

    /// The process whose IPC namespace a container joins.
    pub(super) fn joined_ipc(&self, container: &Container) -> Result<Option<i32>> {
        let Some(other) = container.host.ipc_mode.strip_prefix("container:") else { return Ok(None) };
        let within = |error: Error| error.within("failed to join IPC namespace");
        let other = self.donor(other).map_err(within)?;
        if matches!(other.host.ipc_mode.as_str(), "" | "private" | "none") {
            return Err(within(Error::invalid(format!(
                "container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                other.id
            ))));
        }
        Ok(Some(other.state.pid))
    }

    /// Another container, which must run.
    fn donor(&self, other: &str) -> Result<Arc<Container>> {
        let other = self.container(other).map_err(|error| Error::invalid(error.message))?;
        match other.state.status.is_running() {
            true => Ok(other),
            false => Err(Error::conflict(format!("container {} is not running", other.id))),
        }
    }
}
