//! Network namespaces (network_namespaces(7)), made and entered on threads that end right after.
//!
//! A namespace belongs to a thread, so no thread of the caller ever changes its own: what is to happen inside
//! another one happens on a helper thread that is joined before the call returns.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::thread::on_a_thread;
use crate::{Context, Result};

/// Makes a network namespace and runs `inside` in it. It ends with the last descriptor, socket or process of it.
pub fn create<T: Send>(inside: impl FnOnce() -> T + Send) -> Result<(OwnedFd, T)> {
    on_a_thread(|| {
        // SAFETY: only CLONE_NEWNET is given, so the thread goes on sharing its descriptors with the others.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.op("unshare network")?;
        let namespace = current()?;
        Ok((namespace, inside()))
    })
}

/// Runs `inside` with its thread in this network namespace. Sockets that it opens stay there.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, inside: impl FnOnce() -> T + Send) -> Result<T> {
    on_a_thread(|| {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .op("setns network")?;
        Ok(inside())
    })
}

/// The calling thread's network namespace.
pub fn current() -> Result<OwnedFd> {
    let path = "/proc/thread-self/ns/net";
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)
}
