//! Forgetting connections whose destination has changed (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! Where a connection leads is decided by its first packet. UDP has no end: a client that goes on sending from one
//! port keeps its old way to a container that is gone, or past one that has just come, until the entry is removed.

use std::net::Ipv4Addr;

use hull_sys::Result;
use hull_sys::netlink::{Answer, DUMP, Message, Socket, attributes};
use rustix::io::Errno;

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const AF_INET: u8 = 2;
const HEADER: [u8; 4] = [AF_INET, 0, 0, 0];
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const FILTER_PROTO_NUM: u32 = 1 << 3;
const UDP: u8 = 17;

/// Which connections over UDP are to be forgotten.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stale<'a> {
    /// Those that this address answers.
    AnsweredBy(Ipv4Addr),
    /// Those to one of these ports that another address than this answers.
    PastBy(&'a [u16], Ipv4Addr),
}

impl Stale<'_> {
    fn matches(self, connection: &Connection) -> bool {
        match self {
            Self::AnsweredBy(address) => connection.answers == address,
            Self::PastBy(ports, address) => ports.contains(&connection.port) && connection.answers != address,
        }
    }
}

/// What matters of an entry.
struct Connection {
    original: Vec<u8>,
    /// The port that was asked for.
    port: u16,
    /// Who answers.
    answers: Ipv4Addr,
}

/// Forgets connections over UDP in the namespace of the socket.
pub(crate) fn forget(socket: &mut Socket, stale: Stale<'_>) -> Result<()> {
    let mut question = Message::new(GET, DUMP, "list connections", "udp").fixed(&HEADER);
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
        let mut delete = Message::new(DELETE, 0, "forget connection", "udp").fixed(&HEADER);
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
    for attribute in attributes(answer.body.get(HEADER.len()..)?) {
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
    let answers: [u8; 4] = part(part(reply?, CTA_TUPLE_IP)?, CTA_IP_V4_SRC)?.try_into().ok()?;
    (part(protocol, CTA_PROTO_NUM)? == [UDP]).then(|| Connection {
        original: original.to_vec(),
        port: u16::from_be_bytes(port),
        answers: answers.into(),
    })
}
