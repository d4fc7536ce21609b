//! The first content of a volume: what the image has where it is mounted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use hull_sys::root::Root;
use rustix::io::Errno;

use crate::plant::{Plant, Rules};
use crate::walk::{Reading, Step, Walk};
use crate::{Error, Result};

/// Fills the directory `dest` of the host with what is in the directory `path` below `root`, attributes of the
/// directory itself included. Links in `path` are followed below `root`.
///
/// Only an empty `dest` is filled, and a `path` that is not there or is no directory fills nothing; the answer is
/// whether something was done.
pub fn copy_up(root: BorrowedFd<'_>, path: &Path, dest: &Path) -> Result<bool> {
    let root = Root::from(root.try_clone_to_owned().map_err(Error::reading)?);
    let from = match root.sub(path) {
        Err(error) if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) => return Ok(false),
        from => from?,
    };
    let dest = Root::open(dest)?;
    if !dest.read_dir(".")?.is_empty() {
        return Ok(false);
    }
    let rules = Rules { max_entries: u64::MAX, keep_kinds: false, owner: None };
    let mut plant = Plant::new(&dest, rules);
    let mut reading = Reading::default();
    let top = Step { path: PathBuf::new(), stat: from.stat(".")? };
    if let Some((node, _)) = reading.node_at(from.as_fd(), &top, PathBuf::new())? {
        plant.put(&node, &mut io::empty())?;
    }
    let mut walk = Walk::new(from)?;
    while let Some(step) = walk.next()? {
        if let Some((node, mut content)) = reading.node(&walk, &step, step.path.clone())? {
            plant.put(&node, &mut content)?;
        }
    }
    plant.finish()?;
    Ok(true)
}
