//! Noticing that somebody else has changed Hull's tables (`nft flush ruleset`, a reload of the host's own firewall).
//!
//! The kernel tells of every change of nftables. Nothing wakes up while there is none, and what Hull changes itself is
//! known by its author.

use std::os::fd::{AsFd, BorrowedFd};

use hull_sys::Result;
use hull_sys::netlink::{self, Notice, Socket, attributes};
use rustix::io::Errno;

use crate::nft::{Family, TABLE};

/// NFNLGRP_NFTABLES of `linux/netfilter/nfnetlink.h`.
const GROUP: u32 = 7;
/// The notice behind every transaction; it is of no table.
const NEWGEN: u16 = 10 << 8 | 15;
/// What every other notice begins with (`struct nfgenmsg`), and its attribute that names the table.
const HEADER: usize = 4;
const TABLE_NAME: u16 = 1;

/// What has been noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed {
    /// Nothing that matters.
    Nothing,
    /// Somebody else has changed a table of Hull's.
    Change,
    /// There was more than the kernel could tell.
    TooMuch,
}

/// Notices of the firewall of one network namespace. Readable when there may be one.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    own: u32,
}

impl Watch {
    /// Of the calling thread's namespace; what the socket with the address `own` changes does not matter.
    pub(crate) fn here(own: u32) -> Result<Self> {
        let socket = Socket::open(netlink::Family::Netfilter)?;
        socket.subscribe(GROUP)?;
        Ok(Self { socket, own })
    }

    /// What has been noticed since the last time. Does not wait.
    pub fn look(&self) -> Result<Noticed> {
        match self.socket.notices() {
            Ok(notices) if notices.iter().any(|notice| self.matters(notice)) => Ok(Noticed::Change),
            Ok(_) => Ok(Noticed::Nothing),
            Err(error) if error.is(Errno::NOBUFS) => Ok(Noticed::TooMuch),
            Err(error) => Err(error),
        }
    }

    fn matters(&self, notice: &Notice) -> bool {
        let ours = [Family::V4 as u8, Family::V6 as u8];
        let family = notice.body.first().is_some_and(|family| ours.contains(family));
        let mut parts = attributes(notice.body.get(HEADER..).unwrap_or_default());
        notice.kind != NEWGEN
            && notice.author != self.own
            && family
            && parts.any(|part| part.kind == TABLE_NAME && part.text() == TABLE)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
