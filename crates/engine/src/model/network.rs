//! Network settings: as asked for and as given.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Port;

/// Networks to join at create; the key is a network's name or id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkingConfig {
    /// By network.
    pub endpoints: BTreeMap<String, EndpointSettings>,
}

/// One network of a container: the wishes, and what came of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSettings {
    /// Wished IPv4 address.
    pub wanted_ipv4: Option<Ipv4Addr>,
    /// Wished IPv6 address.
    pub wanted_ipv6: Option<Ipv6Addr>,
    /// Link-local addresses to add.
    pub link_local_ips: Vec<IpAddr>,
    /// Whether the request had an `IPAMConfig`; kept for inspect.
    pub ipam_given: bool,
    /// Legacy links.
    pub links: Option<Vec<String>>,
    /// Further names on the network.
    pub aliases: Option<Vec<String>>,
    /// Wished MAC address while stopped, the real one while running.
    pub mac_address: String,
    /// The MAC address the user asked for.
    pub wanted_mac: String,
    /// Options of the driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Which endpoint gives the default route: the highest.
    pub gw_priority: i64,
    /// Full id of the network.
    pub network_id: String,
    /// Id of the endpoint; empty while stopped.
    pub endpoint_id: String,
    /// Address of the gateway; empty while stopped.
    pub gateway: String,
    /// IPv4 address; empty while stopped.
    pub ip_address: String,
    /// Length of its prefix.
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    pub ipv6_gateway: String,
    /// IPv6 address.
    pub global_ipv6_address: String,
    /// Length of its prefix.
    pub global_ipv6_prefix_len: u8,
    /// Every name the container answers to on this network.
    pub dns_names: Option<Vec<String>>,
}

/// Where a container port is published on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostPort {
    /// Address; empty: every one.
    pub host_ip: String,
    /// "8080", "8000-8010", or empty for one of the engine's choice.
    pub host_port: String,
}

/// What networking a running container has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSettings {
    /// Id of the sandbox; empty while stopped.
    pub sandbox_id: String,
    /// A path that opens the network namespace; empty while stopped.
    pub sandbox_key: String,
    /// Exposed ports (`None`) and published ones.
    pub ports: BTreeMap<Port, Option<Vec<HostPort>>>,
    /// By network name.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// Which network a container lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    /// A namespace with nothing but loopback.
    None,
    /// The host's.
    Host,
    /// That of another container.
    Container(String),
    /// A network by name or id; "default" is the default bridge.
    Network(String),
}

impl NetworkMode {
    /// Reads the text of `HostConfig.network_mode`.
    pub fn parse(text: &str) -> Self {
        match text {
            "none" => Self::None,
            "host" => Self::Host,
            "" | "default" | "bridge" => Self::Network("bridge".into()),
            _ => match text.strip_prefix("container:") {
                Some(name) => Self::Container(name.into()),
                None => Self::Network(text.into()),
            },
        }
    }

    /// Whether the container has a namespace of its own in a user's network.
    pub fn is_user_defined(&self) -> bool {
        matches!(self, Self::Network(name) if name != "bridge")
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
            Self::Network(name) => f.write_str(name),
        }
    }
}
