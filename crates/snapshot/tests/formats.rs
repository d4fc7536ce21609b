//! Archives of other programs: what GNU tar packs in each of its formats is unpacked to the same tree.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod support;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use hull_sys::root::{Root, Time};
use hull_sys::xattr;
use rustix::fs::FileType;
use support::{Place, Tar, What, describe};

/// Fills a directory with one of everything; `long` adds what only newer formats have room for.
fn fill(dir: &Path, long: bool) {
    let root = Root::open(dir).unwrap();
    fs::create_dir_all(dir.join("etc/empty")).unwrap();
    fs::write(dir.join("etc/file"), "content\n".repeat(1000)).unwrap();
    fs::set_permissions(dir.join("etc/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(dir.join("etc/file"), dir.join("second")).unwrap();
    symlink("/etc/file", dir.join("link")).unwrap();
    lchown(dir.join("link"), Some(7), Some(8)).unwrap();
    root.mknod("etc/zero", FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 5)).unwrap();
    root.mknod("etc/disk", FileType::BlockDevice, 0o640, rustix::fs::makedev(259, 70_000)).unwrap();
    root.mknod("etc/fifo", FileType::Fifo, 0o600, 0).unwrap();
    fs::write(dir.join("ünïcode 名"), "x").unwrap();
    fs::set_permissions(dir.join("etc/empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    if long {
        fs::create_dir_all(dir.join("d".repeat(150)).join("e".repeat(150))).unwrap();
        fs::write(dir.join("d".repeat(150)).join("e".repeat(150)).join("f".repeat(250)), "far").unwrap();
        symlink("t".repeat(300), dir.join("long-link")).unwrap();
        chown(dir.join("second"), Some(3_000_000), Some(4_000_000_000)).unwrap();
        let past = Time { seconds: -86_400, nanos: 0 };
        root.utimens("etc/fifo", past, past).unwrap();
    }
    for path in ["etc/empty", "etc", "."] {
        let time = Time { seconds: 1_600_000_000, nanos: 0 };
        root.utimens(path, time, time).unwrap();
    }
}

/// Packs `dir` with GNU tar.
fn pack(dir: &Path, arguments: &[&str]) -> Vec<u8> {
    let output =
        Command::new("tar").args(["-C", dir.to_str().unwrap(), "-cf", "-"]).args(arguments).arg(".").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The tree with times in whole seconds, as archives without PAX times have them.
fn in_seconds(dir: &Path) -> std::collections::BTreeMap<std::path::PathBuf, support::Described> {
    let mut tree = describe(dir);
    tree.values_mut().for_each(|described| described.modified.1 = 0);
    tree
}

#[test]
fn every_format_of_gnu_tar() {
    let formats = [("v7", false), ("oldgnu", true), ("gnu", true), ("ustar", false), ("pax", true)];
    for (format, long) in formats {
        let place = Place::new();
        let source = tempfile::Builder::new().prefix("hull-source-").tempdir().unwrap();
        fill(source.path(), long);
        let mut ignored = Vec::new();
        if format == "v7" {
            // It has no devices, and no fifos either.
            ignored = vec!["--exclude=./etc/zero", "--exclude=./etc/disk", "--exclude=./etc/fifo"];
            for path in ["etc/zero", "etc/disk", "etc/fifo"] {
                fs::remove_file(source.path().join(path)).unwrap();
            }
            let root = Root::open(source.path()).unwrap();
            let time = Time { seconds: 1_600_000_000, nanos: 0 };
            root.utimens("etc", time, time).unwrap();
        }
        let format_argument = format!("--format={format}");
        let (chain, applied) =
            place.apply(&pack(source.path(), &[&[&*format_argument], &*ignored].concat())).unwrap();
        let (expected, found) = (in_seconds(source.path()), in_seconds(&place.tree(&chain)));
        for (path, described) in &expected {
            assert_eq!(Some(described), found.get(path), "{format}: {}", path.display());
        }
        assert_eq!(expected.len(), found.len(), "{format}");
        assert_eq!(applied.entries, expected.len() as u64, "{format}");
    }
}

#[test]
fn times_with_fractions() {
    let place = Place::new();
    let source = tempfile::Builder::new().prefix("hull-source-").tempdir().unwrap();
    fill(source.path(), true);
    let root = Root::open(source.path()).unwrap();
    let time = Time { seconds: -2, nanos: 500_000_001 };
    root.utimens("etc/file", time, time).unwrap();
    let (chain, _) = place.apply(&pack(source.path(), &["--format=pax"])).unwrap();
    assert_eq!(describe(source.path()), describe(&place.tree(&chain)));
}

#[test]
fn extended_attributes() {
    let place = Place::new();
    let source = tempfile::Builder::new().prefix("hull-source-").tempdir().unwrap();
    fs::write(source.path().join("file"), "x").unwrap();
    fs::create_dir(source.path().join("dir")).unwrap();
    symlink("x", source.path().join("link")).unwrap();
    let root = Root::open(source.path()).unwrap();
    // The capability cap_net_raw+ep, whose bytes include NULs; and a value with newlines.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set_at(&root, "file".as_ref(), "security.capability".as_ref(), &capability).unwrap();
    xattr::set_at(&root, "dir".as_ref(), "user.lines".as_ref(), b"a\nb=c\n12 x=y\n").unwrap();
    xattr::set_at(&root, "link".as_ref(), "trusted.on-link".as_ref(), b"1").unwrap();
    let arguments = ["--format=pax", "--xattrs", "--xattrs-include=*"];
    let (chain, _) = place.apply(&pack(source.path(), &arguments)).unwrap();
    assert_eq!(describe(source.path()), describe(&place.tree(&chain)));
}

#[test]
fn sparse_files_of_every_version() {
    let source = tempfile::Builder::new().prefix("hull-source-").tempdir().unwrap();
    let mut file = fs::File::create(source.path().join("sparse")).unwrap();
    // More pieces than a header or one extension of it has room for, a hole at the end.
    for piece in 0..40 {
        file.seek(SeekFrom::Start(piece * 262_144 + 65_536)).unwrap();
        file.write_all(format!("piece {piece}").repeat(500).as_bytes()).unwrap();
    }
    file.set_len(40 * 262_144).unwrap();
    fs::File::create(source.path().join("hole")).unwrap().set_len(5 << 30).unwrap();
    let forms: [&[&str]; 5] = [
        &["--format=oldgnu"],
        &["--format=gnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ];
    for form in forms {
        let place = Place::new();
        let tar = pack(source.path(), &[form, &["--sparse"]].concat());
        assert!(tar.len() < 4 << 20, "not sparse: {} bytes", tar.len());
        let (chain, applied) = place.apply(&tar).unwrap();
        let tree = place.tree(&chain);
        assert_eq!(
            fs::read(tree.join("sparse")).unwrap(),
            fs::read(source.path().join("sparse")).unwrap(),
            "{form:?}"
        );
        let hole = fs::metadata(tree.join("hole")).unwrap();
        assert_eq!((hole.len(), hole.blocks()), (5 << 30, 0), "{form:?}");
        assert!(fs::metadata(tree.join("sparse")).unwrap().blocks() * 512 < 4 << 20);
        assert_eq!(applied.size, (5 << 30) + 40 * 262_144);
    }
}

#[test]
fn the_last_of_two_entries_wins() {
    let place = Place::new();
    let tar = Tar::new()
        .file("a", "first")
        .file("a", "second")
        .file("b", "file")
        .dir("b")
        .file("b/x", "in")
        .dir("c")
        .file("c/y", "gone")
        .file("c", "file")
        .dir("d")
        .file("d/z", "stays")
        .dir("d")
        .file("e", "one")
        .hard_link("f", "e")
        .file("e", "other");
    let (chain, _) = place.apply(&tar.end()).unwrap();
    let tree = describe(&place.tree(&chain));
    let content = |path: &str| match &tree[Path::new(path)].what {
        What::File(content) => String::from_utf8(content.clone()).unwrap(),
        other => panic!("{path}: {other:?}"),
    };
    let found = ["a", "b/x", "c", "d/z", "e", "f"].map(content);
    assert_eq!(found, ["second", "in", "file", "stays", "other", "one"]);
}

#[test]
fn missing_parents_are_roots_and_open_to_all() {
    let place = Place::new();
    let (chain, _) = place.apply(&Tar::new().file("a/b/c", "x").end()).unwrap();
    let tree = describe(&place.tree(&chain));
    for path in ["", "a", "a/b"] {
        assert_eq!((tree[Path::new(path)].mode, tree[Path::new(path)].owner), (0o755, (0, 0)), "{path}");
    }
}

#[test]
fn an_empty_archive_is_an_empty_layer() {
    let place = Place::new();
    for tar in [&[] as &[u8], &[0; 512], &[0; 1024], &[0; 10_240]] {
        let (chain, applied) = place.apply(tar).unwrap();
        assert_eq!((applied.entries, applied.size), (0, 0));
        assert_eq!(applied.diff_id, hull_oci::Digest::sha256(tar));
        assert_eq!(describe(&place.tree(&chain)).len(), 1);
    }
}
