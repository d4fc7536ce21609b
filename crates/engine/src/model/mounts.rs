//! Mounts: as asked for (`MountSpec`) and as made (`MountPoint`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum MountKind {
    /// A directory or file of the host.
    #[default]
    Bind,
    /// A volume, named or anonymous.
    Volume,
    /// A fresh memory file system.
    Tmpfs,
    /// The files of an image, or a part of them; read-only.
    Image,
    /// A Windows pipe (not supported).
    NamedPipe,
    /// A CSI cluster volume (not supported).
    Cluster,
}

impl MountKind {
    /// The name of the API: "bind", "volume", "tmpfs".
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
            Self::NamedPipe => "npipe",
            Self::Cluster => "cluster",
        }
    }
}

/// One `--mount`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MountSpec {
    /// What is mounted.
    pub kind: MountKind,
    /// Host path, volume name, or empty.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the container may not write.
    pub read_only: bool,
    /// "default", "consistent", "cached", "delegated"; without effect on Linux.
    pub consistency: String,
    /// For a bind.
    pub bind: Option<BindOptions>,
    /// For a volume.
    pub volume: Option<VolumeOptions>,
    /// For a tmpfs.
    pub tmpfs: Option<TmpfsOptions>,
    /// For an image: the directory in it.
    pub image_subpath: Option<String>,
}

/// How a bind mount is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// "rprivate" (and empty), "private", "rshared", "shared", "rslave", "slave".
    pub propagation: String,
    /// Whether mounts below the source are left out.
    pub non_recursive: bool,
    /// Whether a missing source is made.
    pub create_mountpoint: bool,
    /// Whether mounts below the source stay writable in a read-only mount.
    pub read_only_non_recursive: bool,
    /// Whether it is an error when they cannot be made read-only.
    pub read_only_force_recursive: bool,
}

/// How a volume is made and mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Whether a new volume stays empty instead of getting the image's files.
    pub no_copy: bool,
    /// Labels of the volume, if it is made now.
    pub labels: BTreeMap<String, String>,
    /// A directory of the volume to mount instead of its root.
    pub subpath: String,
    /// Its driver; empty: "local".
    pub driver: String,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Whether the request had a driver config at all; kept for inspect.
    pub driver_given: bool,
}

/// How a tmpfs is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// Bytes; zero: half of the memory.
    pub size_bytes: i64,
    /// Permission bits; zero: 1777.
    pub mode: u32,
    /// Further options, each `[name]` or `[name, value]`.
    pub options: Vec<Vec<String>>,
}

/// One mount of a container, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// What is mounted.
    pub kind: MountKind,
    /// The volume's name; empty for others.
    pub name: String,
    /// The path on the host; empty for a tmpfs.
    pub source: String,
    /// The path in the container.
    pub destination: String,
    /// The volume's driver; empty for others.
    pub driver: String,
    /// The options as given with `-v`: "ro", "z".
    pub mode: String,
    /// Whether the container may write.
    pub rw: bool,
    /// For an image: the chain ids of its layers, lowest first.
    pub layers: Vec<hull_oci::Digest>,
    /// Propagation; empty for volumes.
    pub propagation: String,
    /// Whether the image's files are copied into a new, empty volume.
    pub copy: bool,
    /// Whether the volume was made for this container without a name.
    pub anonymous: bool,
    /// Whether a missing bind source is made (`-v`) or an error (`--mount`).
    pub create_source: bool,
    /// Whether what is mounted below stays writable when this is read-only.
    pub shallow_read_only: bool,
    /// The `--mount` this came from, if any.
    pub spec: Option<MountSpec>,
    /// What a volume with options of its driver mounts instead of its directory.
    pub device: Option<Device>,
}

/// A file system that the local volume driver was told to mount: its options `type`, `device` and `o`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// "nfs", "tmpfs", "ext4"; of no meaning for a bind.
    pub filesystem: String,
    /// A path, "server:/export", or whatever the file system takes.
    pub device: String,
    /// As mount(8) takes them.
    pub options: Vec<String>,
}

impl Device {
    /// Whether it is a directory of the host.
    pub fn is_bind(&self) -> bool {
        self.options.iter().any(|option| option == "bind" || option == "rbind")
    }

    /// Whether every mount of it is another, empty one.
    pub fn is_memory(&self) -> bool {
        !self.is_bind() && matches!(self.filesystem.as_str(), "tmpfs" | "ramfs")
    }
}

impl MountPoint {
    /// The part of a volume or an image to mount; empty: all of it.
    pub fn subpath(&self) -> &str {
        let Some(spec) = &self.spec else { return "" };
        let volume = spec.volume.as_ref().map(|volume| volume.subpath.as_str());
        volume.or(spec.image_subpath.as_deref()).unwrap_or_default()
    }

    /// The directory on the host that has its files; none if only the mount itself has them.
    pub fn directory(&self) -> Option<&str> {
        match &self.device {
            None => Some(&self.source),
            Some(device) => device.is_bind().then_some(&device.device),
        }
    }
}
