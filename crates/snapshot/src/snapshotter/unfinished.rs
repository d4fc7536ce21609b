//! What is being made: a directory without a name yet.

use std::path::{Path, PathBuf};

use hull_sys::Context;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::{Result, reaper};

/// A directory that is being made. It goes when this is dropped, unless it got its name.
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
    kept: bool,
}

impl Unfinished {
    /// The directory is there.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, kept: false }
    }

    /// Gives the directory its name; `false` if something has that name already (then it is removed).
    pub(super) fn keep_as(mut self, name: &Path) -> Result<bool> {
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
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed by the next `open`.
            let _ = reaper::remove_tree(&self.path);
        }
    }
}
