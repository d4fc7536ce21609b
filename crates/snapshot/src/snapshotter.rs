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

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hull_oci::Digest;
use hull_oci::digest::Algorithm;
use hull_sys::root::Root;
use hull_sys::{Context, mount};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::furniture;
use crate::overlay;
use crate::quota::Quotas;
use crate::reaper::{self, Reaper};
use crate::settle;
use crate::unpack::{self, Unpacked};
use crate::walk;
use crate::{Error, Limits, Mounts, Result};

mod record;

use record::Below;

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

/// What unpacking a layer found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// SHA-256 of the uncompressed archive, as read.
    pub diff_id: Digest,
    /// Bytes in the layer's regular files.
    pub size: u64,
    /// Entries of the archive.
    pub entries: u64,
}

/// What a container's own files take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Space on the disk in bytes; a file with several names counts once.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
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

    /// Whether the layer is usable.
    pub fn has_layer(&self, chain: &Digest) -> bool {
        self.layer_dir(chain).join("facts").exists()
    }

    /// Unpacks an uncompressed layer archive and makes it usable under its chain id.
    ///
    /// Layers do not need each other, so an image's are applied in parallel. The archive is read to its end,
    /// whatever it holds. If the layer is there already (somebody else was faster), this one is dropped.
    pub fn apply(&self, chain: &Digest, tar: impl Read, limits: &Limits) -> Result<Applied> {
        self.apply_if(chain, None, tar, limits)
    }

    /// Like [`apply`](Self::apply), of an archive whose digest is known: one of another digest is not kept.
    pub fn apply_verified(
        &self,
        chain: &Digest,
        diff_id: &Digest,
        tar: impl Read,
        limits: &Limits,
    ) -> Result<Applied> {
        self.apply_if(chain, Some(diff_id), tar, limits)
    }

    fn apply_if(
        &self,
        chain: &Digest,
        diff_id: Option<&Digest>,
        tar: impl Read,
        limits: &Limits,
    ) -> Result<Applied> {
        let unfinished = self.unfinished()?;
        let tree = unfinished.path.join("fs");
        make_dir(&tree)?;
        let Unpacked { applied, inherit } = unpack::layer(&Root::open(&tree)?, tar, limits)?;
        if let Some(expected) = diff_id.filter(|expected| **expected != applied.diff_id) {
            let found = &applied.diff_id;
            return Err(Error::Invalid(format!(
                "layer is not what it should be: expected {expected}, found {found}"
            )));
        }
        settle::write_list(&unfinished.path.join("inherit"), &inherit)?;
        let facts = Facts { applied, boot: self.shared.boot.clone() };
        facts.write(&unfinished.path.join("facts"))?;
        if unfinished.keep_as(&self.layer_dir(chain))? {
            self.sync_later();
        }
        Ok(facts.applied)
    }

    /// What [`Snapshotter::apply`] said of the layer.
    pub fn layer(&self, chain: &Digest) -> Result<Applied> {
        let path = self.layer_dir(chain).join("facts");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_layer(chain)),
            read => match Facts::parse(&read.on("read", &path)?) {
                Some(facts) => Ok(facts.applied),
                None => Err(Error::Invalid(format!("{} is damaged", path.display()))),
            },
        }
    }

    /// Bytes in the layer's regular files.
    pub fn layer_size(&self, chain: &Digest) -> Result<u64> {
        Ok(self.layer(chain)?.size)
    }

    /// The chain ids of all usable layers, in no order.
    pub fn layers(&self) -> Result<Vec<Digest>> {
        let names = list(&self.shared.root.join("layers"))?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(Algorithm::Sha256, name).ok()).collect())
    }

    /// Removes a layer that no snapshot stands on.
    pub fn remove_layer(&self, chain: &Digest) -> Result<()> {
        let unfinished = self.unfinished()?;
        {
            let snapshots = self.snapshots_locked();
            let user = snapshots.iter().find(|(_, below)| below.iter().any(|below| below.has(chain)));
            if let Some((key, _)) = user {
                return Err(Error::InUse(format!("layer {} is below snapshot {key}", chain.short())));
            }
            match fs::rename(self.layer_dir(chain), unfinished.path.join("gone")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_layer(chain)),
                renamed => renamed.on("rename", self.layer_dir(chain))?,
            }
        }
        self.reaper.push(unfinished.release());
        Ok(())
    }

    /// Makes the writable layer `key` on top of `chains` (bottom first).
    ///
    /// A key is up to 128 letters, digits, `_`, `.` and `-`, and does not start with a dot.
    pub fn prepare(&self, key: &str, chains: &[Digest]) -> Result<Mounts> {
        self.prepare_on(key, Below { chains: chains.to_vec(), furnished: false })
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

    /// Whether the file system can bound what is written to a snapshot: xfs and ext4 mounted with `prjquota`.
    pub fn can_bound(&self) -> bool {
        self.quotas.is_some()
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

    /// Sees that the furniture of these layers is there. Who is second finds that of the first, which is the same.
    fn furnish(&self, chains: &[Digest]) -> Result<()> {
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
        let snapshots = self.snapshots_locked();
        snapshots.get(key)?.as_ref().map(|below| self.mounts_of(key, below))
    }

    /// The trees of layers (bottom first), the top one first, only to tell of them.
    pub fn trees(&self, chains: &[Digest]) -> Vec<PathBuf> {
        chains.iter().rev().map(|chain| self.tree(chain)).collect()
    }

    fn tree(&self, chain: &Digest) -> PathBuf {
        self.layer_dir(chain).join("fs")
    }

    /// Removes the snapshot `key` with all that was written to it. Nothing may have it mounted.
    pub fn remove(&self, key: &str) -> Result<()> {
        let unfinished = self.unfinished()?;
        {
            let mut snapshots = self.snapshots_locked();
            if !snapshots.contains_key(key) {
                return Err(no_snapshot(key));
            }
            fs::rename(self.snapshot_dir(key), unfinished.path.join("gone"))
                .on("rename", self.snapshot_dir(key))?;
            snapshots.remove(key);
        }
        if let Some(quotas) = &self.quotas {
            // A limit that stays bounds nobody: its project has no files soon, and is given to no other while it has one.
            let _ = quotas.lift(&unfinished.path.join("gone/upper"));
        }
        self.reaper.push(unfinished.release());
        Ok(())
    }

    /// Waits until what was removed is gone from the disk.
    pub fn finish_removals(&self) {
        self.reaper.wait();
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

    /// The layers of an image (bottom first) as one read-only tree, mounted nowhere.
    pub fn view(&self, chains: &[Digest]) -> Result<OwnedFd> {
        if let Some(missing) = chains.iter().find(|chain| !self.has_layer(chain)) {
            return Err(no_layer(missing));
        }
        self.settle(chains)?;
        // The kernel wants two layers where nothing is writable.
        let mut lower = self.lower(chains);
        lower.push(self.shared.root.join("empty/two"));
        Ok(mount::overlay(&lower, None)?)
    }

    fn layer_dir(&self, chain: &Digest) -> PathBuf {
        self.shared.root.join("layers").join(chain.hex())
    }

    fn snapshot_dir(&self, key: &str) -> PathBuf {
        self.shared.root.join("snapshots").join(key)
    }

    /// The layer's own, for its chain id says what is below it.
    fn furniture_dir(&self, chains: &[Digest]) -> PathBuf {
        match chains.last() {
            Some(top) => self.layer_dir(top).join("furniture"),
            None => self.shared.root.join("empty/furniture"),
        }
    }

    fn snapshots_locked(&self) -> MutexGuard<'_, HashMap<String, Option<Below>>> {
        // Whoever panicked with it held no half-made change: each is one insert or remove.
        self.shared.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trees of `chains` (bottom first), top first.
    fn lower(&self, chains: &[Digest]) -> Vec<PathBuf> {
        if chains.is_empty() {
            return vec![self.shared.root.join("empty/one")];
        }
        let mut lower = self.trees(chains);
        // The kernel does not look whether the root of a layer is opaque: leave out what it hides.
        let opaque = |tree: &PathBuf| Root::open(tree).and_then(overlay::is_opaque).unwrap_or(false);
        if let Some(top) = lower.iter().position(opaque) {
            lower.truncate(top + 1);
        }
        lower
    }

    fn mounts_of(&self, key: &str, below: &Below) -> Mounts {
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

    /// Gives directories that a layer's archive did not list the attributes they have in the layers below.
    fn settle(&self, chains: &[Digest]) -> Result<()> {
        for (index, chain) in chains.iter().enumerate() {
            let inherit = self.layer_dir(chain).join("inherit");
            if inherit.exists() {
                settle::settle(&inherit, &self.lower(&chains[..=index]))?;
            }
        }
        Ok(())
    }

    fn unfinished(&self) -> Result<Unfinished> {
        loop {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let path = self.shared.root.join("unfinished").join(number.to_string());
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.on("mkdir", &path)?;
                    return Ok(Unfinished { path, kept: false });
                }
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

    /// Removes the layers that a crash of the machine may have torn; makes the others durable.
    fn check_layers(&self) -> Result<()> {
        let layers = Root::open(self.shared.root.join("layers"))?;
        let mut lacking = false;
        for entry in layers.read_dir(".")? {
            let dir = self.shared.root.join("layers").join(&entry.name);
            if dir.join("durable").exists() {
                continue;
            }
            let facts = fs::read_to_string(dir.join("facts")).unwrap_or_default();
            match Facts::parse(&facts) {
                Some(facts) if facts.boot == self.shared.boot => lacking = true,
                _ => layers.remove_all(&entry.name)?,
            }
        }
        if lacking {
            self.sync_later();
        }
        Ok(())
    }

    /// Makes usable layers durable in the background; at most one thread does, for as long as there are any.
    fn sync_later(&self) {
        self.shared.unsynced.store(true, Ordering::SeqCst);
        if self.shared.syncing.swap(true, Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new().name("layer-sync".to_owned()).spawn(move || shared.sync());
        if spawned.is_err() {
            // No thread to be had: the layers stay usable, and are applied again after a crash of the machine.
            self.shared.syncing.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Snapshotter {
    fn drop(&mut self) {
        *self.shared.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Shared {
    /// Syncs until nothing was added meanwhile. A layer that fails to become durable is merely applied again
    /// after a crash of the machine.
    fn sync(&self) {
        loop {
            while self.unsynced.swap(false, Ordering::SeqCst) {
                let _ = self.sync_layers();
            }
            self.syncing.store(false, Ordering::SeqCst);
            // Somebody who added a layer just before that line relies on us.
            if !self.unsynced.load(Ordering::SeqCst) || self.syncing.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    fn sync_layers(&self) -> Result<()> {
        let layers = self.root.join("layers");
        let root = Root::open(&layers)?;
        let lacking: Vec<_> =
            list(&layers)?.into_iter().filter(|name| !layers.join(name).join("durable").exists()).collect();
        let file = root.open_dir(".")?;
        rustix::fs::syncfs(file).on("syncfs", &layers)?;
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Ok(());
        }
        for name in lacking {
            match root.create_file(Path::new(&name).join("durable"), 0o600) {
                // Removed or marked by another meanwhile.
                Err(error) if error.is(Errno::NOENT) || error.is(Errno::EXIST) => {}
                created => drop(created?),
            }
        }
        Ok(())
    }
}

/// A directory that is being made, or removed. It goes when this is dropped, unless it got its name.
struct Unfinished {
    path: PathBuf,
    kept: bool,
}

impl Unfinished {
    /// Gives the directory its name; `false` if something has that name already (then it is removed).
    fn keep_as(mut self, name: &Path) -> Result<bool> {
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, &self.path, cwd, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => Ok(false),
            renamed => {
                renamed.on("rename", name)?;
                self.kept = true;
                Ok(true)
            }
        }
    }

    /// Leaves the directory to somebody else.
    fn release(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed by the next `open`.
            let _ = reaper::remove_tree(&self.path);
        }
    }
}

/// What the file `facts` of a layer holds.
struct Facts {
    applied: Applied,
    boot: String,
}

impl Facts {
    fn write(&self, path: &Path) -> Result<()> {
        let Applied { diff_id, size, entries } = &self.applied;
        fs::write(path, format!("{diff_id} {size} {entries} {}\n", self.boot)).on("write", path)?;
        Ok(())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let diff_id = Digest::parse(words.next()?).ok()?;
        let size = words.next()?.parse().ok()?;
        let entries = words.next()?.parse().ok()?;
        Some(Self { applied: Applied { diff_id, size, entries }, boot: words.next()?.to_owned() })
    }
}

/// What counts of a snapshot: overlayfs renames files between the two, which are therefore of one project. Their directory
/// is of none: the kernel lets no directory of another project into one that hands down its own, and ours goes to
/// `unfinished/` in the end.
fn counted(snapshot: &Path) -> [PathBuf; 2] {
    ["upper", "work"].map(|name| snapshot.join(name))
}

fn check_key(key: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    match key.bytes().all(fits) && !key.starts_with('.') && (1..=128).contains(&key.len()) {
        true => Ok(()),
        false => Err(Error::invalid(format!("invalid snapshot key {key:?}"))),
    }
}

fn no_layer(chain: &Digest) -> Error {
    Error::NotFound(format!("no such layer: {chain}"))
}

fn no_snapshot(key: &str) -> Error {
    Error::NotFound(format!("no such snapshot: {key}"))
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

#[cfg(test)]
mod tests;
