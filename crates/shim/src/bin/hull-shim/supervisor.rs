//! The loop: waits for descriptors, moves bytes, and lets time pass.
//!
//! Everything that can happen is a [`Source`] that became ready. After each round the states are looked at once
//! ([`Supervisor::settle`], in [`crate::exit`]), so that their changes depend on what is, not on what came first.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use hull_shim::protocol::{self, Answer, Stream};
use hull_sys::memory::Spare;
use hull_sys::signal::SignalFd;
use hull_sys::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::container::{Container, log_chunk, log_rest};
use crate::copy::{Buffer, Chunk, FULL_PIPE, Streams};
use crate::exec::Session as ExecSession;
use crate::log::Log;
use crate::session::{Key, Phase, Received, Session, Target};

/// When nothing has moved for so long, memory is given back.
const QUIET: Duration = Duration::from_millis(300);
/// Clients that may wait to be accepted.
const BACKLOG: i32 = 128;
/// How unwilling the kernel shall be to kill the supervisor for memory: next to never.
const OOM_SCORE: &str = "-998";

/// The supervisor of one container.
pub(crate) struct Supervisor {
    pub(crate) listener: Option<OwnedFd>,
    pub(crate) signals: SignalFd,
    pub(crate) container: Container,
    /// Exec sessions, each by the key of the client that began it.
    pub(crate) execs: BTreeMap<Key, ExecSession>,
    pub(crate) sessions: BTreeMap<Key, Session>,
    /// Descriptors that are kept for the daemon.
    pub(crate) held: Vec<OwnedFd>,
    next_key: Key,
    buffer: Buffer,
    spare: Option<Spare>,
    /// The container is drained; until then the logger has time to take what was written last.
    pub(crate) log_until: Option<Instant>,
    /// Something has moved since memory was given back.
    warm: bool,
}

/// What can become ready.
#[derive(Debug, Clone, Copy)]
enum Source {
    Listener,
    Signals,
    Output(Target, usize),
    Input(Target),
    Session(Key),
    Log,
    Oom,
}

impl Supervisor {
    pub(crate) fn new(signals: SignalFd, container: Container) -> Result<Self> {
        Ok(Self {
            listener: None,
            signals,
            container,
            execs: BTreeMap::new(),
            sessions: BTreeMap::new(),
            held: Vec::new(),
            next_key: 0,
            buffer: Buffer::new()?,
            spare: None,
            log_until: None,
            warm: true,
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.container.pid
    }

    /// Makes the socket. The working directory is the supervisor's own.
    pub(crate) fn listen(&mut self) -> Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).op("socket")?;
        let address = SocketAddrUnix::new(protocol::SOCKET).op("socket address")?;
        let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = rustix::net::bind(&socket, &address).on("bind", protocol::SOCKET);
        rustix::process::umask(umask);
        bound?;
        rustix::net::listen(&socket, BACKLOG).on("listen", protocol::SOCKET)?;
        self.listener = Some(socket);
        Ok(())
    }

    /// Asks the kernel to look for memory elsewhere. Without the privilege the supervisor is as mortal as others.
    pub(crate) fn protect(&self) {
        let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    }

    /// Runs until the container is drained and every client has what it came for.
    pub(crate) fn run(&mut self) -> Result<()> {
        // Init may have ended before anybody listened for that.
        self.reap();
        self.settle();
        while !self.finished() {
            let now = Instant::now();
            let ready = self.wait(now)?;
            if ready.is_empty() && self.warm && self.gathering(now).is_none() {
                self.rest();
            }
            for (source, events) in ready {
                self.handle(source, events);
            }
            self.settle();
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        let takes = |until| Instant::now() < until && self.log_pending().is_some();
        self.container.exit().is_some() && self.sessions.is_empty() && !self.log_until.is_some_and(takes)
    }

    fn log_pending(&self) -> Option<BorrowedFd<'_>> {
        self.container.log.as_ref().and_then(Log::pending)
    }

    /// Waits for something to become ready; nothing is when the time for something else has come.
    fn wait(&self, now: Instant) -> Result<Vec<(Source, PollFlags)>> {
        let mut sources = Vec::with_capacity(8);
        let mut polls = Vec::with_capacity(8);
        self.interests(now, |source, poll| {
            sources.push(source);
            polls.push(poll);
        });
        let timeout = self.timeout(now).and_then(|timeout| Timespec::try_from(timeout).ok());
        match rustix::event::poll(&mut polls, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).op("poll"),
        }
        let ready = sources.into_iter().zip(polls.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, events)| !events.is_empty()).collect())
    }

    /// Names everything that is to be waited for.
    fn interests<'fd>(&'fd self, now: Instant, mut add: impl FnMut(Source, PollFd<'fd>)) {
        add(Source::Signals, PollFd::new(&self.signals, PollFlags::IN));
        if let Some(listener) = &self.listener {
            add(Source::Listener, PollFd::new(listener, PollFlags::IN));
        }
        if let Some(watch) = &self.container.oom {
            add(Source::Oom, PollFd::new(watch, watch.interest()));
        }
        if let Some(log) = self.log_pending() {
            add(Source::Log, PollFd::from_borrowed_fd(log, PollFlags::OUT));
        }
        for (target, streams) in self.all_streams() {
            if let Some(input) = streams.input.as_ref().filter(|input| input.is_pending()) {
                add(Source::Input(target), PollFd::from_borrowed_fd(input.fd(), PollFlags::OUT));
            }
            for (index, output) in streams.outputs.iter().enumerate() {
                let pauses = output.pauses(now).is_some();
                if let Some(fd) = output.fd().filter(|_| !pauses && !self.held_up(target)) {
                    add(Source::Output(target, index), PollFd::from_borrowed_fd(fd, PollFlags::IN));
                }
            }
        }
        for (key, session) in &self.sessions {
            let behind = session.feeds().is_some_and(|target| self.input_behind(target));
            add(Source::Session(*key), PollFd::from_borrowed_fd(session.fd(), session.interest(behind)));
        }
    }

    fn all_streams(&self) -> impl Iterator<Item = (Target, &Streams)> {
        let execs = self.execs.iter().map(|(key, exec)| (Target::Exec(*key), &exec.streams));
        std::iter::once((Target::Container, &self.container.streams)).chain(execs)
    }

    pub(crate) fn streams(&mut self, target: Target) -> Option<&mut Streams> {
        streams_of(&mut self.container, &mut self.execs, target)
    }

    /// Whether a client, or the logger, is so far behind that the process has to wait. One that has ended does not: what it
    /// wrote last is read, so that its log is complete.
    fn held_up(&self, target: Target) -> bool {
        let ended = match target {
            Target::Container => self.container.give_up().is_some(),
            Target::Exec(key) => self.execs.get(&key).is_some_and(|exec| exec.give_up().is_some()),
        };
        let wants = |session: &Session| {
            session.wants(target, Stream::Stdout) || session.wants(target, Stream::Stderr)
        };
        let logger = target == Target::Container && self.container.log.as_ref().is_some_and(Log::behind);
        !ended && (logger || self.sessions.values().any(|session| session.behind() && wants(session)))
    }

    fn input_behind(&self, target: Target) -> bool {
        let streams = match target {
            Target::Container => Some(&self.container.streams),
            Target::Exec(key) => self.execs.get(&key).map(|exec| &exec.streams),
        };
        streams.and_then(|streams| streams.input.as_ref()).is_some_and(|input| input.behind())
    }

    /// How long nothing may happen before something is to be done anyway.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let execs = self.execs.values().filter_map(ExecSession::give_up);
        let deadline = self.container.give_up().into_iter().chain(self.gathering(now)).chain(execs);
        let deadline = deadline.chain(self.log_until).min();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let quiet = self.warm.then_some(QUIET);
        left.into_iter().chain(quiet).min()
    }

    /// Until when output is left to gather.
    fn gathering(&self, now: Instant) -> Option<Instant> {
        let outputs = self.all_streams().flat_map(|(_, streams)| &streams.outputs);
        outputs.filter_map(|output| output.pauses(now)).min()
    }

    fn handle(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Signals => self.reap(),
            Source::Listener => self.accept(),
            Source::Output(target, index) => self.pump_in_order(target, index),
            Source::Input(target) => self.flush_input(target),
            Source::Session(key) => self.serve(key, events),
            Source::Oom => self.tell_oom(),
            Source::Log => self.container.log.iter_mut().for_each(Log::flush),
        }
    }

    pub(crate) fn accept(&mut self) {
        while let Some(session) =
            self.listener.as_ref().and_then(|listener| Session::accept(listener.as_fd()))
        {
            self.sessions.insert(self.next_key, session);
            self.next_key = self.next_key.wrapping_add(1);
            self.warm = true;
        }
    }

    /// Reads an output that is ready; first what may have been written before that to the other one.
    fn pump_in_order(&mut self, target: Target, index: usize) {
        let before = self.streams(target).and_then(|streams| streams.before(index));
        if let Some(before) = before {
            for _ in 0..FULL_PIPE {
                if self.held_up(target) {
                    return;
                }
                if !self.pump(target, before) {
                    break;
                }
            }
        }
        self.pump(target, index);
    }

    /// Reads output once: to the clients, then to the log. Whether there was any.
    pub(crate) fn pump(&mut self, target: Target, index: usize) -> bool {
        self.warm = true;
        let (streams, log) = match target {
            Target::Container => (&mut self.container.streams, self.container.log.as_mut()),
            Target::Exec(key) => match self.execs.get_mut(&key) {
                Some(exec) => (&mut exec.streams, None),
                None => return false,
            },
        };
        let Some(output) = streams.outputs.get_mut(index) else { return false };
        match output.read(&mut self.buffer) {
            Some(chunk) => {
                show(&mut self.sessions, target, output.stream, &chunk);
                log_chunk(log, output, &chunk);
                true
            }
            None => {
                if output.fd().is_none() {
                    log_rest(log, output);
                }
                false
            }
        }
    }

    fn flush_input(&mut self, target: Target) {
        if let Some(streams) = self.streams(target) {
            streams.input.take_if(|input| !input.flush());
        }
    }

    /// Writes a client's bytes to the process.
    pub(crate) fn feed(&mut self, target: Target, bytes: &[u8]) {
        if let Some(streams) = self.streams(target) {
            streams.input.take_if(|input| !input.write(bytes));
        }
    }

    /// Closes a process's standard input when what is pending was written.
    pub(crate) fn close_input(&mut self, target: Target) {
        if let Some(streams) = self.streams(target) {
            streams.input.take_if(|input| !input.close());
        }
    }

    fn serve(&mut self, key: Key, events: PollFlags) {
        self.warm = true;
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if events.contains(PollFlags::OUT) {
            session.flush();
        }
        if events.contains(PollFlags::IN) {
            self.receive(key);
        }
        if events.intersects(PollFlags::HUP | PollFlags::ERR) {
            // It will not take anything any more, but what it sent before is still input.
            while self.receive(key) {}
            self.sessions.entry(key).and_modify(Session::hang_up);
        }
    }

    /// Reads once from a client: a piece of its request, or input. Whether there may be more.
    fn receive(&mut self, key: Key) -> bool {
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        let count = match session.receive(&mut self.buffer.0) {
            Received::Bytes(count) => count,
            Received::Nothing => return false,
            Received::End => {
                self.stop_feeding(key);
                return false;
            }
        };
        let bytes = &self.buffer.0[..count];
        if let Some(target) = session.feeds() {
            if let Some(streams) = streams_of(&mut self.container, &mut self.execs, target) {
                // Whoever says something waits for an answer.
                streams.hurry();
                streams.input.take_if(|input| !input.write(bytes));
            }
        } else if matches!(session.phase, Phase::Asking) {
            match session.request_line(bytes) {
                Ok(Some(line)) => self.ask(key, &line),
                Ok(None) => {}
                Err(why) => session.dismiss(&Answer::Invalid(why.to_owned())),
            }
        }
        true
    }

    /// A client sends no more: the end of its input is the end of the process's, where Docker has it so.
    fn stop_feeding(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Some(target) = session.feeds() else { return };
        session.stop_feeding();
        let once = matches!(target, Target::Exec(_)) || self.container.stdin_once;
        if self.streams(target).is_some_and(|streams| once && !streams.is_terminal()) {
            self.close_input(target);
        }
    }

    /// Gives memory back until something moves again.
    fn rest(&mut self) {
        self.warm = false;
        self.buffer.0.release();
        if let Some(log) = &mut self.container.log {
            log.rest();
        }
        // Most of it made the container, and is not needed any more.
        self.spare.get_or_insert_with(Spare::find).release();
    }
}

fn streams_of<'all>(
    container: &'all mut Container,
    execs: &'all mut BTreeMap<Key, ExecSession>,
    target: Target,
) -> Option<&'all mut Streams> {
    match target {
        Target::Container => Some(&mut container.streams),
        Target::Exec(key) => execs.get_mut(&key).map(|exec| &mut exec.streams),
    }
}

/// Sends a chunk to every client that wants to see it.
fn show(sessions: &mut BTreeMap<Key, Session>, target: Target, stream: Stream, chunk: &Chunk<'_>) {
    for session in sessions.values_mut().filter(|session| session.wants(target, stream)) {
        session.frame(stream, &chunk.lines[chunk.new..]);
    }
}
