//! Bridge networks: the bridge of the network, and the veth pair of an endpoint.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::attach::Attachment;
use super::{Networks, extension, lock};
use crate::bridge::Settings;
use crate::route::{Pair, PortMode, Routes};
use crate::{Driver, Network, Result, bridge};

/// A bridge network with what its options say.
pub(super) struct Bridged<'a> {
    pub(super) network: &'a Network,
    pub(super) settings: Settings,
}

impl<'a> Bridged<'a> {
    /// `None` for networks of other drivers.
    pub(super) fn of(network: &'a Network) -> Result<Option<Self>> {
        if network.driver != Driver::Bridge {
            return Ok(None);
        }
        Ok(Some(Self { network, settings: Settings::parse(&network.id, &network.options)? }))
    }

    pub(super) fn passage(&self) -> crate::firewall::Passage {
        self.settings.passage(self.network)
    }
}

impl Networks {
    /// The kernel's side of a recorded network.
    pub(super) fn build_bridge(&self, bridged: &Bridged<'_>) -> Result<()> {
        let network = bridged.network;
        if !network.ipam6.is_empty() {
            self.forward_ipv6()?;
        }
        let made = bridge::ensure(&mut lock(&self.routes), &bridged.settings, network)?;
        let opened = self.healed(self.firewall.open(&bridged.passage()));
        if opened.is_err() && made {
            lock(&self.routes).remove(&bridged.settings.bridge)?;
        }
        opened
    }

    /// Lets nothing pass by the network's bridges any more.
    pub(super) fn close_bridge(&self, bridged: &Bridged<'_>, extensions: usize) -> Result<()> {
        let passage = bridged.passage();
        for name in extension::bridges(&bridged.network.id, extensions) {
            self.firewall.close(&extension::passage(&name, &passage))?;
        }
        Ok(self.firewall.close(&passage)?)
    }

    /// Makes the veth pair of an endpoint: one end on the bridge, the other inside with address and routes.
    pub(super) fn link_bridged(
        &self,
        attachment: &mut Attachment<'_>,
        namespace: BorrowedFd<'_>,
    ) -> Result<()> {
        let network = attachment.network.clone();
        let Some(bridged) = Bridged::of(&network)? else { return Ok(()) };
        let mut inside = Routes::inside(namespace)?;
        let endpoint = &attachment.recorded.endpoint;
        let outside = attachment.recorded.link();
        let mut routes = lock(&self.routes);
        let bridge = match routes.find(&bridged.settings.bridge)? {
            Some(bridge) => bridge,
            None => restore_bridge(&mut routes, &bridged)?,
        };
        drop(routes);
        let own = bridge.index;
        let bridge = self.bridge_with_room(&bridged, own)?;
        let mut routes = lock(&self.routes);
        attachment.linked = true;
        routes.add_pair(&Pair {
            outside: &outside,
            bridge,
            inside: &endpoint.interface,
            namespace,
            mac: endpoint.mac,
            mtu: bridged.settings.mtu,
            ipv6: self.ipv6 && bridge::carries_ipv6(bridged.settings.mtu),
        })?;
        let filtered = self.filtered.load(Ordering::Relaxed);
        let mode = bridge::port_mode(&bridged.settings, !endpoint.ports.is_empty(), filtered, bridge != own);
        if mode != PortMode::default() {
            routes.set_port_mode(&outside, mode)?;
        }
        drop(routes);
        attachment.configure(&mut inside, namespace)?;
        // The kernel passes on that a link has a carrier when it finds the time, and drops packets until then; it
        // does so at once for a link that is asked for: the port first, which then gives the bridge its carrier.
        let mut routes = lock(&self.routes);
        for name in [&outside, &bridged.settings.bridge] {
            routes.find(name)?;
        }
        // An address that was another container's a moment ago comes with that one's Ethernet address.
        if let Some(mac) = attachment.recorded.endpoint.mac {
            routes.learn(&outside, mac)?;
        }
        drop(routes);
        attachment.await_heard(namespace)
    }
}

/// A bridge that somebody has removed is made again rather than reported.
fn restore_bridge(routes: &mut Routes, bridged: &Bridged<'_>) -> Result<crate::route::Link> {
    bridge::ensure(routes, &bridged.settings, bridged.network)?;
    let name = &bridged.settings.bridge;
    let found = routes.find(name)?;
    Ok(found.ok_or_else(|| hull_sys::Error::new("find link", name, rustix::io::Errno::NODEV))?)
}
