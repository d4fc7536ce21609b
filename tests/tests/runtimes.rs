//! Runtimes: the names of the built-in one, and programs of others that the administrator adds.

use std::path::Path;

use hull_testkit::output::{PATIENCE, eventually};
use hull_testkit::{Daemon, images};
use serde_json::{Value, json};

/// A daemon that knows a program of this host as the runtime `other`.
fn with(program: &str) -> Daemon {
    let daemon = Daemon::start_with(&[&format!("--add-runtime=other={program}")]);
    let archive = images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    std::fs::remove_file(archive).expect("remove");
    daemon
}

/// crun refuses hosts that have version 2 of cgroups beside version 1; those are left to the machine with version 2
/// alone.
fn crun_takes_this_host() -> bool {
    !Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists()
}

fn inspect(daemon: &Daemon, name: &str) -> Value {
    daemon.api("GET", &format!("/containers/{name}/json"), None).json()
}

#[test]
fn the_built_in_one_goes_by_dockers_names() {
    let daemon = Daemon::with_busybox();
    let info = daemon.api("GET", "/info", None).json();
    assert_eq!(info["DefaultRuntime"], "runc");
    for name in ["runc", "io.containerd.runc.v2"] {
        // The path says what it is.
        assert_eq!(info["Runtimes"][name]["path"], "hull-runtime");
        let status = &info["Runtimes"][name]["status"]["org.opencontainers.runtime-spec.features"];
        let features: Value = serde_json::from_str(status.as_str().expect("a document")).expect("JSON");
        assert_eq!(features["linux"]["seccomp"]["enabled"], true);
        let flag = format!("--runtime={name}");
        assert_eq!(daemon.hull(["run", "--rm", &flag, "busybox", "echo", "ran"]).ok(), "ran");
    }
    let old = daemon.api("GET", "/v1.43/info", None).json();
    assert_eq!(old["Runtimes"]["runc"], json!({ "path": "hull-runtime" }));
    daemon.hull(["create", "--name=plain", "busybox"]).ok();
    assert_eq!(inspect(&daemon, "plain")["HostConfig"]["Runtime"], "runc");
    let body = json!({"Image": "busybox", "HostConfig": {"Runtime": "nope"}});
    let refused = daemon.api("POST", "/containers/create", Some(&body));
    assert_eq!((refused.status, refused.message()), (400, "unknown or invalid runtime name: nope".into()));
}

#[test]
fn runc_runs_containers() {
    runs_containers("/usr/sbin/runc", 127);
}

#[test]
fn crun_runs_containers() {
    if crun_takes_this_host() {
        // Its words are not those that clients look for.
        runs_containers("/usr/bin/crun", 125);
    }
}

fn runs_containers(program: &str, missing_is: i32) {
    let daemon = with(program);
    assert_eq!(daemon.api("GET", "/info", None).json()["Runtimes"]["other"]["path"], program);
    let run = |arguments: &[&str]| daemon.hull([&["run", "--rm", "--runtime=other"], arguments].concat());
    assert_eq!(run(&["busybox", "echo", "ran"]).ok(), "ran");
    assert_eq!(run(&["busybox", "sh", "-c", "exit 7"]).code, 7);
    // It has an interface and an address of ours.
    assert!(run(&["busybox", "ip", "-4", "addr", "show", "eth0"]).ok().contains("inet 172."));
    assert_eq!(run(&["--user=7", "busybox", "id", "-u"]).ok(), "7");
    assert_eq!(run(&["--user=7", "--umask=0037", "busybox", "sh", "-c", "umask"]).ok(), "0037");
    assert_eq!(run(&["--init", "busybox", "cat", "/proc/1/comm"]).ok(), "docker-init");
    assert!(run(&["busybox", "grep", "Seccomp:", "/proc/self/status"]).ok().ends_with('2'));
    assert_eq!(run(&["--memory=64m", "busybox", "true"]).code, 0);
    let missing = run(&["busybox", "/no/such/program"]);
    assert_eq!(missing.code, missing_is, "{}", missing.stderr);
    assert!(missing.stderr.contains("OCI runtime create failed"), "{}", missing.stderr);
    let terminal = run(&["-t", "busybox", "sh", "-c", "tty"]);
    assert!(terminal.ok().starts_with("/dev/"), "it has a terminal");
}

#[test]
fn a_container_of_runc_lives_as_any_other() {
    lives_as_any_other("/usr/sbin/runc");
}

#[test]
fn a_container_of_crun_lives_as_any_other() {
    if crun_takes_this_host() {
        lives_as_any_other("/usr/bin/crun");
    }
}

fn lives_as_any_other(program: &str) {
    let mut daemon = with(program);
    daemon.hull(["volume", "create", "vol"]).ok();
    daemon
        .hull([
            "run",
            "--rm",
            "-v",
            "vol:/v",
            "busybox",
            "sh",
            "-c",
            "mkdir /v/part && echo in >/v/part/file",
        ])
        .ok();
    let mount = "type=volume,source=vol,target=/part,volume-subpath=part";
    let script = "echo up; trap 'echo down; exit 3' TERM; while true; do sleep 0.1; done";
    let arguments = [
        "run",
        "-d",
        "--name=cc",
        "--runtime=other",
        "--mount",
        mount,
        "--tmpfs=/t",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    daemon.hull(arguments).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "cc"]).ok() == "up"));
    assert_eq!(inspect(&daemon, "cc")["HostConfig"]["Runtime"], "other");
    assert_eq!(daemon.hull(["exec", "cc", "cat", "/part/file"]).ok(), "in");
    assert_eq!(daemon.hull_with_input(["exec", "-i", "cc", "cat"], b"there and back").ok(), "there and back");
    assert_eq!(daemon.hull(["exec", "-u", "7", "cc", "sh", "-c", "id -u; exit 5"]).code, 5);
    assert_ne!(daemon.hull(["exec", "cc", "/no/such/program"]).code, 0);
    assert!(daemon.hull(["exec", "-t", "cc", "tty"]).ok().starts_with("/dev/"));
    daemon.hull(["cp", "cc:/part/file", daemon.dir().join("file").to_str().expect("utf-8")]).ok();
    assert_eq!(std::fs::read_to_string(daemon.dir().join("file")).expect("a copy"), "in\n");
    std::fs::remove_file(daemon.dir().join("file")).expect("remove");
    daemon.hull(["pause", "cc"]).ok();
    assert_eq!(inspect(&daemon, "cc")["State"]["Status"], "paused");
    daemon.hull(["unpause", "cc"]).ok();
    assert!(
        daemon.hull(["top", "cc"]).ok().contains("sleep 0.1")
            || daemon.hull(["top", "cc"]).ok().contains("sh")
    );

    // It outlives the daemon, as all do.
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.hull(["exec", "cc", "cat", "/part/file"]).ok(), "in");
    daemon.hull(["stop", "cc"]).ok();
    assert_eq!(inspect(&daemon, "cc")["State"]["ExitCode"], 3);
    assert_eq!(daemon.hull(["logs", "cc"]).ok(), "up\ndown");
    // And can be started again, and killed.
    daemon.hull(["start", "cc"]).ok();
    daemon.hull(["kill", "cc"]).ok();
    assert!(eventually(PATIENCE, || inspect(&daemon, "cc")["State"]["ExitCode"] == 137));
    daemon.hull(["start", "cc"]).ok();
    daemon.hull(["rm", "-f", "cc"]).ok();
}

#[test]
fn a_program_that_is_missing_says_so_and_leaves_nothing() {
    let daemon = with("/nonexistent/runtime");
    let failed = daemon.hull(["run", "--name=cc", "--runtime=other", "busybox", "true"]);
    assert_ne!(failed.code, 0);
    assert!(failed.stderr.contains("/nonexistent/runtime: No such file"), "{}", failed.stderr);
    assert_eq!(inspect(&daemon, "cc")["State"]["Status"], "created");
    daemon.hull(["rm", "cc"]).ok();
}
