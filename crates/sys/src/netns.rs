//! Network namespaces (network_namespaces(7)), made and entered on threads that end right after.
//!
//! A namespace belongs to a thread, so no thread of the caller ever changes its own: what is to happen inside
//! another one happens on a helper thread that is joined before the call returns.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::thread::on_a_thread;
use crate::{Context, Result};

/// `asm-generic/socket.h`.
const SO_NETNS_COOKIE: libc::c_int = 71;

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

/// The number by which BPF programs know the calling thread's network namespace (`SO_NETNS_COOKIE`): never the same
/// for two of them while the machine is up.
pub fn cookie() -> Result<u64> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .op("socket")?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or_default();
    // SAFETY: the option is a number of `length` bytes; both variables live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(cookie),
        _ => Err(std::io::Error::last_os_error()).op("getsockopt SO_NETNS_COOKIE"),
    }
}
