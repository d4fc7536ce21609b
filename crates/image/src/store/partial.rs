//! Downloads that were cut, kept for the next pull: `partial/<algorithm>-<hex>`.
//!
//! Such a file is a beginning of the blob, or garbage after a crash of the machine: it is hashed with the rest, and
//! removed when the whole is not what was asked for. One that nobody has added to for a day goes at the next pull or
//! opening; an opening also removes the oldest beyond a sum of bytes.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hull_oci::Digest;

use super::blobs::private_dir;
use crate::error::{Context, Result};

/// How long a beginning is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of all beginnings that an opening leaves.
const KEPT_BYTES: u64 = 4 << 30;

/// The beginning of a blob, ours alone while this exists.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Bytes that are there.
    pub(crate) length: u64,
}

/// Makes the directory and removes what is too old or too much.
pub(super) fn open(root: &Path) -> Result<()> {
    private_dir(&directory(root))?;
    let mut left = 0_u64;
    for (path, _, length) in expire(root)? {
        left += length;
        if left > KEPT_BYTES {
            fs::remove_file(&path).on("remove", &path)?;
        }
    }
    Ok(())
}

/// The beginning of that blob, perhaps empty; `None` if another download is just adding to it.
pub(super) fn of(root: &Path, digest: &Digest, size: u64) -> Result<Option<Partial>> {
    expire(root)?;
    let path = directory(root).join(format!("{}-{}", digest.algorithm().name(), digest.hex()));
    let mut options = OpenOptions::new();
    let opened = options.read(true).append(true).create(true).mode(0o600).open(&path);
    let file = opened.on("open", &path)?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    let mut length = file.metadata().on("stat", &path)?.len();
    if length > size {
        file.set_len(0).on("truncate", &path)?;
        length = 0;
    }
    Ok(Some(Partial { file, path, length }))
}

fn directory(root: &Path) -> PathBuf {
    root.join("partial")
}

/// Removes the beginnings that nobody has added to for long; the others, youngest first.
fn expire(root: &Path) -> Result<Vec<(PathBuf, SystemTime, u64)>> {
    let directory = directory(root);
    let mut left = Vec::new();
    for entry in fs::read_dir(&directory).on("read", &directory)?.flatten() {
        // Another pull may have completed it meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let modified = metadata.modified().on("stat", entry.path())?;
        if modified.elapsed().is_ok_and(|age| age > KEPT_FOR) {
            // If it stays, the next try is not far.
            let _ = fs::remove_file(entry.path());
        } else {
            left.push((entry.path(), modified, metadata.len()));
        }
    }
    left.sort_by_key(|(_, modified, _)| std::cmp::Reverse(*modified));
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_beginning_is_kept_for_a_time_and_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::sha256(b"content");
        open(directory.path()).unwrap();
        let mut first = of(directory.path(), &digest, 7).unwrap().unwrap();
        first.file.write_all(b"cont").unwrap();
        assert!(of(directory.path(), &digest, 7).unwrap().is_none(), "it is in use");
        drop(first);
        open(directory.path()).unwrap();
        let again = of(directory.path(), &digest, 7).unwrap().unwrap();
        assert_eq!(again.length, 4);
        again.file.set_modified(SystemTime::now() - 2 * KEPT_FOR).unwrap();
        drop(again);
        assert_eq!(of(directory.path(), &digest, 7).unwrap().unwrap().length, 0, "it was too old");
        let long = of(directory.path(), &digest, 7).unwrap().unwrap();
        long.file.set_len(8).unwrap();
        drop(long);
        assert_eq!(of(directory.path(), &digest, 7).unwrap().unwrap().length, 0, "longer than the blob");
    }
}
