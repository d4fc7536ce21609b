//! Files to mount that no path of the host names: what a volume has below a path that others may change, the layers
//! of an image, what another container has mounted. Each is made as a mount that nobody sees yet, before the clone.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_sys::clone::{self, Namespace};
use hull_sys::mount::{self, Propagation};
use hull_sys::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

/// Where the files of a mount come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A directory or file below a directory of the host. A link that leads out of it is refused (`EXDEV`), whoever
    /// makes it and whenever.
    Below {
        /// The directory.
        directory: PathBuf,
        /// The path in it.
        path: PathBuf,
    },
    /// The trees of layers as one, read-only, or a part of that.
    Layers {
        /// The layers, the top one first; at least two.
        layers: Vec<PathBuf>,
        /// The path in the tree; empty: all of it.
        path: PathBuf,
    },
    /// What a process sees at a path of its own mount namespace; no links are followed.
    Of {
        /// The process.
        pid: i32,
        /// The path.
        path: PathBuf,
    },
}

/// The mount, in no place. For `Layers` and `Of` the caller is for a moment in another mount namespace: it must be a
/// process with one thread.
pub fn open(source: &Source, recursive: bool) -> Result<OwnedFd> {
    match source {
        Source::Below { directory, path } => {
            let place = beneath(&open_directory(directory)?, path)?;
            mount::open_tree_clone(place.as_fd(), "", recursive)
        }
        Source::Layers { layers, path } => {
            let tree = mount::overlay(layers, None)?;
            if path.as_os_str().is_empty() {
                return Ok(tree);
            }
            elsewhere(|| {
                clone::unshare(Namespace::Mount)?;
                mount::set_propagation("/", Propagation::Private, true)?;
                // Only a tree with a place can be copied in part; this place is gone in a moment.
                mount::move_to_path(tree.as_fd(), "/")?;
                let place = beneath(&tree, path)?;
                mount::open_tree_clone(place.as_fd(), "", false)
            })
        }
        Source::Of { pid, path } => {
            let namespace = format!("/proc/{pid}/ns/mnt");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let other = rustix::fs::open(&namespace, flags, Mode::empty()).on("open", &namespace)?;
            elsewhere(|| {
                clone::join(other.as_fd(), Namespace::Mount)?;
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let links = ResolveFlags::NO_SYMLINKS;
                let place = rustix::fs::openat2(CWD, path, flags, Mode::empty(), links).on("open", path)?;
                mount::open_tree_clone(place.as_fd(), "", recursive)
            })
        }
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).on("open", path)
}

fn beneath(top: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let (flags, stay) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS);
    rustix::fs::openat2(top, path, flags, Mode::empty(), stay).on("open", path)
}

/// Does something that changes the mount namespace, and comes back to this one, its root and its directory.
pub(crate) fn elsewhere(inside: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    let open = |path: &str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).on("open", path)
    };
    let namespace = open("/proc/self/ns/mnt", OFlags::RDONLY)?;
    let (root, directory) = (open("/", OFlags::PATH)?, open(".", OFlags::PATH)?);
    let done = inside();
    clone::join(namespace.as_fd(), Namespace::Mount)?;
    rustix::process::fchdir(&root).op("fchdir")?;
    rustix::process::chroot(".").op("chroot")?;
    rustix::process::fchdir(&directory).op("fchdir")?;
    done
}
