//! Paths below a root, on a real file system.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

use super::*;

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::Builder::new().prefix("hull-root-").tempdir().unwrap();
    fs::create_dir(dir.path().join("root")).unwrap();
    let root = Root::open(dir.path().join("root")).unwrap();
    (dir, root)
}

#[test]
fn links_and_dots_stay_below() {
    let (dir, root) = root();
    fs::write(dir.path().join("outside"), "secret").unwrap();
    fs::write(dir.path().join("root/inside"), "hello").unwrap();
    symlink("/inside", dir.path().join("root/absolute")).unwrap();
    symlink("../../../../inside", dir.path().join("root/dots")).unwrap();
    symlink(dir.path().join("outside"), dir.path().join("root/out")).unwrap();
    assert_eq!(root.read_file("absolute", 100).unwrap(), b"hello");
    assert_eq!(root.read_file("dots", 100).unwrap(), b"hello");
    assert_eq!(root.read_file("/../../inside", 100).unwrap(), b"hello");
    assert!(root.read_file("out", 100).unwrap_err().is(Errno::NOENT));
    assert!(root.read_file("../outside", 100).unwrap_err().is(Errno::NOENT));
}

#[test]
fn reads_are_bounded_and_of_regular_files() {
    let (dir, root) = root();
    fs::write(dir.path().join("root/five"), "12345").unwrap();
    root.mknod("fifo", FileType::Fifo, 0o600, 0).unwrap();
    assert_eq!(root.read_file("five", 5).unwrap(), b"12345");
    assert!(root.read_file("five", 4).unwrap_err().is(Errno::FBIG));
    assert!(root.read_file("fifo", 4).unwrap_err().is(Errno::INVAL));
    assert!(root.read_file(".", 4).unwrap_err().is(Errno::ISDIR));
}

#[test]
fn directories_are_made_through_links_but_not_through_dangling_ones() {
    let (dir, root) = root();
    fs::create_dir(dir.path().join("root/real")).unwrap();
    symlink("/real", dir.path().join("root/alias")).unwrap();
    symlink("/nowhere", dir.path().join("root/dangling")).unwrap();
    fs::write(dir.path().join("root/file"), "").unwrap();
    root.mkdir_all("alias/a/b", 0o755).unwrap();
    assert!(dir.path().join("root/real/a/b").is_dir());
    root.mkdir_all("alias/../../c/./d", 0o755).unwrap();
    assert!(dir.path().join("root/c/d").is_dir());
    assert!(root.mkdir_all("dangling/x", 0o755).unwrap_err().is(Errno::EXIST));
    assert!(root.mkdir_all("file/x", 0o755).unwrap_err().is(Errno::NOTDIR));
}

#[test]
fn names_are_not_followed() {
    let (dir, root) = root();
    let outside = dir.path().join("outside");
    fs::write(&outside, "").unwrap();
    let before = fs::metadata(&outside).unwrap();
    root.symlink(&outside, "link").unwrap();
    assert!(root.chmod("link", 0o777).unwrap_err().is(Errno::OPNOTSUPP));
    let time = Time { seconds: -5, nanos: 7 };
    root.utimens("link", time, time).unwrap();
    let link = root.lstat("link").unwrap();
    assert_eq!((link.st_mtime, link.st_mtime_nsec), (-5, 7));
    assert_eq!(root.read_link("link").unwrap(), outside);
    root.link("link", "second").unwrap();
    assert_eq!(root.lstat("second").unwrap().st_ino, link.st_ino);
    root.remove_all("link").unwrap();
    let after = fs::metadata(&outside).unwrap();
    assert_eq!((before.mode(), before.mtime()), (after.mode(), after.mtime()));
    assert!(root.create_file("second", 0o600).unwrap_err().is(Errno::EXIST));
    assert!(root.unlink("..").unwrap_err().is(Errno::INVAL));
}

#[test]
fn trees_of_any_depth_are_removed() {
    let (dir, root) = root();
    fs::create_dir(dir.path().join("root/keep")).unwrap();
    root.mkdir("deep", 0o755).unwrap();
    let mut at = root.sub("deep").unwrap();
    for _ in 0..3000 {
        at.mkdir("d", 0o755).unwrap();
        at.create_file("f", 0o600).unwrap();
        at.symlink("/keep", "l").unwrap();
        at = at.sub("d").unwrap();
    }
    root.remove_all("deep").unwrap();
    root.remove_all("deep").unwrap();
    root.remove_all("no/such/path").unwrap();
    let left: Vec<_> = root.read_dir(".").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(left, ["keep"]);
}

#[test]
fn attributes_of_names() {
    use crate::xattr;
    let (dir, root) = root();
    fs::write(dir.path().join("root/file"), "").unwrap();
    let (name, key) = (OsStr::new("file"), OsStr::new("user.key"));
    xattr::set_at(&root, name, key, &[7; 1000]).unwrap();
    let file = root.open_file("file").unwrap();
    assert_eq!(xattr::get(&file, key).unwrap().unwrap(), [7; 1000]);
    assert_eq!(xattr::list_at(&root, name).unwrap(), [c"user.key".to_owned()]);
    xattr::remove(&file, key).unwrap();
    xattr::remove(&file, key).unwrap();
    assert_eq!(xattr::get_at(&root, name, key).unwrap(), None);
    root.mknod("pipe", FileType::Fifo, 0o640, 0).unwrap();
    assert!(fs::metadata(dir.path().join("root/pipe")).unwrap().file_type().is_fifo());
}
