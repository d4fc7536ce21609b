//! The container's root: attached, made the only one there is, and perhaps read-only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_sys::clone::{self, Namespace};
use hull_sys::mount::{self, Attr, Change, Propagation, Writable};
use hull_sys::root::Root;
use hull_sys::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::Init;
use crate::create::Rootfs;
use crate::options;

/// Attaches the root and makes it the only one. With hooks that want to see the host, it is only attached, where they
/// look for it: at the path of the spec.
pub(super) fn attach(init: &mut Init<'_>) -> Result<()> {
    let root = match (init.root_mount.take(), &init.create.rootfs) {
        (Some(root), _) => root,
        (None, Rootfs::Directory(path)) => clone_directory(path)?,
        (None, Rootfs::Overlay { lower, upper, work, volatile, .. }) => {
            mount::overlay(lower, Some(Writable { upper, work, volatile: *volatile }))?
        }
    };
    if let Some(namespace) = &init.plan.namespaces.mount {
        clone::join(namespace.as_fd(), Namespace::Mount)?;
    }
    // Neither our mounts nor the unmount of the host's tree may travel to the host. Copies that are to go on
    // receiving or sending were made before this.
    mount::set_propagation("/", Propagation::Private, true)?;
    if init.line.is_some() {
        let place = init.host_place.take().map_or_else(|| open_host_place(init), Ok)?;
        mount::move_to(root.as_fd(), place.as_fd())?;
        // Paths below it are resolved by its descriptor, so the host's files are no part of that either.
        init.task.root = Some(Root::from(root));
        return Ok(());
    }
    // On top of the host's root, where no directory of the host has to be lent for it.
    mount::move_to_path(root.as_fd(), "/")?;
    pivot(init, root.as_fd())
}

/// What is left of [`attach`] when hooks have seen both roots.
pub(super) fn pivot_late(init: &mut Init<'_>) -> Result<()> {
    match (&init.line, init.task.root.take()) {
        (Some(_), Some(root)) => pivot(init, root.as_fd()),
        (_, root) => {
            init.task.root = root;
            Ok(())
        }
    }
}

fn pivot(init: &mut Init<'_>, root: BorrowedFd<'_>) -> Result<()> {
    match init.create.no_pivot {
        false => mount::pivot_root(root)?,
        true => {
            rustix::process::fchdir(root).op("fchdir")?;
            rustix::process::chroot(".").op("chroot")?;
        }
    }
    init.task.root = Some(Root::open("/")?);
    Ok(())
}

/// Opens the place of the root on the host.
pub(super) fn open_host_place(init: &Init<'_>) -> Result<OwnedFd> {
    let path = host_path(init)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).on("open", path)
}

fn host_path<'a>(init: &Init<'a>) -> Result<&'a Path> {
    match (&init.create.rootfs, init.create.spec.root()) {
        (Rootfs::Directory(path), _) => Ok(path),
        (Rootfs::Overlay { .. }, Some(root)) => Ok(root.path()),
        (Rootfs::Overlay { .. }, None) => Err(Errno::NOENT).op("find root.path for hooks"),
    }
}

/// A directory with what is mounted below it; nothing of it stays tied to the host's mounts.
pub(crate) fn clone_directory(path: &Path) -> Result<OwnedFd> {
    let root = mount::open_tree_clone(CWD, path, true)?;
    let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
    mount::set_attr(root.as_fd(), &private, true)?;
    Ok(root)
}

/// What `linux.rootfsPropagation` says of the root itself. Each bind mount has a word of its own for that, which a
/// propagation that reaches below the root would overrule.
fn rootfs_propagation(init: &Init<'_>) -> Option<Propagation> {
    let word = init.create.spec.linux().as_ref()?.rootfs_propagation().as_ref()?;
    options::propagation(word).map(|(propagation, _)| propagation)
}

pub(super) fn finish(init: &mut Init<'_>) -> Result<()> {
    let change = Change { set: Attr::MOUNT_ATTR_RDONLY, ..Change::default() };
    for mount in init.read_only_later.drain(..) {
        mount::set_attr(mount.as_fd(), &change, false)?;
    }
    let read_only = init.create.spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    let set = if read_only { Attr::MOUNT_ATTR_RDONLY } else { Attr::empty() };
    // At the very end: mounts that are placed in a shared one become shared.
    let change = Change { set, propagation: rootfs_propagation(init), ..Change::default() };
    match &init.task.root {
        Some(root) if !change.is_empty() => mount::set_attr(root.as_fd(), &change, false),
        _ => Ok(()),
    }
}
