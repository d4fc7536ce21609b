//! After an opening: the records and the machine are brought together again.
//!
//! What runs is watched again; what has ended meanwhile is recorded as if it had ended now; what a crash cut in
//! half is undone or finished: removals go on, starts are taken back, files that no record names are swept.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hull_network::Driver;
use hull_shim::protocol::{self, Answer, Request, Status as ShimStatus};

use crate::containers::Entry;
use crate::model::{RestartCondition, Status};
use crate::networks::namespace_of;
use crate::{Engine, Error, Result, supervisor};

/// What became of a container while nobody looked.
enum Found {
    Running(protocol::State),
    Ended,
}

impl Engine {
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<()> {
        let entries = self.containers.all();
        let mut lookups = Vec::new();
        for entry in entries.iter().filter(|entry| entry.now().state.status.is_running()) {
            let (engine, entry) = (Arc::clone(self), Arc::clone(entry));
            // All at once: each waits for its supervisor's answer only.
            lookups.push(tokio::spawn(async move {
                let found = engine.find_supervisor(&entry).await;
                (entry, found)
            }));
        }
        let (mut live, mut ended) = (HashSet::new(), Vec::new());
        for lookup in lookups {
            match lookup.await? {
                (entry, Found::Running(state)) => {
                    live.insert(entry.id.clone());
                    self.take_over(&entry, &state)?;
                }
                (entry, Found::Ended) => ended.push(entry),
            }
        }
        self.unmount_strays(&live);
        self.reconcile_networks(&live).await?;
        self.restore_names().await;
        self.check_interfaces().await;
        for entry in ended {
            let exit = self.record_or_loss(&entry).await;
            self.exited(&entry, exit).await;
        }
        self.sweep(&live).await?;
        if !self.options.live_restore {
            self.stop_all().await;
            self.ending.store(false, Ordering::Relaxed);
        }
        self.finish_halves(&entries).await;
        self.start_by_policy(&entries);
        Ok(())
    }

    async fn find_supervisor(&self, entry: &Entry) -> Found {
        match supervisor::ask(&self.shim_dir(&entry.id), &Request::State).await {
            Ok((Answer::State(state), _)) if state.status != ShimStatus::Created => Found::Running(state),
            _ => Found::Ended,
        }
    }

    /// A container runs on: clients may attach, its end is waited for.
    fn take_over(self: &Arc<Self>, entry: &Arc<Entry>, state: &protocol::State) -> Result<()> {
        let now = entry.now();
        let pid = if state.pid > 0 { state.pid } else { now.state.pid };
        // Most are as they were: a thousand records need not be written.
        if (now.state.shim_pid, now.state.pid) != (state.shim_pid, pid) {
            self.change(entry, |container| {
                (container.state.shim_pid, container.state.pid) = (state.shim_pid, pid);
            })?;
        }
        self.volumes.devices.adopt(&entry.id, state);
        *entry.door.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = crate::attach::Door::Open;
        self.exec_take_over(entry, &state.execs);
        self.watch(entry);
        self.watch_health(entry);
        Ok(())
    }

    async fn reconcile_networks(self: &Arc<Self>, live: &HashSet<String>) -> Result<()> {
        let (networks, ids) = (Arc::clone(&self.networks), live.clone());
        let reconciled = tokio::task::spawn_blocking(move || networks.reconcile(&ids)).await??;
        let (engine, live) = (Arc::clone(self), live.clone());
        let withdraw =
            move || live.iter().try_for_each(|id| engine.withdraw_unrecorded(&*engine.containers.find(id)?));
        tokio::task::spawn_blocking(withdraw).await??;
        for port in reconciled.lost_ports {
            let (first, last) = (port.host_port, port.last_host_port());
            let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
            tracing::warn!("host port {ports} was taken by another program meanwhile");
        }
        Ok(())
    }

    /// Asks the plugins of CNI whether what they made for running containers is still so.
    async fn check_interfaces(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        let checked = tokio::task::spawn_blocking(move || {
            let networks = engine.networks.list()?;
            for network in networks.iter().filter(|network| network.driver == Driver::Cni) {
                for endpoint in &network.endpoints {
                    let namespace = namespace_of(engine.container(&endpoint.container)?.state.pid)?;
                    let checked = engine.networks.check(&endpoint.container, namespace.as_fd());
                    log_failure("check the interfaces of a container", checked);
                }
            }
            Ok::<_, Error>(())
        });
        log_failure("check interfaces", checked.await.unwrap_or_else(|error| Err(error.into())));
    }

    /// Removes what no record names: supervisors of starts that were cut, directories, snapshots.
    async fn sweep(self: &Arc<Self>, live: &HashSet<String>) -> Result<()> {
        let (engine, live) = (Arc::clone(self), live.clone());
        tokio::task::spawn_blocking(move || {
            for id in names_in(&engine.options.exec_root.join("shim")) {
                if !live.contains(&id) {
                    let removed = supervisor::end(&engine.shim_dir(&id));
                    log_failure("remove a stray supervisor's directory", removed);
                }
            }
            let known = |id: &str| engine.containers.find(id).is_ok_and(|entry| entry.id == id);
            let containers = engine.options.data_root.join("containers");
            for id in names_in(&containers).into_iter().filter(|id| !known(id)) {
                log_failure("remove a stray directory", std::fs::remove_dir_all(containers.join(&id)));
            }
            let owner = |key: &str| known(key.split('-').next().unwrap_or(key));
            for key in engine.snapshots.snapshots().into_iter().filter(|key| !owner(key)) {
                log_failure("remove a stray snapshot", engine.snapshots.remove(&key));
            }
        })
        .await?;
        Ok(())
    }

    /// Goes on with what was cut: removals, and waits for the next try of a restart policy.
    async fn finish_halves(self: &Arc<Self>, entries: &[Arc<Entry>]) {
        // One that ended while nobody looked may be gone by now.
        for entry in entries.iter().filter(|entry| !entry.progress.borrow().removed) {
            match entry.now().state.status {
                Status::Removing | Status::Dead => {
                    let _gate = entry.gate.lock().await;
                    log_failure("finish a removal", self.erase(entry, false).await);
                }
                Status::Restarting => self.restart_later(entry, Duration::ZERO),
                Status::Exited if entry.now().host.auto_remove => {
                    log_failure("finish a removal", self.remove(&entry.id, false, true).await);
                }
                _ => {}
            }
        }
    }

    /// Starts what is to run whenever the engine does.
    fn start_by_policy(self: &Arc<Self>, entries: &[Arc<Entry>]) {
        for entry in entries {
            let container = entry.now();
            let is_wanted = match container.host.restart_policy.condition {
                RestartCondition::Always => true,
                RestartCondition::UnlessStopped => !container.state.stopped_by_user,
                RestartCondition::No | RestartCondition::OnFailure => false,
            };
            if !is_wanted || container.state.status != Status::Exited || !container.state.ever_started {
                continue;
            }
            let (engine, entry) = (Arc::clone(self), Arc::clone(entry));
            tokio::spawn(async move {
                let _gate = entry.gate.lock().await;
                if entry.now().state.status == Status::Exited {
                    log_failure("start by its restart policy", engine.run(&entry).await);
                }
            });
        }
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What fails here is tried again at the next opening.
fn log_failure<E: std::fmt::Display>(what: &str, result: std::result::Result<(), E>) {
    if let Err(error) = result {
        tracing::warn!("{what}: {error}");
    }
}
