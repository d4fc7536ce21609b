//! Ending containers: stop, kill, restart.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hull_cgroup::Cgroup;
use hull_oci::Signal;
use hull_shim::protocol::{self, Answer, Request};
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::containers::{Entry, NextExit};
use crate::error::Kind;
use crate::model::{Container, Status};
use crate::{Engine, Error, Result, supervisor};

/// Seconds between the stop signal and SIGKILL, if nobody says otherwise.
const TIMEOUT: i64 = 10;
/// How long a program that has begun is given to listen to signals, and how often that is looked at.
const LISTENS_WITHIN: Duration = Duration::from_millis(300);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How long a killed container may take to end.
pub(crate) const AFTER_KILL: Duration = Duration::from_secs(10);

/// What a stop or a kill finds of a container.
enum ToBeEnded {
    /// It does not run.
    Nothing,
    /// It waited for its restart policy's next try, and does not any more.
    Waiting,
    /// It runs; its next exit.
    Running(NextExit),
}

impl Engine {
    /// Asks it to end, and kills it after `timeout` seconds (`None`: its own; negative: never).
    pub async fn stop(
        self: &Arc<Self>,
        name: &str,
        timeout: Option<i64>,
        signal: Option<Signal>,
    ) -> Result<()> {
        let entry = self.containers.find(name)?;
        match self.to_be_ended(&entry).await? {
            ToBeEnded::Nothing => return Err(Error::new(Kind::NotModified, "container is already stopped")),
            ToBeEnded::Waiting => return Ok(()),
            ToBeEnded::Running(_) => {}
        }
        self.change(&entry, |container| container.state.stopped_by_user = true)?;
        self.end(&entry, timeout, signal).await?;
        // Its exit may have been judged before anybody said that this is the end.
        if !self.cancel_restart(&entry).await? {
            self.emit(&entry.now(), "stop");
        }
        Ok(())
    }

    /// Ends all containers, for a daemon that does not leave them running: each as its own stop signal and time-out say.
    /// None is started again by its policy; that is for the next daemon.
    pub async fn stop_all(self: &Arc<Self>) {
        self.ending.store(true, Ordering::Relaxed);
        let mut ends = JoinSet::new();
        for entry in self.containers.all() {
            if entry.now().state.status.is_running() {
                let engine = Arc::clone(self);
                ends.spawn(async move {
                    match engine.end(&entry, None, None).await {
                        Ok(()) => engine.emit(&entry.now(), "stop"),
                        Err(error) => tracing::error!(container = entry.id, "stop with the daemon: {error}"),
                    }
                });
            }
        }
        ends.join_all().await;
    }

    /// Sends the stop signal, waits, kills, waits.
    async fn end(&self, entry: &Arc<Entry>, timeout: Option<i64>, signal: Option<Signal>) -> Result<()> {
        let container = entry.now();
        let mut exit = entry.next_exit();
        if !entry.now().state.status.is_running() {
            return Ok(());
        }
        let timeout = timeout.or(container.config.stop_timeout).unwrap_or(TIMEOUT);
        let signal = signal.unwrap_or_else(|| stop_signal(&container));
        // Who gives it no time to end does not mean the program.
        if timeout != 0 {
            let_it_listen(&container, signal).await;
        }
        self.deliver(entry, signal).await?;
        let patience = u64::try_from(timeout).ok().map(Duration::from_secs);
        if exit.within(patience).await {
            return Ok(());
        }
        self.deliver(entry, Signal::KILL).await?;
        if exit.within(Some(AFTER_KILL)).await {
            return Ok(());
        }
        Err(Error::system(format!(
            "cannot stop container: {}: tried to kill container, but did not receive an exit event",
            container.id
        )))
    }

    /// Sends a signal to its init (`None`: SIGKILL).
    pub async fn kill(self: &Arc<Self>, name: &str, signal: Option<Signal>) -> Result<()> {
        let entry = self.containers.find(name)?;
        let mut exit = match self.to_be_ended(&entry).await? {
            ToBeEnded::Nothing => {
                return Err(Error::conflict(format!("container {} is not running", entry.id)));
            }
            ToBeEnded::Waiting => return Ok(()),
            ToBeEnded::Running(exit) => exit,
        };
        let container = entry.now();
        let signal = signal.unwrap_or(Signal::KILL);
        let is_final = signal == Signal::KILL || signal == stop_signal(&container);
        if is_final {
            self.change(&entry, |container| container.state.stopped_by_user = true)?;
        }
        let_it_listen(&container, signal).await;
        // One that has ended by itself in this moment got what it was to get.
        self.deliver(&entry, signal).await?;
        if signal == Signal::KILL {
            // Docker answers when the container is gone.
            if !exit.within(Some(AFTER_KILL)).await {
                return Err(Error::system("tried to kill container, but did not receive an exit event"));
            }
            // Its exit may have been judged before the kill.
            self.cancel_restart(&entry).await?;
        }
        Ok(())
    }

    /// Sends a signal, and thaws a frozen container so that it can be delivered; false if nothing runs any more.
    async fn deliver(&self, entry: &Entry, signal: Signal) -> Result<bool> {
        let container = entry.now();
        let kill = Request::Kill(protocol::Kill { signal: signal.number(), exec: None, all: false });
        let delivered = match supervisor::ask(&self.shim_dir(&entry.id), &kill).await {
            Ok((Answer::Ok, _)) => true,
            Ok((Answer::NotRunning, _)) => false,
            Ok((answer, _)) => return Err(supervisor::unexpected(&answer)),
            // A supervisor that is gone has no container.
            Err(_) => false,
        };
        if delivered {
            let number = [("signal".to_owned(), signal.number().to_string())];
            self.emit_with(&container, "kill", number);
        }
        if container.state.status == Status::Paused {
            self.thaw_to_end(entry).await?;
        }
        Ok(delivered)
    }

    /// Thaws a container for a signal. Told first: it may end before anybody could say that it is thawed.
    async fn thaw_to_end(&self, entry: &Entry) -> Result<()> {
        let turn = |from: Status, to: Status| {
            let mut turned = false;
            let container = self.change(entry, |container| {
                turned = container.state.status == from;
                if turned {
                    container.state.status = to;
                }
            })?;
            Ok::<_, Error>((container, turned))
        };
        let (container, thaws) = turn(Status::Paused, Status::Running)?;
        if thaws {
            self.emit(&container, "unpause");
        }
        let cgroup = container.cgroup_path(&self.options.cgroup_parent);
        match tokio::task::spawn_blocking(move || Cgroup::open(&cgroup)?.thaw()).await? {
            // It has ended, and needs no thawing.
            Ok(()) | Err(hull_cgroup::Error::NotFound(_)) => Ok(()),
            Err(why) => {
                turn(Status::Running, Status::Paused)?;
                Err(why.into())
            }
        }
    }

    /// What there is to be ended. The waiting for the restart policy's next try has ended with that.
    async fn to_be_ended(&self, entry: &Arc<Entry>) -> Result<ToBeEnded> {
        loop {
            // Before its state is looked at: an exit in between is told.
            let exit = entry.next_exit();
            match entry.now().state.status {
                Status::Restarting if self.cancel_restart(entry).await? => return Ok(ToBeEnded::Waiting),
                // The try was faster: it runs, or has ended once more.
                Status::Restarting => {}
                status if status.is_running() => return Ok(ToBeEnded::Running(exit)),
                _ => return Ok(ToBeEnded::Nothing),
            }
        }
    }

    /// Ends the waiting for the restart policy's next try; false if there was none.
    async fn cancel_restart(&self, entry: &Arc<Entry>) -> Result<bool> {
        if entry.now().state.status != Status::Restarting {
            return Ok(false);
        }
        let _gate = entry.enter().await?;
        if entry.now().state.status != Status::Restarting {
            return Ok(false);
        }
        self.end_restarting(entry)?;
        Ok(true)
    }

    /// The same for a caller that holds the gate, and knows that there is one.
    pub(crate) fn end_restarting(&self, entry: &Arc<Entry>) -> Result<()> {
        let container = self.change(entry, |container| {
            container.state.status = Status::Exited;
            container.state.stopped_by_user = true;
            container.state.finished_at.get_or_insert_with(Timestamp::now);
        })?;
        entry.progress.send_modify(|progress| progress.exits += 1);
        self.emit(&container, "stop");
        Ok(())
    }

    /// Stops and starts it.
    pub async fn restart(
        self: &Arc<Self>,
        name: &str,
        timeout: Option<i64>,
        signal: Option<Signal>,
    ) -> Result<()> {
        let entry = self.containers.find(name)?;
        let container = entry.now();
        match self.stop_for_restart(&entry, timeout, signal).await {
            Err(error) if error.kind != Kind::NotModified => {
                return Err(error.within(format!("Cannot restart container {name}")));
            }
            _ => {}
        }
        let gate = entry.enter().await?;
        let started = self.start_again(&entry).await;
        drop(gate);
        if let Err(error) = started {
            if container.host.auto_remove {
                // The failed start is what the user has to hear of.
                let _ = self.remove(&entry.id, true, true).await;
            }
            return Err(error.within(format!("Cannot restart container {name}")));
        }
        self.emit(&container, "restart");
        Ok(())
    }

    /// Starts one that was stopped to be started again, unless somebody else has done so; the caller holds its gate.
    async fn start_again(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<()> {
        match entry.now().state.status {
            Status::Running | Status::Paused => return Ok(()),
            Status::Removing | Status::Dead => {
                return Err(Error::conflict("container is marked for removal and cannot be started"));
            }
            Status::Created | Status::Exited | Status::Restarting => {}
        }
        self.change(entry, |container| {
            container.state.stopped_by_user = false;
            container.restart_count = 0;
        })?;
        entry.forget_back_off();
        self.run(entry).await
    }

    /// A container that is removed after its exit must survive being restarted.
    async fn stop_for_restart(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        timeout: Option<i64>,
        signal: Option<Signal>,
    ) -> Result<()> {
        let auto_remove = entry.now().host.auto_remove;
        entry.change_in_memory(|container| container.host.auto_remove = false);
        let stopped = self.stop(&entry.id, timeout, signal).await;
        entry.change_in_memory(|container| container.host.auto_remove = auto_remove);
        stopped
    }
}

/// What a process 1 does not listen to, the kernel drops; and a program that has begun in this moment does not listen
/// yet. Who starts a container and stops it at once means the program, so it gets a moment.
async fn let_it_listen(container: &Container, signal: Signal) {
    let own_pids = matches!(container.host.pid_mode.as_str(), "" | "private");
    let state = &container.state;
    if signal == Signal::KILL || !own_pids || state.status != Status::Running {
        return;
    }
    let age = || state.started_at.and_then(|at| Timestamp::now().duration_since(at).try_into().ok());
    while age().is_some_and(|age: Duration| age < LISTENS_WITHIN) && !listens(state.pid, signal) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether a process catches, ignores or holds back a signal (proc_pid_status(5)); also if it is gone.
fn listens(pid: i32, signal: Signal) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let sets = status.lines().filter_map(|line| {
        let (name, bits) = line.split_once(':')?;
        matches!(name, "SigCgt" | "SigIgn" | "SigBlk").then(|| u64::from_str_radix(bits.trim(), 16).ok())?
    });
    let all = sets.fold(0, |all, set| all | set);
    all >> (signal.number() - 1) & 1 == 1
}

/// The signal that asks a container to end.
fn stop_signal(container: &Container) -> Signal {
    match container.config.stop_signal.as_str() {
        "" => Signal::TERM,
        text => Signal::parse(text).unwrap_or(Signal::TERM),
    }
}
