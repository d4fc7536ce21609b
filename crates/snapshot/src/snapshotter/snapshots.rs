//! Writable layers: one for each container, on the layers of its image.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hull_oci::Digest;
use hull_sys::Context;
use hull_sys::root::Root;

use super::layers::no_layer;
use super::record::Below;
use super::unfinished::Unfinished;
use super::{Snapshotter, make_dir};
use crate::{Error, Mounts, Result, furniture, settle, walk};

/// What a container's own files take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Space on the disk in bytes; a file with several names counts once.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

impl Snapshotter {
    /// Whether the file system can bound what is written to a snapshot: xfs and ext4 mounted with `prjquota`.
    pub fn can_bound(&self) -> bool {
        self.quotas.is_some()
    }

    /// Makes the writable layer `key` on top of `chains` (bottom first).
    ///
    /// A key is up to 128 letters, digits, `_`, `.` and `-`, and does not start with a dot.
    pub fn prepare(&self, key: &str, chains: &[Digest]) -> Result<Mounts> {
        self.prepare_on(key, Below { chains: chains.to_vec(), furnished: false })
    }

    /// Like [`prepare`](Self::prepare), for a container: on top of the image is what every container has, and if `bytes`
    /// are given, there is no more room than that. Files, directories and the file system's own notes of them count.
    ///
    /// # Errors
    /// Also [`Error::Invalid`] where the file system bounds nothing.
    pub fn prepare_container(&self, key: &str, chains: &[Digest], bytes: Option<u64>) -> Result<Mounts> {
        let quotas = match (bytes, &self.quotas) {
            (Some(_), None) => return Err(Error::invalid("the file system bounds no projects")),
            (bytes, quotas) => bytes.zip(quotas.as_ref()),
        };
        self.furnish(chains)?;
        let mounts = self.prepare_on(key, Below { chains: chains.to_vec(), furnished: true })?;
        if let Some((bytes, quotas)) = quotas {
            quotas.bound(&counted(&self.snapshot_dir(key)), bytes).inspect_err(|_| {
                // Left behind, it is the caller's to sweep, like any that he has no use for.
                let _ = self.remove(key);
            })?;
        }
        Ok(mounts)
    }

    fn prepare_on(&self, key: &str, below: Below) -> Result<Mounts> {
        check_key(key)?;
        let missing = || below.chains.iter().find(|chain| !self.has_layer(chain)).map(no_layer);
        if let Some(error) = missing() {
            return Err(error);
        }
        let unfinished = self.snapshot_on(&below)?;
        let mut snapshots = self.snapshots_locked();
        // Again: whoever removes a layer does it under this lock.
        if let Some(error) = missing() {
            return Err(error);
        }
        if !unfinished.keep_as(&self.snapshot_dir(key))? {
            return Err(Error::Conflict(format!("snapshot {key} exists already")));
        }
        let mounts = self.mounts_of(key, &below);
        snapshots.insert(key.to_owned(), Some(below));
        Ok(mounts)
    }

    /// Sees that the furniture of these layers is there. Who is second finds that of the first, which is the same.
    pub(super) fn furnish(&self, chains: &[Digest]) -> Result<()> {
        let place = self.furniture_dir(chains);
        if place.exists() {
            return Ok(());
        }
        let unfinished = self.unfinished()?;
        furniture::make(&Root::from(self.view(chains)?), &Root::open(&unfinished.path)?)?;
        unfinished.keep_as(&place).map_err(|error| {
            match chains.last().filter(|top| !self.has_layer(top)) {
                Some(top) => no_layer(top),
                None => error,
            }
        })?;
        Ok(())
    }

    /// The directories of the snapshot `key`.
    pub fn mounts(&self, key: &str) -> Result<Mounts> {
        let snapshots = self.snapshots_locked();
        let below = snapshots.get(key).ok_or_else(|| no_snapshot(key))?;
        let below = below.as_ref().ok_or_else(|| {
            Error::NotFound(format!("snapshot {key} was cut off by a crash of the machine: remove it"))
        })?;
        if let Some(missing) = below.chains.iter().find(|chain| !self.has_layer(chain)) {
            return Err(no_layer(missing));
        }
        if below.furnished {
            // A layer that was torn by a crash of the machine has been applied again since, and has none.
            self.furnish(&below.chains)?;
        }
        let mounts = self.mounts_of(key, below);
        // The kernel's mark of a volatile mount that has ended: nothing is lost while the machine runs, and what does
        // not outlive its next start is not mounted any more.
        match fs::remove_dir_all(mounts.work.join("work/incompat/volatile")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).on("remove", &mounts.work)?,
            _ => Ok(mounts),
        }
    }

    /// The directories of the snapshot `key`, only to tell of them; `None` if there is none, or none that is whole.
    pub fn places(&self, key: &str) -> Option<Mounts> {
        // Who only asks keeps nobody from making or removing one while the layers are looked at.
        let below = self.snapshots_locked().get(key)?.clone()?;
        Some(self.mounts_of(key, &below))
    }

    /// Removes the snapshot `key` with all that was written to it. Nothing may have it mounted.
    pub fn remove(&self, key: &str) -> Result<()> {
        let gone = {
            let mut snapshots = self.snapshots_locked();
            if !snapshots.contains_key(key) {
                return Err(no_snapshot(key));
            }
            let gone = self.take_name(&self.snapshot_dir(key)).on("rename", self.snapshot_dir(key))?;
            snapshots.remove(key);
            gone
        };
        if let Some(quotas) = &self.quotas {
            // A limit that stays bounds nobody: its project has no files soon, and is given to no other while it has one.
            let _ = quotas.lift(&gone.join("upper"));
        }
        self.reaper.push(gone);
        Ok(())
    }

    /// What the files written to the snapshot `key` take.
    pub fn usage(&self, key: &str) -> Result<Usage> {
        if !self.snapshots_locked().contains_key(key) {
            return Err(no_snapshot(key));
        }
        walk::usage(&Root::open(self.snapshot_dir(key).join("upper"))?)
    }

    /// The keys of all snapshots, in no order; those that were torn by a crash of the machine, too.
    pub fn snapshots(&self) -> Vec<String> {
        self.snapshots_locked().keys().cloned().collect()
    }

    pub(super) fn mounts_of(&self, key: &str, below: &Below) -> Mounts {
        let dir = self.snapshot_dir(key);
        let mut lower = self.lower(&below.chains);
        if below.furnished {
            lower.insert(0, self.furniture_dir(&below.chains));
        }
        Mounts { lower, upper: dir.join("upper"), work: dir.join("work") }
    }

    /// A new snapshot without its name yet.
    fn snapshot_on(&self, below: &Below) -> Result<Unfinished> {
        self.settle(&below.chains)?;
        let unfinished = self.unfinished()?;
        for name in ["upper", "work"] {
            make_dir(&unfinished.path.join(name))?;
        }
        // The root directory of an overlay is that of its upper layer.
        let top = Root::open(&self.lower(&below.chains)[0])?;
        settle::copy_attributes(top.as_fd(), Root::open(unfinished.path.join("upper"))?.as_fd())?;
        let path = unfinished.path.join("lower");
        fs::write(&path, below.to_string()).on("write", &path)?;
        Ok(unfinished)
    }

    /// The layer's own, for its chain id says what is below it.
    fn furniture_dir(&self, chains: &[Digest]) -> PathBuf {
        match chains.last() {
            Some(top) => self.layer_dir(top).join("furniture"),
            None => self.shared.root.join("empty/furniture"),
        }
    }
}

/// What counts of a snapshot: overlayfs renames files between the two, which are therefore of one project. Their directory
/// is of none: the kernel lets no directory of another project into one that hands down its own, and ours goes to
/// `unfinished/` in the end.
fn counted(snapshot: &Path) -> [PathBuf; 2] {
    ["upper", "work"].map(|name| snapshot.join(name))
}

pub(super) fn check_key(key: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    match key.bytes().all(fits) && !key.starts_with('.') && (1..=128).contains(&key.len()) {
        true => Ok(()),
        false => Err(Error::invalid(format!("invalid snapshot key {key:?}"))),
    }
}

fn no_snapshot(key: &str) -> Error {
    Error::NotFound(format!("no such snapshot: {key}"))
}
