//! Links between containers of a default bridge that keeps them apart (`--icc=false`), as in Docker: who links reaches
//! the ports that the other exposes, while both are there. Elsewhere a link is but a name.
//!
//! The wish is in the row of who links; which ways are open follows from the rows. So the order in which the two come
//! and go does not matter, and a firewall that is made anew has the same ways.

use super::{Networks, lock};
use crate::firewall::Path;
use crate::records::{Recorded, Rows};
use crate::{Endpoint, Link, PREDEFINED, Result, sysctl};

impl Networks {
    /// Whether the endpoint is where containers need links to reach each other.
    pub(super) fn keeps_apart(&self, endpoint: &Endpoint) -> bool {
        !self.config.icc && endpoint.network == PREDEFINED[0]
    }

    /// Opens the ways of an endpoint's links, and of the links to it.
    pub(super) fn open_links(&self, endpoint: &Endpoint) -> Result<()> {
        if !self.keeps_apart(endpoint) {
            return Ok(());
        }
        let opened = {
            let _linking = lock(&self.linking);
            let paths = self.paths_at(endpoint)?;
            if paths.is_empty() {
                return Ok(());
            }
            self.let_firewall_decide()?;
            self.firewall.join(&paths)
        };
        self.healed(opened)
    }

    /// Closes the ways of endpoints. The caller holds `linking` until their rows are gone, so that none is opened again.
    pub(super) fn close_links(&self, endpoints: &[Recorded]) -> Result<()> {
        for recorded in endpoints.iter().filter(|recorded| self.keeps_apart(&recorded.endpoint)) {
            self.firewall.part(&self.paths_at(&recorded.endpoint)?)?;
        }
        Ok(())
    }

    /// Gives a container other links than it had.
    pub fn relink(&self, container: &str, links: &[Link]) -> Result<()> {
        let endpoints = self.records.read(|rows| rows.endpoints_of_container(container))?;
        let Some(recorded) = endpoints.iter().find(|recorded| self.keeps_apart(&recorded.endpoint)) else {
            return Ok(());
        };
        let _linking = lock(&self.linking);
        let before = self.paths_at(&recorded.endpoint)?;
        self.records.change(|rows| rows.set_links(&recorded.endpoint.id, links))?;
        let after = self.paths_at(&recorded.endpoint)?;
        self.firewall.part(&before)?;
        Ok(self.firewall.join(&after)?)
    }

    /// All ways that links open.
    pub(super) fn all_paths(&self, rows: &Rows<'_>) -> Result<Vec<Path>> {
        if self.config.icc {
            return Ok(Vec::new());
        }
        let mut apart = rows.endpoints()?;
        apart.retain(|recorded| self.keeps_apart(&recorded.endpoint));
        Ok(paths(&apart))
    }

    /// The ways from and to an endpoint.
    fn paths_at(&self, endpoint: &Endpoint) -> Result<Vec<Path>> {
        let mut others = self.records.read(|rows| rows.endpoints_of_network(&endpoint.network_id))?;
        let is_target =
            |recorded: &Recorded| recorded.links.iter().any(|link| link.container == endpoint.container);
        let own = others.iter().find(|recorded| recorded.endpoint.id == endpoint.id);
        let wanted: Vec<String> =
            own.into_iter().flat_map(|own| &own.links).map(|link| link.container.clone()).collect();
        others.retain(|other| {
            other.endpoint.id == endpoint.id || is_target(other) || wanted.contains(&other.endpoint.container)
        });
        let involves = |path: &Path| [path.from, path.to].contains(&endpoint.by_family());
        Ok(paths(&others).into_iter().filter(involves).collect())
    }

    /// Has frames between the ports of bridges pass the firewall, which knows links; a bridge itself knows none.
    fn let_firewall_decide(&self) -> Result<()> {
        if sysctl::filters_bridges() {
            return self.follow_bridge_filter();
        }
        for switch in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
            if let Err(error) = sysctl::write(switch, "1") {
                tracing::warn!(
                    "links lead nowhere without the kernel's br_netfilter (modprobe br_netfilter): {error}"
                );
            }
        }
        self.follow_bridge_filter()
    }
}

/// The ways between these endpoints of one network.
fn paths(endpoints: &[Recorded]) -> Vec<Path> {
    let mut paths: Vec<Path> = Vec::new();
    for from in endpoints {
        for link in &from.links {
            let target = endpoints.iter().find(|other| other.endpoint.container == link.container);
            let Some(to) = target.filter(|to| to.endpoint.id != from.endpoint.id) else { continue };
            let (from, to) = (from.endpoint.by_family(), to.endpoint.by_family());
            if !paths.iter().any(|path| (path.from, path.to) == (from, to)) {
                paths.push(Path { from, to, ports: link.ports().to_vec() });
            }
        }
    }
    paths
}
