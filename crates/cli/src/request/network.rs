//! The container's networks, names and ports.

use std::collections::BTreeMap;

use hull_api::wire::Set;
use hull_api::wire::container::ContainerConfig;
use hull_api::wire::host::HostConfig;
use hull_api::wire::network::{EndpointIpam, EndpointSettings, PortMap};

use super::some;
use crate::values::{networks, ports};

/// Its networks, names and ports.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct NetworkFlags {
    /// Add a host to /etc/hosts (host:ip)
    #[arg(long, value_name = "list", value_parser = extra_host)]
    add_host: Vec<String>,
    /// Set DNS servers
    #[arg(long, value_name = "list")]
    dns: Vec<String>,
    /// Set DNS options
    #[arg(long, visible_alias = "dns-opt", value_name = "list")]
    dns_option: Vec<String>,
    /// Set DNS search domains
    #[arg(long, value_name = "list")]
    dns_search: Vec<String>,
    /// NIS domain name
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    domainname: String,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "list")]
    expose: Vec<String>,
    /// Host name
    #[arg(short = 'h', long, value_name = "string", default_value = "", hide_default_value = true)]
    hostname: String,
    /// IPv4 address (172.30.100.104)
    #[arg(long, value_name = "ip")]
    ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address (2001:db8::33)
    #[arg(long, value_name = "ip")]
    ip6: Option<std::net::Ipv6Addr>,
    /// Link to another container
    #[arg(long, value_name = "list")]
    link: Vec<String>,
    /// Link-local addresses
    #[arg(long, value_name = "list")]
    link_local_ip: Vec<String>,
    /// MAC address (92:d0:c6:0a:29:33)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    mac_address: String,
    /// Connect to a network
    #[arg(long, visible_alias = "net", value_name = "network", value_parser = networks::attachment)]
    network: Vec<networks::Attachment>,
    /// Add a name on the network
    #[arg(long, visible_alias = "net-alias", value_name = "list")]
    network_alias: Vec<String>,
    /// Let nothing leave but what is allowed: deny, allow=CIDR[:port[-port]]
    #[arg(long, value_name = "list")]
    egress: Vec<String>,
    /// Publish a port or a range of ports
    #[arg(short, long, value_name = "list")]
    publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    publish_all: bool,
}

impl NetworkFlags {
    pub(super) fn apply(&self, config: &mut ContainerConfig, host: &mut HostConfig) -> Result<(), String> {
        config.hostname.clone_from(&self.hostname);
        config.domainname.clone_from(&self.domainname);
        config.mac_address.clone_from(&self.mac_address);
        (config.exposed_ports, host.port_bindings) = self.ports()?;
        // The first network is the container's mode.
        host.network_mode =
            self.network.first().map_or_else(|| "default".to_owned(), |first| first.name.clone());
        host.dns = Some(self.dns.clone());
        host.dns_options = Some(self.dns_option.clone());
        host.dns_search = Some(self.dns_search.clone());
        host.extra_hosts = some(self.add_host.clone());
        host.links = some(self.link.clone());
        host.publish_all_ports = self.publish_all;
        host.egress.clone_from(&self.egress);
        Ok(())
    }

    fn ports(&self) -> Result<(Set, PortMap), String> {
        let (mut exposed, mut bindings) = (Set::new(), PortMap::new());
        for port in &self.publish {
            ports::publish(port, &mut bindings, &mut exposed)?;
        }
        for port in &self.expose {
            ports::expose(port, &mut exposed)?;
        }
        Ok((exposed, bindings))
    }

    /// What it asks of each network.
    pub(super) fn endpoints(&self) -> Result<BTreeMap<String, Option<EndpointSettings>>, String> {
        let NetworkFlags { ip, ip6, link_local_ip, network_alias, mac_address, .. } = self;
        let mut attachments = self.network.clone();
        let asks = ip.is_some() || ip6.is_some() || !link_local_ip.is_empty() || !network_alias.is_empty();
        if attachments.is_empty() && (asks || !mac_address.is_empty()) {
            attachments.push(networks::attachment("default")?);
        }
        // The flags are about the first network.
        if let Some(first) = attachments.first_mut().map(|first| &mut first.settings) {
            if ip.is_some() || ip6.is_some() || !link_local_ip.is_empty() {
                let ipam: &mut EndpointIpam = first.ipam_config.get_or_insert_default();
                ipam.ipv4_address = ip.map_or(std::mem::take(&mut ipam.ipv4_address), |ip| ip.to_string());
                ipam.ipv6_address = ip6.map_or(std::mem::take(&mut ipam.ipv6_address), |ip| ip.to_string());
                ipam.link_local_ips.extend(link_local_ip.iter().cloned());
            }
            if !network_alias.is_empty() {
                first.aliases.get_or_insert_default().extend(network_alias.iter().cloned());
            }
            if !mac_address.is_empty() {
                first.mac_address = mac_address.clone();
            }
        }
        networks::endpoints(attachments)
    }
}

/// "host:ip" or "host=ip", as "host:ip".
fn extra_host(text: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: {text:?}");
    let (host, ip) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    let plain = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if host.is_empty() {
        return Err(bad());
    }
    if plain != "host-gateway" && plain.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {ip:?}"));
    }
    Ok(format!("{host}:{plain}"))
}
