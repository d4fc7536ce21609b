//! Ports of a container as they are asked for and as they are published.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in the IP header (protocols(5)).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The name as in `80/tcp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::Invalid(format!("invalid proto: {name}"))),
        }
    }
}

/// A wish: this port of the container, or several that follow each other, at ports of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortBinding {
    /// The ports inside; from 1.
    pub container_ports: RangeInclusive<u16>,
    /// Their protocol.
    pub protocol: Protocol,
    /// The host's address; `None`: the configured default (all of them, of every family that the container has);
    /// unspecified: all of a family.
    pub host_ip: Option<IpAddr>,
    /// A single port gets one of these; several get as many, one each in their order. `None`: any free ones of the
    /// ephemeral range.
    pub host_ports: Option<RangeInclusive<u16>>,
}

impl PortBinding {
    /// How many ports are wished for.
    pub(crate) fn count(&self) -> usize {
        self.container_ports.len()
    }
}

/// A port of the host that leads to a port of a container, or several that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The port inside, the first of them.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address; 0.0.0.0 or :: for all of a family.
    pub host_ip: IpAddr,
    /// The port of the host, the first of them. 0: none, the network is routed, and the container's own address leads
    /// there.
    pub host_port: u16,
    /// How many they are.
    #[serde(default = "one")]
    pub count: u16,
}

fn one() -> u16 {
    1
}

impl Published {
    /// The ports of the host; empty in a routed network.
    pub fn host_ports(&self) -> impl Iterator<Item = u16> + use<> {
        let count = if self.is_routed() { 0 } else { self.count };
        (0..count).map_while({
            let first = self.host_port;
            move |offset| first.checked_add(offset)
        })
    }

    /// The port inside, the last of them.
    pub fn last_container_port(&self) -> u16 {
        self.container_port.saturating_add(self.count.saturating_sub(1))
    }

    /// The port of the host, the last of them.
    pub fn last_host_port(&self) -> u16 {
        self.host_port.saturating_add(self.count.saturating_sub(1))
    }

    /// Whether no port of the host leads there, but the container's own address.
    pub fn is_routed(&self) -> bool {
        self.host_port == 0
    }

    /// Takes the other in, if it goes on where this ends.
    pub(crate) fn joins(&mut self, next: &Self) -> bool {
        let same = (self.protocol, self.host_ip, self.is_routed())
            == (next.protocol, next.host_ip, next.is_routed());
        let outside = self.is_routed() || self.host_port.checked_add(self.count) == Some(next.host_port);
        let inside = self.container_port.checked_add(self.count) == Some(next.container_port);
        let joins = same && outside && inside;
        if joins {
            self.count += next.count;
        }
        joins
    }

    /// What is left of it without those that `others` cover.
    pub fn without(self, others: &[Self]) -> Vec<Self> {
        others.iter().fold(vec![self], |left, other| left.iter().flat_map(|part| part.cut(other)).collect())
    }

    fn cut(&self, other: &Self) -> Vec<Self> {
        let shift = |port: &Self| i32::from(port.container_port) - i32::from(port.host_port);
        let same = (self.protocol, self.host_ip, self.is_routed())
            == (other.protocol, other.host_ip, other.is_routed());
        let first = self.container_port.max(other.container_port);
        let last = self.last_container_port().min(other.last_container_port());
        if !same || first > last || !self.is_routed() && shift(self) != shift(other) {
            return vec![*self];
        }
        let before = first - self.container_port;
        let after = self.last_container_port() - last;
        let part = |offset: u16, count: u16| Self {
            container_port: self.container_port + offset,
            host_port: if self.is_routed() { 0 } else { self.host_port + offset },
            count,
            ..*self
        };
        let parts = [part(0, before), part(self.count - after, after)];
        parts.into_iter().filter(|part| part.count > 0).collect()
    }
}

/// Joins ports that follow each other.
pub(crate) fn joined(ports: impl IntoIterator<Item = Published>) -> Vec<Published> {
    let mut runs: Vec<Published> = Vec::new();
    for port in ports {
        if !runs.last_mut().is_some_and(|last| last.joins(&port)) {
            runs.push(port);
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16, container_port: u16, count: u16) -> Published {
        let host_ip = std::net::Ipv4Addr::UNSPECIFIED.into();
        Published { container_port, protocol: Protocol::Tcp, host_ip, host_port, count }
    }

    #[test]
    fn ports_that_follow_each_other_are_joined() {
        let ports = [port(8000, 80, 1), port(8001, 81, 4), port(8005, 86, 1), port(0, 90, 1), port(0, 91, 1)];
        assert_eq!(joined(ports), [port(8000, 80, 5), port(8005, 86, 1), port(0, 90, 2)]);
        assert_eq!(joined([port(65_535, 65_535, 1), port(1, 1, 1)]).len(), 2);
    }

    #[test]
    fn a_range_is_cut() {
        let range = port(8000, 80, 10);
        assert_eq!(range.without(&[port(8004, 84, 2)]), [port(8000, 80, 4), port(8006, 86, 4)]);
        assert_eq!(range.without(&[port(8000, 80, 10)]), []);
        assert_eq!(range.without(&[port(8004, 85, 1)]), [range]);
        assert_eq!(range.without(&[port(7998, 78, 3), port(8009, 89, 5)]), [port(8001, 81, 8)]);
        assert_eq!(port(0, 80, 3).without(&[port(0, 81, 1)]), [port(0, 80, 1), port(0, 82, 1)]);
    }

    #[test]
    fn records_of_single_ports_are_read() {
        let text = r#"{"container_port":80,"protocol":"tcp","host_ip":"0.0.0.0","host_port":8000}"#;
        assert_eq!(serde_json::from_str::<Published>(text).unwrap(), port(8000, 80, 1));
    }
}
