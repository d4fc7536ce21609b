//! Ports of the host that are reserved for containers.
//!
//! A reserved port is *held*: a socket of the daemon is bound to it, so that no other program gets it and thinks
//! that it is reached there. After a restart the sockets are bound again from the records; what another program
//! has taken meanwhile is told, and goes on leading to the container.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::networks::lock;
use crate::{Error, PortBinding, Protocol, Published, sysctl};

/// An endpoint with more ports than this (a range) has them tested, not held: a descriptor for each would use up
/// the daemon's.
const HELD_AT_MOST: usize = 256;

/// Whose ports they are to be, for messages as well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// The endpoint's id.
    pub(crate) endpoint: &'a str,
    /// The container's name.
    pub(crate) name: &'a str,
    /// The container's IPv4 address.
    pub(crate) address: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub(crate) address6: Option<Ipv6Addr>,
}

impl Owner<'_> {
    /// The address of the family, for messages.
    fn address_for(&self, ip: IpAddr) -> String {
        let (v4, v6) = (self.address.map(IpAddr::V4), self.address6.map(IpAddr::V6));
        let address = if ip.is_ipv4() { v4 } else { v6 };
        address.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// All reserved ports.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    holders: HashMap<(Protocol, u16), Vec<Holder>>,
    /// Where the search for a free port goes on.
    next: u16,
}

#[derive(Debug)]
struct Holder {
    ip: IpAddr,
    endpoint: String,
    _socket: Option<OwnedFd>,
}

/// Why a port cannot be had.
#[derive(Debug)]
enum Taken {
    /// By another endpoint.
    ByUs,
    /// By another program, or the address is not the host's.
    Refused(Errno),
}

/// Ports reserved for an endpoint until this is dropped, or for as long as it lives by `keep`.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    ports: &'a Ports,
    endpoint: String,
    published: Vec<Published>,
}

impl Reservation<'_> {
    /// What has been reserved, in the order of the wishes.
    pub(crate) fn published(&self) -> &[Published] {
        &self.published
    }

    /// The endpoint exists: only `release` frees the ports now.
    pub(crate) fn keep(mut self) {
        self.published.clear();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.ports.release(&self.endpoint, &self.published);
    }
}

impl Ports {
    /// Reserves a port for every wish, or none.
    pub(crate) fn reserve(
        &self,
        owner: Owner<'_>,
        wishes: &[PortBinding],
        default_ip: Ipv4Addr,
    ) -> Result<Reservation<'_>, Error> {
        let mut reservation =
            Reservation { ports: self, endpoint: owner.endpoint.to_owned(), published: Vec::new() };
        let hold = wishes.len() <= HELD_AT_MOST;
        for wish in wishes {
            let host_ips = host_ips(wish, default_ip, owner)?;
            let host_port = lock(&self.held)
                .take(owner, wish, &host_ips, hold)
                .map_err(|cause| Error::publishing(owner.name, owner.endpoint, cause))?;
            let (container_port, protocol) = (wish.container_port, wish.protocol);
            let published = |host_ip| Published { container_port, protocol, host_ip, host_port };
            reservation.published.extend(host_ips.into_iter().map(published));
        }
        Ok(reservation)
    }

    /// Reserves recorded ports again, and returns those that another program has.
    pub(crate) fn restore(&self, endpoint: &str, ports: &[Published]) -> Vec<Published> {
        let mut held = lock(&self.held);
        let mut lost = Vec::new();
        for port in ports {
            let socket = bind(port.protocol, port.host_ip, port.host_port);
            if socket.is_err() {
                lost.push(*port);
            }
            let socket = socket.ok().flatten().filter(|_| ports.len() <= HELD_AT_MOST);
            held.insert(endpoint, port.protocol, port.host_ip, port.host_port, socket);
        }
        lost
    }

    /// Frees ports of an endpoint.
    pub(crate) fn release(&self, endpoint: &str, ports: &[Published]) {
        let mut held = lock(&self.held);
        for port in ports {
            held.release(endpoint, port.protocol, port.host_ip, port.host_port);
        }
    }
}

impl Held {
    /// One port for a wish; the error is Docker's text.
    fn take(
        &mut self,
        owner: Owner<'_>,
        wish: &PortBinding,
        ips: &[IpAddr],
        hold: bool,
    ) -> Result<u16, String> {
        let (first, last) = match &wish.host_ports {
            Some(range) => (*range.start(), *range.end()),
            None => return self.take_any(owner, wish.protocol, ips, hold),
        };
        for port in first..=last {
            match self.try_all(owner.endpoint, wish.protocol, ips, port, hold) {
                Ok(()) => return Ok(port),
                Err(_) if first != last => {}
                Err((ip, Taken::ByUs)) => {
                    let place = SocketAddr::new(ip, port);
                    return Err(format!("Bind for {place} failed: port is already allocated"));
                }
                Err((ip, Taken::Refused(errno))) => {
                    return Err(format!(
                        "failed to bind host port for {}:{}:{}/{}: {}",
                        SocketAddr::new(ip, port),
                        owner.address_for(ip),
                        wish.container_port,
                        wish.protocol,
                        reason(errno)
                    ));
                }
            }
        }
        Err("all ports are allocated".to_owned())
    }

    /// The next free port of the ephemeral range after the last one found.
    fn take_any(
        &mut self,
        owner: Owner<'_>,
        protocol: Protocol,
        ips: &[IpAddr],
        hold: bool,
    ) -> Result<u16, String> {
        let range = sysctl::ephemeral_ports();
        let (first, last) = (*range.start(), *range.end());
        let start = if range.contains(&self.next) { self.next } else { first };
        for port in (start..=last).chain(first..start) {
            if self.try_all(owner.endpoint, protocol, ips, port, hold).is_ok() {
                self.next = if port == last { first } else { port + 1 };
                return Ok(port);
            }
        }
        Err("all ports are allocated".to_owned())
    }

    /// One port at all these addresses, or at none.
    fn try_all(
        &mut self,
        endpoint: &str,
        protocol: Protocol,
        ips: &[IpAddr],
        port: u16,
        hold: bool,
    ) -> Result<(), (IpAddr, Taken)> {
        for (number, ip) in ips.iter().enumerate() {
            if let Err(taken) = self.try_port(endpoint, protocol, *ip, port, hold) {
                ips[..number].iter().for_each(|ip| self.release(endpoint, protocol, *ip, port));
                return Err((*ip, taken));
            }
        }
        Ok(())
    }

    fn release(&mut self, endpoint: &str, protocol: Protocol, ip: IpAddr, port: u16) {
        let Some(holders) = self.holders.get_mut(&(protocol, port)) else { return };
        holders.retain(|holder| holder.endpoint != endpoint || holder.ip != ip);
        if holders.is_empty() {
            self.holders.remove(&(protocol, port));
        }
    }

    fn try_port(
        &mut self,
        endpoint: &str,
        protocol: Protocol,
        ip: IpAddr,
        port: u16,
        hold: bool,
    ) -> Result<(), Taken> {
        let same = |holder: &Holder| {
            holder.ip.is_ipv4() == ip.is_ipv4()
                && (holder.ip == ip || holder.ip.is_unspecified() || ip.is_unspecified())
        };
        if self.holders.get(&(protocol, port)).is_some_and(|holders| holders.iter().any(same)) {
            return Err(Taken::ByUs);
        }
        let socket = bind(protocol, ip, port).map_err(Taken::Refused)?;
        self.insert(endpoint, protocol, ip, port, socket.filter(|_| hold));
        Ok(())
    }

    fn insert(&mut self, endpoint: &str, protocol: Protocol, ip: IpAddr, port: u16, socket: Option<OwnedFd>) {
        let holder = Holder { ip, endpoint: endpoint.to_owned(), _socket: socket };
        self.holders.entry((protocol, port)).or_default().push(holder);
    }
}

/// Where a wish is to be published: as in Docker everywhere, or where it says, or where the configuration says.
fn host_ips(wish: &PortBinding, default_ip: Ipv4Addr, owner: Owner<'_>) -> Result<Vec<IpAddr>, Error> {
    let lacks = |ip: IpAddr, family: &str| {
        let text = format!("cannot publish a port on the {family} address {ip}: the network has no {family}");
        Err(Error::Invalid(text))
    };
    let (ipv4, ipv6) = (owner.address.is_some(), owner.address6.is_some());
    match wish.host_ip {
        Some(ip @ IpAddr::V6(_)) if !ipv6 => lacks(ip, "IPv6"),
        Some(ip @ IpAddr::V4(_)) if !ipv4 => lacks(ip, "IPv4"),
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => Ok(vec![default_ip.into()]),
        Some(ip) => Ok(vec![ip]),
        None => {
            let v4 = ipv4.then_some(IpAddr::V4(default_ip));
            let v6 = (ipv6 && default_ip.is_unspecified()).then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            Ok(v4.into_iter().chain(v6).collect())
        }
    }
}

/// A socket that nobody else can bind beside; `None` where the kernel has no such protocol.
fn bind(protocol: Protocol, ip: IpAddr, port: u16) -> Result<Option<OwnedFd>, Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = match rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => return Ok(None),
        socket => socket?,
    };
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    let address = SocketAddr::new(ip, port);
    match rustix::net::bind(&socket, &address) {
        // Closed connections (TIME_WAIT) may be all that is in the way. A listener may share the port with them, and
        // still with no other listener.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, 0)?;
        }
        result => result?,
    }
    Ok(Some(socket))
}

/// The reason in the words of Docker's users.
fn reason(errno: Errno) -> String {
    match errno {
        Errno::ADDRINUSE => "address already in use".to_owned(),
        Errno::ADDRNOTAVAIL => "cannot assign requested address".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

    fn wish(port: u16) -> PortBinding {
        PortBinding {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: None,
            host_ports: (port != 0).then_some(port..=port),
        }
    }

    fn owner(name: &str) -> Owner<'_> {
        Owner { endpoint: name, name, address: Some(Ipv4Addr::new(172, 17, 0, 2)), address6: None }
    }

    #[test]
    fn a_port_is_free_again_when_its_reservation_is_dropped() {
        let ports = Ports::default();
        let first = ports.reserve(owner("a"), &[wish(0)], LOOPBACK).unwrap();
        let port = first.published()[0].host_port;
        let text = ports.reserve(owner("b"), &[wish(port)], LOOPBACK).unwrap_err().to_string();
        let cause = format!("Bind for 127.0.0.1:{port} failed: port is already allocated");
        assert_eq!(
            text,
            format!("driver failed programming external connectivity on endpoint b (b): {cause}")
        );
        assert!(std::net::TcpListener::bind((LOOPBACK, port)).is_err(), "held against other programs");
        drop(first);
        assert!(ports.reserve(owner("b"), &[wish(port)], LOOPBACK).is_ok());
    }

    #[test]
    fn other_programs_are_respected() {
        let listener = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ports = Ports::default();
        let text = ports.reserve(owner("a"), &[wish(port)], LOOPBACK).unwrap_err().to_string();
        assert!(
            text.ends_with(&format!(
                "failed to bind host port for 127.0.0.1:{port}:172.17.0.2:80/tcp: address already in use"
            )),
            "{text}"
        );
        drop(listener);
        assert!(ports.reserve(owner("a"), &[wish(port)], LOOPBACK).is_ok());
    }

    #[test]
    fn a_failed_wish_frees_those_before_it() {
        let ports = Ports::default();
        let kept = ports.reserve(owner("a"), &[wish(0)], LOOPBACK).unwrap();
        let taken = kept.published()[0].host_port;
        assert!(ports.reserve(owner("b"), &[wish(0), wish(taken)], LOOPBACK).is_err());
        assert_eq!(lock(&ports.held).holders.len(), 1);
    }

    #[test]
    fn a_port_is_taken_in_both_families_or_in_none() {
        let other = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let (ports, dual) = (Ports::default(), Owner { address6: Some(Ipv6Addr::LOCALHOST), ..owner("a") });
        let any = PortBinding { host_ip: None, ..wish(port) };
        assert!(ports.reserve(dual, std::slice::from_ref(&any), Ipv4Addr::UNSPECIFIED).is_err());
        assert!(lock(&ports.held).holders.is_empty());
        drop(other);
        let both = ports.reserve(dual, std::slice::from_ref(&any), Ipv4Addr::UNSPECIFIED).unwrap();
        let found: Vec<_> = both.published().iter().map(|port| port.host_ip.to_string()).collect();
        assert_eq!(found, ["0.0.0.0", "::"]);
        assert!(std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_err(), "held in both");
    }

    #[test]
    fn a_range_gives_one_free_port() {
        let ports = Ports::default();
        let first = ports.reserve(owner("a"), &[wish(0)], LOOPBACK).unwrap();
        let taken = first.published()[0].host_port;
        let mut range = wish(taken);
        range.host_ports = Some(taken..=taken + 20);
        let second = ports.reserve(owner("b"), &[range], LOOPBACK).unwrap();
        assert!(second.published()[0].host_port > taken);
    }
}
