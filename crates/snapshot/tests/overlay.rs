//! Containers' file systems on the real overlayfs: what was changed is packed, and unpacked is the same again.
//! All mounts are detached: they are in no mount table, and the tests check that.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod support;

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use hull_oci::Digest;
use hull_snapshot::{Change, ChangeKind, Error, Extraction, Limits, Mounts};
use hull_sys::root::Root;
use support::{Described, Place, Tar, What, describe};

/// The path of a detached mount, as long as its descriptor is open.
fn path(mount: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/{}/fd/{}/", std::process::id(), mount.as_raw_fd()).into()
}

fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn base(place: &Place) -> Digest {
    let tar = Tar::new()
        .dir("etc")
        .file("etc/passwd", "root")
        .file("etc/group", "root")
        .dir("usr")
        .dir("usr/bin")
        .file("usr/bin/tool", "tool")
        .dir("var")
        .dir("var/old")
        .file("var/old/a", "a")
        .file("var/old/b", "b")
        .symlink("bin", "usr/bin")
        .end();
    place.apply(&tar).unwrap().0
}

fn list(changes: &[Change]) -> Vec<String> {
    let letter = |kind| match kind {
        ChangeKind::Modified => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    changes.iter().map(|change| format!("{} {}", letter(change.kind), change.path.display())).collect()
}

fn diff(mounts: &Mounts) -> Vec<u8> {
    let mut tar = Vec::new();
    let digest = hull_snapshot::diff(mounts, &mut tar).unwrap();
    assert_eq!(digest, Digest::sha256(&tar));
    tar
}

/// The tree with times in whole seconds.
fn tree(dir: &Path) -> std::collections::BTreeMap<PathBuf, Described> {
    let mut tree = describe(dir);
    tree.values_mut().for_each(|described| described.modified.1 = 0);
    tree.remove(Path::new(""));
    tree
}

#[test]
fn a_container_changes_things() {
    let place = Place::new();
    let table = mount_table();
    let chain = base(&place);
    let mounts = place.snapshotter.prepare("box", std::slice::from_ref(&chain)).unwrap();
    let mount = mounts.mount().unwrap();
    let root = path(&mount);
    assert_eq!(list(&hull_snapshot::changes(&mounts).unwrap()), [""; 0]);
    fs::OpenOptions::new().append(true).open(root.join("etc/passwd")).unwrap().write_all(b"more").unwrap();
    fs::write(root.join("etc-new"), "new").unwrap();
    fs::remove_file(root.join("usr/bin/tool")).unwrap();
    fs::remove_dir_all(root.join("var/old")).unwrap();
    fs::create_dir(root.join("var/old")).unwrap();
    fs::write(root.join("var/old/b"), "new b").unwrap();
    fs::create_dir(root.join("home")).unwrap();
    fs::write(root.join("home/.wh"), "not a whiteout").unwrap();
    fs::hard_link(root.join("etc-new"), root.join("home/linked")).unwrap();
    fs::remove_file(root.join("bin")).unwrap();
    symlink("/usr/bin", root.join("bin")).unwrap();
    let expected = [
        "C /bin",
        "C /etc",
        "A /etc-new",
        "C /etc/passwd",
        "A /home",
        "A /home/.wh",
        "A /home/linked",
        "C /usr",
        "C /usr/bin",
        "D /usr/bin/tool",
        "C /var",
        "C /var/old",
        "D /var/old/a",
        "C /var/old/b",
    ];
    assert_eq!(list(&hull_snapshot::changes(&mounts).unwrap()), expected);
    let changed = tree(&root);
    let tar = diff(&mounts);
    assert_eq!(tar, diff(&mounts), "not reproducible");
    // The diff as a layer on top of the same base is the same tree.
    let (top, applied) = place.apply(&tar).unwrap();
    assert_eq!(applied.size, 8 + 3 + 5 + 14);
    let view = place.snapshotter.view(&[chain.clone(), top.clone()]).unwrap();
    assert_eq!(tree(&path(&view)), changed);
    // And there is nothing to change in it.
    let again = place.snapshotter.prepare("again", &[chain, top]).unwrap();
    assert_eq!(diff(&again), [0; 1024]);
    assert_eq!(mount_table(), table);
}

#[test]
fn whiteouts_in_archives_hide_what_is_below() {
    let place = Place::new();
    let chain = base(&place);
    let tar = Tar::new()
        .file("etc/.wh.passwd", "")
        .file(".wh.usr", "")
        .dir("var/old")
        .file("var/old/new", "x")
        .file("var/old/.wh..wh..opq", "")
        .file(".wh..wh.aufs", "")
        .file(".wh..wh.plnk/1.2", "")
        // Deleted and made anew in one layer, in either order: only what this layer has is there.
        .file(".wh.bin", "")
        .dir("bin")
        .end();
    let (top, _) = place.apply(&tar).unwrap();
    let view = place.snapshotter.view(&[chain.clone(), top.clone()]).unwrap();
    let found: Vec<_> = tree(&path(&view)).into_keys().collect();
    let expected = ["bin", "etc", "etc/group", "var", "var/old", "var/old/new"];
    assert_eq!(found, expected.map(PathBuf::from));
    // A deleted directory that is made again does not show its old files, whichever entry came first.
    for tar in [
        Tar::new().file(".wh.var", "").dir("var").file("var/mine", "").end(),
        Tar::new().dir("var").file("var/mine", "").file(".wh.var", "").end(),
    ] {
        let (top, _) = place.apply(&tar).unwrap();
        let view = place.snapshotter.view(&[chain.clone(), top]).unwrap();
        let found: Vec<_> = tree(&path(&view)).into_keys().filter(|path| path.starts_with("var")).collect();
        assert_eq!(found, ["var", "var/mine"].map(PathBuf::from));
    }
    // An opaque root hides everything.
    let (top, _) = place.apply(&Tar::new().file(".wh..wh..opq", "").file("only", "").end()).unwrap();
    let view = place.snapshotter.view(&[chain, top]).unwrap();
    assert_eq!(tree(&path(&view)).into_keys().collect::<Vec<_>>(), ["only"].map(PathBuf::from));
}

#[test]
fn images_of_one_layer_and_of_none_are_viewed() {
    let place = Place::new();
    let chain = base(&place);
    assert_eq!(tree(&path(&place.snapshotter.view(&[chain]).unwrap())).len(), 11);
    let nothing = place.snapshotter.view(&[]).unwrap();
    assert!(tree(&path(&nothing)).is_empty());
    assert!(fs::write(path(&nothing).join("file"), "").is_err());
    let mounts = place.snapshotter.prepare("scratch", &[]).unwrap();
    let mount = mounts.mount().unwrap();
    fs::write(path(&mount).join("file"), "x").unwrap();
    assert_eq!(list(&hull_snapshot::changes(&mounts).unwrap()), ["A /file"]);
}

#[test]
fn many_layers() {
    let place = Place::new();
    let chains: Vec<_> = (0..120)
        .map(|number| {
            place.apply(&Tar::new().file("top", &number.to_string()).file(&format!("{number}"), "").end())
        })
        .map(|applied| applied.unwrap().0)
        .collect();
    let mounts = place.snapshotter.prepare("box", &chains).unwrap();
    let mount = mounts.mount().unwrap();
    assert_eq!(fs::read_to_string(path(&mount).join("top")).unwrap(), "119");
    assert_eq!(fs::read_dir(path(&mount)).unwrap().count(), 121);
}

#[test]
fn a_stopped_container_is_looked_at_without_writing() {
    let place = Place::new();
    let mounts = place.snapshotter.prepare("box", &[base(&place)]).unwrap();
    let mount = mounts.mount().unwrap();
    fs::remove_file(path(&mount).join("etc/group")).unwrap();
    drop(mount);
    let view = mounts.mount_readonly().unwrap();
    assert!(!path(&view).join("etc/group").exists());
    assert!(fs::write(path(&view).join("etc/passwd"), "").is_err());
}

#[test]
fn exports_are_flat() {
    let place = Place::new();
    let mounts = place.snapshotter.prepare("box", &[base(&place)]).unwrap();
    let mount = mounts.mount().unwrap();
    fs::remove_file(path(&mount).join("etc/group")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path(&mount).join("socket")).unwrap();
    let mut tar = Vec::new();
    hull_snapshot::export(mount.as_fd(), &mut tar).unwrap();
    fs::remove_file(path(&mount).join("socket")).unwrap();
    let (chain, _) = place.apply(&tar).unwrap();
    let (mut exported, mut original) = (tree(&place.tree(&chain)), tree(&path(&mount)));
    // Removing the socket has modified the root, which an export does not have anyway.
    exported.remove(Path::new(""));
    original.remove(Path::new(""));
    assert_eq!(exported, original);
}

#[test]
fn one_path_is_archived_under_a_name() {
    let place = Place::new();
    let mounts = place.snapshotter.prepare("box", &[base(&place)]).unwrap();
    let mount = mounts.mount().unwrap();
    let archived = |from: &str, name: &str| {
        let mut tar = Vec::new();
        hull_snapshot::archive(mount.as_fd(), Path::new(from), Path::new(name), &mut tar).unwrap();
        let chain = place.apply(&tar).unwrap().0;
        tree(&place.tree(&chain))
            .into_keys()
            .map(|path| path.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(archived("/etc", "copy"), ["copy", "copy/group", "copy/passwd"]);
    assert_eq!(archived("/etc/passwd", "pw"), ["pw"]);
    assert_eq!(archived("/bin/tool", "tool"), ["tool"]);
    assert_eq!(archived("/bin", "bin"), ["bin"]);
    assert_eq!(archived("/var/old/..", ""), ["old", "old/a", "old/b"]);
    let missing = hull_snapshot::archive(mount.as_fd(), Path::new("/no"), Path::new("x"), std::io::sink());
    assert!(matches!(missing, Err(hull_snapshot::Error::NotFound(_))));
}

#[test]
fn archives_are_extracted_into_a_container() {
    let place = Place::new();
    let mounts = place.snapshotter.prepare("box", &[base(&place)]).unwrap();
    let mount = mounts.mount().unwrap();
    let root = path(&mount);
    let extract = |dest: &str, tar: Vec<u8>, how: Extraction| {
        hull_snapshot::extract(mount.as_fd(), Path::new(dest), &*tar, &Limits::default(), how)
    };
    // A link of the container leads below its root, wherever it points.
    symlink(place.dir.path(), root.join("out")).unwrap();
    assert!(extract("/out", Tar::new().file("canary", "dead").end(), Extraction::default()).is_err());
    symlink(place.canary(), root.join("etc/canary")).unwrap();
    let tar = Tar::new().file("canary", "new").file(".wh.passwd", "a name").end();
    extract("/etc", tar, Extraction { owner: Some((5, 6)), ..Default::default() }).unwrap();
    assert_eq!(fs::read_to_string(place.canary()).unwrap(), "alive");
    let etc = tree(&root.join("etc"));
    assert_eq!(etc[Path::new("canary")].what, What::File(b"new".to_vec()));
    assert_eq!(etc[Path::new("canary")].owner, (5, 6));
    assert!(etc.contains_key(Path::new("passwd")) && etc.contains_key(Path::new(".wh.passwd")));
    let keep = Extraction { keep_kinds: true, ..Default::default() };
    for tar in [Tar::new().file("etc", "").end(), Tar::new().dir("etc/passwd").end()] {
        assert!(matches!(extract("/", tar, keep), Err(hull_snapshot::Error::Conflict(_))));
    }
    extract("/bin", Tar::new().file("tool", "new").hard_link("twin", "tool").end(), keep).unwrap();
    assert_eq!(fs::read_to_string(root.join("usr/bin/twin")).unwrap(), "new");
}

#[test]
fn a_tree_that_changes_under_us_never_leads_out() {
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let mounts = place.snapshotter.prepare("box", &[base(&place)]).unwrap();
    let mount = mounts.mount().unwrap();
    let root = path(&mount);
    fs::create_dir(root.join("dir")).unwrap();
    symlink(&outside, root.join("swap")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A container that exchanges a directory and a link to outside as fast as it can.
        scope.spawn(|| {
            let dir = Root::open(&root).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // One of them is missing for a moment when the extraction replaces it.
                let _ =
                    rustix::fs::renameat_with(&dir, "dir", &dir, "swap", rustix::fs::RenameFlags::EXCHANGE);
            }
        });
        let special = |header: &mut [u8; 512]| header[100..107].copy_from_slice(b"0004777");
        let tar = Tar::new()
            .special(b'5', "dir", 0, special)
            .file("dir/planted", "planted")
            .device("dir/fifo", b'6', 0, 0)
            .symlink("dir/link", "x")
            .hard_link("dir/hard", "dir/planted");
        let tar = tar.end();
        let start = std::time::Instant::now();
        let mut exported = 0;
        while start.elapsed() < std::time::Duration::from_millis(1500) {
            let how = Extraction { owner: Some((7, 7)), ..Default::default() };
            let _ = hull_snapshot::extract(mount.as_fd(), Path::new("/"), &*tar, &Limits::default(), how);
            let mut packed = Vec::new();
            if hull_snapshot::archive(mount.as_fd(), Path::new("/dir"), Path::new("d"), &mut packed).is_ok() {
                exported += 1;
                assert!(!packed.windows(6).any(|window| window == b"secret"), "the secret got out");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(exported > 0);
    });
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    let stat = fs::metadata(&outside).unwrap();
    assert_eq!((stat.uid(), stat.mode() & 0o7777), (0, 0o755));
}

#[test]
fn a_volume_gets_what_the_image_has() {
    let place = Place::new();
    let tar = Tar::new().special(b'5', "data", 0, |header| header[100..107].copy_from_slice(b"0000770"));
    let tar = tar.file("data/file", "x").symlink("data/link", "/etc").hard_link("data/twin", "data/file");
    let (chain, _) = place.apply(&tar.symlink("alias", "/data").end()).unwrap();
    let view = place.snapshotter.view(std::slice::from_ref(&chain)).unwrap();
    let volume = place.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    assert!(hull_snapshot::copy_up(view.as_fd(), Path::new("/alias"), &volume).unwrap());
    assert_eq!(describe(&volume), describe(&place.tree(&chain).join("data")));
    // A volume with content keeps it; nothing comes from what is no directory.
    assert!(!hull_snapshot::copy_up(view.as_fd(), Path::new("/alias"), &volume).unwrap());
    let empty = place.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for path in ["/data/file", "/missing", "/data/link"] {
        assert!(!hull_snapshot::copy_up(view.as_fd(), Path::new(path), &empty).unwrap());
    }
}

#[test]
fn deep_trees_are_walked() {
    let place = Place::new();
    let mounts = place.snapshotter.prepare("box", &[base(&place)]).unwrap();
    let mut at = Root::open(&mounts.upper).unwrap();
    for level in 0..500 {
        at.mkdir("d", 0o755).unwrap();
        at.create_file(format!("f{level}"), 0o600).unwrap();
        at = at.sub("d").unwrap();
    }
    assert_eq!(hull_snapshot::changes(&mounts).unwrap().len(), 1000);
    let (chain, applied) = place.apply(&diff(&mounts)).unwrap();
    assert_eq!(applied.entries, 1000);
    assert_eq!(tree(&place.tree(&chain)), tree(&mounts.upper));
    place.snapshotter.remove("box").unwrap();
}

/// The furniture of an image: what lies on its layers in a container.
fn furniture(mounts: &Mounts) -> Vec<String> {
    describe(&mounts.lower[0]).into_keys().map(|path| path.display().to_string()).collect()
}

#[test]
fn containers_of_an_image_share_what_it_lacks() {
    let place = Place::new();
    let chain = base(&place);
    let [one, other] = ["one", "other"]
        .map(|key| place.snapshotter.prepare_container(key, std::slice::from_ref(&chain), None).unwrap());
    assert_eq!(one.lower, other.lower);
    assert_eq!(one.lower[1..], [place.tree(&chain)]);
    let all = "|.dockerenv|dev|dev/console|dev/pts|dev/shm|etc|etc/hostname|etc/hosts|etc/mtab|etc/resolv.conf|proc|sys";
    assert_eq!(furniture(&one).join("|"), all);
    let mount = one.mount().unwrap();
    let root = path(&mount);
    assert_eq!(fs::read_link(root.join("etc/mtab")).unwrap(), Path::new("/proc/mounts"));
    assert!(root.join("etc/passwd").exists(), "the image's own is hidden");
    // Attributes are those of the image's directory, and nothing of it is a change.
    let image = place.snapshotter.view(std::slice::from_ref(&chain)).unwrap();
    for directory in ["etc", "."] {
        let [before, now] =
            [path(&image), root.clone()].map(|root| fs::metadata(root.join(directory)).unwrap());
        let attributes = |of: &fs::Metadata| (of.mode(), of.uid(), of.gid(), of.mtime());
        assert_eq!(attributes(&now), attributes(&before), "{directory}");
    }
    assert_eq!(list(&hull_snapshot::changes(&one).unwrap()), [""; 0]);
    assert_eq!(diff(&one), [0; 1024]);
    assert_eq!(place.snapshotter.usage("one").unwrap().inodes, 0);
    // What is done to it is one.
    fs::remove_file(root.join(".dockerenv")).unwrap();
    fs::remove_file(root.join("etc/mtab")).unwrap();
    fs::write(root.join("etc/mtab"), "own").unwrap();
    let changes = ["D /.dockerenv", "C /etc", "C /etc/mtab"];
    assert_eq!(list(&hull_snapshot::changes(&one).unwrap()), changes);
    assert!(path(&other.mount().unwrap()).join(".dockerenv").exists());
    // What becomes of it in an image of its own: the next container lacks nothing.
    let (top, _) = place.apply(&diff(&one)).unwrap();
    let next = place.snapshotter.prepare_container("next", &[chain, top], None).unwrap();
    assert!(furniture(&next).contains(&".dockerenv".to_owned()));
    assert!(!furniture(&next).contains(&"etc/mtab".to_owned()));
}

#[test]
fn an_image_keeps_what_it_has_in_the_place_of_furniture() {
    let place = Place::new();
    let tar = Tar::new()
        .file(".dockerenv", "own")
        .symlink("etc", "usr/etc")
        .dir("usr/")
        .dir("usr/etc/")
        .symlink("dev", "/nowhere")
        .file("proc", "a file")
        .end();
    let (chain, _) = place.apply(&tar).unwrap();
    let mounts = place.snapshotter.prepare_container("box", &[chain], None).unwrap();
    assert_eq!(furniture(&mounts), ["", "sys"]);
    // Without any layer there is all of it.
    let bare = place.snapshotter.prepare_container("bare", &[], None).unwrap();
    assert_eq!(furniture(&bare).len(), 13);
    assert_eq!(list(&hull_snapshot::changes(&bare).unwrap()), [""; 0]);
}

#[test]
fn furniture_goes_with_its_layer_and_comes_back_when_it_is_missing() {
    let place = Place::new();
    let chain = base(&place);
    let mounts = place.snapshotter.prepare_container("box", std::slice::from_ref(&chain), None).unwrap();
    let furniture = mounts.lower[0].clone();
    // As after a crash of the machine, which took the layer, and it was applied again.
    fs::remove_dir_all(&furniture).unwrap();
    assert_eq!(place.snapshotter.mounts("box").unwrap(), mounts);
    assert!(furniture.join(".dockerenv").exists());
    place.snapshotter.remove("box").unwrap();
    place.snapshotter.remove_layer(&chain).unwrap();
    assert!(!furniture.exists());
    let gone = place.snapshotter.prepare_container("box", &[chain], None);
    assert!(matches!(gone, Err(Error::NotFound(_))));
    place.snapshotter.finish_removals();
    assert_eq!(fs::read_dir(place.root().join("unfinished")).unwrap().count(), 0);
}
