//! Who listens on the host (sock_diag(7)): one question for a range of ports, where binding each would take as long as
//! there are ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use hull_sys::Result;
use hull_sys::netlink::{Answer, DUMP, Family, Message, Socket, attributes};

use crate::{Protocol, sysctl};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// A TCP or SCTP socket that listens, a UDP socket that is connected to nobody.
const LISTENS: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;
const INET_DIAG_SKV6ONLY: u16 = 11;
/// `struct inet_diag_msg`: what is before the attributes, and where the source's port and address are.
const HEADER: usize = 72;
const PORT: usize = 4;
const ADDRESS: usize = 8;

/// The ports of the range, in their order, that a program of this network namespace listens on at `ip`, or at an
/// address that takes its place. An error: the kernel does not tell of this protocol.
pub(super) fn taken(protocol: Protocol, ip: IpAddr, ports: RangeInclusive<u16>) -> Result<Vec<u16>> {
    let mut socket = Socket::open(Family::SocketDiagnosis)?;
    let mut found = Vec::new();
    let families: &[u8] = match ip {
        IpAddr::V4(_) if !sysctl::has_ipv6() => &[AF_INET],
        // A socket of IPv6 takes what comes for IPv4, too, unless it says otherwise.
        IpAddr::V4(_) => &[AF_INET, AF_INET6],
        IpAddr::V6(_) => &[AF_INET6],
    };
    for family in families {
        for answer in socket.ask(question(*family, protocol))? {
            let holder = parse(*family, &answer);
            found.extend(holder.filter(|(address, _)| meet(ip, *address)).map(|(_, port)| port));
        }
    }
    found.retain(|port| ports.contains(port));
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, and the identity of a socket.
fn question(family: u8, protocol: Protocol) -> Message {
    let states = if protocol == Protocol::Udp { UNCONNECTED } else { LISTENS };
    let mut request = [0; 56];
    request[..2].copy_from_slice(&[family, protocol.number()]);
    request[4..8].copy_from_slice(&states.to_ne_bytes());
    Message::new(SOCK_DIAG_BY_FAMILY, DUMP, "list sockets", protocol.name()).fixed(&request)
}

/// Where a socket listens: the address of the family asked for, unspecified where it takes everything of it.
fn parse(family: u8, answer: &Answer) -> Option<(IpAddr, u16)> {
    let bytes = |at: usize, length: usize| answer.body.get(at..at + length);
    let port = u16::from_be_bytes(bytes(PORT, 2)?.try_into().ok()?);
    if family == AF_INET {
        let octets: [u8; 4] = bytes(ADDRESS, 4)?.try_into().ok()?;
        return Some((Ipv4Addr::from(octets).into(), port));
    }
    let octets: [u8; 16] = bytes(ADDRESS, 16)?.try_into().ok()?;
    let address = Ipv6Addr::from(octets);
    let only =
        attributes(answer.body.get(HEADER..)?).any(|a| a.kind == INET_DIAG_SKV6ONLY && a.payload == [1]);
    match address.to_ipv4_mapped() {
        Some(address) => Some((address.into(), port)),
        // Of both families: what is asked for is in its way, whichever it is.
        None if address.is_unspecified() && !only => Some((Ipv4Addr::UNSPECIFIED.into(), port)),
        None => Some((address.into(), port)),
    }
}

/// Whether two sockets at these addresses could not have the same port.
fn meet(wished: IpAddr, held: IpAddr) -> bool {
    // Held by a socket of IPv6 at all addresses of both families, which reads as 0.0.0.0.
    let everything = held == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    everything
        || wished.is_ipv4() == held.is_ipv4()
            && (wished == held || wished.is_unspecified() || held.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn whoever_listens_is_found() {
        let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let both = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = |address: std::io::Result<std::net::SocketAddr>| address.unwrap().port();
        let ports =
            [port(one.local_addr()), port(both.local_addr()), port(six.local_addr()), port(udp.local_addr())];
        let found = |protocol, ip: &str| {
            let all = taken(protocol, ip.parse().unwrap(), 1..=u16::MAX).unwrap();
            ports.map(|port| all.contains(&port))
        };
        assert_eq!(found(Protocol::Tcp, "0.0.0.0"), [true, true, false, false]);
        assert_eq!(found(Protocol::Tcp, "127.0.0.2"), [false, true, false, false]);
        assert_eq!(found(Protocol::Tcp, "::"), [false, true, true, false]);
        assert_eq!(found(Protocol::Udp, "127.0.0.1"), [false, false, false, true]);
        assert_eq!(taken(Protocol::Tcp, Ipv4Addr::LOCALHOST.into(), 0..=0).unwrap(), Vec::<u16>::new());
    }
}
