//! The directories of layers and containers.
//!
//! ```text
//! <root>/                       0700: nobody but root may reach the set-user-id programs of an image
//!   empty/{one,two,furniture}/  lower directories where an overlay needs some and there are no layers
//!   layers/<chain id in hex>/
//!     fs/                       the tree of this layer alone, whiteouts in the overlay's form
//!     facts                     diff id, size, entries, boot: written before the layer gets its name
//!     inherit                   directories the archive did not list: see `settle`
//!     durable                   the disk has all of it
//!     furniture/                what a container has on top of this chain of layers: see `furniture`
//!   snapshots/<key>/
//!     lower                     what it stands on: see `record`
//!     upper/ work/              the container's own
//!   unfinished/<n>/             what was being made or removed
//! ```
//!
//! **States of a layer.** *Unfinished*: a directory below `unfinished/`, owned by the one [`Snapshotter::apply`] that
//! fills it; dropping it removes it. *Usable*: one rename(2) gave it its name under `layers/`. *Durable*: a
//! syncfs(2) after that rename has returned. Removal renames it back to `unfinished/`, where a thread deletes it, so
//! a name under `layers/` always stands for a whole layer.
//!
//! **After a kill of the process** [`Snapshotter::open`] removes what is unfinished; all else is whole, for the
//! page cache survives us. **After a crash of the machine** a usable layer that is not durable may lack data: it
//! was applied under another boot id and is removed by `open`. The image store has the blob and applies it
//! again. So no apply waits for the disk (a syncfs(2) per layer costs as long as writing the layer), and yet no
//! torn layer is ever used. Furniture holds names and no data: a file system's journal keeps those in the order in
//! which they were made, and its own name is the last. A snapshot whose `lower` lacks its last line was torn the same way: it can only be
//! removed, and the container's record, committed at the same moment, is torn or reported with it.

mod durable;
mod layers;
mod record;
mod snapshots;
#[cfg(test)]
mod tests;
mod unfinished;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hull_oci::Digest;
use hull_sys::Context;
use hull_sys::root::Root;
use rustix::fs::{RenameFlags, renameat_with};

use crate::Result;
use crate::quota::Quotas;
use crate::reaper::Reaper;

pub use layers::Applied;
pub use snapshots::Usage;

use record::Below;
use unfinished::Unfinished;

/// Layers and snapshots below one directory. One process has it open at a time: the caller's pid file says so.
///
/// Dropping it waits for removals and stops other work in the background, so that the directory is nobody's; layers that are not durable by
/// then are looked after by the next [`Snapshotter::open`].
#[derive(Debug)]
pub struct Snapshotter {
    shared: Arc<Shared>,
    reaper: Reaper,
    quotas: Option<Quotas>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// What each snapshot stands on; `None` if its record is torn.
    snapshots: Mutex<HashMap<String, Option<Below>>>,
    boot: String,
    next: AtomicU64,
    syncing: AtomicBool,
    unsynced: AtomicBool,
    /// Held while layers are marked as durable; `true`: not ours any more.
    closed: Mutex<bool>,
}

impl Snapshotter {
    /// Opens `root` (made with mode 0700 if it is missing) and removes what a crash left unfinished.
    pub fn open(root: &Path) -> Result<Self> {
        make_dir(root)?;
        for below in ["empty/one", "empty/two", "layers", "snapshots", "unfinished"] {
            make_dir(&root.join(below))?;
        }
        // The root directory of a container without layers.
        Root::open(root)?.chmod("empty/one", 0o755)?;
        let shared = Shared {
            root: root.to_owned(),
            snapshots: Mutex::default(),
            boot: boot_id()?,
            next: AtomicU64::new(0),
            syncing: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            closed: Mutex::default(),
        };
        let quotas = Quotas::of(root)?;
        let this = Self { shared: Arc::new(shared), reaper: Reaper::default(), quotas };
        this.remove_unfinished()?;
        this.load_snapshots()?;
        this.check_layers()?;
        Ok(this)
    }

    /// Waits until what was removed is gone from the disk.
    pub fn finish_removals(&self) {
        self.reaper.wait();
    }

    fn layer_dir(&self, chain: &Digest) -> PathBuf {
        self.shared.root.join("layers").join(chain.hex())
    }

    fn snapshot_dir(&self, key: &str) -> PathBuf {
        self.shared.root.join("snapshots").join(key)
    }

    fn snapshots_locked(&self) -> MutexGuard<'_, HashMap<String, Option<Below>>> {
        // Whoever panicked with it held no half-made change: each is one insert or remove.
        self.shared.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new directory below `unfinished/`.
    fn unfinished(&self) -> Result<Unfinished> {
        let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
        Ok(Unfinished::at(self.numbered(make).on("mkdir", self.shared.root.join("unfinished"))?))
    }

    /// Takes a directory's name away, in one step; what it was lies below `unfinished/` until the reaper has it.
    fn take_name(&self, directory: &Path) -> io::Result<PathBuf> {
        let cwd = rustix::fs::CWD;
        self.numbered(|path| Ok(renameat_with(cwd, directory, cwd, path, RenameFlags::NOREPLACE)?))
    }

    /// The path below `unfinished/` that `take` could be done with: one that nothing has.
    fn numbered(&self, take: impl Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
        loop {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let path = self.shared.root.join("unfinished").join(number.to_string());
            match take(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                taken => return taken.map(|()| path),
            }
        }
    }

    fn remove_unfinished(&self) -> Result<()> {
        let unfinished = Root::open(self.shared.root.join("unfinished"))?;
        for entry in unfinished.read_dir(".")? {
            self.reaper.push(self.shared.root.join("unfinished").join(entry.name));
        }
        Ok(())
    }

    fn load_snapshots(&self) -> Result<()> {
        let mut snapshots = self.snapshots_locked();
        for key in list(&self.shared.root.join("snapshots"))? {
            let record = fs::read_to_string(self.snapshot_dir(&key).join("lower")).unwrap_or_default();
            snapshots.insert(key, Below::parse(&record));
        }
        Ok(())
    }
}

impl Drop for Snapshotter {
    fn drop(&mut self) {
        *self.shared.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).on("mkdir", path)?;
    Ok(())
}

/// The names in a directory of ours.
fn list(path: &Path) -> Result<Vec<String>> {
    let entries = Root::open(path)?.read_dir(".")?;
    Ok(entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect())
}

/// What tells this run of the machine from the one before (proc_sys_kernel(5), `random/boot_id`).
fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).on("read", path)?.trim().to_owned())
}
