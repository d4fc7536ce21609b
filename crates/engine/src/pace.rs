//! How fast a container may send and receive, and what.

use std::os::fd::{AsFd, BorrowedFd};

use hull_network::{Egress, Rates};

use crate::model::{Container, NetworkMode, Resources};
use crate::{Engine, Result};

impl Engine {
    /// Gives each of its links its rates, in its namespace; without any ever set, nothing is done.
    pub(crate) fn pace(&self, container: &Container, namespace: BorrowedFd<'_>) -> Result<()> {
        let Resources { network_rate_in, network_rate_out, .. } = container.host.resources;
        let own = matches!(NetworkMode::parse(&container.host.network_mode), NetworkMode::Network(_));
        if !own || (network_rate_in, network_rate_out) == (0, 0) {
            return Ok(());
        }
        // Negative: there was a limit, and is none any more.
        let rate = |rate: i64| u64::try_from(rate).unwrap_or(0);
        let rates = Rates { inward: rate(network_rate_in), outward: rate(network_rate_out) };
        Ok(self.networks.pace(namespace, &container.id, rates)?)
    }
}

/// Holds a namespace that nobody is in yet to the container's policy.
pub(crate) fn confine(container: &Container, sandbox: Option<&impl AsFd>) -> Result<()> {
    let policy = Egress::parse(container.host.egress.as_deref().unwrap_or_default())?;
    match (policy, sandbox) {
        (Some(policy), Some(sandbox)) => Ok(policy.confine(sandbox.as_fd())?),
        _ => Ok(()),
    }
}
