//! Mount namespaces (mount_namespaces(7)) that keep one file system for several containers.
//!
//! Only a mount that is in the caller's own namespace can be copied; copies of detached ones are for Linux 6.15 and
//! later. So a file system that is to be had several times gets a namespace in which it is all there is. Whoever has
//! a descriptor of that can make a copy, and with the last descriptor and the last copy the file system goes. The
//! host's own mount table never sees it, and keeps nothing of the host busy.
//!
//! What is to happen inside another namespace happens on a helper thread that is joined before the call returns.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::mount::{self, Propagation};
use crate::{Context, Result};

/// Makes a mount namespace in which the detached mount `root` is all there is.
pub fn alone(root: OwnedFd) -> Result<OwnedFd> {
    on_a_thread(move || {
        // SAFETY: only CLONE_NEWNS is given, so the thread goes on sharing its descriptors with the others.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.op("unshare mounts")?;
        let namespace = current()?;
        mount::set_propagation("/", Propagation::Private, true)?;
        mount::move_to_path(root.as_fd(), "/")?;
        mount::pivot_root(root.as_fd())?;
        Ok(namespace)
    })
}

/// A detached copy of the file system that a namespace of [`alone`] keeps.
pub fn copy_of(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    on_a_thread(|| {
        // SAFETY: only CLONE_FS is given: the thread gets a root and a working directory of its own, no more.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.op("unshare working directory")?;
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))
            .op("setns mounts")?;
        mount::open_tree_clone(CWD, "/", true)
    })
}

/// The calling thread's mount namespace.
pub fn current() -> Result<OwnedFd> {
    let path = "/proc/thread-self/ns/mnt";
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("mntns".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, work)
            .op("spawn thread")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
