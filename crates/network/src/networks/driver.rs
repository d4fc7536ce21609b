//! What the drivers have in common: how a network is made, how an endpoint is made in a namespace, how both go.
//!
//! Each driver is a module of its own beside this one. Here is only which of them is asked.

use std::os::fd::BorrowedFd;

use super::attach::Attachment;
use super::{Bridged, Networks, vlan};
use crate::records::Recorded;
use crate::{Driver, EndpointRequest, Network, NetworkRequest, Result, bridge};

impl Networks {
    /// The kernel's side of a recorded network; undone by [`Networks::unbuild`].
    pub(super) fn build(&self, network: &Network) -> Result<()> {
        if let Some(bridged) = Bridged::of(network)? {
            return self.build_bridge(&bridged);
        }
        match vlan::settings(network)? {
            Some(settings) => self.ensure_parent(&settings).map(drop),
            None => Ok(()),
        }
    }

    /// Closes what [`Networks::build`] has opened, and these extensions. A link that was made for the network is left to
    /// the list of leftovers.
    pub(super) fn unbuild(&self, network: &Network, extensions: usize) -> Result<()> {
        match Bridged::of(network)? {
            Some(bridged) => self.close_bridge(&bridged, extensions),
            None => Ok(()),
        }
    }

    /// Makes an endpoint's interface in a namespace, with its addresses and routes; it goes with the namespace, or by
    /// [`Networks::unlink_endpoint`].
    pub(super) fn link(
        &self,
        attachment: &mut Attachment<'_>,
        namespace: BorrowedFd<'_>,
        request: &EndpointRequest,
    ) -> Result<()> {
        match attachment.network.driver {
            Driver::Bridge => self.link_bridged(attachment, namespace),
            Driver::Macvlan | Driver::Ipvlan => self.link_upper(attachment, namespace),
            Driver::Cni => self.link_cni(attachment, namespace, request),
            Driver::Host | Driver::Null | Driver::Configuration => Ok(()),
        }
    }

    /// Removes an endpoint's interface from a namespace that is used on.
    pub(super) fn unlink_endpoint(&self, recorded: &Recorded, namespace: BorrowedFd<'_>) -> Result<()> {
        match (recorded.host_link(), recorded.driver) {
            (Some(link), _) => self.unlink(&link),
            (None, Driver::Cni) => self.unlink_cni(recorded, Some(namespace)),
            (None, _) => self.unlink_inside(namespace, &recorded.endpoint.interface),
        }
    }
}

/// The links that a wish may name; the names of others are new.
pub(super) fn named_links(request: &NetworkRequest) -> impl Iterator<Item = &str> {
    let names = [bridge::NAME, crate::vlan::PARENT];
    names.into_iter().filter_map(|name| request.options.get(name)).map(String::as_str)
}
