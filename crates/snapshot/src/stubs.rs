//! What is in a container's writable layer only so that something could be mounted on it.
//!
//! Every container has its own `/dev`, `/proc`, `/sys` and three files in `/etc` mounted. Where the image has
//! nothing at such a place, an empty directory or file is made: no change of the container's.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use hull_sys::Context;
use hull_sys::root::{self, Root};
use rustix::fs::{FileType, Stat};

use crate::{Result, overlay};

/// Where every container has something mounted.
const PLACES: [&str; 6] = ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"];

/// The paths of `upper` that are no changes of what is in `lower`: the stubs, and a directory that was touched or
/// made for nothing but them.
pub(crate) fn find(upper: &Root, lower: &Root) -> Result<HashSet<PathBuf>> {
    let mut stubs = HashSet::new();
    for place in PLACES.map(Path::new) {
        if is_empty(upper, place)? && lower.lstat(place).is_err() {
            stubs.insert(place.to_owned());
        }
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
