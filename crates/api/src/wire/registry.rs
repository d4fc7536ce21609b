//! What registries answer to a search.

use serde::{Deserialize, Serialize};

/// One repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    /// Always false: registries do not build any more.
    #[serde(skip_deserializing)]
    pub is_automated: bool,
    pub description: String,
}
