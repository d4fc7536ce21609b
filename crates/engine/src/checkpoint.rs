//! Checkpoints: a container's processes and memory in files, from which it can be started.
//!
//! ```text
//! running ──create──► <checkpoints>/.NAME ──all is written──► <checkpoints>/NAME ──start──► running
//!                        └─ failed: removed                        └─ delete
//! ```
//!
//! The supervisor runs criu, and gives the directory its name when it is whole; so a daemon that ends meanwhile changes
//! nothing. The checkpoints of a container are in its directory, and go with it, unless another one is named. What is
//! left of one that was cut is hidden by its name, and is removed before the next one is made.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hull_cgroup::Cgroup;
use hull_shim::protocol::{self, Answer, Request};
use hull_sys::Context;
use serde::{Deserialize, Serialize};

use crate::containers::Entry;
use crate::engine::private_directory;
use crate::model::{CheckpointRequest, Container, Status};
use crate::{Engine, Error, Result, names, supervisor};

/// Time between the end of a container's processes and its record of it.
const ENDING: Duration = Duration::from_secs(10);

/// What a container had in a network when it was saved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) ipv4: Option<Ipv4Addr>,
    pub(crate) ipv6: Option<Ipv6Addr>,
}

/// A checkpoint to start from.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) directory: PathBuf,
    /// By the network's id.
    pub(crate) addresses: BTreeMap<String, Address>,
}

impl Engine {
    /// Saves a container that runs.
    ///
    /// # Errors
    /// It does not run, there is one of that name, or it cannot be saved: then it runs on.
    pub async fn checkpoint_create(self: &Arc<Self>, name: &str, request: CheckpointRequest) -> Result<()> {
        let entry = self.containers.find(name)?;
        let gate = entry.enter().await?;
        let container = entry.now();
        if !container.state.status.is_running() {
            return Err(Error::conflict(format!("Container {name} not running")));
        }
        check_name(&request.name)?;
        let place = place_of(&container, &request.directory)?;
        let directory = place.join(&request.name);
        is_free(&directory, &request.name, name)
            .and_then(|()| private_directory(&place))
            .map_err(|error| error.within(format!("cannot checkpoint container {name}")))?;
        sweep(&place);
        let mut ended = entry.next_exit();
        self.save(&entry, &container, directory, request.exit)
            .await
            .map_err(|error| error.within(format!("Cannot checkpoint container {name}")))?;
        self.emit(&container, "checkpoint");
        drop(gate);
        if request.exit {
            ended.within(Some(ENDING)).await;
        }
        Ok(())
    }

    /// Has the supervisor save it. The caller holds the gate.
    async fn save(&self, entry: &Arc<Entry>, container: &Container, to: PathBuf, exit: bool) -> Result<()> {
        let meant = container.state.stopped_by_user;
        if exit {
            // Whoever ends it so does not want it started anew by its restart policy.
            self.change(entry, |container| container.state.stopped_by_user = true)?;
        }
        let notes = serde_json::to_string(&addresses(container)).unwrap_or_default();
        let request = Request::Checkpoint(protocol::Checkpoint { directory: to, exit, notes });
        let saved = match supervisor::ask(&self.shim_dir(&entry.id), &request).await {
            Ok((Answer::Ok, _)) => Ok(()),
            // It has what cannot be saved.
            Ok((Answer::Failed(failure), _)) if failure.errno == 0 => Err(Error::conflict(failure.op)),
            Ok((Answer::NotRunning, _)) => Err(Error::conflict("it has just ended")),
            Ok((answer, _)) => Err(supervisor::unexpected(&answer)),
            Err(error) => Err(error),
        };
        if saved.is_err() && exit {
            self.change(entry, |container| container.state.stopped_by_user = meant)?;
        }
        if exit && container.state.status == Status::Paused {
            // The frozen die only when they are thawed, where cgroups are of version 1. If it fails, they are dead already.
            let _ = self.on_cgroup(container, Cgroup::thaw).await;
        }
        saved
    }

    /// The names of a container's checkpoints, in their order. `directory` is another than its own, or empty.
    pub fn checkpoints(&self, name: &str, directory: &str) -> Result<Vec<String>> {
        let container = self.container(name)?;
        let place = place_of(&container, directory)?;
        let listed = match fs::read_dir(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory.is_empty() => {
                return Ok(Vec::new());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_such("", name)),
            listed => listed.on("read", &place)?,
        };
        let directories = listed.flatten().filter(|file| file.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = directories.map(|file| file.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a checkpoint.
    pub async fn checkpoint_delete(&self, name: &str, checkpoint: &str, directory: &str) -> Result<()> {
        let entry = self.containers.find(name)?;
        let _gate = entry.enter().await?;
        check_name(checkpoint)?;
        let directory = find(&entry.now(), checkpoint, directory, name)?;
        let remove = move || {
            // Either there or not, for whoever looks meanwhile, also after a crash.
            let gone = protocol::unfinished(&directory);
            let _ = fs::remove_dir_all(&gone);
            fs::rename(&directory, &gone).on("rename", &directory)?;
            fs::remove_dir_all(&gone).on("remove", &gone)
        };
        Ok(tokio::task::spawn_blocking(remove).await??)
    }

    /// The checkpoint of that name of a container that is to be started.
    pub(crate) fn saved(&self, container: &Container, checkpoint: &str) -> Result<Saved> {
        check_name(checkpoint)?;
        let directory = find(container, checkpoint, "", &format!("/{}", container.name))?;
        let notes = fs::read(directory.join(protocol::NOTES)).unwrap_or_default();
        // One that somebody else has put there has none: then it gets new addresses.
        let addresses = serde_json::from_slice(&notes).unwrap_or_default();
        Ok(Saved { directory, addresses })
    }
}

/// What the container has in its networks, by their ids.
fn addresses(container: &Container) -> BTreeMap<String, Address> {
    let networks = container.network.networks.values().filter(|on| !on.endpoint_id.is_empty());
    let all = networks.map(|on| {
        let (ipv4, ipv6) = (on.ip_address.parse().ok(), on.global_ipv6_address.parse().ok());
        (on.network_id.clone(), Address { ipv4, ipv6 })
    });
    all.collect()
}

/// It becomes the name of a directory, and of nothing elsewhere.
fn check_name(name: &str) -> Result<()> {
    match names::is_allowed(name) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "Invalid checkpoint ID ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        ))),
    }
}

/// Where a container's checkpoints are.
fn place_of(container: &Container, directory: &str) -> Result<PathBuf> {
    match Path::new(directory) {
        _ if directory.is_empty() => Ok(container.directory.join("checkpoints")),
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => Err(Error::invalid(format!(
            "invalid checkpoint directory {directory:?}: it must be an absolute path"
        ))),
    }
}

/// The directory of a checkpoint that is there. `of` is the container as the words of the error have it.
fn find(container: &Container, checkpoint: &str, directory: &str, of: &str) -> Result<PathBuf> {
    let directory = place_of(container, directory)?.join(checkpoint);
    match directory.symlink_metadata() {
        Ok(there) if there.is_dir() => Ok(directory),
        Ok(_) => Err(no_directory(&directory)),
        Err(_) => Err(no_such(checkpoint, of)),
    }
}

fn is_free(directory: &Path, checkpoint: &str, of: &str) -> Result<()> {
    match directory.symlink_metadata() {
        Ok(there) if there.is_dir() => Err(Error::conflict(format!(
            "checkpoint with name {checkpoint} already exists for container {of}"
        ))),
        Ok(_) => Err(no_directory(directory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Ok(Err(error).on("stat", directory)?),
    }
}

fn no_such(checkpoint: &str, of: &str) -> Error {
    Error::conflict(format!("checkpoint {checkpoint} does not exist for container {of}"))
}

fn no_directory(path: &Path) -> Error {
    Error::conflict(format!("{} exists and is not a directory", path.display()))
}

/// Removes what was cut. It is in nobody's way if it cannot be.
fn sweep(place: &Path) {
    for file in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.strip_prefix('.').is_some_and(names::is_allowed) {
            let _ = fs::remove_dir_all(file.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    #[test]
    fn names_lead_nowhere_else() {
        for name in ["", ".", "..", "a", "../up", "a/b", "/etc", ".hidden", "a b", "é1", "a\0b"] {
            let error = check_name(name).unwrap_err();
            let text = format!("Invalid checkpoint ID ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
            assert_eq!((error.kind, error.message), (crate::Kind::Invalid, text));
        }
        assert_eq!(check_name("before-1.2_b"), Ok(()));
    }

    #[test]
    fn addresses_are_those_of_live_endpoints() {
        let mut container = fixture();
        let on = container.network.networks.entry("home".into()).or_default();
        on.network_id = "n1".into();
        on.ip_address = "10.0.0.7".into();
        assert!(addresses(&container).is_empty(), "it has none while it does not run");
        container.network.networks.entry("home".into()).or_default().endpoint_id = "e1".into();
        let found = addresses(&container);
        assert_eq!(found["n1"], Address { ipv4: "10.0.0.7".parse().ok(), ipv6: None });
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<BTreeMap<String, Address>>(&text).unwrap(), found);
    }
}
