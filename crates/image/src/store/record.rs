//! What a manifest and its configuration say of an image, read once.

use std::sync::Arc;

use hull_oci::{Digest, digest::Hasher};

use super::Store;
use crate::config::ImageConfig;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Document};

/// The unchanging part of an image.
#[derive(Debug)]
pub(crate) struct Record {
    /// The digest of the configuration.
    pub(crate) id: Digest,
    pub(crate) config: Arc<ImageConfig>,
    /// As the manifest names them, bottom first.
    pub(crate) layers: Arc<[Descriptor]>,
    /// As the snapshotter names them, bottom first.
    pub(crate) chain_ids: Arc<[Digest]>,
    /// Bytes of each layer, unpacked; 0 for one that is not unpacked.
    pub(crate) sizes: Box<[u64]>,
    /// The configuration's descriptor.
    pub(crate) config_descriptor: Descriptor,
}

impl Record {
    /// Checks that a manifest and a configuration belong together.
    pub(crate) fn new(
        config_descriptor: Descriptor,
        layers: Vec<Descriptor>,
        config: ImageConfig,
    ) -> Result<Self> {
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            let (named, packed) = (diff_ids.len(), layers.len());
            let text = format!("invalid image: configuration names {named} layers, manifest has {packed}");
            return Err(Error::Invalid(text));
        }
        Ok(Self {
            id: config_descriptor.digest.clone(),
            chain_ids: chain_ids(diff_ids).into(),
            sizes: vec![0; layers.len()].into(),
            layers: layers.into(),
            config: Arc::new(config),
            config_descriptor,
        })
    }

    /// Bytes of all layers, unpacked.
    pub(crate) fn size(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

impl Store {
    /// Reads the image of a manifest that is here.
    pub(crate) fn record(&self, target: &Descriptor) -> Result<Record> {
        let bytes = self.blobs.document(&target.digest)?;
        let Document::Manifest(manifest) = Document::parse(&bytes, &target.media_type)? else {
            return Err(Error::Invalid(format!("{} is an index, not an image", target.digest)));
        };
        let config = parse_config(&self.blobs.document(&manifest.config.digest)?)?;
        let mut record = Record::new(manifest.config, manifest.layers, config)?;
        let size = |chain| self.snapshotter.layer_size(chain).unwrap_or(0);
        record.sizes = record.chain_ids.iter().map(size).collect();
        Ok(record)
    }
}

/// Reads an image's configuration; other artefacts (Helm charts, signatures) are not images.
pub(crate) fn parse_config(bytes: &[u8]) -> Result<ImageConfig> {
    let config: ImageConfig = serde_json::from_slice(bytes)
        .map_err(|error| Error::Invalid(format!("invalid image configuration: {error}")))?;
    match config.rootfs.kind.as_str() {
        "layers" => Ok(config),
        kind => Err(Error::Invalid(format!("invalid image configuration: unknown rootfs type {kind:?}"))),
    }
}

/// OCI's names for stacks of layers: the first is its own diff id, each further one the digest of `below diff-id`.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => {
                let mut hasher = Hasher::sha256();
                hasher.update(format!("{below} {diff_id}").as_bytes());
                hasher.finish()
            }
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_as_the_specification_says() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain, [a.clone(), Digest::sha256(format!("{a} {b}").as_bytes())]);
    }

    #[test]
    fn counts_layers() {
        let descriptor = Descriptor::new("", Digest::sha256(b"c"), 1);
        let config = ImageConfig::default();
        assert!(matches!(Record::new(descriptor.clone(), vec![descriptor], config), Err(Error::Invalid(_))));
    }
}
