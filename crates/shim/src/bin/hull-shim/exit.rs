//! The ends of processes, and what follows from them.

use std::time::{Duration, Instant};

use hull_cgroup::OomWatch;
use hull_runtime::Failure;
use hull_shim::protocol::{self, Answer, Exit, Stream};
use rustix::process::{WaitOptions, WaitStatus};

use crate::clock::Stamp;
use crate::log::Log;
use crate::request::{exec_exited, exit_code};
use crate::session::{Key, Phase, Session, Target};
use crate::supervisor::Supervisor;

/// How long the output of a process that has ended is read, if something else still holds its other end: a
/// process in the background of an exec session, or one that got the descriptor over a socket.
pub(crate) const LINGER: Duration = Duration::from_millis(200);

impl Supervisor {
    /// Takes the signals and the ends of all children: init, exec sessions, and orphans that became ours.
    pub(crate) fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.take() {}
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.ended(pid.as_raw_nonzero().get(), status);
        }
    }

    fn ended(&mut self, pid: i32, status: WaitStatus) {
        let (code, signal) = outcome(status);
        if pid == self.container.pid && self.container.pidfd().is_some() {
            self.container_ended(code, signal);
        } else if let Some(exec) = self.execs.values_mut().find(|exec| exec.pid == pid) {
            exec.ended(code, Instant::now() + LINGER);
        }
    }

    fn container_ended(&mut self, code: i32, signal: Option<i32>) {
        // It comes before its consequence.
        self.tell_oom();
        self.container.oom = None;
        let started_at = self.container.started_at.clone();
        let at = Stamp::now().to_string();
        let exit = Exit { code, signal, at, oom: false, started_at, log_dropped: 0 };
        self.container.ended(exit, Instant::now() + LINGER);
        if let Some(cgroup) = self.container.remains()
            && cgroup.pids().is_ok_and(|left| !left.is_empty())
        {
            // Without a pid namespace of its own, a container's other processes outlive init. If this fails,
            // removing the cgroup will, and the daemon finds it.
            let _ = cgroup.kill();
        }
    }

    /// Tells those who wait for the end that the container has run out of memory, if it has.
    pub(crate) fn tell_oom(&mut self) {
        let times = self.container.oom.as_mut().map_or(0, OomWatch::take);
        for session in self.sessions.values_mut().filter(|session| matches!(session.phase, Phase::Waiting)) {
            (0..times).for_each(|_| session.answer(&Answer::Oom));
        }
    }

    /// The program could not be executed; the runtime has removed everything already.
    pub(crate) fn never_started(&mut self, failure: &Failure) {
        let (code, at) = (exit_code(failure), Stamp::now().to_string());
        let exit = Exit { code, signal: None, at, oom: false, started_at: None, log_dropped: 0 };
        self.container.ended(exit, Instant::now() + LINGER);
    }

    /// Does what follows from the states as they are now.
    pub(crate) fn settle(&mut self) {
        let now = Instant::now();
        self.read_last_words();
        self.end_execs(now);
        self.end_outputs();
        let over = self.container.streams.ended() || self.container.give_up().is_some_and(|end| now >= end);
        if self.container.give_up().is_some() && over && self.execs.is_empty() {
            self.drain();
        }
        self.sessions.retain(|_, session| !session.finished());
    }

    /// Reads what processes that have ended left in their pipes; there is no one left to wait for a slow client.
    fn read_last_words(&mut self) {
        let ended = |exec: &(&Key, &crate::exec::Session)| exec.1.give_up().is_some();
        let execs = self.execs.iter().filter(ended).map(|(key, _)| Target::Exec(*key));
        let container = self.container.give_up().map(|_| Target::Container);
        let targets: Vec<Target> = execs.chain(container).collect();
        for target in targets {
            for index in 0..2 {
                while self.pump(target, index) {}
            }
        }
    }

    /// Tells the clients of exec sessions that nothing more comes how they ended.
    fn end_execs(&mut self, now: Instant) {
        let finished = |(key, exec): (&Key, &crate::exec::Session)| Some((*key, exec.finished(now)?));
        let ended: Vec<(Key, i32)> = self.execs.iter().filter_map(finished).collect();
        for (key, code) in ended {
            let Some(exec) = self.execs.remove(&key) else { continue };
            let mut heard = false;
            for (other, session) in &mut self.sessions {
                match session.phase {
                    Phase::WaitingFor(began) if began == key => session.dismiss(&exec_exited(code)),
                    Phase::Streaming(..) if *other == key => {
                        session.frame(Stream::Exit, &code.to_be_bytes());
                        session.phase = Phase::Closing;
                    }
                    _ => continue,
                }
                heard = true;
            }
            if !heard {
                // For a daemon that comes back; when it cannot be written, the code is lost, and nothing else.
                let _ = std::fs::write(protocol::exec_exit(&exec.name), code.to_string());
            }
        }
    }

    /// A container that has closed its output, but runs on: its clients see the end.
    fn end_outputs(&mut self) {
        if self.container.streams.ended() {
            let attached =
                |session: &&mut Session| matches!(session.phase, Phase::Streaming(Target::Container, _));
            self.sessions.values_mut().filter(attached).for_each(Session::end_output);
        }
    }

    /// The container has ended and all of its output is read: makes everything that others rely on true, then
    /// says so.
    fn drain(&mut self) {
        for index in 0..self.container.streams.outputs.len() {
            self.container.streams.outputs[index].give_up();
            self.pump(Target::Container, index);
        }
        self.container.streams.input = None;
        self.complete_record();
        let Some(exit) = self.container.drained().cloned() else { return };
        publish(&exit);
        self.accept();
        self.listener = None;
        for session in self.sessions.values_mut() {
            match session.phase {
                Phase::Waiting => session.dismiss(&Answer::Exited(exit.clone())),
                // One that has connected, but not asked yet, finds the record in the file.
                Phase::Asking | Phase::WaitingFor(_) | Phase::Streaming(..) => session.phase = Phase::Closing,
                Phase::Closing => {}
            }
        }
    }

    /// Removes the cgroup; what it and the log have to tell goes into the record.
    fn complete_record(&mut self) {
        let oom = self.container.remains().is_some_and(|cgroup| cgroup.oom_kills() > 0);
        if let Some(cgroup) = self.container.remains() {
            // What cannot be removed now, the daemon finds by its path.
            let _ = cgroup.remove();
        }
        let log_dropped = self.container.log.as_ref().map_or(0, |log| log.dropped());
        self.log_until = self.container.log.as_mut().and_then(Log::close);
        if let Some(exit) = self.container.exit_mut() {
            (exit.oom, exit.log_dropped) = (oom, log_dropped);
        }
    }
}

/// The exit code as Docker has it, and the signal.
pub(crate) fn outcome(status: WaitStatus) -> (i32, Option<i32>) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}

/// Leaves the record for everyone who comes later, and takes the socket and the pid away. The working directory
/// is the supervisor's own; when it cannot be written, those who wait still get their answer.
fn publish(exit: &Exit) {
    let new = format!("{}.new", protocol::EXIT);
    let record = protocol::encode(exit).unwrap_or_default();
    let _ = std::fs::write(&new, record).and_then(|()| std::fs::rename(&new, protocol::EXIT));
    let _ = std::fs::remove_file(protocol::SOCKET);
    let _ = std::fs::remove_file(protocol::PID);
}
