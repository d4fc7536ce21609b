//! `userns-remap`: root in a container is nobody on the host.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hull_sys::mount;
use hull_testkit::output::{PATIENCE, eventually};
use hull_testkit::{Daemon, images, namespaces};
use rustix::fs::CWD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The first id on the host of the container's users, and of its groups.
const IDS: [u32; 2] = [300_000, 400_000];

/// A daemon on a host whose user `dockremap` has ranges of ids: the files of /etc are the test's own, and
/// go after the daemon.
fn remapped() -> (TempDir, Daemon) {
    namespaces::enter();
    let etc = tempfile::tempdir().expect("temporary directory");
    let [user, group] = IDS;
    let files = [
        ("passwd", "root:x:0:0::/:/bin/sh\ndockremap:x:998:997::/:/bin/false\n".to_owned()),
        ("group", "root:x:0:\ndockremap:x:997:\n".to_owned()),
        ("subuid", format!("dockremap:{user}:65536\n")),
        ("subgid", format!("dockremap:{group}:65536\n")),
    ];
    for (name, text) in files {
        let (own, place) = (etc.path().join(name), Path::new("/etc").join(name));
        fs::write(&own, text).expect("write");
        let copy = mount::open_tree_clone(CWD, &own, false).expect("a mount");
        mount::move_to_path(copy.as_fd(), &place).expect("in its place");
    }
    let daemon = Daemon::start_with(&["--userns-remap=default"]);
    let archive = images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    fs::remove_file(archive).expect("remove");
    (etc, daemon)
}

fn inspect(daemon: &Daemon, name: &str) -> Value {
    daemon.api("GET", &format!("/containers/{name}/json"), None).json()
}

#[test]
fn root_is_nobody_on_the_host() {
    let (_etc, daemon) = remapped();
    let info = daemon.api("GET", "/info", None).json();
    assert!(info["SecurityOptions"].as_array().expect("a list").contains(&json!("name=userns")), "{info}");
    let root = daemon.data_root();
    assert!(root.ends_with("data/300000.400000"), "{}", root.display());
    assert_eq!(info["DockerRootDir"], root.to_str().expect("utf-8"));
    let script = "echo up; exec sleep 1000";
    daemon.hull(["run", "-d", "--name=first", "busybox", "sh", "-c", script]).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "first"]).stdout == "up\n"));
    let pid = inspect(&daemon, "first")["State"]["Pid"].as_i64().expect("a process");
    let process = fs::metadata(format!("/proc/{pid}")).expect("it runs");
    assert_eq!([process.uid(), process.gid()], IDS);
    assert_eq!(daemon.hull(["exec", "first", "id", "-u"]).ok(), "0");
    assert_eq!(
        daemon
            .hull(["exec", "first", "cat", "/proc/self/uid_map"])
            .ok()
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["0", "300000", "65536"]
    );
    // Its files are root's, also those of the engine.
    let owners = "stat -c %u:%g /bin/busybox /etc/hosts /etc/resolv.conf /etc/hostname / /dev/null | sort -u";
    let seen = daemon.hull(["exec", "first", "sh", "-c", owners]);
    assert!(seen.lines().contains(&"0:0"), "{seen:?}");
    daemon.hull(["exec", "first", "sh", "-c", "echo more >>/etc/hosts; echo x >/dev/stderr"]).ok();
    // It may do what root does with a network of its own, and nothing with the host's.
    daemon.hull(["exec", "--privileged", "first", "ip", "link", "set", "lo", "down"]).ok();
    assert_ne!(
        daemon.hull(["exec", "--privileged", "first", "mount", "-t", "ext4", "/dev/vda", "/mnt"]).code,
        0
    );
    assert!(
        daemon
            .hull(["run", "--rm", "busybox", "ip", "-4", "addr", "show", "eth0"])
            .ok()
            .contains("inet 172.")
    );
}

#[test]
fn files_have_the_ids_of_inside() {
    let (_etc, daemon) = remapped();
    let script = "echo new >/file; chown 7:8 /file; mkdir /dir; echo in >/data/file; chown 9 /data/file; rm /etc/group 2>/dev/null; true";
    daemon.hull(["run", "--name=writer", "-v", "vol:/data", "busybox", "sh", "-c", script]).ok();
    // On the disk, and so in an export, a commit and a copy.
    let listing = daemon.hull(["export", "writer", "-o", daemon.dir().join("tar").to_str().expect("utf-8")]);
    listing.ok();
    let tar = std::process::Command::new("tar")
        .args(["-tvf"])
        .arg(daemon.dir().join("tar"))
        .args(["--numeric-owner", "file"])
        .output()
        .expect("tar");
    assert!(String::from_utf8_lossy(&tar.stdout).contains(" 7/8 "), "{tar:?}");
    fs::remove_file(daemon.dir().join("tar")).expect("remove");
    let changes = daemon.hull(["diff", "writer"]).ok().to_owned();
    assert!(changes.contains("A /file") && changes.contains("A /dir"), "{changes}");
    daemon.hull(["commit", "writer", "copy:1"]).ok();
    assert_eq!(daemon.hull(["run", "--rm", "copy:1", "stat", "-c", "%u:%g", "/file"]).ok(), "7:8");
    assert_eq!(
        daemon.hull(["run", "--rm", "--userns=host", "copy:1", "stat", "-c", "%u:%g", "/file"]).ok(),
        "7:8"
    );
    // A volume is the same for all, whoever's users they have.
    assert_eq!(
        daemon.hull(["run", "--rm", "-v", "vol:/data", "busybox", "stat", "-c", "%u", "/data/file"]).ok(),
        "9"
    );
    // A directory of the host is the host's.
    let host = daemon.dir().join("host");
    fs::create_dir(&host).expect("mkdir");
    let bind = format!("{}:/host", host.display());
    daemon
        .hull(["run", "--rm", "-v", &bind, "busybox", "touch", "/host/x"])
        .complains("Permission denied")
        .fails(1);
    std::os::unix::fs::chown(&host, Some(IDS[0]), Some(IDS[1])).expect("chown");
    daemon.hull(["run", "--rm", "-v", &bind, "busybox", "touch", "/host/x"]).ok();
    assert_eq!(fs::metadata(host.join("x")).expect("made").uid(), IDS[0]);
    // One that is made for a container belongs to its root, with all that is made on the way.
    let made = host.join("made/deep");
    let bind = format!("{}:/host", made.display());
    daemon.hull(["run", "--rm", "-v", &bind, "busybox", "touch", "/host/x"]).ok();
    for path in [made.join("x"), made, host.join("made")] {
        let metadata = fs::metadata(&path).expect("made");
        assert_eq!([metadata.uid(), metadata.gid()], IDS, "{}", path.display());
    }
    fs::remove_dir_all(host).expect("remove");
}

#[test]
fn the_hosts_users_are_for_who_asks() {
    let (_etc, mut daemon) = remapped();
    daemon
        .hull(["run", "-d", "--name=plain", "--userns=host", "--privileged", "busybox", "sleep", "1000"])
        .ok();
    let pid = inspect(&daemon, "plain")["State"]["Pid"].as_i64().expect("a process");
    assert_eq!(fs::metadata(format!("/proc/{pid}")).expect("it runs").uid(), 0);
    let refused = |host: Value| {
        let body = json!({"Image": "busybox", "HostConfig": host});
        let answer = daemon.api("POST", "/containers/create", Some(&body));
        assert_eq!(answer.status, 400);
        answer.message()
    };
    assert_eq!(
        refused(json!({"Privileged": true})),
        "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when \
         running privileged mode"
    );
    assert_eq!(
        refused(json!({"NetworkMode": "host"})),
        "cannot share the host's network namespace when user namespaces are enabled"
    );
    assert_eq!(
        refused(json!({"PidMode": "host"})),
        "cannot share the host PID namespace when user namespaces are enabled"
    );
    // Those that share namespaces share their users.
    daemon.hull(["run", "-d", "--name=donor", "--ipc=shareable", "busybox", "sleep", "1000"]).ok();
    let joins = ["--network=container:donor", "--pid=container:donor", "--ipc=container:donor"];
    let all = [&["run", "--rm"], &joins[..], &["busybox", "sh", "-c", "ps | grep -c 'sleep 1000'"]].concat();
    assert_ne!(daemon.hull(all).ok(), "0");
    let own = ["run", "--rm", "--pid=container:donor", "busybox", "ip", "-4", "addr", "show", "eth0"];
    assert!(daemon.hull(own).ok().contains("inet 172."));
    // They outlive the daemon.
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.hull(["exec", "donor", "id", "-u"]).ok(), "0");
    daemon.hull(["restart", "-t", "0", "donor"]).ok();
}

#[test]
fn a_host_without_the_default_user_gets_it() {
    namespaces::enter();
    let own = tempfile::tempdir().expect("temporary directory");
    let part = |name: &str| {
        let path = own.path().join(name);
        fs::create_dir_all(&path).expect("a directory");
        path.to_str().expect("utf-8").to_owned()
    };
    // An /etc of the test's own; its directory may not be on an overlay itself.
    let run = |program: &str, arguments: &[&str]| {
        let done = std::process::Command::new(program).args(arguments).status().expect("tests need mount");
        assert!(done.success(), "{program} {arguments:?}");
    };
    run("mount", &["-t", "tmpfs", "own", &part("room")]);
    let layers = format!("lowerdir=/etc,upperdir={},workdir={}", part("room/upper"), part("room/work"));
    run("mount", &["-t", "overlay", "-o", &layers, "etc", "/etc"]);
    // The overlay holds it; the directory is to go.
    run("umount", &["-l", &part("room")]);
    let line = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find(|line| line.starts_with("dockremap:")).map(str::to_owned)
    };
    assert_eq!(line("/etc/passwd"), None, "this host has it already");
    let mut daemon = Daemon::start_with(&["--userns-remap=default"]);
    assert!(line("/etc/passwd").is_some() && line("/etc/group").is_some());
    let ranges = [line("/etc/subuid"), line("/etc/subgid")].map(|line| line.expect("a range"));
    assert!(ranges.iter().all(|range| range.ends_with(":65536")), "{ranges:?}");
    let root = daemon.data_root();
    daemon.restart();
    assert_eq!(daemon.data_root(), root, "the same ids");
    assert_eq!([line("/etc/subuid"), line("/etc/subgid")], ranges.map(Some));
}
