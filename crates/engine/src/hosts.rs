//! The files that every container gets: /etc/hosts, /etc/hostname, /etc/resolv.conf.
//!
//! They are the engine's until the container starts; then the container may write them, and the engine writes only
//! /etc/hosts again, in place, when its networks change, and /etc/resolv.conf with the first network that has names.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use hull_sys::Context;

use crate::model::{Container, NetworkMode};
use crate::name_server::has_name_server;
use crate::resolv_conf::{self, Asks, ResolvConf};
use crate::{Engine, Error, Result};

/// The names that a container without IPv6 has.
const LOCAL4: &str = "127.0.0.1\tlocalhost\n";

const LOCAL: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// What the host is called in every container.
const HOST_NAMES: [&str; 2] = ["host.docker.internal", "host.hull.internal"];

/// The content of /etc/hosts: the loopback names, the user's, the container's own.
pub(crate) fn hosts(container: &Container, gateways: &[IpAddr]) -> Result<String> {
    let mut text = String::from(if container.host.forgoes_ipv6() { LOCAL4 } else { LOCAL });
    for entry in container.host.extra_hosts.iter().flatten() {
        let (name, address) = split_host(entry)?;
        match (address, gateways) {
            ("host-gateway", []) => {
                return Err(Error::invalid("unable to derive the IP value for host-gateway"));
            }
            ("host-gateway", gateways) => {
                gateways.iter().for_each(|gateway| line(&mut text, &gateway.to_string(), name));
            }
            (address, _) => line(&mut text, address, name),
        }
    }
    // Elsewhere the name server knows it.
    if let Some(bridge) = container.network.networks.get("bridge").filter(|_| !has_name_server(container)) {
        let free =
            |name: &&str| !container.host.extra_hosts.iter().flatten().any(|entry| names_host(entry, name));
        let names: Vec<_> = HOST_NAMES.into_iter().filter(free).collect();
        let mut addresses: Vec<String> = gateways.iter().map(IpAddr::to_string).collect();
        if addresses.is_empty() {
            addresses.push(bridge.gateway.clone());
        }
        for address in addresses.iter().filter(|address| !names.is_empty() && !address.is_empty()) {
            line(&mut text, address, &names.join(" "));
        }
    }
    let whole = match container.config.domainname.as_str() {
        "" => container.config.hostname.clone(),
        domain => format!("{}.{domain}", container.config.hostname),
    };
    // The name alone, too, wherever the domain was said.
    let names = match whole.split_once('.') {
        Some((name, _)) => format!("{whole} {name}"),
        None => whole,
    };
    for endpoint in container.network.networks.values().filter(|endpoint| !endpoint.ip_address.is_empty()) {
        line(&mut text, &endpoint.ip_address, &names);
        if !endpoint.global_ipv6_address.is_empty() {
            line(&mut text, &endpoint.global_ipv6_address, &names);
        }
    }
    Ok(text)
}

fn names_host(entry: &str, name: &str) -> bool {
    split_host(entry).is_ok_and(|(host, _)| host.eq_ignore_ascii_case(name))
}

fn line(text: &mut String, address: &str, names: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{address}\t{names}");
}

/// Refuses what is not "name:address": that the name may be followed by "=" is a matter of command lines.
pub(crate) fn check_extra_host(entry: &str) -> Result<()> {
    let is_one = |entry: &str| entry.split_once(':').is_some_and(|(name, _)| !name.contains('='));
    if !is_one(entry) {
        return Err(Error::invalid(format!("bad format for add-host: \"{entry}\"")));
    }
    let (_, address) = split_host(entry)?;
    match entry.ends_with(&format!(":{address}")) {
        true => Ok(()),
        false => Err(Error::invalid(format!("invalid IP address in add-host: \"[{address}]\""))),
    }
}

/// Takes "name:address" or "name=address" apart.
pub(crate) fn split_host(entry: &str) -> Result<(&str, &str)> {
    let bad = || Error::invalid(format!("bad format for add-host: \"{entry}\""));
    let (name, address) = entry.split_once('=').or_else(|| entry.split_once(':')).ok_or_else(bad)?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(Error::invalid(format!("invalid IP address in add-host: \"{address}\"")));
    }
    Ok((name, bare))
}

impl Engine {
    /// Writes the three files of a container; /etc/hosts as far as it is known before it has an address.
    pub(crate) fn write_own_files(&self, container: &Container) -> Result<()> {
        let mode = NetworkMode::parse(&container.host.network_mode);
        if matches!(mode, NetworkMode::Container(_)) {
            // They are the other container's.
            return Ok(());
        }
        self.write_resolv_conf(container)?;
        put(&container.hostname_path, &format!("{}\n", container.config.hostname))?;
        self.write_hosts(container)
    }

    /// Writes /etc/resolv.conf, in place.
    pub(crate) fn write_resolv_conf(&self, container: &Container) -> Result<()> {
        let asks = match NetworkMode::parse(&container.host.network_mode) {
            NetworkMode::Host => Asks::AsHost,
            _ if has_name_server(container) => Asks::NameServer,
            _ => Asks::Servers,
        };
        container.host.dns.iter().flatten().try_for_each(|server| check_server(server))?;
        let text = resolv_conf::text(container, &self.daemon_resolv_conf(), &host_resolv_conf(), asks);
        put(&container.resolv_conf_path, &text)
    }

    /// What the daemon's options say about the look-up of names.
    pub(crate) fn daemon_resolv_conf(&self) -> ResolvConf {
        ResolvConf {
            servers: self.options.dns.clone(),
            search: self.options.dns_search.clone(),
            options: self.options.dns_options.clone(),
        }
    }

    /// Writes /etc/hosts, also of a running container: in place, so that it sees it.
    pub(crate) fn write_hosts(&self, container: &Container) -> Result<()> {
        let mode = NetworkMode::parse(&container.host.network_mode);
        if mode == NetworkMode::Host && container.host.extra_hosts.as_deref().unwrap_or_default().is_empty() {
            let host = fs::read_to_string("/etc/hosts").unwrap_or_else(|_| LOCAL.to_owned());
            return put(&container.hosts_path, &host);
        }
        let wanted = container.host.extra_hosts.iter().flatten().any(|entry| entry.ends_with("host-gateway"));
        let gateways = match self.options.host_gateways.as_slice() {
            [] if wanted => self.default_gateways(),
            gateways => gateways.to_vec(),
        };
        let mut text = hosts(container, &gateways)?;
        for linked in self.linked(container) {
            let (address, names) = linked.host();
            line(&mut text, address, &names);
        }
        put(&container.hosts_path, &text)
    }
}

/// Refuses what is no address of a name server. In Docker, too, only the start does.
fn check_server(text: &str) -> Result<()> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    let is_one = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => zone.is_none(),
        Ok(IpAddr::V6(_)) => zone != Some(""),
        Err(_) => false,
    };
    match is_one {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "bad nameserver address {text}: ParseAddr({text:?}): unable to parse IP"
        ))),
    }
}

/// The host's resolv.conf(5); a host without the file has no servers.
pub(crate) fn host_resolv_conf() -> String {
    fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// Writes in place, and not by truncating first: ext4 flushes a file that is written anew so when it is closed.
fn put(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).open(path).on("open", path)?;
    file.write_all(text.as_bytes()).on("write", path)?;
    Ok(file.set_len(text.len() as u64).on("truncate", path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndpointSettings, fixture};

    #[test]
    fn hosts_have_the_users_and_the_containers_own_names() {
        let mut container = fixture();
        container.host.extra_hosts =
            Some(vec!["db:10.0.0.1".into(), "gw=host-gateway".into(), "six:[::1]".into()]);
        container.config.domainname = "example.org".into();
        let endpoint = EndpointSettings {
            ip_address: "172.17.0.2".into(),
            gateway: "172.17.0.1".into(),
            ..EndpointSettings::default()
        };
        container.network.networks.insert("bridge".into(), endpoint);
        let text = hosts(&container, &["172.17.0.1".parse().unwrap()]).unwrap();
        let own = "10.0.0.1\tdb\n172.17.0.1\tgw\n::1\tsix\n\
            172.17.0.1\thost.docker.internal host.hull.internal\n\
            172.17.0.2\t0123456789ab.example.org 0123456789ab\n";
        assert_eq!(text, format!("{LOCAL}{own}"));
        container.host.extra_hosts = Some(vec!["host.docker.internal:10.0.0.9".into()]);
        let text = hosts(&container, &[]).unwrap();
        assert!(text.contains("10.0.0.9\thost.docker.internal\n172.17.0.1\thost.hull.internal\n"), "{text}");
        (container.config.hostname, container.config.domainname) = ("a.b".into(), String::new());
        assert!(hosts(&container, &[]).unwrap().ends_with("172.17.0.2\ta.b a\n"));
    }

    #[test]
    fn bad_hosts_are_refused() {
        for entry in ["", "db", "db:", "db:nowhere", ":10.0.0.1", "a b:10.0.0.1"] {
            assert!(split_host(entry).is_err(), "{entry}");
        }
        for entry in ["db=10.0.0.1", "db=::1", "db:[::1]"] {
            assert!(split_host(entry).is_ok(), "{entry}: of an older record");
            assert!(check_extra_host(entry).is_err(), "{entry}");
        }
        for entry in ["db:10.0.0.1", "db:::1", "db:host-gateway"] {
            assert!(check_extra_host(entry).is_ok(), "{entry}");
        }
    }
}
