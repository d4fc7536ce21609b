//! The table of names: `index.json` of the image layout.
//!
//! Each entry is a descriptor of an image's manifest. Its annotations carry the name (a tag, or `repository@digest`
//! for what a registry called it), when the name was given, the image it was committed on, and the index it was chosen
//! from: a name with an index has an entry for each of its platforms that is here. An image without a name has an
//! entry without one. The file is replaced as a whole (write, sync, rename): a crash leaves the table
//! from before or from after a change, and what memory holds is never ahead of the file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hull_oci::{Digest, Reference};

use crate::error::{Context, Error, Result};
use crate::manifest::{Descriptor, Document, Index, media_type};

/// The full name, as containerd's tools write it.
pub(crate) const NAME: &str = "io.containerd.image.name";
/// The name or tag, of OCI.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
const PARENT: &str = "hull.image.parent";
const TAGGED: &str = "hull.image.tagged";
const INDEX: &str = "hull.image.index";

/// One name of one image, or an image without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// A tag, or a repository with a digest.
    pub(crate) name: Option<Reference>,
    /// The manifest, without the annotations below.
    pub(crate) target: Descriptor,
    /// The index that has the manifest, if it came in one.
    pub(crate) index: Option<Descriptor>,
    /// The image this one was committed on.
    pub(crate) parent: Option<Digest>,
    /// When the name was given, RFC 3339.
    pub(crate) tagged: Option<String>,
}

impl Entry {
    /// Whether its manifest is one of that index.
    pub(crate) fn is_of(&self, index: Option<&Descriptor>) -> bool {
        let digest = |index: &Descriptor| index.digest.clone();
        index.is_some() && self.index.as_ref().map(digest) == index.map(digest)
    }

    fn from_descriptor(mut target: Descriptor) -> Self {
        let mut take = |key: &str| target.annotations.remove(key);
        let full = take(NAME);
        let short = take(REF_NAME);
        let name = full.or(short).and_then(|name| Reference::parse(&name).ok());
        let parent = take(PARENT).and_then(|parent| Digest::parse(&parent).ok());
        let tagged = take(TAGGED);
        let index = take(INDEX).and_then(|index| serde_json::from_str(&index).ok());
        Self { name, target, index, parent, tagged }
    }

    fn to_descriptor(&self) -> Descriptor {
        let mut descriptor = self.target.clone();
        let name = self.name.as_ref().map(Reference::to_string);
        let parent = self.parent.as_ref().map(Digest::to_string);
        // Text, numbers and maps of text: this cannot fail.
        let index = self.index.as_ref().and_then(|index| serde_json::to_string(index).ok());
        let annotations = [
            (NAME, name.clone()),
            (REF_NAME, name),
            (PARENT, parent),
            (TAGGED, self.tagged.clone()),
            (INDEX, index),
        ];
        let present = annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        descriptor.annotations.extend(present);
        descriptor
    }
}

/// Reads the table; none is an empty one.
pub(crate) fn read(root: &Path) -> Result<Vec<Entry>> {
    let path = root.join("index.json");
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.on("read", &path)?,
    };
    match Document::parse(&bytes, media_type::OCI_INDEX).map_err(|error| error.within("index.json"))? {
        Document::Index(index) => Ok(index.manifests.into_iter().map(Entry::from_descriptor).collect()),
        Document::Manifest(_) => Err(Error::Invalid(format!("{} is not an index", path.display()))),
    }
}

/// Replaces the table.
pub(crate) fn write(root: &Path, entries: &[Entry]) -> Result<()> {
    let manifests = entries.iter().map(Entry::to_descriptor).collect();
    let media_type = media_type::OCI_INDEX.to_owned();
    let index = Index { schema_version: 2, media_type, manifests, annotations: Default::default() };
    replace(&root.join("index.json"), &to_json(&index)?)
}

/// Writes `oci-layout`, which marks the directory as an image layout.
pub(crate) fn mark(root: &Path) -> Result<()> {
    let path = root.join("oci-layout");
    match path.exists() {
        true => Ok(()),
        false => replace(&path, br#"{"imageLayoutVersion":"1.0.0"}"#),
    }
}

/// A document of ours as bytes.
pub(crate) fn to_json(document: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|error| Error::System(format!("write document: {error}")))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = PathBuf::from(path);
    temporary.set_extension("new");
    let mut file = File::create(&temporary).on("create", &temporary)?;
    file.write_all(bytes).on("write", &temporary)?;
    file.sync_all().on("sync", &temporary)?;
    fs::rename(&temporary, path).on("rename", path)?;
    match path.parent() {
        Some(directory) => {
            File::open(directory).and_then(|directory| directory.sync_all()).on("sync", directory)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), Vec::new());
        let target = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(b"m"), 1);
        let tagged = Some("2026-01-01T00:00:00Z".to_owned());
        let name = Some(Reference::parse("busybox:1").unwrap());
        let index = Some(Descriptor::new(media_type::OCI_INDEX, Digest::sha256(b"i"), 2));
        let named = Entry { name, target: target.clone(), index, parent: None, tagged };
        let dangling =
            Entry { name: None, target, index: None, parent: Some(Digest::sha256(b"p")), tagged: None };
        let entries = vec![named, dangling];
        write(directory.path(), &entries).unwrap();
        mark(directory.path()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), entries);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
