//! A port of a container: "80/tcp".

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
}
