//! The network namespace of a container.
//!
//! It exists as long as somebody holds a descriptor of it: first the engine, then the container's supervisor
//! and its processes. Nothing is mounted for it, so a crash leaves nothing: the last descriptor closed ends it,
//! and with it the kernel removes every link inside and their ends outside.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::netns;

use crate::route::Routes;
use crate::{Result, sysctl};

/// A fresh network namespace with its loopback interface up.
#[derive(Debug)]
pub struct Sandbox {
    fd: OwnedFd,
}

impl Sandbox {
    /// Makes the namespace. Links that come later have no IPv6 (loopback has it), until a network does.
    pub(crate) fn new() -> Result<Self> {
        let (fd, prepared) = netns::create(prepare)?;
        prepared?;
        Ok(Self { fd })
    }

    /// The same of a namespace that is made already, and belongs to a user namespace.
    pub fn of(fd: OwnedFd) -> Result<Self> {
        netns::within(fd.as_fd(), prepare)??;
        Ok(Self { fd })
    }

    /// The descriptor, to hand it on to the supervisor.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn prepare() -> hull_sys::Result<()> {
    if sysctl::has_ipv6() {
        sysctl::write("ipv6/conf/default/disable_ipv6", "1")?;
    }
    Routes::here()?.up("lo")
}
