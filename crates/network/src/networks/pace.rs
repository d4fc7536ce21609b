//! How fast containers send and receive.

use std::os::fd::BorrowedFd;

use super::{Networks, lock};
use crate::route::Routes;
use crate::{Error, Result};

/// The most bytes a second on each of a container's links; zero is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// To the container.
    pub inward: u64,
    /// From the container.
    pub outward: u64,
}

impl Networks {
    /// Sets the rates of every link of a container whose namespace this is; the links keep them as long as they live.
    ///
    /// What comes in waits at the outer end, what goes out at the inner one: only the sending end of a link has a queue.
    pub fn pace(&self, namespace: BorrowedFd<'_>, container: &str, rates: Rates) -> Result<()> {
        let mut inside = Routes::inside(namespace)?;
        for recorded in self.records.read(|rows| rows.endpoints_of_container(container))? {
            match recorded.host_link() {
                Some(link) => lock(&self.routes).pace(&link, rates.inward)?,
                None if rates.inward == 0 => {}
                None => {
                    return Err(Error::NotSupported(format!(
                        "network {} cannot hold a rate inwards: what comes to a link of {} is sent by the wire, not by this host",
                        recorded.endpoint.network, recorded.driver
                    )));
                }
            }
            inside.pace(&recorded.endpoint.interface, rates.outward)?;
        }
        Ok(())
    }
}
