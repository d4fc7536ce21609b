//! What a container may send: nothing but answers, and what its policy allows.
//!
//! The rules are in the container's own network namespace, in tables of their own, and are there before its process:
//! they see every packet, whatever network it leaves by, and they go with the namespace. Whoever may change a firewall
//! or write packets by hand could get round them, so the engine gives such containers neither right.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::str::FromStr;

use hull_sys::netns;
use ipnet::IpNet;

use crate::nft::{Expression, Family, Hook, Netfilter, Transaction, Verdict, chain};
use crate::port::Protocol;
use crate::{Error, Result, sysctl};

const TABLE: &str = "hull_egress";
const PRIORITY_FILTER: i32 = 0;
/// `ESTABLISHED` and `RELATED` of a connection's state.
const KNOWN: u32 = 0b110;
const ICMPV6: u8 = 58;
/// Type and code of what IPv6 cannot do without: solicitations and advertisements of routers and neighbours, redirects
/// (RFC 4861), and reports of listeners (RFC 3810).
const NEIGHBOURHOOD: [[u8; 2]; 6] = [[133, 0], [134, 0], [135, 0], [136, 0], [137, 0], [143, 0]];
/// "lo", as a name of an interface fills its register.
const LOOPBACK: [u8; 16] = [b'l', b'o', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A policy: where connections may go. Empty: nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    allowed: Vec<Destination>,
}

/// Addresses, and the ports there; without ports every protocol is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destination {
    addresses: IpNet,
    ports: Option<(u16, u16)>,
}

impl Egress {
    /// Of words "deny" and "allow=CIDR[:port[-port]]", with IPv6 in brackets where a port follows; `None` without words.
    pub fn parse(words: &[String]) -> Result<Option<Self>> {
        let mut policy = Self::default();
        for word in words {
            if word == "deny" {
                continue;
            }
            let destination = word.strip_prefix("allow=").and_then(|word| word.parse().ok());
            policy.allowed.push(destination.ok_or_else(|| {
                Error::Invalid(format!(
                    "invalid egress policy {word:?}: it is \"deny\" or \"allow=CIDR[:port[-port]]\", such as \
                     allow=10.0.0.0/8:443 or allow=[2001:db8::/32]:53"
                ))
            })?);
        }
        Ok((!words.is_empty()).then_some(policy))
    }

    /// Whether a connection may be made to this port of this address.
    pub(crate) fn allows(&self, address: IpAddr, port: u16) -> bool {
        self.allowed.iter().any(|destination| {
            destination.addresses.contains(&address)
                && destination.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
        })
    }

    /// Holds everything in a network namespace to the policy, from now on.
    pub fn confine(&self, namespace: BorrowedFd<'_>) -> Result<()> {
        let mut transaction = Transaction::in_table(TABLE);
        self.rules(&mut transaction, Family::V4);
        if sysctl::has_ipv6() {
            self.rules(&mut transaction, Family::V6);
        }
        netns::within(namespace, || Netfilter::here()?.commit(transaction))??;
        Ok(())
    }

    fn rules(&self, transaction: &mut Transaction, family: Family) {
        use Expression as E;
        const ACCEPT: Expression<'_> = Expression::Then(Verdict::Accept);
        transaction.of(family);
        transaction.replace_table();
        transaction.base_chain(chain::EGRESS, "filter", Hook::Output, PRIORITY_FILTER);
        transaction.rule(chain::EGRESS, &[E::InterfaceOut(0), E::Equal(0, &LOOPBACK), ACCEPT]);
        let known = [E::ConnectionState(0), E::Mask(0, KNOWN), E::NotEqual(0, &[0; 4]), ACCEPT];
        transaction.rule(chain::EGRESS, &known);
        for kind in NEIGHBOURHOOD.iter().filter(|_| family == Family::V6) {
            let is_icmp = [E::TransportProtocol(0), E::Equal(0, &[ICMPV6])];
            let rule = [is_icmp[0], is_icmp[1], E::IcmpKind(0), E::Equal(0, kind), ACCEPT];
            transaction.rule(chain::EGRESS, &rule);
        }
        for destination in self.allowed.iter().filter(|destination| destination.family() == family) {
            destination.allow(transaction);
        }
        // What ICMP says of a connection under way is believed at the second try only.
        let tcp = [Protocol::Tcp.number()];
        transaction.rule(chain::EGRESS, &[E::TransportProtocol(0), E::Equal(0, &tcp), E::Reset]);
        transaction.rule(chain::EGRESS, &[E::Refuse]);
    }
}

impl Destination {
    fn family(&self) -> Family {
        if self.addresses.addr().is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn allow(&self, transaction: &mut Transaction) {
        use Expression as E;
        let (first, last) = (octets(self.addresses.network()), octets(self.addresses.broadcast()));
        let there = [E::Destination(0), E::AtLeast(0, &first), E::AtMost(0, &last)];
        let Some((from, to)) = self.ports.map(|(from, to)| (from.to_be_bytes(), to.to_be_bytes())) else {
            return transaction.rule(chain::EGRESS, &[&there[..], &[E::Then(Verdict::Accept)]].concat());
        };
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let number = [protocol.number()];
            let at_the_port = [
                E::TransportProtocol(0),
                E::Equal(0, &number),
                E::DestinationPort(0),
                E::AtLeast(0, &from),
                E::AtMost(0, &to),
                E::Then(Verdict::Accept),
            ];
            transaction.rule(chain::EGRESS, &[&there[..], &at_the_port].concat());
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl FromStr for Destination {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (addresses, ports) = match text.strip_prefix('[') {
            Some(rest) => {
                let (addresses, rest) = rest.split_once(']').ok_or(())?;
                (addresses, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(())?) })
            }
            None if text.matches(':').count() == 1 => {
                let (addresses, ports) = text.split_once(':').ok_or(())?;
                (addresses, Some(ports))
            }
            None => (text, None),
        };
        let addresses = addresses.parse().or_else(|_| addresses.parse::<IpAddr>().map(IpNet::from));
        let addresses = addresses.map_err(|_| ())?.trunc();
        Ok(Self { addresses, ports: ports.map(range).transpose()? })
    }
}

/// "80" or "80-90".
fn range(text: &str) -> std::result::Result<(u16, u16), ()> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or(());
    let (first, last) = (port(first)?, port(last)?);
    if first <= last { Ok((first, last)) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(words: &[&str]) -> Result<Option<Egress>> {
        Egress::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn policies_are_read() {
        assert_eq!(policy(&[]).unwrap(), None);
        assert_eq!(policy(&["deny"]).unwrap(), Some(Egress::default()));
        let some = policy(&["deny", "allow=10.1.2.3/8:80-90", "allow=[2001:db8::/32]:53", "allow=fd00::1"]);
        let some = some.unwrap().unwrap();
        for (address, port, allowed) in [
            ("10.9.9.9", 80, true),
            ("10.9.9.9", 90, true),
            ("10.9.9.9", 91, false),
            ("11.0.0.1", 80, false),
            ("2001:db8::7", 53, true),
            ("2001:db8::7", 54, false),
            ("fd00::1", 9, true),
            ("fd00::2", 9, false),
        ] {
            assert_eq!(some.allows(address.parse().unwrap(), port), allowed, "{address} {port}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for word in [
            "",
            "allow",
            "allow=",
            "allow=x",
            "allow=10.0.0.0/8:",
            "allow=10.0.0.0/8:0",
            "allow=1.2.3.4:9-8",
            "allow=[::1",
            "allow=[::1]53",
            "deny=10.0.0.0/8",
            "allow=10.0.0.0/33",
        ] {
            let error = policy(&[word]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid egress policy {word:?}")), "{error}");
        }
    }
}
