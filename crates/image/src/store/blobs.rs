//! Blobs by digest: `blobs/<algorithm>/<hex>` of an OCI image layout, and `ingest/` for what is not complete.
//!
//! A blob is written in `ingest/`, hashed on the way, and renamed into place only when its digest is right: whatever
//! has a name below `blobs/` is whole. A crash leaves files in `ingest/` alone, which the next open removes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hull_oci::Digest;
use hull_oci::digest::{Algorithm, Hasher};

use super::{Lease, Partial, partial};
use crate::error::{Context, Error, Result};
use crate::manifest::{DOCUMENT_LIMIT, Descriptor};

const COPY_BUFFER: usize = 128 * 1024;
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The directory of blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    root: PathBuf,
    next: AtomicU64,
}

impl Blobs {
    /// Makes the directories and empties `ingest/`.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let ingest = root.join("ingest");
        match fs::remove_dir_all(&ingest) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).on("remove", &ingest),
            _ => private_dir(&ingest)?,
        }
        partial::open(root)?;
        for algorithm in ALGORITHMS {
            private_dir(&root.join("blobs").join(algorithm.name()))?;
        }
        Ok(Self { root: root.to_owned(), next: AtomicU64::new(0) })
    }

    /// Where the blob is, or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Bytes of the blob, if it is here.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|metadata| metadata.len())
    }

    /// Whether the blob is here and as long as it should be.
    pub(crate) fn has(&self, descriptor: &Descriptor) -> bool {
        self.size(&descriptor.digest) == Some(descriptor.size)
    }

    /// The blob's file.
    pub(crate) fn file(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotFound(format!("content {digest} is not in the image store")))
            }
            opened => opened.on("open", &path),
        }
    }

    /// A manifest or configuration, verified and bounded.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.file(digest)?.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes);
        read.on("read", self.path(digest))?;
        check_document_size(bytes.len() as u64)?;
        verify("document", &bytes, digest)?;
        Ok(bytes)
    }

    /// Keeps a document made here.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        self.put_as(bytes, &digest)?;
        Ok(digest)
    }

    /// Keeps a document that came from elsewhere, by the digest that it has.
    pub(crate) fn put_as(&self, bytes: &[u8], digest: &Digest) -> Result<()> {
        if self.size(digest) == Some(bytes.len() as u64) {
            return Ok(());
        }
        let mut ingest = self.ingest(digest.algorithm())?;
        ingest.write_all(bytes).on("write", &ingest.path)?;
        ingest.sync()?;
        ingest.keep(Some(digest)).map(drop)
    }

    /// Begins a blob.
    pub(crate) fn ingest(&self, algorithm: Algorithm) -> Result<Ingest<'_>> {
        let path = self.root.join("ingest").join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).on("create", &path)?;
        Ok(self.ingest_into(file, path, algorithm))
    }

    fn ingest_into(&self, file: File, path: PathBuf, algorithm: Algorithm) -> Ingest<'_> {
        Ingest {
            blobs: self,
            file,
            path,
            hasher: Hasher::new(algorithm),
            written: 0,
            kept: false,
            beginning: 0,
            partial: false,
        }
    }

    /// What an earlier download has left of a blob; `None` if another one is under way.
    pub(crate) fn partial(&self, blob: &Descriptor) -> Result<Option<Partial>> {
        partial::of(&self.root, &blob.digest, blob.size)
    }

    /// Goes on with a blob. What is there already is to be read first, by [`Ingest::replay`].
    pub(crate) fn resume(&self, partial: Partial, algorithm: Algorithm) -> Ingest<'_> {
        let Partial { file, path, length } = partial;
        let mut ingest = self.ingest_into(file, path, algorithm);
        (ingest.beginning, ingest.partial) = (length, true);
        ingest
    }

    /// Forgets a blob; how many bytes that freed.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<u64> {
        let size = self.size(digest).unwrap_or(0);
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            removed => removed.on("remove", &path).map(|()| size),
        }
    }

    /// Every blob that is here.
    pub(crate) fn all(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in ALGORITHMS {
            let directory = self.root.join("blobs").join(algorithm.name());
            for entry in fs::read_dir(&directory).on("read", &directory)? {
                let name = entry.on("read", &directory)?.file_name();
                found.extend(name.to_str().and_then(|hex| Digest::from_hex(algorithm, hex).ok()));
            }
        }
        Ok(found)
    }
}

/// A blob that is being written. Dropping it removes what was written, but for a download that may go on later.
#[derive(Debug)]
pub(crate) struct Ingest<'a> {
    blobs: &'a Blobs,
    file: File,
    path: PathBuf,
    hasher: Hasher,
    written: u64,
    kept: bool,
    /// Bytes that were there before.
    beginning: u64,
    /// Whether what is written is kept for a later download.
    partial: bool,
}

impl Ingest<'_> {
    /// Reads and hashes what was there before; nothing when all of it is read.
    pub(crate) fn replay(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.beginning.saturating_sub(self.written)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let count = self.file.read(&mut buffer[..wanted])?;
        self.hasher.update(&buffer[..count]);
        self.written += count as u64;
        Ok(count)
    }

    /// What was written is no good: it is not kept.
    pub(crate) fn spoil(&mut self) {
        self.partial = false;
    }

    /// Bytes so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes all of `content`; errors of reading and of writing are told apart.
    pub(crate) fn fill(&mut self, content: &mut (impl Read + ?Sized)) -> Result<()> {
        let mut buffer = vec![0; COPY_BUFFER];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::Invalid(error.to_string())),
            };
            self.write_all(&buffer[..count]).on("write", &self.path)?;
        }
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().on("sync", &self.path)
    }

    /// Whether what was written so far has that digest.
    pub(crate) fn check(&self, expected: &Digest) -> Result<()> {
        let found = self.hasher.clone().finish();
        match found == *expected {
            true => Ok(()),
            false => Err(Error::wrong_digest("filesystem layer", expected, &found)),
        }
    }

    /// Gives the blob its name if it is what was expected.
    pub(crate) fn keep(mut self, expected: Option<&Digest>) -> Result<Digest> {
        let found = std::mem::take(&mut self.hasher).finish();
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(Error::wrong_digest("filesystem layer", expected, &found));
        }
        self.name(found)
    }

    /// Gives the blob its name, whatever it is, held before anybody could sweep it.
    pub(crate) fn keep_held(mut self, lease: &Lease<'_>) -> Result<Digest> {
        let found = std::mem::take(&mut self.hasher).finish();
        lease.hold(&found);
        self.name(found)
    }

    fn name(mut self, found: Digest) -> Result<Digest> {
        let path = self.blobs.path(&found);
        fs::rename(&self.path, &path).on("rename", &path)?;
        self.kept = true;
        Ok(found)
    }
}

impl Write for Ingest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        let goes_on = self.partial && self.written > 0;
        if !self.kept && !goes_on {
            // Nothing refers to it; what cannot be removed now goes when the store is opened next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Refuses documents that nobody writes in earnest, before they are parsed.
pub(crate) fn check_document_size(size: u64) -> Result<()> {
    match size > DOCUMENT_LIMIT {
        true => Err(Error::Invalid(format!("manifest or configuration of more than {DOCUMENT_LIMIT} bytes"))),
        false => Ok(()),
    }
}

/// Content in memory against its digest; `what` it is, for the error.
pub(crate) fn verify(what: &str, bytes: &[u8], expected: &Digest) -> Result<()> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    match found == *expected {
        true => Ok(()),
        false => Err(Error::wrong_digest(what, expected, &found)),
    }
}

/// A directory for root alone: layers hold setuid programs.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).on("create directory", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_right_and_forgets_what_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let digest = blobs.put(b"content").unwrap();
        assert_eq!(blobs.document(&digest).unwrap(), b"content");

        let mut wrong = blobs.ingest(Algorithm::Sha256).unwrap();
        wrong.write_all(b"other").unwrap();
        assert!(matches!(wrong.keep(Some(&digest)), Err(Error::Invalid(_))));
        drop(blobs.ingest(Algorithm::Sha256).unwrap());
        assert_eq!(fs::read_dir(directory.path().join("ingest")).unwrap().count(), 0);
        assert_eq!(blobs.all().unwrap(), vec![digest.clone()]);
        assert_eq!(blobs.remove(&digest).unwrap(), 7);
        assert!(matches!(blobs.document(&digest), Err(Error::NotFound(_))));
    }

    #[test]
    fn notices_a_changed_document() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let digest = blobs.put(b"content").unwrap();
        fs::write(blobs.path(&digest), b"c0ntent").unwrap();
        assert!(matches!(blobs.document(&digest), Err(Error::Invalid(_))));
    }
}
