//! The daemon itself: version, information, disk usage, registry login.

use super::container::ContainerSummary;
use super::image::ImageSummary;
use super::volume::Volume;
use super::{Labels, wire, zero};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

wire! {
    /// The answer of `/version`.
    pub struct Version {
        platform: VersionPlatform,
        components: Vec<Component>,
        version: String,
        api_version: String,
        #[serde(rename = "MinAPIVersion")]
        min_api_version: String,
        git_commit: String,
        go_version: String,
        os: String,
        arch: String,
        #[serde(skip_serializing_if = "zero")]
        kernel_version: String,
        #[serde(skip_serializing_if = "zero")]
        experimental: bool,
        /// RFC 3339.
        #[serde(skip_serializing_if = "zero")]
        build_time: String,
    }
}

wire! {
    /// The product.
    pub struct VersionPlatform {
        name: String,
    }
}

wire! {
    /// A part of the engine with a version of its own.
    pub struct Component {
        name: String,
        version: String,
        #[serde(skip_serializing_if = "zero")]
        details: Labels,
    }
}

wire! {
    /// The answer of `/info`.
    pub struct Info {
        #[serde(rename = "ID")]
        id: String,
        containers: i64,
        containers_running: i64,
        containers_paused: i64,
        containers_stopped: i64,
        images: i64,
        driver: String,
        driver_status: Vec<(String, String)>,
        plugins: Plugins,
        memory_limit: bool,
        swap_limit: bool,
        cpu_cfs_period: bool,
        cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        cpu_set: bool,
        pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        ipv4_forwarding: bool,
        debug: bool,
        #[serde(rename = "NFd")]
        n_fd: i64,
        oom_kill_disable: bool,
        #[serde(rename = "NGoroutines")]
        n_goroutines: i64,
        /// RFC 3339 with nanoseconds.
        system_time: String,
        logging_driver: String,
        cgroup_driver: String,
        #[serde(skip_serializing_if = "zero")]
        cgroup_version: String,
        #[serde(rename = "NEventsListener")]
        n_events_listener: i64,
        kernel_version: String,
        operating_system: String,
        #[serde(rename = "OSVersion")]
        os_version: String,
        #[serde(rename = "OSType")]
        os_type: String,
        architecture: String,
        index_server_address: String,
        registry_config: RegistryConfig,
        #[serde(rename = "NCPU")]
        n_cpu: i64,
        /// Bytes.
        mem_total: i64,
        generic_resources: Option<Vec<serde_json::Value>>,
        docker_root_dir: String,
        http_proxy: String,
        https_proxy: String,
        no_proxy: String,
        name: String,
        labels: Vec<String>,
        experimental_build: bool,
        server_version: String,
        runtimes: BTreeMap<String, Runtime>,
        default_runtime: String,
        swarm: Swarm,
        live_restore_enabled: bool,
        isolation: String,
        init_binary: String,
        #[serde(skip_serializing_if = "zero")]
        containerd: Option<serde_json::Value>,
        containerd_commit: Commit,
        runc_commit: Commit,
        init_commit: Commit,
        security_options: Vec<String>,
        #[serde(skip_serializing_if = "zero")]
        product_license: String,
        #[serde(skip_serializing_if = "zero")]
        default_address_pools: Vec<AddressPool>,
        #[serde(skip_serializing_if = "zero")]
        firewall_backend: Option<FirewallInfo>,
        #[serde(skip_serializing_if = "zero")]
        discovered_devices: Option<Vec<DeviceInfo>>,
        #[serde(rename = "NRI", skip_serializing_if = "zero")]
        nri: Option<NriInfo>,
        #[serde(flatten, skip_deserializing)]
        bridge_nf: Option<BridgeFilter>,
        #[serde(rename = "CDISpecDirs")]
        cdi_spec_dirs: Vec<String>,
        warnings: Option<Vec<String>>,
    }
}

wire! {
    /// The drivers that are there, by kind.
    pub struct Plugins {
        volume: Vec<String>,
        network: Vec<String>,
        authorization: Option<Vec<String>>,
        log: Vec<String>,
    }
}

wire! {
    /// How registries are reached.
    pub struct RegistryConfig {
        index_configs: BTreeMap<String, IndexConfig>,
        #[serde(rename = "InsecureRegistryCIDRs")]
        insecure_registry_cidrs: Vec<String>,
        mirrors: Option<Vec<String>>,
        #[serde(flatten, skip_deserializing)]
        nondistributable: Option<Nondistributable>,
    }
}

wire! {
    /// Registries that were given layers they may not distribute; long gone, and always `null`.
    pub struct Nondistributable {
        #[serde(rename = "AllowNondistributableArtifactsCIDRs")]
        cidrs: Option<Vec<String>>,
        #[serde(rename = "AllowNondistributableArtifactsHostnames")]
        hostnames: Option<Vec<String>>,
    }
}

wire! {
    /// One registry.
    pub struct IndexConfig {
        name: String,
        mirrors: Vec<String>,
        secure: bool,
        official: bool,
    }
}

/// An OCI runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    #[serde(skip_serializing_if = "zero")]
    pub path: String,
    #[serde(rename = "runtimeArgs", skip_serializing_if = "zero")]
    pub runtime_args: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub status: Labels,
}

wire! {
    /// The swarm's state; "inactive" where there is none.
    pub struct Swarm {
        #[serde(rename = "NodeID")]
        node_id: String,
        node_addr: String,
        local_node_state: String,
        control_available: bool,
        error: String,
        remote_managers: Option<Vec<serde_json::Value>>,
    }
}

wire! {
    /// The version of an external part.
    pub struct Commit {
        #[serde(rename = "ID")]
        id: String,
        #[serde(skip_serializing_if = "zero")]
        expected: Option<String>,
    }
}

wire! {
    /// Whether a bridge's packets meet the host's filter; always false in the versions that tell.
    pub struct BridgeFilter {
        bridge_nf_iptables: bool,
        bridge_nf_ip6tables: bool,
    }
}

wire! {
    /// A device that containers may ask for by name.
    pub struct DeviceInfo {
        source: String,
        #[serde(rename = "ID")]
        id: String,
    }
}

wire! {
    /// The node resource interface.
    pub struct NriInfo {
        info: Vec<(String, String)>,
    }
}

wire! {
    /// Addresses from which new networks take theirs.
    pub struct AddressPool {
        base: String,
        size: i64,
    }
}

wire! {
    /// What makes the firewall rules.
    pub struct FirewallInfo {
        driver: String,
        #[serde(skip_serializing_if = "zero")]
        info: Vec<(String, String)>,
    }
}

wire! {
    /// The answer of `/system/df`: older versions have lists, newer ones sums (with lists, if asked).
    pub struct DiskUsage {
        /// Bytes, each layer once. The lists of the older form are `null` where nobody asked for them.
        #[serde(skip_serializing_if = "zero")]
        layers_size: Option<i64>,
        #[serde(skip_serializing_if = "zero")]
        images: Option<Option<Vec<ImageSummary>>>,
        #[serde(skip_serializing_if = "zero")]
        containers: Option<Option<Vec<ContainerSummary>>>,
        #[serde(skip_serializing_if = "zero")]
        volumes: Option<Option<Vec<Volume>>>,
        #[serde(skip_serializing_if = "zero")]
        build_cache: Option<Option<Vec<BuildCache>>>,
        #[serde(skip_serializing_if = "zero")]
        image_usage: Option<Usage<ImageSummary>>,
        #[serde(skip_serializing_if = "zero")]
        container_usage: Option<Usage<ContainerSummary>>,
        #[serde(skip_serializing_if = "zero")]
        volume_usage: Option<Usage<Volume>>,
        #[serde(skip_serializing_if = "zero")]
        build_cache_usage: Option<Usage<BuildCache>>,
    }
}

/// What all objects of a kind take; what is 0 is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, bound(deserialize = "T: Deserialize<'de> + Default"))]
pub struct Usage<T> {
    /// How many are in use.
    #[serde(skip_serializing_if = "zero")]
    pub active_count: i64,
    /// Only if asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<T>,
    /// Bytes of what is not in use.
    #[serde(skip_serializing_if = "zero")]
    pub reclaimable: i64,
    #[serde(skip_serializing_if = "zero")]
    pub total_count: i64,
    /// Bytes.
    #[serde(skip_serializing_if = "zero")]
    pub total_size: i64,
}

wire! {
    /// One record of the build cache.
    pub struct BuildCache {
        #[serde(rename = "ID")]
        id: String,
        #[serde(rename = "Type")]
        kind: String,
        description: String,
        in_use: bool,
        shared: bool,
        size: i64,
        created_at: String,
        last_used_at: Option<String>,
        usage_count: i64,
    }
}

/// Credentials: the body of `/auth`, and base64url JSON in the `X-Registry-Auth` header.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "zero")]
    pub username: String,
    #[serde(skip_serializing_if = "zero")]
    pub password: String,
    /// Base64 of "username:password".
    #[serde(skip_serializing_if = "zero")]
    pub auth: String,
    #[serde(skip_serializing_if = "zero")]
    pub serveraddress: String,
    #[serde(skip_serializing_if = "zero")]
    pub identitytoken: String,
    #[serde(skip_serializing_if = "zero")]
    pub registrytoken: String,
}

impl std::fmt::Debug for AuthConfig {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

impl AuthConfig {
    /// The value of an `X-Registry-Auth` header.
    pub fn to_header(&self) -> String {
        use base64::Engine as _;
        // Strings and nothing else: serialising cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        base64::engine::general_purpose::URL_SAFE.encode(json)
    }

    /// Reads the value of an `X-Registry-Auth` header; both base64 alphabets, padded or not.
    pub fn from_header(value: &str) -> Result<Self, InvalidAuth> {
        use base64::Engine as _;
        if value.is_empty() {
            return Ok(AuthConfig::default());
        }
        let plain: String = value
            .trim_end_matches('=')
            .chars()
            .map(|c| match c {
                '+' => '-',
                '/' => '_',
                other => other,
            })
            .collect();
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(plain)
            .map_err(|reason| InvalidAuth(reason.to_string()))?;
        serde_json::from_slice(&json).map_err(|reason| InvalidAuth(reason.to_string()))
    }
}

/// An `X-Registry-Auth` header that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid X-Registry-Auth header: {0}")]
pub struct InvalidAuth(pub String);

wire! {
    /// The answer of `/auth`.
    pub struct AuthResponse {
        identity_token: String,
        status: String,
    }
}
