//! Mount namespaces (mount_namespaces(7)) that keep what is mounted in them together, seen by nobody else.
//!
//! [`alone`] keeps one file system for several containers. Only a mount that is in the caller's own namespace can be
//! copied; copies of detached ones are for Linux 6.15 and later. So a file system that is to be had several times gets
//! a namespace in which it is all there is. Whoever has a descriptor of that can make a copy, and with the last
//! descriptor and the last copy the file system goes. The host's own mount table never sees it, and keeps nothing of
//! the host busy.
//!
//! What is to happen inside another namespace happens on a helper thread that is joined before the call returns.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::mount::{self, Propagation};
use crate::thread::on_a_thread;
use crate::{Context, Result};

/// Makes a mount namespace in which the detached mount `root` is all there is.
pub fn alone(root: OwnedFd) -> Result<OwnedFd> {
    let (namespace, done) = create(|| {
        mount::move_to_path(root.as_fd(), "/")?;
        mount::pivot_root(root.as_fd())
    })?;
    done.map(|()| namespace)
}

/// Makes a mount namespace that starts as a private copy of the caller's, and runs `inside` in it. As long as its
/// descriptor is held, what is mounted in it stays together.
pub fn create<T: Send>(inside: impl FnOnce() -> T + Send) -> Result<(OwnedFd, T)> {
    on_a_thread(|| {
        // SAFETY: CLONE_NEWNS gives this thread a root and working directory of its own; it ends right after, and goes
        // on sharing its descriptors with the others.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.op("unshare mounts")?;
        mount::set_propagation("/", Propagation::Private, true)?;
        Ok((current()?, inside()))
    })
}

/// A detached copy of the file system that a namespace of [`alone`] keeps, or of what is at a path in it: a link that
/// leads out of it is refused (`EXDEV`).
pub fn copy_of(namespace: BorrowedFd<'_>, part: &Path) -> Result<OwnedFd> {
    within(namespace, || {
        if part.as_os_str().is_empty() {
            return mount::open_tree_clone(CWD, "/", true);
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let top = rustix::fs::open("/", flags | OFlags::DIRECTORY, Mode::empty()).on("open", "/")?;
        let stay = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let place = rustix::fs::openat2(top, part, flags, Mode::empty(), stay).on("open", part)?;
        mount::open_tree_clone(place.as_fd(), "", true)
    })
}

/// A detached copy of the file system at the root of a namespace, without what is mounted below it.
///
/// # Errors
/// `EINVAL` where a user namespace holds what is mounted there fast.
pub fn bare_root(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    within(namespace, || mount::open_tree_clone(CWD, "/", false))
}

/// Runs `inside` in a namespace.
fn within<T: Send>(namespace: BorrowedFd<'_>, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_a_thread(|| {
        // SAFETY: only CLONE_FS is given: the thread gets a root and a working directory of its own, no more.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.op("unshare working directory")?;
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))
            .op("setns mounts")?;
        inside()
    })
}

/// The calling thread's mount namespace.
pub fn current() -> Result<OwnedFd> {
    let path = "/proc/thread-self/ns/mnt";
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)
}
