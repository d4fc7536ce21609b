//! What a container changed, as `docker diff` lists it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hull_sys::root::{self, Root};
use hull_sys::{Context, mount};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::walk::{Step, Walk};
use crate::{Mounts, Result, overlay, stubs};

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened to it.
    pub kind: ChangeKind,
    /// The path in the container, absolute.
    pub path: PathBuf,
}

/// What happened to a path; the numbers are those of the Docker API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Content or metadata differ, or something in the directory does.
    Modified = 0,
    /// It was not there before.
    Added = 1,
    /// It is there no more.
    Deleted = 2,
}

/// The changes made on top of the lower layers, sorted by path. The directories above a change are `Modified`, the
/// root directory is not listed. What was made only to mount on is no change.
pub fn changes(mounts: &Mounts) -> Result<Vec<Change>> {
    let mut found = Found { lower: lower(mounts)?, changes: BTreeMap::new() };
    let upper = Root::open(&mounts.upper)?;
    let stubs = stubs::find(&upper, &found.lower)?;
    let mut walk = Walk::new(upper)?;
    while let Some(step) = walk.next()? {
        if !stubs.contains(&step.path) {
            found.add(&walk, &step)?;
        }
    }
    let changes = found.changes.into_iter();
    Ok(changes
        .map(|(path, kind)| Change { kind, path: Path::new(OsStr::from_bytes(&path)).into() })
        .collect())
}

/// The lower layers as one tree.
pub(crate) fn lower(mounts: &Mounts) -> Result<Root> {
    match mounts.lower.as_slice() {
        // Alone, a layer is its own tree (but for whiteouts of nothing), and no overlay by itself.
        [only] => Ok(Root::open(only)?),
        several => Ok(Root::from(mount::overlay(several, None)?)),
    }
}

struct Found {
    lower: Root,
    /// By the bytes of the path, which is the order that Docker lists them in.
    changes: BTreeMap<Vec<u8>, ChangeKind>,
}

impl Found {
    fn add(&mut self, walk: &Walk, step: &Step) -> Result<()> {
        let before = self.before(&step.path)?;
        if overlay::is_whiteout(&step.stat) {
            if before.is_some() {
                self.insert(&step.path, ChangeKind::Deleted);
            }
            return Ok(());
        }
        let Some(before) = before else {
            self.insert(&step.path, ChangeKind::Added);
            return Ok(());
        };
        let directories = is_directory(&before) && is_directory(&step.stat);
        if !directories || differ(&before, &step.stat) {
            self.insert(&step.path, ChangeKind::Modified);
        }
        if directories && overlay::is_opaque(walk.dir()?)? {
            self.add_hidden(walk.dir()?, &step.path)?;
        }
        Ok(())
    }

    /// What an opaque directory hides and does not have itself was deleted.
    fn add_hidden(&mut self, dir: BorrowedFd<'_>, path: &Path) -> Result<()> {
        let names = |dir: BorrowedFd<'_>| root::entries(dir).on("getdents", path);
        let there: HashSet<_> = names(dir)?.into_iter().map(|entry| entry.name).collect();
        let Some(below) = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)? else { return Ok(()) };
        for entry in names(below.as_fd())? {
            if !there.contains(&entry.name) {
                self.insert(&path.join(entry.name), ChangeKind::Deleted);
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, kind: ChangeKind) {
        let absolute = |path: &Path| Path::new("/").join(path).into_os_string().into_encoded_bytes();
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            self.changes.entry(absolute(above)).or_insert(ChangeKind::Modified);
        }
        self.changes.insert(absolute(path), kind);
    }

    /// What was at `path`; a link on the way was something else, so nothing was there.
    fn before(&self, path: &Path) -> Result<Option<Stat>> {
        let Some(file) = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)? else { return Ok(None) };
        let stat = rustix::fs::statat(file, "", AtFlags::EMPTY_PATH).on("stat", path)?;
        Ok(Some(stat).filter(|stat| !overlay::is_whiteout(stat)))
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = flags | OFlags::CLOEXEC;
        match rustix::fs::openat2(&self.lower, path, flags, Mode::empty(), how) {
            // The last component may be a link itself; then it is looked at in its directory.
            Err(Errno::LOOP) if flags.contains(OFlags::NOFOLLOW) => self.open_link(path, flags),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            opened => Ok(Some(opened.on("open", path)?)),
        }
    }

    fn open_link(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let Some(dir) = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)? else { return Ok(None) };
        match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            opened => Ok(Some(opened.on("open", path)?)),
        }
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether the attributes of two directories differ.
fn differ(one: &Stat, other: &Stat) -> bool {
    let attributes =
        |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec);
    attributes(one) != attributes(other)
}
