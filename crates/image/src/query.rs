//! Finding images by what users call them.

use std::collections::BTreeSet;

use hull_oci::{Digest, Platform, Reference};

use crate::error::{Error, Result};
use crate::image::{HistoryEntry, Image, Listed};
use crate::manifest::{Descriptor, Document, ManifestKind};
use crate::store::{Named, Store, group, last_tagged};

impl Store {
    /// The image of a name, an id, the beginning of an id, or a digest.
    pub(crate) fn find(&self, name: &str) -> Result<Image> {
        self.with_names(|names| {
            let found = resolve(names, name)?;
            Ok(image(names, found))
        })
    }

    /// The same for a platform; the one for the host where that one is not here.
    pub(crate) fn find_for(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        self.with_names(|names| {
            let found = resolve(names, name)?;
            let suits = |named: &Named| platform?.rank(&named.record.config.platform());
            let ranked = meant(names, name)?.into_iter().filter_map(|named| Some((suits(named)?, named)));
            let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, named)| named);
            Ok(image(names, best.unwrap_or(found)))
        })
    }

    /// Whether a user's word means the image, or another platform's under the same name.
    pub(crate) fn means(&self, name: &str, id: &Digest) -> bool {
        self.with_names(|names| {
            meant(names, name).is_ok_and(|meant| meant.iter().any(|named| named.record.id == *id))
        })
    }

    /// Every manifest of the image's index, or its own alone.
    pub(crate) fn manifests(&self, of: &Image) -> Result<Vec<Listed>> {
        let whole = |descriptor: Descriptor, image: &Image| Listed {
            kind: ManifestKind::Image,
            available: true,
            image: Some(image.clone()),
            descriptor,
        };
        let Some(index) = &of.index else { return Ok(vec![whole(of.target.clone(), of)]) };
        let bytes = self.blobs.document(&index.digest)?;
        let Document::Index(document) = Document::parse(&bytes, &index.media_type)? else {
            return Ok(vec![whole(of.target.clone(), of)]);
        };
        let listed = document.manifests.into_iter().map(|descriptor| {
            let image = self.with_names(|names| {
                let mut same = names.iter().filter(|named| named.entry.target.digest == descriptor.digest);
                same.next().map(|named| image(names, named))
            });
            match image {
                Some(image) => whole(descriptor, &image),
                None => Listed {
                    kind: descriptor.kind(),
                    available: descriptor.kind() != ManifestKind::Image && self.blobs.has(&descriptor),
                    image: None,
                    descriptor,
                },
            }
        });
        Ok(listed.collect())
    }

    pub(crate) fn find_id(&self, id: &Digest) -> Result<Image> {
        self.with_names(|names| {
            let found = names.iter().find(|named| named.record.id == *id);
            found.map(|found| image(names, found)).ok_or_else(|| Error::no_such_image(&id.to_string()))
        })
    }

    /// All images, newest first.
    pub(crate) fn all(&self, intermediate: bool) -> Vec<Image> {
        let mut images = self.with_names(|names| {
            let mut seen = BTreeSet::new();
            // One platform stands for all that a name means.
            let first = names
                .iter()
                .filter(|named| std::ptr::eq(best(group(names, named)).unwrap_or(named), *named))
                .filter(|named| seen.insert(named.record.id.clone()));
            let wanted =
                |found: &Image| intermediate || !found.is_dangling() || !has_children(names, &found.id);
            first.map(|named| image(names, named)).filter(wanted).collect::<Vec<_>>()
        });
        images.sort_by_cached_key(|image| (std::cmp::Reverse(image.created_unix()), image.id.clone()));
        images
    }

    /// Bytes of the layers that `image` has in common with other images.
    pub(crate) fn shared(&self, image: &Image) -> u64 {
        self.with_names(|names| {
            let others = names.iter().filter(|named| named.record.id != image.id);
            let theirs: BTreeSet<&Digest> = others.flat_map(|named| named.record.chain_ids.iter()).collect();
            let common = image.chain_ids.iter().filter(|chain| theirs.contains(chain));
            common.map(|chain| self.snapshotter.layer_size(chain).unwrap_or(0)).sum()
        })
    }

    /// Bytes of the unpacked layers, and of the blobs.
    pub(crate) fn usage(&self) -> Result<(u64, u64)> {
        let layers = self.snapshotter.layers()?;
        let unpacked = layers.iter().map(|chain| self.snapshotter.layer_size(chain).unwrap_or(0)).sum();
        let packed = self.blobs.all()?.iter().filter_map(|digest| self.blobs.size(digest)).sum();
        Ok((unpacked, packed))
    }

    /// What made the image, newest step first.
    pub(crate) fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryEntry>> {
        let top = self.find_for(name, platform)?;
        let mut sizes = top.chain_ids.iter().map(|chain| self.snapshotter.layer_size(chain).unwrap_or(0));
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for step in &top.config.history {
            let size = match step.empty_layer {
                true => 0,
                false => sizes.next().unwrap_or(0),
            };
            entries.push(HistoryEntry {
                id: None,
                created: seconds(step.created.as_deref()),
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size,
                comment: step.comment.clone(),
            });
        }
        // Layers that the history does not tell of are no less there.
        entries.extend(sizes.map(|size| HistoryEntry {
            id: None,
            created: top.created_unix(),
            created_by: String::new(),
            tags: Vec::new(),
            size,
            comment: String::new(),
        }));
        entries.reverse();
        self.name_history(top, &mut entries);
        Ok(entries)
    }

    /// Puts ids on the steps whose images are here: this one, and those it was committed on.
    fn name_history(&self, top: Image, entries: &mut [HistoryEntry]) {
        let steps = entries.len();
        let mut next = Some(top);
        while let Some(image) = next {
            let made = image.config.history.len().max(image.chain_ids.len());
            if let Some(entry) = steps.checked_sub(made).and_then(|index| entries.get_mut(index)) {
                if entry.id.is_some() {
                    return;
                }
                entry.id = Some(image.id.clone());
                entry.tags.clone_from(&image.repo_tags);
            }
            next = image.parent.and_then(|parent| self.find_id(&parent).ok());
        }
    }
}

/// The entry that a user's word means: a name before an id, as Docker has it.
pub(crate) fn resolve<'a>(names: &'a [Named], word: &str) -> Result<&'a Named> {
    if let Ok(id) = Digest::parse(word) {
        let of_index = |named: &&Named| named.entry.index.as_ref().is_some_and(|index| index.digest == id);
        let found = names.iter().find(|named| named.record.id == id || named.entry.target.digest == id);
        let found = found.or_else(|| best(names.iter().filter(of_index)));
        return found.ok_or_else(|| Error::no_such_image(word));
    }
    match Reference::parse(word).map(Reference::with_default_tag) {
        Ok(reference) => {
            let found = by_name(names, &reference).or_else(|| by_prefix(names, word));
            found.ok_or_else(|| Error::no_such_image(word))
        }
        Err(error) => match by_prefix(names, word) {
            Some(found) => Ok(found),
            // As many digits as an id has are one.
            None if is_identifier(word) && word.len() == 64 => {
                Err(Error::no_such_image(&format!("sha256:{word}")))
            }
            None if is_identifier(word) => Err(Error::no_such_image(word)),
            None => Err(error.into()),
        },
    }
}

/// The entries that a user's word means: a name's for all platforms, an id's alone.
pub(crate) fn meant<'a>(names: &'a [Named], word: &str) -> Result<Vec<&'a Named>> {
    let found = resolve(names, word)?;
    match is_id_of(word, &found.record.id) || found.entry.target.digest.to_string() == word {
        true => Ok(vec![found]),
        false => Ok(group(names, found).collect()),
    }
}

/// The entry that suits this machine best; the first one where none does.
pub(crate) fn best<'a>(mut entries: impl Iterator<Item = &'a Named> + Clone) -> Option<&'a Named> {
    let host = Platform::host();
    let suits = |named: &&Named| host.rank(&named.record.config.platform());
    let ranked = entries.clone().filter_map(|named| Some((suits(&named)?, named)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, named)| named).or_else(|| entries.next())
}

/// By tag, by `repository@digest`, or by both, where the digest decides.
pub(crate) fn by_name<'a>(names: &'a [Named], reference: &Reference) -> Option<&'a Named> {
    let digest = reference.digest().map(|digest| reference.with_digest(digest.clone()));
    let wanted = digest.as_ref().unwrap_or(reference);
    let exact = best(names.iter().filter(|named| named.entry.name.as_ref() == Some(wanted)));
    exact.or_else(|| {
        // The manifest that was chosen from an index has a digest of its own.
        let repository = reference.name();
        let same = |named: &&Named| named.entry.name.as_ref().is_some_and(|name| name.name() == repository);
        let digest = reference.digest()?;
        names.iter().filter(same).find(|named| named.entry.target.digest == *digest)
    })
}

fn is_identifier(word: &str) -> bool {
    !word.is_empty() && word.len() <= 64 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// By the beginning of an id, if only one image begins so.
fn by_prefix<'a>(names: &'a [Named], word: &str) -> Option<&'a Named> {
    let prefix = word.strip_prefix("sha256:").unwrap_or(word);
    if !is_identifier(prefix) {
        return None;
    }
    let mut matching = names.iter().filter(|named| named.record.id.hex().starts_with(prefix));
    let first = matching.next()?;
    matching.all(|named| named.record.id == first.record.id).then_some(first)
}

/// Whether a user's word is the image's id or its beginning, and not a name.
pub(crate) fn is_id_of(word: &str, id: &Digest) -> bool {
    let word = word.strip_prefix("sha256:").unwrap_or(word);
    is_identifier(word) && id.hex().starts_with(word)
}

/// Whether images were committed on this one.
pub(crate) fn has_children(names: &[Named], id: &Digest) -> bool {
    names.iter().any(|named| named.entry.parent.as_ref() == Some(id) && named.record.id != *id)
}

/// All that is known of an image, `found` being the entry by which it was asked for.
pub(crate) fn image(names: &[Named], found: &Named) -> Image {
    let record = &found.record;
    let entries = || names.iter().filter(|named| named.record.id == record.id);
    let references = || entries().filter_map(|named| named.entry.name.as_ref());
    let mut repo_tags: Vec<String> =
        references().filter(|name| name.digest().is_none()).map(Reference::familiar).collect();
    let mut repo_digests: Vec<String> =
        references().filter(|name| name.digest().is_some()).map(Reference::familiar).collect();
    repo_tags.sort();
    repo_digests.sort();
    Image {
        id: record.id.clone(),
        target: found.entry.target.clone(),
        index: found.entry.index.clone(),
        repo_tags,
        repo_digests,
        config: record.config.clone(),
        layers: record.layers.clone(),
        chain_ids: record.chain_ids.clone(),
        size: record.size(),
        config_size: record.config_descriptor.size,
        parent: entries().find_map(|named| named.entry.parent.clone()),
        last_tagged: last_tagged(names, &record.id),
    }
}

fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_second)
}
