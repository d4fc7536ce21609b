//! The life of layers and snapshots: use, removal, crashes of the process and of the machine.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hull_oci::Digest;
use hull_snapshot::{Error, Limits, Snapshotter};
use support::{Place, Tar, describe};

fn reopen(place: &Place) -> Snapshotter {
    Snapshotter::open(&place.root()).unwrap()
}

fn unfinished(place: &Place) -> usize {
    fs::read_dir(place.root().join("unfinished")).unwrap().count()
}

/// Waits until the layer is on the disk.
fn wait_durable(place: &Place, chain: &Digest) {
    let mark = place.root().join("layers").join(chain.hex()).join("durable");
    let start = Instant::now();
    while !mark.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "never durable");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_layer_is_there_when_it_is_whole() {
    let place = Place::new();
    let tar = Tar::new().file("a", "12345").file("b", "678").end();
    let chain = Digest::sha256(&tar);
    assert!(!place.snapshotter.has_layer(&chain));
    assert!(matches!(place.snapshotter.layer_size(&chain), Err(Error::NotFound(_))));
    let (chain, applied) = place.apply(&tar).unwrap();
    assert_eq!(applied.diff_id, Digest::sha256(&tar));
    assert!(place.snapshotter.has_layer(&chain));
    assert_eq!(place.snapshotter.layer_size(&chain).unwrap(), 8);
    assert_eq!(place.snapshotter.layers().unwrap(), std::slice::from_ref(&chain));
    assert_eq!(reopen(&place).layer(&chain).unwrap(), applied);
    // Once more is no error and changes nothing.
    let before = fs::metadata(place.tree(&chain)).unwrap().ino();
    assert_eq!(place.apply(&tar).unwrap().1, applied);
    assert_eq!(fs::metadata(place.tree(&chain)).unwrap().ino(), before);
    assert_eq!(unfinished(&place), 0);
    place.snapshotter.remove_layer(&chain).unwrap();
    assert!(matches!(place.snapshotter.remove_layer(&chain), Err(Error::NotFound(_))));
    place.assert_untouched();
}

#[test]
fn the_digest_is_that_of_every_byte() {
    let place = Place::new();
    let mut tar = Tar::new().file("a", "x").end();
    tar.extend_from_slice(&[0; 10_000]);
    tar.extend_from_slice(b"trailing bytes");
    assert_eq!(place.apply(&tar).unwrap().1.diff_id, Digest::sha256(&tar));
}

#[test]
fn layers_are_applied_in_parallel() {
    let place = Place::new();
    let tar =
        |number: u32| (0..200).fold(Tar::new(), |tar, file| tar.file(&format!("{number}/{file}"), "x")).end();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let snapshotter = &place.snapshotter;
            scope.spawn(move || {
                let tar = tar(number / 2);
                snapshotter.apply(&Digest::sha256(&tar), &*tar, &Limits::default()).unwrap();
            });
        }
    });
    assert_eq!(place.snapshotter.layers().unwrap().len(), 4);
    assert_eq!(unfinished(&place), 0);
}

#[test]
fn a_layer_below_a_container_stays() {
    let place = Place::new();
    let (chain, _) = place.apply(&Tar::new().dir("etc").end()).unwrap();
    let mounts = place.snapshotter.prepare("box", std::slice::from_ref(&chain)).unwrap();
    assert_eq!(mounts.lower, [place.tree(&chain)]);
    assert!(matches!(place.snapshotter.remove_layer(&chain), Err(Error::InUse(_))));
    assert!(matches!(place.snapshotter.prepare("box", &[]), Err(Error::Conflict(_))));
    assert!(matches!(place.snapshotter.prepare("../box", &[]), Err(Error::Invalid(_))));
    let missing = [Digest::sha256(b"no")];
    assert!(matches!(place.snapshotter.prepare("other", &missing), Err(Error::NotFound(_))));
    assert!(matches!(place.snapshotter.view(&missing), Err(Error::NotFound(_))));
    // Who comes after a restart knows it, too.
    let again = reopen(&place);
    assert_eq!(again.mounts("box").unwrap(), mounts);
    assert_eq!(again.snapshots(), ["box"]);
    assert!(matches!(again.remove_layer(&chain), Err(Error::InUse(_))));
    again.remove("box").unwrap();
    assert!(matches!(again.remove("box"), Err(Error::NotFound(_))));
    assert!(matches!(again.mounts("box"), Err(Error::NotFound(_))));
    again.remove_layer(&chain).unwrap();
    again.finish_removals();
    place.assert_untouched();
}

#[test]
fn usage_counts_what_was_written() {
    let place = Place::new();
    let mounts = place.snapshotter.prepare("box", &[]).unwrap();
    fs::write(mounts.upper.join("file"), [1; 5000]).unwrap();
    fs::hard_link(mounts.upper.join("file"), mounts.upper.join("again")).unwrap();
    fs::create_dir(mounts.upper.join("dir")).unwrap();
    let usage = place.snapshotter.usage("box").unwrap();
    assert_eq!((usage.bytes, usage.inodes), (5000, 2));
    assert!(matches!(place.snapshotter.usage("none"), Err(Error::NotFound(_))));
}

#[test]
fn what_a_kill_left_is_removed() {
    let place = Place::new();
    let (chain, _) = place.apply(&Tar::new().file("a", "x").end()).unwrap();
    place.snapshotter.prepare("box", std::slice::from_ref(&chain)).unwrap();
    // Killed while unpacking, while removing a layer, while removing a snapshot: each leaves a directory here.
    let cut = place.root().join("unfinished/7");
    fs::create_dir_all(cut.join("fs/deep/er")).unwrap();
    fs::create_dir_all(place.root().join("unfinished/8/gone/upper")).unwrap();
    let again = reopen(&place);
    again.finish_removals();
    assert_eq!(unfinished(&place), 0);
    assert!(again.has_layer(&chain));
    assert!(again.mounts("box").is_ok());
}

#[test]
fn a_crash_of_the_machine_takes_layers_that_were_not_durable() {
    let place = Place::new();
    let (durable, _) = place.apply(&Tar::new().file("a", "x").end()).unwrap();
    wait_durable(&place, &durable);
    let (torn, applied) = place.apply(&Tar::new().file("b", "x").end()).unwrap();
    wait_durable(&place, &torn);
    place.snapshotter.prepare("box", &[durable.clone(), torn.clone()]).unwrap();
    place.snapshotter.prepare("cut", std::slice::from_ref(&durable)).unwrap();
    // As if the machine had crashed before the second was durable: no mark, and the boot of another time.
    let layer = place.root().join("layers").join(torn.hex());
    fs::remove_file(layer.join("durable")).unwrap();
    let facts = fs::read_to_string(layer.join("facts")).unwrap();
    let (before, _) = facts.rsplit_once(' ').unwrap();
    fs::write(layer.join("facts"), format!("{before} 00000000-0000-4000-8000-000000000000\n")).unwrap();
    fs::write(place.root().join("snapshots/cut/lower"), "").unwrap();
    let again = reopen(&place);
    assert!(again.has_layer(&durable));
    assert!(!again.has_layer(&torn));
    assert!(matches!(again.mounts("box"), Err(Error::NotFound(_))));
    assert!(matches!(again.mounts("cut"), Err(Error::NotFound(_))));
    again.remove("cut").unwrap();
    // Applied again, all is as before.
    let tar = Tar::new().file("b", "x").end();
    assert_eq!(again.apply(&torn, &*tar, &Limits::default()).unwrap(), applied);
    assert_eq!(again.mounts("box").unwrap().lower.len(), 2);
}

#[test]
fn the_directory_is_for_root_alone() {
    let place = Place::new();
    assert_eq!(fs::metadata(place.root()).unwrap().mode() & 0o7777, 0o700);
    let (chain, _) = place.apply(&Tar::new().end()).unwrap();
    assert_eq!(fs::metadata(place.tree(&chain).parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(place.tree(&chain)).unwrap().mode() & 0o7777, 0o755);
    let mounts = place.snapshotter.prepare("box", &[]).unwrap();
    assert_eq!(fs::metadata(mounts.upper).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn directories_that_an_archive_does_not_list_keep_their_attributes() {
    let place = Place::new();
    let sticky = |header: &mut [u8; 512]| {
        header[100..107].copy_from_slice(b"0001777");
        header[108..115].copy_from_slice(b"0000005");
    };
    let base =
        Tar::new().special(b'5', "tmp", 0, sticky).special(b'5', "tmp/sub", 0, sticky).dir("hidden").end();
    let (base, _) = place.apply(&base).unwrap();
    let (middle, _) = place.apply(&Tar::new().file(".wh.hidden", "").end()).unwrap();
    let (top, _) = place.apply(&Tar::new().file("tmp/sub/file", "x").file("hidden/file", "x").end()).unwrap();
    let mode = |path: &str| describe(&place.tree(&top))[Path::new(path)].mode;
    assert_eq!((mode("tmp"), mode("tmp/sub")), (0o755, 0o755));
    place.snapshotter.prepare("box", &[base.clone(), middle, top.clone()]).unwrap();
    assert_eq!((mode("tmp"), mode("tmp/sub"), mode("hidden")), (0o1777, 0o1777, 0o755));
    assert_eq!(describe(&place.tree(&top))[Path::new("tmp")].owner, (5, 0));
    assert!(!place.root().join("layers").join(top.hex()).join("inherit").exists());
}
