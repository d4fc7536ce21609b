//! Plugins of Docker's first kind: programs of somebody else that listen on a socket and answer JSON over HTTP.
//!
//! A plugin is known by its name only: `NAME.sock`, `NAME.spec` or `NAME.json` in one of the directories, or in a
//! directory `NAME` there. It is *activated* by the first who asks for it, which tells what it implements; from then
//! on it stays. One that is not there or does not answer is waited for a while by who needs just it, for it may be
//! starting, and looked for again by whoever needs it next.
//!
//! Source: the documents of Docker's plugin API and of its volume plugins.

mod client;
mod discovery;
mod volume;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Deserialize;

pub use client::Patience;
pub use volume::{Scope, VolumeDriver, VolumeFacts};

use client::{APPEARS_WITHIN, Client, Pauses};

/// The longest that a plugin may take to tell what it is.
const ACTIVATION: Duration = Duration::from_secs(30);

/// Why a plugin did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("plugin \"{0}\" not found")]
    NotFound(String),
    /// It cannot be used as it is described, or is of another kind.
    #[error("legacy plugin: {0}")]
    Unusable(String),
    /// It does not answer, or not as it should.
    #[error("{0}")]
    Unreachable(String),
    /// It says no, in its own words.
    #[error("{0}")]
    Refused(String),
}

/// The outcome of asking a plugin.
pub type Result<T> = std::result::Result<T, Error>;

/// The plugins that there are.
#[derive(Debug, Default)]
pub struct Plugins {
    directories: Vec<PathBuf>,
    active: Mutex<BTreeMap<String, Arc<Active>>>,
}

/// One that has told what it implements.
#[derive(Debug)]
struct Active {
    name: String,
    implements: Vec<String>,
    client: Client,
    /// How far its volumes reach, once it has said so.
    scope: OnceLock<volume::Scope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    #[serde(default)]
    implements: Option<Vec<String>>,
}

impl Plugins {
    /// Those that are in `directories`, the first of a name counts.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories, active: Mutex::default() }
    }

    /// The volume driver of that name.
    pub async fn volume_driver(&self, name: &str) -> Result<VolumeDriver> {
        let active = self.active(name, Patience::Some).await?;
        match active.implements.iter().any(|kind| kind == volume::KIND) {
            true => Ok(VolumeDriver::new(active)),
            false => Err(Error::Unusable("Plugin does not implement the requested driver".to_owned())),
        }
    }

    /// Every volume driver that answers now, by name.
    pub async fn volume_drivers(&self) -> Vec<VolumeDriver> {
        let mut drivers = Vec::new();
        for name in discovery::names(&self.directories) {
            match self.active(&name, Patience::None).await {
                Ok(active) if active.implements.iter().any(|kind| kind == volume::KIND) => {
                    drivers.push(VolumeDriver::new(active));
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(plugin = name, "{error}"),
            }
        }
        drivers
    }

    /// The names of the volume drivers that have been asked for something.
    pub fn active_volume_drivers(&self) -> Vec<String> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let drivers = active.values().filter(|one| one.implements.iter().any(|kind| kind == volume::KIND));
        drivers.map(|one| one.name.clone()).collect()
    }

    async fn active(&self, name: &str, patience: Patience) -> Result<Arc<Active>> {
        let known = self.active.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(active) = known {
            return Ok(active);
        }
        let address = self.find(name, patience).await?;
        let client = Client::new(address)?;
        let manifest: Manifest = client.call("Plugin.Activate", &(), ACTIVATION, patience).await?;
        let implements = manifest.implements.unwrap_or_default();
        let active = Arc::new(Active { name: name.to_owned(), implements, client, scope: OnceLock::new() });
        let mut all = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(all.entry(name.to_owned()).or_insert(active)))
    }

    /// Where it listens.
    async fn find(&self, name: &str, patience: Patience) -> Result<discovery::Address> {
        let mut pauses = Pauses::within(APPEARS_WITHIN);
        loop {
            match discovery::find(&self.directories, name) {
                Err(why @ Error::NotFound(_)) if patience == Patience::Some && discovery::is_name(name) => {
                    if !pauses.wait(&why).await {
                        return Err(why);
                    }
                }
                found => return found,
            }
        }
    }
}
