//! Hull's nftables tables, one for IPv4 and one for IPv6: which ports lead where, what is masqueraded, what may pass.
//!
//! Rules are fixed; networks and ports are elements of sets and maps, so a packet's way through the table does
//! not get longer with their number. The table has nothing that the records do not have: `rebuild` replaces it
//! by one transaction, at every start and whenever somebody has flushed it.
//!
//! A packet is accepted only as far as this table goes: a chain of the host that drops it still does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hull_sys::Result;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustix::io::Errno;

use crate::conntrack::Stale;
use crate::nft::{Element, Expression, Family, Field, Hook, Netfilter, Set, Transaction, Verdict, chain};
use crate::port::{Protocol, Published};

const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal";
const NEIGHBOURS: &str = "neighbours";
const HAIRPIN: &str = "hairpin";
const SUBNETS: &str = "subnets";
const UNROUTED: &str = "unrouted";
const PORTS: &str = "ports";
const BOUND: &str = "bound";
const RANGES: &str = "ranges";

/// IPS_DST_NAT of `linux/netfilter/nf_conntrack_common.h`.
const STATUS_DNAT: u32 = 1 << 5;
const STATE_ESTABLISHED_RELATED: u32 = 1 << 1 | 1 << 2;
const RTN_LOCAL: u32 = 2;
const LOOPBACK_NET: [u8; 1] = [127];
const LOOPBACK_V4: [u8; 4] = [127, 0, 0, 0];
const LOOPBACK_MASK: u32 = u32::from_ne_bytes([255, 0, 0, 0]);
const LOOPBACK_V6: [u8; 16] = Ipv6Addr::LOCALHOST.octets();
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const PRIORITY_RAW: i32 = -300;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;
/// Ports that follow each other and keep their numbers become one element from this length on.
const RANGE_LENGTH: usize = 8;

const SETS: [Set; 9] = [
    Set { name: BRIDGES, id: 1, key: &[Field::Interface], data: &[], interval: false },
    Set { name: INTERNAL, id: 2, key: &[Field::Interface], data: &[], interval: false },
    Set { name: NEIGHBOURS, id: 3, key: &[Field::Interface, Field::Interface], data: &[], interval: false },
    Set { name: HAIRPIN, id: 4, key: &[Field::Address, Field::Interface], data: &[], interval: true },
    Set { name: SUBNETS, id: 5, key: &[Field::Address], data: &[], interval: true },
    Set { name: UNROUTED, id: 6, key: &[Field::Interface], data: &[], interval: false },
    Set {
        name: PORTS,
        id: 7,
        key: &[Field::Protocol, Field::Port],
        data: &[Field::Address, Field::Port],
        interval: false,
    },
    Set {
        name: BOUND,
        id: 8,
        key: &[Field::Address, Field::Protocol, Field::Port],
        data: &[Field::Address, Field::Port],
        interval: false,
    },
    Set {
        name: RANGES,
        id: 9,
        key: &[Field::Address, Field::Protocol, Field::Port],
        data: &[Field::Address],
        interval: true,
    },
];

/// What the table knows of a bridge network.
#[derive(Debug, Clone)]
pub(crate) struct Passage {
    pub(crate) bridge: String,
    pub(crate) subnet: Option<Ipv4Net>,
    pub(crate) subnet6: Option<Ipv6Net>,
    /// Containers reach each other.
    pub(crate) icc: bool,
    /// What leaves by another interface gets the host's address.
    pub(crate) masquerade: bool,
    /// Nothing leaves, nothing comes in.
    pub(crate) internal: bool,
}

/// A container's addresses and what leads to them.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) address6: Option<Ipv6Addr>,
    pub(crate) ports: Vec<Published>,
}

/// Everything that is in the table.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) passages: Vec<Passage>,
    pub(crate) targets: Vec<Target>,
    /// Interfaces of the host that did not forward before Hull switched forwarding on.
    pub(crate) unrouted: Vec<String>,
}

/// The tables of one network namespace.
#[derive(Debug)]
pub(crate) struct Firewall {
    netfilter: Netfilter,
    families: &'static [Family],
}

impl Target {
    /// Where a port that is published at this address of the host leads.
    fn address_for(&self, host_ip: IpAddr) -> Option<IpAddr> {
        match host_ip {
            IpAddr::V4(_) => self.address.map(IpAddr::V4),
            IpAddr::V6(_) => self.address6.map(IpAddr::V6),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.map(IpAddr::V4).into_iter().chain(self.address6.map(IpAddr::V6))
    }
}

impl Firewall {
    /// To the calling thread's namespace; nothing is changed yet.
    pub(crate) fn here() -> Result<Self> {
        let families = if crate::sysctl::has_ipv6() { &FAMILIES[..] } else { &FAMILIES[..1] };
        Ok(Self { netfilter: Netfilter::here()?, families })
    }

    /// Replaces the tables, in one transaction.
    pub(crate) fn rebuild(&self, contents: &Contents) -> Result<()> {
        let mut transaction = Transaction::default();
        for family in self.families {
            transaction.of(*family);
            transaction.replace_table();
            for set in &SETS {
                transaction.set(set);
            }
            add_chains(&mut transaction);
            add_nat_rules(&mut transaction, *family);
            add_filter_rules(&mut transaction, *family);
            for passage in &contents.passages {
                add_all(&mut transaction, passage_elements(passage, *family));
            }
            add_all(&mut transaction, port_elements(&contents.targets, *family));
            let unrouted: Vec<_> =
                contents.unrouted.iter().map(|name| Element::key(&[&interface(name)])).collect();
            transaction.add(UNROUTED, &unrouted);
        }
        self.netfilter.commit(transaction)
    }

    /// Whether the tables are still there.
    pub(crate) fn stands(&self) -> Result<bool> {
        for family in self.families {
            if !self.netfilter.has_table(*family)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets a network's packets pass. ENOENT: somebody has removed a table.
    pub(crate) fn open(&self, passage: &Passage) -> Result<()> {
        self.add(|family| passage_elements(passage, family))
    }

    /// Forgets a network; one that is not there is as good as forgotten.
    pub(crate) fn close(&self, passage: &Passage) -> Result<()> {
        self.remove(|family| passage_elements(passage, family))
    }

    /// Publishes ports, in one transaction. ENOENT: somebody has removed a table.
    pub(crate) fn publish(&self, target: &Target) -> Result<()> {
        self.add(|family| port_elements(std::slice::from_ref(target), family))?;
        // Who has asked before the port was published, and goes on asking, is to get there too.
        match udp_ports(target) {
            ports if ports.is_empty() => Ok(()),
            ports => target
                .addresses()
                .try_for_each(|address| self.netfilter.forget_connections(Stale::PastBy(&ports, address))),
        }
    }

    /// Takes published ports back; those that are not there are as good as taken back.
    pub(crate) fn withdraw(&self, target: &Target) -> Result<()> {
        self.remove(|family| port_elements(std::slice::from_ref(target), family))?;
        match udp_ports(target).is_empty() {
            true => Ok(()),
            false => target
                .addresses()
                .try_for_each(|address| self.netfilter.forget_connections(Stale::AnsweredBy(address))),
        }
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

/// Elements by set.
type Elements = Vec<(&'static str, Vec<Element>)>;

fn add_all(transaction: &mut Transaction, sets: Elements) {
    for (set, elements) in sets {
        transaction.add(set, &elements);
    }
}

fn udp_ports(target: &Target) -> Vec<u16> {
    let udp = target.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    udp.map(|port| port.host_port).collect()
}

fn add_chains(transaction: &mut Transaction) {
    transaction.base_chain(chain::GUARD, "filter", Hook::Prerouting, PRIORITY_RAW);
    transaction.base_chain(chain::PREROUTING, "nat", Hook::Prerouting, PRIORITY_DSTNAT);
    transaction.base_chain(chain::OUTPUT, "nat", Hook::Output, PRIORITY_DSTNAT);
    transaction.base_chain(chain::POSTROUTING, "nat", Hook::Postrouting, PRIORITY_SRCNAT);
    transaction.base_chain(chain::FORWARD, "filter", Hook::Forward, PRIORITY_FILTER);
    transaction.chain(chain::PUBLISH);
    transaction.chain(chain::INBOUND);
}

fn add_nat_rules(transaction: &mut Transaction, family: Family) {
    use Expression as E;
    // Registers behind an address.
    let (second, third) = (family.words(), family.words() + 1);
    let (local, dnat) = (RTN_LOCAL.to_ne_bytes(), [0; 4]);
    let to_host = [E::DestinationKind(0), E::Equal(0, &local), E::Then(Verdict::Jump(chain::PUBLISH))];
    // Nothing that comes by a wire is for a loopback address: ports on 127.0.0.1 are the host's alone. The kernel itself
    // drops what comes for ::1; and what goes there from the host cannot be sent elsewhere, so it is refused at once.
    let (mut arrivals, mut departures) = match family {
        Family::V4 => (vec![E::DestinationNet(0), E::NotEqual(0, &LOOPBACK_NET)], Vec::new()),
        Family::V6 => (Vec::new(), vec![E::Destination(0), E::NotEqual(0, &LOOPBACK_V6)]),
    };
    arrivals.extend(to_host);
    departures.extend(to_host);
    transaction.rule(chain::PREROUTING, &arrivals);
    transaction.rule(chain::OUTPUT, &departures);

    let key = [E::Destination(0), E::TransportProtocol(second), E::DestinationPort(third)];
    let to_port = E::Destine(0, Some(second));
    transaction.rule(chain::PUBLISH, &[key[0], key[1], key[2], E::Map(BOUND, 0, 0), to_port]);
    transaction.rule(
        chain::PUBLISH,
        &[E::TransportProtocol(0), E::DestinationPort(1), E::Map(PORTS, 0, 0), to_port],
    );
    transaction.rule(chain::PUBLISH, &[key[0], key[1], key[2], E::Map(RANGES, 0, 0), E::Destine(0, None)]);

    // The host's own connection to 127.0.0.1 has become one to a container, which needs a way back.
    if family == Family::V4 {
        let own = [
            E::InterfaceOut(0),
            E::In(BRIDGES, 0),
            E::Source(0),
            E::Mask(0, LOOPBACK_MASK),
            E::Equal(0, &LOOPBACK_V4),
            E::Masquerade,
        ];
        transaction.rule(chain::POSTROUTING, &own);
    }
    // A neighbour (or the container itself) would otherwise be answered directly, from an address it never asked.
    transaction.rule(
        chain::POSTROUTING,
        &[
            E::ConnectionStatus(0),
            E::Mask(0, STATUS_DNAT),
            E::NotEqual(0, &dnat),
            E::Source(0),
            E::InterfaceOut(second),
            E::In(HAIRPIN, 0),
            E::Masquerade,
        ],
    );
    transaction.rule(
        chain::POSTROUTING,
        &[E::Source(0), E::In(SUBNETS, 0), E::InterfaceOut(0), E::NotIn(BRIDGES, 0), E::Masquerade],
    );
}

fn add_filter_rules(transaction: &mut Transaction, family: Family) {
    use Expression as E;
    let zero = [0; 4];
    let (accept, drop) = (E::Then(Verdict::Accept), E::Then(Verdict::Drop));
    let both = [E::InterfaceIn(0), E::InterfaceOut(4)];
    // route_localnet makes the bridges accept loopback addresses, for the answers to the host's own connections.
    // Those carry the bridge's address here; whoever names a loopback address himself is an intruder.
    if family == Family::V4 {
        let intruder =
            [E::InterfaceIn(0), E::In(BRIDGES, 0), E::DestinationNet(0), E::Equal(0, &LOOPBACK_NET), drop];
        transaction.rule(chain::GUARD, &intruder);
    }
    transaction.rule(
        chain::FORWARD,
        &[E::ConnectionState(0), E::Mask(0, STATE_ESTABLISHED_RELATED), E::NotEqual(0, &zero), accept],
    );
    transaction.rule(
        chain::FORWARD,
        &[E::InterfaceIn(0), E::In(INTERNAL, 0), both[0], both[1], E::NotIn(NEIGHBOURS, 0), drop],
    );
    let inbound = E::Then(Verdict::Jump(chain::INBOUND));
    transaction.rule(chain::FORWARD, &[E::InterfaceOut(0), E::In(BRIDGES, 0), inbound]);
    // Forwarding was switched on for the containers; the host's other interfaces stay as separate as they were.
    transaction.rule(
        chain::FORWARD,
        &[E::InterfaceIn(0), E::In(UNROUTED, 0), E::InterfaceOut(0), E::In(UNROUTED, 0), drop],
    );
    transaction.rule(
        chain::INBOUND,
        &[E::ConnectionStatus(0), E::Mask(0, STATUS_DNAT), E::NotEqual(0, &zero), accept],
    );
    transaction.rule(chain::INBOUND, &[both[0], both[1], E::In(NEIGHBOURS, 0), accept]);
    transaction.rule(chain::INBOUND, &[drop]);
}

/// An interface's name as a register holds it.
fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

fn passage_elements(passage: &Passage, family: Family) -> Elements {
    let name = interface(&passage.bridge);
    let (one, pair) = (Element::key(&[&name]), Element::key(&[&name, &name]));
    let mut sets = vec![(BRIDGES, vec![one.clone()])];
    if passage.icc {
        sets.push((NEIGHBOURS, vec![pair]));
    }
    if passage.internal {
        sets.push((INTERNAL, vec![one]));
    }
    let subnet = match family {
        Family::V4 => passage.subnet.map(IpNet::V4),
        Family::V6 => passage.subnet6.map(IpNet::V6),
    };
    let Some(subnet) = subnet else { return sets };
    let (first, last) = (octets(subnet.network()), octets(subnet.broadcast()));
    sets.push((HAIRPIN, vec![Element::key(&[&first, &name]).to(&[&last, &name])]));
    if passage.masquerade && !passage.internal {
        let mut range = vec![Element::key(&[&first])];
        range.extend(behind(&last).map(|behind| Element::behind(&behind)));
        sets.push((SUBNETS, range));
    }
    sets
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address behind another; none behind the highest.
fn behind(address: &[u8]) -> Option<Vec<u8>> {
    let last = address.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut behind = address.to_vec();
    behind[last] += 1;
    behind[last + 1..].fill(0);
    Some(behind)
}

/// The elements that publish, by map. The same ports always make the same elements.
fn port_elements(targets: &[Target], family: Family) -> Elements {
    let (mut ports, mut bound, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
    for target in targets {
        let of_family: Vec<_> = target
            .ports
            .iter()
            .filter(|port| port.host_ip.is_ipv4() == (family == Family::V4))
            .copied()
            .collect();
        for run in runs(&of_family) {
            let Some(address) = target.address_for(run[0].host_ip).map(octets) else { continue };
            if run.len() >= RANGE_LENGTH {
                ranges.push(range_element(&address, &run));
                continue;
            }
            for port in run {
                let leads = [&address[..], &port.container_port.to_be_bytes()];
                let (protocol, number) = ([port.protocol.number()], port.host_port.to_be_bytes());
                match port.host_ip.is_unspecified() {
                    true => ports.push(Element::key(&[&protocol, &number]).leads(&leads)),
                    false => {
                        bound.push(Element::key(&[&octets(port.host_ip), &protocol, &number]).leads(&leads))
                    }
                }
            }
        }
    }
    vec![(PORTS, ports), (BOUND, bound), (RANGES, ranges)]
}

/// Ports in order, cut into runs of following numbers that are the same inside and outside.
fn runs(ports: &[Published]) -> Vec<Vec<Published>> {
    let mut sorted = ports.to_vec();
    sorted.sort_by_key(|port| (port.protocol, port.host_ip, port.host_port));
    let mut runs: Vec<Vec<Published>> = Vec::new();
    for port in sorted {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| follows(last, &port)) => run.push(port),
            _ => runs.push(vec![port]),
        }
    }
    runs
}

fn follows(last: &Published, next: &Published) -> bool {
    let same = |port: &Published| port.container_port == port.host_port;
    (last.protocol, last.host_ip) == (next.protocol, next.host_ip)
        && last.host_port.checked_add(1) == Some(next.host_port)
        && same(last)
        && same(next)
}

fn range_element(address: &[u8], run: &[Published]) -> Element {
    let (first, last) = (&run[0], &run[run.len() - 1]);
    let from = octets(first.host_ip);
    let to = if first.host_ip.is_unspecified() { vec![u8::MAX; from.len()] } else { from.clone() };
    let protocol = [first.protocol.number()];
    Element::key(&[&from, &protocol, &first.host_port.to_be_bytes()])
        .to(&[&to, &protocol, &last.host_port.to_be_bytes()])
        .leads(&[address])
}

#[cfg(test)]
mod tests;
