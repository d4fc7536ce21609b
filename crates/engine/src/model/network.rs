//! Network settings: as asked for and as given.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{Port, Ports};

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
    /// "8080", "8000-8010", or empty for one of the engine's choice. As many as there are ports of the container: one
    /// each, in their order; more for a single port: any of these.
    pub host_port: String,
}

impl HostPort {
    /// The host's ports as numbers, if there are such.
    pub fn range(&self) -> Option<(u16, u16)> {
        let (first, last) = self.host_port.split_once('-').unwrap_or((&self.host_port, &self.host_port));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some((first, last))
    }

    /// What it says of one of the container's ports.
    fn of_port(&self, ports: Ports, number: u16) -> Self {
        let one_each = self.range().filter(|(first, last)| {
            let count = usize::from(last - first) + 1;
            count > 1 && count == ports.count()
        });
        match one_each {
            Some((first, _)) => Self {
                host_ip: self.host_ip.clone(),
                host_port: (first + (number - ports.first)).to_string(),
            },
            None => self.clone(),
        }
    }
}

/// Where ports of a container are to be published.
pub type PortBindings = BTreeMap<Ports, Vec<HostPort>>;

/// The same port by port, as the API has it.
pub fn by_port<'a>(
    bindings: impl IntoIterator<Item = (&'a Ports, &'a [HostPort])>,
) -> BTreeMap<Port, Vec<HostPort>> {
    let mut all: BTreeMap<Port, Vec<HostPort>> = BTreeMap::new();
    for (ports, places) in bindings {
        for port in ports.each() {
            let places = places.iter().map(|place| place.of_port(*ports, port.number));
            all.entry(port).or_default().extend(places);
        }
    }
    all
}

/// Joins ports that follow each other and are published at ports that do so as well.
pub fn by_range(bindings: impl IntoIterator<Item = (Port, Vec<HostPort>)>) -> PortBindings {
    let mut sorted: Vec<_> = bindings.into_iter().collect();
    sorted.sort_by_key(|(port, _)| (port.protocol, port.number));
    let mut all = PortBindings::new();
    let mut run: Option<(Ports, Vec<HostPort>)> = None;
    for (port, places) in sorted {
        match &mut run {
            Some((ports, of_run)) if goes_on(*ports, of_run, port, &places) => ports.last = port.number,
            _ => {
                let ended = run.replace((port.into(), places));
                all.extend(ended.map(as_range));
            }
        }
    }
    all.extend(run.map(as_range));
    all
}

/// Whether a port is published where a run of them, whose first is published at `of_run`, goes on.
fn goes_on(ports: Ports, of_run: &[HostPort], port: Port, places: &[HostPort]) -> bool {
    let follows = port.protocol == ports.protocol && ports.last.checked_add(1) == Some(port.number);
    let offset = port.number - ports.first.min(port.number);
    let place_follows = |(first, place): (&HostPort, &HostPort)| {
        // As a number is written; "080" stays as it is.
        let from = first
            .host_port
            .parse::<u16>()
            .ok()
            .filter(|from| *from > 0 && from.to_string() == first.host_port);
        let next = from.and_then(|from| from.checked_add(offset));
        let number = next.is_some_and(|next| next.to_string() == place.host_port);
        first.host_ip == place.host_ip && (number || first.host_port.is_empty() && place.host_port.is_empty())
    };
    follows && of_run.len() == places.len() && of_run.iter().zip(places).all(place_follows)
}

/// The places of the first of a run become those of all of it.
fn as_range((ports, mut places): (Ports, Vec<HostPort>)) -> (Ports, Vec<HostPort>) {
    let more = ports.last - ports.first;
    for place in places.iter_mut().filter(|_| more > 0) {
        if let Some((first, _)) = place.range() {
            place.host_port = format!("{first}-{}", first + more);
        }
    }
    (ports, places)
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
    pub ports: BTreeMap<Ports, Option<Vec<HostPort>>>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(ip: &str, port: impl ToString) -> HostPort {
        HostPort { host_ip: ip.to_owned(), host_port: port.to_string() }
    }

    #[test]
    fn ten_thousand_ports_are_one_entry_and_come_back_as_they_were() {
        let port = |number| Port { number, protocol: super::super::Protocol::Tcp };
        let mut all: BTreeMap<_, _> = (10_000..20_000)
            .map(|number| (port(number), vec![place("", number), place("::1", number + 1)]))
            .collect();
        let ranges = by_range(all.clone());
        let found: Vec<_> = ranges.iter().map(|(ports, at)| (ports.to_string(), at.clone())).collect();
        assert_eq!(
            found,
            [("10000-19999/tcp".to_owned(), vec![place("", "10000-19999"), place("::1", "10001-20000")])]
        );
        let back = |ranges: &PortBindings| by_port(ranges.iter().map(|(ports, at)| (ports, at.as_slice())));
        assert_eq!(back(&ranges), all);
        // What is said in another way stays apart.
        all.insert(port(15_000), vec![place("127.0.0.1", 15_000), place("::1", 15_001)]);
        all.insert(port(80), vec![place("", "8000-8010")]);
        all.insert(port(81), vec![place("", "8000-8010")]);
        all.insert(port(90), vec![place("", "")]);
        all.insert(port(91), vec![place("", "")]);
        all.insert(port(95), vec![place("", "007")]);
        all.insert(port(96), vec![place("", "8")]);
        let ranges = by_range(all.clone());
        assert_eq!(ranges.len(), 3 + 2 + 1 + 2);
        assert_eq!(back(&ranges), all);
    }
}
