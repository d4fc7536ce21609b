//! `VolumeDriver`: what a volume plugin can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Active, Patience, Result};

/// What such a plugin says that it implements.
pub(crate) const KIND: &str = "VolumeDriver";

/// How long an answer may take that does something, and one that only tells.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_secs(60);

/// A volume plugin.
#[derive(Debug, Clone)]
pub struct VolumeDriver {
    plugin: Arc<Active>,
}

/// What a plugin says of a volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeFacts {
    /// Its name.
    pub name: String,
    /// Where it is mounted on the host; empty where it is not.
    pub mountpoint: Option<String>,
    /// When it was made, if the plugin knows.
    #[serde(deserialize_with = "lenient")]
    pub created_at: Option<Timestamp>,
    /// Whatever the plugin wants to be shown.
    pub status: Option<Map<String, Value>>,
}

/// How far a driver's volumes reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// This machine.
    #[default]
    Local,
    /// Several.
    Global,
}

impl Scope {
    /// "local" or "global".
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Global => "global",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Question<'a> {
    name: &'a str,
    #[serde(rename = "ID", skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opts: Option<&'a BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Place {
    #[serde(default)]
    mountpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    #[serde(default)]
    volume: Option<VolumeFacts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct All {
    #[serde(default)]
    volumes: Option<Vec<VolumeFacts>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Capabilities {
    #[serde(default)]
    capabilities: Reach,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Reach {
    #[serde(default)]
    scope: String,
}

impl VolumeDriver {
    pub(crate) fn new(plugin: Arc<Active>) -> Self {
        Self { plugin }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// Makes a volume.
    pub async fn create(&self, name: &str, options: &BTreeMap<String, String>) -> Result<()> {
        let question = Question { name, id: None, opts: Some(options) };
        self.ask::<Nothing>("Create", &question, LONG, Patience::Some).await.map(drop)
    }

    /// Removes a volume.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.ask::<Nothing>("Remove", &of(name), SHORT, Patience::Some).await.map(drop)
    }

    /// Mounts a volume for the user `id`, who unmounts it with the same. Where it is on the host.
    pub async fn mount(&self, name: &str, id: &str) -> Result<String> {
        let question = Question { id: Some(id), ..of(name) };
        let place: Place = self.ask("Mount", &question, LONG, Patience::Some).await?;
        Ok(place.mountpoint.unwrap_or_default())
    }

    /// Takes one [`VolumeDriver::mount`] back.
    pub async fn unmount(&self, name: &str, id: &str) -> Result<()> {
        let question = Question { id: Some(id), ..of(name) };
        self.ask::<Nothing>("Unmount", &question, SHORT, Patience::Some).await.map(drop)
    }

    /// The volume of that name; a plugin that knows none of that name says so as it likes.
    pub async fn get(&self, name: &str) -> Result<Option<VolumeFacts>> {
        let one: One = self.ask("Get", &of(name), SHORT, Patience::None).await?;
        Ok(one.volume)
    }

    /// Every volume that the plugin knows.
    pub async fn list(&self) -> Result<Vec<VolumeFacts>> {
        let all: All = self.ask("List", &Map::new(), SHORT, Patience::None).await?;
        Ok(all.volumes.unwrap_or_default())
    }

    /// How far its volumes reach, which is asked once. A plugin need not answer that.
    pub async fn scope(&self) -> Scope {
        if let Some(scope) = self.plugin.scope.get() {
            return *scope;
        }
        let answer: Result<Capabilities> = self.ask("Capabilities", &Map::new(), SHORT, Patience::None).await;
        let Ok(answer) = answer else { return Scope::Local };
        let is_global = answer.capabilities.scope.eq_ignore_ascii_case("global");
        *self.plugin.scope.get_or_init(|| if is_global { Scope::Global } else { Scope::Local })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        question: &(impl Serialize + Sync),
        within: Duration,
        patience: Patience,
    ) -> Result<T> {
        self.plugin.client.call(&format!("{KIND}.{method}"), question, within, patience).await
    }
}

fn of(name: &str) -> Question<'_> {
    Question { name, id: None, opts: None }
}

/// A time, or none where the plugin says nothing of use.
fn lenient<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.and_then(|text| text.parse().ok()))
}
