//! Netlink (netlink(7)): messages of attributes, sent in batches, answered by acknowledgements.
//!
//! The kernel handles a batch inside `sendto`, so every answer is in the socket's queue when that returns; a
//! socket belongs to the network namespace in which it was opened, wherever its descriptor is used later.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::{Context, Error, Result};

/// The message is a request.
pub const REQUEST: u16 = 0x1;
/// Acknowledge also success.
pub const ACK: u16 = 0x4;
/// Replace what exists (of requests that make something).
pub const REPLACE: u16 = 0x100;
/// Fail if it exists.
pub const EXCLUSIVE: u16 = 0x200;
/// Make it if it does not exist.
pub const CREATE: u16 = 0x400;
/// Add it at the end of a list.
pub const APPEND: u16 = 0x800;
/// Answer with every object (of requests that ask for something).
pub const DUMP: u16 = 0x300;

const ERROR: u16 = 0x2;
const DONE: u16 = 0x3;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
const FLAG_CAPPED: u16 = 0x100;
const FLAG_ACK_TLVS: u16 = 0x200;
const ATTRIBUTE_TEXT: u16 = 1;

/// A netlink family (the socket's protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// nftables, conntrack.
    Netfilter,
    /// Sockets of the namespace: sock_diag(7).
    SocketDiagnosis,
}

/// A message being built: header, a fixed part, attributes. Numbers are in the byte order that each family
/// wants: rtnetlink the host's, nftables the network's.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Vec<u8>,
    op: &'static str,
    object: String,
}

impl Message {
    /// A request of this type. Operation and object are for the error, should the kernel refuse it.
    pub fn new(kind: u16, flags: u16, op: &'static str, object: impl Into<String>) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes, op, object: object.into() }
    }

    /// Appends the fixed part that this type of message begins with.
    #[must_use]
    pub fn fixed(mut self, part: &[u8]) -> Self {
        self.put_bytes(part);
        self
    }

    /// Appends bare bytes: the fixed part with which some nested attributes begin.
    pub fn put_bytes(&mut self, part: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(part);
        self.pad();
        self
    }

    /// Appends an attribute.
    pub fn put(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.pad();
        self
    }

    /// Appends a string attribute, closed by a zero byte.
    pub fn put_str(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.put(kind, &payload)
    }

    /// Appends an attribute that consists of the attributes `inside` appends. Its length is 16 bits: more than
    /// 64 KiB inside are the caller's mistake, see [`Message::len`].
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.put(kind | NESTED, &[]);
        inside(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The bytes so far, header included.
    #[expect(clippy::len_without_is_empty, reason = "a message always has its header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self, sequence: u32, acknowledge: bool) {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        if acknowledge {
            let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | ACK;
            self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// One attribute of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    /// Its type, without the flags.
    pub kind: u16,
    /// Its payload, perhaps attributes itself.
    pub payload: &'a [u8],
}

impl Attribute<'_> {
    /// The payload as a number of the host's order.
    pub fn number(&self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.payload.get(..4)?.try_into().ok()?))
    }

    /// The payload as text, up to the first zero byte.
    pub fn text(&self) -> String {
        let end = self.payload.iter().position(|byte| *byte == 0).unwrap_or(self.payload.len());
        String::from_utf8_lossy(&self.payload[..end]).into_owned()
    }
}

/// The attributes in `bytes`; what is cut short ends the list.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Attribute { kind, payload })
    })
}

/// One answer to a dump: the message's type and what follows its header.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The message type.
    pub kind: u16,
    /// The fixed part and the attributes.
    pub body: Vec<u8>,
}

/// Something that the kernel tells of its own accord.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The message type.
    pub kind: u16,
    /// The address of the socket that has caused it.
    pub author: u32,
    /// The fixed part and the attributes.
    pub body: Vec<u8>,
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
            Family::SocketDiagnosis => Some(rustix::net::netlink::SOCK_DIAG),
        };
        let fd =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
                .op("socket")?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0)).op("bind netlink")?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            set_option(fd.as_fd(), option, 1)?;
        }
        if matches!(family, Family::Route) {
            // What a question for a list names is what is listed. A kernel older than Linux 4.20 lists all.
            let _ = set_option(fd.as_fd(), libc::NETLINK_GET_STRICT_CHK, 1);
        }
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends messages in one go. All of rtnetlink's are tried in order; nftables' are a transaction between a
    /// begin and an end. The first refusal is the error.
    pub fn request(&mut self, mut messages: Vec<Message>) -> Result<()> {
        let Some(last) = messages.len().checked_sub(1) else { return Ok(()) };
        let first_sequence = self.sequence.wrapping_add(1);
        for (index, message) in messages.iter_mut().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            message.finish(self.sequence, index == last);
        }
        self.send(&messages)?;
        match self.verdicts()? {
            verdicts if verdicts.is_empty() => Ok(()),
            verdicts => refusal(&messages, first_sequence, &verdicts),
        }
    }

    /// Asks one question and collects every answer up to the kernel's end of the list.
    pub fn ask(&mut self, mut question: Message) -> Result<Vec<Answer>> {
        self.sequence = self.sequence.wrapping_add(1);
        let dump = u16::from_ne_bytes([question.bytes[6], question.bytes[7]]) & DUMP == DUMP;
        question.finish(self.sequence, !dump);
        self.send(std::slice::from_ref(&question))?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = self.receive(&mut buffer, RecvFlags::empty()).op(question.op)?;
            for part in parts(&buffer[..length]).filter(|part| part.sequence == self.sequence) {
                match part.kind {
                    DONE => return Ok(answers),
                    ERROR => {
                        let verdict = Verdict::parse(&part);
                        return match verdict.errno {
                            0 => Ok(answers),
                            _ => refusal(std::slice::from_ref(&question), self.sequence, &[verdict])
                                .map(|()| answers),
                        };
                    }
                    kind => answers.push(Answer { kind, body: part.body.to_vec() }),
                }
            }
        }
    }

    /// Has the kernel tell this socket of what happens to the objects of a group, from now on. The socket is for nothing
    /// else then.
    pub fn subscribe(&self, group: u32) -> Result<()> {
        /// Bytes of notices that may wait.
        const ROOM: usize = 1 << 20;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&self.fd, ROOM).op("SO_RCVBUFFORCE")?;
        set_option(self.fd.as_fd(), libc::NETLINK_ADD_MEMBERSHIP, group.cast_signed())
    }

    /// What the kernel has told since the last time, without waiting. ENOBUFS: it could not tell all.
    pub fn notices(&self) -> Result<Vec<Notice>> {
        let mut notices = Vec::new();
        let mut buffer = vec![0; 32 << 10];
        loop {
            match self.receive(&mut buffer, RecvFlags::DONTWAIT) {
                Ok(length) => notices.extend(parts(&buffer[..length]).map(|part| Notice {
                    kind: part.kind,
                    author: part.port,
                    body: part.body.to_vec(),
                })),
                Err(Errno::AGAIN) => return Ok(notices),
                Err(errno) => return Err(Error::new("receive netlink", "notices", errno)),
            }
        }
    }

    /// The socket's address, by which notices name who has caused them.
    pub fn port(&self) -> Result<u32> {
        let address = rustix::net::getsockname(&self.fd).op("getsockname netlink")?;
        Ok(SocketAddrNetlink::try_from(address).op("getsockname netlink")?.pid())
    }

    fn send(&self, messages: &[Message]) -> Result<()> {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| message.bytes.iter().copied()).collect();
        if bytes.len() > 64 << 10 {
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len() * 2)
                .op("SO_SNDBUFFORCE")?;
        }
        let sent = rustix::net::send(&self.fd, &bytes, SendFlags::empty()).op("send netlink")?;
        match sent == bytes.len() {
            true => Ok(()),
            false => Err(Error::new("send netlink", "short write", Errno::IO)),
        }
    }

    /// Everything the kernel has answered; it has done so before `send` returned.
    fn verdicts(&self) -> Result<Vec<Verdict>> {
        let mut verdicts = Vec::new();
        let mut buffer = vec![0; 32 << 10];
        loop {
            match self.receive(&mut buffer, RecvFlags::DONTWAIT) {
                Ok(length) => verdicts
                    .extend(parts(&buffer[..length]).filter(|p| p.kind == ERROR).map(|p| Verdict::parse(&p))),
                Err(Errno::AGAIN) => return Ok(verdicts),
                Err(errno) => return Err(Error::new("receive netlink", "", errno)),
            }
        }
    }

    fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> rustix::io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, &mut *buffer, flags))
            .map(|(length, _)| length)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_option(fd: BorrowedFd<'_>, option: i32, value: i32) -> Result<()> {
    // SAFETY: the option's value is a C int; the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).op("setsockopt netlink"),
    }
}

/// One message of a received datagram.
struct Part<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    body: &'a [u8],
}

fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        let part = Part {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes(header[8..12].try_into().ok()?),
            port: u32::from_ne_bytes(header[12..16].try_into().ok()?),
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(part)
    })
}

/// The kernel's answer to one message: 0, or why not.
#[derive(Debug)]
struct Verdict {
    sequence: u32,
    errno: i32,
    text: String,
}

impl Verdict {
    fn parse(part: &Part<'_>) -> Self {
        let errno = part.body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
        // The request's header follows the number, its body only where the kernel does not cap it.
        let echoed =
            part.body.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes) as usize;
        let skip = if part.flags & FLAG_CAPPED != 0 { HEADER } else { echoed.next_multiple_of(4) };
        let text = match part.flags & FLAG_ACK_TLVS {
            0 => String::new(),
            _ => attributes(part.body.get(4 + skip..).unwrap_or(&[]))
                .find(|attribute| attribute.kind == ATTRIBUTE_TEXT)
                .map_or_else(String::new, |attribute| attribute.text()),
        };
        Self { sequence: part.sequence, errno: -errno, text }
    }
}

/// The first refusal among the verdicts, told with what the refused message wanted.
fn refusal(messages: &[Message], first_sequence: u32, verdicts: &[Verdict]) -> Result<()> {
    let Some(verdict) = verdicts.iter().find(|verdict| verdict.errno != 0) else { return Ok(()) };
    let index = verdict.sequence.wrapping_sub(first_sequence) as usize;
    let (op, object) =
        messages.get(index).map_or(("netlink", ""), |message| (message.op, message.object.as_str()));
    let object = match (object, verdict.text.as_str()) {
        (object, "") => object.to_owned(),
        ("", text) => format!("({text})"),
        (object, text) => format!("{object} ({text})"),
    };
    Err(Error::new(op, object, verdict.errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_carry_their_length_and_are_read_back() {
        let mut message = Message::new(16, 0, "test", "").fixed(&[7; 4]);
        message.put_str(3, "eth0").nest(18, |inner| {
            inner.put(1, &9u32.to_ne_bytes());
        });
        let read: Vec<_> = attributes(&message.bytes[HEADER + 4..]).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].text().as_str()), (3, "eth0"));
        assert_eq!(read[1].kind, 18);
        assert_eq!(attributes(read[1].payload).next().and_then(|inner| inner.number()), Some(9));
    }

    #[test]
    fn a_cut_attribute_ends_the_list() {
        assert_eq!(attributes(&[200, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
    }

    #[test]
    fn the_kernel_names_loopback_first() {
        let mut socket = Socket::open(Family::Route).unwrap();
        let question = Message::new(libc::RTM_GETLINK, DUMP, "list links", "").fixed(&[0; 16]);
        let answers = socket.ask(question).unwrap();
        let names: Vec<_> = answers
            .iter()
            .filter_map(|answer| attributes(&answer.body[16..]).find(|a| a.kind == libc::IFLA_IFNAME))
            .map(|attribute| attribute.text())
            .collect();
        assert_eq!(names.first().map(String::as_str), Some("lo"));
    }

    #[test]
    fn a_refusal_names_the_message_and_the_object() {
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut message = Message::new(libc::RTM_GETLINK, 0, "find link", "nowhere0").fixed(&[0; 16]);
        message.put_str(libc::IFLA_IFNAME, "nowhere0");
        let error = socket.ask(message).unwrap_err();
        assert_eq!((error.op, error.errno), ("find link", libc::ENODEV));
        assert!(error.object.starts_with("nowhere0"), "{error}");
    }
}
