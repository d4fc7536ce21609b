//! Removing links without waiting for the kernel.
//!
//! RTM_DELLINK returns when nobody in the kernel refers to the link any more, some 40 ms after the link has gone from
//! every list. A thread waits for that; who removes a link goes on as soon as it cannot be found.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use hull_sys::Context;

use super::Networks;
use crate::Result;
use crate::route::Routes;

/// How often the link is looked for.
const GLANCE: Duration = Duration::from_micros(200);

impl Networks {
    /// Removes a link of the host, and its other end with it; one that is not there is as good as removed. Its name is
    /// free when this returns.
    pub(super) fn unlink(&self, name: &str) -> Result<()> {
        self.unlink_inside(self.namespace.as_fd(), name)
    }

    /// The same in another namespace.
    pub(super) fn unlink_inside(&self, namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
        let (mut routes, mut looking) = (Routes::inside(namespace)?, Routes::inside(namespace)?);
        let (done, outcome) = channel();
        let link = name.to_owned();
        std::thread::Builder::new()
            .name("unlink".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                // Nobody waits any more where the link was gone before.
                let _ = done.send(routes.remove(&link));
            })
            .op("spawn thread")?;
        loop {
            match outcome.recv_timeout(GLANCE) {
                Ok(removed) => return Ok(removed?),
                // The kernel does not answer while it takes the link off its lists.
                Err(RecvTimeoutError::Timeout) if looking.find(name)?.is_none() => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(hull_sys::Error::new("remove link", name, rustix::io::Errno::IO).into());
                }
            }
        }
    }
}
