//! Watching a running container: one task each, which waits for the supervisor's word and then moves the container
//! to its next state: exited, restarting, or gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hull_cgroup::Cgroup;
use hull_shim::client;
use hull_shim::protocol::{Answer, Exit, Request};
use jiff::Timestamp;

use crate::containers::Entry;
use crate::model::{self, Container, RestartCondition, Status};
use crate::{Engine, Result, supervisor};

/// Pause before the first restart; it doubles with every further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// Who ran so long is taken for well: its pauses begin anew.
const WELL_AFTER: Duration = Duration::from_secs(10);
/// The exit code of a container whose supervisor was lost with it.
const LOST: i32 = 255;

impl Engine {
    /// Watches a container that runs.
    pub(crate) fn watch(self: &Arc<Self>, entry: &Arc<Entry>) {
        let (engine, entry) = (Arc::clone(self), Arc::clone(entry));
        tokio::spawn(async move {
            let exit = engine.await_exit(&entry).await;
            engine.exited(&entry, exit).await;
        });
    }

    async fn await_exit(&self, entry: &Entry) -> Exit {
        let dir = self.shim_dir(&entry.id);
        let Ok((mut answer, mut connection)) = supervisor::ask(&dir, &Request::Wait).await else {
            return self.record_or_loss(entry).await;
        };
        loop {
            match answer {
                Answer::Exited(exit) => return exit,
                Answer::Oom => self.out_of_memory(entry),
                _ => return self.record_or_loss(entry).await,
            }
            answer = match connection.answer().await {
                Ok(next) => next,
                // The supervisor is dead. It may have written how its container ended before.
                Err(_) => return self.record_or_loss(entry).await,
            };
        }
    }

    /// The kernel has killed, or is about to kill, a process of a container that runs.
    fn out_of_memory(&self, entry: &Entry) {
        match self.change(entry, |container| container.state.oom_killed = true) {
            Ok(container) => self.emit(&container, "oom"),
            Err(error) => tracing::error!(container = entry.id, "record that it has no memory left: {error}"),
        }
    }

    /// How a container without a supervisor ended: as it wrote, or not known. What still runs of it is killed: its
    /// output goes nowhere.
    pub(crate) async fn record_or_loss(&self, entry: &Entry) -> Exit {
        let dir = self.shim_dir(&entry.id);
        let cgroup = entry.now().cgroup_path(&self.options.cgroup_parent);
        let found = tokio::task::spawn_blocking(move || {
            let record = client::exit_record(&dir).ok().flatten();
            if let Ok(cgroup) = Cgroup::open(&cgroup) {
                // A cgroup that resists is removed with the container.
                let _ = cgroup.kill();
                let _ = cgroup.remove();
            }
            record
        });
        found.await.ok().flatten().unwrap_or_else(|| Exit {
            code: LOST,
            signal: None,
            at: Timestamp::now().to_string(),
            oom: false,
            started_at: None,
            log_dropped: 0,
        })
    }

    /// A container has ended.
    pub(crate) async fn exited(self: &Arc<Self>, entry: &Arc<Entry>, exit: Exit) {
        let gate = entry.gate.lock().await;
        let before = entry.now();
        if !before.state.status.is_running() {
            return;
        }
        if exit.log_dropped > 0 {
            let (container, dropped) = (before.short_id(), exit.log_dropped);
            tracing::warn!("container {container}: {dropped} bytes of output were not logged");
        }
        self.tidy_up(entry, &before).await;
        let finished = exit.at.parse().unwrap_or_else(|_| Timestamp::now());
        let restarts = !self.ending.load(Ordering::Relaxed) && should_restart(&before, exit.code);
        let changed = self.change(entry, |container| {
            let state = &mut container.state;
            state.status = if restarts { Status::Restarting } else { Status::Exited };
            (state.pid, state.shim_pid) = (0, 0);
            (state.exit_code, state.oom_killed) = (exit.code, exit.oom);
            state.finished_at = Some(finished);
            state.nobody_probes();
            container.restart_count += u32::from(restarts);
            container.network.clear();
            // Those that run leave by themselves, and the others are forgotten.
            container.exec_ids.clear();
        });
        if let Err(error) = changed {
            tracing::error!(container = entry.id, "record the exit: {error}");
        }
        self.tell_exit(entry, &before, &exit, finished);
        drop(gate);
        if restarts {
            self.restart_later(entry, ran_for(&before, finished));
        } else if before.host.auto_remove
            && let Err(error) = self.remove(&entry.id, true, true).await
        {
            tracing::error!(container = entry.id, "remove after the exit: {error}");
        }
    }

    /// Gives back what only a running container has.
    async fn tidy_up(&self, entry: &Entry, container: &Container) {
        entry.close_door();
        self.execs.forget_unstarted(&entry.id);
        if let Err(error) = self.release_networks(&entry.id).await {
            tracing::error!(container = entry.id, "release its networks: {error}");
        }
        self.volumes.devices.release(&entry.id);
        self.unmount_volumes(&entry.id).await;
        self.discard_shim_dir(container);
    }

    /// Takes the directory of a supervisor that is gone out of the way of the next one.
    fn discard_shim_dir(&self, container: &Container) {
        let dir = self.shim_dir(&container.id);
        let gone = dir.with_extension(container.state.shim_pid.to_string());
        if std::fs::rename(&dir, &gone).is_ok() {
            self.reaper.push(gone);
        }
        // Left behind, it is swept at the next start of the container or of the engine.
    }

    fn tell_exit(&self, entry: &Entry, container: &Container, exit: &Exit, finished: Timestamp) {
        // Told when it happened, unless nobody listened then.
        if exit.oom && !container.state.oom_killed {
            self.emit(container, "oom");
        }
        let duration = ran_for(container, finished).as_secs().to_string();
        let facts = [("exitCode".to_owned(), exit.code.to_string()), ("execDuration".to_owned(), duration)];
        // As in Docker, who has ended has left its networks before.
        self.emit_networks(&container.network, entry, "disconnect");
        self.emit_mounts(container, "unmount");
        self.emit_with(container, "die", facts);
        entry.progress.send_modify(|progress| {
            progress.exits += 1;
            progress.last = model::Exit { code: exit.code, error: String::new() };
        });
    }

    /// Starts a container again after a pause, unless somebody has changed its state by then.
    pub(crate) fn restart_later(self: &Arc<Self>, entry: &Arc<Entry>, ran_for: Duration) {
        let pause = {
            let mut back_off = entry.back_off.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *back_off = match *back_off {
                _ if ran_for >= WELL_AFTER => FIRST_BACK_OFF,
                Duration::ZERO => FIRST_BACK_OFF,
                last => (last * 2).min(LONGEST_BACK_OFF),
            };
            *back_off
        };
        let (engine, entry) = (Arc::clone(self), Arc::clone(entry));
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _gate = entry.gate.lock().await;
            if entry.now().state.status != Status::Restarting || engine.ending.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = engine.restart_now(&entry).await {
                tracing::error!(container = entry.id, "restart: {error}");
            }
        });
    }

    async fn restart_now(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<()> {
        let started = self.run(entry).await;
        if let Err(error) = &started {
            // Who waits for the end of a restarting container has it now.
            let code = entry.now().state.exit_code;
            entry.progress.send_modify(|progress| {
                progress.exits += 1;
                progress.last = model::Exit { code, error: error.message.clone() };
            });
        }
        started
    }
}

/// Whether the policy wants another run after one that ended with `code`.
pub(crate) fn should_restart(container: &Container, code: i32) -> bool {
    let policy = container.host.restart_policy;
    if container.state.stopped_by_user {
        return false;
    }
    match policy.condition {
        RestartCondition::No => false,
        RestartCondition::Always | RestartCondition::UnlessStopped => true,
        RestartCondition::OnFailure => {
            let left = policy.maximum_retries == 0 || container.restart_count < policy.maximum_retries;
            code != 0 && left
        }
    }
}

fn ran_for(container: &Container, finished: Timestamp) -> Duration {
    let started = container.state.started_at.unwrap_or(finished);
    finished.duration_since(started).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RestartPolicy, fixture};

    fn restarts(condition: RestartCondition, code: i32, change: impl FnOnce(&mut Container)) -> bool {
        let mut container = fixture();
        container.host.restart_policy = RestartPolicy { condition, maximum_retries: 0 };
        change(&mut container);
        should_restart(&container, code)
    }

    #[test]
    fn policies() {
        use RestartCondition::*;
        assert!(!restarts(No, 1, |_| {}));
        assert!(restarts(Always, 0, |_| {}));
        assert!(restarts(OnFailure, 1, |_| {}));
        assert!(!restarts(OnFailure, 0, |_| {}));
        assert!(!restarts(Always, 1, |container| container.state.stopped_by_user = true));
        assert!(!restarts(OnFailure, 1, |container| {
            container.host.restart_policy.maximum_retries = 3;
            container.restart_count = 3;
        }));
    }
}
