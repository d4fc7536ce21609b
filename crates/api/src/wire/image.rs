//! Images.

use super::container::{ContainerConfig, GraphDriver, HealthConfig};
use super::{Labels, Set, StrSlice, wire, zero};
use serde::{Deserialize, Serialize};

/// A descriptor of the OCI image specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: i64,
    #[serde(skip_serializing_if = "zero")]
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub annotations: Labels,
    #[serde(skip_serializing_if = "zero")]
    pub platform: Option<Platform>,
}

/// A platform of the OCI image specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(rename = "os.version", skip_serializing_if = "zero")]
    pub os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "zero")]
    pub os_features: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub variant: String,
}

wire! {
    /// The answer of `/images/{name}/json`.
    pub struct ImageInspect {
        id: String,
        #[serde(skip_serializing_if = "zero")]
        descriptor: Option<Descriptor>,
        #[serde(skip_serializing_if = "zero")]
        manifests: Option<Vec<ManifestSummary>>,
        #[serde(skip_serializing_if = "zero")]
        identity: Option<Identity>,
        repo_tags: Vec<String>,
        repo_digests: Vec<String>,
        #[serde(skip_serializing_if = "zero")]
        parent: Option<String>,
        #[serde(skip_serializing_if = "zero")]
        comment: Option<String>,
        /// RFC 3339 with nanoseconds.
        #[serde(skip_serializing_if = "zero")]
        created: Option<String>,
        /// The container that became the image; it is not kept.
        #[serde(skip_serializing_if = "zero")]
        container: Option<String>,
        #[serde(skip_serializing_if = "zero")]
        container_config: Option<Box<ContainerConfig>>,
        #[serde(skip_serializing_if = "zero")]
        docker_version: Option<String>,
        #[serde(skip_serializing_if = "zero")]
        author: Option<String>,
        config: Option<ImageConfig>,
        architecture: String,
        #[serde(skip_serializing_if = "zero")]
        variant: String,
        os: String,
        #[serde(skip_serializing_if = "zero")]
        os_version: String,
        /// Bytes.
        size: i64,
        #[serde(skip_serializing_if = "zero")]
        virtual_size: Option<i64>,
        graph_driver: GraphDriver,
        #[serde(rename = "RootFS")]
        root_fs: RootFs,
        metadata: ImageMetadata,
    }
}

wire! {
    /// What an image says of the containers made from it. An outer `None` is left out, an inner one is `null`.
    pub struct ImageConfig {
        /// What only containers have, all of it empty.
        #[serde(flatten, skip_deserializing)]
        of_containers: Option<EmptyContainerConfig>,
        #[serde(skip_serializing_if = "zero")]
        user: Option<String>,
        #[serde(skip_serializing_if = "zero")]
        exposed_ports: Set,
        #[serde(skip_serializing_if = "zero")]
        env: Option<Option<Vec<String>>>,
        #[serde(skip_serializing_if = "zero")]
        entrypoint: Option<Option<StrSlice>>,
        #[serde(skip_serializing_if = "zero")]
        cmd: Option<Option<StrSlice>>,
        #[serde(skip_serializing_if = "zero")]
        volumes: Option<Option<Set>>,
        #[serde(skip_serializing_if = "zero")]
        working_dir: Option<String>,
        #[serde(skip_serializing_if = "zero")]
        labels: Option<Option<Labels>>,
        #[serde(skip_serializing_if = "zero")]
        stop_signal: String,
        #[serde(skip_serializing_if = "zero")]
        args_escaped: bool,
        #[serde(skip_serializing_if = "zero")]
        healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "zero")]
        on_build: Option<Option<Vec<String>>>,
        #[serde(skip_serializing_if = "zero")]
        shell: StrSlice,
    }
}

wire! {
    /// Fields of a container's configuration that older versions show of an image, too; none is ever set.
    pub struct EmptyContainerConfig {
        hostname: String,
        domainname: String,
        attach_stdin: bool,
        attach_stdout: bool,
        attach_stderr: bool,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        image: String,
    }
}

wire! {
    /// Where an image comes from.
    pub struct Identity {
        #[serde(skip_serializing_if = "zero")]
        pull: Vec<PullIdentity>,
    }
}

wire! {
    /// A repository that an image was pulled from.
    pub struct PullIdentity {
        repository: String,
    }
}

wire! {
    /// One manifest of an image: for one platform.
    pub struct ManifestSummary {
        #[serde(rename = "ID")]
        id: String,
        descriptor: Descriptor,
        /// All that it refers to is here.
        available: bool,
        size: ManifestSize,
        /// "image", "attestation" or "unknown".
        kind: String,
        #[serde(skip_serializing_if = "zero")]
        image_data: Option<ManifestImage>,
        #[serde(skip_serializing_if = "zero")]
        attestation_data: Option<ManifestAttestation>,
    }
}

wire! {
    /// What an attestation is about.
    pub struct ManifestAttestation {
        /// The digest of another manifest.
        #[serde(rename = "For")]
        of: String,
    }
}

wire! {
    /// Bytes of the blobs alone, and with what is unpacked.
    pub struct ManifestSize {
        content: i64,
        total: i64,
    }
}

wire! {
    /// What a manifest of an image is about.
    pub struct ManifestImage {
        platform: Platform,
        #[serde(skip_serializing_if = "zero")]
        identity: Option<Identity>,
        size: UnpackedSize,
        /// The ids of those that use it.
        containers: Vec<String>,
    }
}

wire! {
    /// Bytes of the unpacked layers.
    pub struct UnpackedSize {
        unpacked: i64,
    }
}

wire! {
    /// The layers, bottom first, by the digest of their uncompressed archive.
    pub struct RootFs {
        #[serde(rename = "Type")]
        kind: String,
        #[serde(skip_serializing_if = "zero")]
        layers: Vec<String>,
    }
}

wire! {
    /// What the engine knows of an image beside the image.
    pub struct ImageMetadata {
        /// RFC 3339; "0001-01-01T00:00:00Z" is never.
        last_tag_time: String,
    }
}

wire! {
    /// One line of `/images/json`.
    pub struct ImageSummary {
        /// -1 is not counted.
        containers: i64,
        /// Unix seconds.
        created: i64,
        id: String,
        labels: Option<Labels>,
        parent_id: String,
        #[serde(skip_serializing_if = "zero")]
        manifests: Option<Vec<ManifestSummary>>,
        #[serde(skip_serializing_if = "zero")]
        descriptor: Option<Descriptor>,
        repo_digests: Vec<String>,
        repo_tags: Vec<String>,
        /// Bytes; -1 is not counted.
        shared_size: i64,
        size: i64,
        #[serde(skip_serializing_if = "zero")]
        virtual_size: Option<i64>,
    }
}

wire! {
    /// One line of `/images/{name}/history`, newest first.
    pub struct HistoryItem {
        comment: String,
        /// Unix seconds.
        created: i64,
        created_by: String,
        /// "<missing>" for what has no image of its own.
        id: String,
        size: i64,
        tags: Option<Vec<String>>,
    }
}

wire! {
    /// One line of the answer to an image's deletion: one of the two.
    pub struct ImageDeleteItem {
        #[serde(skip_serializing_if = "zero")]
        deleted: String,
        #[serde(skip_serializing_if = "zero")]
        untagged: String,
    }
}

wire! {
    /// The answer of `/images/prune`.
    pub struct ImagePruneResponse {
        images_deleted: Option<Vec<ImageDeleteItem>>,
        /// Bytes.
        space_reclaimed: u64,
    }
}

wire! {
    /// The last `aux` of a push.
    pub struct PushResult {
        tag: String,
        digest: String,
        size: i64,
    }
}

wire! {
    /// The answer of `/build/prune`.
    pub struct BuildPruneResponse {
        caches_deleted: Option<Vec<String>>,
        space_reclaimed: u64,
    }
}

wire! {
    /// The answer of `/distribution/{name}/json`.
    pub struct DistributionInspect {
        descriptor: Descriptor,
        platforms: Vec<Platform>,
    }
}
