//! A further process in the container, and its client.
//!
//! ```text
//! Running ──the process ends──► Ended ──its output ends, or nobody of ours can write it──► (removed)
//! ```
//!
//! It is a child of the supervisor. Its client may leave; the process stays, and its output is read and dropped.

use std::os::fd::AsFd;
use std::time::Instant;

use hull_runtime::{Failure, Running, Stdio};
use hull_shim::protocol::Exec;
use hull_sys::signal;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::clock::Stamp;
use crate::container::Container;
use crate::copy::{Streams, Wish};
use crate::creation::{failure, hand_over, with_oom_score};
use crate::exit::{LINGER, outcome};
use crate::foreign::Extra;

/// An exec session.
pub(crate) struct Session {
    /// What requests call it.
    pub(crate) name: String,
    pub(crate) pid: i32,
    pub(crate) started_at: String,
    pub(crate) streams: Streams,
    running: Running,
    end: Option<End>,
}

struct End {
    code: i32,
    give_up: Instant,
}

/// Runs the process. Returns when its program is executing.
pub(crate) fn begin(container: &Container, exec: Exec) -> Result<Session, Failure> {
    let wish = Wish { terminal: exec.terminal, stdin: exec.stdin };
    let (stdio, mut streams) = Streams::new(wish).map_err(failure)?;
    hand_over(&stdio, container.root).map_err(failure)?;
    let name = exec.id.clone();
    let mut running = run(container, exec, stdio)?;
    streams.attach(running.terminal.take()).map_err(failure)?;
    let started_at = Stamp::now().to_string();
    Ok(Session { name, pid: running.pid, started_at, streams, running, end: None })
}

fn run(container: &Container, exec: Exec, stdio: Stdio) -> Result<Running, Failure> {
    let process = with_oom_score(exec.process);
    let (user, groups) = (exec.user, exec.extra_groups);
    match &container.foreign {
        Some(foreign) => foreign.exec(container.pid, Extra { name: exec.id, process, user, groups }, stdio),
        None => hull_runtime::exec(hull_runtime::Exec {
            user,
            extra_groups: groups,
            stdio,
            seccomp: exec.seccomp,
            cgroup: Some(container.cgroup.clone()),
            ..hull_runtime::Exec::new(container.pid, process)
        }),
    }
}

impl Session {
    pub(crate) fn kill(&self, number: i32) -> hull_sys::Result<()> {
        signal::send(self.running.pidfd.as_fd(), number)
    }

    /// Notes the end of the process. Output is waited for until `give_up`.
    pub(crate) fn ended(&mut self, code: i32, give_up: Instant) {
        self.end = Some(End { code, give_up });
    }

    /// Waits for the process if it has ended, in a moment when the supervisor itself does not.
    pub(crate) fn reap(&mut self) {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.end.is_none()) else { return };
        if let Ok(Some((_, status))) = waitpid(Some(pid), WaitOptions::NOHANG) {
            self.ended(outcome(status).0, Instant::now() + LINGER);
        }
    }

    /// When to stop waiting for the end of the output; `None` while the process runs.
    pub(crate) fn give_up(&self) -> Option<Instant> {
        self.end.as_ref().map(|end| end.give_up)
    }

    /// The exit code, when nothing more will come.
    pub(crate) fn finished(&self, now: Instant) -> Option<i32> {
        let end = self.end.as_ref()?;
        (self.streams.ended() || now >= end.give_up).then_some(end.code)
    }
}
