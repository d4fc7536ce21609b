//! Unpacking archives: as a layer, with whiteouts, or as they are.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use hull_oci::digest::Hasher;
use hull_sys::root::Root;
use rustix::fs::Mode;

use crate::overlay::{self, Mark};
use crate::plant::{Plant, Rules};
use crate::snapshotter::Applied;
use crate::tar::Reader;
use crate::{Error, Kind, Limits, Node, Result};

/// A layer that was unpacked.
pub(crate) struct Unpacked {
    pub(crate) applied: Applied,
    /// Directories that the archive did not list.
    pub(crate) inherit: Vec<PathBuf>,
}

/// How [`extract`] treats what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extraction {
    /// A directory in the way of a file, or a file in the way of a directory, is an [`Error::Conflict`] instead of
    /// being replaced.
    pub keep_kinds: bool,
    /// Everything belongs to this user and group, whatever the archive says.
    pub owner: Option<(u32, u32)>,
}

/// Unpacks an archive as it is (names of whiteouts are names like any other) into the directory `dest` below
/// `root`, which exists. Links in the archive and in the tree are followed below `root` only.
pub fn extract(
    root: BorrowedFd<'_>,
    dest: &Path,
    tar: impl Read,
    limits: &Limits,
    how: Extraction,
) -> Result<()> {
    let root = Root::from(root.try_clone_to_owned().map_err(Error::reading)?);
    let dest = dest.strip_prefix("/").unwrap_or(dest);
    root.open_dir(Path::new("/").join(dest))?;
    let mut reader = Reader::new(tar, limits.max_bytes);
    let rules = Rules { max_entries: limits.max_entries, keep_kinds: how.keep_kinds, owner: how.owner };
    let mut plant = Plant::new(&root, rules);
    while let Some(mut node) = reader.next_entry()? {
        node.path = dest.join(&node.path);
        if let Kind::HardLink(target) = &mut node.kind {
            *target = dest.join(&target);
        }
        plant.put(&node, &mut reader)?;
    }
    plant.finish()?;
    Ok(())
}

/// Unpacks a layer into the empty directory `root`.
pub(crate) fn layer(root: &Root, tar: impl Read, limits: &Limits) -> Result<Unpacked> {
    rustix::fs::fchmod(root, Mode::from_raw_mode(0o755))
        .map_err(|errno| hull_sys::Error::new("chmod", "/", errno))?;
    let mut hashed = Hashed { input: tar, hasher: Hasher::sha256() };
    let mut reader = Reader::new(&mut hashed, limits.max_bytes);
    let rules = Rules { max_entries: limits.max_entries, keep_kinds: false, owner: None };
    let mut plant = Plant::new(root, rules);
    let (mut size, mut entries) = (0, 0);
    while let Some(node) = reader.next_entry()? {
        entries += 1;
        if let Kind::File { size: length, .. } = node.kind {
            size += length;
        }
        put(&mut plant, &node, &mut reader)?;
    }
    let inherit = plant.finish()?;
    let diff_id = hashed.hasher.finish();
    Ok(Unpacked { applied: Applied { diff_id, size, entries }, inherit })
}

/// Puts one entry of a layer, or does what its name means.
fn put(plant: &mut Plant<'_>, node: &Node, content: &mut dyn Read) -> Result<()> {
    let dir = node.path.parent().unwrap_or(Path::new(""));
    // AUFS kept its own directories at the top; what is in them is its own, too.
    let first = node.path.iter().next().unwrap_or_default();
    if overlay::mark(first) == Mark::Meta {
        return Ok(());
    }
    match overlay::mark(node.path.file_name().unwrap_or_default()) {
        Mark::None => plant.put(node, content),
        Mark::Opaque => plant.make_opaque(dir),
        Mark::Deleted(name) => plant.make_whiteout(dir, &name),
        Mark::Meta => Ok(()),
        Mark::Invalid => Err(Error::Invalid(format!("invalid whiteout in archive: {}", node.path.display()))),
    }
}

/// A source whose bytes are digested as they are read.
struct Hashed<R> {
    input: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
