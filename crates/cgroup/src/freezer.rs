//! Stopping, continuing and killing everything in a cgroup.
//!
//! The version 2 freezer and `cgroup.kill` are used wherever that hierarchy is mounted, also beside
//! version 1: they are part of every version 2 cgroup and need no controller. A process frozen there
//! can still be killed; one in the version 1 freezer dies only after the thaw.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::file;
use crate::hierarchy::{Dialect, Place};
use crate::{Cgroup, tree};

/// How long the processes of a cgroup get to stop.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn freeze(cgroup: &Cgroup) -> Result<()> {
    let place = freezer(cgroup)?;
    set(&place, true)?;
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    while !is_frozen(&place)? {
        if Instant::now() > deadline {
            set(&place, false)?;
            return Err(hull_sys::Error::new("freeze", cgroup.path(), Errno::TIMEDOUT).into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
        // Version 1 can miss a process that forks meanwhile; being told again helps.
        set(&place, true)?;
    }
    Ok(())
}

pub(crate) fn thaw(cgroup: &Cgroup) -> Result<()> {
    set(&freezer(cgroup)?, false)
}

pub(crate) fn frozen(cgroup: &Cgroup) -> Result<bool> {
    is_frozen(&freezer(cgroup)?)
}

pub(crate) fn kill(cgroup: &Cgroup) -> Result<()> {
    let unified = cgroup.unified().filter(|place| place.dir.join("cgroup.kill").exists());
    match unified {
        Some(place) => file::write(&place.dir, "cgroup.kill", "1"),
        None => kill_each(cgroup),
    }
}

/// Without `cgroup.kill`: stop them all, so that none forks away, kill, and let them go to their end.
fn kill_each(cgroup: &Cgroup) -> Result<()> {
    let stopped = freeze(cgroup).is_ok();
    let killed = tree::pids(cgroup).and_then(|pids| pids.into_iter().try_for_each(kill_one));
    if stopped {
        thaw(cgroup)?;
    }
    killed
}

fn kill_one(pid: i32) -> Result<()> {
    let Some(process) = Pid::from_raw(pid) else { return Ok(()) };
    match kill_process(process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(hull_sys::Error::new("kill", pid.to_string(), errno).into()),
    }
}

/// Where this cgroup is frozen: version 2 if it can, else the controller of version 1.
fn freezer(cgroup: &Cgroup) -> Result<Place> {
    let unified = cgroup.unified().filter(|place| place.dir.join("cgroup.freeze").exists());
    unified
        .or_else(|| cgroup.controller("freezer"))
        .ok_or_else(|| Error::Unsupported("this host has no freezer for cgroups".to_owned()))
}

fn set(place: &Place, frozen: bool) -> Result<()> {
    match (place.hierarchy.dialect(), frozen) {
        (Dialect::V1, true) => file::write(&place.dir, "freezer.state", "FROZEN"),
        (Dialect::V1, false) => file::write(&place.dir, "freezer.state", "THAWED"),
        (Dialect::V2, true) => file::write(&place.dir, "cgroup.freeze", "1"),
        (Dialect::V2, false) => file::write(&place.dir, "cgroup.freeze", "0"),
    }
}

fn is_frozen(place: &Place) -> Result<bool> {
    match place.hierarchy.dialect() {
        Dialect::V1 => Ok(file::read(&place.dir, "freezer.state")?.trim() == "FROZEN"),
        Dialect::V2 => Ok(is_frozen_v2(&place.dir)),
    }
}

/// An empty cgroup is never reported as frozen in its events, so the request itself counts there.
fn is_frozen_v2(dir: &Path) -> bool {
    let event = |key| file::pair(dir, "cgroup.events", key);
    event("frozen") == Some(1)
        || (event("populated") == Some(0) && file::number(dir, "cgroup.freeze") == Some(1))
}
