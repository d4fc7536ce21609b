//! From a container's record to its OCI runtime specification. Pure: what has to be asked of the machine comes
//! in [`Facts`], nothing goes out but the specification.

mod capabilities;
mod devices;
mod mounts;
mod options;
mod process;
mod resources;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use hull_oci::runtime::{
    Capability, LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, RootBuilder, Spec,
    SpecBuilder,
};

use crate::model::{Container, NetworkMode, Ulimit};
use crate::userns::Users;
use crate::{Error, Result};

pub(crate) use capabilities::{lead_round_a_firewall, of as capabilities_of};
pub(crate) use devices::{Devices, HostDevice, check_rule as check_device_rule};
pub(crate) use mounts::SHM;
pub(crate) use options::{Seccomp, SecurityOptions};
pub(crate) use process::{exec as exec_process, replace_or_append};
pub(crate) use resources::{Throttles, of as resources_of};

/// What a specification needs to know of the machine and of the daemon.
pub(crate) struct Facts<'a> {
    /// Every capability of this kernel.
    pub(crate) capabilities: &'a [Capability],
    /// Whether AppArmor is on.
    pub(crate) apparmor: bool,
    /// Whether processes are accounted by cgroup v2 alone.
    pub(crate) cgroup_v2: bool,
    /// The container's cgroup.
    pub(crate) cgroup: &'a str,
    /// Resource limits of containers that name none.
    pub(crate) ulimits: &'a [Ulimit],
    /// Whether every container gets no-new-privileges.
    pub(crate) no_new_privileges: bool,
    /// Bytes of /dev/shm by default.
    pub(crate) shm_size: i64,
    /// Devices of the host that the container gets.
    pub(crate) devices: Devices,
    /// Devices named by limits.
    pub(crate) throttles: Throttles,
    /// Process whose pid namespace is joined.
    pub(crate) pid_of: Option<i32>,
    /// Process whose IPC namespace is joined.
    pub(crate) ipc_of: Option<i32>,
    /// The users of the container, if they are not the host's.
    pub(crate) users: Option<Users<'a>>,
    /// The program that is process 1 for `--init`.
    pub(crate) init: Option<&'a Path>,
    /// Processors, for the paths that are masked on each.
    pub(crate) processors: u32,
    /// Variables that tell of linked containers.
    pub(crate) link_variables: Vec<String>,
}

/// The specification of a container.
pub(crate) fn of(container: &Container, facts: &Facts<'_>) -> Result<Spec> {
    let host = &container.host;
    let security = SecurityOptions::parse(host.security_opt.as_deref().unwrap_or_default())?;
    let (masked, read_only) = hidden_paths(container, &security, facts.processors);
    let (nodes, rules) = facts.devices.clone().into_parts(host.privileged);
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(container, facts))
        .resources(resources_of(&host.resources, &facts.throttles, rules)?)
        .cgroups_path(facts.cgroup)
        .devices(nodes)
        .masked_paths(masked)
        .readonly_paths(read_only);
    if let Some((users, groups)) = facts.users.as_ref().map(Users::mappings) {
        linux = linux.uid_mappings(users).gid_mappings(groups);
    }
    if let Some(sysctls) = sysctls(container, facts)? {
        linux = linux.sysctl(sysctls);
    }
    if let Some(propagation) = mounts::root_propagation(container) {
        linux = linux.rootfs_propagation(propagation);
    }
    let mut spec = SpecBuilder::default()
        .version("1.2.0")
        .root(built(RootBuilder::default().path("rootfs").readonly(host.readonly_rootfs).build())?)
        .process(process::of(container, &security, facts)?)
        .mounts(mounts::of(container, &security, facts)?)
        .linux(built(linux.build())?)
        .annotations(host.annotations.clone().into_iter().collect::<HashMap<_, _>>());
    if !container.config.domainname.is_empty() && host.uts_mode != "host" {
        spec = spec.domainname(container.config.domainname.clone());
    }
    let mut spec = built(spec.build())?;
    // The builder has a host name of its own.
    spec.set_hostname((host.uts_mode != "host").then(|| container.config.hostname.clone()));
    Ok(spec)
}

/// The builders of `oci-spec` fail only when a required field is missing.
fn built<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| Error::system(format!("container specification: {error}")))
}

fn namespaces(container: &Container, facts: &Facts<'_>) -> Vec<LinuxNamespace> {
    let host = &container.host;
    let fresh = |kind| (kind, None);
    let mut wanted = vec![fresh(LinuxNamespaceType::Mount)];
    if host.uts_mode != "host" {
        wanted.push(fresh(LinuxNamespaceType::Uts));
    }
    let of = |pid: i32, name: &str| Some(PathBuf::from(format!("/proc/{pid}/ns/{name}")));
    match facts.ipc_of {
        Some(pid) => wanted.push((LinuxNamespaceType::Ipc, of(pid, "ipc"))),
        None if host.ipc_mode == "host" => {}
        None => wanted.push(fresh(LinuxNamespaceType::Ipc)),
    }
    match facts.pid_of {
        Some(pid) => wanted.push((LinuxNamespaceType::Pid, of(pid, "pid"))),
        None if host.pid_mode == "host" => {}
        None => wanted.push(fresh(LinuxNamespaceType::Pid)),
    }
    if let Some(users) = &facts.users {
        wanted.push((LinuxNamespaceType::User, Some(users.path.clone())));
    }
    if NetworkMode::parse(&host.network_mode) != NetworkMode::Host {
        wanted.push(fresh(LinuxNamespaceType::Network));
    }
    if cgroup_is_private(container, facts) {
        wanted.push(fresh(LinuxNamespaceType::Cgroup));
    }
    let build = |(kind, path): (LinuxNamespaceType, Option<PathBuf>)| {
        let namespace = LinuxNamespaceBuilder::default().typ(kind);
        match path {
            Some(path) => namespace.path(path).build(),
            None => namespace.build(),
        }
    };
    wanted.into_iter().filter_map(|namespace| build(namespace).ok()).collect()
}

fn cgroup_is_private(container: &Container, facts: &Facts<'_>) -> bool {
    match container.host.cgroupns_mode.as_str() {
        "private" => true,
        "host" => false,
        // Docker's own defaults.
        _ => facts.cgroup_v2 && !container.host.privileged,
    }
}

/// What is hidden from containers that do not say: files that tell of the host, or change it.
pub(crate) fn masked_paths(processors: u32) -> Vec<String> {
    let throttles =
        (0..processors).map(|number| format!("/sys/devices/system/cpu/cpu{number}/thermal_throttle"));
    MASKED.map(String::from).into_iter().chain(throttles.filter(|path| Path::new(path).exists())).collect()
}

/// What may only be read in containers that do not say.
pub(crate) fn read_only_paths() -> Vec<String> {
    READ_ONLY.map(String::from).to_vec()
}

/// In Docker's order, which inspect shows.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The masked and the read-only paths.
fn hidden_paths(
    container: &Container,
    security: &SecurityOptions,
    processors: u32,
) -> (Vec<String>, Vec<String>) {
    let host = &container.host;
    if host.privileged || security.system_paths_unconfined {
        return (Vec::new(), Vec::new());
    }
    let masked = host.masked_paths.clone().unwrap_or_else(|| masked_paths(processors));
    (masked, host.readonly_paths.clone().unwrap_or_else(read_only_paths))
}

/// The kernel parameters: the user's, and what Docker sets so that nobody needs a capability to ping or to listen
/// on low ports.
fn sysctls(container: &Container, facts: &Facts<'_>) -> Result<Option<HashMap<String, String>>> {
    let host = &container.host;
    let mut sysctls: HashMap<String, String> = HashMap::new();
    let shares_network =
        !matches!(NetworkMode::parse(&host.network_mode), NetworkMode::None | NetworkMode::Network(_));
    if !shares_network {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
        // The kernel takes only groups that have a number inside.
        let last = facts.users.as_ref().map_or(i32::MAX as u32, Users::last_group);
        sysctls.insert("net.ipv4.ping_group_range".into(), format!("0 {last}"));
    }
    for (name, value) in host.sysctls.iter().flatten() {
        if name.starts_with("net.") && shares_network {
            return Err(Error::invalid(format!("sysctl \"{name}\" not allowed in host network namespace")));
        }
        sysctls.insert(name.clone(), value.clone());
    }
    Ok(Some(sysctls).filter(|sysctls| !sysctls.is_empty()))
}
