//! `linux.netDevices`: network devices of the host that move into the container's network namespace, with their
//! addresses; config-linux.md, "Network Devices". They stay there until that namespace ends, unless the container never
//! comes to be: then they move back.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hull_oci::runtime::LinuxNetDevice;
use hull_sys::netlink::{CREATE, DUMP, Family, Message, REPLACE, Socket, attributes};
use hull_sys::{Context, Error, Result, netns};
use rustix::io::Errno;

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;
const IFF_UP: u32 = 1;

/// The lengths of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// Devices that were moved; dropping this moves them back.
#[derive(Debug)]
pub(crate) struct Moved {
    namespace: OwnedFd,
    /// The names inside and outside.
    devices: Vec<(String, String)>,
}

/// Moves the devices into `namespace`, each under its new name, if it has one.
pub(crate) fn move_in(devices: &HashMap<String, LinuxNetDevice>, namespace: OwnedFd) -> Result<Moved> {
    let mut moved = Moved { namespace, devices: Vec::new() };
    for (outside, device) in devices {
        let wanted = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(outside);
        let inside = move_one(&Side::Here, &Side::There(moved.namespace.as_fd()), outside, wanted)?;
        moved.devices.push((inside, outside.clone()));
    }
    Ok(moved)
}

impl Moved {
    /// The container has come to be: they are its own now.
    pub(crate) fn keep(mut self) {
        self.devices.clear();
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        for (inside, outside) in &self.devices {
            // The failure that led here is the one to be told.
            let _ = move_one(&Side::There(self.namespace.as_fd()), &Side::Here, inside, outside);
        }
    }
}

/// A network namespace: the caller's, or another one.
enum Side<'a> {
    Here,
    There(BorrowedFd<'a>),
}

impl Side<'_> {
    fn within<T: Send>(&self, work: impl FnOnce(&mut Socket) -> Result<T> + Send) -> Result<T> {
        match self {
            Self::Here => work(&mut Socket::open(Family::Route)?),
            Self::There(namespace) => {
                netns::within(*namespace, || work(&mut Socket::open(Family::Route)?)).and_then(|done| done)
            }
        }
    }

    fn descriptor(&self) -> Result<OwnedFd> {
        match self {
            Self::Here => netns::current(),
            Self::There(namespace) => namespace.try_clone_to_owned().op("dup"),
        }
    }
}

/// Moves a device, with its addresses, and sets it up; the name that it has then. A `%d` in `wanted` is a number that is
/// free there.
fn move_one(from: &Side<'_>, to: &Side<'_>, name: &str, wanted: &str) -> Result<String> {
    let addresses = from.within(|socket| {
        let index = find(socket, name)?;
        permanent_addresses(socket, index)
    })?;
    let target = to.descriptor()?;
    let before = to.within(links)?;
    // The kernel finds out only when the device is there already.
    if before.iter().any(|(_, taken)| taken == wanted) {
        return Err(Error::new("move network device", format!("{name} to {wanted}"), Errno::EXIST));
    }
    from.within(|socket| {
        let index = find(socket, name)?;
        let mut message = link_message(RTM_NEWLINK, "move network device", name, index, 0);
        message.put(IFLA_NET_NS_FD, &target.as_raw_fd().to_ne_bytes()).put_str(IFLA_IFNAME, wanted);
        socket.request(vec![message])
    })?;
    to.within(|socket| {
        let after = links(socket)?;
        let new = after.into_iter().find(|link| !before.contains(link));
        let (index, name) = new.ok_or(Errno::NODEV).on("find the moved network device", wanted)?;
        let mut messages: Vec<Message> =
            addresses.iter().map(|address| address_message(address, index, &name)).collect();
        messages.push(link_message(RTM_NEWLINK, "set up network device", &name, index, IFF_UP));
        socket.request(messages).map(|()| name)
    })
}

fn link_message(kind: u16, op: &'static str, name: &str, index: u32, flags: u32) -> Message {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    Message::new(kind, 0, op, name).fixed(&header)
}

fn find(socket: &mut Socket, name: &str) -> Result<u32> {
    let mut question = link_message(RTM_GETLINK, "find network device", name, 0, 0);
    question.put_str(IFLA_IFNAME, name);
    let answers = socket.ask(question)?;
    answers.first().and_then(|answer| index_of(&answer.body)).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::new("find network device", name, Errno::NODEV)
}

fn index_of(body: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?))
}

/// All devices, by index and name.
fn links(socket: &mut Socket) -> Result<Vec<(u32, String)>> {
    let question = Message::new(RTM_GETLINK, DUMP, "list network devices", "").fixed(&[0; LINK_HEADER]);
    let link = |body: &[u8]| {
        let name = attributes(body.get(LINK_HEADER..)?).find(|attribute| attribute.kind == IFLA_IFNAME)?;
        Some((index_of(body)?, name.text()))
    };
    Ok(socket.ask(question)?.iter().filter_map(|answer| link(&answer.body)).collect())
}

/// What the kernel says of the addresses of a device that are not bound to where it is.
fn permanent_addresses(socket: &mut Socket, index: u32) -> Result<Vec<Vec<u8>>> {
    let question = Message::new(RTM_GETADDR, DUMP, "list addresses", "").fixed(&[0; ADDRESS_HEADER]);
    let answers = socket.ask(question)?.into_iter().map(|answer| answer.body);
    Ok(answers.filter(|body| index_of(body) == Some(index) && is_permanent(body)).collect())
}

fn is_permanent(body: &[u8]) -> bool {
    let Some(rest) = body.get(ADDRESS_HEADER..) else { return false };
    let flags = attributes(rest).find(|attribute| attribute.kind == IFA_FLAGS);
    let flags = flags.and_then(|flags| flags.number()).unwrap_or(body[2].into());
    flags & IFA_F_PERMANENT != 0 && body[3] == RT_SCOPE_UNIVERSE
}

/// The same address, for the device of that index. Its label has the device's old name, and its times do not count.
fn address_message(body: &[u8], index: u32, name: &str) -> Message {
    let (header, rest) = body.split_at(ADDRESS_HEADER);
    let mut header = header.to_vec();
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message =
        Message::new(RTM_NEWADDR, CREATE | REPLACE, "add the address of network device", name).fixed(&header);
    for attribute in attributes(rest).filter(|one| ![IFA_LABEL, IFA_CACHEINFO].contains(&one.kind)) {
        message.put(attribute.kind, attribute.payload);
    }
    message
}
