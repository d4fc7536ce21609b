//! Links of networks that are removed: nobody waits for the kernel to take them down.
//!
//! RTM_DELLINK of a bridge takes some 20 ms. The network's name and its addresses are free before; only who needs a link
//! of the same name waits. The records hold the names until the links are gone, so a start goes on with what was cut.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use hull_sys::Context;

use super::{Networks, lock};
use crate::records::Rows;
use crate::route::Routes;
use crate::{Network, Result, bridge};

const LEFTOVERS: &str = "leftovers";

/// The names of links that a thread is removing.
#[derive(Debug, Default)]
pub(super) struct Departing {
    names: Mutex<HashSet<String>>,
    gone: Condvar,
}

impl Departing {
    /// To be called before the network's name is free.
    pub(super) fn begin(&self, name: &str) {
        lock(&self.names).insert(name.to_owned());
    }

    pub(super) fn end(&self, name: &str) {
        lock(&self.names).remove(name);
        self.gone.notify_all();
    }
}

impl Networks {
    /// Frees a link's addresses, and leaves the link itself, which is departing, to a thread.
    pub(super) fn see_off(&self, name: &str, network: &Network) -> Result<()> {
        let freed = lock(&self.routes).free_addresses(name, &bridge::addresses(network)?);
        let routes = Routes::inside(self.namespace.as_fd());
        let mut routes = match freed.and(routes) {
            Ok(routes) => routes,
            Err(error) => {
                self.departing.end(name);
                return Err(error.into());
            }
        };
        let (departing, records, link) = (Arc::clone(&self.departing), self.records.clone(), name.to_owned());
        let thread = std::thread::Builder::new().name("unlink".to_owned()).stack_size(128 << 10);
        let spawned = thread.spawn(move || {
            let removed = routes.remove(&link).map_err(Into::into);
            // What fails here is tried again at the next opening.
            if let Err(error) = removed.and_then(|()| records.change(|rows| forget_leftover(rows, &link))) {
                tracing::warn!("remove link {link}: {error}");
            }
            departing.end(&link);
        });
        if spawned.is_err() {
            self.departing.end(name);
        }
        Ok(spawned.map(drop).op("spawn thread")?)
    }

    /// Waits until no link of this name is on its way out.
    pub(super) fn await_departure(&self, name: &str) {
        let names = lock(&self.departing.names);
        // Whoever panicked has left nothing that matters here.
        drop(
            self.departing
                .gone
                .wait_while(names, |names| names.contains(name))
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// At the start: removes what a crash has left of removed networks.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        for link in self.records.read(leftovers)? {
            self.unlink(&link)?;
            self.records.change(|rows| forget_leftover(rows, &link))?;
        }
        Ok(())
    }
}

/// The links of removed networks that may still be there.
fn leftovers(rows: &Rows<'_>) -> Result<Vec<String>> {
    Ok(rows.fact(LEFTOVERS)?.unwrap_or_default())
}

pub(super) fn add_leftover(rows: &Rows<'_>, link: &str) -> Result<()> {
    let mut all = leftovers(rows)?;
    all.push(link.to_owned());
    rows.set_fact(LEFTOVERS, &all)
}

fn forget_leftover(rows: &Rows<'_>, link: &str) -> Result<()> {
    let mut all = leftovers(rows)?;
    all.retain(|other| other != link);
    rows.set_fact(LEFTOVERS, &all)
}
