//! More containers on a network than a bridge has ports.
//!
//! The kernel gives a bridge 1,023 ports. A network that comes near gets further bridges, *extensions*, each joined to
//! the network's own by a veth pair: one link layer, one subnet, one address of the host, which is the network's own
//! bridge's. Containers that have come first stay where they are. The names follow from the network's id and a
//! recorded number, so that a crash cannot lose them; what is left over is removed with the network.

use rustix::io::Errno;

use super::{Bridged, Networks, lock};
use crate::firewall::{Passage, Way};
use crate::records::Rows;
use crate::route::Link;
use crate::{MacAddr, Result, bridge, sysctl};

/// Ports of a network's own bridge for containers; the others are for extensions, and the administrator's.
const OWN_PORTS: u32 = 960;
/// As many extensions as there are ports left.
const EXTENSIONS: usize = 60;

/// The names of an extension and of the pair that joins it: its bridge, the end at the network's own bridge, its end.
struct Names {
    bridge: String,
    above: String,
    below: String,
}

impl Names {
    fn of(network: &str, number: usize) -> Self {
        let short = network.get(..8).unwrap_or(network);
        let name = |kind: &str| format!("{kind}{short}-{number}");
        Self { bridge: name("bx"), above: name("bu"), below: name("bd") }
    }
}

/// How many extensions a network has, or is about to have.
pub(super) fn count(rows: &Rows<'_>, network: &str) -> Result<usize> {
    Ok(rows.fact(&key(network))?.unwrap_or_default())
}

/// Forgets how many.
pub(super) fn forget(rows: &Rows<'_>, network: &str) -> Result<()> {
    rows.remove_fact(&key(network))
}

fn key(network: &str) -> String {
    format!("extensions:{network}")
}

/// The bridges of so many extensions.
pub(super) fn bridges(network: &str, extensions: usize) -> impl Iterator<Item = String> {
    (1..=extensions).map(move |number| Names::of(network, number).bridge)
}

/// All links of so many extensions that others do not go with, in the order in which they can be removed.
pub(super) fn removable(network: &str, extensions: usize) -> impl Iterator<Item = String> {
    let joints = (1..=extensions).map(move |number| Names::of(network, number).above);
    joints.chain(bridges(network, extensions))
}

/// The links of a network's extensions: the bridges if `bridges`, else the upper ends of the pairs.
pub(super) fn links_of(network: &str, links: &[Link], bridges: bool) -> Vec<String> {
    let short = network.get(..8).unwrap_or(network);
    let prefix = format!("{}{short}-", if bridges { "bx" } else { "bu" });
    let names = links.iter().map(|link| &link.name);
    names.filter(|name| name.starts_with(&prefix)).cloned().collect()
}

/// What the firewall knows of an extension: what it knows of the network's own bridge, but for the subnets. Its ports are
/// kept apart by the bridge, where they are to be, and all that may pass at the network's own may pass here.
pub(super) fn passage(bridge: &str, own: &Passage) -> Passage {
    let bridge = bridge.to_owned();
    Passage { bridge, icc: true, subnet: None, subnet6: None, ways: [Way::Nat; 2], ..own.clone() }
}

impl Networks {
    /// The bridge that a further container of the network gets its port at.
    pub(super) fn bridge_with_room(&self, bridged: &Bridged<'_>, own: u32) -> Result<u32> {
        let containers = self.records.read(|rows| rows.count_endpoints(&bridged.network.id))?;
        if containers <= OWN_PORTS {
            return Ok(own);
        }
        let links = lock(&self.routes).links()?;
        for number in 1..=EXTENSIONS {
            let names = Names::of(&bridged.network.id, number);
            let Some(bridge) = links.iter().find(|link| link.name == names.bridge) else {
                // Before it is made: one that a crash leaves is known for ours.
                let id = &bridged.network.id;
                self.records.change(|rows| rows.set_fact(&key(id), &count(rows, id)?.max(number)))?;
                return self.extend(bridged, own, &names);
            };
            let ports = links.iter().filter(|link| link.bridge == bridge.index).count();
            if ports <= OWN_PORTS as usize {
                return Ok(bridge.index);
            }
        }
        Err(hull_sys::Error::new("add port to bridge", &bridged.settings.bridge, Errno::XFULL).into())
    }

    /// Makes an extension. Whatever of it a crash has left is used.
    fn extend(&self, bridged: &Bridged<'_>, own: u32, names: &Names) -> Result<u32> {
        let settings = &bridged.settings;
        self.healed(self.firewall.open(&passage(&names.bridge, &bridged.passage())))?;
        let mut routes = lock(&self.routes);
        routes.add_bridge(&names.bridge, MacAddr::random()?, settings.mtu)?;
        routes.remove(&names.above)?;
        routes.add_joint(&names.above, &names.below, settings.mtu)?;
        if sysctl::has_ipv6() {
            for name in [&names.bridge, &names.above, &names.below] {
                sysctl::write(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
            }
        }
        let index = |link: Option<Link>, name: &str| match link {
            Some(link) => Ok(link.index),
            None => Err(hull_sys::Error::new("find link", name, Errno::NODEV)),
        };
        let bridge = index(routes.find(&names.bridge)?, &names.bridge)?;
        for (end, master) in [(&names.above, own), (&names.below, bridge)] {
            let link = index(routes.find(end)?, end)?;
            routes.enslave(link, end, master)?;
        }
        // What is behind it is apart from the containers at the network's own bridge, too.
        let filtered = self.filtered.load(std::sync::atomic::Ordering::Relaxed);
        routes.set_port_mode(&names.above, bridge::port_mode(settings, false, filtered, false))?;
        for name in [&names.above, &names.below, &names.bridge] {
            routes.up(name)?;
        }
        // To ask for a link is to have the kernel notice its carrier.
        for name in [&names.above, &names.below, &names.bridge] {
            routes.find(name)?;
        }
        Ok(bridge)
    }
}
