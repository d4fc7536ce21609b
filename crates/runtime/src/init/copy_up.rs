//! `tmpcopyup`: a tmpfs that begins with what it covers. Both ends are descriptors, and no link is followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::root::{self, Entry};
use hull_sys::{Context, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies all that is in the directory `from` to the directory `to`. The object of an error is the name
/// that could not be copied.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    // What was found may have been opened for its path alone.
    let from = rustix::fs::openat(from, ".", DIRECTORY, Mode::empty()).op("open")?;
    let to = rustix::fs::openat(to, ".", DIRECTORY, Mode::empty()).op("open")?;
    let own = rustix::fs::fstat(&from).op("stat")?;
    copy_directory(from.as_fd(), to.as_fd())?;
    own_and_date(to.as_fd(), &own)
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    for entry in root::entries(from).op("getdents")? {
        copy_entry(from, to, &entry)?;
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
    let name = entry.name.as_os_str();
    let named = |op| move |errno: Errno| hull_sys::Error::new(op, name.to_string_lossy(), errno);
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(named("stat"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(named("mkdir"))?;
            let from = rustix::fs::openat(from, name, DIRECTORY, Mode::empty()).map_err(named("open"))?;
            let to = rustix::fs::openat(to, name, DIRECTORY, Mode::empty()).map_err(named("open"))?;
            copy_directory(from.as_fd(), to.as_fd())?;
            own_and_date(to.as_fd(), &stat)
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let from = rustix::fs::openat(from, name, flags, Mode::empty()).map_err(named("open"))?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let to = rustix::fs::openat(to, name, flags, Mode::RWXU).map_err(named("create"))?;
            let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
            std::io::copy(&mut from, &mut to).on("copy", name)?;
            own_and_date(to.as_fd(), &stat)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new()).map_err(named("readlink"))?;
            rustix::fs::symlinkat(target, to, name).map_err(named("symlink"))?;
            own_name(to, name, &stat).map_err(named("chown"))
        }
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode);
            rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).map_err(named("mknod"))?;
            own_name(to, name, &stat).map_err(named("chown"))
        }
    }
}

fn own_name(at: BorrowedFd<'_>, name: &std::ffi::OsStr, stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, then permissions (a change of owner clears some), then times.
fn own_and_date(file: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(file, Some(uid), Some(gid)).op("chown")?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(stat.st_mode)).op("chmod")?;
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos as i64 };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(file, &times).op("utimens")
}
