//! Making the records and the kernel agree, after a restart of the daemon or of the host.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::attach::target;
use super::{Bridged, Networks, extension, lock};
use crate::firewall::{Contents, Watch};
use crate::records::{Recorded, is_link_name};
use crate::route::Link;
use crate::{Published, Result, bridge, sysctl};

const FORWARDING: &str = "forwarding";

/// What [`Networks::reconcile`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Endpoints whose container or link does not exist any more, removed.
    pub endpoints: usize,
    /// Links of the host that belonged to no endpoint, removed.
    pub links: usize,
    /// Published ports that could not be reserved again: another program has taken them meanwhile.
    pub lost_ports: Vec<Published>,
}

/// That Hull has switched forwarding on, in this life of the host, and for whom it was not meant.
#[derive(serde::Serialize, serde::Deserialize)]
struct Forwarding {
    boot: String,
    unrouted: Vec<String>,
}

impl Networks {
    /// Makes records and kernel agree after a restart: endpoints of containers that are not in `live` (ids) are
    /// removed with their links, links without an endpoint are removed, ports are reserved again, the firewall
    /// table is installed anew. To be called once after `open`, before anything is connected.
    pub fn reconcile(&self, live: &HashSet<String>) -> Result<Reconciled> {
        // Links first: the row of a link that is made meanwhile is older than the link.
        let links = lock(&self.routes).links()?;
        let endpoints = self.records.read(|rows| rows.endpoints())?;
        let listed = |name: String| links.iter().any(|link| link.name == name);
        let present = |recorded: &Recorded| recorded.host_link().is_none_or(listed);
        let (kept, gone): (Vec<_>, Vec<_>) = endpoints
            .into_iter()
            .partition(|recorded| live.contains(&recorded.endpoint.container) && present(recorded));
        self.forget(&gone)?;
        let mut reconciled = Reconciled { endpoints: gone.len(), ..Reconciled::default() };
        for link in self.strays(&links, &kept, &gone)? {
            lock(&self.routes).remove(&link)?;
            reconciled.links += 1;
        }
        self.rejoin(&links, &kept)?;
        self.reconcile_cni(&kept)?;
        for recorded in &kept {
            let endpoint = &recorded.endpoint;
            reconciled.lost_ports.extend(self.ports.restore(
                &endpoint.id,
                &endpoint.ports,
                endpoint.by_family(),
            ));
        }
        self.rebuild_firewall()?;
        Ok(reconciled)
    }

    /// Links of forgotten endpoints, and ports of our bridges that look like ours and belong to no endpoint.
    fn strays(&self, links: &[Link], kept: &[Recorded], gone: &[Recorded]) -> Result<Vec<String>> {
        let names = |endpoints: &[Recorded]| endpoints.iter().map(Recorded::link).collect::<HashSet<_>>();
        let (kept, gone) = (names(kept), names(gone));
        let mut bridges = HashSet::new();
        for (network, bridge) in self.bridges()? {
            bridges.extend(extension::links_of(&network, links, true));
            bridges.insert(bridge);
        }
        let ours: HashSet<u32> =
            links.iter().filter(|link| bridges.contains(&link.name)).map(|link| link.index).collect();
        let stray = |link: &&Link| {
            let port = ours.contains(&link.bridge) && is_link_name(&link.name) && !kept.contains(&link.name);
            gone.contains(&link.name) || port
        };
        Ok(links.iter().filter(stray).map(|link| link.name.clone()).collect())
    }

    /// Ports whose bridge was removed and made again.
    fn rejoin(&self, links: &[Link], kept: &[Recorded]) -> Result<()> {
        let bridges = self.bridges()?;
        for recorded in kept {
            let name = recorded.link();
            let alone = links.iter().find(|link| link.name == name && link.bridge == 0);
            let bridge = bridges.get(&recorded.endpoint.network_id);
            let (Some(link), Some(bridge)) = (alone, bridge) else { continue };
            let mut routes = lock(&self.routes);
            if let Some(bridge) = routes.find(bridge)? {
                routes.enslave(link.index, &name, bridge.index)?;
            }
        }
        Ok(())
    }

    /// At the start: bridges, forwarding, the firewall. Endpoints are recorded, whether they still live is not known.
    pub(super) fn restore(&self) -> Result<()> {
        self.remove_leftovers()?;
        let networks = self.records.read(|rows| rows.networks())?;
        for network in &networks {
            if let Some(bridged) = Bridged::of(network)? {
                bridge::ensure(&mut lock(&self.routes), &bridged.settings, network)?;
            }
        }
        if self.config.forward {
            self.remember_forwarding()?;
        }
        // The table stands before packets may pass.
        self.rebuild_firewall()?;
        if networks.iter().any(|network| !network.ipam6.is_empty()) {
            self.forward_ipv6()?;
        }
        match self.config.forward && sysctl::read("ipv4/ip_forward")? == "0" {
            true => Ok(sysctl::write("ipv4/ip_forward", "1")?),
            false => Ok(()),
        }
    }

    /// Notes which interfaces the host did not forward between before Hull makes it forward.
    fn remember_forwarding(&self) -> Result<()> {
        if sysctl::read("ipv4/ip_forward")? != "0" {
            return Ok(());
        }
        let links = lock(&self.routes).links()?;
        let ours: HashSet<String> = self.bridges()?.into_values().collect();
        let names = links.into_iter().map(|link| link.name);
        let unrouted = names.filter(|name| name != "lo" && !ours.contains(name)).collect();
        let forwarding = Forwarding { boot: boot_id()?, unrouted };
        self.records.change(|rows| rows.set_fact(FORWARDING, &forwarding))
    }

    /// Makes the host forward IPv6, which the first network with IPv6 needs. The host's own interfaces stay hosts'
    /// interfaces as far as routers on their links are concerned: they go on learning their routes from them.
    pub(super) fn forward_ipv6(&self) -> Result<()> {
        const ALL: &str = "ipv6/conf/all/forwarding";
        if !self.config.forward || !self.ipv6 || sysctl::read(ALL)? != "0" {
            return Ok(());
        }
        let ours: HashSet<String> = self.bridges()?.into_values().collect();
        let links = lock(&self.routes).links()?;
        sysctl::write(ALL, "1")?;
        for link in links.iter().filter(|link| link.name != "lo" && !ours.contains(&link.name)) {
            let name = format!("ipv6/conf/{}/forwarding", link.name);
            match sysctl::write(&name, "0") {
                // It has just gone, or has no IPv6.
                Err(error) if error.is(Errno::NOENT) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Replaces the firewall table by what is recorded.
    pub fn rebuild_firewall(&self) -> Result<()> {
        Ok(self.firewall.rebuild(&self.contents()?)?)
    }

    /// Notices of changes of the firewall that somebody else makes.
    pub fn watch_firewall(&self) -> Result<Watch> {
        Ok(hull_sys::netns::within(self.namespace.as_fd(), || self.firewall.watch())??)
    }

    /// What the firewall is to have, by the records.
    fn contents(&self) -> Result<Contents> {
        let boot = boot_id()?;
        let links = lock(&self.routes).links()?;
        self.records.read(|rows| {
            let mut contents = Contents { paths: self.all_paths(rows)?, ..Contents::default() };
            let networks = rows.networks()?;
            for network in &networks {
                let Some(bridged) = Bridged::of(network)? else { continue };
                let passage = bridged.passage();
                let extensions = extension::links_of(&network.id, &links, true);
                contents
                    .passages
                    .extend(extensions.iter().map(|bridge| extension::passage(bridge, &passage)));
                contents.passages.push(passage);
            }
            for recorded in rows.endpoints()? {
                let id = &recorded.endpoint.network_id;
                let network = networks.iter().find(|network| network.id == *id);
                contents.targets.extend(
                    network.map(|network| target(network, &recorded.endpoint)).transpose()?.flatten(),
                );
            }
            let forwarding = rows.fact::<Forwarding>(FORWARDING)?;
            let unrouted = forwarding.filter(|fact| fact.boot == boot && !self.config.forward_others);
            contents.unrouted = unrouted.map(|fact| fact.unrouted).unwrap_or_default();
            Ok(contents)
        })
    }

    /// The bridges of all networks by the networks' ids.
    fn bridges(&self) -> Result<HashMap<String, String>> {
        let networks = self.records.read(|rows| rows.networks())?;
        let mut names = HashMap::new();
        for network in &networks {
            names.extend(Bridged::of(network)?.map(|bridged| (network.id.clone(), bridged.settings.bridge)));
        }
        Ok(names)
    }

    /// Installs the firewall table again if it is not what it should be. Says whether it was not.
    pub fn heal(&self) -> Result<bool> {
        let stands = self.firewall.stands(&self.contents()?)?;
        if !stands {
            self.rebuild_firewall()?;
        }
        Ok(!stands)
    }

    /// Follows the host's switch for filtering on bridges, which decides how the ports of bridges are to be.
    pub(super) fn follow_bridge_filter(&self) -> Result<()> {
        let filtered = sysctl::filters_bridges();
        match self.filtered.swap(filtered, Ordering::Relaxed) != filtered {
            true => self.set_port_modes(filtered),
            false => Ok(()),
        }
    }

    fn set_port_modes(&self, filtered: bool) -> Result<()> {
        let links = lock(&self.routes).links()?;
        let endpoints = self.records.read(|rows| rows.endpoints())?;
        for network in self.records.read(|rows| rows.networks())? {
            let Some(bridged) = Bridged::of(&network)? else { continue };
            let own = links.iter().find(|link| link.name == bridged.settings.bridge).map(|link| link.index);
            let mode = |port: &str, publishes| {
                let at = links.iter().find(|link| link.name == port).map(|link| link.bridge);
                bridge::port_mode(&bridged.settings, publishes, filtered, at != own)
            };
            let of_network = endpoints.iter().filter(|recorded| recorded.endpoint.network_id == network.id);
            let ports = of_network.map(|recorded| (recorded.link(), !recorded.endpoint.ports.is_empty()));
            let joints =
                extension::links_of(&network.id, &links, false).into_iter().map(|name| (name, false));
            for (port, publishes) in ports.chain(joints) {
                match lock(&self.routes).set_port_mode(&port, mode(&port, publishes)) {
                    // It is just ending.
                    Err(error) if error.is(Errno::NODEV) => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }
}

/// Changes with every start of the host's kernel.
fn boot_id() -> Result<String> {
    use hull_sys::Context;
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).on("read", path)?.trim().to_owned())
}
