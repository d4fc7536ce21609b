//! What changes of a table: the elements of its sets and maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::rules::{
    BOUND, BRIDGES, DIRECT, HAIRPIN, INTERNAL, LINKS, NEIGHBOURS, OPEN, PORTS, RANGES, ROUTED, SENDERS,
    SHIFTED, SUBNETS, UNPROTECTED,
};
use super::{Passage, Path, Target, Way};
use crate::nft::{Element, Family};
use crate::port::{Published, joined};

/// From this length on ports that follow each other become elements of a range.
const RANGE_LENGTH: u16 = 8;

/// Elements by set.
pub(super) type Elements = Vec<(&'static str, Vec<Element>)>;

/// The elements that are not among the others.
pub(super) fn without(elements: &[Element], others: &[Element]) -> Vec<Element> {
    elements.iter().filter(|element| !others.contains(element)).cloned().collect()
}

/// An interface's name as a register holds it.
pub(super) fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

pub(super) fn passage_elements(passage: &Passage, family: Family) -> Elements {
    let name = interface(&passage.bridge);
    let (one, pair) = (Element::key(&[&name]), Element::key(&[&name, &name]));
    let mut sets = vec![(BRIDGES, vec![one.clone()])];
    if passage.icc {
        sets.push((NEIGHBOURS, vec![pair]));
    }
    if passage.internal {
        sets.push((INTERNAL, vec![one.clone()]));
    }
    let (subnet, way, sender) = match family {
        Family::V4 => (passage.subnet.map(IpNet::V4), passage.ways[0], passage.senders.0.map(IpAddr::V4)),
        Family::V6 => (passage.subnet6.map(IpNet::V6), passage.ways[1], passage.senders.1.map(IpAddr::V6)),
    };
    let Some(subnet) = subnet else { return sets };
    let (first, last) = (octets(subnet.network()), octets(subnet.broadcast()));
    sets.push((HAIRPIN, vec![Element::key(&[&first, &name]).to(&[&last, &name])]));
    match way {
        Way::Unprotected => sets.push((UNPROTECTED, vec![one])),
        Way::Routed => sets.push((ROUTED, vec![one])),
        Way::Nat | Way::Isolated => {}
    }
    if passage.masquerade && !passage.internal && matches!(way, Way::Nat | Way::Unprotected) {
        let mut range = vec![Element::key(&[&first])];
        range.extend(behind(&last).map(|behind| Element::behind(&behind)));
        sets.push((SUBNETS, range));
        if let Some(sender) = sender {
            let range = Element::key(&[&first, &[0]]).to(&[&last, &[u8::MAX]]);
            sets.push((SENDERS, vec![range.leads(&[&octets(sender)])]));
        }
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
pub(super) fn behind(address: &[u8]) -> Option<Vec<u8>> {
    let last = address.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut behind = address.to_vec();
    behind[last] += 1;
    behind[last + 1..].fill(0);
    Some(behind)
}

/// The elements that publish, by map. The same ports always make the same elements. `direct`: they are reached at the
/// containers' own addresses, too, whatever the network.
pub(super) fn port_elements(targets: &[Target], family: Family, direct: bool) -> Elements {
    let mut ways = Ways::default();
    for target in targets {
        let of_family = target.ports.iter().filter(|port| port.host_ip.is_ipv4() == (family == Family::V4));
        let (mut opened, published): (Vec<Published>, Vec<_>) =
            of_family.copied().partition(Published::is_routed);
        let Some(address) = target.address_in(family).map(octets) else { continue };
        if direct {
            opened.extend(&published);
        }
        for port in inside(&opened) {
            ways.open.push(range(&address, &port, port.container_port, port.last_container_port()));
        }
        for trusted in target.trusted.iter().filter(|_| !direct) {
            for port in inside(&published) {
                ways.direct.push(by_interface(trusted, &address, &port));
            }
        }
        for run in runs(published) {
            ways.lead(&run, &address);
        }
    }
    let Ways { ports, bound, ranges, shifted, open, direct } = ways;
    vec![(PORTS, ports), (BOUND, bound), (RANGES, ranges), (SHIFTED, shifted), (OPEN, open), (DIRECT, direct)]
}

/// The elements of the ways of links that a family has.
pub(super) fn path_elements(paths: &[Path], family: Family) -> Elements {
    let of = |(v4, v6): (Option<Ipv4Addr>, Option<Ipv6Addr>)| match family {
        Family::V4 => v4.map(|address| address.octets().to_vec()),
        Family::V6 => v6.map(|address| address.octets().to_vec()),
    };
    let ends = paths.iter().filter_map(|path| Some((of(path.from)?, of(path.to)?, &path.ports)));
    let elements = ends.flat_map(|(from, to, ports)| {
        ports.iter().map(move |(protocol, range)| {
            let (first, last) = (range.start().to_be_bytes(), range.end().to_be_bytes());
            let protocol = [protocol.number()];
            Element::key(&[&from, &to, &protocol, &first]).to(&[&from, &to, &protocol, &last])
        })
    });
    vec![(LINKS, elements.collect())]
}

/// The elements of each set.
#[derive(Default)]
struct Ways {
    ports: Vec<Element>,
    bound: Vec<Element>,
    ranges: Vec<Element>,
    shifted: Vec<Element>,
    open: Vec<Element>,
    direct: Vec<Element>,
}

impl Ways {
    /// Leads ports of the host to an address.
    fn lead(&mut self, run: &Published, address: &[u8]) {
        if run.count < RANGE_LENGTH {
            (0..run.count).for_each(|offset| self.lead_one(run, offset, address));
        } else if run.host_port == run.container_port {
            let element = host_range(run, run.host_port, run.count);
            self.ranges.push(element.leads(&[address]));
        } else {
            for (offset, count) in blocks(run) {
                let to = run.container_port + offset;
                let (first, last) = (to.to_be_bytes(), (to + (count - 1)).to_be_bytes());
                let element = host_range(run, run.host_port + offset, count);
                self.shifted.push(element.leads(&[address, &first, &last]));
            }
        }
    }

    fn lead_one(&mut self, run: &Published, offset: u16, address: &[u8]) {
        let (inside, outside) = (run.container_port + offset, run.host_port + offset);
        let leads = [address, &inside.to_be_bytes()];
        let (protocol, number) = ([run.protocol.number()], outside.to_be_bytes());
        match run.host_ip.is_unspecified() {
            true => self.ports.push(Element::key(&[&protocol, &number]).leads(&leads)),
            false => {
                self.bound.push(Element::key(&[&octets(run.host_ip), &protocol, &number]).leads(&leads));
            }
        }
    }
}

/// Ports in order, those that follow each other joined.
fn runs(mut ports: Vec<Published>) -> Vec<Published> {
    ports.sort_by_key(|port| (port.protocol, port.host_ip, port.host_port));
    joined(ports)
}

/// The ports of the container, each once.
fn inside(ports: &[Published]) -> Vec<Published> {
    let mut found: Vec<Published> = Vec::new();
    for port in ports {
        let own = Published { host_port: 0, ..*port };
        let own = Published { host_ip: unspecified(own.host_ip), ..own };
        let new = own.without(&found);
        found.extend(new);
    }
    found.sort_by_key(|port| (port.protocol, port.container_port));
    joined(found)
}

fn unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Pieces of a range, by offset and length, that the kernel can move as a whole: it counts the ports of the host
/// modulo the length of the piece, so each piece has to begin at a multiple of its length.
fn blocks(run: &Published) -> Vec<(u16, u16)> {
    let mut pieces = Vec::new();
    let mut offset = 0;
    while offset < run.count {
        let start = run.host_port + offset;
        let length = (1..=run.count - offset).rev().find(|length| start.is_multiple_of(*length)).unwrap_or(1);
        pieces.push((offset, length));
        offset += length;
    }
    pieces
}

/// Ports of the host, at one of its addresses or at all.
fn host_range(run: &Published, first: u16, count: u16) -> Element {
    let from = octets(run.host_ip);
    let to = if run.host_ip.is_unspecified() { vec![u8::MAX; from.len()] } else { from.clone() };
    let protocol = [run.protocol.number()];
    let (first, last) = (first.to_be_bytes(), (first + (count - 1)).to_be_bytes());
    Element::key(&[&from, &protocol, &first]).to(&[&to, &protocol, &last])
}

/// Ports of a container.
fn range(address: &[u8], port: &Published, first: u16, last: u16) -> Element {
    let protocol = [port.protocol.number()];
    Element::key(&[address, &protocol, &first.to_be_bytes()]).to(&[address, &protocol, &last.to_be_bytes()])
}

fn by_interface(name: &str, address: &[u8], port: &Published) -> Element {
    let (name, protocol) = (interface(name), [port.protocol.number()]);
    let (first, last) = (port.container_port.to_be_bytes(), port.last_container_port().to_be_bytes());
    Element::key(&[&name, address, &protocol, &first]).to(&[&name, address, &protocol, &last])
}
