//! Entering a cgroup: everything is opened before the clone, so that the child only writes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_sys::Context;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::error::Result;
use crate::hierarchy::{Dialect, Place};

/// Open files through which a process puts itself into a cgroup.
#[derive(Debug)]
pub struct Entry {
    tasks: Vec<OwnedFd>,
    unified: Option<Unified>,
}

#[derive(Debug)]
struct Unified {
    dir: OwnedFd,
    procs: OwnedFd,
}

impl Entry {
    pub(crate) fn open(places: &[Place]) -> Result<Self> {
        let mut entry = Self { tasks: Vec::with_capacity(places.len()), unified: None };
        for Place { hierarchy, dir } in places {
            match hierarchy.dialect() {
                Dialect::V1 => entry.tasks.push(open_at(&dir.join("tasks"), OFlags::WRONLY)?),
                Dialect::V2 => {
                    let procs = open_at(&dir.join("cgroup.procs"), OFlags::WRONLY)?;
                    entry.unified = Some(Unified { dir: open_at(dir, OFlags::DIRECTORY)?, procs });
                }
            }
        }
        Ok(entry)
    }

    /// Puts the calling thread into the cgroup. Allocates nothing: a child may call it after clone.
    ///
    /// Version 1 is entered through `tasks`, not `cgroup.procs`: a single thread that moves itself does
    /// not make the kernel lock all thread groups, which waits for an RCU grace period (milliseconds).
    pub fn enter(&self) -> std::result::Result<(), Errno> {
        if let Some(unified) = &self.unified {
            write_self(unified.procs.as_fd())?;
        }
        self.enter_v1()
    }

    /// As [`Entry::enter`], for a process born with [`Entry::clone_fd`]: only what `CLONE_INTO_CGROUP` left out.
    pub fn enter_v1(&self) -> std::result::Result<(), Errno> {
        self.tasks.iter().try_for_each(|tasks| write_self(tasks.as_fd()))
    }

    /// The version 2 directory, for `CLONE_INTO_CGROUP` (clone(2)); `None` on a pure version 1 host.
    pub fn clone_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|unified| unified.dir.as_fd())
    }
}

fn open_at(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    Ok(open(path, flags | OFlags::CLOEXEC, Mode::empty()).on("open", path)?)
}

fn write_self(fd: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    rustix::io::write(fd, b"0").map(drop)
}
