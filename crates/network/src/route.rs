//! Links, addresses and routes of one network namespace, over rtnetlink(7).

mod queue;
mod vlan;

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use hull_sys::netlink::{Answer, CREATE, DUMP, EXCLUSIVE, Family, Message, REPLACE, Socket, attributes};
use hull_sys::{Result, netns};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustix::io::Errno;

use crate::MacAddr;

pub(crate) use vlan::Upper;

// linux/if_link.h, linux/veth.h, linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_BRIDGE: u8 = 7;
const AF_INET6: u16 = 10;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
// linux/neighbour.h: `struct ndmsg` has family, index, state, flags.
const NEIGHBOUR_HEADER: usize = 12;
const NUD_REACHABLE: u16 = 2;
const NTF_MASTER: u8 = 4;
const NDA_LLADDR: u16 = 2;

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// The bridge it is a port of; 0 for none.
    pub(crate) bridge: u32,
    /// `bridge`, `veth`, …; empty for hardware.
    pub(crate) kind: String,
}

/// A veth pair to be: one end a port of a bridge, the other inside a namespace.
pub(crate) struct Pair<'a> {
    pub(crate) outside: &'a str,
    pub(crate) bridge: u32,
    pub(crate) inside: &'a str,
    pub(crate) namespace: BorrowedFd<'a>,
    pub(crate) mac: Option<MacAddr>,
    /// 0 leaves the kernel's.
    pub(crate) mtu: u32,
    /// Whether the kernel has IPv6, whose link-local addresses the outer end must not get.
    pub(crate) ipv6: bool,
}

/// Where packets go that no other route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    /// To this neighbour.
    Gateway(IpAddr),
    /// Into the link.
    Link { v4: bool },
}

/// How a bridge treats one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PortMode {
    /// It reaches the bridge itself and no other isolated port.
    pub(crate) isolated: bool,
    /// What comes from it may go back to it.
    pub(crate) hairpin: bool,
}

/// A socket to the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Routes {
    socket: Socket,
}

impl Routes {
    /// To the calling thread's namespace.
    pub(crate) fn here() -> Result<Self> {
        Ok(Self { socket: Socket::open(Family::Route)? })
    }

    /// To this namespace.
    pub(crate) fn inside(namespace: BorrowedFd<'_>) -> Result<Self> {
        netns::within(namespace, Self::here)?
    }

    /// The link of this name.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Link>> {
        let mut question = link_message(RTM_GETLINK, 0, "find link", name, 0, 0);
        question.put_str(IFLA_IFNAME, name);
        match self.socket.ask(question) {
            Ok(answers) => Ok(answers.first().and_then(parse_link)),
            Err(error) if error.is(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>> {
        let question = link_message(RTM_GETLINK, DUMP, "list links", "", 0, 0);
        Ok(self.socket.ask(question)?.iter().filter_map(parse_link).collect())
    }

    /// The IPv4 addresses of all links, with the links' indices.
    pub(crate) fn addresses(&mut self) -> Result<Vec<(u32, Ipv4Net)>> {
        let mut header = [0; ADDRESS_HEADER];
        header[0] = AF_INET;
        let question = Message::new(RTM_GETADDR, DUMP, "list addresses", "").fixed(&header);
        Ok(self.socket.ask(question)?.iter().filter_map(parse_address).collect())
    }

    /// The addresses of one link, of both families, in the kernel's order.
    pub(crate) fn addresses_of(&mut self, link: u32) -> Result<Vec<IpNet>> {
        let question = Message::new(RTM_GETADDR, DUMP, "list addresses", "").fixed(&[0; ADDRESS_HEADER]);
        let found = self.socket.ask(question)?;
        let of_link = |(index, address)| (index == link).then_some(address);
        let read =
            |answer| parse_address6(answer).or(parse_address(answer).map(|(index, on)| (index, on.into())));
        Ok(found.iter().filter_map(read).filter_map(of_link).collect())
    }

    /// The destinations of the main table's IPv4 routes, without the default routes.
    pub(crate) fn destinations(&mut self) -> Result<Vec<Ipv4Net>> {
        Ok(self.socket.ask(list_routes(AF_INET))?.iter().filter_map(parse_destination).collect())
    }

    /// The same of IPv6, without what every link has.
    pub(crate) fn destinations6(&mut self) -> Result<Vec<Ipv6Net>> {
        let found = self.socket.ask(list_routes(AF_INET6 as u8))?;
        let global = |net: &Ipv6Net| !net.addr().is_multicast() && !net.addr().is_unicast_link_local();
        Ok(found.iter().filter_map(parse_destination6).filter(global).collect())
    }

    /// Makes a bridge, still down. Its Ethernet address is given, so that it never changes with the ports.
    pub(crate) fn add_bridge(&mut self, name: &str, mac: MacAddr, mtu: u32) -> Result<()> {
        let mut message = link_message(RTM_NEWLINK, CREATE | EXCLUSIVE, "create bridge", name, 0, 0);
        message.put_str(IFLA_IFNAME, name).put(IFLA_ADDRESS, &mac.0);
        put_mtu(&mut message, mtu);
        message.nest(IFLA_LINKINFO, |info| {
            info.put_str(IFLA_INFO_KIND, "bridge");
        });
        self.socket.request(vec![message])
    }

    /// Makes a veth pair: one end a port of the bridge and up, the other inside the namespace and down.
    pub(crate) fn add_pair(&mut self, pair: &Pair<'_>) -> Result<()> {
        let mut create = link_message(RTM_NEWLINK, CREATE | EXCLUSIVE, "create link", pair.outside, 0, 0);
        create.put_str(IFLA_IFNAME, pair.outside);
        put_mtu(&mut create, pair.mtu);
        create.nest(IFLA_LINKINFO, |info| {
            info.put_str(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| put_peer(peer, pair));
            });
        });
        let mut enslave = link_message(RTM_SETLINK, 0, "add port to bridge", pair.outside, 0, 0);
        enslave.put_str(IFLA_IFNAME, pair.outside).put(IFLA_MASTER, &pair.bridge.to_ne_bytes());
        if pair.ipv6 {
            enslave.nest(IFLA_AF_SPEC, |families| {
                families.nest(AF_INET6, |family| {
                    family.put(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
                });
            });
        }
        let mut up = link_message(RTM_SETLINK, 0, "set link up", pair.outside, 0, IFF_UP);
        up.put_str(IFLA_IFNAME, pair.outside);
        self.socket.request(vec![create, enslave, up])
    }

    /// Makes a veth pair whose ends are both here, still down.
    pub(crate) fn add_joint(&mut self, one: &str, other: &str, mtu: u32) -> Result<()> {
        let mut message = link_message(RTM_NEWLINK, CREATE | EXCLUSIVE, "create link", one, 0, 0);
        message.put_str(IFLA_IFNAME, one);
        put_mtu(&mut message, mtu);
        message.nest(IFLA_LINKINFO, |info| {
            info.put_str(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.put_bytes(&link_header(0, 0, 0)).put_str(IFLA_IFNAME, other);
                    put_mtu(peer, mtu);
                });
            });
        });
        self.socket.request(vec![message])
    }

    /// Changes how its bridge treats a port.
    pub(crate) fn set_port_mode(&mut self, name: &str, mode: PortMode) -> Result<()> {
        // A message of the bridge family finds its port by index only.
        let index = self.index(name)?;
        let header = link_header(AF_BRIDGE, index, 0);
        let mut message = Message::new(RTM_SETLINK, 0, "set mode of port", name).fixed(&header);
        message.nest(IFLA_PROTINFO, |port| {
            port.put(IFLA_BRPORT_MODE, &[u8::from(mode.hairpin)])
                .put(IFLA_BRPORT_ISOLATED, &[u8::from(mode.isolated)]);
        });
        self.socket.request(vec![message])
    }

    /// Tells a bridge behind which of its ports an Ethernet address is: by itself it would go on sending to a former
    /// port for as long as that exists. Of a port that is not yet in use it cannot be told.
    pub(crate) fn learn(&mut self, port: &str, mac: MacAddr) -> Result<()> {
        let mut header = [0; NEIGHBOUR_HEADER];
        header[0] = AF_BRIDGE;
        header[4..8].copy_from_slice(&self.index(port)?.to_ne_bytes());
        header[8..10].copy_from_slice(&NUD_REACHABLE.to_ne_bytes());
        header[10] = NTF_MASTER;
        let mut message =
            Message::new(RTM_NEWNEIGH, CREATE | REPLACE, "tell the bridge of port", port).fixed(&header);
        message.put(NDA_LLADDR, &mac.0);
        match self.socket.request(vec![message]) {
            Err(error) if error.is(Errno::PERM) => Ok(()),
            result => result,
        }
    }

    /// Makes a link a port of a bridge.
    pub(crate) fn enslave(&mut self, link: u32, name: &str, bridge: u32) -> Result<()> {
        let mut message = link_message(RTM_SETLINK, 0, "add port to bridge", name, link, 0);
        message.put(IFLA_MASTER, &bridge.to_ne_bytes());
        self.socket.request(vec![message])
    }

    /// Sets a link up, gives it an address, and the default route where there is a gateway, all in one batch.
    pub(crate) fn configure(
        &mut self,
        name: &str,
        address: impl Into<IpNet>,
        hop: Option<Hop>,
    ) -> Result<()> {
        let index = self.index(name)?;
        let up = link_message(RTM_SETLINK, 0, "set link up", name, index, IFF_UP);
        let mut messages = vec![up, address_message(RTM_NEWADDR, CREATE | EXCLUSIVE, index, address.into())];
        messages.extend(hop.map(|hop| route_message(index, hop)));
        self.socket.request(messages)
    }

    /// Sets the default route, in the place of another.
    pub(crate) fn set_default(&mut self, name: &str, hop: Hop) -> Result<()> {
        let index = self.index(name)?;
        self.socket.request(vec![route_message(index, hop)])
    }

    /// Takes addresses from a link, and with them their routes; those that it has not are as good as taken.
    pub(crate) fn free_addresses(&mut self, name: &str, addresses: &[IpNet]) -> Result<()> {
        let Some(link) = self.find(name)? else { return Ok(()) };
        for address in addresses {
            match self.socket.request(vec![address_message(RTM_DELADDR, 0, link.index, *address)]) {
                Err(error) if error.is(Errno::ADDRNOTAVAIL) || error.is(Errno::NODEV) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Sets a link up.
    pub(crate) fn up(&mut self, name: &str) -> Result<()> {
        let mut message = link_message(RTM_SETLINK, 0, "set link up", name, 0, IFF_UP);
        message.put_str(IFLA_IFNAME, name);
        self.socket.request(vec![message])
    }

    /// Removes a link; one that is not there is as good as removed.
    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        let mut message = link_message(RTM_DELLINK, 0, "remove link", name, 0, 0);
        message.put_str(IFLA_IFNAME, name);
        match self.socket.request(vec![message]) {
            Err(error) if error.is(Errno::NODEV) => Ok(()),
            result => result,
        }
    }

    fn index(&mut self, name: &str) -> Result<u32> {
        let link = self.find(name)?;
        link.map(|link| link.index).ok_or_else(|| hull_sys::Error::new("find link", name, Errno::NODEV))
    }
}

/// `struct ifinfomsg`: family, type, index, flags, and which flags to change.
fn link_message(kind: u16, flags: u16, op: &'static str, name: &str, index: u32, up: u32) -> Message {
    Message::new(kind, flags, op, name).fixed(&link_header(0, index, up))
}

fn link_header(family: u8, index: u32, up: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&up.to_ne_bytes());
    header[12..16].copy_from_slice(&up.to_ne_bytes());
    header
}

/// The inner end: created by the kernel right where it belongs, under its final name.
fn put_peer(peer: &mut Message, pair: &Pair<'_>) {
    let namespace = u32::try_from(pair.namespace.as_raw_fd()).unwrap_or(u32::MAX);
    peer.put_bytes(&link_header(0, 0, 0))
        .put_str(IFLA_IFNAME, pair.inside)
        .put(IFLA_NET_NS_FD, &namespace.to_ne_bytes());
    if let Some(mac) = pair.mac {
        peer.put(IFLA_ADDRESS, &mac.0);
    }
    put_mtu(peer, pair.mtu);
}

fn put_mtu(message: &mut Message, mtu: u32) {
    if mtu != 0 {
        message.put(IFLA_MTU, &mtu.to_ne_bytes());
    }
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
fn address_message(kind: u16, flags: u16, index: u32, address: IpNet) -> Message {
    let op = if kind == RTM_DELADDR { "remove address" } else { "add address" };
    let mut header = [0; ADDRESS_HEADER];
    header[0] = family(address.addr());
    header[1] = address.prefix_len();
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(kind, flags, op, address.to_string()).fixed(&header);
    match address {
        IpNet::V4(address) => {
            let octets = address.addr().octets();
            message.put(IFA_LOCAL, &octets).put(IFA_ADDRESS, &octets);
            if address.prefix_len() < 31 {
                message.put(IFA_BROADCAST, &address.broadcast().octets());
            }
        }
        // We give each address to one container: nobody has to be asked, and it can be used at once.
        IpNet::V6(address) => {
            message.put(IFA_ADDRESS, &address.addr().octets()).put(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
        }
    }
    message
}

/// Asks for the main table.
fn list_routes(family: u8) -> Message {
    let mut header = [0; ROUTE_HEADER];
    (header[0], header[4]) = (family, RT_TABLE_MAIN);
    Message::new(RTM_GETROUTE, DUMP, "list routes", "").fixed(&header)
}

/// The default route. `struct rtmsg`: family, destination length, source length, tos, table, protocol, scope, type, flags.
fn route_message(index: u32, hop: Hop) -> Message {
    let mut header = [0; ROUTE_HEADER];
    header[4] = RT_TABLE_MAIN;
    header[5] = RTPROT_BOOT;
    header[7] = RTN_UNICAST;
    let name = match hop {
        Hop::Gateway(gateway) => {
            header[0] = family(gateway);
            gateway.to_string()
        }
        Hop::Link { v4 } => {
            header[0] = if v4 { AF_INET } else { AF_INET6 as u8 };
            header[6] = if v4 { RT_SCOPE_LINK } else { 0 };
            format!("link {index}")
        }
    };
    let mut message = Message::new(RTM_NEWROUTE, CREATE | REPLACE, "default route via", name).fixed(&header);
    match hop {
        Hop::Gateway(IpAddr::V4(gateway)) => message.put(RTA_GATEWAY, &gateway.octets()),
        Hop::Gateway(IpAddr::V6(gateway)) => message.put(RTA_GATEWAY, &gateway.octets()),
        Hop::Link { .. } => &mut message,
    };
    message.put(RTA_OIF, &index.to_ne_bytes());
    message
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 as u8 }
}

fn parse_link(answer: &Answer) -> Option<Link> {
    let index = u32::from_ne_bytes(answer.body.get(4..8)?.try_into().ok()?);
    let mut link = Link { index, name: String::new(), bridge: 0, kind: String::new() };
    for attribute in attributes(answer.body.get(LINK_HEADER..)?) {
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_MASTER => link.bridge = attribute.number()?,
            IFLA_LINKINFO => {
                let kind = attributes(attribute.payload).find(|info| info.kind == IFLA_INFO_KIND);
                link.kind = kind.map(|kind| kind.text()).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn parse_address(answer: &Answer) -> Option<(u32, Ipv4Net)> {
    let prefix = *answer.body.get(1)?;
    let index = u32::from_ne_bytes(answer.body.get(4..8)?.try_into().ok()?);
    let local = attributes(answer.body.get(ADDRESS_HEADER..)?).find(|a| a.kind == IFA_LOCAL)?;
    let octets: [u8; 4] = local.payload.try_into().ok()?;
    Some((index, Ipv4Net::new(octets.into(), prefix).ok()?))
}

/// The same of IPv6, where the address of a link is in another attribute.
fn parse_address6(answer: &Answer) -> Option<(u32, IpNet)> {
    let prefix = *answer.body.get(1)?;
    let index = u32::from_ne_bytes(answer.body.get(4..8)?.try_into().ok()?);
    let address = attributes(answer.body.get(ADDRESS_HEADER..)?).find(|a| a.kind == IFA_ADDRESS)?;
    let octets: [u8; 16] = address.payload.try_into().ok()?;
    Some((index, Ipv6Net::new(octets.into(), prefix).ok()?.into()))
}

fn parse_destination(answer: &Answer) -> Option<Ipv4Net> {
    let (octets, prefix) = parse_route(answer)?;
    Ipv4Net::new(<[u8; 4]>::try_from(octets).ok()?.into(), prefix).ok()
}

fn parse_destination6(answer: &Answer) -> Option<Ipv6Net> {
    let (octets, prefix) = parse_route(answer)?;
    Ipv6Net::new(<[u8; 16]>::try_from(octets).ok()?.into(), prefix).ok()
}

/// The destination of a route of the main table, and its prefix length.
fn parse_route(answer: &Answer) -> Option<(&[u8], u8)> {
    let (prefix, mut table) = (*answer.body.get(1)?, u32::from(*answer.body.get(4)?));
    let mut destination = None;
    for attribute in attributes(answer.body.get(ROUTE_HEADER..)?) {
        match attribute.kind {
            RTA_DST => destination = Some(attribute.payload),
            RTA_TABLE => table = attribute.number()?,
            _ => {}
        }
    }
    destination.filter(|_| table == u32::from(RT_TABLE_MAIN)).map(|destination| (destination, prefix))
}
