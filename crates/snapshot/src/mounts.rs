//! The directories of a container's root file system, and mounting them.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hull_sys::mount::{self, Writable};

use crate::Result;

/// The directories of an overlay. Nothing is mounted by having this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    /// The trees of the image's layers, the top one first; never empty.
    pub lower: Vec<PathBuf>,
    /// What the container wrote.
    pub upper: PathBuf,
    /// The kernel's own directory, on the same file system as `upper`.
    pub work: PathBuf,
}

impl Mounts {
    /// The overlay, writable, attached nowhere; it goes with the descriptor.
    ///
    /// The kernel calls two mounts of one upper directory at a time undefined: not for a container that runs.
    pub fn mount(&self) -> Result<OwnedFd> {
        Ok(mount::overlay(&self.lower, Some(self.writable()))?)
    }

    fn writable(&self) -> Writable<'_> {
        Writable { upper: &self.upper, work: &self.work, volatile: false }
    }

    /// The same tree, read-only, with the upper directory as one more lower one: nothing is ever written,
    /// not even to the work directory.
    ///
    /// What a running container changes while this is mounted may or may not be seen.
    pub fn mount_readonly(&self) -> Result<OwnedFd> {
        let mut lower = Vec::with_capacity(self.lower.len() + 1);
        lower.push(self.upper.clone());
        lower.extend(self.lower.iter().cloned());
        Ok(mount::overlay(&lower, None)?)
    }
}
