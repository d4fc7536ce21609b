//! Packing is the opposite of unpacking: any tree, packed and unpacked, is the same tree.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod support;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use hull_sys::root::{Root, Time};
use hull_sys::xattr;
use proptest::prelude::*;
use rustix::fs::{FileType, makedev};
use support::{Place, describe};

/// One file to make. Numbers choose among what was made before.
#[derive(Debug, Clone)]
struct Plan {
    parent: prop::sample::Index,
    name: String,
    what: What,
    mode: u32,
    owner: (u32, u32),
    seconds: i64,
    attribute: Option<(String, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    Opaque,
    File(Vec<u8>),
    Sparse(u16, Vec<u8>),
    Symlink(String),
    Link(prop::sample::Index),
    Device(u32, u32),
    Fifo,
    Whiteout,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => Just(What::Directory),
        1 => Just(What::Opaque),
        4 => prop::collection::vec(any::<u8>(), 0..2000).prop_map(What::File),
        1 => (any::<u16>(), prop::collection::vec(any::<u8>(), 0..20_000)).prop_map(|(at, data)| What::Sparse(at, data)),
        2 => "[a-z/.]{1,300}".prop_map(What::Symlink),
        2 => any::<prop::sample::Index>().prop_map(What::Link),
        1 => (0..4096u32, 1..1_048_576u32).prop_map(|(major, minor)| What::Device(major, minor)),
        1 => Just(What::Fifo),
        1 => Just(What::Whiteout),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let name = prop_oneof![8 => "[a-zA-Z0-9 ._ü-]{1,12}", 1 => "[a-z]{100,200}"];
    let name = name
        .prop_filter("a name of its own", |name| name != "." && name != ".." && !name.starts_with(".wh."));
    let id = prop_oneof![Just(0), 0..70_000u32, 0..u32::MAX];
    let seconds = prop_oneof![4 => 0..2_000_000_000i64, 1 => -2_000_000_000..8_000_000_000i64];
    let attribute = prop::option::of(("user\\.[a-z]{1,20}", prop::collection::vec(any::<u8>(), 0..200)));
    (any::<prop::sample::Index>(), name, what(), 0..0o10000u32, (id.clone(), id), seconds, attribute)
        .prop_map(|(parent, name, what, mode, owner, seconds, attribute)| Plan {
            parent,
            name,
            what,
            mode,
            owner,
            seconds,
            attribute,
        })
}

/// Makes the files; a plan whose name is taken is left out.
fn make(dir: &Path, plans: &[Plan]) {
    let root = Root::open(dir).unwrap();
    let (mut dirs, mut files) = (vec![PathBuf::from(".")], Vec::new());
    let mut times = Vec::new();
    for plan in plans {
        let path = plan.parent.get(&dirs).join(&plan.name);
        let full = dir.join(&path);
        if fs::symlink_metadata(&full).is_ok() {
            continue;
        }
        match &plan.what {
            What::Directory | What::Opaque => {
                fs::create_dir(&full).unwrap();
                dirs.push(path.clone());
            }
            What::File(content) => fs::write(&full, content).unwrap(),
            What::Sparse(at, content) => {
                let mut file = fs::File::create(&full).unwrap();
                file.seek(SeekFrom::Start(u64::from(*at) * 7)).unwrap();
                file.write_all(content).unwrap();
                file.set_len(700_000).unwrap();
            }
            What::Symlink(target) => symlink(target, &full).unwrap(),
            What::Link(first) if !files.is_empty() => root.link(first.get(&files), &path).unwrap(),
            What::Link(_) => continue,
            What::Device(major, minor) => {
                root.mknod(&path, FileType::BlockDevice, 0o600, makedev(*major, *minor)).unwrap();
            }
            What::Fifo => root.mknod(&path, FileType::Fifo, 0o600, 0).unwrap(),
            What::Whiteout => {
                // Its metadata says nothing.
                root.mknod(&path, FileType::CharacterDevice, 0, 0).unwrap();
                continue;
            }
        }
        if matches!(plan.what, What::Link(_)) {
            continue;
        }
        dress(&root, dir, &path, plan);
        times.push((path.clone(), plan.seconds));
        if !full.is_dir() || full.is_symlink() {
            files.push(path);
        }
    }
    for (path, seconds) in times {
        let time = Time { seconds, nanos: 0 };
        root.utimens(path, time, time).unwrap();
    }
}

fn dress(root: &Root, dir: &Path, path: &Path, plan: &Plan) {
    let full = dir.join(path);
    lchown(&full, Some(plan.owner.0), Some(plan.owner.1)).unwrap();
    if !full.is_symlink() {
        fs::set_permissions(&full, fs::Permissions::from_mode(plan.mode)).unwrap();
    }
    let (parent, name) = root.parent(path).unwrap();
    if matches!(plan.what, What::Opaque) {
        xattr::set_at(&parent, &name, "trusted.overlay.opaque".as_ref(), b"y").unwrap();
    }
    if let Some((key, value)) = &plan.attribute
        && matches!(plan.what, What::Directory | What::Opaque | What::File(_))
    {
        xattr::set_at(&parent, &name, key.as_ref(), value).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packed_and_unpacked_is_the_same(plans in prop::collection::vec(plan(), 0..40)) {
        let place = Place::new();
        let mounts = place.snapshotter.prepare("box", &[]).unwrap();
        make(&mounts.upper, &plans);
        let mut tar = Vec::new();
        let digest = hull_snapshot::diff(&mounts, &mut tar).unwrap();
        let (chain, applied) = place.apply(&tar).unwrap();
        prop_assert_eq!(&applied.diff_id, &digest);
        let mut trees = [describe(&mounts.upper), describe(&place.tree(&chain))];
        for tree in &mut trees {
            tree.remove(Path::new(""));
            for described in tree.values_mut().filter(|described| described.what == support::What::Device(0)) {
                (described.mode, described.modified) = (0, (0, 0));
            }
        }
        prop_assert_eq!(&trees[0], &trees[1]);
        // GNU tar reads it the same way, but for whiteouts, which it does not know.
        if !plans.iter().any(|plan| matches!(plan.what, What::Whiteout | What::Opaque)) {
            let other = tempfile::Builder::new().prefix("hull-source-").tempdir().unwrap();
            unpack_with_gnu_tar(&tar, other.path());
            let mut tree = describe(other.path());
            tree.remove(Path::new(""));
            prop_assert_eq!(&trees[0], &tree);
        }
    }
}

fn unpack_with_gnu_tar(tar: &[u8], dir: &Path) {
    let mut child = std::process::Command::new("tar")
        .args([
            "-C",
            dir.to_str().unwrap(),
            "-xpf",
            "-",
            "--numeric-owner",
            "--warning=no-timestamp",
            "--xattrs",
            "--xattrs-include=*",
        ])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(tar).unwrap();
    assert!(child.wait().unwrap().success());
}
