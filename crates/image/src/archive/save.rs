//! `docker save`: one archive that is an OCI image layout and Docker's own format at once. The documents come first,
//! so that a reader knows what is coming; layers are copied as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use hull_oci::{Digest, Platform, Reference};
use hull_snapshot::{Kind, Node, Time, tar};

use super::{DockerImage, Repositories};
use crate::config::ImageConfig;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Index, media_type};
use crate::query::{best, by_name, is_id_of, resolve};
use crate::store::{Lease, NAME, Named, REF_NAME, Store, group, to_json};

/// An image with the names under which it is saved.
struct Chosen {
    named: Named,
    /// Further platforms' images under the same names.
    others: Vec<Named>,
    names: Vec<Reference>,
}

impl Store {
    /// Whether there are images of all those words.
    pub(crate) fn check_saved(&self, words: &[String]) -> Result<()> {
        words.iter().try_for_each(|word| self.with_names(|names| choose(names, word)).map(drop))
    }

    /// Writes the images of those names: a repository alone means all its tags, an id an image without names. Of names
    /// with several platforms, those that are asked for, or all.
    pub(crate) fn save(&self, words: &[String], platforms: &[Platform], archive: impl Write) -> Result<()> {
        let lease = Lease::new(self);
        let mut chosen: Vec<Chosen> = Vec::new();
        for word in words {
            for (named, name) in self.with_names(|names| choose(names, word))? {
                let all = match name {
                    Some(_) => self.with_names(|names| group(names, &named).cloned().collect()),
                    None => vec![named],
                };
                add(&mut chosen, all, platforms, name);
            }
        }
        let blobs = held(&lease, &chosen);
        let mut writer = tar::Writer::new(archive);
        document(&mut writer, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        document(&mut writer, "index.json", &to_json(&index(&chosen))?)?;
        document(
            &mut writer,
            "manifest.json",
            &to_json(&chosen.iter().map(|image| docker(image, &chosen)).collect::<Vec<_>>())?,
        )?;
        let repositories = repositories(&chosen);
        if !repositories.is_empty() {
            document(&mut writer, "repositories", &to_json(&repositories)?)?;
        }
        let directories: BTreeSet<&str> = blobs.keys().map(|digest| digest.algorithm().name()).collect();
        directory(&mut writer, "blobs")?;
        for algorithm in directories {
            directory(&mut writer, &format!("blobs/{algorithm}"))?;
        }
        for (digest, modified) in &blobs {
            let size = self.blobs.size(digest).unwrap_or(0);
            let node = Node { modified: *modified, ..node(&path(digest), Kind::file(size), 0o644) };
            writer.append(&node, &mut self.blobs.file(digest)?)?;
        }
        writer.finish().map(drop).map_err(Error::from)
    }
}

impl Chosen {
    /// What stands in the archive's table instead of the manifest, where there are several.
    fn index(&self) -> Option<&Descriptor> {
        self.named.entry.index.as_ref().filter(|_| !self.others.is_empty())
    }
}

/// What a user's word means to `save`.
fn choose(names: &[Named], word: &str) -> Result<Vec<(Named, Option<Reference>)>> {
    let found = match Reference::parse(word) {
        Ok(reference) if reference.tag().is_none() && reference.digest().is_none() => {
            let tag = |named: &&Named| {
                named
                    .entry
                    .name
                    .as_ref()
                    .is_some_and(|name| name.tag().is_some() && name.name() == reference.name())
            };
            let tagged = names.iter().filter(tag);
            let first = tagged
                .filter(|named| best(group(names, named)).is_some_and(|best| std::ptr::eq(best, *named)));
            first.map(|named| (named.clone(), named.entry.name.clone())).collect()
        }
        // A whole id reads like a tag of a repository "sha256".
        Ok(reference) => {
            let tag = |named: &Named| named.entry.name.clone().filter(|name| name.tag().is_some());
            by_name(names, &reference).map(|named| (named.clone(), tag(named))).into_iter().collect()
        }
        Err(_) => Vec::new(),
    };
    if !found.is_empty() {
        return Ok(found);
    }
    let named = resolve(names, word)?;
    let tag =
        named.entry.name.clone().filter(|name| name.tag().is_some() && !is_id_of(word, &named.record.id));
    Ok(vec![(named.clone(), tag)])
}

/// One entry for each image, with all its names.
fn add(chosen: &mut Vec<Chosen>, all: Vec<Named>, platforms: &[Platform], name: Option<Reference>) {
    let suits = |named: &&Named| {
        let offered = named.record.config.platform();
        platforms.is_empty() || platforms.iter().any(|wanted| wanted.matches(&offered))
    };
    let Some(named) = best(all.iter().filter(suits)).cloned() else { return };
    let other = |each: &&Named| each.entry.target.digest != named.entry.target.digest;
    let others = all.iter().filter(suits).filter(other).cloned().collect();
    let same = chosen.iter_mut().find(|other| other.named.entry.target.digest == named.entry.target.digest);
    match same {
        Some(other) => other.names.extend(name.filter(|name| !other.names.contains(name))),
        None => chosen.push(Chosen { named, others, names: name.into_iter().collect() }),
    }
}

/// Every blob of the images, held. Configurations and layers are as old as their image, what the archive says of them
/// is of 1970.
fn held(lease: &Lease<'_>, chosen: &[Chosen]) -> BTreeMap<Digest, Time> {
    let mut blobs = BTreeMap::new();
    for image in chosen {
        blobs.extend(image.index().map(|index| (index.digest.clone(), Time::default())));
        for Named { entry, record } in image.others.iter().chain([&image.named]) {
            let created = created(&record.config);
            blobs.extend(record.layers.iter().map(|layer| (layer.digest.clone(), created)));
            blobs.insert(record.id.clone(), created);
            blobs.insert(entry.target.digest.clone(), Time::default());
        }
    }
    blobs.keys().for_each(|digest| lease.hold(digest));
    blobs
}

fn created(config: &ImageConfig) -> Time {
    let Some(created) = config.created() else { return Time::default() };
    Time { seconds: created.as_second(), nanos: u32::try_from(created.subsec_nanosecond()).unwrap_or(0) }
}

fn index(chosen: &[Chosen]) -> Index {
    let mut manifests = Vec::new();
    for image in chosen {
        let mut bare = image.index().unwrap_or(&image.named.entry.target).clone();
        bare.platform = match image.index() {
            Some(_) => None,
            None => Some((&image.named.record.config.platform()).into()),
        };
        let named = image.names.iter().map(|name| with_name(&bare, name));
        match image.names.is_empty() {
            true => manifests.push(bare.clone()),
            false => manifests.extend(named),
        }
    }
    Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests,
        annotations: BTreeMap::new(),
    }
}

fn with_name(target: &Descriptor, name: &Reference) -> Descriptor {
    let mut target = target.clone();
    target.annotations.insert(NAME.to_owned(), name.to_string());
    target.annotations.insert(REF_NAME.to_owned(), name.tag().unwrap_or_default().to_owned());
    target
}

fn docker(image: &Chosen, all: &[Chosen]) -> DockerImage {
    let tags: Vec<String> = image.names.iter().map(Reference::familiar).collect();
    // The image it was committed on, if it is in the archive, too.
    let parent = image.named.entry.parent.as_ref();
    let parent = parent.filter(|parent| all.iter().any(|other| other.named.record.id == **parent));
    DockerImage {
        parent: parent.map(ToString::to_string).unwrap_or_default(),
        config: path(&image.named.record.id),
        repo_tags: (!tags.is_empty()).then_some(tags),
        layers: image.named.record.layers.iter().map(|layer| path(&layer.digest)).collect(),
    }
}

fn repositories(chosen: &[Chosen]) -> Repositories {
    let mut repositories = Repositories::new();
    for image in chosen {
        let Some(top) = image.named.record.layers.last() else { continue };
        for name in &image.names {
            let tags = repositories.entry(name.familiar_name()).or_default();
            tags.insert(name.tag().unwrap_or_default().to_owned(), top.digest.hex().to_owned());
        }
    }
    repositories
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn document(writer: &mut tar::Writer<impl Write>, path: &str, bytes: &[u8]) -> Result<()> {
    file(writer, path, bytes.len() as u64, &mut &bytes[..])
}

fn file(writer: &mut tar::Writer<impl Write>, path: &str, size: u64, content: &mut dyn Read) -> Result<()> {
    Ok(writer.append(&node(path, Kind::file(size), 0o644), content)?)
}

fn directory(writer: &mut tar::Writer<impl Write>, path: &str) -> Result<()> {
    Ok(writer.append(&node(path, Kind::Directory, 0o755), &mut std::io::empty())?)
}

/// Owned by root, of 1970: the same images make the same archive.
fn node(path: &str, kind: Kind, mode: u32) -> Node {
    Node { path: path.into(), kind, mode, uid: 0, gid: 0, modified: Default::default(), xattrs: Vec::new() }
}
