//! Making images here: `import` of a root file system, `commit` of a container.
//!
//! The layer is written as a blob and unpacked, then come configuration and manifest, and the table's entry last. A
//! lease holds all of it in between, so a failure leaves nothing.

use std::io::{BufWriter, Read};

use hull_oci::digest::{Algorithm, Hasher};
use hull_oci::{Digest, Platform};

use crate::change;
use crate::compression::{Compression, as_layer, decompress};
use crate::config::{Config, History, ImageConfig, RootFs};
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Manifest, media_type};
use crate::settings::{Commit, Import};
use crate::store::{Ingest, Lease, Store, to_json};
use crate::unpack;

/// The archive of no files at all: two blocks of zeros. Docker makes no layer of it.
const EMPTY_ARCHIVE: [u8; 1024] = [0; 1024];
const BUFFER: usize = 128 * 1024;

/// A layer that has been written and unpacked.
struct Layer {
    blob: Descriptor,
    diff_id: Digest,
}

impl Store {
    /// Makes an image with one layer of `archive`, which may be compressed and then stays so.
    pub(crate) fn import(&self, import: Import, archive: impl Read + Send) -> Result<Digest> {
        let mut config = Config::default();
        change::apply(&mut config, &import.changes)?;
        let host = Platform::host();
        let platform = import.platform.unwrap_or_else(|| host.clone());
        if platform.os != host.os {
            return Err(Error::Invalid("operating system is not supported".to_owned()));
        }
        let lease = Lease::new(self);
        let layer = self.import_layer(&lease, archive).map_err(|error| error.within("import"))?;
        let created = Some(jiff::Timestamp::now().to_string());
        let comment = match import.message.is_empty() {
            true => format!("Imported from {}", import.source),
            false => import.message,
        };
        let image = ImageConfig {
            created: created.clone(),
            comment: comment.clone(),
            architecture: platform.architecture,
            variant: platform.variant.unwrap_or_default(),
            os: platform.os,
            config,
            rootfs: RootFs { diff_ids: vec![layer.diff_id], ..RootFs::default() },
            history: vec![History { created, comment, ..History::default() }],
            ..ImageConfig::default()
        };
        let target = self.put_image(&lease, &image, vec![layer.blob])?;
        let names: Vec<_> = import.reference.into_iter().map(hull_oci::Reference::with_default_tag).collect();
        Ok(self.register(&target, &names, None)?.id.clone())
    }

    /// Keeps the archive as a layer may be stored; its diff id is found by decompressing the blob.
    fn import_layer(&self, lease: &Lease<'_>, archive: impl Read + Send) -> Result<Layer> {
        let blob = self.put_layer(lease, archive)?;
        let mut content = decompress(self.blobs.file(&blob.digest)?)?;
        let mut hasher = BufWriter::with_capacity(BUFFER, Hasher::sha256());
        std::io::copy(&mut content, &mut hasher)
            .map_err(|error| Error::Invalid(format!("read archive: {error}")))?;
        let hasher = hasher.into_inner().map_err(|error| Error::System(format!("hash archive: {error}")))?;
        let diff_id = hasher.finish();
        lease.hold(&diff_id);
        unpack::layer(self, &diff_id, &diff_id, self.blobs.file(&blob.digest)?)?;
        Ok(Layer { blob, diff_id })
    }

    /// A layer's blob of an archive that may be packed in any way.
    pub(crate) fn put_layer(&self, lease: &Lease<'_>, archive: impl Read + Send) -> Result<Descriptor> {
        let (compression, mut content) = as_layer(archive)?;
        let (digest, size) = self.write_blob(lease, |out| out.fill(&mut content))?;
        Ok(Descriptor::new(layer_type(compression), digest, size))
    }

    /// Makes an image of what a container changed.
    pub(crate) fn commit(&self, commit: Commit) -> Result<Digest> {
        let mut config = commit.config;
        change::apply(&mut config, &commit.changes)?;
        let parent = commit.parent.as_ref().map(|parent| self.find_id(parent)).transpose()?;
        let lease = Lease::new(self);
        let (base, mut layers) = match &parent {
            Some(parent) => {
                parent
                    .chain_ids
                    .iter()
                    .chain(parent.layers.iter().map(|layer| &layer.digest))
                    .for_each(|digest| lease.hold(digest));
                (ImageConfig::clone(&parent.config), parent.layers.to_vec())
            }
            None => (blank(), Vec::new()),
        };
        let created = Some(jiff::Timestamp::now().to_string());
        let of_container = Some(commit.container_config).filter(|config| !config.is_null());
        let extra = of_container.map(|config| ("container_config".to_owned(), config)).into_iter().collect();
        let mut image = ImageConfig {
            created: created.clone(),
            author: commit.author.clone(),
            comment: commit.comment.clone(),
            container: commit.container,
            config,
            extra,
            ..base
        };
        let layer = self.commit_layer(&lease, &commit.mounts, &image.rootfs.diff_ids)?;
        image.history.push(History {
            created,
            created_by: commit.created_by,
            author: commit.author,
            comment: commit.comment,
            empty_layer: layer.is_none(),
        });
        if let Some(layer) = layer {
            image.rootfs.diff_ids.push(layer.diff_id);
            layers.push(layer.blob);
        }
        let target = self.put_image(&lease, &image, layers)?;
        let names: Vec<_> = commit.reference.into_iter().map(hull_oci::Reference::with_default_tag).collect();
        Ok(self.register(&target, &names, commit.parent)?.id.clone())
    }

    /// The container's changes as a layer on top of `below`; none if it changed nothing.
    fn commit_layer(
        &self,
        lease: &Lease<'_>,
        mounts: &hull_snapshot::Mounts,
        below: &[Digest],
    ) -> Result<Option<Layer>> {
        let (diff_id, size) = self.write_blob(lease, |out| {
            hull_snapshot::diff(mounts, BufWriter::with_capacity(BUFFER, out)).map(drop).map_err(Error::from)
        })?;
        if diff_id == Digest::sha256(&EMPTY_ARCHIVE) {
            return Ok(None);
        }
        let stack: Vec<Digest> = below.iter().chain([&diff_id]).cloned().collect();
        if let Some(chain) = crate::store::chain_ids(&stack).pop() {
            lease.hold(&chain);
            unpack::layer(self, &chain, &diff_id, self.blobs.file(&diff_id)?)?;
        }
        let blob = Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), size);
        Ok(Some(Layer { blob, diff_id }))
    }

    /// Writes a blob whose digest is known only at its end.
    fn write_blob(
        &self,
        lease: &Lease<'_>,
        fill: impl FnOnce(&mut Ingest<'_>) -> Result<()>,
    ) -> Result<(Digest, u64)> {
        let mut ingest = self.blobs.ingest(Algorithm::Sha256)?;
        fill(&mut ingest)?;
        let size = ingest.written();
        let digest = ingest.keep_held(lease)?;
        Ok((digest, size))
    }

    /// Writes configuration and manifest.
    pub(crate) fn put_image(
        &self,
        lease: &Lease<'_>,
        image: &ImageConfig,
        layers: Vec<Descriptor>,
    ) -> Result<Descriptor> {
        let config = to_json(image)?;
        self.put_manifest(lease, &config, layers)
    }

    /// Writes a manifest of ours for a configuration that is kept byte by byte, for its digest is the image's id.
    pub(crate) fn put_manifest(
        &self,
        lease: &Lease<'_>,
        config: &[u8],
        layers: Vec<Descriptor>,
    ) -> Result<Descriptor> {
        lease.hold(&Digest::sha256(config));
        let id = self.blobs.put(config)?;
        let config = Descriptor::new(media_type::OCI_CONFIG, id, config.len() as u64);
        let manifest = to_json(&Manifest::new(config, layers))?;
        lease.hold(&Digest::sha256(&manifest));
        let digest = self.blobs.put(&manifest)?;
        Ok(Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64))
    }
}

/// The media type of a layer; what OCI has none for is stored unpacked.
pub(crate) fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None | Compression::Bzip2 | Compression::Xz => media_type::OCI_LAYER,
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// The image below a first layer.
fn blank() -> ImageConfig {
    let host = Platform::host();
    let variant = host.variant.unwrap_or_default();
    ImageConfig { architecture: host.architecture, os: host.os, variant, ..ImageConfig::default() }
}
