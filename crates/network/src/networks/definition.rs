//! Making and removing networks.

use hull_sys::Result as SysResult;
use rustix::io::Errno;

use super::driver::needed_link;
use super::{Networks, lock};
use crate::records::Rows;
use crate::{Driver, Error, NetworkRequest, Result};

const LEFTOVERS: &str = "leftovers";

impl Networks {
    /// Makes a network and returns its id. The name must be free.
    pub fn create(&self, request: NetworkRequest) -> Result<String> {
        let driver = check(&request)?;
        let (occupied, links) = (self.occupied()?, lock(&self.routes).links()?);
        let network = self.records.change(|rows| {
            let network = self.plan(rows, request, driver, &occupied)?;
            rows.add_network(&network)?;
            let absent = |name: &String| !links.iter().any(|link| link.name == *name);
            if needed_link(&network)?.is_some_and(|name| absent(&name)) {
                // Before it is made: one that a crash leaves is known for ours.
                rows.set_made_link(&network.id)?;
            }
            Ok(network)
        })?;
        match self.build(&network) {
            Ok(()) => Ok(network.id),
            Err(error) => {
                self.records.change(|rows| rows.remove_network(&network.id))?;
                Err(error)
            }
        }
    }

    /// Removes a network without endpoints.
    pub fn remove(&self, network: &str) -> Result<()> {
        let network = self.records.change(|rows| {
            let network = rows.network(network)?;
            if network.predefined() {
                return Err(Error::Forbidden(format!(
                    "{} is a pre-defined network and cannot be removed",
                    network.name
                )));
            }
            let endpoints = rows.endpoints_of_network(&network.id)?;
            if !endpoints.is_empty() {
                let users = endpoints.iter().map(|recorded| &recorded.endpoint);
                let users: Vec<_> = users
                    .map(|user| {
                        format!("name:{:?} id:{:?}", user.name, user.id.get(..12).unwrap_or(&user.id))
                    })
                    .collect();
                return Err(Error::Forbidden(format!(
                    "error while removing network: network {} has active endpoints ({})",
                    network.name,
                    users.join(", ")
                )));
            }
            let made = rows.made_link(&network.id)?;
            rows.remove_network(&network.id)?;
            if let Some(link) = needed_link(&network)?.filter(|_| made) {
                add_leftover(rows, &link)?;
            }
            Ok(network)
        })?;
        // The name is free from here on. Should the rest be cut, the next start removes the link.
        self.unbuild(&network)?;
        self.remove_leftovers()
    }

    /// Removes the bridges of removed networks.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let leftovers = self.records.read(leftovers)?;
        if leftovers.is_empty() {
            return Ok(());
        }
        for bridge in &leftovers {
            self.unlink(bridge)?;
        }
        self.records.change(|rows| {
            let mut rest = self::leftovers(rows)?;
            rest.retain(|bridge| !leftovers.contains(bridge));
            rows.set_fact(LEFTOVERS, &rest)
        })
    }

    /// A change of the firewall's sets that failed because somebody has removed the table: the table is made anew
    /// from the records, which have the change already.
    pub(super) fn healed(&self, result: SysResult<()>) -> Result<()> {
        match result {
            Err(error) if error.is(Errno::NOENT) => self.rebuild_firewall(),
            result => Ok(result?),
        }
    }
}

/// The bridges of removed networks that may still be there.
fn leftovers(rows: &Rows<'_>) -> Result<Vec<String>> {
    Ok(rows.fact(LEFTOVERS)?.unwrap_or_default())
}

fn add_leftover(rows: &Rows<'_>, bridge: &str) -> Result<()> {
    let mut all = leftovers(rows)?;
    all.push(bridge.to_owned());
    rows.set_fact(LEFTOVERS, &all)
}

/// What can be told from the request alone.
fn check(request: &NetworkRequest) -> Result<Driver> {
    if request.name.trim().is_empty() {
        return Err(Error::Invalid("invalid name: name is empty".to_owned()));
    }
    if crate::PREDEFINED.contains(&request.name.as_str()) {
        return Err(Error::Forbidden(format!(
            "operation is not permitted on predefined {} network",
            request.name
        )));
    }
    match Driver::parse(&request.driver)? {
        Driver::Bridge => Ok(Driver::Bridge),
        driver => Err(Error::Forbidden(format!("only one instance of \"{driver}\" network is allowed"))),
    }
}
