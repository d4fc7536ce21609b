//! One file of a tree, on its way between an archive and a directory.

use std::ffi::OsString;
use std::path::PathBuf;

use hull_sys::root::Time;

/// A file of any kind with its metadata; the content of a regular file travels beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it is, relative to the root, without `.`, `..` and leading `/`. Empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: 0..=0o7777.
    pub mode: u32,
    /// Owner; `u32::MAX` never occurs.
    pub uid: u32,
    /// Group; `u32::MAX` never occurs.
    pub gid: u32,
    /// When the content was modified.
    pub modified: Time,
    /// Extended attributes: full name and value, in the order of the names.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// What a [`Node`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Length of the content in bytes.
        size: u64,
        /// Where there is data, as offset and length, sorted and disjoint; the rest is a hole.
        /// `None`: the file is dense.
        data: Option<Vec<(u64, u64)>>,
    },
    /// Another name of a file that came before; its metadata is that of the first.
    HardLink(PathBuf),
    /// A symbolic link and what it says, which may be anything.
    Symlink(OsString),
    /// A character device: major, minor. 0, 0 is the overlay's whiteout.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Kind {
    /// The overlay's sign that a name of a lower layer is deleted.
    pub const WHITEOUT: Self = Self::Char(0, 0);

    /// A dense regular file.
    pub fn file(size: u64) -> Self {
        Self::File { size, data: None }
    }
}
