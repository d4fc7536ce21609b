//! Legacy links (`--link db:alias`): the other container is known by its alias in /etc/hosts and by variables.
//!
//! On the default bridge it is reached also where that keeps containers apart (`--icc=false`), at the ports it exposes.
//!
//! The record holds "<id>:<alias>". The other container must run when this one starts; when it starts again with
//! another address, the files of those that link to it are written anew.

use std::collections::HashMap;
use std::sync::Arc;

use hull_network::LinkedName;

use crate::model::{Container, HostConfig, NetworkMode};
use crate::networks::wire_protocol;
use crate::{Engine, Error, Result};

/// Variables of the other container that are its own business.
const PRIVATE: [&str; 2] = ["HOME", "PATH"];

/// The network of legacy links.
const DEFAULT: &str = hull_network::PREDEFINED[0];

/// A container that another one links to, while both are in one network.
pub(crate) struct Linked {
    other: Arc<Container>,
    alias: String,
    address: String,
}

impl Linked {
    /// Its line in /etc/hosts: address and names.
    pub(crate) fn host(&self) -> (&str, String) {
        let mut names = vec![self.alias.as_str(), &self.other.config.hostname];
        if self.alias != self.other.name {
            names.push(&self.other.name);
        }
        (&self.address, names.join(" "))
    }

    /// What `container` gets in its environment.
    fn variables(&self, container: &Container) -> Vec<String> {
        let prefix = self.alias.to_uppercase().replace('-', "_");
        let mut variables = Vec::new();
        for (number, port) in
            self.other.config.exposed_ports.iter().flat_map(|ports| ports.each()).enumerate()
        {
            let (address, number_of, protocol) = (&self.address, port.number, port.protocol.name());
            let url = format!("{protocol}://{address}:{number_of}");
            if number == 0 {
                variables.push(format!("{prefix}_PORT={url}"));
            }
            let name = format!("{prefix}_PORT_{number_of}_{}", protocol.to_uppercase());
            variables.push(format!("{name}={url}"));
            variables.push(format!("{name}_ADDR={address}"));
            variables.push(format!("{name}_PORT={number_of}"));
            variables.push(format!("{name}_PROTO={protocol}"));
        }
        variables.push(format!("{prefix}_NAME=/{}/{}", container.name, self.alias));
        let shown =
            |variable: &&String| variable.split_once('=').is_some_and(|(name, _)| !PRIVATE.contains(&name));
        variables
            .extend(self.other.config.env.iter().filter(shown).map(|text| format!("{prefix}_ENV_{text}")));
        variables
    }
}

/// The id of the container that `owner` links to by `alias`.
pub(crate) fn target<'c>(owner: &'c Container, alias: &str) -> Option<&'c str> {
    let mut links = owner.host.links.iter().flatten().filter_map(|link| parse(link).ok());
    links.find(|(_, other)| *other == alias).map(|(id, _)| id)
}

/// Takes "name:alias", "name" or what `inspect` shows, "/name:/owner/alias", apart.
fn parse(text: &str) -> Result<(&str, &str)> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let name = name.trim_start_matches('/');
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    if text.is_empty() {
        return Err(Error::invalid("empty string specified for links"));
    }
    match name.is_empty() || alias.is_empty() || alias.contains([':', ' ', '\t', '\n']) {
        true => Err(Error::invalid(format!("bad format for links: {text}"))),
        false => Ok((name, alias)),
    }
}

/// Refuses links that are none.
pub(crate) fn check(links: &[String]) -> Result<()> {
    links.iter().try_for_each(|link| parse(link).map(drop))
}

/// The aliases of a container's links. One that was made with a network means whom it names there, and nowhere else.
pub(crate) fn aliases(container: &Container) -> Vec<LinkedName> {
    // The container's own are those of the network that it was made for, if it is known by that name.
    let first =
        Some(&container.host.network_mode).filter(|mode| container.network.networks.contains_key(*mode));
    let first = first.map(|mode| mode.to_lowercase());
    let own = container.host.links.iter().flatten().map(|link| (first.clone(), link));
    let of_networks = container.network.networks.iter().flat_map(|(network, endpoint)| {
        endpoint.links.iter().flatten().map(move |link| (Some(network.to_lowercase()), link))
    });
    let read = of_networks.chain(own).filter_map(|(network, link)| Some((network, parse(link).ok()?)));
    read.map(|(network, (name, alias))| {
        let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let means = if is_id { &name[..12] } else { name }.to_lowercase();
        LinkedName { name: alias.to_lowercase(), means, network }
    })
    .collect()
}

impl Engine {
    /// Finds those that a container on its way wants links to.
    pub(crate) fn adapt_links(&self, host: &mut HostConfig) -> Result<()> {
        if NetworkMode::parse(&host.network_mode).is_user_defined() {
            // There a link is but a name, that one may have who comes later: see `aliases`.
            return check(host.links.as_deref().unwrap_or_default());
        }
        let own_network = host.network_mode != "host";
        for link in host.links.iter_mut().flatten() {
            let (name, alias) = parse(link)?;
            let other = self.linked_to(name)?;
            if !own_network || other.host.network_mode == "host" {
                return Err(Error::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in \
                     undefined behavior",
                ));
            }
            *link = format!("{}:{alias}", other.id);
        }
        Ok(())
    }

    /// The container of that name, or the one whose network it uses.
    fn linked_to(&self, name: &str) -> Result<Arc<Container>> {
        let find = |name: &str| {
            self.container(name)
                .map_err(|error| Error::invalid(format!("could not get container for {name}: {error}")))
        };
        let mut other = find(name)?;
        while let NetworkMode::Container(owner) = NetworkMode::parse(&other.host.network_mode) {
            other = find(&owner)?;
        }
        Ok(other)
    }

    /// Refuses the start of a container whose links lead nowhere.
    pub(crate) fn require_links(&self, container: &Container) -> Result<()> {
        let on_default = container.network.networks.contains_key(DEFAULT);
        if !on_default || NetworkMode::parse(&container.host.network_mode).is_user_defined() {
            return Ok(());
        }
        for link in container.host.links.iter().flatten() {
            let (id, alias) = parse(link)?;
            // Not found would be the container that is to start.
            let other = self.container(id).map_err(|error| Error::conflict(error.message))?;
            if !other.network.networks.contains_key(DEFAULT) {
                let name = &other.name;
                return Err(Error::conflict(format!(
                    "Cannot link to /{name}, as it does not belong to the default network"
                )));
            }
            if !other.state.status.is_running() {
                return Err(Error::conflict(format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    other.name, container.name
                )));
            }
        }
        Ok(())
    }

    /// Those that a container links to and that run, on the default bridge: in other networks links are names, which
    /// the name server knows as long as they mean somebody.
    pub(crate) fn linked(&self, container: &Container) -> Vec<Linked> {
        let Some(own) = container.network.networks.get(DEFAULT) else { return Vec::new() };
        let elsewhere = NetworkMode::parse(&container.host.network_mode).is_user_defined();
        let links = container.host.links.iter().filter(|_| !elsewhere).chain(own.links.as_ref());
        let mut found: Vec<Linked> = Vec::new();
        for link in links.flatten() {
            let Ok((name, alias)) = parse(link) else { continue };
            let Ok(other) = self.container(name) else { continue };
            let Some(endpoint) = other.network.networks.get(DEFAULT) else { continue };
            let address = endpoint.ip_address.clone();
            if !address.is_empty() && found.iter().all(|linked| linked.alias != alias) {
                found.push(Linked { other, alias: alias.to_owned(), address });
            }
        }
        found
    }

    /// Whom a container reaches by its links in a network, and at which ports.
    pub(crate) fn reached_by_links(&self, container: &Container, network: &str) -> Vec<hull_network::Link> {
        if network != DEFAULT || NetworkMode::parse(&container.host.network_mode).is_user_defined() {
            return Vec::new();
        }
        let links = container.host.links.iter().flatten().filter_map(|link| parse(link).ok());
        let others = links.filter_map(|(id, _)| self.container(id).ok());
        let reached = |other: Arc<Container>| {
            let ports = other.config.exposed_ports.iter().chain(other.host.port_bindings.keys());
            let wire = ports.map(|ports| (wire_protocol(ports.protocol), ports.first..=ports.last));
            hull_network::Link::new(&other.id, wire)
        };
        others.map(reached).collect()
    }

    /// The variables of all links.
    pub(crate) fn link_variables(&self, container: &Container) -> Vec<String> {
        self.linked(container).iter().flat_map(|linked| linked.variables(container)).collect()
    }

    /// Tells those that link to a container its new address.
    pub(crate) fn renew_links_to(&self, container: &Container) {
        for other in self.containers().iter().filter(|other| other.state.status.is_running()) {
            if self.linked(other).iter().any(|linked| linked.other.id == container.id)
                && let Err(error) = self.write_hosts(other)
            {
                tracing::warn!(container = other.id, "renew its links: {error}");
            }
        }
    }

    /// What the owners of links among `containers` call those they link to: "/owner/alias", by the other's id.
    pub fn link_names(containers: &[Arc<Container>]) -> HashMap<String, Vec<String>> {
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for owner in containers {
            for (id, alias) in owner.host.links.iter().flatten().filter_map(|link| parse(link).ok()) {
                names.entry(id.to_owned()).or_default().push(format!("/{}/{alias}", owner.name));
            }
        }
        names
    }

    /// Removes the link "owner/alias"; the containers stay.
    pub async fn remove_link(&self, name: &str) -> Result<()> {
        self.container(name)?;
        let Some((owner, alias)) = name.trim_start_matches('/').split_once('/') else {
            return Err(Error::conflict("Conflict, cannot remove the default link name of the container"));
        };
        let entry = self.containers.find(owner)?;
        let _gate = entry.enter().await?;
        let is_it = |link: &String| parse(link).is_ok_and(|(_, other)| other == alias);
        let container = self.change(&entry, |container| {
            if let Some(links) = &mut container.host.links {
                links.retain(|link| !is_it(link));
            }
            container.host.links.take_if(|links| links.is_empty());
        })?;
        if !container.state.status.is_running() {
            return Ok(());
        }
        self.networks.relink(&container.id, &self.reached_by_links(&container, DEFAULT))?;
        self.write_hosts(&container)
    }

    /// A container's links as `inspect` shows them: "/name:/owner/alias". Those of a user's network are its endpoint's.
    pub fn links(&self, container: &Container) -> Option<Vec<String>> {
        if NetworkMode::parse(&container.host.network_mode).is_user_defined() {
            return None;
        }
        let shown = |link: &String| {
            let (id, alias) = parse(link).ok()?;
            let other = self.container(id).ok()?;
            Some(format!("/{}:/{}/{alias}", other.name, container.name))
        };
        let links = container.host.links.iter().flatten().filter_map(shown).collect::<Vec<_>>();
        Some(links).filter(|links| !links.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    #[test]
    fn links_are_read_in_every_form() {
        assert_eq!(parse("db").unwrap(), ("db", "db"));
        assert_eq!(parse("db:store").unwrap(), ("db", "store"));
        assert_eq!(parse("/db:/web/store").unwrap(), ("db", "store"));
        for wrong in ["", ":store", "db:", "db:a:b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variables_are_dockers() {
        let mut other = fixture();
        other.config.exposed_ports = ["5432".parse().unwrap()].into();
        other.config.env = vec!["PATH=/bin".into(), "USER=me".into()];
        let linked = Linked { other: Arc::new(other), alias: "my-db".into(), address: "10.0.0.2".into() };
        assert_eq!(
            linked.variables(&fixture()),
            [
                "MY_DB_PORT=tcp://10.0.0.2:5432",
                "MY_DB_PORT_5432_TCP=tcp://10.0.0.2:5432",
                "MY_DB_PORT_5432_TCP_ADDR=10.0.0.2",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_NAME=/quiet_cook/my-db",
                "MY_DB_ENV_USER=me",
            ]
        );
        assert_eq!(linked.host(), ("10.0.0.2", "my-db 0123456789ab quiet_cook".to_owned()));
    }
}
