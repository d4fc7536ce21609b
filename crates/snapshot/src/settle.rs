//! Directories that an archive has files in but does not list.
//!
//! A layer with `tmp/file` and no `tmp/` must not change `/tmp`; yet on disk the directory has to exist, and an
//! overlay shows the attributes of the topmost one. The layers below are not known while a layer is unpacked
//! (they may be unpacking at the same time), so it is noted, and settled when the layer is first used: its chain
//! id fixes what is below, so there is one answer.
//!
//! The note is removed after the attributes are set; setting them twice is harmless.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hull_sys::root::Root;
use hull_sys::{Context, xattr};
use rustix::fs::{Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;

use crate::{Result, overlay, walk};

/// Writes the note, if there is something to note: paths that end with a NUL each.
pub(crate) fn write_list(note: &Path, paths: &[PathBuf]) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let list: Vec<u8> = paths.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\0"].concat()).collect();
    Ok(fs::write(note, list).on("write", note)?)
}

/// Does what the note says. `trees` are the layer's own and those below it, the top one first.
pub(crate) fn settle(note: &Path, trees: &[PathBuf]) -> Result<()> {
    let list = match fs::read(note) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        list => list.on("read", note)?,
    };
    let Some((own, below)) = trees.split_first() else { return Ok(()) };
    let own = Root::open(own)?;
    let below = below.iter().map(Root::open).collect::<hull_sys::Result<Vec<_>>>()?;
    for path in list.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let path = Path::new(OsStr::from_bytes(path));
        // Replaced by a later entry of the same archive, or a link by now: then it is not ours to settle.
        let Found::Directory(to) = find(&own, path)? else { continue };
        if let Some(from) = find_below(&below, path)? {
            copy_attributes(from.as_fd(), to.as_fd())?;
        }
    }
    match fs::remove_file(note) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => Ok(removed.on("unlink", note)?),
    }
}

/// Makes `to` look like `from`: owner, mode, attributes that travel, times.
pub(crate) fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let stat = rustix::fs::fstat(from).op("stat")?;
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))).op("chown")?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).op("chmod")?;
    for name in xattr::list(from)? {
        let name = OsStr::from_bytes(name.as_bytes());
        if overlay::travels(name)
            && let Some(value) = xattr::get(from, name)?
        {
            xattr::set(to, name, &value)?;
        }
    }
    let modified = walk::modified(&stat).into();
    rustix::fs::futimens(to, &Timestamps { last_access: modified, last_modification: modified })
        .op("utimens")?;
    Ok(())
}

/// What a single layer has at a path.
enum Found {
    /// A directory.
    Directory(OwnedFd),
    /// Something that hides what the layers below have there.
    Other,
    /// Nothing; `true` if a directory above hides what is below.
    Nothing(bool),
}

/// The directory that an overlay of `layers` (top first) shows at `path`, if it is one.
fn find_below(layers: &[Root], path: &Path) -> Result<Option<OwnedFd>> {
    for layer in layers {
        match find(layer, path)? {
            Found::Directory(found) => return Ok(Some(found)),
            Found::Other | Found::Nothing(true) => return Ok(None),
            Found::Nothing(false) => {}
        }
    }
    Ok(None)
}

fn find(layer: &Root, path: &Path) -> Result<Found> {
    let mut dir = layer.open_dir(".")?;
    let mut opaque = overlay::is_opaque(&dir)?;
    for name in path {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        dir = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Found::Nothing(opaque)),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Found::Other),
            opened => opened.on("open", path)?,
        };
        opaque |= overlay::is_opaque(&dir)?;
    }
    Ok(Found::Directory(dir))
}
