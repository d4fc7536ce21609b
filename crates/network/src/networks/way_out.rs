//! Which of a container's networks gives the default route, in each family.
//!
//! As in Docker it is the first that leads out by both, else the first of each family: that of the highest priority
//! (`gw-priority`), among equals the one whose name comes first. It follows from the records alone, so it is the same
//! whether networks come at the start, later, or in another order.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::Networks;
use crate::records::Recorded;
use crate::route::{Hop, Routes};
use crate::{Driver, Network, Result};

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

/// The endpoint that gives the default route.
pub(super) fn leader<'a>(endpoints: &[&'a Recorded], v4: bool) -> Option<&'a Recorded> {
    let leads = |recorded: &Recorded| [true, false].map(|v4| hop(recorded, v4).is_some());
    let candidates = endpoints.iter().map(|recorded| Candidate {
        leads: leads(recorded),
        priority: recorded.priority,
        name: &recorded.endpoint.network,
        it: *recorded,
    });
    first(candidates.collect(), v4)
}

/// A network that may lead out.
struct Candidate<'a, T> {
    /// By IPv4, by IPv6.
    leads: [bool; 2],
    priority: i64,
    name: &'a str,
    it: T,
}

/// The one of them that gives the way out of a family.
fn first<T>(mut candidates: Vec<Candidate<'_, T>>, v4: bool) -> Option<T> {
    candidates.sort_by_key(|one| (Reverse(one.priority), Reverse(one.leads.map(usize::from)), one.name));
    candidates.sort_by_key(|one| one.leads != [true; 2]);
    candidates.into_iter().find(|one| one.leads[usize::from(!v4)]).map(|one| one.it)
}

/// The next hop of a new endpoint that takes the default route over from `others`, or is the first to have it.
pub(super) fn taken_over(new: &Recorded, others: &[Recorded], v4: bool) -> Option<Hop> {
    let all: Vec<_> = others.iter().chain([new]).collect();
    let leads = leader(&all, v4).is_some_and(|leader| leader.endpoint.id == new.endpoint.id);
    hop(new, v4).filter(|_| leads)
}

impl Networks {
    /// By which of the networks that a container is to be in (with their priorities) its ports of the host are published:
    /// by IPv4, and by IPv6. By one network both are, whatever it has.
    pub fn ways_out(&self, wanted: &[(String, i64)], without_ipv6: bool) -> Result<[Option<String>; 2]> {
        if let [(only, _)] = wanted {
            return Ok([Some(only.clone()), Some(only.clone())]);
        }
        let mut networks = Vec::new();
        for (name, priority) in wanted {
            let found = self.find(name).ok().filter(|network| self.publishes(network));
            networks.extend(found.map(|network| (network, *priority)));
        }
        let leads = |network: &Network| match network.driver {
            // What its plugins give is not known yet.
            Driver::Cni => [true, false],
            _ => [!network.ipam.is_empty(), !network.ipam6.is_empty() && !without_ipv6 && self.ipv6],
        };
        let of = |v4| {
            let candidates = networks.iter().map(|(network, priority)| Candidate {
                leads: leads(network),
                priority: *priority,
                name: &network.name,
                it: network.name.clone(),
            });
            first(candidates.collect(), v4)
        };
        let [v4, v6] = [of(true), of(false)];
        Ok([v4.clone().or_else(|| v6.clone()), v6.or(v4)])
    }

    /// After an endpoint has gone: those that are left give the default routes that it gave.
    pub(super) fn hand_on(&self, namespace: BorrowedFd<'_>, gone: &Recorded) -> Result<()> {
        let left = self.records.read(|rows| rows.endpoints_of_container(&gone.endpoint.container))?;
        let left: Vec<_> = left.iter().collect();
        let all: Vec<_> = left.iter().copied().chain([gone]).collect();
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
