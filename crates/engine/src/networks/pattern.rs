//! Which of a container's published ports are meant by a request to take some back. Pure.

use std::net::IpAddr;

use hull_network::Published;

use super::ports::{Places, inside, wire_protocol};
use crate::model::{HostPort, PortBindings, Ports};

/// What a request comes to.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// What is left of the wishes.
    pub(super) left: PortBindings,
    /// What is published and goes.
    pub(super) gone: Vec<Published>,
    /// The first that is asked for and not there.
    pub(super) unknown: Option<(Ports, HostPort)>,
}

/// Takes what is asked for out of the wishes, and finds what is published because of them; `None`: nothing is, the
/// container does not run.
pub(super) fn removal(
    wishes: &PortBindings,
    asked: &PortBindings,
    facts: Option<&Vec<Published>>,
) -> Removal {
    let mut removal = Removal { left: wishes.clone(), ..Removal::default() };
    let anything = [HostPort::default()];
    for (ports, places) in asked {
        let places = if places.is_empty() { &anything[..] } else { places };
        for place in places {
            let found = facts.map_or_else(Vec::new, |facts| meant(*ports, place, facts));
            let before = removal.left.clone();
            removal.left = without(&before, *ports, place, facts.map(|_| found.as_slice()));
            if found.is_empty() && before == removal.left && removal.unknown.is_none() {
                removal.unknown = Some((*ports, place.clone()));
            }
            removal.gone.extend(found);
        }
    }
    removal
}

/// The wishes without a part of them. A wish for any port of the host is meant if what came of it is: `found`.
fn without(
    wishes: &PortBindings,
    ports: Ports,
    place: &HostPort,
    found: Option<&[Published]>,
) -> PortBindings {
    let mut left = PortBindings::new();
    for (wished, places) in wishes {
        for at in places {
            let is_meant = match found {
                Some(found) => is_met(*wished, at, found, wishes),
                None => names(*wished, at, ports, place),
            };
            let parts = if is_meant { wished.without(ports) } else { vec![*wished] };
            for part in parts {
                left.entry(part).or_default().push(moved(*wished, at, part));
            }
        }
    }
    left
}

/// Whether a wish has led to some of what was found. One for any port of the host has led to what no other has.
fn is_met(wished: Ports, at: &HostPort, found: &[Published], wishes: &PortBindings) -> bool {
    let chosen = |fact: &Published| {
        let places =
            wishes.iter().flat_map(|(ports, places)| places.iter().map(move |place| (*ports, place)));
        let mut chosen = places.filter(|(_, place)| place.range().is_some());
        chosen.any(|(ports, place)| part(ports, place, fact).is_some())
    };
    let any = at.range().is_none();
    meant(wished, at, found).iter().any(|fact| !any || !chosen(fact))
}

/// Whether a request means a wish by its words alone.
fn names(wished: Ports, at: &HostPort, ports: Ports, place: &HostPort) -> bool {
    let host = match (place.range(), at.range()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((first, last)), Some((from, to))) => {
            let one_each = wished.count() > 1;
            let shift = |host: u16, inside: u16| i32::from(host) - i32::from(inside);
            match one_each {
                true => shift(first, ports.first) == shift(from, wished.first),
                false => first <= to && from <= last,
            }
        }
    };
    wished.overlap(ports).is_some()
        && host
        && (place.host_ip.is_empty() || ip(&place.host_ip) == ip(&at.host_ip))
}

/// What of the published ports is at these ports of the container, and at this place of the host.
fn meant(ports: Ports, place: &HostPort, facts: &[Published]) -> Vec<Published> {
    facts.iter().filter_map(|fact| part(ports, place, fact)).collect()
}

fn part(ports: Ports, place: &HostPort, fact: &Published) -> Option<Published> {
    let common = inside(fact).overlap(ports)?;
    let offset = common.first - fact.container_port;
    let found = Published {
        container_port: common.first,
        host_port: if fact.is_routed() { 0 } else { fact.host_port + offset },
        count: common.last - common.first + 1,
        ..*fact
    };
    let at_ip = place.host_ip.is_empty() || ip(&place.host_ip) == Some(fact.host_ip);
    let at_port = match place.range() {
        // A routed network has opened it, whatever port of the host was wished for.
        None => true,
        Some(_) if fact.is_routed() => true,
        Some((first, last)) if ports.count() == 1 => (first..=last).contains(&found.host_port),
        Some((first, _)) => {
            i32::from(first) - i32::from(ports.first)
                == i32::from(found.host_port) - i32::from(found.container_port)
        }
    };
    (at_ip && at_port).then_some(found)
}

/// What a wish says of a part of its ports.
fn moved(wished: Ports, at: &HostPort, part: Ports) -> HostPort {
    let Some((first, _)) = at.range().filter(|_| wished.count() > 1) else { return at.clone() };
    let from = first + (part.first - wished.first);
    let host_port = match part.count() {
        1 => from.to_string(),
        _ => format!("{from}-{}", from + (part.last - part.first)),
    };
    HostPort { host_port, ..at.clone() }
}

fn ip(text: &str) -> Option<IpAddr> {
    text.trim_matches(['[', ']']).parse().ok()
}

/// What a record says is published.
pub(super) fn facts(places: &Places) -> Vec<Published> {
    let mut facts = Vec::new();
    for (ports, at) in places {
        for place in at.iter().flatten() {
            let Some(host_ip) = ip(&place.host_ip) else { continue };
            facts.push(Published {
                container_port: ports.first,
                protocol: wire_protocol(ports.protocol),
                host_ip,
                host_port: place.range().map_or(0, |(first, _)| first),
                count: ports.last - ports.first + 1,
            });
        }
    }
    facts
}

/// The words of a request, as the client has them.
pub(super) fn told(ports: Ports, place: &HostPort) -> String {
    let ip = if place.host_ip.is_empty() { String::new() } else { format!("{}:", place.host_ip) };
    match place.host_port.is_empty() && ip.is_empty() {
        true => ports.to_string(),
        false => format!("{ip}{}:{ports}", place.host_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(texts: &[(&str, &str)]) -> PortBindings {
        let mut all = PortBindings::new();
        for (ports, place) in texts {
            let (ip, port) = place.rsplit_once(':').unwrap_or(("", place));
            let place = HostPort { host_ip: ip.to_owned(), host_port: port.to_owned() };
            all.entry(ports.parse().unwrap()).or_default().push(place);
        }
        all
    }

    fn fact(container_port: u16, host_ip: &str, host_port: u16, count: u16) -> Published {
        let protocol = hull_network::Protocol::Tcp;
        Published { container_port, protocol, host_ip: host_ip.parse().unwrap(), host_port, count }
    }

    #[test]
    fn a_part_of_a_range_goes_from_both_families() {
        let wishes = bindings(&[("1000-1999", "2000-2999"), ("80", "8080")]);
        let facts = vec![
            fact(1000, "0.0.0.0", 2000, 1000),
            fact(1000, "::", 2000, 1000),
            fact(80, "0.0.0.0", 8080, 1),
        ];
        let asked = bindings(&[("1500-1509", "2500-2509")]);
        for facts in [None, Some(&facts)] {
            let found = removal(&wishes, &asked, facts);
            let left = [("1000-1499", "2000-2499"), ("1510-1999", "2510-2999"), ("80", "8080")];
            assert_eq!((found.left, found.unknown), (bindings(&left), None));
            let gone = [fact(1500, "0.0.0.0", 2500, 10), fact(1500, "::", 2500, 10)];
            assert_eq!(found.gone, if facts.is_some() { gone.to_vec() } else { Vec::new() });
        }
        assert!(removal(&wishes, &bindings(&[("1500", "2501")]), Some(&facts)).unknown.is_some());
        assert!(removal(&wishes, &bindings(&[("81", "")]), None).unknown.is_some());
    }

    #[test]
    fn the_wish_that_a_port_came_of_goes_with_it() {
        let wishes = bindings(&[("80", ""), ("80", "8080"), ("80", "127.0.0.1:9000-9010")]);
        let facts = vec![
            fact(80, "0.0.0.0", 49_200, 1),
            fact(80, "0.0.0.0", 8080, 1),
            fact(80, "127.0.0.1", 9003, 1),
        ];
        let left = |place: &str| removal(&wishes, &bindings(&[("80", place)]), Some(&facts)).left;
        assert_eq!(left("127.0.0.1:9003"), bindings(&[("80", ""), ("80", "8080")]));
        assert!(left("").is_empty());
        let random = removal(&wishes, &bindings(&[("80", "49200")]), Some(&facts));
        assert_eq!(random.gone, [fact(80, "0.0.0.0", 49_200, 1)]);
        assert_eq!(random.left, bindings(&[("80", "8080"), ("80", "127.0.0.1:9000-9010")]));
    }

    #[test]
    fn records_say_what_is_published() {
        let ports = vec![fact(1000, "0.0.0.0", 2000, 10), fact(90, "::", 0, 1)];
        let mut found = facts(&super::super::ports::published(&std::collections::BTreeSet::new(), &ports));
        found.sort_by_key(|fact| std::cmp::Reverse(fact.container_port));
        assert_eq!(found, ports);
    }
}
