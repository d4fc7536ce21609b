//! Manifests and indexes, of OCI and of Docker (schema 2): read strictly and bounded, written as OCI's.
//!
//! A document that could be read both as a manifest and as an index is refused: two readers would run two different
//! images from one digest (CVE-2021-41190).

use std::collections::BTreeMap;

use hull_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::config::null_is_default;
use crate::error::{Error, Result};

/// The most bytes of a manifest, an index or a configuration that are read.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 * 1024 * 1024;

/// The names of the formats.
pub mod media_type {
    /// OCI's index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI's manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI's configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An uncompressed layer; with `+gzip` or `+zstd` a compressed one.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A gzip layer.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// Docker's index.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
}

/// Points to content by digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// One of [`media_type`].
    #[serde(default)]
    pub media_type: String,
    /// Of the content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// In an index: what the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformFields>,
    /// Free data.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A platform as indexes write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformFields {
    /// Go's name of the processor.
    pub architecture: String,
    /// Go's name of the system.
    pub os: String,
    /// Of the processor.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl PlatformFields {
    /// In normal form.
    pub fn normal(&self) -> Platform {
        Platform::new(
            &self.os,
            &self.architecture,
            (!self.variant.is_empty()).then_some(self.variant.as_str()),
        )
    }
}

impl From<&Platform> for PlatformFields {
    fn from(platform: &Platform) -> Self {
        let Platform { os, architecture, variant } = platform.clone();
        Self { architecture, os, variant: variant.unwrap_or_default() }
    }
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// One name for several platforms' images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    #[serde(default)]
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Either kind of document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// The fields that tell the kinds apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a manifest or an index. `declared` is the media type under which it came (a header, a descriptor), empty
    /// where nothing was said. Docker's name for what it is and OCI's are as good; what it is not is refused.
    pub(crate) fn parse(bytes: &[u8], declared: &str) -> Result<Self> {
        let shape: Shape = serde_json::from_slice(bytes).map_err(invalid)?;
        if shape.schema_version == 1 || shape.fs_layers.is_some() {
            let text = "image manifest schema version 1 is not supported: the image has to be pushed again by a newer client";
            return Err(Error::NotSupported(text.to_owned()));
        }
        let image = shape.config.is_some() || shape.layers.is_some();
        // Archives of some makers leave the version out.
        if !matches!(shape.schema_version, 0 | 2) || image == shape.manifests.is_some() {
            return Err(Error::Invalid(
                "invalid manifest: neither an image manifest nor an index alone".to_owned(),
            ));
        }
        let own = shape.media_type.as_str();
        let agrees = |said: &str| said.is_empty() || kind_of(said).is_none_or(|kind| kind == image);
        if !agrees(own) || !agrees(declared) {
            let text = format!(
                "invalid manifest: media type {own:?} (declared {declared:?}) is not that of its content"
            );
            return Err(Error::Invalid(text));
        }
        match image {
            true => serde_json::from_slice(bytes).map(Self::Manifest).map_err(invalid),
            false => serde_json::from_slice(bytes).map(Self::Index).map_err(invalid),
        }
    }
}

/// Whether a media type is a manifest's (true) or an index's (false), if it is one of ours.
fn kind_of(media_type: &str) -> Option<bool> {
    match media_type {
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => Some(true),
        media_type::OCI_INDEX | media_type::DOCKER_INDEX => Some(false),
        _ => None,
    }
}

fn invalid(error: serde_json::Error) -> Error {
    Error::Invalid(format!("invalid manifest: {error}"))
}

impl Index {
    /// The manifest that suits `wanted` best; the first of equals. Attestations and entries without a platform lose.
    pub(crate) fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let ranked = self.manifests.iter().filter_map(|entry| {
            let rank = wanted.rank(&entry.platform.as_ref()?.normal())?;
            Some((rank, entry))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
    }
}

/// What a manifest of an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// An image for a platform.
    Image,
    /// Says something of another manifest, and is no image.
    Attestation,
    /// Something else.
    Unknown,
}

impl Descriptor {
    /// What an entry of an index is.
    pub fn kind(&self) -> ManifestKind {
        let is_attestation = |value: &String| value == "attestation-manifest";
        if self.annotations.get("vnd.docker.reference.type").is_some_and(is_attestation) {
            return ManifestKind::Attestation;
        }
        match &self.platform {
            Some(platform) if platform.os == "unknown" => ManifestKind::Unknown,
            _ => ManifestKind::Image,
        }
    }

    /// The manifest that an attestation speaks of.
    pub fn attests(&self) -> Option<&str> {
        self.annotations.get("vnd.docker.reference.digest").map(String::as_str)
    }
}

impl Manifest {
    /// A new manifest, in OCI's form.
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        let media_type = media_type::OCI_MANIFEST.to_owned();
        Self { schema_version: 2, media_type, config, layers, annotations: BTreeMap::new() }
    }
}

impl Descriptor {
    /// Of content without annotations.
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(platform: &str) -> String {
        let digest = Digest::sha256(platform.as_bytes());
        let (os, architecture) = platform.split_once('/').unwrap();
        format!(
            r#"{{"digest":"{digest}","size":1,"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#
        )
    }

    #[test]
    fn tells_manifests_from_indexes() {
        let d = descriptor("linux/amd64");
        let manifest = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#);
        assert!(matches!(Document::parse(manifest.as_bytes(), ""), Ok(Document::Manifest(_))));
        let index =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{d}]}}"#, media_type::OCI_INDEX);
        assert!(matches!(Document::parse(index.as_bytes(), media_type::OCI_INDEX), Ok(Document::Index(_))));
    }

    #[test]
    fn one_name_is_as_good_as_the_other() {
        let d = descriptor("linux/amd64");
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{d},"layers":[{d}]}}"#,
            media_type::OCI_MANIFEST
        );
        let read = |declared: &str| Document::parse(manifest.as_bytes(), declared);
        assert!(matches!(read(media_type::DOCKER_MANIFEST), Ok(Document::Manifest(_))));
        assert!(read(media_type::DOCKER_INDEX).is_err());
    }

    #[test]
    fn refuses_ambiguous_documents() {
        let d = descriptor("linux/amd64");
        let both = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}],"manifests":[{d}]}}"#);
        assert!(matches!(Document::parse(both.as_bytes(), ""), Err(Error::Invalid(_))));
        let manifest = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#);
        assert!(Document::parse(manifest.as_bytes(), media_type::OCI_INDEX).is_err());
        let lying =
            manifest.replace(r#""config""#, &format!(r#""mediaType":"{}","config""#, media_type::OCI_INDEX));
        assert!(Document::parse(lying.as_bytes(), "").is_err());
        assert!(Document::parse(br#"{"schemaVersion":2}"#, "").is_err());
        assert!(matches!(
            Document::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#, ""),
            Err(Error::NotSupported(_))
        ));
        let bad = manifest.replace("sha256:", "sha256:../../");
        assert!(Document::parse(bad.as_bytes(), "").is_err());
    }

    #[test]
    fn chooses_by_platform() {
        let entries =
            [descriptor("unknown/unknown"), descriptor("linux/arm64"), descriptor("linux/amd64")].join(",");
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
        let Ok(Document::Index(index)) = Document::parse(text.as_bytes(), "") else { panic!("not an index") };
        let digest = |platform: &str| {
            let platform = Platform::parse(platform).unwrap();
            index.choose(&platform).map(|found| found.digest.clone())
        };
        assert_eq!(digest("linux/arm64/v8"), Some(Digest::sha256(b"linux/arm64")));
        assert_eq!(digest("linux/amd64"), Some(Digest::sha256(b"linux/amd64")));
        assert_eq!(digest("linux/s390x"), None);
    }

    proptest::proptest! {
        #[test]
        fn never_both(config: bool, layers: bool, manifests: bool, version in 0..4_u32, declared in 0..4_usize) {
            let d = descriptor("linux/amd64");
            let mut text = format!(r#"{{"schemaVersion":{version}"#);
            let fields = [(config, format!(r#","config":{d}"#)), (layers, format!(r#","layers":[{d}]"#)),
                (manifests, format!(r#","manifests":[{d}]"#))];
            fields.iter().filter(|(here, _)| *here).for_each(|(_, field)| text.push_str(field));
            text.push('}');
            let types = ["", media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, "text/plain"];
            if let Ok(document) = Document::parse(text.as_bytes(), types[declared]) {
                let index = matches!(document, Document::Index(_));
                proptest::prop_assert!(matches!(version, 0 | 2));
                proptest::prop_assert_eq!(index, manifests);
                proptest::prop_assert!(!(manifests && (config || layers)));
            }
        }
    }
}
