//! Paths below a directory that we do not trust: an image's or a container's root file system.
//!
//! Every path is resolved by `openat2(2)` with `RESOLVE_IN_ROOT`: symbolic links and `..` mean what they
//! would mean after chroot(2), absolute ones included, and nothing above the root can be reached, however
//! the tree is changed while we look. Magic links (`/proc/PID/fd/…`) are refused.
//!
//! Calls that act on a *name* (unlink, rename, chown, …) resolve its parent that way and never follow the
//! name itself.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// How often a lookup is repeated that the kernel could not finish because the tree moved under it.
const RETRIES: usize = 128;

/// How deep [`Root::remove_all`] recurses before it hoists a directory to the top.
const MAX_DEPTH: usize = 64;

/// A directory below which paths are resolved, and above which none leads.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
}

/// One name in a directory, as [`Root::read_dir`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name: one component, never `.` or `..`.
    pub name: OsString,
    /// What the name is (never `Unknown`); a symbolic link is not followed.
    pub kind: FileType,
    /// The inode number.
    pub inode: u64,
}

/// A point in time as the kernel keeps it: seconds since 1970 (negative before) and nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds; rounded towards the past, so that `nanos` is never negative.
    pub seconds: i64,
    /// 0..=999,999,999.
    pub nanos: u32,
}

impl From<OwnedFd> for Root {
    /// The directory behind `dir` (which may be opened with `O_PATH`).
    fn from(dir: OwnedFd) -> Self {
        Self { dir }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Root {
    /// Opens a directory of the host as a root. This path is trusted and followed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        rustix::fs::open(path, DIRECTORY, Mode::empty()).on("open", path).map(Self::from)
    }

    /// The directory `path` below this root as a root of its own.
    pub fn sub(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.open_dir(path).map(Self::from)
    }

    /// Another handle of the same root.
    pub fn try_clone(&self) -> Result<Self> {
        self.dir.try_clone().op("dup").map(Self::from)
    }

    /// Opens `path` with `flags` (`O_CLOEXEC` is added). Following the last component is up to `flags`.
    pub fn open_at(&self, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let path = path.as_ref();
        resolve(self.dir.as_fd(), path, flags, mode).on("openat2", path)
    }

    /// Opens the directory `path` for reading; symbolic links are followed below the root.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.open_at(path, DIRECTORY, Mode::empty())
    }

    /// Opens a regular file for reading. Anything else is refused before its driver sees an open.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let before = self.open_at(path, OFlags::PATH, Mode::empty())?;
        regular(&before, path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_at(path, flags, Mode::empty())?;
        regular(&file, path)?;
        Ok(File::from(file))
    }

    /// The content of a regular file of at most `max` bytes; a larger one is `EFBIG`.
    pub fn read_file(&self, path: impl AsRef<Path>, max: usize) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let mut content = Vec::new();
        let mut file = self.open_file(path)?.take(max as u64 + 1);
        file.read_to_end(&mut content).on("read", path)?;
        if content.len() > max {
            return Err(failed("read", path, Errno::FBIG));
        }
        Ok(content)
    }

    /// Creates a new regular file for reading and writing; an existing name is `EEXIST`.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: u32) -> Result<File> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode)).on("create", path).map(File::from)
    }

    /// Makes the directory `path`, whose parent exists; an existing name is `EEXIST`.
    pub fn mkdir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode)).on("mkdir", path)
    }

    /// Makes the directory `path` and those above it where they are missing; opens it.
    ///
    /// Existing directories are kept as they are. A symbolic link on the way is followed below the root;
    /// one that leads nowhere is `EEXIST`, anything that is no directory `ENOTDIR`.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        let path = path.as_ref();
        let mut dir = match self.open_dir(path) {
            Err(error) if error.is(Errno::NOENT) => self.open_dir(".")?,
            opened => return opened,
        };
        let mut seen = PathBuf::new();
        for component in path.components() {
            seen.push(component);
            dir = match self.open_dir(&seen) {
                Err(error) if error.is(Errno::NOENT) => make_and_open(&dir, component, mode, path)?,
                opened => opened?,
            };
        }
        Ok(dir)
    }

    /// Makes a symbolic link at `path` that says `target`, which is not looked at.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        rustix::fs::symlinkat(target.as_ref(), dir, name).on("symlink", path)
    }

    /// Makes `path` a hard link to `existing`, which is not followed if it is a symbolic link.
    pub fn link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (from, from_name) = self.parent(existing.as_ref())?;
        let (dir, name) = self.parent(path)?;
        rustix::fs::linkat(from, from_name, dir, name, AtFlags::empty()).on("link", path)
    }

    /// Makes a device node, fifo or socket; `device` is 0 where it has no meaning.
    pub fn mknod(&self, path: impl AsRef<Path>, kind: FileType, mode: u32, device: u64) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(mode), device).on("mknod", path)
    }

    /// Removes a name that is no directory.
    pub fn unlink(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        rustix::fs::unlinkat(dir, name, AtFlags::empty()).on("unlink", path)
    }

    /// Removes `path` and, if it is a directory, all below it; it is no error that it is not there.
    ///
    /// Nothing but names below the root is ever removed, whatever is renamed or replaced meanwhile, and
    /// the depth of the tree is not bounded by our stack or file descriptors.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match self.parent(path) {
            Ok((dir, name)) => remove_tree(dir.as_fd(), &name).on("remove", path),
            Err(error) if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Renames `from` to `to`, replacing what rename(2) replaces.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let to = to.as_ref();
        let (from, from_name) = self.parent(from.as_ref())?;
        let (dir, name) = self.parent(to)?;
        rustix::fs::renameat(from, from_name, dir, name).on("rename", to)
    }

    /// The names in the directory `path`, in the file system's order.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<Entry>> {
        let path = path.as_ref();
        entries(&self.open_dir(path)?).on("getdents", path)
    }

    /// What `path` is; symbolic links are followed below the root.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Stat> {
        let path = path.as_ref();
        let file = self.open_at(path, OFlags::PATH, Mode::empty())?;
        rustix::fs::fstat(file).on("stat", path)
    }

    /// What the name `path` is, itself: a symbolic link is not followed.
    pub fn lstat(&self, path: impl AsRef<Path>) -> Result<Stat> {
        let path = path.as_ref();
        let file = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        rustix::fs::fstat(file).on("stat", path)
    }

    /// What the symbolic link `path` says.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(dir, name, Vec::new()).on("readlink", path)?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// Sets the permission bits of a name; a symbolic link, which has none, is `EOPNOTSUPP`.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let file = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        chmod_itself(&file, mode).on("chmod", path)
    }

    /// Sets owner and group of a name, of a symbolic link itself.
    pub fn chown(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let path = path.as_ref();
        let file = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).on("chown", path)
    }

    /// Sets the access and modification times of a name, of a symbolic link itself.
    pub fn utimens(&self, path: impl AsRef<Path>, accessed: Time, modified: Time) -> Result<()> {
        let path = path.as_ref();
        let times = Timestamps { last_access: accessed.into(), last_modification: modified.into() };
        match name_of(path) {
            Some(_) => {
                let (dir, name) = self.parent(path)?;
                rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
            None => rustix::fs::utimensat(&self.dir, ".", &times, AtFlags::empty()),
        }
        .on("utimens", path)
    }

    /// The open parent directory of `path`, found below the root, and the last component of `path`.
    ///
    /// The root itself, `.` and a path that ends in `..` have no name: `EINVAL`.
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString)> {
        let path = path.as_ref();
        let name = name_of(path).ok_or_else(|| failed("resolve", path, Errno::INVAL))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let dir = resolve(self.dir.as_fd(), parent, flags, Mode::empty()).on("openat2", path)?;
        Ok((dir, name.to_owned()))
    }
}

impl From<Time> for Timespec {
    fn from(time: Time) -> Self {
        Self { tv_sec: time.seconds, tv_nsec: time.nanos.into() }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const DIRECTORY_ITSELF: OFlags = DIRECTORY.union(OFlags::NOFOLLOW);

/// openat2(2) below `root`. `EAGAIN` says that a rename crossed the lookup of a `..`: look again.
fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RETRIES {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Makes one directory and opens it; somebody else having made it meanwhile is fine.
fn make_and_open(dir: &OwnedFd, component: Component<'_>, mode: u32, path: &Path) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(dir, component.as_os_str(), Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("mkdir", path, errno)),
    }
    match rustix::fs::openat(dir, component.as_os_str(), DIRECTORY_ITSELF, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => Err(failed("mkdir", path, Errno::EXIST)),
        opened => opened.on("open", path),
    }
}

/// The names in an open directory.
pub fn entries(dir: impl AsFd) -> rustix::io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => kind_of(&dir, name)?,
            kind => kind,
        };
        found.push(Entry { name: OsStr::from_bytes(name.to_bytes()).into(), kind, inode: entry.ino() });
    }
    Ok(found)
}

fn kind_of(dir: impl AsFd, name: &CStr) -> rustix::io::Result<FileType> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn regular(file: &OwnedFd, path: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(file).on("stat", path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(failed("open", path, Errno::ISDIR)),
        _ => Err(failed("open", path, Errno::INVAL)),
    }
}

/// Sets the permission bits of `name` in the open directory `dir`, as [`Root::chmod`] does.
pub fn chmod_name(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    chmod_itself(&rustix::fs::openat(dir, name, flags, Mode::empty())?, mode)
}

fn chmod_itself(file: &OwnedFd, mode: u32) -> rustix::io::Result<()> {
    if FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::Symlink {
        return Err(Errno::OPNOTSUPP);
    }
    // fchmod(2) refuses O_PATH; the magic link of our own descriptor names exactly this inode.
    rustix::fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), Mode::from_raw_mode(mode))
}

/// The last component, if it is a name.
fn name_of(path: &Path) -> Option<&OsStr> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Some(name),
        _ => None,
    }
}

/// Removes `name` in the open directory `dir` and all below it, as [`Root::remove_all`] does. Whatever takes its
/// place meanwhile is removed, too, a bounded number of times.
pub fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    for _ in 0..RETRIES {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Linux says EISDIR of a directory, POSIX EPERM.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        let tree = match rustix::fs::openat(dir, name, DIRECTORY_ITSELF, Mode::empty()) {
            Ok(tree) => tree,
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(errno),
        };
        empty(&tree)?;
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::NOTEMPTY)
}

/// Empties the directory `top`: directories too deep are hoisted into it and removed in a later round.
fn empty(top: &OwnedFd) -> rustix::io::Result<()> {
    let mut hoisted = 0;
    loop {
        let before = hoisted;
        empty_below(top, top, 0, &mut hoisted)?;
        if hoisted == before {
            return Ok(());
        }
    }
}

fn empty_below(top: &OwnedFd, dir: &OwnedFd, depth: usize, hoisted: &mut u64) -> rustix::io::Result<()> {
    for entry in entries(dir)? {
        if entry.kind != FileType::Directory {
            match rustix::fs::unlinkat(dir, &entry.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(errno) => return Err(errno),
            }
        }
        if depth == MAX_DEPTH {
            hoist(top, dir, &entry.name, hoisted)?;
            continue;
        }
        match rustix::fs::openat(dir, &entry.name, DIRECTORY_ITSELF, Mode::empty()) {
            Ok(below) => empty_below(top, &below, depth + 1, hoisted)?,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(errno),
        }
        match rustix::fs::unlinkat(dir, &entry.name, AtFlags::REMOVEDIR) {
            // Not empty: filled again meanwhile; the caller of `empty` looks again.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Moves the directory `name` up to `top` under a name that is free.
fn hoist(top: &OwnedFd, dir: &OwnedFd, name: &OsStr, hoisted: &mut u64) -> rustix::io::Result<()> {
    loop {
        *hoisted += 1;
        let up = format!(".hoisted-{hoisted}");
        match rustix::fs::renameat_with(dir, name, top, up, rustix::fs::RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

fn failed(op: &'static str, path: &Path, errno: Errno) -> Error {
    Error::new(op, path.to_string_lossy(), errno)
}

#[cfg(test)]
mod tests;
