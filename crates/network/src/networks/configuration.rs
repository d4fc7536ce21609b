//! Networks that are only configurations of others (`docker network create --config-only`): recorded, never built. A
//! network that names one (`--config-from`) is made as the configuration says, with a driver and a reach of its own.

use super::Networks;
use super::plan::{blank, refuse_known};
use crate::network::{Ipam, Ipam6};
use crate::records::Rows;
use crate::{Driver, Error, Network, NetworkRequest, PoolRequest, Result};

impl Networks {
    /// Records a configuration; returns the id of its network.
    pub(super) fn keep_configuration(&self, request: NetworkRequest) -> Result<String> {
        let network = described(request)?;
        self.records.change(|rows| {
            refuse_known(rows, &network.name)?;
            rows.add_network(&network)
        })?;
        Ok(network.id)
    }

    /// The wish with what the configuration says that it names, if it names one.
    pub(super) fn configured(&self, wish: NetworkRequest) -> Result<NetworkRequest> {
        let Some(name) = &wish.config_from else { return Ok(wish) };
        refuse_own(&wish)?;
        let named = self.records.read(|rows| rows.network(name)).ok();
        let configuration = named
            .filter(|network| network.name == *name)
            .and_then(|network| network.configuration)
            .ok_or_else(|| Error::NotFound(format!("configuration network {name:?} does not exist")))?;
        Ok(NetworkRequest {
            name: wish.name,
            driver: wish.driver,
            internal: wish.internal,
            attachable: wish.attachable,
            config_only: false,
            config_from: wish.config_from,
            ..*configuration
        })
    }
}

/// Refuses to remove a configuration that a network was made from.
pub(super) fn refuse_used(rows: &Rows<'_>, network: &Network) -> Result<()> {
    if network.driver == Driver::Configuration && rows.has_made_from(&network.name)? {
        return Err(Error::Forbidden(format!(
            "error while removing network: configuration network {:?} is in use",
            network.name
        )));
    }
    Ok(())
}

/// What a configuration is to say must not be said beside it.
fn refuse_own(wish: &NetworkRequest) -> Result<()> {
    let addresses = wish.subnet.is_some() || wish.ipv6.is_some() || !wish.more.is_empty();
    let managed = wish.ipam_options.as_ref().is_some_and(|options| !options.is_empty());
    if addresses || managed || !wish.labels.is_empty() {
        let text = "user specified configurations are not supported if the network depends on a configuration network";
        return Err(Error::Forbidden(text.to_owned()));
    }
    if !wish.options.is_empty() {
        let text =
            "network driver options are not supported if the network depends on a configuration network";
        return Err(Error::Forbidden(text.to_owned()));
    }
    Ok(())
}

/// A configuration as a network that shows what was asked for.
fn described(request: NetworkRequest) -> Result<Network> {
    let mut network = blank(&request.name, Driver::Configuration)?;
    let first = request.subnet.map(|subnet| PoolRequest {
        subnet,
        gateway: request.gateway,
        range: request.range,
        auxiliary: request.auxiliary.clone(),
    });
    let v4 = first.into_iter().chain(request.more.iter().cloned());
    network.ipam = v4
        .map(|PoolRequest { subnet, gateway, range, auxiliary }| Ipam {
            subnet,
            gateway,
            range,
            auxiliary,
            chosen: true,
            names_gateway: true,
        })
        .collect();
    let v6 = request.ipv6.iter().chain(&request.more6);
    network.ipam6 = v6
        .filter_map(|pool| {
            let (gateway, range, auxiliary) = (pool.gateway, pool.range, pool.auxiliary.clone());
            Some(Ipam6 { subnet: pool.subnet?, gateway, range, auxiliary, chosen: true, names_gateway: true })
        })
        .collect();
    network.idle.clone_from(&request.idle);
    network.ipam_options.clone_from(&request.ipam_options);
    network.options.clone_from(&request.options);
    network.labels.clone_from(&request.labels);
    network.configuration = Some(Box::new(request));
    Ok(network)
}
