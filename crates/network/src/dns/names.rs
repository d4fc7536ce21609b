//! Who is called what in which network.
//!
//! Everything here follows from the recorded endpoints: it is filled when the networks open, and kept along by
//! `connect`, `disconnect`, `release` and `rename`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Endpoint, Network};

const SHORT_ID: usize = 12;

/// The names of all networks.
#[derive(Debug, Default)]
pub(crate) struct Names {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the network's id.
    zones: HashMap<String, Zone>,
    /// The networks of each container, in the order in which it came into them.
    containers: HashMap<String, Vec<String>>,
}

/// The names in one network.
#[derive(Debug, Default)]
struct Zone {
    name: String,
    /// Names are known in it; not so on the default bridge.
    named: bool,
    internal: bool,
    gateways: Vec<IpAddr>,
    endpoints: usize,
    names: HashMap<String, Vec<Owner>>,
    /// What a reverse look-up says.
    addresses: HashMap<IpAddr, String>,
}

#[derive(Debug)]
struct Owner {
    endpoint: String,
    address: IpAddr,
}

impl Names {
    /// An endpoint has come into a network.
    pub(crate) fn add(&self, network: &Network, endpoint: &Endpoint) {
        let mut state = self.write();
        state.containers.entry(endpoint.container.clone()).or_default().push(network.id.clone());
        let zone = state.zones.entry(network.id.clone()).or_insert_with(|| Zone {
            name: network.name.to_lowercase(),
            named: !network.predefined(),
            internal: network.is_closed(),
            gateways: network.gateways(),
            ..Zone::default()
        });
        zone.endpoints += 1;
        if zone.named {
            zone.add(endpoint);
        }
    }

    /// An endpoint has gone.
    pub(crate) fn remove(&self, endpoint: &Endpoint) {
        let mut state = self.write();
        if let Some(networks) = state.containers.get_mut(&endpoint.container) {
            networks.retain(|network| *network != endpoint.network_id);
            if networks.is_empty() {
                state.containers.remove(&endpoint.container);
            }
        }
        let Some(zone) = state.zones.get_mut(&endpoint.network_id) else { return };
        zone.endpoints = zone.endpoints.saturating_sub(1);
        zone.remove(endpoint);
        if zone.endpoints == 0 {
            state.zones.remove(&endpoint.network_id);
        }
    }

    /// An endpoint's container is called otherwise from now on.
    pub(crate) fn rename(&self, endpoint: &Endpoint, name: &str) {
        let mut state = self.write();
        if let Some(zone) = state.zones.get_mut(&endpoint.network_id).filter(|zone| zone.named) {
            zone.remove(endpoint);
            zone.add(&Endpoint { name: name.to_owned(), ..endpoint.clone() });
        }
    }

    /// The addresses of a name (in lower case), as this container sees it: of the first of its networks that knows
    /// the name, alone or followed by the network's own; only the `network` that is named is asked, if one is. `None`:
    /// nobody is called that.
    pub(crate) fn addresses(
        &self,
        container: &str,
        network: Option<&str>,
        name: &str,
    ) -> Option<Vec<IpAddr>> {
        let state = self.read();
        let all = |zone: &Zone, name: &str| {
            let owners = zone.names.get(name)?;
            Some(owners.iter().map(|owner| owner.address).collect())
        };
        // Both may have dots in them.
        let within = |zone: &Zone| all(zone, name.strip_suffix(&zone.name)?.strip_suffix('.')?);
        let mut asked =
            state.zones_of(container).filter(|zone| network.is_none_or(|network| network == zone.name));
        asked.find_map(|zone| all(zone, name).or_else(|| within(zone)))
    }

    /// The name of an address in one of the container's networks.
    pub(crate) fn name(&self, container: &str, address: IpAddr) -> Option<String> {
        let state = self.read();
        state.zones_of(container).find_map(|zone| {
            let name = zone.addresses.get(&address)?;
            Some(format!("{name}.{}", zone.name))
        })
    }

    /// The host's addresses as the container sees them: the gateways of its first network.
    pub(crate) fn gateways(&self, container: &str) -> Vec<IpAddr> {
        let state = self.read();
        let mut zones = state.zones_of(container).filter(|zone| !zone.gateways.is_empty());
        zones.next().map(|zone| zone.gateways.clone()).unwrap_or_default()
    }

    /// Whether one of the container's networks leads outside.
    pub(crate) fn leads_outside(&self, container: &str) -> bool {
        self.read().zones_of(container).any(|zone| !zone.internal)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn zones_of(&self, container: &str) -> impl Iterator<Item = &Zone> {
        let networks = self.containers.get(container).into_iter().flatten();
        networks.filter_map(|network| self.zones.get(network))
    }
}

impl Zone {
    fn add(&mut self, endpoint: &Endpoint) {
        for name in names_of(endpoint) {
            let owners = self.names.entry(name).or_default();
            for address in endpoint.addresses() {
                owners.push(Owner { endpoint: endpoint.id.clone(), address });
            }
        }
        for address in endpoint.addresses() {
            self.addresses.insert(address, endpoint.name.clone());
        }
    }

    /// Also one that was renamed since: its address tells what it was called then.
    fn remove(&mut self, endpoint: &Endpoint) {
        let mut names = names_of(endpoint);
        for address in endpoint.addresses() {
            names.extend(self.addresses.remove(&address).map(|name| name.to_lowercase()));
        }
        for name in names {
            let Some(owners) = self.names.get_mut(&name) else { continue };
            owners.retain(|owner| owner.endpoint != endpoint.id);
            if owners.is_empty() {
                self.names.remove(&name);
            }
        }
    }
}

/// All names of an endpoint in lower case, each once.
fn names_of(endpoint: &Endpoint) -> Vec<String> {
    let short = endpoint.container.get(..SHORT_ID).unwrap_or(&endpoint.container);
    let own = [endpoint.name.as_str(), short, &endpoint.hostname];
    let all = own.into_iter().chain(endpoint.aliases.iter().map(String::as_str));
    let mut names: Vec<_> = all.filter(|name| !name.is_empty()).map(str::to_lowercase).collect();
    names.sort();
    names.dedup();
    names
}
