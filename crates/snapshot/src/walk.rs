//! Walking a tree: names sorted at each level, directories before what is in them.
//!
//! The tree may change while we look: what vanishes is left out, symbolic links are never followed, mount points are
//! not entered. A few directories are held open at a time, however deep the tree is.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hull_sys::root::{self, Entry, Root, Time};
use hull_sys::{Context, xattr};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, major, minor};
use rustix::io::Errno;

use crate::{Kind, Node, Result, Usage, overlay};

/// Directories deeper than this are opened again when the walk comes back to them.
const HELD: usize = 64;

/// A walk over the tree below a directory, without that directory itself.
pub(crate) struct Walk {
    root: Root,
    frames: Vec<Frame>,
}

/// A directory the walk is in.
struct Frame {
    path: PathBuf,
    dir: Option<OwnedFd>,
    rest: std::vec::IntoIter<Entry>,
}

/// One file of the tree.
pub(crate) struct Step {
    /// Relative to where the walk began.
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
}

impl Step {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(crate) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

impl Walk {
    /// Starts in the directory `root`.
    pub(crate) fn new(root: Root) -> Result<Self> {
        let dir = root.open_dir(".")?;
        let first = Frame::new(PathBuf::new(), dir)?;
        Ok(Self { root, frames: vec![first] })
    }

    /// The next file. A directory's files follow it.
    pub(crate) fn next(&mut self) -> Result<Option<Step>> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(entry) = frame.rest.next() else {
                self.frames.pop();
                continue;
            };
            if frame.dir.is_none() {
                frame.dir = Some(self.root.open_dir(&frame.path)?);
            }
            if let Some(step) = self.look(&entry.name)? {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    /// The directory that the last step is in; the one that it is, if it is a directory (and was entered).
    pub(crate) fn dir(&self) -> Result<BorrowedFd<'_>> {
        let dir = self.frames.last().and_then(|frame| frame.dir.as_ref());
        Ok(dir.ok_or_else(|| hull_sys::Error::new("walk", "", Errno::BADF))?.as_fd())
    }

    /// Whether the walk has just entered this directory: mount points are not entered.
    pub(crate) fn inside(&self, step: &Step) -> bool {
        self.frames.last().is_some_and(|frame| frame.path == step.path)
    }

    /// Looks at a name, and enters it if it is a directory. `None` if it is not there any more.
    fn look(&mut self, name: &OsStr) -> Result<Option<Step>> {
        let Some(frame) = self.frames.last() else { return Ok(None) };
        let path = frame.path.join(name);
        let dir = self.dir()?;
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat.on("stat", &path)?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match enter(dir, name) {
                Ok(below) => self.push(path.clone(), below)?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                // A mount point: it is there, what is in it is another file system's.
                Err(Errno::XDEV) => {}
                Err(errno) => return Err(hull_sys::Error::new("open", path.to_string_lossy(), errno).into()),
            }
        }
        Ok(Some(Step { path, stat }))
    }

    fn push(&mut self, path: PathBuf, dir: OwnedFd) -> Result<()> {
        if self.frames.len() > HELD
            && let Some(parent) = self.frames.last_mut()
        {
            parent.dir = None;
        }
        self.frames.push(Frame::new(path, dir)?);
        Ok(())
    }
}

impl Frame {
    fn new(path: PathBuf, dir: OwnedFd) -> Result<Self> {
        let mut entries = root::entries(&dir).on("getdents", &path)?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { path, dir: Some(dir), rest: entries.into_iter() })
    }
}

fn enter(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_XDEV)
}

/// Turns steps into nodes, and remembers files with several names.
#[derive(Default)]
pub(crate) struct Reading {
    links: HashMap<(u64, u64), PathBuf>,
}

/// The content of a regular file; of others, nothing.
pub(crate) enum Content {
    None,
    Dense(File),
    Sparse { file: File, data: std::vec::IntoIter<(u64, u64)>, left: u64 },
}

impl Reading {
    /// The last step of `walk` as a node that goes by the name `path`. Sockets, which nobody can unpack, and
    /// what is gone meanwhile are `None`.
    pub(crate) fn node(
        &mut self,
        walk: &Walk,
        step: &Step,
        path: PathBuf,
    ) -> Result<Option<(Node, Content)>> {
        if step.kind() == FileType::Directory && !walk.inside(step) {
            return Ok(Some((describe(path, Kind::Directory, &step.stat, Vec::new()), Content::None)));
        }
        self.node_at(walk.dir()?, step, path)
    }

    /// The same for a file in the open directory `dir`, or for the open directory itself.
    pub(crate) fn node_at(
        &mut self,
        dir: BorrowedFd<'_>,
        step: &Step,
        path: PathBuf,
    ) -> Result<Option<(Node, Content)>> {
        let stat = &step.stat;
        if step.kind() != FileType::Directory
            && stat.st_nlink > 1
            && let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino))
        {
            let kind = Kind::HardLink(first.clone());
            return Ok(Some((describe(path, kind, stat, Vec::new()), Content::None)));
        }
        let mut content = Content::None;
        let kind = match step.kind() {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => match open(dir, step)? {
                Some((kind, opened)) => {
                    content = opened;
                    kind
                }
                None => return Ok(None),
            },
            FileType::Symlink => match rustix::fs::readlinkat(dir, step.name(), Vec::new()) {
                Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                target => Kind::Symlink(OsString::from_vec(target.on("readlink", &step.path)?.into_bytes())),
            },
            FileType::CharacterDevice => Kind::Char(major(stat.st_rdev), minor(stat.st_rdev)),
            FileType::BlockDevice => Kind::Block(major(stat.st_rdev), minor(stat.st_rdev)),
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(None),
        };
        if kind != Kind::Directory && stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        let xattrs = attributes(dir, step)?;
        Ok(Some((describe(path, kind, stat, xattrs), content)))
    }
}

pub(crate) fn describe(path: PathBuf, kind: Kind, stat: &Stat, xattrs: Vec<(OsString, Vec<u8>)>) -> Node {
    Node {
        path,
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: modified(stat),
        xattrs,
    }
}

pub(crate) fn modified(stat: &Stat) -> Time {
    Time { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or_default() }
}

/// Opens a regular file; what became something else meanwhile counts as gone.
fn open(dir: BorrowedFd<'_>, step: &Step) -> Result<Option<(Kind, Content)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, step.name(), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        file => file.on("open", &step.path)?,
    };
    let stat = rustix::fs::fstat(&file).on("stat", &step.path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let file = File::from(file);
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    if u64::try_from(stat.st_blocks).unwrap_or_default() * 512 >= size {
        return Ok(Some((Kind::file(size), Content::Dense(file))));
    }
    let data = pieces(&file, size).on("seek", &step.path)?;
    let content = Content::Sparse { file, data: data.clone().into_iter(), left: 0 };
    Ok(Some((Kind::File { size, data: Some(data) }, content)))
}

/// Where a file has data (lseek(2), `SEEK_DATA` and `SEEK_HOLE`).
fn pieces(file: &File, size: u64) -> rustix::io::Result<Vec<(u64, u64)>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            start => start?.min(size),
        };
        let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?.min(size);
        if end > start {
            pieces.push((start, end - start));
        }
        at = end.max(at + 1);
    }
    Ok(pieces)
}

/// The attributes that travel.
fn attributes(dir: BorrowedFd<'_>, step: &Step) -> Result<Vec<(OsString, Vec<u8>)>> {
    let itself = step.kind() == FileType::Directory;
    let names = match itself {
        true => xattr::list(dir),
        false => xattr::list_at(dir, step.name()),
    };
    let names = match names {
        Err(error) if error.is(Errno::NOENT) => return Ok(Vec::new()),
        names => names?,
    };
    let mut attributes = Vec::new();
    for name in names {
        let name = OsStr::from_bytes(name.as_bytes());
        if !overlay::travels(name) {
            continue;
        }
        let value = match itself {
            true => xattr::get(dir, name)?,
            false => xattr::get_at(dir, step.name(), name)?,
        };
        attributes.extend(value.map(|value| (name.to_owned(), value)));
    }
    attributes.sort();
    Ok(attributes)
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None => Ok(0),
            Self::Dense(file) => file.read(buffer),
            Self::Sparse { file, data, left } => {
                while *left == 0 {
                    let Some((offset, length)) = data.next() else { return Ok(0) };
                    file.seek(SeekFrom::Start(offset))?;
                    *left = length;
                }
                let length = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let read = file.read(&mut buffer[..length])?;
                *left -= read as u64;
                Ok(read)
            }
        }
    }
}

/// What the files below `root` take.
pub(crate) fn usage(root: &Root) -> Result<Usage> {
    let mut walk = Walk::new(root.try_clone()?)?;
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    while let Some(step) = walk.next()? {
        let stat = &step.stat;
        let several = stat.st_nlink > 1 && step.kind() != FileType::Directory;
        if several && !seen.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        usage.inodes += 1;
        if step.kind() == FileType::RegularFile {
            usage.bytes += u64::try_from(stat.st_size).unwrap_or_default();
        }
    }
    Ok(usage)
}

/// A step that is not part of a walk: the file `name` in the open directory `dir`.
pub(crate) fn step_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Step> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).on("stat", Path::new(name))?;
    Ok(Step { path: PathBuf::from(name), stat })
}
