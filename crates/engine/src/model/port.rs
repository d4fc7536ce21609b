//! A port of a container: "80/tcp".

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// A transport protocol that ports belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name as in "80/tcp".
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("invalid proto: {text}"))),
        }
    }
}

/// One port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The port's number; 1 or more.
    pub number: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol.name())
    }
}

impl FromStr for Port {
    type Err = Error;

    /// Reads "80", "80/tcp", "53/udp".
    fn from_str(text: &str) -> Result<Self> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let number: u16 = number.parse().map_err(|_| Error::invalid(format!("invalid port: {text}")))?;
        Ok(Self { number, protocol: protocol.parse()? })
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Ports of a container that follow each other, of one protocol: "80/tcp", "8000-8010/udp". What is said of ten thousand
/// ports at once is kept once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The first of them.
    pub first: u16,
    /// The last of them; not less.
    pub last: u16,
    /// Their protocol.
    pub protocol: Protocol,
}

impl Ports {
    /// Each of them.
    pub fn each(self) -> impl Iterator<Item = Port> {
        (self.first..=self.last).map(move |number| Port { number, protocol: self.protocol })
    }

    /// How many they are.
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// Those that are among the others as well.
    pub(crate) fn overlap(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (self.protocol == other.protocol && first <= last).then_some(Self { first, last, ..self })
    }

    /// Those that are not among the others.
    pub(crate) fn without(self, other: Self) -> Vec<Self> {
        let Some(common) = self.overlap(other) else { return vec![self] };
        let before = (self.first < common.first).then(|| Self { last: common.first - 1, ..self });
        let after = (common.last < self.last).then(|| Self { first: common.last + 1, ..self });
        before.into_iter().chain(after).collect()
    }
}

impl From<Port> for Ports {
    fn from(port: Port) -> Self {
        Self { first: port.number, last: port.number, protocol: port.protocol }
    }
}

/// Joins ports that follow each other.
pub fn in_ranges(ports: impl IntoIterator<Item = Port>) -> BTreeSet<Ports> {
    let mut sorted: Vec<Port> = ports.into_iter().collect();
    sorted.sort_unstable_by_key(|port| (port.protocol, port.number));
    let mut ranges: Vec<Ports> = Vec::new();
    for port in sorted {
        match ranges.last_mut() {
            Some(range) if range.protocol == port.protocol && range.last >= port.number => {}
            Some(range) if range.protocol == port.protocol && range.last + 1 == port.number => {
                range.last = port.number;
            }
            _ => ranges.push(port.into()),
        }
    }
    ranges.into_iter().collect()
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        write!(f, "/{}", self.protocol.name())
    }
}

impl FromStr for Ports {
    type Err = Error;

    /// Reads "80", "80/tcp", "8000-8010/udp".
    fn from_str(text: &str) -> Result<Self> {
        let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let number =
            |number: &str| number.parse().map_err(|_| Error::invalid(format!("invalid port: {text}")));
        let (first, last) = (number(first)?, number(last)?);
        match first <= last {
            true => Ok(Self { first, last, protocol: protocol.parse()? }),
            false => Err(Error::invalid(format!("invalid port: {text}"))),
        }
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["80/tcp", "53/udp", "9899/sctp"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        assert_eq!("8080".parse::<Port>().unwrap().to_string(), "8080/tcp");
    }

    #[test]
    fn refuses_what_is_no_port() {
        for text in ["", "http", "70000", "-1", "80/icmp", "80/tcp/x"] {
            assert!(text.parse::<Port>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_read_joined_and_cut() {
        let ports = |text: &str| text.parse::<Ports>().unwrap();
        for text in ["80/tcp", "8000-8010/udp"] {
            assert_eq!(ports(text).to_string(), text);
        }
        assert!("90-80".parse::<Ports>().is_err() && "1-x".parse::<Ports>().is_err());
        let single = ["82", "80", "81/udp", "81", "81", "90"].map(|text| text.parse().unwrap());
        let joined: Vec<_> = in_ranges(single).iter().map(Ports::to_string).collect();
        assert_eq!(joined, ["80-82/tcp", "81/udp", "90/tcp"]);
        let left = |other: &str| -> Vec<String> {
            ports("80-90").without(ports(other)).iter().map(Ports::to_string).collect()
        };
        assert_eq!(left("85"), ["80-84/tcp", "86-90/tcp"]);
        assert_eq!(left("85/udp"), ["80-90/tcp"]);
        assert_eq!(left("1-100"), Vec::<String>::new());
    }
}
