//! Mounts whose files no path of the host names: a part of a volume, an image, another container's shared memory.
//!
//! The runtime opens them in the moment of the start. What is checked here is checked for the words of the error only.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_shim::protocol::Source;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::said;
use crate::model::{Container, MountKind, MountPoint};
use crate::spec::SHM;
use crate::{Engine, Error, Result};

impl Engine {
    /// By destination. `ipc_of` is the process whose shared memory is joined.
    pub(crate) fn sources(
        &self,
        container: &Container,
        ipc_of: Option<i32>,
    ) -> Result<BTreeMap<PathBuf, Source>> {
        let mut sources = BTreeMap::new();
        for mount in container.mounts.iter().filter(|mount| mount.kind == MountKind::Volume) {
            // A part of one that is a file system is taken where that is: see `volumes/devices`.
            if let Some(directory) = mount.directory().filter(|_| !mount.subpath().is_empty()) {
                sources.insert(PathBuf::from(&mount.destination), part_of_volume(mount, directory)?);
            }
        }
        for (key, mount) in container.image_mounts() {
            let mut layers = self.snapshots.mounts(&key)?;
            // The kernel wants two trees; what the snapshot could be written to is an empty one.
            layers.lower.push(layers.upper);
            let source = Source::Layers { layers: layers.lower, path: mount.subpath().into() };
            sources.insert(PathBuf::from(&mount.destination), source);
        }
        let has_own = |path: &str| {
            container.mounts.iter().any(|mount| mount.destination == path)
                || container.host.tmpfs.iter().flatten().any(|(destination, _)| destination == path)
        };
        if let Some(pid) = ipc_of.filter(|_| !has_own(SHM) && !has_own("/dev")) {
            sources.insert(PathBuf::from(SHM), Source::Of { pid, path: SHM.into() });
        }
        Ok(sources)
    }
}

fn part_of_volume(mount: &MountPoint, directory: &str) -> Result<Source> {
    below(Path::new(directory), mount.subpath())?;
    Ok(Source::Below { directory: directory.into(), path: mount.subpath().into() })
}

/// What is at `subpath` below a directory, if no link leads out; the directory itself, if that is empty.
pub(crate) fn below(directory: &Path, subpath: &str) -> Result<OwnedFd> {
    let subpath = if subpath.is_empty() { "." } else { subpath };
    let open = || {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let top = rustix::fs::open(directory, flags | OFlags::DIRECTORY, Mode::empty())?;
        let stay = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(top, subpath, flags, Mode::empty(), stay)
    };
    open().map_err(|errno| no_part(directory, subpath, errno))
}

/// Why there is nothing at `subpath` below `directory`.
pub(crate) fn no_part(directory: &Path, subpath: &str, errno: Errno) -> Error {
    if errno == Errno::XDEV {
        return Error::invalid(format!(
            "path concatenation escapes the base directory, base: {}, subpath: {subpath}",
            directory.display()
        ));
    }
    let (path, why) = (directory.join(subpath), said(&errno.into()));
    Error::invalid(format!("cannot access path {0}: lstat {0}: {why}", path.display()))
}
