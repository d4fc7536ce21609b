//! A container's log: a file of its own, a logger that hands it on, or both.

mod binary;
mod file;
mod json;
pub(crate) mod packer;
mod record;
mod remote;

use std::os::fd::BorrowedFd;
use std::time::Instant;

use hull_runtime::Failure;
use hull_shim::protocol::{LogConfig, Stream};

pub(crate) use self::json::LIMIT;
use self::remote::Remote;
use crate::clock::Stamp;
use crate::creation::failure;

/// Where output goes.
pub(crate) struct Log {
    file: Option<file::Writer>,
    remote: Option<Remote>,
}

impl Log {
    /// Opens what there is to be opened; `None` if output goes nowhere.
    pub(crate) fn open(config: &LogConfig) -> Result<Option<Self>, Failure> {
        let remote = config.remote.as_ref().map(Remote::open).transpose()?;
        let file = config.file.as_ref().map(file::Writer::open).transpose().map_err(failure)?;
        Ok((file.is_some() || remote.is_some()).then_some(Self { file, remote }))
    }

    /// Logs all lines of `text` that are complete or too long; how many bytes that was. The rest belongs in front
    /// of what is read next.
    pub(crate) fn append(&mut self, stream: Stream, text: &[u8], now: &Stamp) -> usize {
        // Both cut lines at the same places.
        let handed = self.remote.as_mut().map(|remote| remote.append(stream, text, now));
        let written = self.file.as_mut().map(|file| file.append(stream, text, now));
        written.or(handed).unwrap_or(text.len())
    }

    /// Logs what is left when the stream has ended: a line without a newline.
    pub(crate) fn finish(&mut self, stream: Stream, rest: &[u8], now: &Stamp) {
        if let Some(remote) = &mut self.remote {
            remote.finish(stream, rest, now);
        }
        if let Some(file) = &mut self.file {
            file.finish(stream, rest, now);
        }
    }

    /// Bytes of records that could not be written, or were dropped for a destination that is slow or away.
    pub(crate) fn dropped(&self) -> u64 {
        self.file.as_ref().map_or(0, file::Writer::dropped) + self.remote.as_ref().map_or(0, Remote::dropped)
    }

    /// Gives memory and space on disk back until the next output.
    pub(crate) fn rest(&mut self) {
        if let Some(file) = &mut self.file {
            file.rest();
        }
        if let Some(remote) = &mut self.remote {
            remote.rest();
        }
    }

    /// Whether the container has to wait until the logger has taken what is on its way.
    pub(crate) fn behind(&self) -> bool {
        self.remote.as_ref().is_some_and(Remote::behind)
    }

    /// What to wait for, if something is on its way to the logger.
    pub(crate) fn pending(&self) -> Option<BorrowedFd<'_>> {
        self.remote.as_ref().and_then(Remote::pending)
    }

    /// Sends what is on its way to the logger.
    pub(crate) fn flush(&mut self) {
        if let Some(remote) = &mut self.remote {
            remote.flush();
        }
    }

    /// The file is complete. Until when to wait for the logger to take the rest.
    pub(crate) fn close(&mut self) -> Option<Instant> {
        self.file = None;
        self.remote.as_mut().map(Remote::close)
    }
}
