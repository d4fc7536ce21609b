//! A network as it is asked for and as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{Endpoint, Error};

/// How a network is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host with a veth pair per container.
    Bridge,
    /// The host's own network.
    Host,
    /// Only a loopback interface.
    Null,
}

impl Driver {
    /// The driver's name as in `docker network ls`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
        }
    }

    /// The driver of a request's `Driver`; empty means bridge.
    pub fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "" | "bridge" | "default" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "null" | "none" => Ok(Self::Null),
            "macvlan" | "ipvlan" | "overlay" | "cni" => Err(Error::later(&format!("network driver {name}"))),
            _ => Err(Error::NotFound(format!(
                "could not find plugin {name} in v1 plugin registry: plugin not found"
            ))),
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    /// The subnet, its host bits zero.
    pub subnet: Ipv4Net,
    /// The address of the bridge, and of the default route inside.
    pub gateway: Ipv4Addr,
    /// The part of the subnet that addresses are given from; the whole where absent.
    pub range: Option<Ipv4Net>,
    /// Addresses that are never given (`--aux-address`).
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
    /// Whether the user chose the subnet; only then containers may ask for addresses.
    pub chosen: bool,
}

/// The wish for a new network (`docker network create`).
#[derive(Debug, Clone, Default)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// The driver's name; empty means bridge.
    pub driver: String,
    /// The subnet; from the pools where absent.
    pub subnet: Option<Ipv4Net>,
    /// The gateway; the subnet's first address where absent.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet that addresses are given from.
    pub range: Option<Ipv4Net>,
    /// Addresses that are never given.
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
    /// No way in or out.
    pub internal: bool,
    /// Recorded and shown only.
    pub attachable: bool,
    /// IPv6 is refused for now.
    pub ipv6: bool,
    /// Options of the driver (`com.docker.network.bridge.name`, …).
    pub options: BTreeMap<String, String>,
    /// Labels: data, never control.
    pub labels: BTreeMap<String, String>,
}

/// A network.
#[derive(Debug, Clone)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// How it is made.
    pub driver: Driver,
    /// Its subnets; none for host and null.
    pub ipam: Vec<Ipam>,
    /// No way in or out.
    pub internal: bool,
    /// Recorded and shown only.
    pub attachable: bool,
    /// Options as asked for; the default bridge shows Docker's own set.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The endpoints of running containers, in the order of their making.
    pub endpoints: Vec<Endpoint>,
}

impl Network {
    /// Whether it is one of bridge, host and none.
    pub fn predefined(&self) -> bool {
        crate::PREDEFINED.contains(&self.name.as_str())
    }

    /// The host's addresses in it.
    pub(crate) fn gateways(&self) -> Vec<std::net::IpAddr> {
        self.ipam.iter().map(|ipam| ipam.gateway.into()).collect()
    }
}
