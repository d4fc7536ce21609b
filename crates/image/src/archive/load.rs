//! `docker load`.

use std::io::Read;

use hull_oci::{Platform, Reference};

use super::DockerImage;
use super::contents::{Contents, File};
use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::image::Loaded;
use crate::make::layer_type;
use crate::manifest::{Descriptor, Document, Index, media_type};
use crate::progress::{Progress, Sink};
use crate::store::{Lease, NAME, REF_NAME, Record, Store};
use crate::unpack;

/// Indexes in indexes.
const DEEPEST: usize = 4;
/// More images than anybody saves in one archive.
const MOST_IMAGES: usize = 1_000;

/// An image of the archive, its content in the store, its names not yet given.
struct Found {
    target: Descriptor,
    names: Vec<Reference>,
}

impl Store {
    /// Loads all images of an archive, or none.
    pub(crate) fn load(&self, archive: impl Read + Send, progress: &Sink) -> Result<Vec<Loaded>> {
        let lease = Lease::new(self);
        let contents = Contents::read(self, &lease, archive)?;
        let docker = contents.document(self, "manifest.json")?;
        let layout =
            contents.document(self, "index.json")?.filter(|_| contents.file("oci-layout".as_ref()).is_some());
        let load = Load { store: self, lease: &lease, contents: &contents, progress };
        let found = match (layout, docker) {
            (Some(index), docker) => load.layout(&index, docker.as_deref())?,
            (None, Some(manifest)) => load.docker(&manifest)?,
            (None, None) => {
                let text =
                    "invalid archive: it has neither an index.json with oci-layout nor a manifest.json";
                return Err(Error::Invalid(text.to_owned()));
            }
        };
        let mut loaded = Vec::new();
        for Found { target, names } in found {
            let id = self.register(&target, &names, None)?.id.clone();
            match names.is_empty() {
                true => loaded.push(Loaded { reference: None, id }),
                false => loaded
                    .extend(names.into_iter().map(|name| Loaded { reference: Some(name), id: id.clone() })),
            }
        }
        Ok(loaded)
    }
}

/// One loading.
struct Load<'a> {
    store: &'a Store,
    lease: &'a Lease<'a>,
    contents: &'a Contents,
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
            let target = self.manifest_of(entry, DEEPEST)?;
            let record = self.complete(&target)?;
            let mut names: Vec<Reference> = name_of(entry)?.into_iter().collect();
            if names.is_empty() {
                let path = format!("blobs/{}/{}", record.id.algorithm().name(), record.id.hex());
                let same = docker.iter().filter(|image| image.config == path);
                names = same.map(tags).collect::<Result<Vec<_>>>()?.concat();
            }
            found.push(Found { target, names });
        }
        match found.is_empty() {
            true => Err(Error::Invalid("invalid archive: index.json names no image".to_owned())),
            false => Ok(found),
        }
    }

    /// The manifest that an entry means on this machine.
    fn manifest_of(&self, entry: &Descriptor, depth: usize) -> Result<Descriptor> {
        self.lease.hold(&entry.digest);
        let bytes = self.store.blobs.document(&entry.digest).map_err(missing)?;
        match Document::parse(&bytes, &entry.media_type)? {
            Document::Manifest(_) => {
                Ok(Descriptor::new(&entry.media_type, entry.digest.clone(), bytes.len() as u64))
            }
            Document::Index(_) if depth == 0 => {
                Err(Error::Invalid("invalid archive: index within index".to_owned()))
            }
            Document::Index(index) => self.manifest_of(self.choose(&index)?, depth - 1),
        }
    }

    /// The host's platform, or the one that is here, if it is the only one: archives of one platform may hold the
    /// index of all.
    fn choose<'i>(&self, index: &'i Index) -> Result<&'i Descriptor> {
        let host = Platform::host();
        let images = || index.manifests.iter().filter(|entry| is_image(entry));
        if let Some(found) = index.choose(&host) {
            return Ok(found);
        }
        let here: Vec<_> = images().filter(|entry| self.store.blobs.size(&entry.digest).is_some()).collect();
        match here[..] {
            [only] => Ok(only),
            _ => {
                Err(Error::NotFound(format!("no matching manifest for {host} in the manifest list entries")))
            }
        }
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
            self.complete(&target)?;
            found.push(Found { target, names: tags(&image)? });
        }
        Ok(found)
    }

    fn layer(&self, path: &str) -> Result<Descriptor> {
        let File { digest, size } = self.contents.needed(path)?.clone();
        let mut start = Vec::new();
        let read = self.store.blobs.file(&digest)?.take(8).read_to_end(&mut start);
        read.map_err(|error| Error::System(format!("read layer {digest}: {error}")))?;
        Ok(Descriptor::new(layer_type(Compression::of(&start)?), digest, size))
    }

    /// Sees that everything the image needs is here, and unpacks it.
    fn complete(&self, target: &Descriptor) -> Result<Record> {
        let record = self.store.record(target).map_err(missing)?;
        self.lease.hold(&record.id);
        for (blob, chain) in record.layers.iter().zip(record.chain_ids.iter()) {
            self.lease.hold(&blob.digest);
            self.lease.hold(chain);
            if !self.store.blobs.has(blob) {
                return Err(Error::Invalid(format!("invalid archive: layer {} is missing", blob.digest)));
            }
        }
        unpack::image(self.store, &record, |index| {
            let size = record.layers[index].size;
            let id = record.config.rootfs.diff_ids[index].short();
            self.progress.send(Progress::bytes(id, "Loading layer", size, size));
        })?;
        Ok(record)
    }
}

fn parse_docker(bytes: &[u8]) -> Result<Vec<DockerImage>> {
    let images: Vec<DockerImage> = serde_json::from_slice(bytes)
        .map_err(|error| Error::Invalid(format!("invalid manifest.json: {error}")))?;
    check_count("manifest.json", images.len())?;
    Ok(images)
}

fn check_count(document: &str, count: usize) -> Result<()> {
    match count {
        1..=MOST_IMAGES => Ok(()),
        count => Err(Error::Invalid(format!("invalid {document}: it names {count} images"))),
    }
}

fn tags(image: &DockerImage) -> Result<Vec<Reference>> {
    let tags = image.repo_tags.iter().flatten();
    tags.map(|tag| Ok(Reference::parse(tag)?.with_default_tag())).collect()
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
    let attestation = entry.annotations.contains_key("vnd.docker.reference.type");
    let unknown = entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !attestation && !unknown
}

/// What an archive does not bring is the archive's fault.
fn missing(error: Error) -> Error {
    match error {
        Error::NotFound(text) => Error::Invalid(format!("invalid archive: {text}")),
        other => other,
    }
}
