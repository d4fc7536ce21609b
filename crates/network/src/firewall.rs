//! Hull's nftables tables, one for IPv4 and one for IPv6: which ports lead where, what is masqueraded, what may pass.
//!
//! Rules are fixed; networks and ports are elements of sets and maps, so a packet's way through the table does
//! not get longer with their number. The table has nothing that the records do not have: `rebuild` replaces it
//! by one transaction, at every start and whenever somebody has flushed it.
//!
//! A packet is accepted only as far as this table goes: a chain of the host that drops it still does.

mod elements;
mod rules;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use hull_sys::Result;
use ipnet::{Ipv4Net, Ipv6Net};
use rustix::io::Errno;

use self::elements::{Elements, passage_elements, path_elements, port_elements};
use self::rules::{SETS, UNROUTED};
use crate::Mark;
use crate::conntrack::Stale;
use crate::nft::{Element, Family, Netfilter, Transaction};
use crate::port::{Protocol, Published};

pub use watch::{Noticed, Watch};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What the table knows of a bridge network.
#[derive(Debug, Clone)]
pub(crate) struct Passage {
    pub(crate) bridge: String,
    /// None of a bridge that only carries on another.
    pub(crate) subnet: Option<Ipv4Net>,
    pub(crate) subnet6: Option<Ipv6Net>,
    /// Containers reach each other.
    pub(crate) icc: bool,
    /// What leaves by another interface gets the host's address.
    pub(crate) masquerade: bool,
    /// Which address that is; the one of the interface it leaves by where absent.
    pub(crate) senders: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// Nothing leaves, nothing comes in.
    pub(crate) internal: bool,
    /// How containers are reached from outside, by IPv4 and by IPv6.
    pub(crate) ways: [Way; 2],
}

/// How the containers of a network are reached from outside, and leave (Docker's gateway modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Way {
    /// By published ports of the host; they leave with its address.
    #[default]
    Nat,
    /// The same, and by their own addresses at every port.
    Unprotected,
    /// By their own addresses at the published ports; nothing is translated.
    Routed,
    /// Not at all: the host has no address there either.
    Isolated,
}

/// A container's addresses and what leads to them.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) address6: Option<Ipv6Addr>,
    pub(crate) ports: Vec<Published>,
    /// Interfaces of the host by which the ports are reached at the container's own addresses as well.
    pub(crate) trusted: Vec<String>,
}

/// The way of a link: from a container to ports of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) from: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    pub(crate) to: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    pub(crate) ports: Vec<(Protocol, RangeInclusive<u16>)>,
}

/// Everything that is in the table.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) passages: Vec<Passage>,
    pub(crate) targets: Vec<Target>,
    pub(crate) paths: Vec<Path>,
    /// Interfaces of the host that did not forward before Hull switched forwarding on.
    pub(crate) unrouted: Vec<String>,
}

/// What holds for all networks, by the daemon's configuration.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policy {
    /// Published ports are reached at the containers' own addresses by every interface.
    pub(crate) direct: bool,
    /// Packets with this mark pass to containers of networks that are not internal.
    pub(crate) accepted: Option<Mark>,
}

/// The tables of one network namespace.
#[derive(Debug)]
pub(crate) struct Firewall {
    netfilter: Netfilter,
    families: &'static [Family],
    policy: Policy,
}

impl Target {
    fn address_in(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.address.map(IpAddr::V4),
            Family::V6 => self.address6.map(IpAddr::V6),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.map(IpAddr::V4).into_iter().chain(self.address6.map(IpAddr::V6))
    }
}

impl Firewall {
    /// To the calling thread's namespace; nothing is changed yet.
    pub(crate) fn here(policy: Policy) -> Result<Self> {
        let families = if crate::sysctl::has_ipv6() { &FAMILIES[..] } else { &FAMILIES[..1] };
        Ok(Self { netfilter: Netfilter::here()?, families, policy })
    }

    /// Replaces the tables, in one transaction.
    pub(crate) fn rebuild(&self, contents: &Contents) -> Result<()> {
        let mut transaction = Transaction::default();
        for family in self.families {
            transaction.append(self.tables(contents, *family));
        }
        self.netfilter.commit(transaction)
    }

    /// What makes the table of a family.
    fn tables(&self, contents: &Contents, family: Family) -> Transaction {
        let mut transaction = Transaction::default();
        transaction.of(family);
        transaction.replace_table();
        for set in &SETS {
            transaction.set(set);
        }
        rules::add(&mut transaction, family, self.policy.accepted);
        for passage in &contents.passages {
            add_all(&mut transaction, passage_elements(passage, family));
        }
        add_all(&mut transaction, port_elements(&contents.targets, family, self.policy.direct));
        add_all(&mut transaction, path_elements(&contents.paths, family));
        let unrouted: Vec<_> =
            contents.unrouted.iter().map(|name| Element::key(&[&elements::interface(name)])).collect();
        transaction.add(UNROUTED, &unrouted);
        transaction
    }

    /// Whether the tables are still there, with as many rules and elements as there should be.
    pub(crate) fn stands(&self, contents: &Contents) -> Result<bool> {
        for family in self.families {
            let wanted = self.tables(contents, *family);
            if !self.netfilter.has_table(*family)? || self.netfilter.count_rules(*family)? != wanted.rules() {
                return Ok(false);
            }
            for set in &SETS {
                if self.netfilter.count_elements(*family, set.name)? != wanted.elements(set.name) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Notices of changes that somebody else makes.
    pub(crate) fn watch(&self) -> Result<Watch> {
        Watch::here(self.netfilter.port()?)
    }

    /// Lets a network's packets pass. ENOENT: somebody has removed a table.
    pub(crate) fn open(&self, passage: &Passage) -> Result<()> {
        self.add(|family| passage_elements(passage, family))
    }

    /// Forgets a network; one that is not there is as good as forgotten.
    pub(crate) fn close(&self, passage: &Passage) -> Result<()> {
        self.remove(|family| passage_elements(passage, family))
    }

    /// Lets containers reach others. ENOENT: somebody has removed a table.
    pub(crate) fn join(&self, paths: &[Path]) -> Result<()> {
        match paths {
            [] => Ok(()),
            paths => self.add(|family| path_elements(paths, family)),
        }
    }

    /// Does not let them any more; ways that are not there are as good as closed.
    pub(crate) fn part(&self, paths: &[Path]) -> Result<()> {
        match paths {
            [] => Ok(()),
            paths => self.remove(|family| path_elements(paths, family)),
        }
    }

    /// Publishes ports, in one transaction. ENOENT: somebody has removed a table.
    pub(crate) fn publish(&self, target: &Target) -> Result<()> {
        self.add(|family| self.elements_of(target, family))?;
        self.forget_past(target)
    }

    /// Publishes other ports of a container than before, in one transaction. ENOENT: somebody has changed a table.
    pub(crate) fn change(&self, from: &Target, to: &Target) -> Result<()> {
        let mut transaction = Transaction::default();
        for family in self.families {
            let (before, after) = (self.elements_of(from, *family), self.elements_of(to, *family));
            transaction.of(*family);
            for ((set, before), (_, after)) in before.iter().zip(&after) {
                transaction.remove(set, &elements::without(before, after));
                transaction.add(set, &elements::without(after, before));
            }
        }
        self.netfilter.commit(transaction)?;
        self.forget_past(to)?;
        match udp_ports(from) == udp_ports(to) {
            true => Ok(()),
            false => self.forget_answered(from),
        }
    }

    /// Takes published ports back; those that are not there are as good as taken back.
    pub(crate) fn withdraw(&self, target: &Target) -> Result<()> {
        self.remove(|family| self.elements_of(target, family))?;
        match udp_ports(target).is_empty() {
            true => Ok(()),
            false => self.forget_answered(target),
        }
    }

    fn elements_of(&self, target: &Target, family: Family) -> Elements {
        port_elements(std::slice::from_ref(target), family, self.policy.direct)
    }

    /// Who has asked before a port was published, and goes on asking, is to get there too.
    fn forget_past(&self, target: &Target) -> Result<()> {
        match udp_ports(target) {
            ports if ports.is_empty() => Ok(()),
            ports => target
                .addresses()
                .try_for_each(|address| self.netfilter.forget_connections(Stale::PastBy(&ports, address))),
        }
    }

    /// Who goes on asking is not to get there any more.
    fn forget_answered(&self, target: &Target) -> Result<()> {
        let mut addresses = target.addresses();
        addresses.try_for_each(|address| self.netfilter.forget_connections(Stale::AnsweredBy(address)))
    }

    fn add(&self, elements: impl Fn(Family) -> Elements) -> Result<()> {
        let mut transaction = Transaction::default();
        for family in self.families {
            transaction.of(*family);
            add_all(&mut transaction, elements(*family));
        }
        self.netfilter.commit(transaction)
    }

    fn remove(&self, elements: impl Fn(Family) -> Elements) -> Result<()> {
        let mut transaction = Transaction::default();
        for family in self.families {
            transaction.of(*family);
            for (set, elements) in &elements(*family) {
                transaction.remove(set, elements);
            }
        }
        match self.netfilter.commit(transaction) {
            Err(error) if error.is(Errno::NOENT) => {
                self.families.iter().try_for_each(|family| self.remove_each(*family, &elements(*family)))
            }
            result => result,
        }
    }

    /// One missing element has undone the transaction of all: now each by itself.
    fn remove_each(&self, family: Family, sets: &Elements) -> Result<()> {
        for (set, elements) in sets {
            for element in elements {
                let mut transaction = Transaction::default();
                transaction.of(family);
                transaction.remove(set, std::slice::from_ref(element));
                match self.netfilter.commit(transaction) {
                    Err(error) if error.is(Errno::NOENT) => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }
}

fn add_all(transaction: &mut Transaction, sets: Elements) {
    for (set, elements) in sets {
        transaction.add(set, &elements);
    }
}

fn udp_ports(target: &Target) -> Vec<RangeInclusive<u16>> {
    let udp = target.ports.iter().filter(|port| port.protocol == Protocol::Udp && !port.is_routed());
    udp.map(|port| port.host_port..=port.last_host_port()).collect()
}

#[cfg(test)]
mod tests;
