//! What of the host the container sees, and what it may do to it.

use hull_api::wire::container::ContainerConfig;
use hull_api::wire::host::{DeviceRequest, HostConfig, LogConfig, RestartPolicy};
use hull_api::wire::mount::Mount;

use super::some;
use crate::values::devices::Device;
use crate::values::{devices, mounts, numbers, pairs, security};

/// What of the host the container sees, and what it may do to it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct HostFlags {
    /// Add an annotation for the runtime
    #[arg(long, value_name = "map")]
    annotation: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    cap_drop: Vec<String>,
    /// Cgroup above the container's
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    cgroup_parent: String,
    /// Cgroup namespace: host or private
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    cgroupns: String,
    /// Write the container's ID to this file
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(super) cidfile: String,
    /// Add a device of the host
    #[arg(long, value_name = "list", value_parser = devices::device)]
    device: Vec<Device>,
    /// Add a rule about devices to the cgroup
    #[arg(long, value_name = "list")]
    device_cgroup_rule: Vec<String>,
    /// Add GPUs ('all' for all of them)
    #[arg(long, value_name = "gpu-request", value_parser = devices::gpus)]
    gpus: Vec<DeviceRequest>,
    /// Add supplementary groups
    #[arg(long, value_name = "list")]
    group_add: Vec<String>,
    /// Run an init inside that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// IPC namespace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    ipc: String,
    /// Isolation technology; only the default is there
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    isolation: String,
    /// Log driver
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    log_driver: String,
    /// Options of the log driver
    #[arg(long, value_name = "list")]
    log_opt: Vec<String>,
    /// Attach a mount: type=bind|volume|tmpfs|image,source=…,target=…
    #[arg(long, value_name = "mount", value_parser = mounts::mount)]
    mount: Vec<Mount>,
    /// PID namespace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pid: String,
    /// Give extended privileges
    #[arg(long)]
    privileged: bool,
    /// Mount the container's root file system read-only
    #[arg(long)]
    read_only: bool,
    /// When to start it again: no, always, unless-stopped, on-failure[:count]
    #[arg(long, value_name = "string", default_value = "no", value_parser = numbers::restart_policy)]
    restart: RestartPolicy,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long)]
    pub(super) rm: bool,
    /// OCI runtime
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    runtime: String,
    /// Security options
    #[arg(long, value_name = "list")]
    security_opt: Vec<String>,
    /// Options of the storage driver
    #[arg(long, value_name = "list")]
    storage_opt: Vec<String>,
    /// Kernel parameters of the namespaces
    #[arg(long, value_name = "map")]
    sysctl: Vec<String>,
    /// Mount a tmpfs
    #[arg(long, value_name = "list")]
    tmpfs: Vec<String>,
    /// Permissions that new files do not get (octal)
    #[arg(long, value_name = "octal", value_parser = numbers::umask)]
    umask: Option<u32>,
    /// User namespace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    userns: String,
    /// UTS namespace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    uts: String,
    /// Mount a path or a volume
    #[arg(short, long, value_name = "list")]
    volume: Vec<String>,
    /// Volume driver
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    volume_driver: String,
    /// Mount what another container has mounted
    #[arg(long, value_name = "list")]
    volumes_from: Vec<String>,
}

impl HostFlags {
    pub(super) fn apply(&self, config: &mut ContainerConfig, host: &mut HostConfig) -> Result<(), String> {
        let flags = self.clone();
        if flags.rm && !matches!(flags.restart.name.as_str(), "" | "no") {
            return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
        }
        let (nodes, requests) = devices::wanted(&flags.device, &flags.gpus);
        let (security_opt, unmasked) = security::options(&flags.security_opt)?;
        let unmasked = unmasked.then(Vec::new);
        let (binds, volumes) = mounts::volumes(&flags.volume)?;
        config.volumes = (!volumes.is_empty()).then_some(volumes);
        host.binds = some(binds);
        host.container_id_file = flags.cidfile;
        host.log_config =
            LogConfig { kind: flags.log_driver, config: pairs::options("log-opt", &flags.log_opt)? };
        host.restart_policy = flags.restart;
        host.auto_remove = flags.rm;
        host.volume_driver = flags.volume_driver;
        host.volumes_from = some(flags.volumes_from);
        host.annotations = pairs::map(&flags.annotation);
        host.cap_add = some(flags.cap_add);
        host.cap_drop = some(flags.cap_drop);
        host.cgroupns_mode = flags.cgroupns;
        host.group_add = some(flags.group_add);
        host.ipc_mode = flags.ipc;
        host.umask = flags.umask;
        host.pid_mode = flags.pid;
        host.privileged = flags.privileged;
        host.readonly_rootfs = flags.read_only;
        host.security_opt = some(security_opt);
        host.storage_opt = pairs::options("storage option", &flags.storage_opt)?;
        host.tmpfs = mounts::tmpfs(&flags.tmpfs);
        host.uts_mode = flags.uts;
        host.userns_mode = flags.userns;
        host.sysctls = pairs::map(&flags.sysctl);
        host.runtime = flags.runtime;
        host.isolation = flags.isolation;
        host.cgroup_parent = flags.cgroup_parent;
        host.devices = some(nodes);
        host.device_cgroup_rules = some(flags.device_cgroup_rule);
        host.device_requests = some(requests);
        host.mounts = flags.mount;
        host.masked_paths.clone_from(&unmasked);
        host.readonly_paths = unmasked;
        host.init = flags.init.then_some(true);
        Ok(())
    }
}
