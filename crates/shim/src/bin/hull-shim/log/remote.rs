//! Output on its way to the logger, the process that hands it to a destination elsewhere.
//!
//! ```text
//! Open ──the logger is gone──► Lost (output is counted and dropped)
//!   └──the container is drained──► Closing ──everything went, or 10 s later──► (dropped)
//! ```
//!
//! The pipe to the logger never blocks. What it does not take waits here: in blocking mode the container's output is not
//! read while more than [`BEHIND`] waits; in non-blocking mode what is new is dropped when the buffer is full.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hull_runtime::Failure;
use hull_shim::protocol::{self, Answer, RemoteLog, Stream};
use hull_sys::memory::Pages;
use hull_sys::{Context, Result};
use rustix::fs::OFlags;

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

/// The way to the logger.
pub(super) struct Remote {
    /// `None`: there is no logger any more.
    pipe: Option<OwnedFd>,
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
            pipe: Some(pipe),
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
        let Some(pipe) = &self.pipe else {
            self.dropped += count as u64;
            return;
        };
        if self.waiting.send(pipe, [&self.batch[..count], &[]]).is_err() {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.dropped += self.waiting.len() as u64;
        (self.pipe, self.waiting) = (None, Outbox::default());
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
            self.lose();
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
    let line = protocol::encode(config).map_err(std::io::Error::from).op("encode").map_err(failure)?;
    let mut child = Command::new("/proc/self/exe")
        .arg0(logger::NAME)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .on("execute", logger::NAME)
        .map_err(failure)?;
    let (Some(mut pipe), Some(word)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(refused("the logger has no pipes".into()));
    };
    pipe.write_all(&line).on("write to", logger::NAME).map_err(failure)?;
    let mut answer = Vec::new();
    BufReader::new(word).read_until(b'\n', &mut answer).on("read from", logger::NAME).map_err(failure)?;
    match protocol::decode(&answer) {
        Ok(Answer::Ok) => nonblocking(pipe.into()).map_err(failure),
        Ok(Answer::Invalid(why)) => Err(refused(why)),
        _ => Err(refused("the logger has ended".into())),
    }
}

/// The step that the daemon knows.
fn refused(why: String) -> Failure {
    Failure { step: "log".into(), op: why, object: String::new(), errno: 0 }
}

fn nonblocking(pipe: OwnedFd) -> Result<OwnedFd> {
    rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK).op("fcntl O_NONBLOCK")?;
    Ok(pipe)
}
