//! What a container gets from its host: `HostConfig` and its parts.

use super::mount::Mount;
use super::network::PortMap;
use super::{Labels, wire, zero};

wire! {
    /// Everything about a container that depends on the machine it runs on.
    pub struct HostConfig {
        binds: Option<Vec<String>>,
        #[serde(rename = "ContainerIDFile")]
        container_id_file: String,
        log_config: LogConfig,
        network_mode: String,
        port_bindings: PortMap,
        restart_policy: RestartPolicy,
        auto_remove: bool,
        volume_driver: String,
        volumes_from: Option<Vec<String>>,
        /// Rows, columns.
        console_size: [u32; 2],
        #[serde(skip_serializing_if = "zero")]
        annotations: Labels,
        cap_add: Option<Vec<String>>,
        cap_drop: Option<Vec<String>>,
        cgroupns_mode: String,
        dns: Option<Vec<String>>,
        dns_options: Option<Vec<String>>,
        dns_search: Option<Vec<String>>,
        extra_hosts: Option<Vec<String>>,
        group_add: Option<Vec<String>>,
        ipc_mode: String,
        cgroup: String,
        links: Option<Vec<String>>,
        oom_score_adj: i64,
        /// Permission bits that new files do not get, at most 0o777; since version 1.56.
        #[serde(skip_serializing_if = "zero")]
        umask: Option<u32>,
        pid_mode: String,
        privileged: bool,
        publish_all_ports: bool,
        readonly_rootfs: bool,
        security_opt: Option<Vec<String>>,
        #[serde(skip_serializing_if = "zero")]
        storage_opt: Labels,
        /// Destination to mount options.
        #[serde(skip_serializing_if = "zero")]
        tmpfs: Labels,
        #[serde(rename = "UTSMode")]
        uts_mode: String,
        userns_mode: String,
        /// Bytes.
        shm_size: i64,
        #[serde(skip_serializing_if = "zero")]
        sysctls: Labels,
        runtime: String,
        isolation: String,
        cpu_shares: i64,
        /// Bytes.
        memory: i64,
        /// Billionths of a CPU.
        nano_cpus: i64,
        cgroup_parent: String,
        blkio_weight: u16,
        blkio_weight_device: Option<Vec<WeightDevice>>,
        blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
        blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
        /// Microseconds.
        cpu_period: i64,
        /// Microseconds in a period.
        cpu_quota: i64,
        cpu_realtime_period: i64,
        cpu_realtime_runtime: i64,
        cpuset_cpus: String,
        cpuset_mems: String,
        devices: Option<Vec<DeviceMapping>>,
        device_cgroup_rules: Option<Vec<String>>,
        device_requests: Option<Vec<DeviceRequest>>,
        /// Bytes; of no effect on cgroup v2.
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "zero")]
        kernel_memory_tcp: i64,
        memory_reservation: i64,
        /// Memory and swap together, in bytes; -1 is no limit.
        memory_swap: i64,
        memory_swappiness: Option<i64>,
        oom_kill_disable: Option<bool>,
        pids_limit: Option<i64>,
        ulimits: Option<Vec<Ulimit>>,
        cpu_count: i64,
        cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        io_maximum_iops: u64,
        #[serde(rename = "IOMaximumBandwidth")]
        io_maximum_bandwidth: u64,
        #[serde(skip_serializing_if = "zero")]
        mounts: Vec<Mount>,
        /// `null` asks for the default list, `[]` for none.
        masked_paths: Option<Vec<String>>,
        /// As `masked_paths`.
        readonly_paths: Option<Vec<String>>,
        #[serde(skip_serializing_if = "zero")]
        init: Option<bool>,
        /// Hull's own, as the next two: what may leave, as "deny" and "allow=CIDR[:port[-port]]".
        #[serde(skip_serializing_if = "zero")]
        egress: Vec<String>,
        /// Bytes a second to it on each of its networks.
        #[serde(skip_serializing_if = "zero")]
        network_rate_in: i64,
        /// Bytes a second from it on each of its networks.
        #[serde(skip_serializing_if = "zero")]
        network_rate_out: i64,
    }
}

wire! {
    /// Which log driver, with which options.
    pub struct LogConfig {
        #[serde(rename = "Type")]
        kind: String,
        config: Labels,
    }
}

wire! {
    /// When an ended container is started again: "", "no", "always", "unless-stopped", "on-failure".
    pub struct RestartPolicy {
        name: String,
        maximum_retry_count: i64,
    }
}

wire! {
    /// A block device's weight.
    pub struct WeightDevice {
        path: String,
        weight: u16,
    }
}

wire! {
    /// A block device's limit, in bytes or operations a second.
    pub struct ThrottleDevice {
        path: String,
        rate: u64,
    }
}

wire! {
    /// A device of the host, seen in the container.
    pub struct DeviceMapping {
        path_on_host: String,
        path_in_container: String,
        /// Some of "rwm".
        cgroup_permissions: String,
    }
}

wire! {
    /// Devices asked from a driver (`--gpus`).
    pub struct DeviceRequest {
        driver: String,
        count: i64,
        #[serde(rename = "DeviceIDs")]
        device_ids: Option<Vec<String>>,
        capabilities: Option<Vec<Vec<String>>>,
        options: Option<Labels>,
    }
}

wire! {
    /// A resource limit; -1 is unlimited.
    pub struct Ulimit {
        name: String,
        hard: i64,
        soft: i64,
    }
}

wire! {
    /// The body of `/containers/{id}/update`. A zero means: leave it as it is.
    pub struct UpdateRequest {
        cpu_shares: i64,
        memory: i64,
        nano_cpus: i64,
        cgroup_parent: String,
        blkio_weight: u16,
        cpu_period: i64,
        cpu_quota: i64,
        cpu_realtime_period: i64,
        cpu_realtime_runtime: i64,
        cpuset_cpus: String,
        cpuset_mems: String,
        memory_reservation: i64,
        memory_swap: i64,
        pids_limit: Option<i64>,
        restart_policy: RestartPolicy,
        /// Hull's own: bytes a second; -1 is no limit.
        #[serde(skip_serializing_if = "zero")]
        network_rate_in: i64,
        #[serde(skip_serializing_if = "zero")]
        network_rate_out: i64,
    }
}

wire! {
    /// The answer to an update.
    pub struct UpdateResponse {
        warnings: Option<Vec<String>>,
    }
}
