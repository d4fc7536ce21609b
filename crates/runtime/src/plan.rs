//! A spec, read once and checked before anything is made: which namespaces, which mounts, which kernel settings.

pub(crate) mod check;
mod mounts;
mod namespaces;
pub(crate) mod sysctl;

use std::path::{Path, PathBuf};

use hull_oci::runtime::{Process, Spec};
use hull_sys::Error;
use rustix::io::Errno;

use crate::create::Create;
use crate::failure::Failure;

pub(crate) use mounts::{Idmap, MountPlan, What};
pub(crate) use namespaces::NamespacePlan;

/// What is to be made.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The namespaces, made and joined.
    pub(crate) namespaces: NamespacePlan,
    /// Mounts, in order.
    pub(crate) mounts: Vec<MountPlan>,
    /// Files below /proc/sys, with their content.
    pub(crate) sysctls: Vec<(PathBuf, String)>,
}

impl Plan {
    /// Reads and checks.
    pub(crate) fn of(create: &Create) -> Result<Self, Failure> {
        let spec = &create.spec;
        check::spec(spec)?;
        let namespaces = NamespacePlan::of(spec, create.network.as_ref())?;
        let label = check::mount_label(spec)?;
        let mounts = spec.mounts().iter().flatten();
        let mounts = mounts.map(|mount| MountPlan::of(mount, label)).collect::<Result<_, _>>()?;
        let sysctls = sysctl::of(spec, &namespaces)?;
        Ok(Self { namespaces, mounts, sysctls })
    }

    /// Whether the process is root only in a user namespace.
    pub(crate) fn maps_users(&self) -> bool {
        self.namespaces.maps_users()
    }
}

/// The process that every container must have.
pub(crate) fn process(spec: &Spec) -> Result<&Process, Failure> {
    spec.process().as_ref().ok_or_else(|| Failure::text("spec", "there is no process in it"))
}

/// A failure that says what was wrong with a path of the container.
pub(crate) fn refused(op: &'static str, path: &Path, errno: Errno) -> Error {
    Error::new(op, path.to_string_lossy(), errno)
}
