//! What a request for a container must fulfil. Pure, but for the machine's own bounds.

mod limits;
mod modes;

use hull_oci::Signal;

use super::{binds, mounts};
use crate::hosts::check_extra_host;
use crate::machine::{self, Machine};
use crate::model::{ContainerConfig, HostConfig, HostPort, MountKind, NetworkMode, RestartCondition};
use crate::spec::{SecurityOptions, capabilities_of};
use crate::{Error, Result};

pub(crate) use limits::{resources, update};

/// All of a file's permission bits.
const UMASK_MAX: u32 = 0o777;

/// Checks a request, in Docker's order, and takes out what this machine cannot do; returns warnings of that.
pub(super) fn request(
    config: &ContainerConfig,
    host: &mut HostConfig,
    machine: &Machine,
) -> Result<Vec<String>> {
    modes::network(config, host)?;
    check_foreign(host)?;
    limits::realtime(&host.resources, machine)?;
    check_config(config)?;
    check_host(host, machine)?;
    let mut warnings = image_warnings(host);
    warnings.extend(resources(&mut host.resources, machine, false)?);
    modes::namespaces(host)?;
    modes::confinement(host)?;
    check_numbers(host)?;
    warnings.extend(network_warnings(host));
    warnings.extend(security_warnings(host, machine)?);
    for (path, _) in host.tmpfs.iter().flatten() {
        binds::destination_path(path)?;
    }
    for rule in host.resources.device_cgroup_rules.iter().flatten() {
        crate::spec::check_device_rule(rule)?;
    }
    Ok(warnings)
}

/// What other systems know.
fn check_foreign(host: &HostConfig) -> Result<()> {
    if !host.isolation.is_empty() && !host.isolation.eq_ignore_ascii_case("default") {
        return Err(Error::invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        )));
    }
    let refused = |what: &str| {
        Err(Error::invalid(format!("invalid option: QoS {what} configuration is not supported on linux")))
    };
    match (host.resources.io_maximum_bandwidth, host.resources.io_maximum_iops) {
        (0, 0) => Ok(()),
        (0, _) => refused("maximum IOPs"),
        _ => refused("maximum bandwidth"),
    }
}

fn check_config(config: &ContainerConfig) -> Result<()> {
    let directory = &config.working_dir;
    if !directory.is_empty() && !directory.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{directory}' is invalid, it needs to be an absolute path"
        )));
    }
    if !config.stop_signal.is_empty() {
        Signal::parse(&config.stop_signal).map_err(|error| Error::invalid(error.to_string()))?;
    }
    if let Some(variable) =
        config.env.iter().find(|variable| variable.is_empty() || variable.starts_with('='))
    {
        return Err(Error::invalid(format!("invalid environment variable: {variable}")));
    }
    let hostname = &config.hostname;
    // It is a word of /etc/hosts; what else may be in a name is for those who resolve it (sethostname(2) takes anything).
    let is_word = !hostname.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    if !is_word || hostname.len() > 64 {
        return Err(Error::invalid(format!("invalid hostname: {hostname}")));
    }
    Ok(())
}

fn check_host(host: &HostConfig, machine: &Machine) -> Result<()> {
    if host.auto_remove && host.restart_policy.condition != RestartCondition::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    for spec in &host.mounts {
        mounts::require_source(&binds::mount(spec)?)?;
    }
    for entry in host.extra_hosts.iter().flatten() {
        check_extra_host(entry)?;
    }
    host.port_bindings.values().flatten().try_for_each(binding)?;
    restart_policy(host)?;
    capabilities_of(host, &machine.capabilities)?;
    if host.annotations.contains_key("") {
        return Err(Error::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    Ok(())
}

/// A port of the host, or a range of them; empty for one of the engine's choice.
pub(crate) fn binding(place: &HostPort) -> Result<()> {
    let text = &place.host_port;
    let port = |text: &str| text.parse::<u16>().ok();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (text.is_empty(), port(first), port(last)) {
        (true, ..) => Ok(()),
        (_, Some(first), Some(last)) if first <= last => Ok(()),
        _ => Err(Error::invalid(format!("invalid port specification: \"{text}\""))),
    }
}

fn restart_policy(host: &HostConfig) -> Result<()> {
    let policy = host.restart_policy;
    if policy.condition != RestartCondition::OnFailure && policy.maximum_retries > 0 {
        return Err(Error::invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ));
    }
    Ok(())
}

fn check_numbers(host: &HostConfig) -> Result<()> {
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if let Some(umask) = host.umask.filter(|umask| *umask > UMASK_MAX) {
        return Err(Error::invalid(format!(
            "invalid umask 0{umask:o}: it has permission bits only, 0 to 0{UMASK_MAX:o}"
        )));
    }
    Ok(())
}

fn image_warnings(host: &HostConfig) -> Vec<String> {
    let images = host.mounts.iter().filter(|mount| mount.kind == MountKind::Image);
    images.map(|_| "Image mount is an experimental feature".to_owned()).collect()
}

fn network_warnings(host: &HostConfig) -> Vec<String> {
    let mode = NetworkMode::parse(&host.network_mode);
    let mut warnings = Vec::new();
    if !machine::forwards() && !matches!(mode, NetworkMode::Host | NetworkMode::None) {
        warnings.push("IPv4 forwarding is disabled. Networking will not work.".to_owned());
    }
    if mode == NetworkMode::Host && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    warnings
}

/// Who asks for a profile has to hear that there is nothing to confine with.
fn security_warnings(host: &HostConfig, machine: &Machine) -> Result<Vec<String>> {
    let security = SecurityOptions::parse(host.security_opt.as_deref().unwrap_or_default())?;
    let confines = security.apparmor.as_deref().is_some_and(|profile| profile != "unconfined");
    let discarded = confines && !machine.apparmor;
    Ok(discarded
        .then(|| "Your kernel does not support AppArmor. AppArmor profile discarded.".to_owned())
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests;
