//! Layers whose ids a user namespace maps: an overlay of idmapped mounts (Linux 5.19).
//!
//! All containers share the layers as they are on the disk, whatever maps they have; and what a container writes is on the
//! disk with the ids that it has inside. So nothing else that reads or writes layers has to know of maps.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_sys::clone::{self, Namespace};
use hull_sys::mount::{self, Attr, Propagation, Writable};
use hull_sys::{Context, Error, Result, process};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::sources::elsewhere;

/// The overlay, detached; `root` is the user and group that id 0 of the layers is to us. The caller is for a moment in another mount namespace: it must be a process with one thread.
pub(crate) fn mapped(
    lower: &[PathBuf],
    writable: Writable<'_>,
    users: BorrowedFd<'_>,
    root: (u32, u32),
) -> Result<OwnedFd> {
    // Both are on one mount, as the kernel wants it.
    let (Some(top), Some(upper), Some(work)) =
        (writable.upper.parent(), writable.upper.file_name(), writable.work.file_name())
    else {
        return Err(Error::new("find the directory of", writable.upper.to_string_lossy(), Errno::INVAL));
    };
    elsewhere(|| {
        clone::unshare(Namespace::Mount)?;
        mount::set_propagation("/", Propagation::Private, true)?;
        let yard = mount::new_fs("tmpfs", &[("source", Some("layers"))], Attr::empty())?;
        // The kernel takes layers only of mounts that have a place; this one is gone in a moment.
        mount::move_to_path(yard.as_fd(), "/")?;
        let place = |number: usize, layer: &Path| map(&yard, number, layer, users);
        let layers: Vec<OwnedFd> =
            lower.iter().enumerate().map(|(number, layer)| place(number, layer)).collect::<Result<_>>()?;
        let top = place(layers.len(), top)?;
        let named = |fd: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let lower: Vec<PathBuf> = layers.iter().map(named).collect();
        let (upper, work) = (named(&top).join(upper), named(&top).join(work));
        let writable = Writable { upper: &upper, work: &work, ..writable };
        // What the overlay makes for itself must have an owner that has an id in the layers.
        process::with_file_ids(root.0, root.1, || mount::overlay(&lower, Some(writable)))
    })
}

/// A copy of the mount of `layer` with the ids that `users` maps, at a place of its own in `yard`.
fn map(yard: &OwnedFd, number: usize, layer: &Path, users: BorrowedFd<'_>) -> Result<OwnedFd> {
    let copy = mount::open_tree_clone(CWD, layer, false)?;
    mount::set_idmap(copy.as_fd(), users, false)
        .map_err(|error| Error::new("idmap", layer.to_string_lossy(), error.errno))?;
    let name = number.to_string();
    rustix::fs::mkdirat(yard, &name, Mode::from_raw_mode(0o700)).on("mkdir", layer)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::openat(yard, &name, flags, Mode::empty()).on("open", layer)?;
    mount::move_to(copy.as_fd(), place.as_fd())?;
    Ok(copy)
}
