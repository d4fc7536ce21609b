//! Images as one file: `load` and `save`.
//!
//! Both formats in one: an OCI image layout (`oci-layout`, `index.json`, `blobs/`), and Docker's archive, which is a
//! `manifest.json` that names files by path. What Hull writes is both at once; what it reads may be either, or an
//! archive of before Docker 1.10.

mod contents;
mod legacy;
mod load;
mod save;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::null_is_default;

/// An image in `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<String>,
    /// The id of the image it was committed on.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    parent: String,
}

/// `repositories`: repository, tag, top layer.
type Repositories = BTreeMap<String, BTreeMap<String, String>>;
