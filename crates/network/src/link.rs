//! Links: which other containers one is to reach on a bridge that keeps its containers apart.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::Protocol;

/// The wish to reach another container at the ports that it exposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The other container's id.
    pub container: String,
    /// Its ports, in order and none of them twice.
    ports: Vec<(Protocol, RangeInclusive<u16>)>,
}

impl Link {
    /// To these ports of a container, in any order; the ranges may overlap.
    pub fn new(container: &str, ports: impl IntoIterator<Item = (Protocol, RangeInclusive<u16>)>) -> Self {
        let mut all: Vec<_> = ports.into_iter().collect();
        all.sort_by_key(|(protocol, range)| (*protocol, *range.start()));
        let mut apart: Vec<(Protocol, RangeInclusive<u16>)> = Vec::new();
        for (protocol, range) in all {
            match apart.last_mut() {
                Some((before, last)) if *before == protocol && range.start() <= last.end() => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => apart.push((protocol, range)),
            }
        }
        Self { container: container.to_owned(), ports: apart }
    }

    pub(crate) fn ports(&self) -> &[(Protocol, RangeInclusive<u16>)] {
        &self.ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_overlap_are_one_range() {
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let link = Link::new("db", [(tcp, 80..=90), (udp, 85..=85), (tcp, 70..=85), (tcp, 95..=95)]);
        assert_eq!(link.ports(), [(tcp, 70..=90), (tcp, 95..=95), (udp, 85..=85)]);
    }
}
