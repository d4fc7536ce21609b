//! The modes of namespaces: which there are, and what cannot be had together with them.

use hull_network::Egress;

use crate::model::{ContainerConfig, HostConfig, Resources};
use crate::spec::lead_round_a_firewall;
use crate::{Error, Result};

/// What goes with sharing a network.
pub(super) fn network(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    if let Some(other) = shared_network(&host.network_mode) {
        in_another_network(config, host, other)?;
    }
    let failed = |text: &str| Err(Error::invalid(format!("conflicting options: {text}")));
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return failed("hostname and the UTS mode");
    }
    if host.network_mode == "host" && given(&host.links) {
        return failed(
            "host type networking can't be used with links. This would result in undefined behavior",
        );
    }
    Ok(())
}

/// The other container of "container:X".
fn shared_network(mode: &str) -> Option<&str> {
    if mode == "container" { Some("") } else { mode.strip_prefix("container:") }
}

fn in_another_network(config: &ContainerConfig, host: &HostConfig, other: &str) -> Result<()> {
    if other.is_empty() {
        return Err(Error::invalid("invalid network mode: invalid container format container:<name|id>"));
    }
    let conflicts = [
        (!config.hostname.is_empty(), "hostname and the network mode"),
        (
            given(&host.links),
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (given(&host.dns), "dns and the network mode"),
        (given(&host.extra_hosts), "custom host-to-IP mapping and the network mode"),
        (
            !host.port_bindings.is_empty() || host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (!config.exposed_ports.is_empty(), "port exposing and the container type network mode"),
    ];
    match conflicts.iter().find(|(conflict, _)| *conflict) {
        Some((_, what)) => Err(Error::invalid(format!("conflicting options: {what}"))),
        None => Ok(()),
    }
}

fn given(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// What Hull has beyond Docker: rates and a policy for a network of the container's own.
pub(super) fn confinement(host: &HostConfig) -> Result<()> {
    let Resources { network_rate_in, network_rate_out, .. } = host.resources;
    if network_rate_in < 0 || network_rate_out < 0 {
        return Err(Error::invalid(
            "invalid network rate: it is a number of bytes a second, and cannot be negative",
        ));
    }
    let policy = Egress::parse(host.egress.as_deref().unwrap_or_default())?;
    let (paced, confined) = (network_rate_in != 0 || network_rate_out != 0, policy.is_some());
    let shared = host.network_mode == "host" || shared_network(&host.network_mode).is_some();
    let failed = |text: &str| Err(Error::invalid(format!("conflicting options: {text}")));
    match () {
        () if shared && paced => failed("network rates and a network mode that shares the network of others"),
        () if shared && confined => {
            failed("an egress policy and a network mode that shares the network of others")
        }
        () if confined && lead_round_a_firewall(host) => {
            failed("an egress policy and capabilities that lead round it (privileged, NET_ADMIN, NET_RAW)")
        }
        () => Ok(()),
    }
}

/// Whether each mode is one. As in Docker, any user namespace but the host's is the default one: `keep-id` of compose
/// files that are for podman, too.
pub(super) fn namespaces(host: &HostConfig) -> Result<()> {
    let of_other = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    let ipc = ["", "none", "private", "host", "shareable"].contains(&host.ipc_mode.as_str());
    let known = [
        ("IPC", &host.ipc_mode, ipc || of_other(&host.ipc_mode)),
        ("PID", &host.pid_mode, matches!(host.pid_mode.as_str(), "" | "host") || of_other(&host.pid_mode)),
        ("UTS", &host.uts_mode, matches!(host.uts_mode.as_str(), "" | "host")),
        (
            "cgroup namespace",
            &host.cgroupns_mode,
            matches!(host.cgroupns_mode.as_str(), "" | "host" | "private"),
        ),
    ];
    match known.iter().find(|(.., known)| !known) {
        Some((what, mode, _)) => Err(Error::invalid(format!("invalid {what} mode: {mode}"))),
        None => Ok(()),
    }
}
