//! The name server at 127.0.0.11 of every container in a network with names.
//!
//! A container's name server is *absent*, then *open* (sockets and rules exist in its namespace; questions wait in
//! them), then *served* (the daemon answers). The daemon is not the only holder of the sockets: while it is away
//! questions wait, and it goes on with the same sockets. What it needs to know follows from the records.
//!
//! Names of the container's networks are answered from memory; everything else is passed on as it came to the servers
//! that the container, the daemon or the host name, and the answer is passed back as it came.

mod cache;
mod door;
mod forward;
mod message;
mod names;
mod server;
mod upstream;

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hull_sys::Context;

use crate::networks::lock;
use crate::{Egress, Result};

pub use door::{Listeners, SERVER};
pub(crate) use names::Names;
use server::NameServer;
use upstream::HostServers;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What a container's name server has to know beyond the networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameSettings {
    /// Servers for everything else, asked from the container's namespace; the host's where empty.
    pub servers: Vec<IpAddr>,
    /// Nobody is to be asked for everything else: the user has named no other server than this one.
    pub alone: bool,
    /// Names that only this container knows others by.
    pub links: Vec<LinkedName>,
    /// The user has set `ndots`: names without a dot do not leave.
    pub ndots: bool,
    /// What the container may send: no other server is asked for it.
    pub egress: Option<Egress>,
    /// The host's addresses; the gateways of the container's first network where there are none.
    pub hosts: Vec<IpAddr>,
}

/// A name that one container knows another by; all of it in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedName {
    /// What it is known by.
    pub name: String,
    /// The other's name or short id.
    pub means: String,
    /// The name of the network in which it is known; every one of the container's, if none is said.
    pub network: Option<String>,
}

/// The name servers of all containers.
#[derive(Debug)]
pub(crate) struct NameServers {
    pub(crate) names: Arc<Names>,
    host: Arc<HostServers>,
    served: Mutex<HashMap<String, NameServer>>,
}

impl Default for NameServers {
    fn default() -> Self {
        Self {
            names: Arc::default(),
            host: Arc::new(HostServers::new(Path::new(RESOLV_CONF))),
            served: Mutex::default(),
        }
    }
}

impl NameServers {
    /// Begins to answer for a container. To be called within a runtime.
    pub(crate) fn serve(
        &self,
        container: &str,
        namespace: OwnedFd,
        listeners: Listeners,
        settings: NameSettings,
    ) -> Result<()> {
        let (names, host) = (Arc::clone(&self.names), Arc::clone(&self.host));
        let server = NameServer::start(container, namespace, listeners, settings, names, host);
        let server = server.on("serve names of container", container)?;
        lock(&self.served).insert(container.to_owned(), server);
        Ok(())
    }

    /// Gives a name server other settings; says whether there is one.
    pub(crate) fn configure(&self, container: &str, settings: NameSettings) -> bool {
        let served = lock(&self.served);
        let server = served.get(container);
        server.map(|server| server.configure(settings)).is_some()
    }

    /// The network namespace of a container that has a name server.
    pub(crate) fn namespace(&self, container: &str) -> Option<OwnedFd> {
        lock(&self.served).get(container)?.namespace().ok()
    }

    /// Answers no more for a container.
    pub(crate) fn stop(&self, container: &str) {
        lock(&self.served).remove(container);
    }
}
