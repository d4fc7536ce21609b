//! The way from 127.0.0.11:53 inside a container's namespace to the sockets of its name server.
//!
//! Port 53 stays free for the container's own use, so the sockets are at ports of the kernel's choice, and two
//! rules turn the port of each packet there and back. Nothing is tracked for that (as NAT would be): a container
//! that does not track connections by itself goes on without that cost.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::{Context, Result, netns};

use crate::nft::{Expression, Hook, Netfilter, Port, Transaction, Verdict, chain};
use crate::port::Protocol;

/// Where containers find their name server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

const DOMAIN: u16 = 53;
/// Before connections are tracked, and after: who tracks sees the sockets' own ports both ways.
const PRIORITY_ASKED: i32 = -300;
const PRIORITY_ANSWERED: i32 = 300;

/// The sockets of a container's name server. They belong to the container's namespace, whoever holds them.
#[derive(Debug)]
pub struct Listeners {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

impl Listeners {
    /// Makes the sockets in a namespace, and the rules that lead to them.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Self> {
        netns::within(namespace, || {
            let udp = UdpSocket::bind(SocketAddrV4::new(SERVER, 0)).op("bind name server")?;
            let tcp = TcpListener::bind(SocketAddrV4::new(SERVER, 0)).op("bind name server")?;
            udp.set_nonblocking(true).op("set nonblocking")?;
            tcp.set_nonblocking(true).op("set nonblocking")?;
            let ports = [
                (Protocol::Udp, udp.local_addr().op("getsockname")?.port()),
                (Protocol::Tcp, tcp.local_addr().op("getsockname")?.port()),
            ];
            Netfilter::here()?.commit(rules(&ports))?;
            Ok(Self { udp, tcp })
        })?
    }

    /// From descriptors that [`Listeners::descriptors`] gave, in their order; `None` if they are others.
    pub fn from_descriptors(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let [udp, tcp] = <[OwnedFd; 2]>::try_from(descriptors).ok()?;
        Some(Self { udp: UdpSocket::from(udp), tcp: TcpListener::from(tcp) })
    }

    /// Copies, for another process to keep.
    pub fn descriptors(&self) -> Result<Vec<OwnedFd>> {
        let copies = [self.udp.as_fd().try_clone_to_owned(), self.tcp.as_fd().try_clone_to_owned()];
        copies.into_iter().map(|copy| copy.op("dup")).collect()
    }
}

fn rules(ports: &[(Protocol, u16)]) -> Transaction {
    use Expression as E;
    let (server, domain) = (SERVER.octets(), DOMAIN.to_be_bytes());
    let mut transaction = Transaction::default();
    transaction.replace_table();
    transaction.base_chain(chain::ASKED, "filter", Hook::Output, PRIORITY_ASKED);
    transaction.base_chain(chain::ANSWERED, "filter", Hook::Output, PRIORITY_ANSWERED);
    for (protocol, port) in ports {
        let (number, port) = ([protocol.number()], port.to_be_bytes());
        let is_protocol = [E::TransportProtocol(0), E::Equal(0, &number)];
        let asked = [
            E::Destination(0),
            E::Equal(0, &server),
            is_protocol[0],
            is_protocol[1],
            E::DestinationPort(0),
            E::Equal(0, &domain),
            E::Value(0, &port),
            E::SetPort(Port::Destination, *protocol, 0),
            E::Then(Verdict::Accept),
        ];
        let answered = [
            E::Source(0),
            E::Equal(0, &server),
            is_protocol[0],
            is_protocol[1],
            E::SourcePort(0),
            E::Equal(0, &port),
            E::Value(0, &domain),
            E::SetPort(Port::Source, *protocol, 0),
            E::Then(Verdict::Accept),
        ];
        transaction.rule(chain::ASKED, &asked);
        transaction.rule(chain::ANSWERED, &answered);
    }
    transaction
}
