//! The networks of the host.
//!
//! An endpoint is *recorded* (its row holds the address and the ports), then *linked* (veth pair, addresses),
//! then *published* (elements of the firewall's maps). Only `connect` moves it forward, only `disconnect`,
//! `release` and `reconcile` remove it. After a crash the row tells what may exist in the kernel; `reconcile`
//! removes what belongs to no running container.
//!
//! Locks, outermost first: that of links, the database, the reserved ports, a netlink socket. None is held across the others' work
//! except the database's over the reservation of ports.

mod address;
mod attach;
mod bridged;
mod cni;
mod configuration;
mod definition;
mod departure;
mod driver;
mod extension;
mod interface;
mod layout;
mod links;
mod pace;
mod plan;
mod ports;
mod predefined;
mod reconcile;
mod unlink;
mod vlan;
mod way_out;

use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::runtime::Handle;

use crate::dns::{NameServers, NameSettings};
use crate::firewall::{Firewall, Policy};
use crate::records::Records;
use crate::reservation::Ports;
use crate::route::Routes;
use crate::sweeper::Sweeper;
use crate::{Config, Endpoint, Error, Listeners, Network, Result, Sandbox};

use bridged::Bridged;
use departure::Departing;
pub use interface::is_switch;
pub use pace::Rates;
pub use reconcile::Reconciled;

/// All networks of the host. Shared between threads; every call is synchronous and takes milliseconds at most,
/// so an async caller uses a blocking section.
pub struct Networks {
    records: Records,
    config: Config,
    ports: Ports,
    routes: Mutex<Routes>,
    /// The host's.
    namespace: OwnedFd,
    firewall: Firewall,
    /// Whether the kernel has IPv6.
    ipv6: bool,
    /// Whether bridged frames passed the IP firewall when last looked.
    filtered: AtomicBool,
    sweeper: Sweeper,
    departing: Arc<Departing>,
    /// Held while ways between containers are opened or closed.
    linking: Mutex<()>,
    spare: Mutex<Option<Sandbox>>,
    name_servers: NameServers,
}

impl Networks {
    /// Opens the networks recorded in `db` (making the tables where absent), makes the bridges that are missing,
    /// switches forwarding on and installs the firewall table anew, with everything that is recorded in it. All
    /// of it is of the calling thread's network namespace, whatever thread calls later.
    pub fn open(db: Arc<Mutex<Connection>>, config: Config) -> Result<Self> {
        let relays = config.userland_proxy && crate::sysctl::has_ipv6();
        let runtime = Handle::try_current().ok().filter(|_| relays);
        let policy = Policy { direct: config.direct_routing, accepted: config.accepted_mark };
        let networks = Self {
            records: Records::open(db)?,
            ports: Ports::new(runtime, config.cgroups.as_deref())?,
            config,
            routes: Mutex::new(Routes::here()?),
            namespace: hull_sys::netns::current()?,
            firewall: Firewall::here(policy)?,
            ipv6: crate::sysctl::has_ipv6(),
            filtered: AtomicBool::new(crate::sysctl::filters_bridges()),
            sweeper: Sweeper::start()?,
            departing: Arc::default(),
            linking: Mutex::default(),
            spare: Mutex::default(),
            name_servers: NameServers::default(),
        };
        networks.define_predefined()?;
        networks.restore()?;
        networks.restore_names()?;
        Ok(networks)
    }

    /// A fresh network namespace, also right for `--network none`: the spare one, if there is one.
    pub fn sandbox(&self) -> Result<Sandbox> {
        match lock(&self.spare).take() {
            Some(sandbox) => Ok(sandbox),
            None => Sandbox::new(),
        }
    }

    /// Sees that there is a spare sandbox: making one takes a fifth of a container's start, and can be done before.
    pub fn prepare_sandbox(&self) -> Result<()> {
        if lock(&self.spare).is_none() {
            let sandbox = Sandbox::new()?;
            // One that somebody else has made meanwhile is dropped, and with it the namespace.
            drop(lock(&self.spare).replace(sandbox));
        }
        Ok(())
    }

    /// The network of this name, id, or unambiguous beginning of an id, with its endpoints.
    pub fn inspect(&self, network: &str) -> Result<Network> {
        self.records.read(|rows| {
            let mut network = rows.network(network)?;
            let endpoints = rows.endpoints_of_network(&network.id)?;
            network.endpoints = endpoints.into_iter().map(|recorded| recorded.endpoint).collect();
            Ok(network)
        })
    }

    /// The same without its endpoints: the cost does not grow with their number.
    pub fn find(&self, network: &str) -> Result<Network> {
        self.records.read(|rows| rows.network(network))
    }

    /// All networks with their endpoints, oldest first.
    pub fn list(&self) -> Result<Vec<Network>> {
        self.records.read(|rows| {
            let mut networks = rows.networks()?;
            for recorded in rows.endpoints()? {
                let id = &recorded.endpoint.network_id;
                if let Some(network) = networks.iter_mut().find(|network| network.id == *id) {
                    network.endpoints.push(recorded.endpoint);
                }
            }
            Ok(networks)
        })
    }

    /// The endpoints of a container, in the order of their making.
    pub fn endpoints(&self, container: &str) -> Result<Vec<Endpoint>> {
        let recorded = self.records.read(|rows| rows.endpoints_of_container(container))?;
        Ok(recorded.into_iter().map(|recorded| recorded.endpoint).collect())
    }

    /// Records a container's new name.
    pub fn rename(&self, container: &str, name: &str) -> Result<()> {
        let endpoints = self.records.change(|rows| {
            let endpoints = rows.endpoints_of_container(container)?;
            rows.rename(container, name).map(|()| endpoints)
        })?;
        for recorded in &endpoints {
            self.name_servers.names.rename(&recorded.endpoint, name);
        }
        Ok(())
    }

    /// Answers a container's questions for names, which come in by `listeners`, until it is released. `namespace` is
    /// the container's. To be called within a runtime.
    pub fn serve_names(
        &self,
        container: &str,
        namespace: OwnedFd,
        listeners: Listeners,
        settings: NameSettings,
    ) -> Result<()> {
        self.name_servers.serve(container, namespace, listeners, settings)
    }

    /// Gives a container's name server other settings; says whether there is one.
    pub fn configure_names(&self, container: &str, settings: NameSettings) -> bool {
        self.name_servers.configure(container, settings)
    }

    /// At the start: the names of what is recorded.
    fn restore_names(&self) -> Result<()> {
        let (networks, endpoints) = self.records.read(|rows| Ok((rows.networks()?, rows.endpoints()?)))?;
        for recorded in &endpoints {
            let id = &recorded.endpoint.network_id;
            if let Some(network) = networks.iter().find(|network| network.id == *id) {
                self.name_servers.names.add(network, &recorded.endpoint);
            }
        }
        Ok(())
    }
}

/// Locks; what a panicked thread has left is as good as any other state, because the kernel and the records are
/// the truth.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| hull_sys::Error::new("getrandom", "", errno))?;
    match length == N {
        true => Ok(bytes),
        false => Err(Error::System(hull_sys::Error::new("getrandom", "short read", rustix::io::Errno::IO))),
    }
}

/// 64 hexadecimal digits.
fn new_id() -> Result<String> {
    let mut id = String::with_capacity(64);
    for byte in random::<32>()? {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    Ok(id)
}
