//! Control files: small, read and written whole, in one system call each.

use std::path::Path;

use hull_sys::Context;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Longer than nearly every one of them.
const USUAL: usize = 2048;

/// The whole text of `dir/file`.
pub(crate) fn read(dir: &Path, file: &str) -> Result<String> {
    let path = dir.join(file);
    let fd = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)?;
    let mut text = Vec::with_capacity(USUAL);
    // The kernel does not know how long it will be, so it is not asked.
    while rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut text)).on("read", &path)? > 0 {
        text.reserve(USUAL);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The words of `dir/file`.
pub(crate) fn words(dir: &Path, file: &str) -> Result<Vec<String>> {
    Ok(read(dir, file)?.split_whitespace().map(str::to_owned).collect())
}

/// The number in `dir/file`; `None` where it is absent, unlimited (`max`) or no number.
pub(crate) fn number(dir: &Path, file: &str) -> Option<u64> {
    read(dir, file).ok()?.trim().parse().ok()
}

/// The `key value` lines of `dir/file`; none where it is absent.
pub(crate) fn pairs(dir: &Path, file: &str) -> Vec<(String, u64)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    read(dir, file).unwrap_or_default().lines().filter_map(pair).collect()
}

/// The value of `key` in the `key value` lines of `dir/file`.
pub(crate) fn pair(dir: &Path, file: &str, key: &str) -> Option<u64> {
    pairs(dir, file).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// Writes `value` to `dir/file`, which must exist.
pub(crate) fn write(dir: &Path, file: &str, value: &str) -> Result<()> {
    write_lines(dir, file, [value])
}

/// Writes `lines` to `dir/file`, which must exist: one write each, as control files want it.
pub(crate) fn write_lines<S: AsRef<str>>(
    dir: &Path,
    file: &str,
    lines: impl IntoIterator<Item = S>,
) -> Result<()> {
    let path = dir.join(file);
    let fd = open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)?;
    for line in lines {
        rustix::io::write(&fd, line.as_ref().as_bytes()).on("write", &path)?;
    }
    Ok(())
}

/// Sets the limit `dir/file` to `value`: as [`write`], but a refusal says what the caller can do.
pub(crate) fn set(dir: &Path, file: &str, value: &str) -> Result<()> {
    let Err(Error::System(error)) = write(dir, file, value) else { return Ok(()) };
    match Errno::from_raw_os_error(error.errno) {
        Errno::NOENT if dir.is_dir() => {
            Err(Error::Unsupported(format!("this kernel has no {file}, cannot set it to {value}")))
        }
        Errno::INVAL | Errno::RANGE | Errno::BUSY | Errno::NODEV => {
            let reason = std::io::Error::from_raw_os_error(error.errno);
            Err(Error::Invalid(format!("set {file} to {value} in {}: {reason}", dir.display())))
        }
        _ => Err(error.into()),
    }
}
