//! The expressions a rule is made of.

use hull_sys::netlink::Message;

use super::Family;
use crate::port::Protocol;

/// The chains of the table.
pub(crate) mod chain {
    /// Drops what must not even be looked at.
    pub(crate) const GUARD: &str = "guard";
    /// Arrivals that may be for a published port.
    pub(crate) const PREROUTING: &str = "prerouting";
    /// The host's own connections that may be for a published port.
    pub(crate) const OUTPUT: &str = "output";
    /// Where a packet to the host is turned to a container.
    pub(crate) const PUBLISH: &str = "publish";
    /// Where source addresses are replaced.
    pub(crate) const POSTROUTING: &str = "postrouting";
    /// What may pass through the host.
    pub(crate) const FORWARD: &str = "forward";
    /// What may pass to a container.
    pub(crate) const INBOUND: &str = "inbound";
    /// Inside a container: questions to its name server.
    pub(crate) const ASKED: &str = "asked";
    /// Inside a container: its name server's answers.
    pub(crate) const ANSWERED: &str = "answered";
    /// Inside a container: what leaves it.
    pub(crate) const EGRESS: &str = "egress";
}

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const REG_VERDICT: u32 = 0;
/// The first four bytes of the registers; the others follow in steps of four bytes.
const REG32: u32 = 8;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const FIB_TYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const NAT_SNAT: u32 = 0;
const NAT_DNAT: u32 = 1;
/// NF_NAT_RANGE_PROTO_OFFSET of `linux/netfilter/nf_nat.h` (Linux 4.18).
const NAT_PORT_OFFSET: u32 = 1 << 5;
const LOOKUP_INVERTED: u32 = 1;
const CHECKSUM_INTERNET: u32 = 1;
const REJECT_UNREACHABLE: u32 = 0;
const REJECT_TCP_RESET: u32 = 1;

/// Where a packet goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// This hook's chain is done with it.
    Accept,
    /// Nobody sees it again.
    Drop,
    /// Through another chain, and back here from its end.
    Jump(&'static str),
}

/// One of the two ports of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Port {
    /// Where it comes from.
    Source = 0,
    /// Where it goes: so many bytes into the transport's header.
    Destination = 2,
}

/// One step of a rule. Registers are given in words of four bytes, 0 to 15.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expression<'a> {
    /// The name of the interface it came by (16 bytes) into a register.
    InterfaceIn(u32),
    /// The name of the interface it leaves by (16 bytes).
    InterfaceOut(u32),
    /// The mark that somebody has put on it, as a number.
    PacketMark(u32),
    /// The transport protocol's number (1 byte).
    TransportProtocol(u32),
    /// The source address (4 or 16 bytes).
    Source(u32),
    /// The destination address (4 or 16 bytes).
    Destination(u32),
    /// The first byte of the destination address.
    DestinationNet(u32),
    /// The source port (2 bytes).
    SourcePort(u32),
    /// The destination port (2 bytes).
    DestinationPort(u32),
    /// The type and the code of an ICMP message (2 bytes).
    IcmpKind(u32),
    /// The kind of the destination address (`RTN_LOCAL`, …).
    DestinationKind(u32),
    /// The connection's state as a bit mask.
    ConnectionState(u32),
    /// The connection's status as a bit mask.
    ConnectionStatus(u32),
    /// Keeps these bits of a register.
    Mask(u32, u32),
    /// Goes on if the register has this content.
    Equal(u32, &'a [u8]),
    /// Goes on if the register has another content.
    NotEqual(u32, &'a [u8]),
    /// Goes on if the register's content, as a number in network byte order, is this or more.
    AtLeast(u32, &'a [u8]),
    /// Goes on if it is this or less.
    AtMost(u32, &'a [u8]),
    /// Goes on if the set has the key that begins in the register.
    In(&'a str, u32),
    /// Goes on if the set has not.
    NotIn(&'a str, u32),
    /// Goes on if the map has the key, and puts what it leads to into the second register.
    Map(&'a str, u32, u32),
    /// Sends it to the address in the first register, and the port in the second where given.
    Destine(u32, Option<u32>),
    /// Sends it to the address in the first register, and within the ports from the one in the second register to the
    /// one in the third to as far from the first as its own port is from the last multiple of their number.
    DestineWithin(u32, u32, u32),
    /// Gives it the source address in the register.
    Originate(u32),
    /// Gives it the source address of the interface it leaves by.
    Masquerade,
    /// This value into a register.
    Value(u32, &'a [u8]),
    /// Writes the register into a port of a packet of this protocol, and corrects its checksum.
    SetPort(Port, Protocol, u32),
    /// Ends the rule.
    Then(Verdict),
    /// Drops the packet, and tells its sender that this is forbidden.
    Refuse,
    /// Drops a packet of TCP, and resets its connection.
    Reset,
}

impl Expression<'_> {
    /// Appends it as an attribute pair of name and data.
    pub(super) fn put(&self, message: &mut Message, family: Family) {
        message.put_str(NFTA_EXPR_NAME, self.name()).nest(NFTA_EXPR_DATA, |data| self.put_data(data, family));
    }

    fn name(&self) -> &'static str {
        match self {
            Self::InterfaceIn(_)
            | Self::InterfaceOut(_)
            | Self::PacketMark(_)
            | Self::TransportProtocol(_) => "meta",
            Self::Source(_)
            | Self::Destination(_)
            | Self::DestinationNet(_)
            | Self::SourcePort(_)
            | Self::DestinationPort(_)
            | Self::IcmpKind(_)
            | Self::SetPort(..) => "payload",
            Self::DestinationKind(_) => "fib",
            Self::ConnectionState(_) | Self::ConnectionStatus(_) => "ct",
            Self::Mask(..) => "bitwise",
            Self::Equal(..) | Self::NotEqual(..) | Self::AtLeast(..) | Self::AtMost(..) => "cmp",
            Self::In(..) | Self::NotIn(..) | Self::Map(..) => "lookup",
            Self::Destine(..) | Self::DestineWithin(..) | Self::Originate(_) => "nat",
            Self::Masquerade => "masq",
            Self::Then(_) | Self::Value(..) => "immediate",
            Self::Refuse | Self::Reset => "reject",
        }
    }

    fn put_data(&self, data: &mut Message, family: Family) {
        let (source, destination) = family.address_offsets();
        match *self {
            Self::InterfaceIn(to) => put_numbers(data, &[REG32 + to, META_IIFNAME]),
            Self::InterfaceOut(to) => put_numbers(data, &[REG32 + to, META_OIFNAME]),
            Self::PacketMark(to) => put_numbers(data, &[REG32 + to, META_MARK]),
            Self::TransportProtocol(to) => put_numbers(data, &[REG32 + to, META_L4PROTO]),
            Self::Source(to) => put_numbers(data, &[REG32 + to, PAYLOAD_NETWORK, source, family.size()]),
            Self::Destination(to) => {
                put_numbers(data, &[REG32 + to, PAYLOAD_NETWORK, destination, family.size()])
            }
            Self::DestinationNet(to) => put_numbers(data, &[REG32 + to, PAYLOAD_NETWORK, destination, 1]),
            Self::SourcePort(to) | Self::IcmpKind(to) => {
                put_numbers(data, &[REG32 + to, PAYLOAD_TRANSPORT, 0, 2])
            }
            Self::DestinationPort(to) => put_numbers(data, &[REG32 + to, PAYLOAD_TRANSPORT, 2, 2]),
            Self::DestinationKind(to) => put_numbers(data, &[REG32 + to, FIB_TYPE, FIB_DADDR]),
            Self::ConnectionState(to) => put_numbers(data, &[REG32 + to, CT_STATE]),
            Self::ConnectionStatus(to) => put_numbers(data, &[REG32 + to, CT_STATUS]),
            Self::Mask(register, mask) => put_mask(data, register, mask),
            Self::Equal(register, value) => put_comparison(data, register, 0, value),
            Self::NotEqual(register, value) => put_comparison(data, register, 1, value),
            Self::AtMost(register, value) => put_comparison(data, register, 3, value),
            Self::AtLeast(register, value) => put_comparison(data, register, 5, value),
            Self::In(set, key) => put_lookup(data, set, key, None, 0),
            Self::NotIn(set, key) => put_lookup(data, set, key, None, LOOKUP_INVERTED),
            Self::Map(map, key, to) => put_lookup(data, map, key, Some(to), 0),
            Self::Destine(address, port) => put_nat(data, family, address, port),
            Self::Originate(address) => put_numbers(data, &[NAT_SNAT, family as u32, REG32 + address]),
            Self::DestineWithin(address, first, last) => {
                put_nat(data, family, address, Some(first));
                data.put(6, &(REG32 + last).to_be_bytes()).put(7, &NAT_PORT_OFFSET.to_be_bytes());
            }
            Self::Masquerade => {}
            Self::Value(to, value) => put_value(data, to, value),
            Self::SetPort(port, protocol, from) => put_port(data, port, protocol, from),
            Self::Then(verdict) => put_verdict(data, verdict),
            Self::Refuse => put_refusal(data, family),
            Self::Reset => {
                data.put(1, &REJECT_TCP_RESET.to_be_bytes()).put(2, &[0]);
            }
        }
    }
}

/// Attributes 1, 2, 3, … as numbers: the shape of the expressions that only load something.
fn put_numbers(data: &mut Message, numbers: &[u32]) {
    for (kind, number) in (1..).zip(numbers) {
        data.put(kind, &number.to_be_bytes());
    }
}

fn put_mask(data: &mut Message, register: u32, mask: u32) {
    put_numbers(data, &[REG32 + register, REG32 + register, 4]);
    data.nest(4, |value| {
        value.put(NFTA_DATA_VALUE, &mask.to_ne_bytes());
    });
    data.nest(5, |value| {
        value.put(NFTA_DATA_VALUE, &[0; 4]);
    });
}

fn put_comparison(data: &mut Message, register: u32, op: u32, with: &[u8]) {
    put_numbers(data, &[REG32 + register, op]);
    data.nest(3, |value| {
        value.put(NFTA_DATA_VALUE, with);
    });
}

fn put_lookup(data: &mut Message, set: &str, key: u32, to: Option<u32>, flags: u32) {
    data.put_str(1, set).put(2, &(REG32 + key).to_be_bytes());
    if let Some(to) = to {
        data.put(3, &(REG32 + to).to_be_bytes());
    }
    if flags != 0 {
        data.put(5, &flags.to_be_bytes());
    }
}

fn put_nat(data: &mut Message, family: Family, address: u32, port: Option<u32>) {
    put_numbers(data, &[NAT_DNAT, family as u32, REG32 + address]);
    if let Some(port) = port {
        data.put(5, &(REG32 + port).to_be_bytes());
    }
}

fn put_value(data: &mut Message, register: u32, value: &[u8]) {
    data.put(1, &(REG32 + register).to_be_bytes()).nest(2, |inside| {
        inside.put(NFTA_DATA_VALUE, value);
    });
}

/// Base, offset, length, register, kind and place of the checksum: the attributes from the second on.
fn put_port(data: &mut Message, port: Port, protocol: Protocol, from: u32) {
    let checksum_at = if protocol == Protocol::Tcp { 16 } else { 6 };
    let numbers = [PAYLOAD_TRANSPORT, port as u32, 2, REG32 + from, CHECKSUM_INTERNET, checksum_at];
    for (kind, number) in (2..).zip(numbers) {
        data.put(kind, &number.to_be_bytes());
    }
}

/// "Administratively prohibited", in each family's ICMP.
fn put_refusal(data: &mut Message, family: Family) {
    let code = match family {
        Family::V4 => 13,
        Family::V6 => 1,
    };
    data.put(1, &REJECT_UNREACHABLE.to_be_bytes()).put(2, &[code]);
}

fn put_verdict(data: &mut Message, verdict: Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0i32, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
    };
    data.put(1, &REG_VERDICT.to_be_bytes());
    data.nest(2, |value| {
        value.nest(NFTA_DATA_VERDICT, |verdict| {
            verdict.put(NFTA_VERDICT_CODE, &code.to_be_bytes());
            if let Some(chain) = chain {
                verdict.put_str(NFTA_VERDICT_CHAIN, chain);
            }
        });
    });
}
