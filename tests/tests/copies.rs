//! `docker cp`: which path means what, running or not, through links, volumes and read-only mounts.

use std::fs;
use std::path::Path;
use std::process::Command;

use hull_testkit::Daemon;
use hull_testkit::output::Output;

fn text(path: &Path) -> &str {
    path.to_str().expect("utf-8")
}

fn copy(daemon: &Daemon, from: &str, to: &str) -> Output {
    daemon.docker(["cp", from, to])
}

/// `/dir/file`, `/link` to `/dir`, and a container that has ended.
fn with_box(flags: &[&str]) -> Daemon {
    let daemon = Daemon::with_busybox();
    let script = "mkdir /dir; echo content > /dir/file; ln -s /dir /link; ln -s nowhere /broken";
    let run = [&["run", "--name", "box"], flags, &["busybox", "sh", "-c", script]].concat();
    daemon.hull(run).ok();
    daemon
}

#[test]
fn the_end_of_a_path_decides() {
    let daemon = with_box(&[]);
    let to = |name: &str| daemon.dir().join(name);
    let read = |path: &str| fs::read_to_string(to(path)).unwrap_or_default();
    copy(&daemon, "box:/dir/.", text(&to("contents"))).ok();
    assert_eq!(read("contents/file"), "content\n");
    fs::create_dir(to("there")).unwrap();
    copy(&daemon, "box:/dir", text(&to("there"))).ok();
    assert_eq!(read("there/dir/file"), "content\n");
    copy(&daemon, "box:/link/", text(&to("there"))).ok();
    assert_eq!(read("there/link/file"), "content\n");
    fs::remove_dir_all(to("there/link")).unwrap();
    copy(&daemon, "box:/link", text(&to("there"))).ok();
    assert_eq!(fs::read_link(to("there/link")).unwrap(), Path::new("/dir"));
    copy(&daemon, "box:/etc/passwd/", text(&to("x"))).complains("not a directory").fails(1);
    copy(&daemon, "box:/nosuch", text(&to("x")))
        .complains("Could not find the file /nosuch in container box");
}

#[test]
fn a_stopped_container_has_its_mounts() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("real")).unwrap();
    fs::write(outside.path().join("file"), "outside\n").unwrap();
    std::os::unix::fs::symlink("real", outside.path().join("link")).unwrap();
    let bind = format!("{}:/vol", outside.path().display());
    let file = format!("{}/file:/one", outside.path().display());
    let locked = format!("{}:/locked:ro", outside.path().display());
    let daemon = with_box(&["-v", &bind, "-v", &file, "-v", &locked, "-v", "/own"]);
    let to = |name: &str| daemon.dir().join(name);
    copy(&daemon, "box:/vol", text(&to("vol"))).ok();
    assert_eq!(fs::read_to_string(to("vol/file")).unwrap(), "outside\n");
    copy(&daemon, "box:/one", text(&to("one"))).ok();
    assert_eq!(fs::read_to_string(to("one")).unwrap(), "outside\n");
    copy(&daemon, "box:/etc/hosts", text(&to("hosts"))).ok();
    assert!(fs::read_to_string(to("hosts")).unwrap().contains("localhost"));
    // Into a volume through a link in it; and not where nothing may be written.
    copy(&daemon, text(&to("one")), "box:/vol/link").ok();
    assert_eq!(fs::read_to_string(outside.path().join("real/one")).unwrap(), "outside\n");
    let refused = copy(&daemon, text(&to("one")), "box:/locked/new");
    refused.complains("mounted volume is marked read-only").fails(1);
    assert!(!outside.path().join("new").exists());
}

#[test]
fn a_container_that_never_ran_has_them_too() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "new", "-v", "data:/some/where", "--read-only", "busybox"]).ok();
    let file = daemon.dir().join("file");
    fs::write(&file, "content\n").unwrap();
    let refused = copy(&daemon, text(&file), "new:/tmp/");
    refused.complains("container rootfs is marked read-only").fails(1);
    assert_eq!(daemon.send("PUT", "/containers/new/archive?path=/tmp", &[], &[]).status, 400);
    copy(&daemon, "new:/some/where/.", text(&daemon.dir().join("empty"))).ok();
    copy(&daemon, text(&file), "new:/some/where/").ok();
    let back = daemon.dir().join("back");
    copy(&daemon, "new:/some/where/file", text(&back)).ok();
    assert_eq!(fs::read_to_string(back).unwrap(), "content\n");
}

#[test]
fn files_belong_to_the_containers_user_if_asked() {
    let daemon = Daemon::with_busybox();
    let file = daemon.dir().join("file");
    fs::write(&file, "content\n").unwrap();
    for (user, owner) in [("7777", "7777:0"), ("7777:", "7777:0"), (":7777", "0:7777"), ("1:2", "1:2")] {
        daemon.hull(["run", "-d", "--name", "box", "--user", user, "busybox", "sleep", "1000"]).ok();
        daemon.docker(["cp", "-a", text(&file), "box:/tmp/file"]).ok();
        let stat = daemon.hull(["exec", "box", "stat", "-c", "%u:%g", "/tmp/file"]);
        assert_eq!(stat.ok(), owner, "{user}");
        daemon.hull(["rm", "-f", "box"]).ok();
    }
}

#[test]
fn a_working_directory_is_there_before_the_start() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "-w", "/home/some/where", "busybox", "cat", "file"]).ok();
    let file = daemon.dir().join("file");
    fs::write(&file, "content\n").unwrap();
    copy(&daemon, text(&file), "box:/home/some/where").ok();
    assert_eq!(daemon.hull(["start", "-a", "box"]).ok(), "content");
    daemon
        .hull(["create", "-w", "/etc/passwd", "busybox"])
        .complains("Cannot mkdir: /etc/passwd is not a directory");
    assert_eq!(daemon.hull(["ps", "-a", "--format", "{{.Names}}"]).ok(), "box");
}

#[test]
fn archives_come_packed_in_any_way() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    fs::write(daemon.dir().join("file"), "content\n").unwrap();
    for (option, program) in [("-z", "gzip"), ("-j", "bzip2"), ("-J", "xz"), ("--zstd", "zstd")] {
        let archive = daemon.dir().join("archive");
        let made = Command::new("tar")
            .args(["-c", option, "-f", text(&archive), "-C", text(daemon.dir()), "file"])
            .status();
        assert!(made.unwrap().success(), "{program}");
        let mut put = daemon.command(Path::new("docker"));
        put.args(["cp", "-", "box:/tmp"]).stdin(fs::File::open(&archive).unwrap());
        let put = put.output().unwrap();
        assert!(put.status.success(), "{program}: {}", String::from_utf8_lossy(&put.stderr));
        let back = daemon.dir().join(program);
        copy(&daemon, "box:/tmp/file", text(&back)).ok();
        assert_eq!(fs::read_to_string(back).unwrap(), "content\n", "{program}");
    }
}
