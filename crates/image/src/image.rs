//! An image as the store knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hull_oci::{Digest, Platform, Reference};

use crate::config::ImageConfig;
use crate::manifest::{Descriptor, ManifestKind};

/// An image of the store: a snapshot of what was known when it was asked for.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the configuration document, which Docker calls the image's id.
    pub id: Digest,
    /// The manifest.
    pub target: Descriptor,
    /// The index that has the manifest, if it came in one: what the image's names mean.
    pub index: Option<Descriptor>,
    /// `busybox:latest`, sorted.
    pub repo_tags: Vec<String>,
    /// `busybox@sha256:…`, sorted.
    pub repo_digests: Vec<String>,
    /// The configuration document.
    pub config: Arc<ImageConfig>,
    /// The layers' archives as the manifest names them, bottom first.
    pub layers: Arc<[Descriptor]>,
    /// The layers' names in the snapshotter (OCI's chain ids), bottom first.
    pub chain_ids: Arc<[Digest]>,
    /// Bytes of the unpacked layers.
    pub size: u64,
    /// Bytes of the configuration document.
    pub config_size: u64,
    /// The image this one was committed on, if that was here.
    pub parent: Option<Digest>,
    /// When it was last given a name here, RFC 3339; Docker's `Metadata.LastTagTime`.
    pub last_tagged: Option<String>,
}

impl Image {
    /// What it runs on.
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// It has no tag; Docker shows it as `<none>`.
    pub fn is_dangling(&self) -> bool {
        self.repo_tags.is_empty()
    }

    /// The moment of its creation; the beginning of 1970 where the image does not say.
    pub fn created(&self) -> jiff::Timestamp {
        self.config.created().unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// Seconds since 1970 of its creation; 0 where the image does not say.
    pub fn created_unix(&self) -> i64 {
        self.created().as_second()
    }
}

/// One manifest of what an image's names mean.
#[derive(Debug, Clone)]
pub struct Listed {
    /// As the index has it.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: ManifestKind,
    /// Whether all of it is here.
    pub available: bool,
    /// The image, if it is one and here.
    pub image: Option<Image>,
}

/// One line of `docker history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's id for the newest entry, and for those of parents that are here.
    pub id: Option<Digest>,
    /// Seconds since 1970.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// Tags of that image.
    pub tags: Vec<String>,
    /// Bytes of the layer, unpacked.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// What a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name: `busybox:latest`, `busybox@sha256:…`.
    Untagged {
        /// The name.
        reference: String,
        /// What it named.
        image: Digest,
        /// The image's labels, for those who are told; none where a name went along with another.
        labels: Option<BTreeMap<String, String>>,
    },
    /// An image.
    Deleted(Digest),
    /// A layer that no image uses any more.
    DeletedLayer(Digest),
}

/// What a container holds: removals have to respect it.
#[derive(Debug, Clone)]
pub struct Use {
    /// The image's id.
    pub image: Digest,
    /// The container's id.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
}

/// Something that `load` put into the store. Display is Docker's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its name in the archive, if it has one.
    pub reference: Option<Reference>,
    /// Its id.
    pub id: Digest,
    /// The image that had the name before, if it was another one.
    pub replaced: Option<Digest>,
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Some(name), Some(before)) = (&self.reference, &self.replaced) {
            let name = name.familiar();
            writeln!(
                f,
                "The image {name} already exists, renaming the old one with ID {before} to empty string"
            )?;
        }
        match &self.reference {
            Some(reference) => write!(f, "Loaded image: {}", reference.familiar()),
            None => write!(f, "Loaded image ID: {}", self.id),
        }
    }
}

/// What a pull found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id.
    pub id: Digest,
    /// The digest that the registry gave for the name: of an index, where there is one.
    pub digest: Digest,
    /// Whether it was not here before.
    pub newer: bool,
}

/// The outcome of a prune.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What was removed.
    pub removed: Vec<Removed>,
    /// Bytes freed, of the layers that were removed.
    pub reclaimed: u64,
}
