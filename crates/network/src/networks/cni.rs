//! Networks of CNI plugins.
//!
//! What the plugins have made is known to them alone, so the intent to have them make it is recorded before, and their
//! answer after: an endpoint that is recorded here is taken down by DEL, whatever else of it is left. A crash at any
//! point leaves the record, and the next start finishes it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attach::Attachment;
use super::{Networks, way_out};
use crate::cni::{Call, Configuration, Made};
use crate::records::{Recorded, Rows};
use crate::route::Routes;
use crate::{Driver, Endpoint, EndpointRequest, Error, MacAddr, Network, NetworkRequest, Published, Result};

/// What the keys of configurations begin with; a network's id follows.
const NETWORK: &str = "cni-network:";
/// What the keys of endpoints begin with; an endpoint's id follows.
const ENDPOINT: &str = "cni-endpoint:";
/// The capability of leading from ports of the host to the container.
pub(super) const PORTS: &str = "portMappings";

/// An endpoint that plugins are making, or have made.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Intent {
    configuration: Configuration,
    container: String,
    interface: String,
    /// What the container wishes of them.
    #[serde(default)]
    wishes: BTreeMap<String, Value>,
    /// Their answer; `None`: they were being asked.
    result: Option<Value>,
}

impl Intent {
    fn call<'a>(&'a self, namespace: &'a str) -> Call<'a> {
        let result = self.result.as_ref();
        let Self { container, interface, wishes, .. } = self;
        Call { container, namespace, interface, result, wishes }
    }
}

/// Reads the configuration of a network that is to be; `None` for other drivers.
pub(super) fn configuration(request: &NetworkRequest, driver: Driver) -> Result<Option<Configuration>> {
    if driver != Driver::Cni {
        return Ok(None);
    }
    if request.subnet.is_some() || request.ipv6.as_ref().is_some_and(|wish| wish.subnet.is_some()) {
        return Err(Error::Invalid("the addresses of a network of cni are its configuration's".to_owned()));
    }
    Configuration::find(&request.options).map(Some)
}

/// Keeps a network's configuration as it is now: endpoints are taken down as they were made.
pub(super) fn keep(rows: &Rows<'_>, network: &Network, configuration: &Configuration) -> Result<()> {
    rows.set_fact(&format!("{NETWORK}{}", network.id), configuration)
}

/// Forgets it.
pub(super) fn forget(rows: &Rows<'_>, network: &Network) -> Result<()> {
    rows.remove_fact(&format!("{NETWORK}{}", network.id))
}

impl Networks {
    /// Has the plugins make an endpoint, and records what they have made.
    pub(super) fn link_cni(
        &self,
        attachment: &mut Attachment<'_>,
        namespace: BorrowedFd<'_>,
        request: &EndpointRequest,
    ) -> Result<()> {
        let recorded = &mut attachment.recorded;
        let key = format!("{ENDPOINT}{}", recorded.endpoint.id);
        let mut intent = self.intend(recorded, &key, request)?;
        let path = path(namespace);
        let made = intent.configuration.add(&intent.call(&path)).and_then(|result| {
            let made = Made::read(&result)?;
            intent.result = Some(result);
            fill_in(recorded, &made)?;
            let lost = unreached(&mut recorded.endpoint)?;
            self.ports.release(&recorded.endpoint.id, &lost);
            self.records.change(|rows| {
                rows.set_fact(&key, &intent)?;
                rows.remove_endpoint(&recorded.endpoint.id)?;
                rows.add_endpoint(recorded)
            })
        });
        if made.is_err() {
            // The first failure is the one to tell; the record stays if this fails, too.
            let _ = self.take_down(&key, &intent, &path);
        }
        made?;
        self.settle_default_routes(namespace, &recorded.endpoint.container)
    }

    fn intend(&self, recorded: &Recorded, key: &str, request: &EndpointRequest) -> Result<Intent> {
        self.records.change(|rows| {
            let configuration = kept(rows, &recorded.endpoint.network_id)?;
            let wishes = wishes(&configuration, request, &recorded.endpoint.ports)?;
            let intent = Intent {
                configuration,
                wishes,
                container: recorded.endpoint.container.clone(),
                interface: recorded.endpoint.interface.clone(),
                result: None,
            };
            rows.set_fact(key, &intent)?;
            Ok(intent)
        })
    }

    /// Plugins set default routes as they please; which network gives them is not theirs to say.
    fn settle_default_routes(&self, namespace: BorrowedFd<'_>, container: &str) -> Result<()> {
        let endpoints = self.records.read(|rows| rows.endpoints_of_container(container))?;
        for v4 in [true, false] {
            let Some(leader) = way_out::leader(&endpoints.iter().collect::<Vec<_>>(), v4) else { continue };
            if let Some(hop) = way_out::hop(leader, v4) {
                Routes::inside(namespace)?.set_default(&leader.endpoint.interface, hop)?;
            }
        }
        Ok(())
    }

    /// Has the plugins remove what they have made of an endpoint; nothing of other drivers.
    pub(super) fn unlink_cni(&self, recorded: &Recorded, namespace: Option<BorrowedFd<'_>>) -> Result<()> {
        let key = format!("{ENDPOINT}{}", recorded.endpoint.id);
        let intent: Option<Intent> = self.records.read(|rows| rows.fact(&key))?;
        let path = namespace.map(path).unwrap_or_default();
        intent.map_or(Ok(()), |intent| self.take_down(&key, &intent, &path))
    }

    /// The same for a container that has ended. What fails is tried again at the next opening.
    pub(super) fn unlink_ended(&self, container: &str, endpoints: &[Recorded]) {
        for recorded in endpoints.iter().filter(|recorded| recorded.driver == Driver::Cni) {
            let namespace = self.name_servers.namespace(container);
            if let Err(error) = self.unlink_cni(recorded, namespace.as_ref().map(AsFd::as_fd)) {
                tracing::warn!(container, "take down an interface of CNI: {error}");
            }
        }
    }

    fn take_down(&self, key: &str, intent: &Intent, namespace: &str) -> Result<()> {
        intent.configuration.del(&intent.call(namespace))?;
        self.records.change(|rows| rows.remove_fact(key))
    }

    /// At the start: what is left of endpoints that nobody has is taken down; of the others the plugins are asked.
    pub(super) fn reconcile_cni(&self, kept: &[Recorded]) -> Result<()> {
        let intents: Vec<(String, Intent)> = self.records.read(|rows| rows.facts(ENDPOINT))?;
        for (key, intent) in intents {
            let id = key.strip_prefix(ENDPOINT).unwrap_or_default();
            let outcome = match kept.iter().any(|recorded| recorded.endpoint.id == id) {
                // Whose namespace it is, is the engine's knowledge; the plugins find what is not in there.
                true => continue,
                false => self.take_down(&key, &intent, ""),
            };
            if let Err(error) = outcome {
                tracing::warn!(container = intent.container, "take down an interface of CNI: {error}");
            }
        }
        Ok(())
    }

    /// The servers for names that the makers of a container's interfaces know.
    pub fn name_servers(&self, container: &str) -> Result<Vec<IpAddr>> {
        let endpoints = self.records.read(|rows| rows.endpoints_of_container(container))?;
        Ok(endpoints.into_iter().flat_map(|recorded| recorded.endpoint.dns).collect())
    }

    /// Asks the plugins whether the interfaces of a running container are as they made them.
    pub fn check(&self, container: &str, namespace: BorrowedFd<'_>) -> Result<()> {
        let endpoints = self.records.read(|rows| rows.endpoints_of_container(container))?;
        for recorded in endpoints.iter().filter(|recorded| recorded.driver == Driver::Cni) {
            let key = format!("{ENDPOINT}{}", recorded.endpoint.id);
            let intent: Option<Intent> = self.records.read(|rows| rows.fact(&key))?;
            if let Some(mut intent) = intent {
                let path = path(namespace);
                intent.result.iter_mut().for_each(|result| rename_namespace(result, &path));
                intent.configuration.check(&intent.call(&path))?;
            }
        }
        Ok(())
    }
}

/// A path by which a plugin, which is another process, opens the namespace.
fn path(namespace: BorrowedFd<'_>) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}

/// The namespace has another path than at its making: that one was of a daemon that is gone.
fn rename_namespace(result: &mut Value, path: &str) {
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        if interface["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty()) {
            interface["sandbox"] = json!(path);
        }
    }
}

/// The configuration of a network as it was when the network was made.
fn kept(rows: &Rows<'_>, network: &str) -> Result<Configuration> {
    rows.fact(&format!("{NETWORK}{network}"))?.ok_or_else(|| Error::no_network(network))
}

/// Whether the plugins of a network lead from ports of the host to containers.
pub(super) fn maps_ports(rows: &Rows<'_>, network: &str) -> Result<bool> {
    Ok(kept(rows, network)?.takes(PORTS))
}

/// That they do not.
pub(super) fn cannot(network: &str, capability: &str) -> Error {
    Error::Invalid(format!("no plugin of network {network} has the capability {capability:?}"))
}

/// What plugins can be asked for by the container; what they cannot is refused.
fn wishes(
    configuration: &Configuration,
    request: &EndpointRequest,
    ports: &[Published],
) -> Result<BTreeMap<String, Value>> {
    let mut wishes = BTreeMap::new();
    let mut wish = |capability: &str, value: Value| {
        wishes.insert(capability.to_owned(), value);
        match configuration.takes(capability) {
            true => Ok(()),
            false => Err(cannot(&request.network, capability)),
        }
    };
    if !ports.is_empty() {
        wish(PORTS, ports.iter().flat_map(mappings).collect())?;
    }
    if let Some(mac) = request.mac {
        wish("mac", json!(mac.to_string()))?;
    }
    let v4 = request.ipv4.map(IpAddr::V4);
    let addresses: Vec<_> =
        v4.into_iter().chain(request.ipv6.map(IpAddr::V6)).map(|ip| ip.to_string()).collect();
    if !addresses.is_empty() {
        wish("ips", json!(addresses))?;
    }
    Ok(wishes)
}

/// Each of some published ports by itself, as plugins are told of it.
fn mappings(port: &Published) -> impl Iterator<Item = Value> {
    let (host_ip, protocol, first) = (port.host_ip.to_string(), port.protocol.name(), port.container_port);
    port.host_ports().zip(first..).map(move |(host, inside)| {
        json!({ "hostPort": host, "containerPort": inside, "protocol": protocol, "hostIP": host_ip })
    })
}

/// The ports of a family that the plugins have given no address of: nothing leads there. Who has named an address of that
/// family is told.
fn unreached(endpoint: &mut Endpoint) -> Result<Vec<Published>> {
    let (address, address6) = endpoint.by_family();
    let reached =
        |port: &Published| if port.host_ip.is_ipv4() { address.is_some() } else { address6.is_some() };
    let (ports, lost): (Vec<_>, Vec<_>) = endpoint.ports.iter().copied().partition(reached);
    endpoint.ports = ports;
    match lost.iter().find(|port| !port.host_ip.is_unspecified()) {
        None => Ok(lost),
        Some(port) => {
            let family = if port.host_ip.is_ipv4() { "IPv4" } else { "IPv6" };
            Err(Error::Invalid(format!(
                "cannot publish a port on the {family} address {}: the network has no {family}",
                port.host_ip
            )))
        }
    }
}

fn fill_in(recorded: &mut Recorded, made: &Made) -> Result<()> {
    let endpoint = &mut recorded.endpoint;
    let net4 = |net| if let IpNet::V4(net) = net { Some::<Ipv4Net>(net) } else { None };
    let net6 = |net| if let IpNet::V6(net) = net { Some::<Ipv6Net>(net) } else { None };
    endpoint.address = made.address(true).and_then(net4);
    endpoint.address6 = made.address(false).and_then(net6);
    endpoint.gateway =
        made.gateway(true).and_then(|hop| if let IpAddr::V4(hop) = hop { Some(hop) } else { None });
    endpoint.gateway6 =
        made.gateway(false).and_then(|hop| if let IpAddr::V6(hop) = hop { Some(hop) } else { None });
    endpoint.mac = made.mac(&endpoint.interface).map(str::parse::<MacAddr>).transpose()?;
    endpoint.dns = made.name_servers().to_vec();
    Ok(())
}
