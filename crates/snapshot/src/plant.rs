//! Putting nodes into a directory.
//!
//! The directory may be anything: an empty one of our own or the root of a container that runs and replaces
//! names while we write. So every path is resolved below the root, files are created and never opened, and what
//! is created is only touched through its descriptor or without following its name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_sys::root::{Root, Time};
use hull_sys::{Context, root, xattr};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, makedev};
use rustix::io::Errno;

use crate::error::blame_archive;
use crate::{Error, Kind, Node, Result, overlay};

/// What is copied at a time.
const BUFFER: usize = 128 << 10;

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const CREATE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that is being filled.
pub(crate) struct Plant<'a> {
    root: &'a Root,
    /// The directory that the last node went to: archives list the files of one after the other.
    parent: Option<(PathBuf, OwnedFd)>,
    /// When directories are to have been modified: set at the end, because filling them changes it.
    times: Vec<(PathBuf, Time)>,
    /// Directories that had to be made without a node of their own.
    missing: Vec<PathBuf>,
    rules: Rules,
    made: u64,
    buffer: Box<[u8]>,
}

/// What may be made, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Names made, missing parents included.
    pub(crate) max_entries: u64,
    /// A directory does not replace a file, nor a file a directory.
    pub(crate) keep_kinds: bool,
    /// Owner and group of everything, instead of the nodes' own.
    pub(crate) owner: Option<(u32, u32)>,
}

impl<'a> Plant<'a> {
    pub(crate) fn new(root: &'a Root, rules: Rules) -> Self {
        let buffer = vec![0; BUFFER].into();
        Self { root, parent: None, times: Vec::new(), missing: Vec::new(), rules, made: 0, buffer }
    }

    /// Puts one node in its place; what is there already is replaced, except that directories are merged.
    /// `content` is read for regular files, without the holes of sparse ones.
    pub(crate) fn put(&mut self, node: &Node, content: &mut dyn Read) -> Result<()> {
        self.count()?;
        let Some(name) = node.path.file_name() else { return self.put_root(node) };
        let parent = self.enter(node.path.parent().unwrap_or(Path::new("")))?;
        let put = self.put_in(&parent.1, name, node, content);
        // The directory itself may have been put meanwhile: its children come next.
        if self.parent.is_none() {
            self.parent = Some(parent);
        }
        put
    }

    /// Sets the times of directories; returns those that had to be made without a node.
    pub(crate) fn finish(mut self) -> Result<Vec<PathBuf>> {
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            match self.root.lstat(&path) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    self.root.utimens(&path, time, time)?;
                }
                // Replaced by a later node.
                _ => {}
            }
        }
        Ok(self.missing)
    }

    /// Marks a directory as hiding what the layers below have there; it is made if it is missing.
    pub(crate) fn make_opaque(&mut self, path: &Path) -> Result<()> {
        self.count()?;
        self.parent = None;
        let parent = self.enter(path)?;
        let dir = self.root.open_dir(or_dot(path)).map_err(|error| blame_archive(error, path))?;
        self.parent = Some(parent);
        set_opaque(&dir)
    }

    /// Marks a name as deleted. What this very plant has put there stays, and hides what is below.
    pub(crate) fn make_whiteout(&mut self, dir: &Path, name: &OsStr) -> Result<()> {
        self.count()?;
        let parent = self.enter(dir)?;
        let made = rustix::fs::mknodat(&parent.1, name, FileType::CharacterDevice, Mode::empty(), 0);
        match made {
            Err(Errno::EXIST) if is_directory(parent.1.as_fd(), name)? => {
                set_opaque(&open_directory(&parent.1, name).on("open", name)?)?;
            }
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("mknod", &dir.join(name), errno)),
        }
        self.parent = Some(parent);
        Ok(())
    }

    fn count(&mut self) -> Result<()> {
        self.made += 1;
        match self.made > self.rules.max_entries {
            true => Err(Error::Invalid(format!("archive has more than {} entries", self.rules.max_entries))),
            false => Ok(()),
        }
    }

    /// Takes the open directory `path` out of the cache, or opens it, made where it is missing.
    fn enter(&mut self, path: &Path) -> Result<(PathBuf, OwnedFd)> {
        match self.parent.take() {
            Some(parent) if parent.0 == path => Ok(parent),
            _ => {
                let dir = self.open_or_make(path).map_err(|error| match error {
                    Error::System(error) => blame_archive(error, path),
                    error => error,
                })?;
                Ok((path.to_owned(), dir))
            }
        }
    }

    fn open_or_make(&mut self, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.root.open_at(or_dot(path), flags, Mode::empty()) {
            Err(error) if error.is(Errno::NOENT) => {}
            opened => return Ok(opened?),
        }
        let mut seen = PathBuf::new();
        let mut dir = self.root.open_at(".", flags, Mode::empty())?;
        for name in path {
            seen.push(name);
            dir = match self.root.open_at(&seen, flags, Mode::empty()) {
                Err(error) if error.is(Errno::NOENT) => self.make_missing(&dir, name, &seen)?,
                opened => opened?,
            };
        }
        Ok(dir)
    }

    /// A directory that nobody described: root's, 0755.
    fn make_missing(&mut self, dir: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd> {
        self.count()?;
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)).on("mkdir", path)?;
        let made = open_directory(dir, name).on("open", path)?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).on("chmod", path)?;
        if let Some((uid, gid)) = self.rules.owner {
            rustix::fs::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .on("chown", path)?;
        }
        self.missing.push(path.to_owned());
        Ok(made)
    }

    fn put_root(&mut self, node: &Node) -> Result<()> {
        if node.kind != Kind::Directory {
            return Err(Error::invalid("archive entry without a name"));
        }
        let root = self.root.open_dir(".")?;
        self.set_open(&root, node)?;
        self.times.push((PathBuf::from("."), node.modified));
        Ok(())
    }

    fn put_in(&mut self, dir: &OwnedFd, name: &OsStr, node: &Node, content: &mut dyn Read) -> Result<()> {
        match &node.kind {
            Kind::Directory => return self.put_directory(dir, name, node),
            Kind::File { size, data } => {
                let file =
                    self.create(dir, name, node, || rustix::fs::openat(dir, name, CREATE, OWNER_ONLY))?;
                return self.put_file(File::from(file), node, content, *size, data.as_deref());
            }
            Kind::HardLink(target) => return self.put_link(dir, name, node, target),
            Kind::Symlink(target) => {
                self.create(dir, name, node, || rustix::fs::symlinkat(target.as_os_str(), dir, name))?;
            }
            Kind::Char(major, minor) => {
                let device = (FileType::CharacterDevice, makedev(*major, *minor));
                self.create(dir, name, node, || mknod(dir, name, device))?;
            }
            Kind::Block(major, minor) => {
                let device = (FileType::BlockDevice, makedev(*major, *minor));
                self.create(dir, name, node, || mknod(dir, name, device))?;
            }
            Kind::Fifo => {
                self.create(dir, name, node, || mknod(dir, name, (FileType::Fifo, 0)))?;
            }
        }
        self.set_name(dir, name, node)
    }

    /// Creates a name with `make`; if it is taken, once more after removing what is there.
    fn create<T>(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        node: &Node,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {}
            made => return made.map_err(|errno| failed("create", &node.path, errno)),
        }
        self.make_room(dir, name, node)?;
        make().map_err(|errno| failed("create", &node.path, errno))
    }

    /// Removes what has the name of `node`; says whether that was a whiteout.
    fn make_room(&mut self, dir: &OwnedFd, name: &OsStr, node: &Node) -> Result<bool> {
        let Some(stat) = lstat(dir.as_fd(), name)? else { return Ok(false) };
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if self.rules.keep_kinds && directory != (node.kind == Kind::Directory) {
            let (there, new) =
                if directory { ("directory", "non-directory") } else { ("non-directory", "directory") };
            let path = node.path.display();
            return Err(Error::Conflict(format!("cannot overwrite {there} /{path} with {new}")));
        }
        root::remove_tree(dir.as_fd(), name).on("remove", &node.path)?;
        Ok(overlay::is_whiteout(&stat))
    }

    fn put_directory(&mut self, dir: &OwnedFd, name: &OsStr, node: &Node) -> Result<()> {
        let mut replaced_whiteout = false;
        match rustix::fs::mkdirat(dir, name, OWNER_ONLY) {
            Err(Errno::EXIST) if is_directory(dir.as_fd(), name)? => {}
            Err(Errno::EXIST) => {
                replaced_whiteout = self.make_room(dir, name, node)?;
                rustix::fs::mkdirat(dir, name, OWNER_ONLY)
                    .map_err(|errno| failed("mkdir", &node.path, errno))?;
            }
            made => made.map_err(|errno| failed("mkdir", &node.path, errno))?,
        }
        let made = open_directory(dir, name).map_err(|errno| failed("open", &node.path, errno))?;
        self.set_open(&made, node)?;
        if replaced_whiteout {
            // The name was deleted and made anew: what is below must not show through.
            set_opaque(&made)?;
        }
        self.times.push((node.path.clone(), node.modified));
        self.parent = Some((node.path.clone(), made));
        Ok(())
    }

    fn put_file(
        &mut self,
        mut file: File,
        node: &Node,
        content: &mut dyn Read,
        size: u64,
        data: Option<&[(u64, u64)]>,
    ) -> Result<()> {
        match data {
            None => self.copy(content, &mut file, size, &node.path)?,
            Some(data) => {
                for (offset, length) in data {
                    file.seek(SeekFrom::Start(*offset)).on("seek", &node.path)?;
                    self.copy(content, &mut file, *length, &node.path)?;
                }
                file.set_len(size).on("truncate", &node.path)?;
            }
        }
        self.set_open(&file, node)?;
        rustix::fs::futimens(&file, &times(node.modified)).on("utimens", &node.path)?;
        Ok(())
    }

    fn copy(&mut self, content: &mut dyn Read, file: &mut File, mut length: u64, path: &Path) -> Result<()> {
        while length > 0 {
            let step = BUFFER.min(usize::try_from(length).unwrap_or(BUFFER));
            let read = match content.read(&mut self.buffer[..step]) {
                Ok(0) => return Err(Error::reading(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(Error::reading)?,
            };
            file.write_all(&self.buffer[..read]).on("write", path)?;
            length -= read as u64;
        }
        Ok(())
    }

    fn put_link(&mut self, dir: &OwnedFd, name: &OsStr, node: &Node, target: &Path) -> Result<()> {
        let missing = || {
            let (link, target) = (node.path.display(), target.display());
            Error::Invalid(format!("hard link {link} to {target}, which is not in the archive"))
        };
        let (target_dir, target_name) = self.root.parent(target).map_err(|_| missing())?;
        let existing = lstat(target_dir.as_fd(), &target_name)?.ok_or_else(missing)?;
        if FileType::from_raw_mode(existing.st_mode) == FileType::Directory {
            return Err(Error::Invalid(format!("hard link {} to a directory", node.path.display())));
        }
        if lstat(dir.as_fd(), name)?.is_some_and(|there| same_file(&there, &existing)) {
            return Ok(());
        }
        self.create(dir, name, node, || {
            rustix::fs::linkat(&target_dir, &target_name, dir, name, AtFlags::empty())
        })
    }

    fn owner(&self, node: &Node) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = self.rules.owner.unwrap_or((node.uid, node.gid));
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// Metadata of an open file or directory. The owner first: changing it takes away set-user-id and
    /// capabilities.
    fn set_open(&self, file: &impl AsFd, node: &Node) -> Result<()> {
        let (uid, gid) = self.owner(node);
        rustix::fs::fchown(file, uid, gid).on("chown", &node.path)?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(node.mode)).on("chmod", &node.path)?;
        set_attributes(node, |name, value| xattr::set(file, name, value))
    }

    /// Metadata of a name that is not to be opened: a symbolic link, a device, a fifo.
    fn set_name(&self, dir: &OwnedFd, name: &OsStr, node: &Node) -> Result<()> {
        let (uid, gid) = self.owner(node);
        rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).on("chown", &node.path)?;
        if !matches!(node.kind, Kind::Symlink(_)) {
            root::chmod_name(dir.as_fd(), name, node.mode).on("chmod", &node.path)?;
        }
        set_attributes(node, |attribute, value| xattr::set_at(dir, name, attribute, value))?;
        rustix::fs::utimensat(dir, name, &times(node.modified), AtFlags::SYMLINK_NOFOLLOW)
            .on("utimens", &node.path)?;
        Ok(())
    }
}

const OWNER_ONLY: Mode = Mode::RWXU;

/// Sets the attributes that travel. File systems without them, and kinds of files that cannot have them, are no
/// error: the content is worth more.
fn set_attributes(node: &Node, set: impl Fn(&OsStr, &[u8]) -> hull_sys::Result<()>) -> Result<()> {
    for (name, value) in node.xattrs.iter().filter(|(name, _)| overlay::travels(name)) {
        match set(name, value) {
            Err(error) if error.is(Errno::OPNOTSUPP) || error.is(Errno::PERM) => {}
            Err(error) => return Err(blame_archive(error, &node.path)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The kernel has no empty paths.
fn or_dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn set_opaque(dir: &OwnedFd) -> Result<()> {
    Ok(xattr::set(dir, OsStr::new(overlay::OPAQUE), b"y")?)
}

fn mknod(dir: &OwnedFd, name: &OsStr, (kind, device): (FileType, u64)) -> rustix::io::Result<()> {
    rustix::fs::mknodat(dir, name, kind, OWNER_ONLY, device)
}

fn open_directory(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, name, OPEN_DIRECTORY, Mode::empty())
}

fn lstat(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        stat => Ok(Some(stat.on("stat", name)?)),
    }
}

fn is_directory(dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
    let directory = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(lstat(dir, name)?.is_some_and(directory))
}

fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn times(modified: Time) -> Timestamps {
    Timestamps { last_access: modified.into(), last_modification: modified.into() }
}

fn failed(op: &'static str, path: &Path, errno: Errno) -> Error {
    blame_archive(hull_sys::Error::new(op, path.to_string_lossy(), errno), path)
}
