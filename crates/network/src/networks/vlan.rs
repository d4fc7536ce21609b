//! Networks on an interface of the host: the interface, where it is ours to make, and the link of an endpoint on it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::attach::Attachment;
use super::{Networks, lock};
use crate::records::{Recorded, Rows};
use crate::route::{Link, Routes, Upper};
use crate::vlan::{PASSTHRU, Settings};
use crate::{Driver, Error, Network, Result, sysctl};

/// What the options of a macvlan or ipvlan network say; `None` for other networks.
pub(super) fn settings(network: &Network) -> Result<Option<Settings>> {
    match network.driver {
        Driver::Macvlan | Driver::Ipvlan => {
            Settings::parse(network.driver, &network.id, &network.options).map(Some)
        }
        _ => Ok(None),
    }
}

/// Who may be on the same interface: macvlan networks, unless one of them has all of it.
pub(super) fn check_parent(rows: &Rows<'_>, network: &Network) -> Result<()> {
    let Some(wanted) = settings(network)? else { return Ok(()) };
    let others = rows.networks_on(&wanted.parent)?;
    for other in others.iter().filter(|other| other.driver == network.driver) {
        let Some(existing) = settings(other)?.filter(|existing| existing.parent == wanted.parent) else {
            continue;
        };
        let (id, parent) = (&other.id, &wanted.parent);
        let short = id.get(..12).unwrap_or(id);
        return Err(Error::Unavailable(match network.driver {
            Driver::Ipvlan => format!("network di-{short} is already using parent interface {parent}"),
            _ if wanted.mode == PASSTHRU => format!(
                "cannot use mode passthru, macvlan network {id} is already using parent interface {parent}"
            ),
            _ if existing.mode == PASSTHRU => {
                format!("macvlan network {id} is already using parent interface {parent} in mode passthru")
            }
            _ => continue,
        }));
    }
    Ok(())
}

/// Whether another network has made the same interface, which then goes with the last of them.
pub(super) fn shares_made_link(rows: &Rows<'_>, network: &Network, link: &str) -> Result<bool> {
    for other in rows.networks_on(link)?.iter().filter(|other| other.id != network.id) {
        if settings(other)?.is_some_and(|other| other.parent == link) && rows.made_link(&other.id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Networks {
    /// Makes the interface unless it is there. Says whether it was made.
    pub(super) fn ensure_parent(&self, settings: &Settings) -> Result<bool> {
        let mut routes = lock(&self.routes);
        let parent = settings.parent.as_str();
        if routes.find(parent)?.is_some() {
            return Ok(false);
        }
        if settings.alone {
            routes.add_nowhere(parent)?;
        } else {
            let (master, id) = settings.tagged()?;
            let Some(master) = routes.find(master)? else {
                return Err(Error::Invalid(format!(
                    "-o parent interface was not found on the host: {master}"
                )));
            };
            routes.add_tagged(parent, master.index, id).map_err(|error| {
                Error::Unavailable(format!("failed to create {parent} vlan link: {error}"))
            })?;
        }
        if settings.alone && sysctl::has_ipv6() {
            // The host is not on it.
            sysctl::write(&format!("ipv6/conf/{parent}/disable_ipv6"), "1")?;
        }
        Ok(true)
    }

    /// Makes the link of an endpoint, with addresses and routes.
    pub(super) fn link_upper(
        &self,
        attachment: &mut Attachment<'_>,
        namespace: BorrowedFd<'_>,
    ) -> Result<()> {
        let Some(settings) = &settings(&attachment.network)? else { return Ok(()) };
        let mut inside = Routes::inside(namespace)?;
        let endpoint = &attachment.recorded.endpoint;
        let name = endpoint.interface.as_str();
        let parent = self.parent(settings)?;
        let driver = attachment.network.driver;
        lock(&self.routes)
            .add_upper(&Upper {
                parent: parent.index,
                mode: settings.mode,
                inside: name,
                namespace,
                mac: endpoint.mac,
            })
            .map_err(|error| refusal(driver, &error))?;
        attachment.configure(&mut inside, namespace)?;
        // Asked for, it has its carrier at once.
        inside.find(name)?;
        attachment.await_heard(namespace)
    }

    /// The interface of the host. One of ours that somebody has removed is made again.
    fn parent(&self, settings: &Settings) -> Result<Link> {
        if let Some(parent) = lock(&self.routes).find(&settings.parent)? {
            return Ok(parent);
        }
        let name = &settings.parent;
        self.ensure_parent(settings)?;
        let parent = lock(&self.routes).find(name)?;
        parent.ok_or_else(|| {
            Error::Unavailable(format!(
                "the requested parent interface {name} was not found on the Docker host"
            ))
        })
    }

    /// Removes the links of a container that has ended: its interface of the host is to be free at once, and its namespace
    /// may live on with another container. What fails here goes with the namespace.
    pub(super) fn unlink_uppers(&self, container: &str, endpoints: &[Recorded]) {
        let is_upper = |recorded: &&Recorded| matches!(recorded.driver, Driver::Macvlan | Driver::Ipvlan);
        let mut uppers = endpoints.iter().filter(is_upper).peekable();
        let namespace = uppers.peek().and_then(|_| self.name_servers.namespace(container));
        let Some(namespace) = namespace else { return };
        for recorded in uppers {
            let _ = self.unlink_inside(namespace.as_fd(), &recorded.endpoint.interface);
        }
    }
}

/// What the kernel says to a link that it does not make.
fn refusal(driver: Driver, error: &hull_sys::Error) -> Error {
    let hint = if error.is(Errno::OPNOTSUPP) {
        format!(" (the kernel has no {driver})")
    } else if error.is(Errno::BUSY) {
        " (the interface is in use by another driver or in mode passthru)".to_owned()
    } else {
        String::new()
    };
    Error::Unavailable(format!("failed to create the {driver} port: {error}{hint}"))
}
