//! The directories of a cgroup: made, listed and removed, with their parents and children.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_sys::Context;
use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;

use crate::Cgroup;
use crate::error::Result;
use crate::file;
use crate::hierarchy::{Dialect, Place};

/// How long the last processes of a cgroup get to end before it cannot be removed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Directories made so far; dropping it removes them again, the newest first.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for dir in self.0.drain(..).rev() {
            // The failure that led here is the one to report.
            let _ = rustix::fs::rmdir(&dir);
        }
    }
}

pub(crate) fn create(places: &[Place]) -> Result<()> {
    let mut made = Made::default();
    for place in places {
        create_in(place, &mut made)?;
    }
    made.0.clear();
    Ok(())
}

fn create_in(place: &Place, made: &mut Made) -> Result<()> {
    let is_new = make_with_parents(place.hierarchy.mount(), &place.dir, made)?;
    if place.hierarchy.dialect() == Dialect::V2 {
        return pass_on_controllers(place);
    }
    match place.hierarchy.v1_controllers().iter().any(|c| c == "cpuset") {
        true => inherit_cpuset(place.hierarchy.mount(), &place.dir, is_new),
        false => Ok(()),
    }
}

/// Makes the directory, and its parents if they are missing, which they seldom are. Whether it was not there before.
fn make_with_parents(mount: &Path, dir: &Path, made: &mut Made) -> Result<bool> {
    match (mkdir(dir, Mode::from_raw_mode(0o755)), dir.parent()) {
        (Err(Errno::EXIST), _) => Ok(false),
        (Err(Errno::NOENT), Some(parent)) if parent != mount && parent.starts_with(mount) => {
            make_with_parents(mount, parent, made)?;
            make(dir, made)
        }
        (outcome, _) => {
            outcome.on("mkdir", dir)?;
            made.0.push(dir.to_path_buf());
            Ok(true)
        }
    }
}

fn make(dir: &Path, made: &mut Made) -> Result<bool> {
    match mkdir(dir, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(false),
        outcome => {
            outcome.on("mkdir", dir)?;
            made.0.push(dir.to_path_buf());
            Ok(true)
        }
    }
}

/// Version 2: a cgroup has the controllers that each one above it passes on. Nearly always all do so already.
fn pass_on_controllers(place: &Place) -> Result<()> {
    let mount = place.hierarchy.mount();
    let has = |dir: &Path| file::words(dir, "cgroup.controllers");
    if has(&place.dir)?.len() == has(mount)?.len() {
        return Ok(());
    }
    let mut above: Vec<&Path> =
        place.dir.ancestors().skip(1).take_while(|dir| dir.starts_with(mount)).collect();
    above.reverse();
    above.into_iter().try_for_each(enable_controllers)
}

/// Version 2: the children of `dir` get every controller that `dir` has.
///
/// A controller that cannot be passed on (realtime processes outside, processes in `dir` itself) is left
/// out here; a limit that needs it says so when it is set.
fn enable_controllers(dir: &Path) -> Result<()> {
    let enabled = file::words(dir, "cgroup.subtree_control")?;
    for controller in file::words(dir, "cgroup.controllers")? {
        if !enabled.contains(&controller) {
            let _ = file::write(dir, "cgroup.subtree_control", &format!("+{controller}"));
        }
    }
    Ok(())
}

/// Version 1: a new cpuset is empty, and no task may enter an empty one. It gets what its parent has, which may be as
/// empty, if someone else has made it.
fn inherit_cpuset(mount: &Path, dir: &Path, is_new: bool) -> Result<()> {
    let Some(parent) = dir.parent().filter(|parent| parent.starts_with(mount)) else { return Ok(()) };
    for set in ["cpuset.cpus", "cpuset.mems"] {
        if !is_new && !file::read(dir, set)?.trim().is_empty() {
            continue;
        }
        let mut inherited = file::read(parent, set)?;
        if inherited.trim().is_empty() {
            inherit_cpuset(mount, parent, false)?;
            inherited = file::read(parent, set)?;
        }
        file::write(dir, set, inherited.trim())?;
    }
    Ok(())
}

/// The processes of a cgroup and its children. 0 stands for a process outside our pid namespace.
pub(crate) fn pids(cgroup: &Cgroup) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    let Some(place) = cgroup.unified().or_else(|| cgroup.places().into_iter().next()) else {
        return Ok(pids);
    };
    walk(&place.dir, &mut |dir| {
        let listed = file::read(dir, "cgroup.procs");
        match listed {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            // Removed while we looked, or a threaded child, whose processes are listed at its parent.
            Err(crate::Error::System(e))
                if e.is(Errno::NOENT) || e.is(Errno::NODEV) || e.is(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    pids.retain(|pid| *pid > 0);
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

pub(crate) fn remove(places: &[Place]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    places.iter().try_for_each(|place| match rustix::fs::rmdir(&place.dir) {
        // Nearly always: nothing is inside, so it need not be looked at.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(_) => walk(&place.dir, &mut |dir| remove_one(dir, deadline)),
    })
}

/// A process leaves its cgroup a moment after it is gone for its parent, so "busy" is waited for.
fn remove_one(dir: &Path, deadline: Instant) -> Result<()> {
    let mut pause = Duration::from_micros(50);
    loop {
        match rustix::fs::rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(pause),
            refused => return Ok(refused.on("rmdir", dir)?),
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Visits `dir` and the directories below it, children first. One that is gone has no children.
fn walk(dir: &Path, visit: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    for child in children(dir)? {
        walk(&child, visit)?;
    }
    visit(dir)
}

fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Ok(Err(error).on("read directory", dir)?),
    };
    let is_dir = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries.flatten().filter(is_dir).map(|entry| dir.join::<&OsStr>(&entry.file_name())).collect())
}
