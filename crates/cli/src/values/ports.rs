//! Published and exposed ports: `-p`, `--expose`.

use hull_api::wire::network::{PortBinding, PortMap};
use hull_api::wire::{Empty, Set};
use std::net::IpAddr;

/// Adds what one `-p` says: `[[ip:][host]:]container[/protocol]`, single ports or ranges, or
/// `target=80,published=8080,protocol=tcp`.
pub(crate) fn publish(text: &str, bindings: &mut PortMap, exposed: &mut Set) -> Result<(), String> {
    let long;
    let text = if text.contains('=') {
        long = from_long(text)?;
        &long
    } else {
        text
    };
    let (address, protocol) = with_protocol(text)?;
    let (ip, host, container) = parts(address);
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let ip = plain_ip(ip)?;
    let inside = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let outside = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
    };
    let one_to_one = outside.is_none_or(|outside| outside.1 - outside.0 == inside.1 - inside.0);
    if !one_to_one && inside.0 != inside.1 {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    for port in inside.0..=inside.1 {
        let key = format!("{port}/{protocol}");
        let host_port = match outside {
            None => String::new(),
            Some((first, _)) if one_to_one => (first + (port - inside.0)).to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        exposed.insert(key.clone(), Empty {});
        let binding = PortBinding { host_ip: ip.clone(), host_port };
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    Ok(())
}

/// Adds what one `--expose` says: `port[-port][/protocol]`.
pub(crate) fn expose(text: &str, exposed: &mut Set) -> Result<(), String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (port, protocol) = with_protocol(text)?;
    let (first, last) = range(port).ok_or_else(|| format!("invalid range format for --expose: {text}"))?;
    exposed.extend((first..=last).map(|port| (format!("{port}/{protocol}"), Empty {})));
    Ok(())
}

/// The long form as the short one.
fn from_long(text: &str) -> Result<String, String> {
    let (mut target, mut published, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=').ok_or_else(|| format!("invalid field: {field}"))? {
            ("target", value) => target = value,
            ("published", value) => published = value,
            ("protocol", value) => protocol = value,
            ("mode" | "name" | "app_protocol", _) => {}
            (key, _) => return Err(format!("invalid field key: {key}")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

fn with_protocol(text: &str) -> Result<(&str, String), String> {
    let (port, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    match protocol.to_ascii_lowercase() {
        protocol if ["tcp", "udp", "sctp"].contains(&protocol.as_str()) => Ok((port, protocol)),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

/// Address, host port, container port; from the right, because an IPv6 address has colons of its own.
fn parts(text: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = text.rsplit_once(':') else { return ("", "", text) };
    match rest.rsplit_once(':') {
        Some((ip, host)) if !rest.ends_with(']') => (ip, host, container),
        _ => ("", rest, container),
    }
}

fn plain_ip(ip: &str) -> Result<String, String> {
    let plain = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !plain.is_empty() && plain.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    Ok(plain.to_owned())
}

/// "80" or "80-90". Port 0 is none.
fn range(text: &str) -> Option<(u16, u16)> {
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> Result<Vec<String>, String> {
        let (mut bindings, mut exposed) = (PortMap::new(), Set::new());
        publish(text, &mut bindings, &mut exposed)?;
        assert!(bindings.keys().eq(exposed.keys()));
        Ok(bindings
            .iter()
            .flat_map(|(key, list)| {
                list.iter().flatten().map(move |b| format!("{}|{}|{key}", b.host_ip, b.host_port))
            })
            .collect())
    }

    #[test]
    fn ports_in_all_their_forms() {
        for (text, expected) in [
            ("80", vec!["||80/tcp"]),
            ("8080:80", vec!["|8080|80/tcp"]),
            ("127.0.0.1:8080:80/udp", vec!["127.0.0.1|8080|80/udp"]),
            ("127.0.0.1::80", vec!["127.0.0.1||80/tcp"]),
            ("[::1]:8080:80", vec!["::1|8080|80/tcp"]),
            ("8000-8001:80-81", vec!["|8000|80/tcp", "|8001|81/tcp"]),
            ("8000-8010:80", vec!["|8000-8010|80/tcp"]),
            ("80-81", vec!["||80/tcp", "||81/tcp"]),
            ("target=80,published=8080,protocol=udp", vec!["|8080|80/udp"]),
        ] {
            assert_eq!(published(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_port() {
        for (text, reason) in [
            ("99999:80", "invalid hostPort: 99999"),
            ("80:x", "invalid containerPort: x"),
            ("80:", "no port specified: 80:<empty>"),
            ("80/icmp", "invalid proto: icmp"),
            ("nohost:80:80", "invalid IP address: nohost"),
            ("1-5:1-2", "invalid ranges specified for container and host Ports: 1-2 and 1-5"),
            ("90-80", "invalid containerPort: 90-80"),
        ] {
            assert_eq!(published(text).unwrap_err(), reason);
        }
        let mut exposed = Set::new();
        expose("7000-7002/udp", &mut exposed).unwrap();
        assert_eq!(exposed.len(), 3);
        assert!(expose("80:80", &mut exposed).is_err() && expose("x", &mut exposed).is_err());
    }
}
