//! Archives made by hand, and trees as comparable values.
#![allow(dead_code, unreachable_pub, reason = "every test file takes what it needs of this module")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use hull_oci::Digest;
use hull_snapshot::{Applied, Error, Limits, Snapshotter};
use hull_sys::root::Root;
use hull_sys::xattr;

/// An archive, written header by header: hostile ones included.
#[derive(Default, Clone)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.entry(b'0', name, "", content.as_bytes())
    }

    pub fn dir(self, name: &str) -> Self {
        self.entry(b'5', name, "", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, b"")
    }

    pub fn long_name(self, name: &[u8]) -> Self {
        self.entry(b'L', "././@LongLink", "", name)
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            text.extend_from_slice(format!("{length} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.entry(b'x', "PaxHeaders/x", "", &text)
    }

    pub fn entry(self, kind: u8, name: &str, link: &str, content: &[u8]) -> Self {
        self.raw(&header(kind, name, link, content.len() as u64, |_| {})).raw(content).pad()
    }

    /// An entry whose header is changed before its checksum is made.
    pub fn special(self, kind: u8, name: &str, size: u64, change: impl FnOnce(&mut [u8; 512])) -> Self {
        self.raw(&header(kind, name, "", size, change))
    }

    pub fn device(self, name: &str, kind: u8, major: u32, minor: u32) -> Self {
        self.special(kind, name, 0, |header| {
            header[329..336].copy_from_slice(format!("{major:07o}").as_bytes());
            header[337..344].copy_from_slice(format!("{minor:07o}").as_bytes());
        })
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn pad(mut self) -> Self {
        let length = self.0.len().next_multiple_of(512);
        self.0.resize(length, 0);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn header(kind: u8, name: &str, link: &str, size: u64, change: impl FnOnce(&mut [u8; 512])) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(if kind == b'5' { b"0000755" } else { b"0000644" });
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[136..147].copy_from_slice(b"14000000000");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut header);
    header[148..156].copy_from_slice(b"        ");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A snapshotter in a directory of its own, beside a file that nobody may touch.
pub struct Place {
    /// Dropped first: then the directory is nobody's.
    pub snapshotter: Snapshotter,
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hull-snapshot-").tempdir().unwrap();
        fs::write(dir.path().join("canary"), "alive").unwrap();
        let snapshotter = Snapshotter::open(&dir.path().join("snapshots")).unwrap();
        Self { dir, snapshotter }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("snapshots")
    }

    pub fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    /// The tree of a layer.
    pub fn tree(&self, chain: &Digest) -> PathBuf {
        self.root().join("layers").join(chain.hex()).join("fs")
    }

    /// Applies an archive under a chain id of its own.
    pub fn apply(&self, tar: &[u8]) -> Result<(Digest, Applied), Error> {
        self.apply_within(tar, &Limits::default())
    }

    pub fn apply_within(&self, tar: &[u8], limits: &Limits) -> Result<(Digest, Applied), Error> {
        let chain = Digest::sha256(tar);
        self.snapshotter.apply(&chain, tar, limits).map(|applied| (chain, applied))
    }

    /// Asserts that a failed apply left nothing, inside and outside.
    pub fn assert_untouched(&self) {
        self.snapshotter.finish_removals();
        for below in ["layers", "unfinished", "snapshots"] {
            let left: Vec<_> = fs::read_dir(self.root().join(below)).unwrap().collect();
            assert!(left.is_empty(), "{below}: {left:?}");
        }
        let canary = fs::symlink_metadata(self.canary()).unwrap();
        assert_eq!((canary.mode() & 0o7777, canary.nlink(), canary.uid()), (0o644, 1, 0));
        assert_eq!(fs::read_to_string(self.canary()).unwrap(), "alive");
    }
}

/// All there is to know of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub mode: u32,
    pub owner: (u32, u32),
    pub modified: (i64, i64),
    pub what: What,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first of the names of this file, if it has several.
    pub first_name: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Directory,
    File(Vec<u8>),
    Symlink(PathBuf),
    Device(u64),
    Fifo,
}

/// Everything below a directory, and the directory itself as the empty path.
pub fn describe(dir: &Path) -> BTreeMap<PathBuf, Described> {
    let (mut found, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = dir.join(&path);
        let stat = fs::symlink_metadata(&full).unwrap();
        if stat.is_dir() {
            let entries = fs::read_dir(&full).unwrap();
            waiting.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        }
        if !stat.is_dir() && stat.nlink() > 1 {
            names.entry(stat.ino()).or_insert_with(Vec::new).push(path.clone());
        }
        found.insert(path, describe_one(&full, &stat));
    }
    for group in names.values_mut() {
        group.sort();
        for path in &*group {
            found.get_mut(path).unwrap().first_name = Some(group[0].clone());
        }
    }
    found
}

fn describe_one(full: &Path, stat: &fs::Metadata) -> Described {
    let kind = stat.file_type();
    let what = if kind.is_dir() {
        What::Directory
    } else if kind.is_file() {
        What::File(fs::read(full).unwrap())
    } else if kind.is_symlink() {
        What::Symlink(fs::read_link(full).unwrap())
    } else if kind.is_fifo() {
        What::Fifo
    } else {
        What::Device(stat.rdev())
    };
    let root = Root::open(full.parent().unwrap()).unwrap();
    let name = full.file_name().unwrap();
    let xattrs = xattr::list_at(&root, name).unwrap().into_iter().map(|attribute| {
        let attribute = OsStr::from_bytes(attribute.as_bytes());
        let value = xattr::get_at(&root, name, attribute).unwrap().unwrap();
        (attribute.to_str().unwrap().to_owned(), value)
    });
    Described {
        mode: stat.mode() & 0o7777,
        owner: (stat.uid(), stat.gid()),
        modified: (stat.mtime(), stat.mtime_nsec()),
        what,
        xattrs: xattrs.collect(),
        first_name: None,
    }
}
