//! Packing trees: what a container changed, a whole root file system, one path of it.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use hull_oci::Digest;
use hull_oci::digest::Hasher;
use hull_sys::root::Root;
use rustix::fs::{FileType, Stat};

use crate::tar::Writer;
use crate::walk::{Reading, Step, Walk, describe, step_at};
use crate::{Error, Kind, Mounts, Node, Result, changes, overlay, stubs};

/// Writes what was changed on top of the lower layers as a layer archive; returns its digest, the diff id. What was
/// made only to mount on is not in it.
///
/// The same changes are the same bytes: names are sorted, times whole seconds, nothing of the host gets in.
pub fn diff(mounts: &Mounts, out: impl Write) -> Result<Digest> {
    let mut hashed = Hashed { output: out, hasher: Hasher::sha256() };
    let mut writer = Writer::new(&mut hashed);
    let upper = Root::open(&mounts.upper)?;
    let stubs = stubs::find(&upper, &changes::lower(mounts)?)?;
    let mut walk = Walk::new(upper)?;
    let mut reading = Reading::default();
    while let Some(step) = walk.next()? {
        if stubs.contains(&step.path) {
            continue;
        }
        if overlay::is_whiteout(&step.stat) {
            let path = step.path.with_file_name(overlay::whiteout_name(step.name()));
            writer.append(&sign(path, &step.stat), &mut io::empty())?;
            continue;
        }
        let path = step.path.clone();
        let Some((node, mut content)) = reading.node(&walk, &step, path)? else { continue };
        writer.append(&node, &mut content)?;
        if step.kind() == FileType::Directory && overlay::is_opaque(walk.dir()?)? {
            let path = step.path.join(overlay::OPAQUE_MARK);
            writer.append(&sign(path, &step.stat), &mut io::empty())?;
        }
    }
    writer.finish()?;
    Ok(hashed.hasher.finish())
}

/// Writes everything below `root` as one flat archive. Mount points are entries without content.
pub fn export(root: BorrowedFd<'_>, out: impl Write) -> Result<()> {
    let mut writer = Writer::new(out);
    pack(Walk::new(owned(root)?)?, Path::new(""), &mut writer)?;
    writer.finish()?;
    Ok(())
}

/// Writes `path` below `root` and all that is in it, under the name `name` (empty: as the root of the archive).
///
/// Links are followed below `root`, except that a link at the end is written itself.
pub fn archive(root: BorrowedFd<'_>, path: &Path, name: &Path, out: impl Write) -> Result<()> {
    let root = owned(root)?;
    let stat = root.lstat(path).map_err(|error| missing(path, error))?;
    let mut writer = Writer::new(out);
    let mut reading = Reading::default();
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let top = root.sub(path)?;
        let step = Step { path: name.to_owned(), stat };
        if let Some((node, _)) = reading.node_at(top.as_fd(), &step, name.to_owned())? {
            writer.append(&node, &mut io::empty())?;
        }
        pack(Walk::new(top)?, name, &mut writer)?;
    } else {
        let (dir, last) = root.parent(path)?;
        let step = step_at(dir.as_fd(), &last)?;
        if let Some((node, mut content)) = reading.node_at(dir.as_fd(), &step, name.to_owned())? {
            writer.append(&node, &mut content)?;
        }
    }
    writer.finish()?;
    Ok(())
}

fn pack<W: Write>(mut walk: Walk, name: &Path, writer: &mut Writer<W>) -> Result<()> {
    let mut reading = Reading::default();
    while let Some(step) = walk.next()? {
        if let Some((node, mut content)) = reading.node(&walk, &step, name.join(&step.path))? {
            writer.append(&node, &mut content)?;
        }
    }
    Ok(())
}

/// An empty file whose name says it all.
fn sign(path: PathBuf, stat: &Stat) -> Node {
    let mut node = describe(path, Kind::file(0), stat, Vec::new());
    (node.mode, node.uid, node.gid) = (0o600, 0, 0);
    node
}

fn owned(root: BorrowedFd<'_>) -> Result<Root> {
    root.try_clone_to_owned().map(Root::from).map_err(Error::reading)
}

fn missing(path: &Path, error: hull_sys::Error) -> Error {
    let gone = [rustix::io::Errno::NOENT, rustix::io::Errno::NOTDIR];
    match gone.iter().any(|errno| error.is(*errno)) {
        true => Error::NotFound(format!("no such file or directory: {}", path.display())),
        false => error.into(),
    }
}

/// An output whose bytes are digested as they are written.
struct Hashed<W> {
    output: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
