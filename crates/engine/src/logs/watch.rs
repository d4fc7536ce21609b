//! Hearing from the kernel that a log has grown or was rotated.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use hull_sys::Context;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::{Error, Result};

/// A watch on the directory of a log.
pub(super) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// Watches the directory of `log`; from now on no change is missed.
    pub(super) fn on(log: &Path) -> Result<Self> {
        let directory = log.parent().unwrap_or(Path::new("/"));
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).op("inotify_init1")?;
        let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE;
        inotify::add_watch(&inotify, directory, changes).on("inotify_add_watch", directory)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of types that do not keep their descriptor open; an OwnedFd does"
        )]
        let watched = AsyncFd::new(inotify).map_err(|error| Error::system(format!("epoll: {error}")))?;
        Ok(Self(watched))
    }

    /// Waits for a change, and takes all those that are known by then as one.
    pub(super) async fn changed(&mut self) {
        let Ok(mut ready) = self.0.readable().await else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(self.0.get_ref(), &mut buffer);
        while events.next().is_ok() {}
        ready.clear_ready();
    }
}
