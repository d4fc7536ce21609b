//! Archives of before Docker 1.10: a directory for each layer, called by an id that was drawn by lot, with `json` and
//! `layer.tar` in it, and `repositories`, which names some of them. Every layer is an image there, on top of its parent.
//!
//! What such an image is today, configuration and history, is made from the `json` of all of them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::BufWriter;
use std::path::Path;

use hull_oci::digest::Hasher;
use hull_oci::{Digest, Platform, Reference};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Repositories;
use super::load::{Found, Load, check_count};
use crate::compression::decompress;
use crate::config::{History, ImageConfig, RootFs, null_is_default};
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::store::to_json;

/// The names of all of them.
pub(super) const REPOSITORIES: &str = "repositories";
/// What is in a `json`, but not in a configuration.
const LEFT_OUT: [&str; 6] = ["id", "parent", "Size", "parent_id", "layer_id", "throwaway"];

/// What a `json` says, apart from what goes into the configuration.
#[derive(Deserialize)]
struct Layer {
    #[serde(default, deserialize_with = "null_is_default")]
    parent: String,
    #[serde(default, deserialize_with = "null_is_default")]
    created: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    author: String,
    #[serde(default, deserialize_with = "null_is_default")]
    comment: String,
    #[serde(default, deserialize_with = "null_is_default")]
    container_config: Command,
}

#[derive(Default, Deserialize)]
struct Command {
    #[serde(rename = "Cmd", default, deserialize_with = "null_is_default")]
    cmd: Vec<String>,
}

/// One that was made, with what those on top of it need.
struct Made {
    config: ImageConfig,
    layers: Vec<Descriptor>,
    found: Found,
}

impl Load<'_> {
    /// The images of an archive whose `repositories` this is.
    pub(super) fn legacy(&self, repositories: &[u8]) -> Result<Vec<Found>> {
        let repositories: Repositories = serde_json::from_slice(repositories)
            .map_err(|error| Error::Invalid(format!("invalid {REPOSITORIES}: {error}")))?;
        let ids: BTreeSet<String> = self.contents.directories_with("json").collect();
        check_count("archive", ids.len())?;
        let mut made: HashMap<String, Made> = HashMap::new();
        let mut order = Vec::new();
        for id in ids {
            for id in self.missing_up_to(id, &made)? {
                let image = self.make(&id, &made)?;
                made.insert(id.clone(), image);
                order.push(id);
            }
        }
        for (name, tags) in repositories {
            for (tag, id) in tags {
                let target = made.get_mut(&id);
                let target = target.ok_or_else(|| Error::Invalid(format!("invalid target ID: {id}")))?;
                target.found.names.push(Reference::parse(&format!("{name}:{tag}"))?);
            }
        }
        let mut found: Vec<_> =
            order.iter().filter_map(|id| made.remove(id)).map(|image| image.found).collect();
        let parents: HashSet<String> = found.iter().map(|image| image.parent.clone()).collect();
        found.iter_mut().for_each(|image| image.is_below = parents.contains(&image.record.id.to_string()));
        Ok(found)
    }

    /// The layer and those below it that are yet to be made, bottom first.
    fn missing_up_to(&self, id: String, made: &HashMap<String, Made>) -> Result<Vec<String>> {
        let mut stack = Vec::new();
        let mut next = id;
        while !next.is_empty() && !made.contains_key(&next) {
            if stack.contains(&next) {
                return Err(Error::Invalid(format!("invalid archive: {next} is its own ancestor")));
            }
            let parent = self.described(&next)?.1.parent;
            stack.push(std::mem::replace(&mut next, parent));
        }
        stack.reverse();
        Ok(stack)
    }

    /// The `json` of a layer, whole and as far as it is of interest here.
    fn described(&self, id: &str) -> Result<(Map<String, Value>, Layer)> {
        let path = format!("{id}/json");
        self.contents.needed(&path)?;
        let bytes = self.contents.document(self.store, &path)?.unwrap_or_default();
        let invalid = |error| Error::Invalid(format!("invalid {path}: {error}"));
        Ok((
            serde_json::from_slice(&bytes).map_err(invalid)?,
            serde_json::from_slice(&bytes).map_err(invalid)?,
        ))
    }

    fn make(&self, id: &str, made: &HashMap<String, Made>) -> Result<Made> {
        let (fields, layer) = self.described(id)?;
        let below = made.get(&layer.parent);
        let blob = self.layer(&format!("{id}/layer.tar"))?;
        let diff_id = self.diff_id(&blob)?;
        let history = History {
            created: layer.created,
            created_by: layer.container_config.cmd.join(" "),
            author: layer.author,
            comment: layer.comment,
            empty_layer: false,
        };
        let mut rootfs = below.map(|image| image.config.rootfs.clone()).unwrap_or_default();
        rootfs.diff_ids.push(diff_id);
        let mut steps = below.map(|image| image.config.history.clone()).unwrap_or_default();
        steps.push(history);
        let mut layers = below.map(|image| image.layers.clone()).unwrap_or_default();
        layers.push(blob);
        let config = configuration(fields, rootfs, steps)
            .map_err(|error| Error::Invalid(format!("invalid {id}/json: {error}")))?;
        let host = Platform::host();
        if config.os != host.os {
            return Err(Error::Invalid(format!("cannot load {} image on {}", config.os, host.os)));
        }
        let target = self.store.put_manifest(self.lease, &to_json(&config)?, layers.clone())?;
        let record = self.complete(&target)?;
        let parent = below.map(|image| image.found.record.id.to_string()).unwrap_or_default();
        let found = Found { target, index: None, names: Vec::new(), record, parent, is_below: false };
        Ok(Made { config, layers, found })
    }

    /// The digest of a layer's content, unpacked.
    fn diff_id(&self, blob: &Descriptor) -> Result<Digest> {
        let mut content = decompress(self.store.blobs.file(&blob.digest)?)?;
        let mut hasher = BufWriter::new(Hasher::sha256());
        std::io::copy(&mut content, &mut hasher)
            .map_err(|error| Error::Invalid(format!("read layer {}: {error}", blob.digest)))?;
        let hasher = hasher.into_inner();
        Ok(hasher.map_err(|error| Error::System(format!("hash a layer: {error}")))?.finish())
    }
}

/// The configuration of today for the `json` of then. The oldest do not say what they run on.
fn configuration(
    mut fields: Map<String, Value>,
    rootfs: RootFs,
    history: Vec<History>,
) -> serde_json::Result<ImageConfig> {
    LEFT_OUT.iter().for_each(|name| drop(fields.remove(*name)));
    fields.insert("rootfs".to_owned(), serde_json::to_value(rootfs)?);
    fields.insert("history".to_owned(), serde_json::to_value(history)?);
    let mut config: ImageConfig = serde_json::from_value(Value::Object(fields))?;
    let host = Platform::host();
    for (said, ours) in [(&mut config.os, host.os), (&mut config.architecture, host.architecture)] {
        if said.is_empty() {
            *said = ours;
        }
    }
    Ok(config)
}

impl super::contents::Contents {
    /// The directories at the top that have a file of that name.
    fn directories_with<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        self.paths().filter(move |path| path.file_name().is_some_and(|file| file == name)).filter_map(
            |path| {
                let directory = path.parent()?;
                (directory.parent() == Some(Path::new("")))
                    .then(|| directory.to_str().map(str::to_owned))
                    .flatten()
            },
        )
    }
}
