//! A network as it is asked for and as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{Endpoint, Error, bridge, vlan};

/// The auxiliary address that is the gateway of a bridge's containers in the bridge's place, as Docker calls it.
pub(crate) const GATEWAY: &str = "DefaultGatewayIPv4";
/// The same for IPv6.
pub(crate) const GATEWAY6: &str = "DefaultGatewayIPv6";

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
    /// A link with an Ethernet address of its own on an interface of the host.
    Macvlan,
    /// A link that shares the Ethernet address of an interface of the host.
    Ipvlan,
    /// What the plugins of a CNI configuration make.
    Cni,
    /// None: a configuration that other networks are made from.
    Configuration,
}

impl Driver {
    /// The driver's name as in `docker network ls`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null | Self::Configuration => "null",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Cni => "cni",
        }
    }

    /// The driver of a request's `Driver`; empty means bridge.
    pub fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "" | "bridge" | "default" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "null" => Ok(Self::Null),
            "macvlan" => Ok(Self::Macvlan),
            "ipvlan" => Ok(Self::Ipvlan),
            "cni" => Ok(Self::Cni),
            "overlay" => Err(Error::Forbidden(
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
                 node to swarm and try again."
                    .to_owned(),
            )),
            _ => Err(Error::NotFound(format!("plugin \"{name}\" not found"))),
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is recorded from before is shown as it was.
fn shown() -> bool {
    true
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    /// The subnet, its host bits zero.
    pub subnet: Ipv4Net,
    /// The address of the bridge, and of the default route inside; none where the link's own routers are nobody's
    /// business (macvlan and ipvlan without `--gateway`).
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet that addresses are given from; the whole where absent.
    pub range: Option<Ipv4Net>,
    /// Addresses that are never given (`--aux-address`).
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
    /// Whether the user chose the subnet; only then containers may ask for addresses.
    pub chosen: bool,
    /// Whether the user named the gateway; of a subnet that he chose himself, only then it is shown.
    #[serde(default = "shown")]
    pub names_gateway: bool,
}

/// The IPv6 subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam6 {
    /// The subnet, its host bits zero.
    pub subnet: Ipv6Net,
    /// The address of the bridge, and of the default route inside.
    pub gateway: Option<Ipv6Addr>,
    /// The part of the subnet that addresses are given from; all of it where absent.
    pub range: Option<Ipv6Net>,
    /// Addresses that are never given.
    pub auxiliary: BTreeMap<String, Ipv6Addr>,
    /// Whether the user chose the subnet; only then containers may ask for addresses.
    pub chosen: bool,
    /// Whether the user named the gateway; of a subnet that he chose himself, only then it is shown.
    #[serde(default = "shown")]
    pub names_gateway: bool,
}

/// The wish for a further IPv4 subnet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PoolRequest {
    /// The subnet.
    pub subnet: Ipv4Net,
    /// The gateway.
    pub gateway: Option<Ipv4Addr>,
    /// The part that addresses are given from.
    pub range: Option<Ipv4Net>,
    /// Addresses that are never given.
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
}

/// The wish for an IPv6 subnet; the parts mean what they mean for IPv4.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pool6Request {
    /// The subnet; from the network's own pool of unique local addresses where absent.
    pub subnet: Option<Ipv6Net>,
    /// The gateway.
    pub gateway: Option<Ipv6Addr>,
    /// The part that addresses are given from.
    pub range: Option<Ipv6Net>,
    /// Addresses that are never given.
    pub auxiliary: BTreeMap<String, Ipv6Addr>,
}

/// A subnet that somebody has named of a family that the network does not have: it is recorded and shown only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdlePool {
    /// The subnet.
    pub subnet: IpNet,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// The part that addresses would be given from.
    pub range: Option<IpNet>,
    /// Addresses that would never be given.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl IdlePool {
    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        matches!(self.subnet, IpNet::V4(_))
    }
}

/// The wish for a new network (`docker network create`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// The driver's name; empty means bridge.
    pub driver: String,
    /// No IPv4 at all (`--ipv4=false`); the wishes for its addresses are left aside.
    pub without_ipv4: bool,
    /// The subnet; from the pools where absent.
    pub subnet: Option<Ipv4Net>,
    /// The gateway; the subnet's first address where absent.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet that addresses are given from.
    pub range: Option<Ipv4Net>,
    /// Addresses that are never given.
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
    /// Further IPv4 subnets, on interfaces of the host's only (macvlan, ipvlan).
    pub more: Vec<PoolRequest>,
    /// No way in or out.
    pub internal: bool,
    /// Recorded and shown only.
    pub attachable: bool,
    /// The IPv6 subnet beside the IPv4 one.
    pub ipv6: Option<Pool6Request>,
    /// Further IPv6 subnets.
    pub more6: Vec<Pool6Request>,
    /// Subnets of a family that it is not to have.
    #[serde(default)]
    pub idle: Vec<IdlePool>,
    /// Options of the address management: recorded and shown only.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// Options of the driver (`com.docker.network.bridge.name`, …).
    pub options: BTreeMap<String, String>,
    /// Labels: data, never control.
    pub labels: BTreeMap<String, String>,
    /// Only to be recorded, for networks that name it (`--config-only`).
    pub config_only: bool,
    /// The configuration that says all but driver and reach (`--config-from`).
    pub config_from: Option<String>,
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
    /// Its IPv4 subnets: one, and several only on an interface of the host's; none for host, null and networks without
    /// IPv4.
    pub ipam: Vec<Ipam>,
    /// Its IPv6 subnets.
    pub ipam6: Vec<Ipam6>,
    /// Subnets that were named of a family that it does not have.
    pub idle: Vec<IdlePool>,
    /// No way in or out.
    pub internal: bool,
    /// Recorded and shown only.
    pub attachable: bool,
    /// Options of the address management as asked for; none where nobody has named any.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// Options as asked for; the default bridge shows Docker's own set.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What networks are made of that name this one; none but for [`Driver::Configuration`].
    pub configuration: Option<Box<NetworkRequest>>,
    /// The name of the configuration that it was made from.
    pub config_from: Option<String>,
    /// The endpoints of running containers, in the order of their making.
    pub endpoints: Vec<Endpoint>,
}

impl Network {
    /// Whether it is one of bridge, host and none.
    pub fn predefined(&self) -> bool {
        crate::PREDEFINED.contains(&self.name.as_str())
    }

    /// Whether nothing leads out of it: it is internal, or on no interface of the host.
    pub fn is_closed(&self) -> bool {
        self.internal || vlan::lacks_parent(self.driver, &self.options)
    }

    /// The host's link that it needs and that is made for it where it is absent.
    pub(crate) fn link(&self) -> Result<Option<String>, Error> {
        match self.driver {
            Driver::Bridge => {
                bridge::Settings::parse(&self.id, &self.options).map(|settings| Some(settings.bridge))
            }
            Driver::Macvlan | Driver::Ipvlan => vlan::Settings::parse(self.driver, &self.id, &self.options)
                .map(|settings| Some(settings.parent)),
            Driver::Host | Driver::Null | Driver::Cni | Driver::Configuration => Ok(None),
        }
    }

    /// The addresses of its subnets; a configuration takes none.
    pub(crate) fn spans(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.ipam.iter().map(|ipam| ipam.subnet.into());
        let all = v4.chain(self.ipam6.iter().map(|ipam| ipam.subnet.into()));
        all.filter(|_| self.driver != Driver::Configuration)
    }

    /// The gateway of the subnet that an address is in: the bridge itself, or who is named instead.
    pub(crate) fn gateway_of(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let ipam = self.ipam.iter().find(|ipam| ipam.subnet.contains(&address))?;
        let named = ipam.auxiliary.get(GATEWAY).filter(|_| self.driver == Driver::Bridge);
        named.copied().or(ipam.gateway)
    }

    /// The same for IPv6.
    pub(crate) fn gateway6_of(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let ipam = self.ipam6.iter().find(|ipam| ipam.subnet.contains(&address))?;
        let named = ipam.auxiliary.get(GATEWAY6).filter(|_| self.driver == Driver::Bridge);
        named.copied().or(ipam.gateway)
    }

    /// The host's addresses in it. The gateway of a link of the host's is somebody else.
    pub(crate) fn gateways(&self) -> Vec<IpAddr> {
        if self.driver != Driver::Bridge {
            return Vec::new();
        }
        let v4 = self.ipam.iter().filter_map(|ipam| ipam.gateway).map(Into::into);
        v4.chain(self.ipam6.iter().filter_map(|ipam| ipam.gateway).map(Into::into)).collect()
    }
}
