//! What a client asks for, done.

use std::os::fd::AsRawFd;

use hull_cgroup::Cgroup;
use hull_runtime::Failure;
use hull_shim::protocol::{
    self, Answer, Attach, Checkpoint, Exec, Exit, Kill, Request, Resize, State, Status,
};
use hull_sys::signal::{self, SIGKILL};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::checkpoint;
use crate::clock::Stamp;
use crate::exec;
use crate::session::{Key, Phase, Session, Target};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Does what the line asks for.
    pub(crate) fn ask(&mut self, key: Key, line: &[u8]) {
        match protocol::decode(line) {
            Ok(Request::Wait) => self.await_exit(key),
            Ok(Request::WaitExec(name)) => self.await_exec(key, &name),
            Ok(Request::Attach(attach)) => self.attach(key, attach),
            Ok(Request::Exec(exec)) => self.exec(key, *exec),
            Ok(Request::Hold) => self.hold(key),
            Ok(Request::Held) => {
                if let Some(session) = self.sessions.get_mut(&key) {
                    session.hand_out(&self.held);
                }
            }
            Ok(request) => {
                let answer = self.perform(request);
                self.with(key, |session| session.dismiss(&answer));
            }
            Err(error) => {
                let answer = Answer::Invalid(format!("not a request: {error}"));
                self.with(key, |session| session.dismiss(&answer));
            }
        }
    }

    /// The requests that are over with their answer.
    fn perform(&mut self, request: Request) -> Answer {
        match request {
            Request::Start => self.start(),
            Request::Resize(resize) => self.resize(&resize),
            Request::Kill(kill) => self.kill(&kill),
            Request::CloseStdin => {
                self.close_input(Target::Container);
                Answer::Ok
            }
            Request::State => Answer::State(self.state()),
            Request::Checkpoint(wish) => self.checkpoint(&wish),
            Request::Wait
            | Request::WaitExec(_)
            | Request::Attach(_)
            | Request::Exec(_)
            | Request::Hold
            | Request::Held => Answer::Invalid("not answered here".into()),
        }
    }

    fn start(&mut self) -> Answer {
        match self.container.start() {
            None => Answer::Invalid(format!("the container is {:?}, not created", self.container.status())),
            Some(Ok(())) => {
                let started_at = self.container.started_at.clone().unwrap_or_default();
                Answer::Started { pid: self.container.pid, started_at }
            }
            Some(Err(failure)) => {
                self.never_started(&failure);
                Answer::Failed(failure)
            }
        }
    }

    fn checkpoint(&mut self, wish: &Checkpoint) -> Answer {
        if self.container.status() != Status::Running {
            return Answer::NotRunning;
        }
        let execs = &mut self.execs;
        let saved = checkpoint::save(&self.container, wish, &mut || {
            execs.values_mut().for_each(exec::Session::reap);
        });
        saved.map_or_else(Answer::Failed, |()| Answer::Ok)
    }

    fn await_exit(&mut self, key: Key) {
        let exit = self.container.exit().cloned();
        self.with(key, |session| match exit {
            Some(exit) => session.dismiss(&Answer::Exited(exit)),
            None => session.phase = Phase::Waiting,
        });
    }

    fn await_exec(&mut self, key: Key, name: &str) {
        let began = self.execs.iter().find(|(_, exec)| exec.name == name).map(|(began, _)| *began);
        self.with(key, |session| match began {
            Some(began) => session.phase = Phase::WaitingFor(began),
            None => session.dismiss(&left_code(name).map_or(Answer::NotRunning, exec_exited)),
        });
    }

    fn attach(&mut self, key: Key, attach: Attach) {
        self.with(key, |session| session.answer(&Answer::Ok));
        self.begin_stream(key, Target::Container, attach);
    }

    fn exec(&mut self, key: Key, exec: Exec) {
        let streams = Attach { stdin: exec.stdin, stdout: exec.stdout, stderr: exec.stderr };
        match self.begin_exec(exec) {
            Ok(session) => {
                let started_at = session.started_at.clone();
                let answer = Answer::Started { pid: session.pid, started_at };
                self.execs.insert(key, session);
                self.with(key, |session| session.answer(&answer));
                self.begin_stream(key, Target::Exec(key), streams);
            }
            Err(answer) => self.with(key, |session| session.dismiss(&answer)),
        }
    }

    /// They stay open for as long as the supervisor lives: its end is the container's.
    fn hold(&mut self, key: Key) {
        if let Some(session) = self.sessions.get_mut(&key) {
            self.held = session.take_descriptors();
            session.dismiss(&Answer::Ok);
        }
    }

    fn begin_exec(&self, exec: Exec) -> Result<exec::Session, Answer> {
        if self.execs.values().any(|session| session.name == exec.id) {
            return Err(Answer::Invalid(format!("exec {} exists already", exec.id)));
        }
        if self.container.status() != Status::Running {
            return Err(Answer::NotRunning);
        }
        exec::begin(&self.container, exec).map_err(Answer::Failed)
    }

    /// Makes a client's connection a stream; what came behind its request is input already.
    fn begin_stream(&mut self, key: Key, target: Target, attach: Attach) {
        self.with(key, |session| session.stream(target, attach));
        let ahead = self.sessions.get_mut(&key).map(Session::take_ahead).unwrap_or_default();
        if attach.stdin && !ahead.is_empty() {
            self.feed(target, &ahead);
        }
    }

    fn resize(&mut self, resize: &Resize) -> Answer {
        let streams = match &resize.exec {
            None => Some(&self.container.streams),
            Some(name) => self.execs.values().find(|exec| exec.name == *name).map(|exec| &exec.streams),
        };
        match streams {
            None => Answer::NotRunning,
            // As in Docker: who asks does not always know, and nothing is wrong.
            Some(streams) if !streams.is_terminal() => Answer::Ok,
            Some(streams) if streams.resize(resize.rows, resize.cols) => Answer::Ok,
            Some(_) => Answer::NotRunning,
        }
    }

    fn kill(&mut self, kill: &Kill) -> Answer {
        let outcome = match &kill.exec {
            Some(name) => match self.execs.values().find(|exec| exec.name == *name) {
                Some(exec) => exec.kill(kill.signal),
                None => return Answer::NotRunning,
            },
            None if kill.all => kill_all(&self.container.cgroup, kill.signal),
            None => match (self.container.pidfd(), &self.container.foreign) {
                (None, _) => return Answer::NotRunning,
                (Some(_), Some(foreign)) => foreign.kill(kill.signal),
                (Some(init), None) => signal::send(init, kill.signal),
            },
        };
        match outcome {
            Ok(()) => Answer::Ok,
            Err(error) if error.is(rustix::io::Errno::SRCH) => Answer::NotRunning,
            Err(error) => Answer::Invalid(error.to_string()),
        }
    }

    fn state(&self) -> State {
        let status = self.container.status();
        State {
            status,
            pid: if status == Status::Exited { 0 } else { self.container.pid },
            shim_pid: rustix::process::getpid().as_raw_nonzero().get(),
            started_at: self.container.started_at.clone(),
            execs: self.execs.values().map(|exec| exec.name.clone()).collect(),
            shared: self
                .container
                .shared
                .iter()
                .map(|(name, namespace)| (name.clone(), namespace.as_raw_fd()))
                .collect(),
        }
    }

    fn with(&mut self, key: Key, act: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&key) {
            act(session);
        }
    }
}

/// What [`crate::exit`] has left of an exec session that nobody listened to. The working directory is the
/// supervisor's own.
fn left_code(name: &str) -> Option<i32> {
    std::fs::read_to_string(protocol::exec_exit(name)).ok()?.trim().parse().ok()
}

/// The answer to who waits for an exec session.
pub(crate) fn exec_exited(code: i32) -> Answer {
    let at = Stamp::now().to_string();
    Answer::Exited(Exit { code, signal: None, at, oom: false, started_at: None, log_dropped: 0 })
}

/// Sends a signal to every process in the container's cgroup.
fn kill_all(cgroup: &str, number: i32) -> hull_sys::Result<()> {
    let system = |error: hull_cgroup::Error| match error {
        hull_cgroup::Error::System(error) => error,
        _ => hull_sys::Error::new("open cgroup", cgroup, rustix::io::Errno::SRCH),
    };
    let cgroup = Cgroup::open(cgroup).map_err(system)?;
    if number == SIGKILL {
        return cgroup.kill().map_err(system);
    }
    let processes = cgroup.pids().map_err(system)?;
    let descriptors = processes.into_iter().filter_map(Pid::from_raw);
    for process in descriptors.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
        match signal::send(std::os::fd::AsFd::as_fd(&process), number) {
            // It ended meanwhile.
            Err(error) if error.is(rustix::io::Errno::SRCH) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Docker's exit code of a container whose program could not be executed.
pub(crate) fn exit_code(failure: &Failure) -> i32 {
    use rustix::io::Errno;
    match failure.step.as_str() {
        "exec" if failure.is(Errno::NOENT) => 127,
        "exec" => 126,
        _ => 128,
    }
}
