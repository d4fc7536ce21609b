//! Requests to the engine and what it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerConfig, HostConfig, NetworkingConfig, Resources, RestartPolicy};

/// A container to be made.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// Its name; `None`: a random one.
    pub name: Option<String>,
    /// The platform wanted of the image.
    pub platform: Option<hull_oci::Platform>,
    /// What runs.
    pub config: ContainerConfig,
    /// How it runs here.
    pub host: HostConfig,
    /// Networks to join.
    pub networking: NetworkingConfig,
    /// Whether what is mounted below a read-only mount stays writable, as before version 1.44 of Docker's API.
    pub shallow_read_only: bool,
    /// Whether one that names no cgroup namespace gets the host's on cgroups of version 1, whatever the engine's default
    /// is, as before version 1.41 of Docker's API.
    pub hosts_cgroups: bool,
}

/// A container was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// What was asked for without effect.
    pub warnings: Vec<String>,
}

/// A container to be saved.
#[derive(Debug, Clone, Default)]
pub struct CheckpointRequest {
    /// The checkpoint's name.
    pub name: String,
    /// Where its directory is made; empty: in the container's own.
    pub directory: String,
    /// Whether the container ends with it.
    pub exit: bool,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// That it does not run (at once, if so now).
    #[default]
    NotRunning,
    /// The next exit, even if it does not run now.
    NextExit,
    /// That it is removed.
    Removed,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exit {
    /// Exit code.
    pub code: i32,
    /// Why it could not be started; empty otherwise.
    pub error: String,
}

/// Streams to attach to.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Give input.
    pub stdin: bool,
    /// Take output.
    pub stdout: bool,
    /// Take errors.
    pub stderr: bool,
    /// First what was logged so far.
    pub logs: bool,
    /// Then what comes (without it, only the logs).
    pub stream: bool,
    /// Key sequence that detaches a terminal, as "ctrl-p,ctrl-q"; `None`: that default.
    pub detach_keys: Option<String>,
}

/// How many lines from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tail {
    /// Every one.
    #[default]
    All,
    /// So many.
    Lines(usize),
}

/// Which part of the log, and how.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Lines of stdout.
    pub stdout: bool,
    /// Lines of stderr.
    pub stderr: bool,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Each line begins with its time (RFC 3339, nanoseconds).
    pub timestamps: bool,
    /// Each line begins with the log's extra attributes.
    pub details: bool,
    /// From the end.
    pub tail: Tail,
    /// Go on until the container ends.
    pub follow: bool,
}

/// A program to run in a running container.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecConfig {
    /// "name|uid[:group|gid]"; empty: the container's.
    pub user: String,
    /// With every capability.
    pub privileged: bool,
    /// With a terminal.
    pub tty: bool,
    /// Rows and columns of it.
    pub console_size: Option<[u16; 2]>,
    /// With input.
    pub attach_stdin: bool,
    /// With output.
    pub attach_stdout: bool,
    /// With errors.
    pub attach_stderr: bool,
    /// Key sequence that detaches.
    pub detach_keys: Option<String>,
    /// Further environment.
    pub env: Vec<String>,
    /// Working directory; empty: the container's.
    pub working_dir: String,
    /// Program and arguments.
    pub cmd: Vec<String>,
}

/// How an exec session is started.
#[derive(Debug, Clone, Default)]
pub struct ExecStart {
    /// Do not attach.
    pub detach: bool,
    /// Whether the attached client wants bare bytes, as of a terminal, or frames. What its creation asked for decides
    /// whether there is a terminal.
    pub tty: bool,
    /// Rows and columns of it.
    pub console_size: Option<[u16; 2]>,
}

/// An exec session as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container's id.
    pub container_id: String,
    /// As asked for.
    pub config: ExecConfig,
    /// Whether it runs.
    pub running: bool,
    /// Its exit code; `None` until it ended.
    pub exit_code: Option<i32>,
    /// Process id on the host; 0 before the start.
    pub pid: i32,
    /// The keys that detach, as bytes; empty if they are the usual ones.
    pub detach_keys: Vec<u8>,
}

/// Changed limits.
#[derive(Debug, Clone, Default)]
pub struct ContainerUpdate {
    /// New limits; zero values leave the old ones.
    pub resources: Resources,
    /// New restart policy.
    pub restart_policy: Option<RestartPolicy>,
}

/// Processes of a container, as `ps` prints them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Top {
    /// Heads of the columns.
    pub titles: Vec<String>,
    /// One row a process.
    pub processes: Vec<Vec<String>>,
}

/// What a prune removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Ids or names.
    pub removed: Vec<String>,
    /// Bytes freed.
    pub space_reclaimed: u64,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// "local", or the name of a plugin.
    pub driver: String,
    /// Its directory on the host; empty where a plugin has it nowhere now.
    pub mountpoint: PathBuf,
    /// When it was made, if its driver knows.
    pub created: Option<Timestamp>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
    /// How far it reaches: "local" or "global".
    #[serde(default = "this_machine")]
    pub scope: String,
    /// What a plugin was asked to mount: ids and the containers that they are for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, String>,
    /// What its plugin wants to be shown.
    #[serde(skip)]
    pub status: Option<serde_json::Map<String, serde_json::Value>>,
    /// Whether it was made for a container whose own record is yet to be written: without one it goes again.
    #[serde(default)]
    pub unclaimed: bool,
}

fn this_machine() -> String {
    "local".to_owned()
}

/// A volume to be made.
#[derive(Debug, Clone, Default)]
pub struct VolumeRequest {
    /// Its name; empty: 64 random digits.
    pub name: String,
    /// Its driver; empty: "local".
    pub driver: String,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
}

/// What a volume uses.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: Volume,
    /// Bytes on disk.
    pub size: u64,
    /// Containers that use it.
    pub ref_count: usize,
}

/// What `docker system df` needs besides the images.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    /// Bytes of all layers.
    pub layers_size: u64,
    /// Volumes.
    pub volumes: Vec<VolumeUsage>,
    /// Bytes in the writable layer and bytes with the image, by container id.
    pub containers: BTreeMap<String, (u64, u64)>,
}

/// Facts for `docker info` that only the engine knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// Stable id of this engine.
    pub id: String,
    /// Containers.
    pub containers: usize,
    /// Of them running.
    pub running: usize,
    /// Of them paused.
    pub paused: usize,
    /// Of them not running.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// Storage driver.
    pub storage_driver: String,
    /// Pairs about it.
    pub storage_status: Vec<(String, String)>,
    /// Log driver by default.
    pub log_driver: String,
    /// "1" or "2".
    pub cgroup_version: String,
    /// "cgroupfs".
    pub cgroup_driver: String,
    /// Data root.
    pub data_root: PathBuf,
    /// Runtime by default.
    pub default_runtime: String,
    /// Security options, as "name=seccomp,profile=builtin".
    pub security_options: Vec<String>,
    /// What this host can limit; `None` where its cgroups cannot be read.
    pub limits: Option<hull_cgroup::Support>,
    /// Listeners to events.
    pub event_listeners: usize,
}

/// A path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Last component.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// `st_mode` of stat(2).
    pub mode: u32,
    /// Last change of its content.
    pub mtime: Timestamp,
    /// Where it points, if it is a symbolic link.
    pub link_target: String,
}
