//! What the drivers have in common: how a network is made, how an endpoint is made in a namespace, how both go.
//!
//! Each driver is a module of its own beside this one. Here is only which of them is asked.

use std::os::fd::BorrowedFd;

use super::attach::Attachment;
use super::{Bridged, Networks};
use crate::{Driver, Network, Result};

impl Networks {
    /// The kernel's side of a recorded network; undone by [`Networks::unbuild`].
    pub(super) fn build(&self, network: &Network) -> Result<()> {
        match Bridged::of(network)? {
            Some(bridged) => self.build_bridge(&bridged),
            None => Ok(()),
        }
    }

    /// Closes what [`Networks::build`] has opened. A link that was made for the network is left to the list of leftovers.
    pub(super) fn unbuild(&self, network: &Network) -> Result<()> {
        match Bridged::of(network)? {
            Some(bridged) => Ok(self.firewall.close(&bridged.passage())?),
            None => Ok(()),
        }
    }

    /// Makes an endpoint's interface in a namespace, with its addresses and routes; it goes with the namespace, or by
    /// [`Networks::unlink_endpoint`].
    pub(super) fn link(&self, attachment: &mut Attachment<'_>, namespace: BorrowedFd<'_>) -> Result<()> {
        match attachment.network.driver {
            Driver::Bridge => self.link_bridged(attachment, namespace),
            Driver::Host | Driver::Null => Ok(()),
        }
    }
}

/// The host's link that a network needs and that is made for it where it is absent.
pub(super) fn needed_link(network: &Network) -> Result<Option<String>> {
    Ok(Bridged::of(network)?.map(|bridged| bridged.settings.bridge))
}
