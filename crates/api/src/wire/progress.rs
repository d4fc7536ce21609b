//! The stream of JSON messages that pull, push, load and import answer with.

use super::zero;
use serde::{Deserialize, Serialize};

/// One message, as one JSON line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Text shown as it is, with its own line ends.
    #[serde(skip_serializing_if = "zero")]
    pub stream: String,
    #[serde(skip_serializing_if = "zero")]
    pub status: String,
    /// `{}` where a progress bar ends.
    #[serde(rename = "progressDetail", skip_serializing_if = "zero")]
    pub progress_detail: Option<Detail>,
    /// The drawn bar, for old clients.
    #[serde(skip_serializing_if = "zero")]
    pub progress: String,
    /// The layer or tag that the message is about.
    #[serde(skip_serializing_if = "zero")]
    pub id: String,
    #[serde(rename = "errorDetail", skip_serializing_if = "zero")]
    pub error_detail: Option<Failure>,
    #[serde(skip_serializing_if = "zero")]
    pub error: String,
    /// Data for programs: the built image's id, the pushed digest.
    #[serde(skip_serializing_if = "zero")]
    pub aux: Option<serde_json::Value>,
}

/// How far it got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    #[serde(skip_serializing_if = "zero")]
    pub current: i64,
    /// Zero is unknown.
    #[serde(skip_serializing_if = "zero")]
    pub total: i64,
    #[serde(skip_serializing_if = "zero")]
    pub start: i64,
    #[serde(rename = "hidecounts", skip_serializing_if = "zero")]
    pub hide_counts: bool,
    /// "" is bytes.
    #[serde(skip_serializing_if = "zero")]
    pub units: String,
}

/// Why the stream ends here, although its status was 200.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    #[serde(skip_serializing_if = "zero")]
    pub code: i64,
    pub message: String,
}

impl Message {
    /// The last message of a stream that failed.
    pub fn failure(message: &str) -> Self {
        Message {
            error: message.to_owned(),
            error_detail: Some(Failure { code: 0, message: message.to_owned() }),
            ..Message::default()
        }
    }
}
