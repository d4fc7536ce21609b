//! The stream of `/events`.

use super::{Labels, zero};
use serde::{Deserialize, Serialize};

/// One event, as one JSON line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Legacy name of `action`, for containers and images.
    #[serde(skip_serializing_if = "zero")]
    pub status: String,
    /// Legacy name of `actor.id`, for containers and images.
    #[serde(skip_serializing_if = "zero")]
    pub id: String,
    /// The image of the container.
    #[serde(skip_serializing_if = "zero")]
    pub from: String,
    /// "container", "image", "volume", "network", "daemon", …
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// "local".
    pub scope: String,
    /// Unix seconds.
    pub time: i64,
    /// Unix nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// Whom the event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes")]
    pub attributes: Labels,
}
