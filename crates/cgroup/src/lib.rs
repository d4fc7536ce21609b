//! Control groups: one handle over version 1, hybrid and version 2.
//!
//! A [`Cgroup`] is one path, `/hull/<id>`, that exists under every hierarchy the host has mounted, so
//! that no caller asks which version a host runs. Where each controller lives is looked up per
//! controller: on a hybrid host some are files of version 1 and others of version 2.
//!
//! Nothing is kept in memory but the path: the kernel's file system is the state. It survives every
//! process of ours, [`Cgroup::open`] finds it again, and [`Cgroup::remove`] ends it. A cgroup goes
//! from *created* (no process) to *populated* (by [`Entry::enter`] or `CLONE_INTO_CGROUP`), possibly
//! *frozen* and back, and may be removed when it is empty again. Others may remove it at any time: what
//! fails because of that is [`Error::NotFound`].
//!
//! Source of the file formats: `Documentation/admin-guide/cgroup-v1/*` and `cgroup-v2.rst` of the kernel.

mod details;
mod devices;
mod entry;
mod error;
mod file;
mod freezer;
mod hierarchy;
mod limits;
mod oom;
mod stats;
mod support;
pub mod systemd;
mod tree;

use std::path::PathBuf;

use hull_oci::runtime::LinuxResources;

pub use details::{Counter, Cpuset, Details};
pub use entry::Entry;
pub use error::{Error, Result};
pub use hierarchy::Version;
pub use oom::OomWatch;
pub use stats::{Blkio, Cpu, Device, Memory, Pids, Stats};
pub use support::{Support, support, unified_mount};

use hierarchy::{Dialect, Hierarchies, Place};

/// One control group, under every hierarchy of the host.
///
/// Dropping the handle leaves the cgroup as it is; [`Cgroup::remove`] ends it.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: String,
    hierarchies: &'static Hierarchies,
}

impl Cgroup {
    /// Makes the cgroup `path` (absolute, as `/hull/<id>`) and its parents, ready for processes.
    ///
    /// One that exists already is taken over as it is. If a step fails, what was made is removed again.
    pub fn create(path: &str) -> Result<Self> {
        let cgroup = Self::named(path)?;
        tree::create(&cgroup.places())?;
        Ok(cgroup)
    }

    /// The existing cgroup `path`; [`Error::NotFound`] if no hierarchy has it.
    pub fn open(path: &str) -> Result<Self> {
        let cgroup = Self::named(path)?;
        match cgroup.exists() {
            true => Ok(cgroup),
            false => Err(Error::NotFound(path.to_owned())),
        }
    }

    /// Whether any hierarchy has it still.
    pub fn exists(&self) -> bool {
        self.places().iter().any(|place| place.dir.is_dir())
    }

    /// The path below the root of each hierarchy, as `/hull/<id>`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Which kind of host this is.
    pub fn version(&self) -> Version {
        self.hierarchies.version()
    }

    /// The cgroup's directory under each hierarchy, with the controllers found there (empty for version 2,
    /// `name=systemd` and the like for hierarchies without one). What a container's `/sys/fs/cgroup` is made of.
    pub fn directories(&self) -> Vec<(Vec<String>, PathBuf)> {
        self.places()
            .into_iter()
            .map(|place| (place.hierarchy.v1_controllers().to_vec(), place.dir))
            .collect()
    }

    /// Sets every limit that `resources` names; what it leaves out stays as it is.
    ///
    /// A limit whose controller the host lacks is [`Error::Unsupported`]; one that the kernel refuses is
    /// [`Error::Invalid`]. A list of device rules starts from "deny all", even when it is empty.
    pub fn apply(&self, resources: &LinuxResources) -> Result<()> {
        self.unless_removed(limits::apply(self, resources))
    }

    /// Opens what a process needs to enter this cgroup, so that it can do so without allocating.
    pub fn entry(&self) -> Result<Entry> {
        Entry::open(&self.places())
    }

    /// Stops every process inside and waits (at most two seconds) until all have stopped.
    pub fn freeze(&self) -> Result<()> {
        self.unless_removed(freezer::freeze(self))
    }

    /// Lets every process inside run again.
    pub fn thaw(&self) -> Result<()> {
        self.unless_removed(freezer::thaw(self))
    }

    /// Whether the cgroup is frozen.
    pub fn frozen(&self) -> Result<bool> {
        self.unless_removed(freezer::frozen(self))
    }

    /// The processes inside, child cgroups included, as seen from our pid namespace. Empty if the cgroup is gone.
    pub fn pids(&self) -> Result<Vec<i32>> {
        tree::pids(self)
    }

    /// Sends SIGKILL to every process inside, also to those being forked meanwhile. Does not wait for their end.
    /// In a cgroup that is gone there is nothing left to kill.
    pub fn kill(&self) -> Result<()> {
        match self.unless_removed(freezer::kill(self)) {
            Err(Error::NotFound(_)) => Ok(()),
            killed => killed,
        }
    }

    /// What the processes inside have used so far. What the host does not account is zero or empty.
    pub fn stats(&self) -> Result<Stats> {
        stats::of(self)
    }

    /// What [`Cgroup::stats`] leaves out.
    pub fn details(&self) -> Details {
        details::of(self)
    }

    /// Tells when the kernel kills a process here for lack of memory, from now on.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        OomWatch::new(self)
    }

    /// How many processes the kernel has killed here for lack of memory; 0 without a memory controller.
    pub fn oom_kills(&self) -> u64 {
        stats::oom_kills(self)
    }

    /// Removes the cgroup and its children everywhere. Processes that are just ending are waited for
    /// (at most two seconds); a cgroup that is gone already counts as removed.
    pub fn remove(&self) -> Result<()> {
        tree::remove(&self.places())
    }

    /// What fails because someone has removed the cgroup meanwhile is [`Error::NotFound`].
    fn unless_removed<T>(&self, done: Result<T>) -> Result<T> {
        done.map_err(|error| match self.places().iter().all(|place| place.dir.is_dir()) {
            true => error,
            false => Error::NotFound(self.path.clone()),
        })
    }

    fn named(path: &str) -> Result<Self> {
        let sane = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['\n', '\0']);
        match path.strip_prefix('/') {
            Some(rest) if rest.split('/').all(sane) => {
                Ok(Self { path: path.to_owned(), hierarchies: Hierarchies::of_host()? })
            }
            _ => Err(Error::Invalid(format!("cgroup path {path:?} is not absolute and plain"))),
        }
    }

    /// Where this cgroup lies, hierarchy by hierarchy.
    fn places(&self) -> Vec<Place> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.place(&self.path)).collect()
    }

    /// Where the files of `controller` lie for this cgroup, if the host has it.
    fn controller(&self, controller: &str) -> Option<Place> {
        Some(self.hierarchies.with(controller)?.place(&self.path))
    }

    /// The directory in the version 2 hierarchy, if one is mounted.
    fn unified(&self) -> Option<Place> {
        Some(self.hierarchies.iter().find(|h| h.dialect() == Dialect::V2)?.place(&self.path))
    }
}
