//! Mounts as asked for (`--mount`) and as they are.

use super::{Labels, wire, zero};

wire! {
    /// A mount asked for.
    pub struct Mount {
        /// "bind", "volume", "tmpfs", "image", "cluster" or "npipe".
        #[serde(rename = "Type", skip_serializing_if = "zero")]
        kind: String,
        #[serde(skip_serializing_if = "zero")]
        source: String,
        #[serde(skip_serializing_if = "zero")]
        target: String,
        #[serde(skip_serializing_if = "zero")]
        read_only: bool,
        #[serde(skip_serializing_if = "zero")]
        consistency: String,
        #[serde(skip_serializing_if = "zero")]
        bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "zero")]
        volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "zero")]
        image_options: Option<ImageOptions>,
        #[serde(skip_serializing_if = "zero")]
        tmpfs_options: Option<TmpfsOptions>,
    }
}

wire! {
    /// Options of a bind mount.
    pub struct BindOptions {
        #[serde(skip_serializing_if = "zero")]
        propagation: String,
        #[serde(skip_serializing_if = "zero")]
        non_recursive: bool,
        #[serde(skip_serializing_if = "zero")]
        create_mountpoint: bool,
        #[serde(skip_serializing_if = "zero")]
        read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "zero")]
        read_only_force_recursive: bool,
    }
}

wire! {
    /// Options of a volume mount.
    pub struct VolumeOptions {
        #[serde(skip_serializing_if = "zero")]
        no_copy: bool,
        #[serde(skip_serializing_if = "zero")]
        labels: Labels,
        #[serde(skip_serializing_if = "zero")]
        subpath: String,
        #[serde(skip_serializing_if = "zero")]
        driver_config: Option<Driver>,
    }
}

wire! {
    /// A volume driver and its options.
    pub struct Driver {
        #[serde(skip_serializing_if = "zero")]
        name: String,
        #[serde(skip_serializing_if = "zero")]
        options: Labels,
    }
}

wire! {
    /// Options of an image mount.
    pub struct ImageOptions {
        #[serde(skip_serializing_if = "zero")]
        subpath: String,
    }
}

wire! {
    /// Options of a tmpfs mount.
    pub struct TmpfsOptions {
        #[serde(skip_serializing_if = "zero")]
        size_bytes: i64,
        /// Permission bits.
        #[serde(skip_serializing_if = "zero")]
        mode: u32,
        #[serde(skip_serializing_if = "zero")]
        options: Vec<Vec<String>>,
    }
}

wire! {
    /// A mount of an existing container.
    pub struct MountPoint {
        #[serde(rename = "Type", skip_serializing_if = "zero")]
        kind: String,
        #[serde(skip_serializing_if = "zero")]
        name: String,
        source: String,
        destination: String,
        #[serde(skip_serializing_if = "zero")]
        driver: String,
        mode: String,
        #[serde(rename = "RW")]
        rw: bool,
        propagation: String,
    }
}
