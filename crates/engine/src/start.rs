//! Starting a container: one step a line, each undone by its guard's drop until all have succeeded.

mod config;
mod joined;
mod log;
mod sources;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_shim::client;
use hull_shim::protocol::{Answer, Config, Request};
use hull_sys::Context;
use jiff::Timestamp;

use crate::checkpoint::Saved;
use crate::containers::Entry;
use crate::engine::private_directory;
use crate::launch::NotStarted;
use crate::model::{Container, Exit, NetworkMode, NetworkSettings, Status};
use crate::name_server::Door;
use crate::networks::Connected;
use crate::pace::confine;
use crate::userns::{Namespaces, Remap};
use crate::{Engine, Error, Result, propagation, supervisor};

pub(crate) use log::{check as check_log, not_initialized};

/// A container whose init waits for the word.
struct Created {
    network: NetworkSettings,
    door: Option<Door>,
    pid: i32,
    shim: Shim,
}

/// A supervisor on its way; ended with its container unless kept.
struct Shim {
    dir: Option<PathBuf>,
    pid: i32,
}

impl Shim {
    fn keep(mut self) -> i32 {
        self.dir = None;
        self.pid
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            // What stays behind is swept at the next opening.
            let _ = supervisor::end(dir);
        }
    }
}

impl Engine {
    /// Starts it. `NotModified` if it runs.
    pub async fn start(self: &Arc<Self>, name: &str) -> Result<()> {
        self.start_from(name, None, "").await
    }

    /// Starts it where it was when it was saved, if a checkpoint is named; in another directory than its own are none.
    pub async fn start_from(
        self: &Arc<Self>,
        name: &str,
        checkpoint: Option<&str>,
        directory: &str,
    ) -> Result<()> {
        let entry = self.containers.find(name)?;
        let gate = entry.gate.lock().await;
        let container = entry.now();
        match container.state.status {
            // One that waits for its policy's next try counts as running, as in Docker.
            Status::Running | Status::Restarting => {
                return Err(Error::new(crate::Kind::NotModified, "container is already running"));
            }
            Status::Paused => {
                return Err(Error::conflict("cannot start a paused container, try unpause instead"));
            }
            Status::Removing | Status::Dead => {
                return Err(Error::conflict("container is marked for removal and cannot be started"));
            }
            Status::Created | Status::Exited => {}
        }
        if !directory.is_empty() {
            return Err(Error::new(crate::Kind::Forbidden, "custom checkpointdir is not supported"));
        }
        let saved = checkpoint.map(|checkpoint| self.saved(&container, checkpoint)).transpose()?;
        self.change(&entry, |container| {
            container.state.stopped_by_user = false;
            container.restart_count = 0;
        })?;
        entry.forget_back_off();
        let started = self.run_from(&entry, saved).await;
        drop(gate);
        if started.is_err() && container.host.auto_remove {
            // The failed start is what the user has to hear of.
            let _ = self.remove(&entry.id, true, true).await;
        }
        started
    }

    /// Starts a container whose gate the caller holds, and records how that went.
    pub(crate) async fn run(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<()> {
        self.run_from(entry, None).await
    }

    async fn run_from(self: &Arc<Self>, entry: &Arc<Entry>, saved: Option<Saved>) -> Result<()> {
        match self.launch(entry, saved).await {
            Ok(()) => {
                self.watch(entry);
                let container = entry.now();
                self.emit_mounts(&container, "mount");
                self.emit_networks(&container.network, entry, "connect");
                self.emit(&container, "start");
                self.renew_links_to(&container);
                self.watch_health(entry);
                self.prepare_sandbox();
                Ok(())
            }
            Err(NotStarted { error, code }) => {
                entry.close_door();
                self.change(entry, |container| {
                    container.state.error.clone_from(&error.message);
                    container.state.exit_code = code;
                    container.state.status =
                        if container.state.ever_started { Status::Exited } else { Status::Created };
                })?;
                let last = Exit { code, error: error.message.clone() };
                entry.progress.send_modify(|progress| progress.last = last);
                Err(error)
            }
        }
    }

    async fn launch(self: &Arc<Self>, entry: &Arc<Entry>, saved: Option<Saved>) -> Result<(), NotStarted> {
        let volumes = Volumes { engine: self, id: Some(&entry.id) };
        self.mount_volumes(entry).await?;
        let (engine, container) = (Arc::clone(self), entry.now());
        let Created { network, door, pid, shim } =
            tokio::task::spawn_blocking(move || engine.create_process(&container, saved.as_ref()))
                .await
                .map_err(Error::from)??;
        let connected = Release { engine: self, id: Some(&entry.id) };
        let dir = self.shim_dir(&entry.id);
        if let Some(door) = door {
            self.serve_names(&entry.now(), door)?;
        }
        entry.open_door(&dir).await?;
        let started_at = begin(&dir).await?;
        let shim_pid = shim.keep();
        connected.keep();
        volumes.keep();
        self.change(entry, |container| {
            let state = &mut container.state;
            (state.status, state.pid, state.shim_pid) = (Status::Running, pid, shim_pid);
            (state.exit_code, state.oom_killed) = (0, false);
            state.error.clear();
            state.started_at = Some(started_at);
            state.ever_started = true;
            state.probe_anew();
            container.network = network;
            container.network.sandbox_key = format!("/proc/{pid}/ns/net");
        })?;
        Ok(())
    }

    /// Everything up to the container's init, which then waits. Blocks.
    fn create_process(&self, container: &Container, saved: Option<&Saved>) -> Result<Created, NotStarted> {
        self.require_links(container)?;
        let namespaces = self.namespaces(container)?;
        let sandbox = namespaces.network.as_ref();
        confine(container, sandbox)?;
        sources::make(container, self.remap_of(&container.host).map(Remap::root))?;
        propagation::check(container, &self.options.data_root)?;
        self.write_own_files(container)?;
        self.hand_over_files(container)?;
        let connect = || self.connect(container, sandbox, saved);
        let spawn = || self.spawn_shim(container, &namespaces, saved);
        // What was bound to an address before is so again from its first moment on.
        let ((connected, door), (pid, shim)) = match saved.is_some() || needs_network_first(container) {
            true => (connect()?, spawn()?),
            false => {
                let (connected, spawned) = side_by_side(connect, spawn)?;
                (connected?, spawned?)
            }
        };
        Ok(Created { network: connected.keep(), door, pid, shim })
    }

    /// Connects it with its networks, tells /etc/hosts what came of that, and opens its name server.
    fn connect(
        &self,
        container: &Container,
        sandbox: Option<&OwnedFd>,
        saved: Option<&Saved>,
    ) -> Result<(Connected<'_>, Option<Door>)> {
        let connected = self.connect_networks(container, sandbox, saved)?;
        self.write_hosts(&Container { network: connected.settings.clone(), ..container.clone() })?;
        let door = self.open_door(container, sandbox)?;
        Ok((connected, door))
    }

    /// Starts the supervisor, which makes the container's init.
    fn spawn_shim(
        &self,
        container: &Container,
        namespaces: &Namespaces,
        saved: Option<&Saved>,
    ) -> Result<(i32, Shim), NotStarted> {
        let root = self.snapshots.mounts(&container.id).map_err(Error::from)?;
        let shared = self.volumes.devices.share(container)?;
        let config = Config {
            shared: shared.config(),
            checkpoint: saved.map(|saved| saved.directory.clone()),
            ..self.shim_config(container, root, namespaces.users.as_ref())?
        };
        let dir = fresh_directory(&self.shim_dir(&container.id))?;
        let network = namespaces.network.as_ref().map(AsFd::as_fd);
        match client::spawn(self.shim()?, &dir, config, network).map_err(Error::from)? {
            Answer::Created { pid, shim_pid } => {
                shared.keep();
                Ok((pid, Shim { dir: Some(dir), pid: shim_pid }))
            }
            answer => {
                // Nothing runs there any more.
                let _ = std::fs::remove_dir_all(&dir);
                Err(NotStarted::container(&answer))
            }
        }
    }
}

/// Ends a container's network connections unless kept.
struct Release<'a> {
    engine: &'a Engine,
    id: Option<&'a str>,
}

impl Release<'_> {
    fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // What stays behind is swept at the next opening.
            let _ = self.engine.networks.release(id);
        }
    }
}

/// Ends what volumes were mounted for a container unless kept.
struct Volumes<'a> {
    engine: &'a Arc<Engine>,
    id: Option<&'a str>,
}

impl Volumes<'_> {
    fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Volumes<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.engine.volumes.devices.release(id);
            let (engine, id) = (Arc::clone(self.engine), id.to_owned());
            tokio::spawn(async move { engine.unmount_volumes(&id).await });
        }
    }
}

/// Whether its init looks at the network before it has the word; true, too, where connecting takes no time.
fn needs_network_first(container: &Container) -> bool {
    let connects = matches!(NetworkMode::parse(&container.host.network_mode), NetworkMode::Network(_));
    !connects || container.host.sysctls.iter().flatten().any(|(name, _)| name.starts_with("net."))
}

/// Does both at the same time, the first on a thread of its own.
fn side_by_side<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let one = std::thread::Builder::new().spawn_scoped(scope, one).op("spawn thread")?;
        let other = other();
        let one = one.join().map_err(|_| Error::system("the thread that connects networks has failed"))?;
        Ok((one, other))
    })
}

/// Gives the container's init the word; returns when its program executes.
async fn begin(dir: &Path) -> Result<Timestamp, NotStarted> {
    match supervisor::ask(dir, &Request::Start).await? {
        (Answer::Started { started_at, .. }, _) => {
            Ok(started_at.parse().unwrap_or_else(|_| Timestamp::now()))
        }
        (answer, _) => Err(NotStarted::container(&answer)),
    }
}

/// An empty directory in the place of what a former run left.
fn fresh_directory(dir: &Path) -> Result<PathBuf> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        removed => removed.on("remove", dir)?,
    }
    private_directory(dir)?;
    Ok(dir.to_owned())
}
