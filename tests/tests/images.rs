//! Images: in and out of archives, named, listed, removed.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;

use hull_testkit::images::{self, Image, directory, file, pack};
use hull_testkit::{Daemon, Output};
use serde_json::json;

fn load(daemon: &Daemon, archive: &[u8]) -> Output {
    let path = daemon.dir().join("archive.tar");
    fs::write(&path, archive).unwrap();
    let output = daemon.hull(["load", "-i", path.to_str().unwrap()]);
    fs::remove_file(path).unwrap();
    output
}

/// The id of an image in full.
fn id(daemon: &Daemon, name: &str) -> String {
    daemon.hull(["image", "inspect", "-f", "{{.Id}}", name]).ok().to_owned()
}

#[test]
fn both_kinds_of_archives_are_loaded() {
    let daemon = Daemon::start();
    let image = Image::busybox();
    load(&daemon, &image.docker_archive("one:1")).says("Loaded image: one:1").ok();
    load(&daemon, &image.oci_archive("two:2")).says("Loaded image: two:2").ok();
    assert_eq!(id(&daemon, "one:1"), image.id().to_string());
    assert_eq!(id(&daemon, "one:1"), id(&daemon, "two:2"));
    let names = daemon.hull(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut names = names.lines();
    names.sort_unstable();
    assert_eq!(names, ["one:1", "two:2"]);
}

#[test]
fn what_is_saved_is_loaded_again() {
    let daemon = Daemon::start();
    let image =
        Image::busybox().layer(pack(&[(directory("data", 0o755), b""), (file("data/x", 0o600), b"x")]));
    load(&daemon, &image.docker_archive("saved:1")).ok();
    let archive = daemon.dir().join("saved.tar");
    daemon.hull(["save", "-o", archive.to_str().unwrap(), "saved:1"]).ok();
    daemon.hull(["rmi", "saved:1"]).says("Untagged: saved:1").ok();
    assert_eq!(daemon.hull(["images", "-q"]).ok(), "");
    let saved = fs::read(&archive).unwrap();
    load(&daemon, &saved).says("Loaded image: saved:1").ok();
    assert_eq!(id(&daemon, "saved:1"), image.id().to_string());
    fs::remove_file(archive).unwrap();
}

#[test]
fn a_repository_is_saved_with_all_its_tags() {
    let daemon = Daemon::start();
    let image = Image::of(vec![pack(&[(file("x", 0o600), b"x")])]);
    load(&daemon, &image.docker_archive("many:1")).ok();
    daemon.hull(["tag", "many:1", "many:2"]).ok();
    let archive = daemon.dir().join("saved.tar");
    daemon.hull(["save", "-o", archive.to_str().unwrap(), "many"]).ok();
    daemon.hull(["rmi", "many:1", "many:2"]).ok();
    load(&daemon, &fs::read(&archive).unwrap()).says("Loaded image: many:1").says("Loaded image: many:2");
    let absent = daemon.hull(["save", "-o", archive.to_str().unwrap(), "few"]);
    absent.complains("No such image: few").fails(1);
    fs::remove_file(archive).unwrap();
}

#[test]
fn names_come_and_go() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["tag", "busybox", "other/name:tag"]).ok();
    assert_eq!(id(&daemon, "busybox"), id(&daemon, "other/name:tag"));
    daemon.hull(["rmi", "busybox"]).says("Untagged: busybox:latest").ok();
    daemon.hull(["image", "inspect", "busybox"]).complains("No such image: busybox").fails(1);
    daemon.hull(["rmi", "other/name:tag"]).says("Deleted: sha256:").ok();
    daemon.hull(["rmi", "other/name:tag"]).complains("No such image: other/name:tag").fails(1);
    daemon.hull(["tag", "busybox", "x"]).complains("No such image: busybox:latest").fails(1);
}

#[test]
fn layers_are_gone_with_their_last_image() {
    let daemon = Daemon::with_busybox();
    let layers = || fs::read_dir(daemon.data_root().join("snapshots/layers")).unwrap().count();
    let upper = pack(&[(file("extra", 0o644), b"extra")]);
    load(&daemon, &Image::busybox().layer(upper).docker_archive("more:1")).ok();
    assert_eq!(layers(), 2);
    daemon.hull(["rmi", "more:1"]).ok();
    assert_eq!(layers(), 1);
    daemon.hull(["rmi", "busybox"]).ok();
    assert_eq!(layers(), 0);
}

#[test]
fn an_image_in_use_stays() {
    let daemon = Daemon::with_busybox();
    let container = daemon.hull(["create", "--name", "user", "busybox", "true"]).ok().to_owned();
    let output = daemon.hull(["rmi", "busybox"]);
    output.complains("conflict: unable to remove repository reference").complains(&container[..12]).fails(1);
    daemon.hull(["rm", "user"]).ok();
    daemon.hull(["rmi", "busybox"]).ok();
}

#[test]
fn hostile_archives_leave_nothing() {
    let daemon = Daemon::start();
    let outside = daemon.dir().join("canary");
    fs::write(&outside, "alive").unwrap();
    let up = format!("{}{}", "../".repeat(20), outside.strip_prefix("/").unwrap().display());
    let evil = pack(&[(file(&up, 0o644), b"dead")]);
    let link = pack(&[
        (images::symlink("out", daemon.dir().to_str().unwrap()), b""),
        (file("out/canary", 0o644), b"dead"),
    ]);
    let whole = Image::busybox().docker_archive("cut:1");
    for archive in [
        Image::of(vec![evil]).docker_archive("evil:1"),
        Image::of(vec![link]).oci_archive("evil:2"),
        whole[..whole.len() / 2].to_vec(),
        b"this is not an archive".repeat(100),
    ] {
        let output = load(&daemon, &archive);
        assert_ne!(output.code, 0, "{output:#?}");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "alive");
        assert_eq!(daemon.hull(["images", "-aq"]).ok(), "");
        for below in ["snapshots/layers", "snapshots/unfinished", "images/blobs/sha256"] {
            let left: Vec<_> = fs::read_dir(daemon.data_root().join(below)).unwrap().collect();
            assert!(left.is_empty(), "{below}: {left:?}");
        }
    }
}

#[test]
fn a_layer_of_everything_is_seen_inside() {
    let daemon = Daemon::start();
    let top = pack(&[
        (file("bin/.wh.vi", 0), b""),
        (directory("etc", 0o755), b""),
        (file("etc/.wh..wh..opq", 0), b""),
        (file("etc/only", 0o4755), b"only"),
    ]);
    let image = Image::busybox()
        .layer(top)
        .set("Cmd", json!(["sh", "-c", "ls /etc; stat -c %a /etc/only; ls /bin/vi"]));
    load(&daemon, &image.docker_archive("layered:1")).ok();
    let output = daemon.hull(["run", "--rm", "--network", "none", "layered:1"]);
    output.says("only\n").says("4755").complains("/bin/vi: No such file");
    assert!(!output.stdout.contains("passwd"), "{output:#?}");
}

#[test]
fn a_root_file_system_is_imported_and_exported() {
    let daemon = Daemon::start();
    let tar = daemon.dir().join("root.tar");
    fs::write(&tar, images::busybox_layer()).unwrap();
    let imported =
        daemon.hull(["import", "-c", "CMD [\"cat\", \"/note\"]", tar.to_str().unwrap(), "imported:1"]);
    assert!(imported.ok().starts_with("sha256:"), "{imported:#?}");
    daemon.hull(["create", "--name", "box", "imported:1"]).ok();
    let exported = daemon.dir().join("exported.tar");
    daemon.hull(["export", "-o", exported.to_str().unwrap(), "box"]).ok();
    let list = std::process::Command::new("tar").arg("-tf").arg(&exported).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for name in ["bin/busybox", "etc/passwd", "tmp/"] {
        assert!(list.lines().any(|line| line == name), "no {name} in {list}");
    }
    fs::remove_file(tar).unwrap();
    fs::remove_file(exported).unwrap();
}

#[test]
fn a_container_becomes_an_image() {
    let daemon = Daemon::with_busybox();
    let script = "echo written >/root/note; rm /etc/group";
    daemon.hull(["run", "--network", "none", "--name", "author", "busybox", "sh", "-c", script]).ok();
    let diff = daemon.hull(["diff", "author"]);
    diff.says("C /etc\n").says("D /etc/group\n").says("C /root\n").says("A /root/note").ok();
    let committed = daemon.hull(["commit", "-m", "a note", "-a", "somebody", "author", "noted:1"]);
    assert!(committed.ok().starts_with("sha256:"), "{committed:#?}");
    daemon.hull(["rm", "author"]).ok();
    let output = daemon.hull([
        "run",
        "--rm",
        "--network",
        "none",
        "noted:1",
        "sh",
        "-c",
        "cat /root/note; ls /etc/group",
    ]);
    output.says("written").complains("/etc/group: No such file");
    let history = daemon.hull(["history", "--format", "{{.Comment}}", "noted:1"]);
    assert_eq!(history.lines()[0], "a note");
}

#[test]
fn what_was_made_to_mount_on_is_no_change() {
    let daemon = Daemon::start();
    let busybox = fs::read(images::busybox_program()).unwrap();
    let bare = pack(&[(directory("bin", 0o755), b""), (file("bin/busybox", 0o755), &busybox)]);
    load(&daemon, &Image::of(vec![bare]).docker_archive("bare:1")).ok();
    let run = ["run", "--name", "author", "-v", "/data", "bare:1", "busybox", "touch", "/made"];
    daemon.hull(run).ok();
    assert_eq!(daemon.hull(["diff", "author"]).lines(), ["A /data", "A /made"]);
    daemon.hull(["commit", "author", "bare:2"]).ok();
    daemon.hull(["run", "--rm", "bare:2", "busybox", "test", "-e", "/made"]).ok();
    // Through an archive, where mounts do not show.
    daemon.hull(["create", "--name", "reader", "bare:2", "true"]).ok();
    let archive = daemon.dir().join("root.tar");
    daemon.hull(["export", "-o", archive.to_str().unwrap(), "reader"]).ok();
    let listed = std::process::Command::new("tar").arg("-tf").arg(&archive).output().unwrap();
    let mut names: Vec<_> = std::str::from_utf8(&listed.stdout).unwrap().lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["bin/", "bin/busybox", "data/", "made"]);
    fs::remove_file(archive).unwrap();
}
