//! Docker's own client, unmodified, drives the daemon.

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};

#[test]
fn the_main_job() {
    let daemon = Daemon::with_busybox();
    assert_eq!(daemon.docker(["run", "--rm", "busybox", "echo", "hello world"]).ok(), "hello world");
    assert_eq!(daemon.docker(["run", "--rm", "busybox", "sh", "-c", "exit 42"]).code, 42);
    daemon
        .docker(["run", "--rm", "busybox", "nosuchprogram"])
        .complains("executable file not found in $PATH")
        .fails(127);
    let input = {
        let mut client = daemon.spawn_docker(["run", "--rm", "-i", "busybox", "wc", "-c"]);
        client.write(b"12345");
        client.finish()
    };
    assert_eq!(input.ok().trim(), "5");
}

#[test]
fn a_life_of_a_container() {
    let daemon = Daemon::with_busybox();
    let id = daemon
        .docker([
            "run", "-d", "--name", "box", "-e", "A=1", "-m", "64m", "--label", "l=1", "busybox", "sleep",
            "1000",
        ])
        .ok()
        .to_owned();
    assert_eq!(daemon.docker(["ps", "-q", "--no-trunc"]).ok(), id);
    assert_eq!(daemon.docker(["exec", "box", "sh", "-c", "echo $A"]).ok(), "1");
    daemon.docker(["pause", "box"]).ok();
    daemon.docker(["unpause", "box"]).ok();
    daemon.docker(["top", "box"]).says("sleep 1000");
    daemon.docker(["rename", "box", "crate"]).ok();
    let inspected = daemon.docker(["inspect", "crate"]).json();
    assert_eq!(inspected[0]["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(inspected[0]["State"]["Running"], true);
    assert_eq!(inspected[0]["Config"]["Labels"]["l"], "1");
    daemon.docker(["restart", "-t", "0", "crate"]).ok();
    daemon.docker(["stop", "-t", "0", "crate"]).ok();
    assert_eq!(daemon.docker(["wait", "crate"]).ok(), "137");
    daemon.docker(["ps", "-a"]).says("Exited (137)");
    daemon.docker(["rm", "crate"]).ok();
    daemon.docker(["inspect", "crate"]).complains("No such object: crate").fails(1);
}

#[test]
fn logs_and_attached_starts() {
    let daemon = Daemon::with_busybox();
    daemon
        .docker(["create", "--name", "box", "-i", "busybox", "sh", "-c", "read a; echo got $a; echo err >&2"])
        .ok();
    let mut client = daemon.spawn_docker(["start", "-ai", "box"]);
    client.write(b"this\n");
    let output = client.finish();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("got this\n", "err\n"));
    assert_eq!(daemon.docker(["logs", "box"]).stdout, "got this\n");
    daemon.docker(["logs", "-t", "--tail", "1", "box"]).complains("err");
}

#[test]
fn images_go_around() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["images"]).says("busybox").says("latest");
    daemon.docker(["tag", "busybox", "mine:1"]).ok();
    daemon.docker(["history", "mine:1"]).says("IMAGE");
    let archive = daemon.dir().join("mine.tar");
    let path = archive.to_str().expect("utf-8");
    daemon.docker(["save", "-o", path, "mine:1"]).ok();
    daemon.docker(["rmi", "mine:1"]).says("Untagged: mine:1");
    daemon.docker(["load", "-i", path]).says("Loaded image: mine:1");
    let image = daemon.docker(["image", "inspect", "mine:1"]).json();
    assert_eq!(image[0]["Os"], "linux");
    daemon.docker(["run", "--name", "author", "busybox", "touch", "/new"]).ok();
    daemon.docker(["diff", "author"]).says("A /new");
    daemon.docker(["commit", "author", "mine:2"]).says("sha256:");
    daemon.docker(["run", "--rm", "mine:2", "ls", "/new"]).ok();
    daemon.docker(["rm", "author"]).ok();
}

#[test]
fn the_daemon_introduces_itself() {
    let daemon = Daemon::with_busybox();
    let info = daemon.api("GET", "/info", None).json();
    for limit in ["MemoryLimit", "CpuCfsQuota", "CPUShares", "CPUSet", "PidsLimit"] {
        assert_eq!(info[limit], true, "this host can limit: {limit} of {info}");
    }
    daemon.docker(["version"]).says("Server").says("API version");
    daemon
        .docker(["info"])
        .says("Server Version")
        .says("Cgroup Driver: cgroupfs")
        .says("Storage Driver: overlay2");
    daemon.docker(["system", "df"]).says("Images");
    daemon.docker(["system", "prune", "-f"]).says("Total reclaimed space: 0B");
    daemon.docker(["network", "ls"]).says("bridge").says("host").says("none");
    daemon.docker(["volume", "create", "vol"]).ok();
    daemon.docker(["volume", "ls"]).says("local");
    daemon.docker(["volume", "rm", "vol"]).ok();
    // The client asks in whole seconds: what happened in this one is not yet past.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let events =
        daemon.docker(["events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}}"]);
    assert!(events.lines().contains(&"volume create"), "{events:#?}");
}

#[test]
fn mounts_ports_and_files() {
    let daemon = Daemon::with_busybox();
    daemon
        .docker([
            "run",
            "-d",
            "--name",
            "web",
            "-p",
            "18083:80",
            "-v",
            "data:/www",
            "--mount",
            "type=tmpfs,target=/t",
            "busybox",
            "httpd",
            "-f",
            "-h",
            "/www",
        ])
        .ok();
    let page = daemon.dir().join("page");
    std::fs::write(&page, "copied in").expect("write");
    daemon.docker(["cp", page.to_str().expect("utf-8"), "web:/www/page"]).ok();
    let fetch = || {
        std::process::Command::new("busybox")
            .args(["wget", "-q", "-O", "-", "http://127.0.0.1:18083/page"])
            .output()
            .expect("busybox")
            .stdout
    };
    assert!(eventually(PATIENCE, || fetch() == b"copied in"));
    assert_eq!(daemon.docker(["port", "web"]).lines()[0], "80/tcp -> 0.0.0.0:18083");
    daemon.docker(["rm", "-f", "web"]).ok();
}
