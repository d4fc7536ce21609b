//! Ports of the host that are reserved for containers.
//!
//! A reserved port is *held*: a socket of the daemon is bound to it, so that no other program gets it and thinks
//! that it is reached there. After a restart the sockets are bound again from the records; what another program
//! has taken meanwhile is told, and goes on leading to the container.
//!
//! A long range is *guarded*, since holding it would take a descriptor for each port: it is refused where a program
//! listens on one of its ports already, and from then on the kernel refuses its ports to other programs.

mod bind;
mod guard;
mod held;
mod listeners;
mod relay;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Mutex;

use rustix::io::Errno;
use tokio::runtime::Handle;

use self::guard::Guard;
use self::held::{Held, Place, Taken};
use crate::networks::lock;
use crate::port::joined;
use crate::{Error, PortBinding, Protocol, Published, sysctl};

/// An endpoint with more ports than this has them guarded, not held: a descriptor for each would use up the daemon's.
const HELD_AT_MOST: usize = 256;

/// A container's addresses, of each family that its network has.
pub(crate) type Addresses = (Option<Ipv4Addr>, Option<Ipv6Addr>);

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
    /// Where ports are published that name no address.
    pub(crate) default_ip: Ipv4Addr,
    /// Whether ports are opened at the container's own address (IPv4, IPv6), and none of the host's is needed.
    pub(crate) routed: [bool; 2],
    /// Whether ports of the host are published, by IPv4 and by IPv6.
    pub(crate) publishes: [bool; 2],
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
    /// Where the search for a free port goes on.
    next: Mutex<u16>,
    /// Whether ports of IPv6 addresses lead to containers without IPv6.
    relays: bool,
}

/// Ports reserved for an endpoint until this is dropped, or for as long as it lives by `keep`.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    ports: &'a Ports,
    endpoint: String,
    published: Vec<Published>,
}

impl Reservation<'_> {
    /// What has been reserved: first what names its ports, each in the order of the wishes.
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
    /// Without reservations, for the calling thread's network namespace. With a runtime, what comes by IPv6 is passed
    /// on to containers without it; with the root of the version 2 cgroups, long ranges are guarded.
    pub(crate) fn new(runtime: Option<Handle>, cgroups: Option<&Path>) -> Result<Self, Error> {
        let guard = cgroups.map(Guard::new).transpose()?;
        Ok(Self { relays: runtime.is_some(), held: Mutex::new(Held::new(runtime, guard)), ..Self::default() })
    }

    /// Reserves ports for every wish, or none. An endpoint that has `already` ports has that many fewer held.
    pub(crate) fn reserve(
        &self,
        owner: Owner<'_>,
        wishes: &[PortBinding],
        already: usize,
    ) -> Result<Reservation<'_>, Error> {
        let mut reservation = self.nothing(owner.endpoint);
        let hold = already + wishes.iter().map(PortBinding::count).sum::<usize>() <= HELD_AT_MOST;
        // Who names no port does not get the one that another wish names.
        let (named, any): (Vec<_>, Vec<_>) = wishes.iter().partition(|wish| wish.host_ports.is_some());
        for wish in named.into_iter().chain(any) {
            let before = reservation.published.len();
            let places = host_ips(wish, owner, self.relays && hold && wish.protocol != Protocol::Sctp)?;
            let (routed, mut places): (Vec<IpAddr>, Vec<IpAddr>) =
                places.into_iter().partition(|ip| owner.routed[usize::from(ip.is_ipv6())]);
            places.retain(|ip| owner.publishes[usize::from(ip.is_ipv6())]);
            reservation.published.extend(routed.into_iter().map(|ip| opened(wish, ip)));
            if !places.is_empty() {
                let published = &mut reservation.published;
                self.publish(owner, wish, &places, hold, published)
                    .map_err(|cause| Error::publishing(owner.name, owner.endpoint, cause))?;
            }
            reservation.published[before..].sort_by_key(|port| port.host_ip.is_ipv6());
        }
        Ok(reservation)
    }

    /// No port at all.
    pub(crate) fn nothing(&self, endpoint: &str) -> Reservation<'_> {
        Reservation { ports: self, endpoint: endpoint.to_owned(), published: Vec::new() }
    }

    /// Ports for one wish; the error is Docker's text.
    fn publish(
        &self,
        owner: Owner<'_>,
        wish: &PortBinding,
        ips: &[IpAddr],
        hold: bool,
        published: &mut Vec<Published>,
    ) -> Result<(), String> {
        let count = u16::try_from(wish.count()).unwrap_or(u16::MAX);
        let first = *wish.container_ports.start();
        match &wish.host_ports {
            Some(range) if range.len() == wish.count() => {
                let from = *range.start();
                self.take(owner, wish, ips, from, count, hold)
                    .map_err(|taken| told(owner, wish, from, &taken))?;
                add(published, wish, ips, first, from, count);
            }
            Some(range) if count == 1 => {
                let mut ports = range.clone();
                let free = ports.find(|port| self.take(owner, wish, ips, *port, 1, hold).is_ok());
                let port = free.ok_or("all ports are allocated")?;
                add(published, wish, ips, first, port, 1);
            }
            Some(_) => return Err("as many ports of the host are needed as of the container".to_owned()),
            None => {
                for container_port in wish.container_ports.clone() {
                    let one =
                        PortBinding { container_ports: container_port..=container_port, ..wish.clone() };
                    let port = self.take_any(owner, &one, ips, hold)?;
                    add(published, wish, ips, container_port, port, 1);
                }
            }
        }
        Ok(())
    }

    /// The next free port of the ephemeral range after the last one found.
    fn take_any(
        &self,
        owner: Owner<'_>,
        wish: &PortBinding,
        ips: &[IpAddr],
        hold: bool,
    ) -> Result<u16, String> {
        let range = sysctl::ephemeral_ports();
        let (first, last) = (*range.start(), *range.end());
        let mut next = lock(&self.next);
        // The first time anywhere: what was given before a restart is not given first again.
        let start = if range.contains(&*next) { *next } else { anywhere(first, last) };
        for port in (start..=last).chain(first..start) {
            if self.take(owner, wish, ips, port, 1, hold).is_ok() {
                *next = if port == last { first } else { port + 1 };
                return Ok(port);
            }
        }
        Err("all ports are allocated".to_owned())
    }

    fn take(
        &self,
        owner: Owner<'_>,
        wish: &PortBinding,
        ips: &[IpAddr],
        first: u16,
        count: u16,
        hold: bool,
    ) -> Result<(), (IpAddr, u16, Taken)> {
        let last = first.saturating_add(count - 1);
        let to = |ip| relayed_to(ip, (owner.address, owner.address6), *wish.container_ports.start());
        let place = |ip: &IpAddr| Place { protocol: wish.protocol, ip: *ip, first, last, to: to(*ip) };
        let places: Vec<_> = ips.iter().map(place).collect();
        lock(&self.held).take(owner.endpoint, &places, hold)
    }

    /// Reserves recorded ports again, and returns those that another program has.
    pub(crate) fn restore(
        &self,
        endpoint: &str,
        ports: &[Published],
        addresses: Addresses,
    ) -> Vec<Published> {
        let hold = ports.iter().map(|port| usize::from(port.count)).sum::<usize>() <= HELD_AT_MOST;
        let mut held = lock(&self.held);
        let mut lost = Vec::new();
        for port in ports {
            let Some(place) = Place::of(port) else { continue };
            let place = Place { to: relayed_to(port.host_ip, addresses, port.container_port), ..place };
            let one = |number: u16| Published {
                host_port: number,
                container_port: port.container_port + (number - port.host_port),
                count: 1,
                ..*port
            };
            lost.extend(held.restore(endpoint, place, hold).into_iter().map(one));
        }
        joined(lost)
    }

    /// Frees ports of an endpoint.
    pub(crate) fn release(&self, endpoint: &str, ports: &[Published]) {
        let mut held = lock(&self.held);
        ports.iter().filter_map(Place::of).for_each(|place| held.release(endpoint, place));
    }
}

/// Where what comes at an address of the host is relayed to, since the container has none of that family.
fn relayed_to(ip: IpAddr, (address, address6): Addresses, port: u16) -> Option<SocketAddrV4> {
    let address = address.filter(|_| ip.is_ipv6() && address6.is_none());
    address.map(|address| SocketAddrV4::new(address, port))
}

/// Adds what has been reserved at each address, to what it goes on where there is such.
fn add(
    published: &mut Vec<Published>,
    wish: &PortBinding,
    ips: &[IpAddr],
    container_port: u16,
    host_port: u16,
    count: u16,
) {
    for host_ip in ips {
        let port = Published { container_port, protocol: wish.protocol, host_ip: *host_ip, host_port, count };
        let mut latest = published.iter_mut().rev().take(ips.len());
        if !latest.any(|last| last.joins(&port)) {
            published.push(port);
        }
    }
}

/// Ports of a routed network.
fn opened(wish: &PortBinding, ip: IpAddr) -> Published {
    Published {
        container_port: *wish.container_ports.start(),
        protocol: wish.protocol,
        host_ip: if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() },
        host_port: 0,
        count: u16::try_from(wish.count()).unwrap_or(u16::MAX),
    }
}

fn told(owner: Owner<'_>, wish: &PortBinding, from: u16, (ip, port, taken): &(IpAddr, u16, Taken)) -> String {
    let place = SocketAddr::new(*ip, *port);
    match taken {
        Taken::ByUs => format!("Bind for {place} failed: port is already allocated"),
        Taken::Refused(errno) => format!(
            "failed to bind host port for {place}:{}:{}/{}: {}",
            owner.address_for(*ip),
            wish.container_ports.start() + (port - from),
            wish.protocol,
            reason(*errno)
        ),
    }
}

fn anywhere(first: u16, last: u16) -> u16 {
    let drawn = crate::networks::random::<2>().map_or(0, u16::from_ne_bytes);
    match last - first {
        u16::MAX => drawn,
        span => first + drawn % (span + 1),
    }
}

/// Where a wish is to be published: as in Docker everywhere, or where it says, or where the configuration says.
fn host_ips(wish: &PortBinding, owner: Owner<'_>, relays: bool) -> Result<Vec<IpAddr>, Error> {
    let default_ip = owner.default_ip;
    let lacks = |ip: IpAddr, family: &str| {
        let text = format!("cannot publish a port on the {family} address {ip}: the network has no {family}");
        Err(Error::Invalid(text))
    };
    let ipv4 = owner.address.is_some();
    let ipv6 = owner.address6.is_some() || (relays && ipv4 && owner.routed == [false; 2]);
    match wish.host_ip {
        // The network that the other family is published by has it.
        Some(ip)
            if !owner.publishes[usize::from(ip.is_ipv6())] && !owner.routed[usize::from(ip.is_ipv6())] =>
        {
            Ok(Vec::new())
        }
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

/// The reason in the words of Docker's users.
fn reason(errno: Errno) -> String {
    match errno {
        Errno::ADDRINUSE => "address already in use".to_owned(),
        Errno::ADDRNOTAVAIL => "cannot assign requested address".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
