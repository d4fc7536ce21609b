//! Making and removing networks.

use std::collections::BTreeMap;

use hull_sys::Result as SysResult;
use rustix::io::Errno;

use super::configuration::refuse_used;
use super::departure::add_leftover;
use super::driver::named_links;
use super::vlan::shares_made_link;
use super::{Networks, cni, extension, lock};
use crate::{Driver, Error, NetworkRequest, Result};

impl Networks {
    /// Makes a network and returns its id. The name must be free.
    pub fn create(&self, request: NetworkRequest) -> Result<String> {
        let request = self.configured(request)?;
        let driver = check(&request)?;
        if driver == Driver::Configuration {
            return self.keep_configuration(request);
        }
        let configuration = cni::configuration(&request, driver)?;
        for name in named_links(&request) {
            self.await_departure(name);
        }
        let occupied = self.occupied()?;
        let network = self.records.change(|rows| {
            let network = self.plan(rows, request, driver, &occupied)?;
            rows.add_network(&network)?;
            if let Some(configuration) = &configuration {
                cni::keep(rows, &network, configuration)?;
            }
            let made = |name: &String| {
                let absent = lock(&self.routes).find(name)?.is_none();
                Ok::<_, Error>(absent || shares_made_link(rows, &network, name)?)
            };
            if network.link()?.as_ref().map_or(Ok(false), made)? {
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
        let mut begun = Vec::new();
        let removed = self.records.change(|rows| {
            let network = rows.network(network)?;
            if network.predefined() {
                return Err(Error::Forbidden(format!(
                    "{} is a pre-defined network and cannot be removed",
                    network.name
                )));
            }
            refuse_used(rows, &network)?;
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
            let extensions = extension::count(rows, &network.id)?;
            let made = rows.made_link(&network.id)?;
            rows.remove_network(&network.id)?;
            extension::forget(rows, &network.id)?;
            cni::forget(rows, &network)?;
            let left = network.link()?.filter(|_| made);
            let left = left.map_or(Ok(None), |link| {
                let shared = shares_made_link(rows, &network, &link)?;
                Ok::<_, Error>((!shared).then_some(link))
            })?;
            for link in extension::removable(&network.id, extensions).chain(left) {
                add_leftover(rows, &link)?;
                self.departing.begin(&link);
                begun.push(link);
            }
            Ok((network, extensions))
        });
        let (network, extensions) =
            removed.inspect_err(|_| begun.iter().for_each(|link| self.departing.end(link)))?;
        // The name is free from here on. Should the rest be cut, the next start removes the link.
        let closed = self.unbuild(&network, extensions);
        let seen_off: Vec<_> = begun.iter().map(|link| self.see_off(link, &network)).collect();
        seen_off.into_iter().collect::<Result<()>>().and(closed)
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

/// How often and at which distance new addresses are made known, as Docker's options say. Here they need not be: an address
/// has its own Ethernet address, and the bridge is told.
fn check_advertisement(options: &BTreeMap<String, String>) -> Result<()> {
    let rules = [
        ("com.docker.network.advertise_addr_nmsgs", 0..=3, "must be an integer"),
        ("com.docker.network.advertise_addr_ms", 100..=2000, "must be integer milliseconds"),
    ];
    for (option, range, wanted) in rules {
        let Some(text) = options.get(option) else { continue };
        let number: i64 = text
            .parse()
            .map_err(|_| Error::Invalid(format!("value for option {option} {text:?} {wanted}")))?;
        if !range.contains(&number) {
            let (first, last) = (range.start(), range.end());
            return Err(Error::Invalid(format!("{option} must be in the range {first} to {last}")));
        }
    }
    Ok(())
}

/// What can be told from the request alone.
fn check(request: &NetworkRequest) -> Result<Driver> {
    check_advertisement(&request.options)?;
    if request.name.trim().is_empty() {
        return Err(Error::Invalid("invalid name: name is empty".to_owned()));
    }
    if crate::PREDEFINED.contains(&request.name.as_str()) || request.name == "default" {
        // The space at its end is Docker's.
        return Err(Error::Forbidden(format!(
            "operation is not permitted on predefined {} network ",
            request.name
        )));
    }
    if request.config_only {
        return Ok(Driver::Configuration);
    }
    match Driver::parse(&request.driver)? {
        Driver::Bridge if request.without_ipv4 && request.ipv6.is_none() => {
            Err(Error::Invalid("IPv4 or IPv6 must be enabled".to_owned()))
        }
        driver @ (Driver::Bridge | Driver::Macvlan | Driver::Ipvlan | Driver::Cni) => Ok(driver),
        driver => Err(Error::Forbidden(format!("only one instance of \"{driver}\" network is allowed"))),
    }
}
