//! What is in a container's writable layer without being a change of the container's.
//!
//! Every container has its own `/dev`, `/proc`, `/sys` and three files in `/etc` mounted. Where the image has
//! nothing at such a place, an empty directory or file is made. And every container is *furnished* with what programs
//! look for, as Docker's are: `/.dockerenv` says that this is a container, `/etc/mtab` leads to what is mounted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use hull_sys::Context;
use hull_sys::root::{self, Root};
use rustix::fs::{FileType, Stat};

use crate::{Mounts, Result, overlay};

/// Where every container has something mounted.
const PLACES: [&str; 6] = ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"];
/// The empty file that says so.
const MARK: &str = ".dockerenv";
const MTAB: &str = "etc/mtab";
const MOUNTS: &str = "/proc/mounts";

impl Mounts {
    /// Furnishes a container, where the image has nothing of its own there. To be called before anything is mounted: it
    /// writes to the directories themselves, so that nothing has to be.
    pub fn furnish(&self) -> Result<()> {
        let lower = self.lower.iter().map(Root::open).collect::<hull_sys::Result<Vec<_>>>()?;
        let upper = Root::open(&self.upper)?;
        if lower.iter().all(|layer| layer.lstat(MARK).is_err()) {
            upper.create_file(MARK, 0o755)?;
        }
        if let Some(above) = without_mtab(&lower)? {
            upper.mkdir("etc", 0o755)?;
            if let Some(stat) = above {
                upper.chown("etc", stat.st_uid, stat.st_gid)?;
                upper.chmod("etc", stat.st_mode & 0o7777)?;
            }
            upper.symlink(MOUNTS, MTAB)?;
        }
        Ok(())
    }
}

/// Whether an image has no `/etc/mtab` and could have one: then its `/etc`, if there is such a directory. The top layer
/// comes first.
fn without_mtab(layers: &[Root]) -> Result<Option<Option<Stat>>> {
    let (above, mut found) = (Path::new("etc"), None);
    for layer in layers {
        let Ok(stat) = layer.lstat(above) else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {}
            _ if overlay::is_whiteout(&stat) => break,
            // A link may lead anywhere.
            _ => return Ok(None),
        }
        found.get_or_insert(stat);
        match layer.lstat(MTAB) {
            Ok(stat) if overlay::is_whiteout(&stat) => break,
            Ok(_) => return Ok(None),
            Err(_) if overlay::is_opaque(layer.open_dir(above)?)? => break,
            Err(_) => {}
        }
    }
    Ok(Some(found))
}

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
