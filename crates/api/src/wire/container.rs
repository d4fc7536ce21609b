//! Containers: how they are asked for, and how they are shown.

use super::host::HostConfig;
use super::image::Descriptor;
use super::mount::MountPoint;
use super::network::{EndpointSettings, NetworkSettings, NetworkingConfig};
use super::{Labels, Set, StrSlice, nullable, wire, zero};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

wire! {
    /// The body of a request for a checkpoint.
    pub struct CheckpointCreateRequest {
        #[serde(rename = "CheckpointID")]
        checkpoint_id: String,
        checkpoint_dir: String,
        exit: bool,
    }
}

wire! {
    /// One of a container's checkpoints.
    pub struct CheckpointSummary {
        name: String,
    }
}

wire! {
    /// What of a container does not depend on its host; an image's default for its containers, too.
    pub struct ContainerConfig {
        hostname: String,
        domainname: String,
        user: String,
        attach_stdin: bool,
        attach_stdout: bool,
        attach_stderr: bool,
        #[serde(skip_serializing_if = "zero")]
        exposed_ports: Set,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        env: Option<Vec<String>>,
        cmd: Option<StrSlice>,
        #[serde(skip_serializing_if = "zero")]
        healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "zero")]
        args_escaped: bool,
        image: String,
        volumes: Option<Set>,
        working_dir: String,
        entrypoint: Option<StrSlice>,
        #[serde(skip_serializing_if = "zero")]
        network_disabled: bool,
        #[serde(skip_serializing_if = "zero")]
        mac_address: String,
        on_build: Option<Vec<String>>,
        labels: Labels,
        #[serde(skip_serializing_if = "zero")]
        stop_signal: String,
        /// Seconds; -1 waits for ever.
        #[serde(skip_serializing_if = "zero")]
        stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "zero")]
        shell: Option<StrSlice>,
    }
}

wire! {
    /// How a container's health is probed. Durations are nanoseconds, 0 is inherited.
    pub struct HealthConfig {
        /// `[]` inherits, `["NONE"]` disables, `["CMD", …]` runs, `["CMD-SHELL", command]` by a shell.
        #[serde(skip_serializing_if = "zero")]
        test: Vec<String>,
        #[serde(skip_serializing_if = "zero")]
        interval: i64,
        #[serde(skip_serializing_if = "zero")]
        timeout: i64,
        #[serde(skip_serializing_if = "zero")]
        start_period: i64,
        #[serde(skip_serializing_if = "zero")]
        start_interval: i64,
        #[serde(skip_serializing_if = "zero")]
        retries: i64,
    }
}

/// The body of `/containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerCreateRequest {
    #[serde(flatten)]
    pub config: ContainerConfig,
    #[serde(rename = "HostConfig", deserialize_with = "nullable")]
    pub host_config: HostConfig,
    #[serde(rename = "NetworkingConfig", deserialize_with = "nullable")]
    pub networking_config: NetworkingConfig,
}

wire! {
    /// The answer to it.
    pub struct ContainerCreateResponse {
        id: String,
        warnings: Vec<String>,
    }
}

wire! {
    /// The answer of `/containers/{id}/json`.
    pub struct ContainerInspect {
        id: String,
        /// RFC 3339 with nanoseconds.
        created: String,
        path: String,
        args: Vec<String>,
        state: State,
        image: String,
        resolv_conf_path: String,
        hostname_path: String,
        hosts_path: String,
        log_path: String,
        /// With its slash: "/web".
        name: String,
        restart_count: i64,
        driver: String,
        platform: String,
        mount_label: String,
        process_label: String,
        app_armor_profile: String,
        #[serde(rename = "ExecIDs")]
        exec_ids: Option<Vec<String>>,
        host_config: HostConfig,
        graph_driver: GraphDriver,
        /// Bytes; only with `size=1`.
        #[serde(skip_serializing_if = "zero")]
        size_rw: Option<i64>,
        #[serde(skip_serializing_if = "zero")]
        size_root_fs: Option<i64>,
        mounts: Vec<MountPoint>,
        config: ContainerConfig,
        network_settings: NetworkSettings,
        #[serde(skip_serializing_if = "zero")]
        image_manifest_descriptor: Option<Descriptor>,
    }
}

wire! {
    /// Where the file system of a container or an image is.
    pub struct GraphDriver {
        data: Option<Labels>,
        name: String,
    }
}

wire! {
    /// What a container is doing.
    pub struct State {
        /// "created", "running", "paused", "restarting", "removing", "exited" or "dead".
        status: String,
        running: bool,
        paused: bool,
        restarting: bool,
        #[serde(rename = "OOMKilled")]
        oom_killed: bool,
        dead: bool,
        pid: i64,
        exit_code: i64,
        error: String,
        /// RFC 3339 with nanoseconds; "0001-01-01T00:00:00Z" is never.
        started_at: String,
        finished_at: String,
        #[serde(skip_serializing_if = "zero")]
        health: Option<Health>,
    }
}

wire! {
    /// What the last probes said.
    pub struct Health {
        /// "none", "starting", "healthy" or "unhealthy".
        status: String,
        failing_streak: i64,
        log: Option<Vec<HealthProbe>>,
    }
}

wire! {
    /// One probe.
    pub struct HealthProbe {
        start: String,
        end: String,
        exit_code: i64,
        output: String,
    }
}

wire! {
    /// One line of `/containers/json`.
    pub struct ContainerSummary {
        id: String,
        names: Vec<String>,
        image: String,
        #[serde(rename = "ImageID")]
        image_id: String,
        #[serde(skip_serializing_if = "zero")]
        image_manifest_descriptor: Option<Descriptor>,
        command: String,
        /// Unix seconds.
        created: i64,
        ports: Vec<Port>,
        #[serde(skip_serializing_if = "zero")]
        size_rw: Option<i64>,
        #[serde(skip_serializing_if = "zero")]
        size_root_fs: Option<i64>,
        labels: Labels,
        state: String,
        /// For people: "Up 2 minutes (healthy)".
        status: String,
        host_config: SummaryHostConfig,
        network_settings: SummaryNetworkSettings,
        mounts: Vec<MountPoint>,
        #[serde(skip_serializing_if = "zero")]
        health: Option<SummaryHealth>,
    }
}

wire! {
    /// What a list tells of the health: "none" where nothing is probed.
    pub struct SummaryHealth {
        status: String,
        failing_streak: i64,
    }
}

wire! {
    /// A port of a running container.
    pub struct Port {
        #[serde(rename = "IP", skip_serializing_if = "zero")]
        ip: String,
        private_port: u16,
        #[serde(skip_serializing_if = "zero")]
        public_port: u16,
        #[serde(rename = "Type")]
        kind: String,
    }
}

wire! {
    /// What a list tells of the host configuration.
    pub struct SummaryHostConfig {
        #[serde(skip_serializing_if = "zero")]
        network_mode: String,
        #[serde(skip_serializing_if = "zero")]
        annotations: Labels,
    }
}

wire! {
    /// What a list tells of the networks.
    pub struct SummaryNetworkSettings {
        networks: BTreeMap<String, EndpointSettings>,
    }
}

wire! {
    /// The answer of `/containers/{id}/wait`.
    pub struct WaitResponse {
        /// Set if waiting itself failed.
        #[serde(skip_serializing_if = "zero")]
        error: Option<WaitError>,
        status_code: i64,
    }
}

wire! {
    /// Why waiting failed.
    pub struct WaitError {
        #[serde(skip_serializing_if = "zero")]
        message: String,
    }
}

wire! {
    /// The answer of `/containers/{id}/top`.
    pub struct TopResponse {
        processes: Vec<Vec<String>>,
        titles: Vec<String>,
    }
}

wire! {
    /// One line of `/containers/{id}/changes`.
    pub struct FilesystemChange {
        /// 0 modified, 1 added, 2 deleted.
        kind: u8,
        path: String,
    }
}

wire! {
    /// The answer of `/containers/prune`.
    pub struct ContainerPruneResponse {
        containers_deleted: Option<Vec<String>>,
        /// Bytes.
        space_reclaimed: u64,
    }
}

/// A file of a container, in the `X-Docker-Container-Path-Stat` header of `/containers/{id}/archive`
/// (base64 of this as JSON).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathStat {
    pub name: String,
    pub size: i64,
    /// Go's `os.FileMode`, not the kernel's.
    pub mode: u32,
    /// RFC 3339 with nanoseconds.
    pub mtime: String,
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}
