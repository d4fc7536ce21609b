//! How much a container may write: each bounded snapshot is a project of the file system's (see [`hull_sys::quota`]).
//!
//! The id of the project stands nowhere but in the inodes of `upper/` and `work/`, between which overlayfs renames files and
//! which are therefore of one project. Their directory is of none: the kernel lets no directory of another project
//! into one that hands down its own, and ours goes to `unfinished/` in the end. Which ids are in use is the kernel's to
//! say: also those of somebody else's directories, and of trees that are still being removed.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hull_sys::{Context, quota};

use crate::Result;

/// The directories of a snapshot that count.
const COUNTED: [&str; 2] = ["upper", "work"];

#[derive(Debug)]
pub(crate) struct Quotas {
    /// A directory on the file system.
    place: File,
    /// The next id to try. Going upwards, an id comes again only after a restart.
    next: Mutex<u32>,
}

impl Quotas {
    /// Of the file system that `root` is on; `None` if it bounds no projects.
    pub(crate) fn of(root: &Path) -> Result<Option<Self>> {
        let place = File::open(root).on("open", root)?;
        if !quota::is_enforced(&place) {
            return Ok(None);
        }
        // As Docker counts: above the project of the whole directory, if it is in one.
        let first = quota::project(&place)?.saturating_add(1);
        Ok(Some(Self { place, next: Mutex::new(first) }))
    }

    /// Bounds what is written to the snapshot in `directory`, which nobody has written to yet.
    pub(crate) fn bound(&self, directory: &Path, bytes: u64) -> Result<()> {
        let project = self.free_project()?;
        for name in COUNTED {
            let counted = directory.join(name);
            quota::set_project(File::open(&counted).on("open", &counted)?, project)?;
        }
        Ok(quota::set_limit(&self.place, project, bytes)?)
    }

    /// Forgets the bounds of the snapshot in `directory`, which nobody writes to any more.
    pub(crate) fn lift(&self, directory: &Path) -> Result<()> {
        let upper = directory.join(COUNTED[0]);
        let own = quota::project(File::open(&upper).on("open", &upper)?)?;
        if own == 0 || own == quota::project(&self.place)? {
            return Ok(());
        }
        Ok(quota::set_limit(&self.place, own, 0)?)
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
