//! Files of this machine as a tar stream and back, for `hull cp`.
//!
//! An archive comes out of a container and is not to be trusted: every entry is made below the destination, whose
//! symbolic links are never followed, by paths that the kernel resolves (openat2). Devices and the like stay out.

use bytes::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use tokio::sync::mpsc;

/// Pieces of a stream that wait between its two threads.
pub(crate) const QUEUE: usize = 4;

/// The reading end of a stream of pieces.
pub(crate) struct Pieces {
    source: Receiver<Bytes>,
    open: Bytes,
}

impl Pieces {
    /// Reads what the other side sends.
    pub(crate) fn new(source: Receiver<Bytes>) -> Self {
        Pieces { source, open: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.open.is_empty() {
            self.open = self.source.recv().unwrap_or_default();
        }
        let piece = self.open.split_to(buffer.len().min(self.open.len()));
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

/// The writing end of a stream of pieces, for a thread that may block.
pub(crate) struct Sender {
    /// Where they go.
    pub(crate) sender: mpsc::Sender<Bytes>,
    /// How many bytes went.
    pub(crate) counted: Arc<AtomicU64>,
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.sender.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.counted.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Packs a file or a directory under a name; an empty name packs what is in the directory.
pub(crate) fn pack(source: &Path, name: &str, writer: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(io::BufWriter::with_capacity(128 << 10, writer));
    archive.follow_symlinks(false);
    match (std::fs::symlink_metadata(source)?.is_dir(), name) {
        (true, "") => archive.append_dir_all(".", source)?,
        (true, name) => archive.append_dir_all(name, source)?,
        (false, name) => archive.append_path_with_name(source, name)?,
    }
    archive.into_inner()?.flush()
}

/// How an archive is unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Unpack {
    /// The directory that everything is made in.
    pub(crate) root: PathBuf,
    /// Whether the first part of each name is replaced (by `name`), or names stay.
    pub(crate) replaces_base: bool,
    /// The name of what is copied.
    pub(crate) name: PathBuf,
    /// Whether owners are kept.
    pub(crate) keep_owner: bool,
}

impl Unpack {
    /// Unpacks; gives the bytes of files.
    pub(crate) fn run(&self, reader: impl Read) -> io::Result<u64> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root, flags, Mode::empty())
            .map_err(|reason| at(&self.root, reason.into()))?;
        let mut archive = tar::Archive::new(reader);
        let mut bytes = 0;
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = self.place(&entry.path()?)?;
            if path.as_os_str().is_empty() {
                continue;
            }
            bytes += self.plant(root.as_fd(), &path, &mut entry).map_err(|reason| at(&path, reason))?;
        }
        Ok(bytes)
    }

    /// Where an entry goes, below the root.
    fn place(&self, name: &Path) -> io::Result<PathBuf> {
        let mut parts = name.components().peekable();
        let mut place = PathBuf::new();
        if self.replaces_base {
            parts.next();
            place.push(&self.name);
        }
        for part in parts {
            match part {
                Component::Normal(part) => place.push(part),
                Component::CurDir => {}
                _ => {
                    return Err(io::Error::other(format!(
                        "the archive leaves its directory: {}",
                        name.display()
                    )));
                }
            }
        }
        Ok(place)
    }

    fn plant(
        &self,
        root: BorrowedFd<'_>,
        path: &Path,
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> io::Result<u64> {
        let (parent, name) = self.parent(root, path)?;
        let parent = parent.as_fd();
        let mode = Mode::from_raw_mode(entry.header().mode()? & 0o7777);
        let mut bytes = 0;
        match entry.header().entry_type() {
            tar::EntryType::Directory => match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
                Err(Errno::EXIST) if !is_directory(parent, name)? => {
                    return Err(io::Error::other("cannot overwrite non-directory with directory"));
                }
                Err(Errno::EXIST) => {}
                made => made?,
            },
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(|| io::Error::other("a link without a target"))?;
                clear(parent, name)?;
                rustix::fs::symlinkat(&*target, parent, name)?;
            }
            tar::EntryType::Link => {
                let target = entry.link_name()?.ok_or_else(|| io::Error::other("a link without a target"))?;
                let target = self.place(&target)?;
                let (of, target_name) = self.parent(root, &target)?;
                clear(parent, name)?;
                rustix::fs::linkat(of, target_name, parent, name, AtFlags::empty())?;
                return Ok(0);
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                clear(parent, name)?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
                bytes = io::copy(entry, &mut file)?;
            }
            kind => {
                crate::output::warn(&format!("hull: {} is left out: {kind:?}", path.display()));
                return Ok(0);
            }
        }
        self.dress(parent, name, entry.header(), mode)?;
        Ok(bytes)
    }

    /// Owner, mode and time of what was made. A link has no mode.
    fn dress(&self, parent: BorrowedFd<'_>, name: &Path, header: &tar::Header, mode: Mode) -> io::Result<()> {
        if self.keep_owner {
            let owner = rustix::fs::Uid::from_raw(id(header.uid()?)?);
            let group = rustix::fs::Gid::from_raw(id(header.gid()?)?);
            rustix::fs::chownat(parent, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if header.entry_type() != tar::EntryType::Symlink {
            // A kind of file that was just made here, in a directory that nobody else writes: no link in its place.
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
        }
        let modified = Timespec { tv_sec: i64::try_from(header.mtime()?).unwrap_or(0), tv_nsec: 0 };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: modified,
        };
        Ok(rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The directory of an entry, and the entry's own name. Directories that the archive did not name are made.
    fn parent<'p>(&self, root: BorrowedFd<'_>, path: &'p Path) -> io::Result<(OwnedFd, &'p Path)> {
        let name =
            path.file_name().map(Path::new).ok_or_else(|| io::Error::other("an entry without a name"))?;
        let above = path.parent().unwrap_or(Path::new(""));
        match open_below(root, above) {
            Err(Errno::NOENT) => {
                let mut so_far = PathBuf::new();
                for part in above {
                    let at = open_below(root, &so_far)?;
                    match rustix::fs::mkdirat(at, part, Mode::from_raw_mode(0o755)) {
                        Err(Errno::EXIST) => {}
                        made => made?,
                    }
                    so_far.push(part);
                }
                Ok((open_below(root, above)?, name))
            }
            opened => Ok((opened?, name)),
        }
    }
}

/// A directory below another one, through no link.
fn open_below(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

fn is_directory(parent: BorrowedFd<'_>, name: &Path) -> io::Result<bool> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Removes what is in the way of a file or a link.
fn clear(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(io::Error::other("cannot overwrite directory with non-directory")),
        removed => Ok(removed?),
    }
}

fn id(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| io::Error::other(format!("no user or group has the number {number}")))
}

fn at(path: &Path, reason: io::Error) -> io::Error {
    io::Error::new(
        reason.kind(),
        format!("{}: {reason}", String::from_utf8_lossy(path.as_os_str().as_bytes())),
    )
}

#[cfg(test)]
mod tests;
