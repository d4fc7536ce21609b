//! The place of a container in a network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{Error, Link, PortBinding, Published};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The locally administered address that belongs to an IPv4 address: 02:42 and its four bytes. An address
    /// given to a new container thus never contradicts what its neighbours have in their ARP tables.
    pub fn of(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// A locally administered address that nobody else has drawn.
    pub(crate) fn random() -> Result<Self, Error> {
        let [_, b, c, d, e, f] = crate::networks::random::<6>()?;
        Ok(Self([0x02, b, c, d, e, f]))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = Error;

    /// Six bytes, separated by `:` or `-`, or in three pairs separated by `.`; a group address is no address of an
    /// interface.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Invalid(format!("invalid MAC address: {text}"));
        let pairs = |pair: &str| pair.len() == 4 && pair.is_ascii();
        let spread = match text.split('.').all(pairs) {
            true => text
                .split('.')
                .map(|pair| format!("{}:{}", &pair[..2], &pair[2..]))
                .collect::<Vec<_>>()
                .join(":"),
            false => text.to_owned(),
        };
        let mut bytes = [0; 6];
        let mut parts = spread.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 {
            return Err(invalid());
        }
        Ok(Self(bytes))
    }
}

/// The wish to have a container in a network.
#[derive(Debug, Clone, Default)]
pub struct EndpointRequest {
    /// The container's id.
    pub container: String,
    /// The container's name without a slash, for `network inspect` and for messages.
    pub name: String,
    /// The network's name, id or unambiguous beginning of an id.
    pub network: String,
    /// The address (`--ip`); the next free one where absent.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address (`--ip6`); the next free one where absent, none where the network has none.
    pub ipv6: Option<Ipv6Addr>,
    /// The container has no IPv6, whatever the network has.
    pub without_ipv6: bool,
    /// Addresses that it had before: it gets them again, where it wishes for no others and nobody else has them now.
    pub before: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// The Ethernet address (`--mac-address`); that of the IPv4 address where absent.
    pub mac: Option<MacAddr>,
    /// The interface's name inside; the first free `eth0`, `eth1`, … where absent.
    pub interface: Option<String>,
    /// Switches of the interface below net.ipv4, net.ipv6 or net.mpls, as "net.ipv4.conf.IFNAME.log_martians=1".
    pub sysctls: Vec<String>,
    /// Which of the container's networks gives the default route: that of the highest number (`gw-priority`).
    pub priority: i64,
    /// What to publish. In a routed network these ports are opened, whatever `publishes` says.
    pub ports: Vec<PortBinding>,
    /// Whether this is the network whose endpoint has the container's ports of the host, by IPv4 and by IPv6; see
    /// [`crate::Networks::ways_out`].
    pub publishes: [bool; 2],
    /// The container's host name, recorded for name resolution.
    pub hostname: String,
    /// Further names in this network (`--network-alias`), recorded for name resolution.
    pub aliases: Vec<String>,
    /// Further addresses of its interface, which are of its link alone (`--link-local-ip`).
    pub link_local: Vec<IpAddr>,
    /// Containers that it is to reach on the default bridge where that keeps containers apart.
    pub links: Vec<Link>,
}

/// A container's place in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// The network's id.
    pub network_id: String,
    /// The network's name.
    pub network: String,
    /// The interface inside (`eth0`).
    pub interface: String,
    /// Address and prefix length, where the network has IPv4.
    pub address: Option<Ipv4Net>,
    /// IPv6 address and prefix length, where the network has IPv6.
    pub address6: Option<Ipv6Net>,
    /// The default route's next hop; `None` where nothing leads out.
    pub gateway: Option<Ipv4Addr>,
    /// The IPv6 default route's next hop.
    pub gateway6: Option<Ipv6Addr>,
    /// The Ethernet address; none where it is that of the host's interface.
    pub mac: Option<MacAddr>,
    /// The host's name, recorded for name resolution.
    pub hostname: String,
    /// Further names in this network.
    pub aliases: Vec<String>,
    /// Servers that names are to be asked of, where whoever made the interface knows some.
    pub dns: Vec<IpAddr>,
    /// The published ports, in the order of the request.
    pub ports: Vec<Published>,
}

impl Endpoint {
    /// Its address of each family that the network has.
    pub(crate) fn by_family(&self) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        (self.address.map(|address| address.addr()), self.address6.map(|address| address.addr()))
    }

    /// Its addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.address.map(|address| IpAddr::V4(address.addr()));
        v4.into_iter().chain(self.address6.map(|address| IpAddr::V6(address.addr())))
    }
}
