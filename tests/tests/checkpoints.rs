//! Checkpoints through the engine, by the real criu. What needs one that knows the kernel runs where it says that it does,
//! and always in the virtual machine (`xtask/src/hosts.rs`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hull_testkit::output::eventually;
use hull_testkit::{Daemon, images};
use serde_json::{Value, json};

/// Where Debian has criu and what that executes.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// In an emulated machine criu takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon in experimental mode, with the image `busybox`.
fn daemon() -> Daemon {
    let daemon = Daemon::start_with(&["--experimental"]);
    let archive = images::busybox(daemon.dir()).unwrap();
    daemon.hull(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    fs::remove_file(archive).unwrap();
    daemon
}

/// Whether this is the virtual machine, which has no other client.
fn in_machine() -> bool {
    std::env::var("HULL_TEST_MARK").is_ok_and(|mark| mark == "hull-test-vm")
}

/// Whether criu can work here. In the machine it has to.
fn is_for_this_kernel() -> bool {
    let check = || Command::new("criu").env("PATH", PATH).arg("check").output();
    in_machine() || check().is_ok_and(|it| it.status.success())
}

fn inspect(daemon: &Daemon, name: &str) -> Value {
    daemon.hull(["inspect", name]).json()[0].clone()
}

fn checkpoint(daemon: &Daemon, name: &str, body: &Value) -> (u16, String) {
    let answer = daemon.api("POST", &format!("/containers/{name}/checkpoints"), Some(body));
    (answer.status, if answer.status == 201 { String::new() } else { answer.message() })
}

/// What a counting container has printed: every number once, in order.
fn counted(daemon: &Daemon, name: &str) -> u32 {
    let output = daemon.hull(["logs", name]);
    let numbers: Vec<u32> = output.lines().iter().map(|line| line.parse().unwrap()).collect();
    let expected: Vec<u32> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "it counts on");
    numbers.last().copied().unwrap_or(0)
}

#[track_caller]
fn counts_on(daemon: &Daemon, name: &str) {
    let before = counted(daemon, name);
    assert!(eventually(PATIENCE, || counted(daemon, name) > before + 1), "it stands at {before}");
}

fn own_directory(daemon: &Daemon, name: &str) -> PathBuf {
    let id = inspect(daemon, name)["Id"].as_str().unwrap().to_owned();
    daemon.data_root().join("containers").join(id)
}

#[test]
fn experimental_mode_is_told() {
    let daemon = Daemon::start_with(&["--experimental"]);
    assert_eq!(daemon.api("GET", "/_ping", None).header("Docker-Experimental"), "true");
    assert_eq!(daemon.api("GET", "/info", None).json()["ExperimentalBuild"], true);
    let version = daemon.api("GET", "/version", None).json();
    assert_eq!(
        (&version["Experimental"], &version["Components"][0]["Details"]["Experimental"]),
        (&json!(true), &json!("true"))
    );
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_said() {
    let daemon = daemon();
    daemon.hull(["create", "--name=idle", "busybox", "true"]).ok();
    daemon.hull(["run", "-d", "--name=box", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["run", "-dt", "--name=tty", "busybox", "sleep", "1000"]).ok();
    let one = json!({"CheckpointID": "one"});
    assert_eq!(checkpoint(&daemon, "nobody", &one), (404, "No such container: nobody".into()));
    assert_eq!(checkpoint(&daemon, "idle", &one), (409, "Container idle not running".into()));
    let why = "Cannot checkpoint container tty: it has a terminal, which cannot be saved";
    assert_eq!(checkpoint(&daemon, "tty", &one), (409, why.into()));
    daemon.hull(["run", "-d", "--name=lender", "--ipc=shareable", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["run", "-d", "--name=guest", "--ipc=container:lender", "busybox", "sleep", "1000"]).ok();
    let why = "Cannot checkpoint container guest: it shares the ipc namespace of another container, which cannot be saved";
    assert_eq!(checkpoint(&daemon, "guest", &one), (409, why.into()));
    for name in ["", "a", "..", "../../up", "/etc", ".one"] {
        let why = format!("Invalid checkpoint ID ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
        assert_eq!(checkpoint(&daemon, "box", &json!({"CheckpointID": name})), (400, why));
    }
    let relative = json!({"CheckpointID": "one", "CheckpointDir": "some/where"});
    assert_eq!(checkpoint(&daemon, "box", &relative).0, 400);

    let list = |query: &str| daemon.api("GET", &format!("/containers/box/checkpoints{query}"), None);
    assert_eq!((list("").status, list("").json()), (200, Value::Null));
    let nowhere = list("?dir=/no/where");
    assert_eq!(
        (nowhere.status, nowhere.message().as_str()),
        (409, "checkpoint  does not exist for container box")
    );
    assert_eq!(daemon.api("GET", "/containers/nobody/checkpoints", None).status, 404);
    let gone = daemon.api("DELETE", "/containers/box/checkpoints/one", None);
    assert_eq!(
        (gone.status, gone.message().as_str()),
        (409, "checkpoint one does not exist for container box")
    );
    let up = daemon.api("DELETE", "/containers/box/checkpoints/%2e%2e", None);
    assert_ne!(up.status, 204);
    assert!(own_directory(&daemon, "box").exists());

    let start = |query: &str| daemon.api("POST", &format!("/containers/idle/start?{query}"), None);
    let answers = [
        (start("checkpoint=one"), 409, "checkpoint one does not exist for container /idle"),
        (start("checkpoint=one&checkpoint-dir=/tmp"), 403, "custom checkpointdir is not supported"),
        (
            start("checkpoint=..%2f..%2fx"),
            400,
            "Invalid checkpoint ID (../../x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
    ];
    for (answer, status, why) in answers {
        assert_eq!((answer.status, answer.message().as_str()), (status, why));
    }
    assert_eq!(inspect(&daemon, "idle")["State"]["Status"], "created", "nothing has come of it");
    daemon
        .hull(["start", "--checkpoint=one", "idle", "box"])
        .complains("you cannot restore multiple containers at once");
    daemon.hull(["rm", "-f", "box", "tty", "idle", "guest", "lender"]).ok();
}

#[test]
fn a_container_that_cannot_be_saved_runs_on() {
    let daemon = daemon();
    // A file that is gone, with a link to it that is not: criu wants to be told that it may make another one.
    let script = "echo > /a; ln /a /b; exec 3</a; rm /a; echo ready; while :; do sleep 0.1; done";
    daemon.hull(["run", "-d", "--name=box", "--restart=always", "busybox", "sh", "-c", script]).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "box"]).stdout == "ready\n"));
    let pid = inspect(&daemon, "box")["State"]["Pid"].clone();
    let refused = daemon.hull(["checkpoint", "create", "box", "one"]);
    refused.complains("Cannot checkpoint container box: criu dump: ");
    if is_for_this_kernel() {
        refused.complains("link-remap");
    }
    assert_eq!(daemon.hull(["checkpoint", "ls", "box"]).ok(), "CHECKPOINT NAME");
    if !in_machine() {
        daemon.docker(["checkpoint", "create", "box", "one"]).complains("criu dump: ");
        assert_eq!(daemon.docker(["checkpoint", "ls", "box"]).ok(), "CHECKPOINT NAME");
        let nothing = daemon.docker(["checkpoint", "rm", "box", "one"]);
        nothing.complains("checkpoint one does not exist for container box");
    }
    let left: Vec<_> = fs::read_dir(own_directory(&daemon, "box").join("checkpoints")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(daemon.hull(["exec", "box", "echo", "well"]).ok(), "well");
    assert_eq!(inspect(&daemon, "box")["State"]["Pid"], pid);

    // Without the program.
    let empty = daemon.dir().join("empty");
    fs::create_dir(&empty).unwrap();
    let covered =
        Command::new("/bin/busybox").args(["mount", "--bind", empty.to_str().unwrap(), "/usr/sbin"]).status();
    assert!(covered.unwrap().success());
    let refused = daemon.hull(["checkpoint", "create", "box", "one"]);
    let uncovered = Command::new("/bin/busybox").args(["umount", "/usr/sbin"]).status();
    assert!(uncovered.unwrap().success());
    refused.complains("Cannot checkpoint container box: execute criu: No such file or directory");
    refused.complains("Debian's package is criu");
    assert_eq!(daemon.hull(["exec", "box", "echo", "well"]).ok(), "well");
    // It was not ended by its user: its policy holds.
    daemon.hull(["exec", "box", "kill", "-9", "1"]).ok();
    daemon.hull(["rm", "-f", "box"]).ok();
}

#[test]
fn a_container_goes_on_where_it_was_saved() {
    if !is_for_this_kernel() {
        return println!("NOT RUN: criu does not know this kernel");
    }
    let mut daemon = daemon();
    daemon.hull(["network", "create", "home"]).ok();
    daemon.hull(["volume", "create", "kept"]).ok();
    // It has the first address, so that the box does not.
    daemon.hull(["run", "-d", "--name=first", "--network=home", "busybox", "sleep", "1000"]).ok();
    let script = "echo of memory > /memory/file; trap 'exit 7' TERM; i=0
                  while :; do i=$((i+1)); echo $i; echo $i > /data/count; sleep 0.1; done";
    let flags = ["--network=home", "-v", "kept:/data", "--tmpfs=/memory", "--sysctl=net.core.somaxconn=77"];
    let run = [
        &["run", "-d", "--name=box", "--restart=unless-stopped"],
        &flags[..],
        &["busybox", "sh", "-c", script],
    ];
    daemon.hull(run.concat()).ok();
    daemon.hull(["rm", "-f", "first"]).ok();
    let address = |daemon: &Daemon| {
        let on = inspect(daemon, "box")["NetworkSettings"]["Networks"]["home"].clone();
        (on["IPAddress"].clone(), on["MacAddress"].clone())
    };
    let before = address(&daemon);

    let pid = inspect(&daemon, "box")["State"]["Pid"].clone();
    assert_eq!(daemon.hull(["checkpoint", "create", "--leave-running", "box", "one"]).ok(), "one");
    assert_eq!(inspect(&daemon, "box")["State"]["Pid"], pid);
    counts_on(&daemon, "box");
    daemon.hull(["checkpoint", "create", "--leave-running", "box", "one"]).complains(
        "cannot checkpoint container box: checkpoint with name one already exists for container box",
    );

    // The end: what its policy says of ends does not hold.
    assert_eq!(daemon.hull(["checkpoint", "create", "box", "two"]).ok(), "two");
    let state = inspect(&daemon, "box")["State"].clone();
    assert_eq!(
        (&state["Status"], &state["ExitCode"], &state["OOMKilled"]),
        (&json!("exited"), &json!(137), &json!(false))
    );
    assert_eq!(daemon.hull(["checkpoint", "ls", "box"]).lines(), ["CHECKPOINT NAME", "one", "two"]);
    let stood = counted(&daemon, "box");
    assert_eq!(daemon.hull(["start", "--checkpoint=two", "box"]).ok(), "box");
    counts_on(&daemon, "box");
    assert!(counted(&daemon, "box") > stood);
    assert_eq!(address(&daemon), before, "it has its address again");
    let look =
        "cat /memory/file /proc/sys/net/core/somaxconn; ls /proc/1/fd; hostname -i; cat /proc/self/cgroup";
    let seen = daemon.hull(["exec", "box", "sh", "-c", look]);
    let expected = format!("of memory\n77\n0\n1\n2\n{}\n0::/", before.0.as_str().unwrap());
    assert_eq!(seen.ok(), expected);
    let events = daemon.hull([
        "events",
        "--since=1h",
        "--until=0s",
        "--filter=event=checkpoint",
        "--format={{.Action}}",
    ]);
    assert_eq!(events.lines(), ["checkpoint", "checkpoint"]);

    // Its supervisor needs no daemon.
    daemon.kill9();
    daemon.restart();
    counts_on(&daemon, "box");
    daemon.hull(["checkpoint", "create", "box", "three"]).ok();
    daemon.kill9();
    daemon.restart();
    assert_eq!(inspect(&daemon, "box")["State"]["Status"], "exited");
    daemon.hull(["start", "--checkpoint=three", "box"]).ok();
    counts_on(&daemon, "box");
    let waiting = daemon.spawn_hull(["wait", "box"]);
    daemon.hull(["stop", "-t", "30", "box"]).ok();
    assert_eq!(waiting.finish_within(PATIENCE).ok(), "7");
    assert_eq!(inspect(&daemon, "box")["State"]["ExitCode"], 7);

    checkpoints_go_one_by_one_and_with_the_container(&daemon);
}

fn checkpoints_go_one_by_one_and_with_the_container(daemon: &Daemon) {
    daemon.hull(["checkpoint", "rm", "box", "one"]).ok();
    assert_eq!(daemon.hull(["checkpoint", "ls", "box"]).lines(), ["CHECKPOINT NAME", "three", "two"]);
    // Started from nothing it counts from one again.
    daemon.hull(["start", "box"]).ok();
    assert!(eventually(PATIENCE, || daemon
        .hull(["logs", "--tail=1", "box"])
        .stdout
        .trim()
        .parse::<u32>()
        .unwrap()
        < 100));
    let directory = own_directory(daemon, "box");
    assert!(directory.join("checkpoints/two").exists());
    daemon.hull(["rm", "-f", "box"]).ok();
    assert!(eventually(PATIENCE, || !directory.exists()), "its checkpoints go with it");
}

#[test]
fn input_and_another_directory() {
    if !is_for_this_kernel() {
        return println!("NOT RUN: criu does not know this kernel");
    }
    let daemon = daemon();
    let script = "while read line; do all=$all.$line; echo so far $all; done";
    daemon.hull(["create", "-i", "--init", "--name=box", "busybox", "sh", "-c", script]).ok();
    let mut attached = daemon.spawn_hull(["start", "-ai", "box"]);
    attached.write(b"one\n");
    attached.wait_for("so far .one\n");
    let elsewhere = daemon.dir().join("elsewhere");
    let flag = format!("--checkpoint-dir={}", elsewhere.display());
    daemon.hull(["checkpoint", "create", "--leave-running", &flag, "box", "there"]).ok();
    assert_eq!(daemon.hull(["checkpoint", "ls", &flag, "box"]).lines(), ["CHECKPOINT NAME", "there"]);
    assert!(elsewhere.join("there/descriptors.json").exists());
    daemon.hull(["checkpoint", "rm", &flag, "box", "there"]).ok();
    assert!(!elsewhere.join("there").exists());

    daemon.hull(["checkpoint", "create", "box", "here"]).ok();
    assert_eq!(attached.finish_within(PATIENCE).code, 137);
    let mut attached = daemon.spawn_hull(["start", "-ai", "--checkpoint=here", "box"]);
    assert!(eventually(PATIENCE, || inspect(&daemon, "box")["State"]["Running"] == true));
    attached.write(b"two\n");
    attached.wait_for("so far .one.two\n");
    attached.close_stdin();
    daemon.hull(["rm", "-f", "box"]).ok();

    // A session beside it, which nobody saves, ends with it.
    daemon.hull(["run", "-d", "--name=busy", "busybox", "sh", "-c", "while :; do sleep 0.1; done"]).ok();
    let session = daemon.spawn_hull(["exec", "busy", "sleep", "1000"]);
    assert!(eventually(PATIENCE, || daemon.hull(["top", "busy"]).stdout.contains("sleep 1000")));
    daemon.hull(["checkpoint", "create", "busy", "one"]).ok();
    assert_eq!(session.finish_within(PATIENCE).code, 137);
    daemon.hull(["start", "--checkpoint=one", "busy"]).ok();
    assert!(!daemon.hull(["top", "busy"]).ok().contains("sleep 1000"));
    daemon.hull(["rm", "-f", "busy"]).ok();

    // Images that criu cannot read.
    daemon.hull(["create", "--name=other", "busybox", "true"]).ok();
    let images = own_directory(&daemon, "other").join("checkpoints/empty");
    fs::create_dir_all(&images).unwrap();
    let refused = daemon.hull(["start", "--checkpoint=empty", "other"]);
    refused.complains("failed to create task for container").complains("OCI runtime restore failed");
    assert_eq!(inspect(&daemon, "other")["State"]["Status"], "created");
    daemon.hull(["start", "other"]).ok();
    daemon.hull(["rm", "-f", "other"]).ok();
}
