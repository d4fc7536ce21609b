//! Links on links: macvlan, ipvlan, sub-interfaces of 802.1Q, and interfaces that lead nowhere.

use std::os::fd::{AsRawFd, BorrowedFd};

use hull_sys::Result;
use hull_sys::netlink::{CREATE, EXCLUSIVE};
use rustix::io::Errno;

use super::{
    IFF_UP, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_NET_NS_FD,
    RTM_NEWLINK, Routes, link_message,
};
use crate::MacAddr;
use crate::vlan::Mode;

// linux/if_link.h
const IFLA_LINK: u16 = 5;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

/// A link on an interface of the host, to be made inside a namespace.
pub(crate) struct Upper<'a> {
    /// The interface's index.
    pub(crate) parent: u32,
    pub(crate) mode: Mode,
    /// The link's name inside.
    pub(crate) inside: &'a str,
    pub(crate) namespace: BorrowedFd<'a>,
    pub(crate) mac: Option<MacAddr>,
}

impl Routes {
    /// Makes a link on an interface, right where it belongs and under its final name, still down.
    pub(crate) fn add_upper(&mut self, upper: &Upper<'_>) -> Result<()> {
        let namespace = u32::try_from(upper.namespace.as_raw_fd()).unwrap_or(u32::MAX);
        let mut message = link_message(RTM_NEWLINK, CREATE | EXCLUSIVE, "create link", upper.inside, 0, 0);
        message
            .put_str(IFLA_IFNAME, upper.inside)
            .put(IFLA_LINK, &upper.parent.to_ne_bytes())
            .put(IFLA_NET_NS_FD, &namespace.to_ne_bytes());
        if let Some(mac) = upper.mac {
            message.put(IFLA_ADDRESS, &mac.0);
        }
        message.nest(IFLA_LINKINFO, |info| match upper.mode {
            Mode::Macvlan(mode) => {
                info.put_str(IFLA_INFO_KIND, "macvlan").nest(IFLA_INFO_DATA, |data| {
                    data.put(IFLA_MACVLAN_MODE, &mode.to_ne_bytes());
                });
            }
            Mode::Ipvlan { mode, flags } => {
                info.put_str(IFLA_INFO_KIND, "ipvlan").nest(IFLA_INFO_DATA, |data| {
                    data.put(IFLA_IPVLAN_MODE, &mode.to_ne_bytes())
                        .put(IFLA_IPVLAN_FLAGS, &flags.to_ne_bytes());
                });
            }
        });
        self.socket.request(vec![message])
    }

    /// Makes the sub-interface of an interface that carries one VLAN, and sets it up.
    pub(crate) fn add_tagged(&mut self, name: &str, master: u32, id: u16) -> Result<()> {
        let mut message = link_message(RTM_NEWLINK, CREATE | EXCLUSIVE, "create vlan link", name, 0, IFF_UP);
        message.put_str(IFLA_IFNAME, name).put(IFLA_LINK, &master.to_ne_bytes());
        message.nest(IFLA_LINKINFO, |info| {
            info.put_str(IFLA_INFO_KIND, "vlan").nest(IFLA_INFO_DATA, |data| {
                data.put(IFLA_VLAN_ID, &id.to_ne_bytes());
            });
        });
        self.socket.request(vec![message])
    }

    /// Makes an interface that leads nowhere, and sets it up: a dummy; where the kernel has none an ifb, which drops
    /// what nobody has redirected to it just the same.
    pub(crate) fn add_nowhere(&mut self, name: &str) -> Result<()> {
        match self.add_plain(name, "dummy") {
            Err(error) if error.is(Errno::OPNOTSUPP) => self.add_plain(name, "ifb"),
            result => result,
        }
    }

    fn add_plain(&mut self, name: &str, kind: &str) -> Result<()> {
        let mut message = link_message(RTM_NEWLINK, CREATE | EXCLUSIVE, "create link", name, 0, IFF_UP);
        message.put_str(IFLA_IFNAME, name);
        message.nest(IFLA_LINKINFO, |info| {
            info.put_str(IFLA_INFO_KIND, kind);
        });
        self.socket.request(vec![message])
    }
}
