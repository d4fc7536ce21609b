//! The files of an archive, put into the store in the order in which they come, in one pass and without a second copy.
//!
//! Every regular file becomes a blob, held by the operation's lease: what no image turns out to need goes with it.
//! Paths and links of the archive are names in a table and never touch the file system.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use hull_oci::Digest;
use hull_oci::digest::Algorithm;
use hull_snapshot::{Kind, tar};

use crate::compression::decompress;
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::store::{Lease, Store, check_document_size};

/// More files than any archive of images has; each is kept in memory by name.
const MOST_FILES: usize = 100_000;
/// Links that point to links.
const LONGEST_CHAIN: usize = 16;

/// What an archive holds, by path.
#[derive(Debug, Default)]
pub(super) struct Contents {
    files: HashMap<PathBuf, File>,
    links: HashMap<PathBuf, PathBuf>,
}

/// A file of the archive, which is a blob now.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Contents {
    /// Reads the whole archive into blobs.
    pub(super) fn read(store: &Store, lease: &Lease<'_>, archive: impl Read + Send) -> Result<Self> {
        let archive = decompress(archive)?;
        let mut reader = tar::Reader::new(archive, u64::MAX);
        let mut contents = Self::default();
        while let Some(node) = reader.next_entry()? {
            if contents.files.len() + contents.links.len() >= MOST_FILES {
                return Err(Error::Invalid(format!("archive has more than {MOST_FILES} files")));
            }
            match node.kind {
                Kind::File { size, data: None } => {
                    let file = keep(store, lease, &node.path, size, &mut reader)?;
                    contents.files.insert(node.path, file);
                }
                Kind::HardLink(target) => drop(contents.links.insert(node.path, target)),
                Kind::Symlink(target) => {
                    let target = follow(&node.path, Path::new(&target))?;
                    contents.links.insert(node.path, target);
                }
                Kind::Directory => {}
                _ => {
                    return Err(Error::Invalid(format!(
                        "archive entry {} is not a plain file",
                        node.path.display()
                    )));
                }
            }
        }
        Ok(contents)
    }

    /// The file of that path, through links.
    pub(super) fn file(&self, path: &Path) -> Option<&File> {
        let mut path = path;
        for _ in 0..LONGEST_CHAIN {
            match self.links.get(path) {
                Some(target) => path = target,
                None => return self.files.get(path),
            }
        }
        None
    }

    /// The paths of all files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// The file of that path, which an image needs.
    pub(super) fn needed(&self, path: &str) -> Result<&File> {
        let found = self.file(&follow(Path::new(""), Path::new(path))?);
        found.ok_or_else(|| Error::Invalid(format!("invalid archive: {path} is missing")))
    }

    /// A document of the archive.
    pub(super) fn document(&self, store: &Store, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(Path::new(path)) else { return Ok(None) };
        check_document_size(file.size).map_err(|error| error.within(path))?;
        store.blobs.document(&file.digest).map(Some)
    }
}

/// Makes a file a blob. One that claims a digest by its path must have it; one that is here already is passed over.
fn keep(store: &Store, lease: &Lease<'_>, path: &Path, size: u64, content: &mut impl Read) -> Result<File> {
    let claimed = claimed_digest(path);
    if let Some(digest) = &claimed {
        lease.hold(digest);
        if store.blobs.has(&Descriptor::new("", digest.clone(), size)) {
            return Ok(File { digest: digest.clone(), size });
        }
    }
    let algorithm = claimed.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let mut ingest = store.blobs.ingest(algorithm)?;
    ingest.fill(content).map_err(|error| error.within(&format!("read {} of the archive", path.display())))?;
    let digest = match claimed {
        Some(digest) => ingest.keep(Some(&digest))?,
        None => ingest.keep_held(lease)?,
    };
    Ok(File { digest, size })
}

/// The digest in `blobs/<algorithm>/<hex>`.
fn claimed_digest(path: &Path) -> Option<Digest> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        ["blobs", algorithm, hex] => Digest::parse(&format!("{algorithm}:{hex}")).ok(),
        _ => None,
    }
}

/// Where `target` leads from the directory of `path`, within the archive.
fn follow(path: &Path, target: &Path) -> Result<PathBuf> {
    let outside = || Error::Invalid(format!("invalid archive: {} leads outside of it", target.display()));
    let mut found = path.parent().unwrap_or(Path::new("")).to_owned();
    for part in target.components() {
        match part {
            Component::Normal(name) => found.push(name),
            Component::CurDir => {}
            Component::ParentDir if found.pop() => {}
            _ => return Err(outside()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside_and_end() {
        assert_eq!(
            follow(Path::new("a/layer.tar"), Path::new("../b/layer.tar")).unwrap(),
            Path::new("b/layer.tar")
        );
        assert!(follow(Path::new("a/x"), Path::new("../../etc/passwd")).is_err());
        assert!(follow(Path::new("a/x"), Path::new("/etc/passwd")).is_err());
        let mut contents = Contents::default();
        contents.links.insert("a".into(), "b".into());
        contents.links.insert("b".into(), "a".into());
        assert!(contents.file(Path::new("a")).is_none());
    }

    #[test]
    fn digests_in_paths() {
        let digest = Digest::sha256(b"");
        assert_eq!(claimed_digest(Path::new(&format!("blobs/sha256/{}", digest.hex()))), Some(digest));
        assert_eq!(claimed_digest(Path::new("blobs/sha256/nothex")), None);
    }
}
