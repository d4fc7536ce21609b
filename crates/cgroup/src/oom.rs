//! Being told when the kernel kills for lack of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hull_sys::Context;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, inotify, open};

use crate::Cgroup;
use crate::error::{Error, Result};
use crate::file;
use crate::hierarchy::{Dialect, Place};

/// A descriptor that becomes readable when a cgroup has run out of memory, or has gone.
///
/// Version 1 tells an eventfd (`memcg_test` of `admin-guide/cgroup-v1/memory.rst`, section 10), version 2 changes
/// `memory.events`, which inotify(7) sees.
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
        let seen = cgroup.oom_kills();
        let fd = match hierarchy.dialect() {
            Dialect::V1 => {
                let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).op("eventfd")?;
                let path = dir.join("memory.oom_control");
                let control =
                    open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)?;
                let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                file::write(&dir, "cgroup.event_control", &line)?;
                event
            }
            Dialect::V2 => {
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let watch = inotify::init(flags).op("inotify_init")?;
                let path = dir.join("memory.events");
                inotify::add_watch(&watch, &path, inotify::WatchFlags::MODIFY)
                    .on("inotify_add_watch", &path)?;
                watch
            }
        };
        Ok(Self { cgroup: cgroup.clone(), dialect: hierarchy.dialect(), fd, seen })
    }

    /// How many times the cgroup has run out of memory since the last call.
    pub fn take(&mut self) -> u64 {
        let mut buffer = [0; 4096];
        let mut told = 0;
        // Until there is nothing left: both kinds do not block.
        while let Ok(length @ 1..) = rustix::io::read(&self.fd, &mut buffer) {
            told += match (self.dialect, buffer[..length].first_chunk()) {
                (Dialect::V1, Some(count)) => u64::from_ne_bytes(*count),
                _ => 0,
            };
        }
        match self.dialect {
            // The removal of the cgroup is told in the same way.
            Dialect::V1 if self.cgroup.exists() => told,
            Dialect::V1 => 0,
            // Other events change the file, too.
            Dialect::V2 => {
                let now = self.cgroup.oom_kills().max(self.seen);
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
