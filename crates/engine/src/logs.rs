//! Reading the logs of containers.
//!
//! Supervisors write them, in the format of Docker's `json-file` or `local`, rotated: `x.log` is the youngest file, `x.log.1`
//! the one before. Where a driver hands output on, a file beside it is what is read here. Readers need nobody's help: they read the files, and while they follow, the kernel tells them of changes.

mod cursor;
mod files;
mod line;
mod shape;
mod watch;

use std::io;
use std::task::{Context, Poll};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::containers::NextExit;
use crate::model::{Container, LogOptions};
use crate::{Engine, Error, Result};
use cursor::Cursor;
use line::Painter;
use watch::Watch;

/// Chunks on their way to a slow reader.
const AHEAD: usize = 4;

/// A container's log, in chunks.
pub struct LogStream {
    /// Whether the chunks are a terminal's bare bytes; otherwise multiplexed frames, as of an attachment.
    pub tty: bool,
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
}

impl LogStream {
    /// The next chunk; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.chunks.recv().await
    }

    /// As [`LogStream::next`], for those who poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Vec<u8>>>> {
        self.chunks.poll_recv(cx)
    }
}

type Sender = mpsc::Sender<io::Result<Vec<u8>>>;

impl Engine {
    /// The log of a container.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<LogStream> {
        let entry = self.containers.find(name)?;
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        // Counted before the state is looked at, so that an exit in between ends the following.
        let ends = entry.next_exit();
        let container = entry.now();
        let ends = (options.follow && container.state.status.is_running()).then_some(ends);
        self.read_logs(&container, options, ends)
    }

    /// Reads the log to its end, or, given `ends`, until the container ends.
    pub(crate) fn read_logs(
        &self,
        container: &Container,
        options: LogOptions,
        ends: Option<NextExit>,
    ) -> Result<LogStream> {
        let Some((path, format)) = container.log_file() else {
            return Err(Error::not_implemented("configured logging driver does not support reading"));
        };
        let tty = container.config.tty;
        let (sender, chunks) = mpsc::channel(AHEAD);
        let watch = match &ends {
            Some(_) => Some(Watch::on(&path)?),
            None => None,
        };
        let cursor = Cursor::new(path, format, options.tail, options.since);
        let cursor = if ends.is_some() { cursor } else { cursor.up_to_now() };
        let until = options.until;
        let reader = Reader { cursor, painter: Painter::new(options, tty, format) };
        match (watch, ends) {
            (Some(watch), Some(ends)) => drop(tokio::spawn(follow(reader, watch, ends, until, sender))),
            _ => drop(tokio::task::spawn_blocking(move || reader.read_to_end(&sender))),
        }
        Ok(LogStream { tty, chunks })
    }
}

struct Reader {
    cursor: Cursor,
    painter: Painter,
}

impl Reader {
    /// Sends everything there is now; returns whether anyone wants more.
    fn read_to_end(mut self, sender: &Sender) -> Option<Self> {
        loop {
            let mut chunk = Vec::new();
            let more = match self.cursor.read() {
                Ok(Some(lines)) => self.painter.paint(lines, &mut chunk),
                Ok(None) => return Some(self),
                Err(error) => {
                    // Whoever reads has to know that this is not the end; if he is gone, nobody has to.
                    let _ = sender.blocking_send(Err(error));
                    return None;
                }
            };
            if !chunk.is_empty() && sender.blocking_send(Ok(chunk)).is_err() {
                return None;
            }
            if !more {
                return None;
            }
        }
    }
}

/// Reads, and reads again whenever the files change, until the container has ended or nobody listens.
async fn follow(
    mut reader: Reader,
    mut watch: Watch,
    mut ends: NextExit,
    until: Option<Timestamp>,
    sender: Sender,
) {
    let mut ended = false;
    loop {
        let blocking = sender.clone();
        match tokio::task::spawn_blocking(move || reader.read_to_end(&blocking)).await {
            Ok(Some(back)) => reader = back,
            Ok(None) | Err(_) => return,
        }
        if ended {
            return;
        }
        tokio::select! {
            () = watch.changed() => {}
            // One more look: the last lines were written before that was told.
            () = ends.reached() => ended = true,
            () = sender.closed() => return,
            () = reached(until) => return,
        }
    }
}

/// Waits until `time`; for ever if there is none.
async fn reached(time: Option<Timestamp>) {
    let Some(time) = time else { return std::future::pending().await };
    let left = time.duration_since(Timestamp::now());
    tokio::time::sleep(left.try_into().unwrap_or_default()).await;
}

#[cfg(test)]
mod tests;
