//! Which ports are whose, with the sockets that hold them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::runtime::Handle;

use super::bind::bind;
use super::guard::Guard;
use super::listeners;
use super::relay::Relay;
use crate::{Protocol, Published};

/// From this length on a range that is not held is looked up among the host's sockets, not bound port by port.
const ASKED_FROM: u16 = 64;

/// All reserved ports.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By the first port.
    holders: BTreeMap<(Protocol, u16), Vec<Holder>>,
    /// The most ports that any has had: how far before a port a range may begin that has it.
    longest: u16,
    /// Where relays run.
    runtime: Option<Handle>,
    /// Keeps the ranges without sockets.
    guard: Option<Guard>,
}

#[derive(Debug)]
struct Holder {
    place: Place,
    endpoint: String,
    /// By port; none for a range that is guarded.
    sockets: Vec<(u16, Hold)>,
    guarded: bool,
}

/// What keeps a port, until it is dropped.
#[derive(Debug)]
enum Hold {
    /// The firewall's maps lead elsewhere what comes.
    Bound { _socket: OwnedFd },
    /// What comes is passed on.
    Relayed { _relay: Relay },
}

/// Why a port cannot be had.
#[derive(Debug)]
pub(super) enum Taken {
    /// By another endpoint.
    ByUs,
    /// By another program, or the address is not the host's.
    Refused(Errno),
}

/// Ports of the host at one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) protocol: Protocol,
    pub(super) ip: IpAddr,
    pub(super) first: u16,
    pub(super) last: u16,
    /// Where what comes at the first port is relayed to, if it is.
    pub(super) to: Option<SocketAddr>,
}

impl Place {
    /// Where published ports are reserved; nowhere in a routed network.
    pub(super) fn of(port: &Published) -> Option<Self> {
        let (first, last) = (port.host_port, port.last_host_port());
        (!port.is_routed()).then_some(Self {
            protocol: port.protocol,
            ip: port.host_ip,
            first,
            last,
            to: None,
        })
    }

    /// Two sockets at these addresses could not have the same port.
    fn meets(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.ip.is_ipv4()
            && (ip == self.ip || ip.is_unspecified() || self.ip.is_unspecified())
    }
}

impl Held {
    /// Nothing is reserved.
    pub(super) fn new(runtime: Option<Handle>, guard: Option<Guard>) -> Self {
        Self { runtime, guard, ..Self::default() }
    }

    /// All of these ports at all these addresses, or none; with a socket each if they are to be held.
    pub(super) fn take(
        &mut self,
        endpoint: &str,
        places: &[Place],
        hold: bool,
    ) -> Result<(), (IpAddr, u16, Taken)> {
        for (number, place) in places.iter().enumerate() {
            if let Err((port, taken)) = self.take_one(endpoint, *place, hold) {
                places[..number].iter().for_each(|place| self.release(endpoint, *place));
                return Err((place.ip, port, taken));
            }
        }
        if !hold {
            self.keep_guarded();
        }
        Ok(())
    }

    fn take_one(&mut self, endpoint: &str, place: Place, hold: bool) -> Result<(), (u16, Taken)> {
        let ours = self.overlapping(place).filter(|(_, holder)| place.meets(holder.place.ip));
        if let Some(first) = ours.map(|(first, _)| first).min() {
            return Err((first.max(place.first), Taken::ByUs));
        }
        let (taken, untested) = in_use(place, hold);
        if let Some(port) = taken.first() {
            return Err((*port, Taken::Refused(Errno::ADDRINUSE)));
        }
        let mut sockets = Vec::new();
        for port in untested {
            let held = self.hold(place, port, hold).map_err(|errno| (port, Taken::Refused(errno)))?;
            sockets.extend(held.map(|held| (port, held)));
        }
        self.insert(endpoint, place, sockets, !hold);
        Ok(())
    }

    /// Binds a port, and keeps it if it is to be held.
    fn hold(&self, place: Place, port: u16, hold: bool) -> Result<Option<Hold>, Errno> {
        let Some(socket) = bind(place.protocol, place.ip, port)?.filter(|_| hold) else { return Ok(None) };
        let (Some(runtime), Some(to)) = (&self.runtime, place.to) else {
            return Ok(Some(Hold::Bound { _socket: socket }));
        };
        let to = SocketAddr::new(to.ip(), to.port() + (port - place.first));
        let relay = Relay::start(runtime, place.protocol, socket, to);
        let relay = relay.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(Some(Hold::Relayed { _relay: relay }))
    }

    /// Ports that are the endpoint's whoever else has them; returns those.
    pub(super) fn restore(&mut self, endpoint: &str, place: Place, hold: bool) -> Vec<u16> {
        let (mut lost, untested) = in_use(place, hold);
        let mut sockets = Vec::new();
        for port in untested {
            match self.hold(place, port, hold) {
                Ok(held) => sockets.extend(held.map(|held| (port, held))),
                Err(_) => lost.push(port),
            }
        }
        self.insert(endpoint, place, sockets, !hold);
        if !hold {
            self.keep_guarded();
        }
        lost
    }

    /// Frees ports of an endpoint, which may be a part of what it took at once.
    pub(super) fn release(&mut self, endpoint: &str, place: Place) {
        let (begins, guarded): (Vec<u16>, Vec<bool>) = self
            .overlapping(place)
            .filter(|(_, holder)| holder.endpoint == endpoint && holder.place.ip == place.ip)
            .map(|(first, holder)| (first, holder.guarded))
            .unzip();
        for first in begins {
            self.cut(endpoint, first, place);
        }
        if guarded.contains(&true) {
            self.keep_guarded();
        }
    }

    fn cut(&mut self, endpoint: &str, first: u16, place: Place) {
        let Some(holders) = self.holders.get_mut(&(place.protocol, first)) else { return };
        let own = |holder: &Holder| holder.endpoint == endpoint && holder.place.ip == place.ip;
        let Some(position) = holders.iter().position(own) else { return };
        let holder = holders.swap_remove(position);
        if holders.is_empty() {
            self.holders.remove(&(place.protocol, first));
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (port, socket) in holder.sockets {
            match port {
                port if port < place.first => before.push((port, socket)),
                port if port > place.last => after.push((port, socket)),
                // Closed.
                _ => {}
            }
        }
        if first < place.first {
            let place = Place { first, last: place.first - 1, ..place };
            self.insert(endpoint, place, before, holder.guarded);
        }
        if holder.place.last > place.last {
            let place = Place { first: place.last + 1, last: holder.place.last, ..place };
            self.insert(endpoint, place, after, holder.guarded);
        }
    }

    /// Keeps the ranges without sockets, where the kernel can; they are tested, at least, where it cannot.
    fn keep_guarded(&mut self) {
        let Some(guard) = &mut self.guard else {
            tracing::warn!(
                "long ranges of published ports are not kept from other programs: no version 2 cgroups"
            );
            return;
        };
        let guarded = self.holders.values().flatten().filter(|holder| holder.guarded);
        let places: Vec<Place> = guarded.map(|holder| holder.place).collect();
        if let Err(error) = guard.keep(&places) {
            tracing::warn!("long ranges of published ports are not kept from other programs: {error}");
        }
    }

    fn insert(&mut self, endpoint: &str, place: Place, sockets: Vec<(u16, Hold)>, guarded: bool) {
        self.longest = self.longest.max(place.last - place.first);
        let holder = Holder { place, endpoint: endpoint.to_owned(), sockets, guarded };
        self.holders.entry((place.protocol, place.first)).or_default().push(holder);
    }

    /// Who has one of these ports, at whatever address, with the first port.
    fn overlapping(&self, place: Place) -> impl Iterator<Item = (u16, &Holder)> {
        let from = place.first.saturating_sub(self.longest);
        self.holders
            .range((place.protocol, from)..=(place.protocol, place.last))
            .flat_map(|((_, first), holders)| holders.iter().map(|holder| (*first, holder)))
            .filter(move |(_, holder)| holder.place.last >= place.first)
    }

    /// How many reservations there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.holders.values().map(Vec::len).sum()
    }
}

/// The ports that another program is known to listen on, and those that have to be bound to know. Of a long range that
/// is the first, which shows whether the address is the host's.
fn in_use(place: Place, hold: bool) -> (Vec<u16>, RangeInclusive<u16>) {
    let all = place.first..=place.last;
    if hold || place.last - place.first < ASKED_FROM {
        return (Vec::new(), all);
    }
    match listeners::taken(place.protocol, place.ip, all.clone()) {
        Ok(taken) => (taken, place.first..=place.first),
        // The kernel does not tell of this protocol.
        Err(_) => (Vec::new(), all),
    }
}
