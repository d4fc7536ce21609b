//! How it is to run on this host: the part of a container that no image can give.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MountSpec, PortBindings};

/// The host's half of a container's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    /// `-v` entries: "source:destination[:options]".
    pub binds: Option<Vec<String>>,
    /// File the client wrote the id to; kept for inspect.
    pub container_id_file: String,
    /// Where output is logged.
    pub log_config: LogConfig,
    /// "bridge", "none", "host", "container:X" or a network; empty: "default".
    pub network_mode: String,
    /// Published ports.
    pub port_bindings: PortBindings,
    /// What happens after an exit.
    pub restart_policy: RestartPolicy,
    /// Whether the container is removed after its exit.
    pub auto_remove: bool,
    /// Driver of the volumes made for `-v name:/path`.
    pub volume_driver: String,
    /// Containers whose mounts are taken over: "X[:ro|rw]".
    pub volumes_from: Option<Vec<String>>,
    /// `--mount` entries.
    pub mounts: Vec<MountSpec>,
    /// Rows and columns of the terminal at the start; zeros: unknown.
    pub console_size: [u16; 2],
    /// Annotations for the runtime. Data only: they never change what is done.
    pub annotations: BTreeMap<String, String>,
    /// Capabilities added to the default set.
    pub cap_add: Option<Vec<String>>,
    /// Capabilities taken from the default set.
    pub cap_drop: Option<Vec<String>>,
    /// "private", "host" or empty (private on v2, host on v1).
    pub cgroupns_mode: String,
    /// DNS servers.
    pub dns: Option<Vec<String>>,
    /// DNS resolver options.
    pub dns_options: Option<Vec<String>>,
    /// DNS search domains.
    pub dns_search: Option<Vec<String>>,
    /// "name:address" lines for /etc/hosts.
    pub extra_hosts: Option<Vec<String>>,
    /// Further groups of the process.
    pub group_add: Option<Vec<String>>,
    /// "none", "private", "shareable", "container:X", "host"; empty: private.
    pub ipc_mode: String,
    /// Cgroup to share; unused on Linux, kept for inspect.
    pub cgroup: String,
    /// Legacy links: "container:alias".
    pub links: Option<Vec<String>>,
    /// Preference of the OOM killer, -1000 to 1000.
    pub oom_score_adj: i32,
    /// Permission bits that the files of its processes do not get, at most 0o777; none: the runtime's choice.
    pub umask: Option<u32>,
    /// "host", "container:X" or empty.
    pub pid_mode: String,
    /// Whether the container gets everything.
    pub privileged: bool,
    /// Whether every exposed port is published on one of the engine's choice.
    pub publish_all_ports: bool,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
    /// "seccomp=…", "no-new-privileges", "apparmor=…", "label=…", "systempaths=unconfined".
    pub security_opt: Option<Vec<String>>,
    /// Options of the storage driver.
    pub storage_opt: Option<BTreeMap<String, String>>,
    /// Path to options of tmpfs mounts.
    pub tmpfs: Option<BTreeMap<String, String>>,
    /// What may leave it: "deny", "allow=CIDR[:port[-port]]"; `None` or empty: everything.
    pub egress: Option<Vec<String>>,
    /// "host" or empty.
    pub uts_mode: String,
    /// "host", "private" or empty. Without a map for all containers, all are the same.
    pub userns_mode: String,
    /// Bytes of /dev/shm; zero: 64 MiB.
    pub shm_size: i64,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: Option<BTreeMap<String, String>>,
    /// Name of the OCI runtime; empty: the default.
    pub runtime: String,
    /// Windows only; kept for inspect.
    pub isolation: String,
    /// Limits.
    pub resources: Resources,
    /// Paths hidden from the container; `None`: the default set.
    pub masked_paths: Option<Vec<String>>,
    /// Paths read-only in the container; `None`: the default set.
    pub readonly_paths: Option<Vec<String>>,
}

impl HostConfig {
    /// Whether its kernel parameters switch IPv6 off in the container.
    pub(crate) fn forgoes_ipv6(&self) -> bool {
        let switch = self.sysctls.as_ref().and_then(|sysctls| sysctls.get("net.ipv6.conf.all.disable_ipv6"));
        switch.is_some_and(|value| value == "1")
    }
}

/// Limits on what a container may use. Zero or `None` means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes a second to it on each of its networks.
    pub network_rate_in: i64,
    /// Bytes a second from it on each of its networks.
    pub network_rate_out: i64,
    /// Relative weight of CPU time.
    pub cpu_shares: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// Cgroup to make the container's one in.
    pub cgroup_parent: String,
    /// Weight of block I/O, 10 to 1000.
    pub blkio_weight: u16,
    /// The same by device.
    pub blkio_weight_device: Option<Vec<BlkioDeviceWeight>>,
    /// Bytes read per second, by device.
    pub blkio_device_read_bps: Option<Vec<BlkioDeviceRate>>,
    /// Bytes written per second, by device.
    pub blkio_device_write_bps: Option<Vec<BlkioDeviceRate>>,
    /// Reads per second, by device.
    pub blkio_device_read_iops: Option<Vec<BlkioDeviceRate>>,
    /// Writes per second, by device.
    pub blkio_device_write_iops: Option<Vec<BlkioDeviceRate>>,
    /// Microseconds of a scheduling period.
    pub cpu_period: i64,
    /// Microseconds of CPU in each period.
    pub cpu_quota: i64,
    /// Microseconds of a real-time period.
    pub cpu_realtime_period: i64,
    /// Microseconds of real-time CPU in each.
    pub cpu_realtime_runtime: i64,
    /// CPUs to run on: "0-2,7".
    pub cpuset_cpus: String,
    /// Memory nodes to use.
    pub cpuset_mems: String,
    /// Devices of the host given to the container.
    pub devices: Option<Vec<DeviceMapping>>,
    /// Lines for the device cgroup: "c 1:3 mr".
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Devices by driver (GPUs).
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Kernel memory in TCP buffers, bytes; v1 only.
    pub kernel_memory_tcp: i64,
    /// Soft limit of memory, bytes.
    pub memory_reservation: i64,
    /// Memory and swap together, bytes; -1: unlimited swap.
    pub memory_swap: i64,
    /// 0 to 100; v1 only.
    pub memory_swappiness: Option<i64>,
    /// Whether the OOM killer is off; v1 only.
    pub oom_kill_disable: Option<bool>,
    /// Whether a small init runs as process 1.
    pub init: Option<bool>,
    /// Number of processes; zero, negative or `None`: unlimited.
    pub pids_limit: Option<i64>,
    /// Resource limits of processes.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Windows only; kept for inspect.
    pub cpu_count: i64,
    /// Windows only; kept for inspect.
    pub cpu_percent: i64,
    /// Windows only; kept for inspect.
    pub io_maximum_iops: u64,
    /// Windows only; kept for inspect.
    pub io_maximum_bandwidth: u64,
}

/// Weight of block I/O on one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlkioDeviceWeight {
    /// Path of the device on the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// Rate of block I/O on one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlkioDeviceRate {
    /// Path of the device on the host.
    pub path: String,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// A device of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeviceMapping {
    /// Path of the device (or of a directory of devices) on the host.
    pub path_on_host: String,
    /// Path in the container; empty: the same.
    pub path_in_container: String,
    /// "rwm" or fewer of these letters.
    pub cgroup_permissions: String,
}

/// A request for devices by driver and capability.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// Name of the driver.
    pub driver: String,
    /// How many; -1: all.
    pub count: i64,
    /// Ids of the devices.
    pub device_ids: Option<Vec<String>>,
    /// Alternatives (outer) of capabilities needed together (inner).
    pub capabilities: Option<Vec<Vec<String>>>,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without "RLIMIT_", lower case: "nofile".
    pub name: String,
    /// Soft limit; -1: unlimited.
    pub soft: i64,
    /// Hard limit; -1: unlimited.
    pub hard: i64,
}

/// Where output is logged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogConfig {
    /// Driver; empty: the daemon's default.
    pub driver: String,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// When a container is started again after its exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RestartCondition {
    /// Never.
    #[default]
    No,
    /// Always; also after a boot, even if the user had stopped it.
    Always,
    /// Always, unless the user stopped it.
    UnlessStopped,
    /// After a non-zero exit.
    OnFailure,
}

impl RestartCondition {
    /// The name of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure => "on-failure",
        }
    }

    /// Reads the name of the API; empty is "no".
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure,
            _ => return None,
        })
    }
}

/// A restart condition with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// When.
    pub condition: RestartCondition,
    /// How often at most, for `OnFailure`; zero: no bound.
    pub maximum_retries: u32,
}
