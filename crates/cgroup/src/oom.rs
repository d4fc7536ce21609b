//! Being told when the kernel kills for lack of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hull_sys::Context;
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{Mode, OFlags, open};

use crate::Cgroup;
use crate::error::{Error, Result};
use crate::file;
use crate::hierarchy::{Dialect, Place};

/// A descriptor that tells when a cgroup has run out of memory, or has gone: to be polled for [`OomWatch::interest`].
///
/// Version 1 tells an eventfd (`memcg_test` of `admin-guide/cgroup-v1/memory.rst`, section 10); version 2 tells who
/// polls `memory.events` that it has changed since it was read. (inotify(7) would do, too, but a user has few of those.)
#[derive(Debug)]
pub struct OomWatch {
    cgroup: Cgroup,
    dialect: Dialect,
    fd: OwnedFd,
    seen: u64,
}

impl OomWatch {
    /// Watches from now on.
    pub(crate) fn new(cgroup: &Cgroup) -> Result<Self> {
        let Some(Place { hierarchy, dir }) = cgroup.controller("memory") else {
            return Err(Error::Unsupported("this host has no memory controller for cgroups".to_owned()));
        };
        let dialect = hierarchy.dialect();
        let open = |name: &str| {
            let path = dir.join(name);
            open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)
        };
        let fd = match dialect {
            Dialect::V1 => {
                let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).op("eventfd")?;
                let control = open("memory.oom_control")?;
                let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                file::write(&dir, "cgroup.event_control", &line)?;
                event
            }
            Dialect::V2 => open("memory.events")?,
        };
        let mut watch = Self { cgroup: cgroup.clone(), dialect, fd, seen: 0 };
        // What was before is no news; version 2 counts from the first reading on.
        watch.take();
        Ok(watch)
    }

    /// What to poll for.
    pub fn interest(&self) -> PollFlags {
        match self.dialect {
            Dialect::V1 => PollFlags::IN,
            Dialect::V2 => PollFlags::PRI,
        }
    }

    /// How many times the cgroup has run out of memory since the last call.
    pub fn take(&mut self) -> u64 {
        let mut buffer = [0; 4096];
        match self.dialect {
            Dialect::V1 => match rustix::io::read(&self.fd, &mut buffer[..8]) {
                // The removal of the cgroup is told in the same way.
                Ok(8) if self.cgroup.exists() => buffer.first_chunk().map_or(0, |n| u64::from_ne_bytes(*n)),
                _ => 0,
            },
            // Other events change the file, too.
            Dialect::V2 => {
                let length = rustix::io::pread(&self.fd, &mut buffer[..], 0).unwrap_or_default();
                let text = String::from_utf8_lossy(&buffer[..length]);
                let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
                let now = kills.unwrap_or(0).max(self.seen);
                now - std::mem::replace(&mut self.seen, now)
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
