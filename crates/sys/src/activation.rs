//! Sockets handed over by a service manager: sd_listen_fds(3).

use std::os::fd::{FromRawFd, OwnedFd};

/// The first descriptor that a service manager hands over.
const FIRST: i32 = 3;

/// The descriptors of this process, if the environment says that they are for it; close-on-exec from now on.
/// The environment is left alone, so the second call would name the same descriptors: call it once, at start.
pub fn listen_fds() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let for_us = number("LISTEN_PID") == i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|count| for_us && (1..=1024).contains(count)).unwrap_or(0);
    (FIRST..FIRST + count).filter_map(adopt).collect()
}

/// Owns the descriptor `raw` if it is open.
fn adopt(raw: i32) -> Option<OwnedFd> {
    // SAFETY: fcntl with F_SETFD takes any number; a closed one is answered with EBADF.
    let open = unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    // SAFETY: the descriptor is open, and by the protocol the service manager gave it to this process to own;
    // nothing else here knows its number.
    open.then(|| unsafe { OwnedFd::from_raw_fd(raw) })
}
