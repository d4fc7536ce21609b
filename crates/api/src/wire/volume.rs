//! Volumes.

use super::{Labels, wire, zero};

wire! {
    /// A volume, in lists and by `inspect`.
    pub struct Volume {
        /// RFC 3339.
        #[serde(skip_serializing_if = "zero")]
        created_at: String,
        driver: String,
        labels: Option<Labels>,
        mountpoint: String,
        name: String,
        options: Option<Labels>,
        scope: String,
        #[serde(skip_serializing_if = "zero")]
        status: Option<serde_json::Map<String, serde_json::Value>>,
        /// Only in disk usage.
        #[serde(skip_serializing_if = "zero")]
        usage_data: Option<VolumeUsage>,
    }
}

wire! {
    /// How many containers use it and how large it is; -1 is unknown.
    pub struct VolumeUsage {
        ref_count: i64,
        size: i64,
    }
}

wire! {
    /// The body of `/volumes/create`.
    pub struct VolumeCreateRequest {
        #[serde(skip_serializing_if = "zero")]
        driver: String,
        #[serde(skip_serializing_if = "zero")]
        driver_opts: Option<Labels>,
        #[serde(skip_serializing_if = "zero")]
        labels: Option<Labels>,
        #[serde(skip_serializing_if = "zero")]
        name: String,
        /// Only for a volume of a cluster.
        #[serde(skip_serializing_if = "zero")]
        cluster_volume_spec: Option<serde_json::Map<String, serde_json::Value>>,
    }
}

wire! {
    /// The answer of `/volumes`.
    pub struct VolumeList {
        volumes: Vec<Volume>,
        warnings: Option<Vec<String>>,
    }
}

wire! {
    /// The answer of `/volumes/prune`.
    pub struct VolumePruneResponse {
        volumes_deleted: Option<Vec<String>>,
        /// Bytes.
        space_reclaimed: u64,
    }
}
