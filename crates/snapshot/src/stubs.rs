//! What is in a container's writable layer without being a change of the container's: empty files and directories that
//! were made to mount on, where neither the image nor the furniture has something.
//!
//! The writable layers of containers made by earlier versions have their furniture in them, too.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use hull_sys::Context;
use hull_sys::root::{self, Root};
use rustix::fs::{FileType, Stat};

use crate::furniture::{MARK, MOUNTS, MTAB};
use crate::{Result, overlay};

/// Where every container has something mounted.
const PLACES: [&str; 6] = ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"];

/// The paths of `upper` that are no changes of what is in `lower`: the stubs, and a directory that was touched or
/// made for nothing but them.
pub(crate) fn find(upper: &Root, lower: &Root) -> Result<HashSet<PathBuf>> {
    let mut stubs = HashSet::new();
    for place in PLACES.iter().chain(&[MARK]).map(Path::new) {
        if is_empty(upper, place)? && lower.lstat(place).is_err() {
            stubs.insert(place.to_owned());
        }
    }
    let is_ours = upper.read_link(MTAB).is_ok_and(|target| target == Path::new(MOUNTS));
    if is_ours && lower.lstat(MTAB).is_err() {
        stubs.insert(MTAB.into());
    }
    let above = Path::new("etc");
    if stubs.iter().any(|stub| stub.starts_with(above)) {
        let names = root::entries(upper.open_dir(above)?).on("getdents", above)?;
        let alone = names.iter().all(|entry| stubs.contains(&above.join(&entry.name)));
        if alone && is_unchanged(upper, lower, above)? {
            stubs.insert(above.to_owned());
        }
    }
    Ok(stubs)
}

/// Whether there is an empty file or an empty directory.
fn is_empty(upper: &Root, path: &Path) -> Result<bool> {
    let Ok(stat) = upper.lstat(path) else { return Ok(false) };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => stat.st_size == 0,
        FileType::Directory => root::entries(upper.open_dir(path)?).on("getdents", path)?.is_empty(),
        _ => false,
    })
}

/// Whether a directory is new or has its old attributes, but for the time at which something was made in it.
fn is_unchanged(upper: &Root, lower: &Root, path: &Path) -> Result<bool> {
    let attributes = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    let Ok(before) = lower.lstat(path) else { return Ok(true) };
    let same = attributes(&before) == attributes(&upper.lstat(path)?);
    Ok(same && !overlay::is_opaque(upper.open_dir(path)?)?)
}
