//! Output on its way to the logger, the process that hands it to a destination elsewhere.
//!
//! ```text
//! Open ◄──output, a second after the last start── Lost (output is counted and dropped)
//!   ├──the logger is gone──► Open with another one, or Lost if it had not even lived for a second
//!   └──the container is drained──► Closing ──everything went, or 10 s later──► (dropped)
//! ```
//!
//! What a logger had taken is lost with it; what waits here goes to the next one, from the first entry that is whole.
//! The pipe to the logger never blocks. What it does not take waits here: in blocking mode the container's output is not
//! read while more than [`BEHIND`] waits; in non-blocking mode what is new is dropped when the buffer is full.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use hull_runtime::Failure;
use hull_shim::entry;
use hull_shim::protocol::{self, Answer, RemoteLog, Stream};
use hull_sys::memory::Pages;
use hull_sys::{Context, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::binary::EntryRecorder;
use crate::clock::Stamp;
use crate::creation::failure;
use crate::logger;
use crate::outbox::Outbox;

/// Bytes that may wait before the container has to wait.
const BEHIND: usize = 256 << 10;
/// What is made of output at once.
const BATCH: usize = 64 << 10;
/// How long a destination has to take what was written last.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long a logger must have lived to be worth another one.
const LIFE: Duration = Duration::from_secs(1);

/// The way to the logger.
pub(super) struct Remote {
    config: RemoteLog,
    /// `None`: there is no logger.
    pipe: Option<OwnedFd>,
    started: Instant,
    waiting: Outbox,
    recorders: [EntryRecorder; 2],
    batch: Pages,
    max_buffer: Option<usize>,
    dropped: u64,
    closing: Option<Instant>,
}

impl Remote {
    /// Starts a logger; returns when it has reached its destination.
    pub(super) fn open(config: &RemoteLog) -> std::result::Result<Self, Failure> {
        let pipe = start(config)?;
        Ok(Self {
            config: RemoteLog { waits: true, ..config.clone() },
            pipe: Some(pipe),
            started: Instant::now(),
            waiting: Outbox::default(),
            recorders: [Stream::Stdout, Stream::Stderr].map(EntryRecorder::new),
            batch: Pages::new(BATCH + EntryRecorder::ROOM).map_err(failure)?,
            max_buffer: config.max_buffer.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            dropped: 0,
            closing: None,
        })
    }

    /// As [`super::Log::append`].
    pub(super) fn append(&mut self, stream: Stream, text: &[u8], now: &Stamp) -> usize {
        let which = usize::from(stream == Stream::Stderr);
        self.recorders[which].stamp(now);
        // One by one, where each may be dropped.
        let enough = if self.max_buffer.is_some() { 1 } else { BATCH };
        let mut at = 0;
        loop {
            let (taken, written) = self.recorders[which].lines(&text[at..], &mut self.batch, enough);
            if taken == 0 {
                return at;
            }
            at += taken;
            self.send(written);
        }
    }

    /// As [`super::Log::finish`].
    pub(super) fn finish(&mut self, stream: Stream, rest: &[u8], now: &Stamp) {
        let recorder = &mut self.recorders[usize::from(stream == Stream::Stderr)];
        recorder.stamp(now);
        let written = recorder.rest(rest, &mut self.batch);
        self.send(written);
    }

    /// Hands the beginning of the batch on.
    fn send(&mut self, count: usize) {
        let full = |max: usize| self.waiting.len() > 0 && self.waiting.len() + count > max;
        if self.max_buffer.is_some_and(full) {
            self.dropped += count as u64;
            return;
        }
        if self.pipe.is_none() && !self.start_again() {
            self.dropped += count as u64;
            return;
        }
        while let Some(pipe) = &self.pipe {
            if self.waiting.send(pipe, [&self.batch[..count], &[]]).is_ok() {
                return;
            }
            self.replace();
        }
        self.dropped += count as u64;
    }

    /// The logger is gone: another one gets what waits, or nobody.
    fn replace(&mut self) {
        self.pipe = None;
        if !self.start_again() {
            self.dropped += self.waiting.len() as u64;
            self.waiting = Outbox::default();
        }
    }

    /// Starts another logger, which reaches its destination in its own time; `false` if it is too early for that.
    fn start_again(&mut self) -> bool {
        if self.started.elapsed() < LIFE {
            return false;
        }
        self.started = Instant::now();
        let Ok((line, (pipe, _))) = encoded(&self.config).and_then(|line| Ok((line, spawn()?))) else {
            return false;
        };
        let Ok(pipe) = nonblocking(pipe) else { return false };
        let rest = std::mem::take(&mut self.waiting).into_unsent();
        let whole = entry::last_of(&rest);
        self.dropped += (rest.len() - whole.len()) as u64;
        let sent = self.waiting.send(&pipe, [&line, whole]).is_ok();
        self.pipe = sent.then_some(pipe);
        sent
    }

    /// What to wait for, if something is on its way.
    pub(super) fn pending(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| self.waiting.len() > 0).map(AsFd::as_fd)
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        if let Some(pipe) = &self.pipe
            && self.waiting.flush(pipe).is_err()
        {
            self.replace();
        }
    }

    /// Whether the container has to wait.
    pub(super) fn behind(&self) -> bool {
        self.max_buffer.is_none() && self.waiting.len() >= BEHIND
    }

    /// Bytes of entries that nobody got.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// No more output follows. What waits has until then to go.
    pub(super) fn close(&mut self) -> Instant {
        *self.closing.get_or_insert_with(|| Instant::now() + LAST_WORDS)
    }

    /// Gives memory back until the next output.
    pub(super) fn rest(&mut self) {
        self.batch.release();
    }
}

/// The pipe to a new logger that has reached its destination.
fn start(config: &RemoteLog) -> std::result::Result<OwnedFd, Failure> {
    let (pipe, word) = spawn().map_err(failure)?;
    let mut pipe = File::from(pipe);
    let line = encoded(config).map_err(failure)?;
    pipe.write_all(&line).on("write to", logger::NAME).map_err(failure)?;
    let mut answer = Vec::new();
    BufReader::new(word).read_until(b'\n', &mut answer).on("read from", logger::NAME).map_err(failure)?;
    match protocol::decode(&answer) {
        Ok(Answer::Ok) => nonblocking(pipe.into()).map_err(failure),
        Ok(Answer::Invalid(why)) => Err(refused(why)),
        _ => Err(refused("the logger has ended".into())),
    }
}

/// A new logger: the pipe to it, and that on which it will say one word.
fn spawn() -> Result<(OwnedFd, ChildStdout)> {
    let mut child = Command::new("/proc/self/exe")
        .arg0(logger::NAME)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .on("execute", logger::NAME)?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(pipe), Some(word)) => Ok((pipe.into(), word)),
        _ => Err(Errno::PIPE).on("execute", logger::NAME),
    }
}

fn encoded(config: &RemoteLog) -> Result<Vec<u8>> {
    protocol::encode(config).map_err(std::io::Error::from).op("encode")
}

/// The step that the daemon knows.
fn refused(why: String) -> Failure {
    Failure { step: "log".into(), op: why, object: String::new(), errno: 0 }
}

fn nonblocking(pipe: OwnedFd) -> Result<OwnedFd> {
    rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK).op("fcntl O_NONBLOCK")?;
    Ok(pipe)
}
