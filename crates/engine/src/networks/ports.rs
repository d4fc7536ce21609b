//! Which ports a container publishes: what is wished for, and what has come of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hull_network::{Endpoint, PortBinding};

use crate::model::{Container, HostPort, Port, Protocol};
use crate::{Error, Result};

/// What is to be published: the bindings, and with `-P` every exposed port.
pub(super) fn wanted_ports(container: &Container) -> Result<Vec<PortBinding>> {
    let host = &container.host;
    let mut wanted = Vec::new();
    for (port, bindings) in &host.port_bindings {
        let anywhere = [HostPort::default()];
        let bindings = if bindings.is_empty() { &anywhere[..] } else { bindings };
        for binding in bindings {
            wanted.push(port_binding(*port, binding)?);
        }
    }
    if host.publish_all_ports {
        let exposed = container.config.exposed_ports.iter();
        for port in exposed.filter(|port| !host.port_bindings.contains_key(port)) {
            wanted.push(port_binding(*port, &HostPort::default())?);
        }
    }
    Ok(wanted)
}

fn port_binding(port: Port, binding: &HostPort) -> Result<PortBinding> {
    let invalid = || Error::invalid(format!("invalid port specification: \"{}\"", binding.host_port));
    let host_ports = match binding.host_port.as_str() {
        "" | "0" => None,
        text => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let first = first.parse().map_err(|_| invalid())?;
            let last = last.parse().map_err(|_| invalid())?;
            if first > last {
                return Err(invalid());
            }
            Some(first..=last)
        }
    };
    let host_ip = match binding.host_ip.trim_matches(['[', ']']) {
        "" => None,
        text => {
            Some(text.parse::<IpAddr>().map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?)
        }
    };
    let protocol = match port.protocol {
        Protocol::Tcp => hull_network::Protocol::Tcp,
        Protocol::Udp => hull_network::Protocol::Udp,
        Protocol::Sctp => hull_network::Protocol::Sctp,
    };
    Ok(PortBinding { container_port: port.number, protocol, host_ip, host_ports })
}

pub(super) fn publish(ports: &mut BTreeMap<Port, Option<Vec<HostPort>>>, endpoint: &Endpoint) {
    for published in &endpoint.ports {
        let protocol = match published.protocol {
            hull_network::Protocol::Tcp => Protocol::Tcp,
            hull_network::Protocol::Udp => Protocol::Udp,
            hull_network::Protocol::Sctp => Protocol::Sctp,
        };
        let port = Port { number: published.container_port, protocol };
        let place =
            HostPort { host_ip: published.host_ip.to_string(), host_port: published.host_port.to_string() };
        ports.entry(port).or_default().get_or_insert_default().push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    fn port(text: &str) -> Port {
        text.parse().unwrap()
    }

    #[test]
    fn bindings_become_wishes() {
        let place = |ip: &str, port: &str| HostPort { host_ip: ip.into(), host_port: port.into() };
        let wish = port_binding(port("53/udp"), &place("127.0.0.1", "5300-5310")).unwrap();
        assert_eq!(wish.host_ports, Some(5300..=5310));
        assert_eq!(wish.host_ip, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(port_binding(port("80"), &place("", "")).unwrap().host_ports, None);
        for wrong in [place("", "x"), place("", "90-80"), place("", "70000"), place("nowhere", "80")] {
            assert!(port_binding(port("80"), &wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn publishing_all_leaves_chosen_ports_alone() {
        let mut container = fixture();
        container.config.exposed_ports = [port("80"), port("443")].into();
        container.host.publish_all_ports = true;
        container
            .host
            .port_bindings
            .insert(port("80"), vec![HostPort { host_ip: String::new(), host_port: "8080".into() }]);
        let wanted = wanted_ports(&container).unwrap();
        let found: Vec<_> =
            wanted.iter().map(|wish| (wish.container_port, wish.host_ports.clone())).collect();
        assert_eq!(found, [(80, Some(8080..=8080)), (443, None)]);
    }
}
