//! What callers hand in.

use std::path::PathBuf;

use hull_oci::{Digest, Platform, Reference};
use hull_snapshot::{Limits, Mounts};

use crate::config::Config;

/// How the store reaches registries and what it accepts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host[:port]` or CIDR of registries that may be without valid certificates or without TLS. Loopback always may.
    pub insecure_registries: Vec<String>,
    /// URLs that are asked before Docker Hub.
    pub mirrors: Vec<String>,
    /// `<certs_dir>/<host[:port]>/{*.crt,*.cert,*.key}`: authorities and client certificates.
    pub certs_dir: Option<PathBuf>,
    /// Layers fetched at once by one pull.
    pub max_concurrent_downloads: usize,
    /// Layers sent at once by one push.
    pub max_concurrent_uploads: usize,
    /// How often a broken download is taken up again.
    pub max_download_attempts: usize,
    /// What leads to registries that are not on this machine; `None`: as the environment says.
    pub proxies: Option<Proxies>,
    /// Bounds of one unpacked layer.
    pub limits: Limits,
}

/// Proxies by URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// To registries without TLS.
    pub http: Option<String>,
    /// To registries with TLS.
    pub https: Option<String>,
    /// Hosts, domains and networks that none leads to, with commas between.
    pub except: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            mirrors: Vec::new(),
            certs_dir: Some(PathBuf::from("/etc/docker/certs.d")),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            max_download_attempts: 5,
            proxies: None,
            limits: Limits { max_entries: 4 << 20, ..Limits::default() },
        }
    }
}

/// Who asks: credentials for one registry, as clients send them in `X-Registry-Auth`; all empty is anonymous.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// Of Basic authentication and of token servers.
    pub username: String,
    /// Of Basic authentication and of token servers.
    pub password: String,
    /// An OAuth2 refresh token, instead of the password.
    pub identity_token: String,
    /// A bearer token for the registry itself.
    pub registry_token: String,
    /// The program that asks, as it calls itself; registries are told.
    pub client: String,
}

impl std::fmt::Debug for Auth {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What `import` makes.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Its name; the default tag is added.
    pub reference: Option<Reference>,
    /// The comment of its history.
    pub message: String,
    /// Dockerfile instructions, `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// The host's where None.
    pub platform: Option<Platform>,
    /// Where the archive came from, for the history: `-` or a URL.
    pub source: String,
}

/// What `commit` makes. `config` is the container's, onto which `changes` are applied.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The image of the container.
    pub parent: Option<Digest>,
    /// The container's file system.
    pub mounts: Mounts,
    /// The new image's defaults.
    pub config: Config,
    /// Dockerfile instructions, `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// Its name; the default tag is added.
    pub reference: Option<Reference>,
    /// Who.
    pub author: String,
    /// Why.
    pub comment: String,
    /// The container's id.
    pub container: String,
    /// The container's configuration, which the document keeps as it is; null is none.
    pub container_config: serde_json::Value,
    /// The step, for the history: the container's command.
    pub created_by: String,
}
