//! A container as it is: the record in the store and the answer to `inspect`.

use std::path::PathBuf;

use hull_shim::protocol::LogFormat;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerConfig, HostConfig, MountKind, MountPoint, NetworkSettings, go_bool};

/// Where a container is in its life.
///
/// `Created` → `Running` ⇄ `Paused` → `Exited` → (`Restarting` → `Running`) → `Removing` → gone.
/// `Dead`: a removal failed half-way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Status {
    /// Never started, or a start failed.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Waiting for the restart policy's next try.
    Restarting,
    /// Being removed.
    Removing,
    /// Its process ended.
    Exited,
    /// Removal failed half-way.
    Dead,
}

impl Status {
    /// The name of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether there is a live process: running or paused.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// The changing half of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where it is in its life.
    pub status: Status,
    /// Whether the kernel killed one of its processes for memory.
    pub oom_killed: bool,
    /// Process id of its init on the host; 0 when not running.
    pub pid: i32,
    /// Process id of its supervisor; 0 when there is none.
    pub shim_pid: i32,
    /// Exit code of the last run; 128 + n after signal n.
    pub exit_code: i32,
    /// Why the last start failed.
    pub error: String,
    /// When it was started last.
    pub started_at: Option<Timestamp>,
    /// When it ended last.
    pub finished_at: Option<Timestamp>,
    /// Result of its health probes, if it has any.
    pub health: Option<Health>,
    /// Whether the user stopped it (so that "unless-stopped" leaves it alone).
    pub stopped_by_user: bool,
    /// Whether it was started at least once.
    pub ever_started: bool,
    /// Whether its removal takes its anonymous volumes along.
    #[serde(default)]
    pub takes_volumes: bool,
}

impl State {
    /// What former probes said stays known; what they meant is forgotten.
    pub(crate) fn probe_anew(&mut self) {
        if let Some(health) = &mut self.health {
            (health.status, health.failing_streak) = (HealthStatus::Starting, 0);
        }
    }

    /// As in Docker, what is not probed any more, because it ended or is frozen, counts as unhealthy.
    pub(crate) fn nobody_probes(&mut self) {
        if let Some(health) = &mut self.health {
            health.status = HealthStatus::Unhealthy;
        }
    }
}

/// What the health probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HealthStatus {
    /// In the start period, nothing known.
    #[default]
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// As many probes as allowed failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// The name of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A container's health.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last five probes.
    pub log: Vec<HealthProbe>,
}

/// One health probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProbe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 healthy, 1 unhealthy, other values: failure of the probe.
    pub exit_code: i32,
    /// The first 4 KiB of its output.
    pub output: String,
}

/// A container: everything the engine knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Name, without the leading slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// The program that runs.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Id (config digest) of its image, "sha256:…".
    pub image_id: String,
    /// Digest of the manifest it was made from; empty if unknown.
    pub image_manifest: String,
    /// Operating system of the image.
    pub platform: String,
    /// Chain ids of the image's layers, lowest first.
    pub layers: Vec<hull_oci::Digest>,
    /// What runs, merged with the image's defaults.
    pub config: ContainerConfig,
    /// How it runs here.
    pub host: HostConfig,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// Its networks.
    pub network: NetworkSettings,
    /// The changing half.
    pub state: State,
    /// Restarts by the policy since the user's last start.
    pub restart_count: u32,
    /// Directory of its files below the data root.
    pub directory: PathBuf,
    /// Its /etc/resolv.conf on the host.
    pub resolv_conf_path: PathBuf,
    /// Its /etc/hostname on the host.
    pub hostname_path: PathBuf,
    /// Its /etc/hosts on the host.
    pub hosts_path: PathBuf,
    /// Its log; empty if the driver is not `json-file`: see [`Container::log_file`].
    pub log_path: PathBuf,
    /// Ids of its exec sessions that still run. Not persisted.
    #[serde(skip)]
    pub exec_ids: Vec<String>,
}

impl Container {
    /// Its cgroup, the same path below every hierarchy.
    pub fn cgroup_path(&self, default_parent: &str) -> String {
        let parent = match self.host.resources.cgroup_parent.as_str() {
            "" => default_parent,
            parent => parent,
        };
        // One that leads up out of the hierarchies stays in them.
        format!("{}/{}", crate::create::clean(parent).trim_end_matches('/'), self.id)
    }

    /// Its mounts of images, each with the key of the snapshot that holds the image's layers for it.
    pub fn image_mounts(&self) -> impl Iterator<Item = (String, &MountPoint)> {
        let images = self.mounts.iter().filter(|mount| mount.kind == MountKind::Image);
        images.enumerate().map(|(number, mount)| (format!("{}-{number}", self.id), mount))
    }

    /// The profile of AppArmor it was given by name.
    pub fn apparmor_profile(&self) -> Option<&str> {
        let options = self.host.security_opt.as_deref().unwrap_or_default().iter().rev();
        options
            .filter_map(|option| option.strip_prefix("apparmor"))
            .find_map(|rest| rest.strip_prefix(['=', ':']))
    }

    /// The file that its output is read from, and how it looks inside; `None` if output is kept nowhere.
    pub fn log_file(&self) -> Option<(PathBuf, LogFormat)> {
        let log = &self.host.log_config;
        let entries = |name: &str| Some((self.directory.join(name), LogFormat::Entries));
        let cached = log.options.get("cache-disabled").is_none_or(|text| go_bool(text) != Some(true));
        match log.driver.as_str() {
            "none" => None,
            "local" => entries("local.log"),
            "" | "json-file" => Some((self.log_path.clone(), LogFormat::JsonFile)),
            _ if cached => entries("cached.log"),
            _ => None,
        }
    }

    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Whether the health is probed.
    pub fn has_healthcheck(&self) -> bool {
        let test = self.config.healthcheck.as_ref().map(|check| check.test.as_slice());
        matches!(test, Some([first, ..]) if first != "NONE")
    }
}
