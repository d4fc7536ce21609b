//! Forgetting connections whose destination has changed (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! Where a connection leads is decided by its first packet. UDP has no end: a client that goes on sending from one
//! port keeps its old way to a container that is gone, or past one that has just come, until the entry is removed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use hull_sys::Result;
use hull_sys::netlink::{Answer, DUMP, Message, Socket, attributes};
use rustix::io::Errno;

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const HEADER: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const FILTER_PROTO_NUM: u32 = 1 << 3;
const UDP: u8 = 17;

/// Which connections over UDP are to be forgotten.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stale<'a> {
    /// Those that this address answers.
    AnsweredBy(IpAddr),
    /// Those to one of these ports that another address than this answers.
    PastBy(&'a [RangeInclusive<u16>], IpAddr),
}

impl Stale<'_> {
    /// What messages about them begin with (`struct nfgenmsg`): the family, version, resource.
    fn header(self) -> [u8; HEADER] {
        let (Self::AnsweredBy(address) | Self::PastBy(_, address)) = self;
        [if address.is_ipv4() { AF_INET } else { AF_INET6 }, 0, 0, 0]
    }

    fn matches(self, connection: &Connection) -> bool {
        match self {
            Self::AnsweredBy(address) => connection.answers == address,
            Self::PastBy(ports, address) => {
                let asked = ports.iter().any(|ports| ports.contains(&connection.port));
                asked && connection.answers != address
            }
        }
    }
}

/// What matters of an entry.
struct Connection {
    original: Vec<u8>,
    /// The port that was asked for.
    port: u16,
    /// Who answers.
    answers: IpAddr,
}

/// Forgets connections over UDP in the namespace of the socket.
pub(crate) fn forget(socket: &mut Socket, stale: Stale<'_>) -> Result<()> {
    let mut question = Message::new(GET, DUMP, "list connections", "udp").fixed(&stale.header());
    // The kernel hands out UDP only, where it knows the filter (Linux 5.8).
    question
        .nest(CTA_TUPLE_ORIG, |tuple| {
            tuple.nest(CTA_TUPLE_PROTO, |protocol| {
                protocol.put(CTA_PROTO_NUM, &[UDP]);
            });
        })
        .nest(CTA_FILTER, |filter| {
            filter
                .put(CTA_FILTER_ORIG_FLAGS, &FILTER_PROTO_NUM.to_ne_bytes())
                .put(CTA_FILTER_REPLY_FLAGS, &0u32.to_ne_bytes());
        });
    let connections = socket.ask(question)?;
    for connection in connections.iter().filter_map(parse).filter(|connection| stale.matches(connection)) {
        let mut delete = Message::new(DELETE, 0, "forget connection", "udp").fixed(&stale.header());
        delete.nest(CTA_TUPLE_ORIG, |tuple| {
            tuple.put_bytes(&connection.original);
        });
        match socket.request(vec![delete]) {
            // It has ended meanwhile.
            Err(error) if error.is(Errno::NOENT) => {}
            result => result?,
        }
    }
    Ok(())
}

fn parse(answer: &Answer) -> Option<Connection> {
    let (mut original, mut reply) = (None, None);
    for attribute in attributes(answer.body.get(HEADER..)?) {
        match attribute.kind {
            CTA_TUPLE_ORIG => original = Some(attribute.payload),
            CTA_TUPLE_REPLY => reply = Some(attribute.payload),
            _ => {}
        }
    }
    let original = original?;
    let part = |tuple, kind| attributes(tuple).find(|part| part.kind == kind).map(|part| part.payload);
    let protocol = part(original, CTA_TUPLE_PROTO)?;
    let port: [u8; 2] = part(protocol, CTA_PROTO_DST_PORT)?.try_into().ok()?;
    let from = part(reply?, CTA_TUPLE_IP)?;
    let v4 = part(from, CTA_IP_V4_SRC).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
    let v6 = part(from, CTA_IP_V6_SRC).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
    let answers =
        v4.map(|octets| Ipv4Addr::from(octets).into()).or(v6.map(|octets| Ipv6Addr::from(octets).into()))?;
    (part(protocol, CTA_PROTO_NUM)? == [UDP]).then(|| Connection {
        original: original.to_vec(),
        port: u16::from_be_bytes(port),
        answers,
    })
}
