//! Extended attributes (xattr(7)) of an open file, or of one name in an open directory.
//!
//! The `*_at` forms never follow the name: they go through `/proc/self/fd/N/NAME` with the `l…xattr`
//! calls, because `setxattrat(2)` is younger than the kernels Hull runs on. They need `/proc`.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// The largest value and the largest list of names that Linux hands out (limits.h).
const MAX: usize = 64 << 10;

/// The value of an attribute of an open file; `None` where it has none of that name.
pub fn get(file: impl AsFd, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let fd = file.as_fd();
    value(name, |buffer| rustix::fs::fgetxattr(fd, name, buffer))
}

/// The value of an attribute of `entry` in the open directory `dir`.
pub fn get_at(dir: impl AsFd, entry: &OsStr, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let path = magic(dir, entry);
    value(name, |buffer| rustix::fs::lgetxattr(&path, name, buffer))
}

/// Sets an attribute of an open file, replacing an older value.
pub fn set(file: impl AsFd, name: &OsStr, value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()).on("setxattr", name)
}

/// Sets an attribute of `entry` in the open directory `dir`, replacing an older value.
pub fn set_at(dir: impl AsFd, entry: &OsStr, name: &OsStr, value: &[u8]) -> Result<()> {
    rustix::fs::lsetxattr(magic(dir, entry), name, value, XattrFlags::empty()).on("setxattr", name)
}

/// Removes an attribute of an open file; it is no error that there is none.
pub fn remove(file: impl AsFd, name: &OsStr) -> Result<()> {
    match rustix::fs::fremovexattr(file, name) {
        Err(Errno::NODATA) => Ok(()),
        other => other.on("removexattr", name),
    }
}

/// The names of all attributes of an open file that we may see.
pub fn list(file: impl AsFd) -> Result<Vec<CString>> {
    let fd = file.as_fd();
    names(|buffer| rustix::fs::flistxattr(fd, buffer))
}

/// The names of all attributes of `entry` in the open directory `dir`.
pub fn list_at(dir: impl AsFd, entry: &OsStr) -> Result<Vec<CString>> {
    let path = magic(dir, entry);
    names(|buffer| rustix::fs::llistxattr(&path, buffer))
}

/// Reads one value: small ones with one call, the rest with a second.
fn value(
    name: &OsStr,
    mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> Result<Option<Vec<u8>>> {
    match grow(&mut read) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(Error::new("getxattr", name.to_string_lossy(), errno)),
    }
}

/// Reads a list of NUL-terminated names.
fn names(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<CString>> {
    let list = match grow(&mut read) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        list => list.op("listxattr")?,
    };
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

fn grow(
    read: &mut impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> std::result::Result<Vec<u8>, Errno> {
    let mut small = [0; 256];
    match read(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut large = vec![0; MAX];
    let length = read(&mut large)?;
    large.truncate(length);
    Ok(large)
}

/// The path of `entry` in `dir` that no rename of the directory can redirect.
fn magic(dir: impl AsFd, entry: &OsStr) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
    debug_assert!(!entry.as_bytes().contains(&b'/'), "a name is one component");
    path.push(entry);
    path
}
