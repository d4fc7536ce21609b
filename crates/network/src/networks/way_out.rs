//! Which of a container's networks gives the default route, in each family.
//!
//! It is the one of the highest priority (`gw-priority`) of those that lead out, the oldest among equals. It follows from the
//! records alone, so it is the same whether networks come at the start, later, or in another order.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::Networks;
use crate::Result;
use crate::records::Recorded;
use crate::route::{Hop, Routes};

/// How a packet leaves by this endpoint; `None`: not at all.
pub(super) fn hop(recorded: &Recorded, v4: bool) -> Option<Hop> {
    let endpoint = &recorded.endpoint;
    let (gateway, address) = match v4 {
        true => (endpoint.gateway.map(IpAddr::V4), endpoint.address.is_some()),
        false => (endpoint.gateway6.map(IpAddr::V6), endpoint.address6.is_some()),
    };
    match gateway {
        Some(gateway) if address => Some(Hop::Gateway(gateway)),
        None if address && recorded.direct => Some(Hop::Link { v4 }),
        _ => None,
    }
}

/// The endpoint that gives the default route; `endpoints` are in the order of their making.
pub(super) fn leader(endpoints: &[Recorded], v4: bool) -> Option<&Recorded> {
    let out = endpoints.iter().filter(|recorded| hop(recorded, v4).is_some());
    // The first of the highest: `max_by_key` would give the last.
    out.rev().max_by_key(|recorded| recorded.priority)
}

/// The next hop of a new endpoint that takes the default route over from `others`, or is the first to have it.
pub(super) fn taken_over(new: &Recorded, others: &[Recorded], v4: bool) -> Option<Hop> {
    let outdone = leader(others, v4).is_none_or(|other| other.priority < new.priority);
    hop(new, v4).filter(|_| outdone)
}

impl Networks {
    /// After an endpoint has gone: those that are left give the default routes that it gave.
    pub(super) fn hand_on(&self, namespace: BorrowedFd<'_>, gone: &Recorded) -> Result<()> {
        let left = self.records.read(|rows| rows.endpoints_of_container(&gone.endpoint.container))?;
        let mut all = left.clone();
        all.push(gone.clone());
        all.sort_by_key(|recorded| recorded.row);
        for v4 in [true, false] {
            let led = leader(&all, v4).is_some_and(|leader| leader.endpoint.id == gone.endpoint.id);
            let Some((next, hop)) =
                leader(&left, v4).filter(|_| led).and_then(|next| Some((next, hop(next, v4)?)))
            else {
                continue;
            };
            Routes::inside(namespace)?.set_default(&next.endpoint.interface, hop)?;
        }
        Ok(())
    }
}
