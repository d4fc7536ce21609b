//! What is fixed of a table: its sets, its chains, and their rules.

use std::net::Ipv6Addr;

use crate::Mark;
use crate::nft::{Expression, Family, Field, Hook, Set, Transaction, Verdict, chain};

pub(super) const BRIDGES: &str = "bridges";
pub(super) const INTERNAL: &str = "internal";
pub(super) const NEIGHBOURS: &str = "neighbours";
pub(super) const HAIRPIN: &str = "hairpin";
pub(super) const SUBNETS: &str = "subnets";
pub(super) const UNROUTED: &str = "unrouted";
pub(super) const PORTS: &str = "ports";
pub(super) const BOUND: &str = "bound";
pub(super) const RANGES: &str = "ranges";
pub(super) const SHIFTED: &str = "shifted";
pub(super) const UNPROTECTED: &str = "unprotected";
pub(super) const ROUTED: &str = "routed";
pub(super) const OPEN: &str = "open";
pub(super) const DIRECT: &str = "direct";
pub(super) const SENDERS: &str = "senders";
pub(super) const LINKS: &str = "links";

/// IPS_DST_NAT of `linux/netfilter/nf_conntrack_common.h`.
const STATUS_DNAT: u32 = 1 << 5;
const STATE_ESTABLISHED_RELATED: u32 = 1 << 1 | 1 << 2;
const RTN_LOCAL: u32 = 2;
const LOOPBACK_NET: [u8; 1] = [127];
const LOOPBACK_V4: [u8; 4] = [127, 0, 0, 0];
const LOOPBACK_MASK: u32 = u32::from_ne_bytes([255, 0, 0, 0]);
const LOOPBACK_V6: [u8; 16] = Ipv6Addr::LOCALHOST.octets();
const PRIORITY_RAW: i32 = -300;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;
pub(super) const SETS: [Set; 16] = [
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
    Set {
        name: SHIFTED,
        id: 10,
        key: &[Field::Address, Field::Protocol, Field::Port],
        data: &[Field::Address, Field::Port, Field::Port],
        interval: true,
    },
    Set { name: UNPROTECTED, id: 11, key: &[Field::Interface], data: &[], interval: false },
    Set { name: ROUTED, id: 12, key: &[Field::Interface], data: &[], interval: false },
    Set {
        name: OPEN,
        id: 13,
        key: &[Field::Address, Field::Protocol, Field::Port],
        data: &[],
        interval: true,
    },
    Set {
        name: DIRECT,
        id: 14,
        key: &[Field::Interface, Field::Address, Field::Protocol, Field::Port],
        data: &[],
        interval: true,
    },
    // All protocols: the kernel has ranges that lead somewhere for keys of several fields.
    Set {
        name: SENDERS,
        id: 15,
        key: &[Field::Address, Field::Protocol],
        data: &[Field::Address],
        interval: true,
    },
    Set {
        name: LINKS,
        id: 16,
        key: &[Field::Address, Field::Address, Field::Protocol, Field::Port],
        data: &[],
        interval: true,
    },
];

/// Adds the chains and their rules.
pub(super) fn add(transaction: &mut Transaction, family: Family, accepted: Option<Mark>) {
    add_chains(transaction);
    add_nat_rules(transaction, family);
    add_filter_rules(transaction, family);
    add_inbound_rules(transaction, family, accepted);
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
    let shifted = E::DestineWithin(0, second, third);
    transaction.rule(chain::PUBLISH, &[key[0], key[1], key[2], E::Map(SHIFTED, 0, 0), shifted]);

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
    let leaves = [E::InterfaceOut(0), E::NotIn(BRIDGES, 0)];
    let sender = [E::Source(0), E::TransportProtocol(second), E::Map(SENDERS, 0, 0), E::Originate(0)];
    transaction.rule(chain::POSTROUTING, &[&leaves[..], &sender].concat());
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
}

/// What may pass to a container.
fn add_inbound_rules(transaction: &mut Transaction, family: Family, accepted: Option<Mark>) {
    use Expression as E;
    let zero = [0; 4];
    let (accept, drop) = (E::Then(Verdict::Accept), E::Then(Verdict::Drop));
    let both = [E::InterfaceIn(0), E::InterfaceOut(4)];
    transaction.rule(
        chain::INBOUND,
        &[E::ConnectionStatus(0), E::Mask(0, STATUS_DNAT), E::NotEqual(0, &zero), accept],
    );
    // Somebody else's rules have decided already.
    if let Some(mark) = accepted {
        let value = mark.value.to_ne_bytes();
        let marked = [E::PacketMark(0), E::Mask(0, mark.mask), E::Equal(0, &value)];
        let open = [E::InterfaceOut(0), E::NotIn(INTERNAL, 0)];
        transaction.rule(chain::INBOUND, &[open[0], open[1], marked[0], marked[1], marked[2], accept]);
    }
    transaction.rule(chain::INBOUND, &[both[0], both[1], E::In(NEIGHBOURS, 0), accept]);
    let words = family.words();
    let linked = [
        E::Source(0),
        E::Destination(words),
        E::TransportProtocol(2 * words),
        E::DestinationPort(2 * words + 1),
        E::In(LINKS, 0),
        accept,
    ];
    transaction.rule(chain::INBOUND, &linked);
    // By their own addresses containers are reached only where their network says so.
    transaction.rule(chain::INBOUND, &[E::InterfaceOut(0), E::In(UNPROTECTED, 0), accept]);
    let port =
        |at: u32| [E::Destination(at), E::TransportProtocol(at + words), E::DestinationPort(at + words + 1)];
    let [address, protocol, number] = port(0);
    transaction.rule(chain::INBOUND, &[address, protocol, number, E::In(OPEN, 0), accept]);
    let [address, protocol, number] = port(4);
    transaction.rule(chain::INBOUND, &[both[0], address, protocol, number, E::In(DIRECT, 0), accept]);
    let icmp = [family.icmp()];
    let pings = [E::InterfaceOut(0), E::In(ROUTED, 0), E::TransportProtocol(0), E::Equal(0, &icmp), accept];
    transaction.rule(chain::INBOUND, &pings);
    transaction.rule(chain::INBOUND, &[drop]);
}
