//! Volumes, binds and memory file systems.

use std::fs;

use hull_testkit::Daemon;

#[test]
fn a_named_volume_outlives_its_containers() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept >/data/file"]).ok();
    assert_eq!(
        daemon
            .hull(["run", "--rm", "--mount", "source=data,target=/d,readonly", "busybox", "cat", "/d/file"])
            .ok(),
        "kept"
    );
    daemon
        .hull(["run", "--rm", "-v", "data:/d:ro", "busybox", "touch", "/d/x"])
        .complains("Read-only file system");
    daemon.hull(["create", "--name", "user", "-v", "data:/data", "busybox"]).ok();
    daemon.hull(["volume", "rm", "data"]).complains("volume is in use").fails(1);
    daemon.hull(["rm", "user"]).ok();
    daemon.hull(["volume", "rm", "data"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn an_empty_volume_gets_what_the_image_has_there() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--rm", "-v", "conf:/etc", "busybox", "grep", "-q", "root", "/etc/passwd"]).ok();
    daemon
        .hull([
            "run",
            "--rm",
            "--mount",
            "source=bare,target=/etc,volume-nocopy",
            "busybox",
            "test",
            "-e",
            "/etc/passwd",
        ])
        .fails(1);
}

#[test]
fn anonymous_volumes_go_with_rm_v() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--name", "box", "-v", "/scratch", "busybox", "touch", "/scratch/x"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).lines().len(), 1);
    daemon.hull(["rm", "-v", "box"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
    daemon.hull(["run", "--rm", "-v", "/scratch", "busybox", "true"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "", "--rm takes them along");
}

#[test]
fn binds_show_the_hosts_files() {
    let daemon = Daemon::with_busybox();
    let shared = daemon.dir().join("shared");
    fs::create_dir(&shared).expect("mkdir");
    fs::write(shared.join("in"), "from the host").expect("write");
    let bind = format!("{}:/mnt", shared.display());
    assert_eq!(
        daemon
            .hull(["run", "--rm", "-v", &bind, "busybox", "sh", "-c", "cat /mnt/in; echo back >/mnt/out"])
            .ok(),
        "from the host"
    );
    assert_eq!(fs::read_to_string(shared.join("out")).expect("written by the container"), "back\n");
    let file = format!("type=bind,source={}/in,target=/etc/passwd,readonly", shared.display());
    assert_eq!(
        daemon.hull(["run", "--rm", "--mount", &file, "busybox", "cat", "/etc/passwd"]).ok(),
        "from the host"
    );
    let missing = format!("{}/made:/mnt", daemon.dir().display());
    daemon.hull(["run", "--rm", "-v", &missing, "busybox", "true"]).ok();
    assert!(daemon.dir().join("made").is_dir(), "-v makes a missing source, as Docker does");
}

#[test]
fn a_mount_point_that_is_a_link_stays_in_the_container() {
    let daemon = Daemon::with_busybox();
    let trap = daemon.dir().join("trap");
    fs::create_dir(&trap).expect("mkdir");
    daemon
        .hull(["run", "--name", "evil", "busybox", "ln", "-s", trap.to_str().expect("utf-8"), "/link"])
        .ok();
    daemon.hull(["commit", "evil", "evil:1"]).ok();
    daemon.hull(["run", "--rm", "-v", "vol:/link/sub", "evil:1", "touch", "/link/sub/x"]).ok();
    assert_eq!(fs::read_dir(&trap).expect("the trap").count(), 0, "nothing was made on the host");
    daemon.hull(["rm", "evil"]).ok();
}

#[test]
fn a_tmpfs_is_fresh_and_bounded() {
    let daemon = Daemon::with_busybox();
    let output = daemon.hull([
        "run",
        "--rm",
        "--mount",
        "type=tmpfs,target=/t,tmpfs-size=1048576",
        "busybox",
        "sh",
        "-c",
        "df -k /t | tail -1 | awk '{print $2}'; dd if=/dev/zero of=/t/x bs=1M count=2",
    ]);
    assert_eq!(output.lines()[0], "1024");
    output.complains("No space left on device");
}

#[test]
fn a_volume_is_what_its_options_say() {
    let daemon = Daemon::with_busybox();
    let host = daemon.dir().join("shared");
    std::fs::create_dir(&host).expect("mkdir");
    let device = format!("device={}", host.display());
    let make = ["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "elsewhere"];
    daemon.hull(make).ok();
    daemon
        .hull(["run", "--rm", "-v", "elsewhere:/data", "busybox", "sh", "-c", "echo text >/data/file"])
        .ok();
    assert_eq!(std::fs::read_to_string(host.join("file")).expect("it is there"), "text\n");
    daemon.hull(["run", "--rm", "-v", "elsewhere:/data:ro", "busybox", "touch", "/data/x"]).fails(1);
    daemon.hull(["create", "--name", "idle", "-v", "elsewhere:/data", "busybox"]).ok();
    let copy = daemon.dir().join("copy");
    daemon.hull(["cp", "idle:/data/file", copy.to_str().expect("utf-8")]).ok();
    assert_eq!(std::fs::read_to_string(&copy).expect("copied"), "text\n");
    daemon.hull(["rm", "idle"]).ok();
    daemon.hull(["volume", "rm", "elsewhere"]).ok();
    assert!(host.join("file").exists(), "what is elsewhere stays");

    let make =
        ["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,mode=700", "quick"];
    daemon.hull(make).ok();
    let script = "stat -c %a /data; df -k /data | tail -1 | awk '{print $2}'";
    let seen = daemon.hull(["run", "--rm", "-v", "quick:/data", "busybox", "sh", "-c", script]);
    assert_eq!(seen.lines(), ["700", "1024"]);
    daemon.hull(["run", "-d", "--name", "first", "-v", "quick:/data", "busybox", "sleep", "1000"]).ok();
    daemon
        .hull(["run", "--rm", "-v", "quick:/data", "busybox", "true"])
        .complains("volume quick is in memory and container first has it");
    daemon.hull(["volume", "create", "-o", "frob=1"]).complains("invalid option: \"frob\"").fails(1);
}
