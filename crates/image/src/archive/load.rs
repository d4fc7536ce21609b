//! `docker load`.

use std::io::Read;

use hull_oci::{Digest, Platform, Reference};

use super::DockerImage;
use super::contents::{Contents, File};
use super::legacy::REPOSITORIES;
use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::image::Loaded;
use crate::make::layer_type;
use crate::manifest::{Descriptor, Document, Index, ManifestKind, PlatformFields, media_type};
use crate::progress::{Progress, Sink};
use crate::query::by_name;
use crate::store::{Lease, NAME, Named, REF_NAME, Record, Store};
use crate::unpack;

/// Indexes in indexes.
const DEEPEST: usize = 4;
/// More images than anybody saves in one archive.
const MOST_IMAGES: usize = 1_000;

/// An image of the archive, its content in the store, its names not yet given.
pub(super) struct Found {
    pub(super) target: Descriptor,
    /// The index that has it.
    pub(super) index: Option<Descriptor>,
    pub(super) names: Vec<Reference>,
    pub(super) record: Record,
    /// The id of the image it was committed on, as the archive says.
    pub(super) parent: String,
    /// Whether it is only there for those on top of it, and not told of.
    pub(super) is_below: bool,
}

impl Found {
    /// The image of the archive that this one was committed on.
    fn parent(&self, all: &[Self]) -> Result<Option<Digest>> {
        let is_parent =
            |other: &&Self| other.record.id.to_string() == self.parent && other.record.id != self.record.id;
        let Some(parent) = all.iter().find(is_parent) else { return Ok(None) };
        let (parent, id) = (&parent.record, &self.record.id);
        let (steps, below) = (&self.record.config.history, &parent.config.history);
        // No image has to tell its history.
        let fits = (steps.is_empty() && below.is_empty())
            || steps.split_last().is_some_and(|(_, steps)| steps == below.as_slice());
        match fits {
            true => Ok(Some(parent.id.clone())),
            false => Err(Error::Invalid(format!("image {} is not a valid parent for {id}", parent.id))),
        }
    }
}

impl Store {
    /// Loads all images of an archive, or none.
    pub(crate) fn load(
        &self,
        archive: impl Read + Send,
        platforms: &[Platform],
        progress: &Sink,
    ) -> Result<Vec<Loaded>> {
        let lease = Lease::new(self);
        let contents = Contents::read(self, &lease, archive)?;
        let docker = contents.document(self, "manifest.json")?;
        let layout =
            contents.document(self, "index.json")?.filter(|_| contents.file("oci-layout".as_ref()).is_some());
        let load = Load { store: self, lease: &lease, contents: &contents, platforms, progress };
        let found = match (layout, docker) {
            (Some(index), docker) => load.layout(&index, docker.as_deref())?,
            (None, Some(manifest)) => load.docker(&manifest)?,
            (None, None) => match contents.document(self, REPOSITORIES)? {
                Some(repositories) => load.legacy(&repositories)?,
                None => {
                    let text =
                        "invalid archive: it has neither an index.json with oci-layout nor a manifest.json";
                    return Err(Error::Invalid(text.to_owned()));
                }
            },
        };
        let mut loaded: Vec<Loaded> = Vec::new();
        let parents = found.iter().map(|image| image.parent(&found)).collect::<Result<Vec<_>>>()?;
        for (Found { target, index, names, is_below, .. }, parent) in found.into_iter().zip(parents) {
            let before = names.iter().map(|name| self.with_names(|table| by_name(table, name).map(id_of)));
            let before: Vec<Option<Digest>> = before.collect();
            let id = self.register_of(&target, index.as_ref(), &names, parent)?.id.clone();
            // A name is told once, whatever it has for other platforms.
            let told = |name: &Reference| loaded.iter().any(|other| other.reference.as_ref() == Some(name));
            match names.is_empty() {
                true if is_below => {}
                true => loaded.push(Loaded { reference: None, id, replaced: None }),
                false => {
                    let named = names.into_iter().zip(before);
                    let new: Vec<_> = named.filter(|(name, _)| !told(name)).collect();
                    loaded.extend(new.into_iter().map(|(name, before)| Loaded {
                        reference: Some(name),
                        replaced: before.filter(|before| *before != id),
                        id: id.clone(),
                    }));
                }
            }
        }
        Ok(loaded)
    }
}

/// One loading.
pub(super) struct Load<'a> {
    pub(super) store: &'a Store,
    pub(super) lease: &'a Lease<'a>,
    pub(super) contents: &'a Contents,
    /// Those that are wanted; all if none is named.
    platforms: &'a [Platform],
    progress: &'a Sink,
}

impl Load<'_> {
    /// The images of an OCI layout; where it names none, Docker's manifest beside it may.
    fn layout(&self, index: &[u8], docker: Option<&[u8]>) -> Result<Vec<Found>> {
        let Document::Index(index) = Document::parse(index, media_type::OCI_INDEX)? else {
            return Err(Error::Invalid("invalid archive: index.json is not an index".to_owned()));
        };
        let docker = docker.map(parse_docker).transpose()?.unwrap_or_default();
        check_count("index.json", index.manifests.len())?;
        let mut found: Vec<Found> = Vec::new();
        for entry in index.manifests.iter().filter(|entry| is_image(entry)) {
            let (target, index) = self.manifest_of(entry, None, DEEPEST)?;
            let record = self.complete(&target)?;
            let offered = record.config.platform();
            if !self.platforms.is_empty() && !self.platforms.iter().any(|wanted| wanted.matches(&offered)) {
                let text = format!("the archive has an image for {offered}, and none for what was asked for");
                return Err(Error::NotFound(text));
            }
            let mut names: Vec<Reference> = name_of(entry)?.into_iter().collect();
            let path = format!("blobs/{}/{}", record.id.algorithm().name(), record.id.hex());
            let same = docker.iter().filter(|image| image.config == path);
            if names.is_empty() {
                names = same.clone().map(tags).collect::<Result<Vec<_>>>()?.concat();
            }
            let parent = same.map(|image| image.parent.clone()).next().unwrap_or_default();
            let others = self.others(index.as_ref(), &target)?;
            let one = |target, record, parent| {
                let (index, names) = (index.clone(), names.clone());
                Found { target, index, names, record, parent, is_below: false }
            };
            found.push(one(target, record, parent));
            found.extend(others.into_iter().map(|(target, record)| one(target, record, String::new())));
        }
        match found.is_empty() {
            true => Err(Error::Invalid("invalid archive: index.json names no image".to_owned())),
            false => Ok(found),
        }
    }

    /// The other platforms' manifests of an index, as far as the archive has all of them. Other systems' are kept only
    /// if they were asked for.
    fn others(&self, index: Option<&Descriptor>, but: &Descriptor) -> Result<Vec<(Descriptor, Record)>> {
        let Some(index) = index else { return Ok(Vec::new()) };
        let Document::Index(document) = Document::parse(&self.store.blobs.document(&index.digest)?, "")?
        else {
            return Ok(Vec::new());
        };
        let is_ours = |entry: &Descriptor| {
            let system = entry.platform.as_ref().map(|platform| platform.normal().os);
            !self.platforms.is_empty() || system.is_none_or(|system| system == Platform::host().os)
        };
        let wanted = |entry: &&Descriptor| {
            entry.digest != but.digest && is_image(entry) && is_ours(entry) && self.wants(entry)
        };
        let others = document.manifests.iter().filter(wanted).filter(|entry| self.is_here(entry));
        others
            .map(|entry| {
                self.lease.hold(&entry.digest);
                self.complete(entry).map(|record| (entry.clone(), record))
            })
            .collect()
    }

    fn wants(&self, entry: &Descriptor) -> bool {
        let offered = entry.platform.as_ref().map(PlatformFields::normal);
        let suits = |wanted: &Platform| offered.as_ref().is_some_and(|offered| wanted.matches(offered));
        self.platforms.is_empty() || self.platforms.iter().any(suits)
    }

    /// Whether the archive has the manifest and all that it names.
    fn is_here(&self, entry: &Descriptor) -> bool {
        let record = || self.store.record(entry);
        let blobs = &self.store.blobs;
        blobs.has(entry) && record().is_ok_and(|record| record.layers.iter().all(|layer| blobs.has(layer)))
    }

    /// The manifest that an entry means on this machine, and the index that has it.
    fn manifest_of(
        &self,
        entry: &Descriptor,
        index: Option<&Descriptor>,
        depth: usize,
    ) -> Result<(Descriptor, Option<Descriptor>)> {
        self.lease.hold(&entry.digest);
        let bytes = self.store.blobs.document(&entry.digest).map_err(missing)?;
        match Document::parse(&bytes, &entry.media_type)? {
            Document::Manifest(manifest) => {
                let size = bytes.len() as u64;
                // What it says itself is what a registry will want to hear of it.
                let own = Some(manifest.media_type.as_str()).filter(|own| !own.is_empty());
                let media_type = own.unwrap_or(&entry.media_type);
                let mut target = Descriptor::new(media_type, entry.digest.clone(), size);
                target.platform = entry.platform.clone().filter(|_| index.is_some());
                Ok((target, index.cloned()))
            }
            Document::Index(_) if depth == 0 => {
                Err(Error::Invalid("invalid archive: index within index".to_owned()))
            }
            Document::Index(index) => {
                let size = bytes.len() as u64;
                let bare = Descriptor::new(&entry.media_type, entry.digest.clone(), size);
                self.manifest_of(self.choose(&index)?, Some(&bare), depth - 1)
            }
        }
    }

    /// The host's platform, or the one that is here, if it is the only one: archives of one platform may hold the
    /// index of all.
    fn choose<'i>(&self, index: &'i Index) -> Result<&'i Descriptor> {
        let host = self.platforms.first().cloned().unwrap_or_else(Platform::host);
        let is_here = |entry: &&Descriptor| self.store.blobs.size(&entry.digest).is_some();
        let wanted = index.manifests.iter().filter(|entry| is_image(entry) && self.wants(entry));
        let here = || wanted.clone().filter(is_here);
        // The one for this machine even if it is missing, which is then said; else any that is here.
        let best = index.choose(&host).filter(|best| is_here(best) || here().next().is_none());
        best.or_else(|| here().next()).ok_or_else(|| {
            Error::NotFound(format!("no matching manifest for {host} in the manifest list entries"))
        })
    }

    /// The images of Docker's own format, for which manifests are made.
    fn docker(&self, manifest: &[u8]) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for image in parse_docker(manifest)? {
            let config = self.contents.needed(&image.config)?;
            let config = self.contents.document(self.store, &image.config)?.filter(|_| config.size > 0);
            let config = config
                .ok_or_else(|| Error::Invalid(format!("invalid archive: {} is empty", image.config)))?;
            let layers = image.layers.iter().map(|path| self.layer(path)).collect::<Result<Vec<_>>>()?;
            let target = self.store.put_manifest(self.lease, &config, layers)?;
            let record = self.complete(&target)?;
            let names = tags(&image)?;
            found.push(Found { target, index: None, names, record, parent: image.parent, is_below: false });
        }
        Ok(found)
    }

    pub(super) fn layer(&self, path: &str) -> Result<Descriptor> {
        let File { digest, size } = self.contents.needed(path)?.clone();
        let mut start = Vec::new();
        let read = self.store.blobs.file(&digest)?.take(8).read_to_end(&mut start);
        read.map_err(|error| Error::System(format!("read layer {digest}: {error}")))?;
        match Compression::of(&start) {
            kept if kept.is_of_layers() => Ok(Descriptor::new(layer_type(kept), digest, size)),
            _ => self.store.put_layer(self.lease, self.store.blobs.file(&digest)?),
        }
    }

    /// Sees that everything the image needs is here, and unpacks it.
    pub(super) fn complete(&self, target: &Descriptor) -> Result<Record> {
        let record = self.store.record(target).map_err(missing)?;
        self.lease.hold(&record.id);
        for (blob, chain) in record.layers.iter().zip(record.chain_ids.iter()) {
            self.lease.hold(&blob.digest);
            self.lease.hold(chain);
            if !self.store.blobs.has(blob) {
                return Err(Error::Invalid(format!("invalid archive: layer {} is missing", blob.digest)));
            }
        }
        let system = record.config.platform().os;
        if self.platforms.is_empty() && system != Platform::host().os {
            return Err(Error::Invalid(format!("cannot load {system} image on {}", Platform::host().os)));
        }
        let known: Vec<bool> =
            record.chain_ids.iter().map(|chain| self.store.snapshotter.has_layer(chain)).collect();
        unpack::image(self.store, &record, |index| {
            if known[index] {
                return;
            }
            let size = record.layers[index].size;
            let id = record.config.rootfs.diff_ids[index].short();
            self.progress.send(Progress::bytes(id, "Loading layer", size, size));
        })?;
        Ok(record)
    }
}

fn id_of(named: &Named) -> Digest {
    named.record.id.clone()
}

fn parse_docker(bytes: &[u8]) -> Result<Vec<DockerImage>> {
    let images: Vec<DockerImage> = serde_json::from_slice(bytes)
        .map_err(|error| Error::Invalid(format!("invalid manifest.json: {error}")))?;
    check_count("manifest.json", images.len())?;
    Ok(images)
}

pub(super) fn check_count(document: &str, count: usize) -> Result<()> {
    match count {
        1..=MOST_IMAGES => Ok(()),
        count => Err(Error::Invalid(format!("invalid {document}: it names {count} images"))),
    }
}

fn tags(image: &DockerImage) -> Result<Vec<Reference>> {
    let tags = image.repo_tags.iter().flatten();
    let named = |tag: &String| match Reference::parse(tag)? {
        named if named.tag().is_some() && named.digest().is_none() => Ok(named),
        _ => Err(Error::Invalid(format!("invalid tag {tag:?}"))),
    };
    tags.map(named).collect()
}

/// The whole name is the one of containerd; OCI's may be a name or a tag alone, and a tag alone names nothing.
fn name_of(entry: &Descriptor) -> Result<Option<Reference>> {
    let full = entry.annotations.get(NAME);
    let whole = |name: &&String| name.contains(['/', ':']);
    match full.or_else(|| entry.annotations.get(REF_NAME).filter(whole)) {
        Some(name) => Ok(Some(Reference::parse(name)?.with_default_tag())),
        None => Ok(None),
    }
}

/// Signatures and attestations travel beside images, and are none.
fn is_image(entry: &Descriptor) -> bool {
    entry.kind() == ManifestKind::Image
}

/// What an archive does not bring is the archive's fault.
fn missing(error: Error) -> Error {
    match error {
        Error::NotFound(text) => Error::Invalid(format!("invalid archive: {text}")),
        other => other,
    }
}
