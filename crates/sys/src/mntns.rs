//! Mount namespaces (mount_namespaces(7)), made on threads that end right after.
//!
//! As long as the descriptor of such a namespace is held, what is mounted in it stays together. Nobody else sees it.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::thread::UnshareFlags;

use crate::mount::{self, Propagation};
use crate::{Context, Result};

/// Makes a mount namespace that starts as a private copy of the caller's, and runs `inside` in it.
pub fn create<T: Send>(inside: impl FnOnce() -> T + Send) -> Result<(OwnedFd, T)> {
    std::thread::scope(|scope| {
        let work = || {
            // SAFETY: CLONE_NEWNS gives this thread a root and working directory of its own; it ends right after,
            // and goes on sharing its descriptors with the others.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.op("unshare mounts")?;
            mount::set_propagation("/", Propagation::Private, true)?;
            let path = "/proc/thread-self/ns/mnt";
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let namespace = rustix::fs::open(path, flags, Mode::empty()).on("open", path)?;
            Ok((namespace, inside()))
        };
        let thread = std::thread::Builder::new().name("mntns".to_owned()).spawn_scoped(scope, work);
        thread.op("spawn thread")?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
