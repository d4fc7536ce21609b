//! What a request for a container must fulfil. Pure, but for the machine's own bounds.

use hull_oci::Signal;

use crate::hosts::split_host;
use crate::machine::Machine;
use crate::model::{ContainerConfig, ContainerUpdate, HostConfig, NetworkMode, Resources, RestartCondition};
use crate::spec::{SecurityOptions, capabilities_of};
use crate::{Error, Result};

/// Docker's least limit of memory.
const LEAST_MEMORY: i64 = 6 << 20;

/// Checks a request; returns warnings.
pub(super) fn request(config: &ContainerConfig, host: &HostConfig, machine: &Machine) -> Result<Vec<String>> {
    check_config(config)?;
    check_host(host, machine)?;
    check_unsupported(host)?;
    resources(&host.resources, machine)
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
    let plain = hostname.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-._".contains(&letter));
    if !plain || hostname.len() > 64 {
        return Err(Error::invalid(format!("invalid hostname: {hostname}")));
    }
    Ok(())
}

fn check_host(host: &HostConfig, machine: &Machine) -> Result<()> {
    if host.auto_remove && host.restart_policy.condition != RestartCondition::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    restart_policy(host)?;
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    SecurityOptions::parse(host.security_opt.as_deref().unwrap_or_default())?;
    capabilities_of(host, &machine.capabilities)?;
    for entry in host.extra_hosts.iter().flatten() {
        split_host(entry)?;
    }
    for rule in host.resources.device_cgroup_rules.iter().flatten() {
        crate::spec::check_device_rule(rule)?;
    }
    let shares = matches!(NetworkMode::parse(&host.network_mode), NetworkMode::Container(_));
    if shares && !host.port_bindings.is_empty() {
        return Err(Error::invalid(
            "conflicting options: port publishing and the container type network mode",
        ));
    }
    Ok(())
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

/// What Hull does not have yet is refused, not left out.
fn check_unsupported(host: &HostConfig) -> Result<()> {
    let asked = [
        ("user namespaces are", !matches!(host.userns_mode.as_str(), "" | "host")),
        ("sharing another container's IPC namespace is", host.ipc_mode.starts_with("container:")),
        ("storage options are", host.storage_opt.iter().flatten().next().is_some()),
        ("device requests are", host.resources.device_requests.iter().flatten().next().is_some()),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(Error::not_implemented(format!("{what} not supported yet"))),
        None => Ok(()),
    }
}

/// Checks limits; returns warnings.
pub(crate) fn resources(resources: &Resources, machine: &Machine) -> Result<Vec<String>> {
    check_memory(resources)?;
    check_cpu(resources, machine)?;
    if resources.blkio_weight > 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
    }
    let mut warnings = Vec::new();
    if machine.cgroup_v2 && resources.oom_kill_disable == Some(true) {
        warnings.push("OomKillDisable is discarded: the kernel has no such thing with cgroup v2.".to_owned());
    }
    if resources.oom_kill_disable == Some(true) && resources.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
             running out of resources."
                .to_owned(),
        );
    }
    Ok(warnings)
}

fn check_memory(resources: &Resources) -> Result<()> {
    let Resources { memory, memory_swap: swap, memory_reservation: reservation, .. } = *resources;
    let failed = |text: &str| Err(Error::invalid(text));
    if memory != 0 && memory < LEAST_MEMORY {
        return failed("Minimum memory limit allowed is 6MB");
    }
    if swap > 0 && memory == 0 {
        return failed("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if swap > 0 && swap < memory {
        return failed("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if reservation != 0 && reservation < LEAST_MEMORY {
        return failed("Minimum memory reservation allowed is 6MB");
    }
    if reservation > 0 && memory > 0 && memory < reservation {
        return failed("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    match resources.memory_swappiness {
        Some(swappiness) if !(-1..=100).contains(&swappiness) => Err(Error::invalid(format!(
            "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        ))),
        _ => Ok(()),
    }
}

fn check_cpu(resources: &Resources, machine: &Machine) -> Result<()> {
    let Resources { nano_cpus, cpu_period: period, cpu_quota: quota, .. } = *resources;
    if nano_cpus > 0 && period > 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set."));
    }
    if nano_cpus > 0 && quota > 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set."));
    }
    let most = i64::from(machine.processors) * 1_000_000_000;
    if nano_cpus < 0 || nano_cpus > most {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
            machine.processors
        )));
    }
    if resources.cpu_shares < 0 {
        return Err(Error::invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            resources.cpu_shares
        )));
    }
    if period != 0 && !(1_000..=1_000_000).contains(&period) {
        return Err(Error::invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if quota > 0 && quota < 1_000 {
        return Err(Error::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    Ok(())
}

/// Checks changed limits against what a container has.
pub(crate) fn update(update: &ContainerUpdate, auto_remove: bool, machine: &Machine) -> Result<Vec<String>> {
    let restarts = update.restart_policy.is_some_and(|policy| policy.condition != RestartCondition::No);
    if auto_remove && restarts {
        return Err(Error::invalid(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ));
    }
    resources(&update.resources, machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { capabilities: Vec::new(), cgroup_v2: true, processors: 2, memory: 1 << 30 }
    }

    fn refused(resources: Resources) -> String {
        super::resources(&resources, &machine()).unwrap_err().message
    }

    #[test]
    fn limits_have_dockers_bounds() {
        let none = Resources::default;
        assert_eq!(refused(Resources { memory: 4 << 20, ..none() }), "Minimum memory limit allowed is 6MB");
        assert!(
            refused(Resources { memory: 8 << 20, memory_swap: 7 << 20, ..none() })
                .starts_with("Minimum memoryswap")
        );
        assert_eq!(
            refused(Resources { nano_cpus: 3_000_000_000, ..none() }),
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
        );
        assert!(
            super::resources(&Resources { memory: 8 << 20, memory_swap: -1, ..none() }, &machine()).is_ok()
        );
    }

    #[test]
    fn configurations_are_checked() {
        let refuse = |change: fn(&mut ContainerConfig)| {
            let mut config = ContainerConfig::default();
            change(&mut config);
            check_config(&config).unwrap_err().message
        };
        assert_eq!(
            refuse(|config| config.working_dir = "srv".into()),
            "the working directory 'srv' is invalid, it needs to be an absolute path"
        );
        assert_eq!(refuse(|config| config.stop_signal = "SIGFROB".into()), "invalid signal: SIGFROB");
        assert_eq!(refuse(|config| config.env = vec!["=x".into()]), "invalid environment variable: =x");
        refuse(|config| config.hostname = "a b".into());
    }

    #[test]
    fn auto_remove_and_restart_exclude_each_other() {
        let mut host = HostConfig { auto_remove: true, ..HostConfig::default() };
        host.restart_policy.condition = RestartCondition::Always;
        assert!(check_host(&host, &machine()).is_err());
    }
}
