//! How much may be written to a directory: each bounded one is a project of the file system's (see [`hull_sys::quota`]).
//!
//! The id of the project stands nowhere but in the inodes. Which ids are in use is the kernel's to say: also those of
//! somebody else's directories, and of trees that are still being removed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hull_sys::{Context, quota};

use crate::Result;

/// Held from the choice of an id until the kernel knows it.
static CHOOSING: Mutex<()> = Mutex::new(());

/// The projects of one file system.
#[derive(Debug)]
pub struct Quotas {
    /// A directory on it.
    place: File,
    /// The next id to try. Going upwards, an id comes again only after a restart.
    next: Mutex<u32>,
}

impl Quotas {
    /// Of the file system that `root` is on; `None` if it bounds no projects.
    pub fn of(root: &Path) -> Result<Option<Self>> {
        let place = File::open(root).on("open", root)?;
        if !quota::is_enforced(&place) {
            return Ok(None);
        }
        // As Docker counts: above the project of the whole directory, if it is in one.
        let first = quota::project(&place)?.saturating_add(1);
        Ok(Some(Self { place, next: Mutex::new(first) }))
    }

    /// Bounds what is written to `directories` together. They are empty, or bounded already.
    pub fn bound(&self, directories: &[PathBuf], bytes: u64) -> Result<()> {
        let _choosing = CHOOSING.lock().unwrap_or_else(PoisonError::into_inner);
        let project = match directories.first().map(|first| self.own_project(first)).transpose()?.flatten() {
            Some(own) => own,
            None => self.free_project()?,
        };
        for directory in directories {
            quota::set_project(File::open(directory).on("open", directory)?, project)?;
        }
        Ok(quota::set_limit(&self.place, project, bytes)?)
    }

    /// Forgets the bounds of a directory, to which nobody writes any more.
    pub fn lift(&self, directory: &Path) -> Result<()> {
        match self.own_project(directory)? {
            Some(own) => Ok(quota::set_limit(&self.place, own, 0)?),
            None => Ok(()),
        }
    }

    /// The project of a directory that is not everybody's.
    fn own_project(&self, directory: &Path) -> Result<Option<u32>> {
        let own = quota::project(File::open(directory).on("open", directory)?)?;
        Ok((own != 0 && own != quota::project(&self.place)?).then_some(own))
    }

    fn free_project(&self) -> Result<u32> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let project = *next;
            *next = project.checked_add(1).unwrap_or(1);
            if !quota::is_used(&self.place, project)? {
                return Ok(project);
            }
        }
    }
}
