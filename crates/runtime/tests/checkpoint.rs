//! `checkpoint` and `restore`, by the real criu. It has to know the kernel that it runs on, so on a host where it says
//! that it does not these tests are for the virtual machine alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use support::{Bed, text, wait_for};

/// Where Debian has criu and what that executes.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A bed whose network namespace has a loopback: criu finds out by that what the kernel can do.
fn bed() -> Bed {
    let bed = Bed::new();
    assert!(Command::new("/bin/busybox").args(["ip", "link", "set", "lo", "up"]).status().unwrap().success());
    bed
}

/// Whether criu can work here. In the machine it has to.
fn is_for_this_kernel() -> bool {
    let in_machine = std::env::var("HULL_TEST_MARK").is_ok_and(|mark| mark == "hull-test-vm");
    in_machine
        || Command::new("criu").env("PATH", PATH).arg("check").output().is_ok_and(|it| it.status.success())
}

fn command(bed: &Bed, args: &[&str]) -> Command {
    let mut command = bed.runtime(args);
    command.env("PATH", PATH);
    command
}

/// What a command fails with.
fn refusal(bed: &Bed, args: &[&str]) -> String {
    let output = command(bed, args).output().unwrap();
    assert!(!output.status.success(), "{args:?} succeeded");
    text(&output.stderr)
}

/// What a command that leaves a container behind is told: that goes to a file, since the container may keep it.
fn leave(bed: &Bed, args: &[&str]) {
    let status = command(bed, &[&["--log", "log"], args].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let log = || fs::read_to_string(bed.dir.join("log")).unwrap_or_default();
    assert!(status.success(), "{args:?}: {}", log());
}

/// As `leave`; what the container prints.
fn leave_printing(bed: &Bed, args: &[&str]) -> BufReader<ChildStdout> {
    let mut child = command(bed, &[&["--log", "log"], args].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let log = || fs::read_to_string(bed.dir.join("log")).unwrap_or_default();
    assert!(child.wait().unwrap().success(), "{args:?}: {}", log());
    BufReader::new(output)
}

fn number(output: &mut BufReader<ChildStdout>) -> u32 {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim().parse().unwrap_or_else(|e| panic!("{line:?}: {e}"))
}

fn state(bed: &Bed, id: &str) -> Value {
    serde_json::from_str(&bed.ok(&["state", id])).unwrap()
}

#[test]
fn a_container_goes_on_where_it_was_saved() {
    if !is_for_this_kernel() {
        return println!("NOT RUN: criu does not know this kernel");
    }
    let mut bed = bed();
    fs::write(bed.dir.join("shared"), "of the host\n").unwrap();
    let shared = json!({
        "destination": "/shared", "type": "bind", "source": bed.dir.join("shared"), "options": ["bind", "ro"]
    });
    bed.mount(shared);
    bed.config["root"]["readonly"] = json!(false);
    bed.config["linux"]["resources"] = json!({ "pids": { "limit": 17 } });
    let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";
    bed.config["process"]["args"] = json!(["sh", "-c", count]);
    let hook =
        |moment: &str| json!([{ "path": "/bin/busybox", "args": ["touch", "touch", bed.dir.join(moment)] }]);
    let hooks = json!({ "createRuntime": hook("created"), "poststart": hook("started") });
    bed.write_config();
    let mut output = leave_printing(&bed, &["run", "--detach", "one"]);
    let seen = (0..3).map(|_| number(&mut output)).last().unwrap();
    leave(&bed, &["checkpoint", "--image-path", "images", "--work-path", "work", "one"]);
    assert!(bed.runtime(&["state", "one"]).output().unwrap().stderr.ends_with(b"does not exist: one\n"));
    assert!(bed.dir.join("images/descriptors.json").exists() && bed.dir.join("work/dump.log").exists());

    // Elsewhere, by another name.
    let elsewhere = format!("{}-two", bed.cgroup());
    bed.config["linux"]["cgroupsPath"] = json!(elsewhere);
    bed.config["hooks"] = hooks;
    bed.write_config();
    let restore = ["restore", "--detach", "--image-path", "images", "--pid-file", "pid", "two"];
    let mut output = leave_printing(&bed, &restore);
    let next = number(&mut output);
    assert!(next > seen, "{next} comes after {seen}");
    assert_eq!(number(&mut output), next + 1);
    assert_eq!(state(&bed, "two")["status"], "running");
    assert_eq!(fs::read_to_string(bed.dir.join("pid")).unwrap(), state(&bed, "two")["pid"].to_string());
    assert!(bed.dir.join("created").exists() && bed.dir.join("started").exists());
    let script = "cat /shared /proc/self/cgroup /sys/fs/cgroup/pids.max; echo > /shared; ls /proc/1/fd";
    let inside = bed.runtime(&["exec", "two", "sh", "-c", script]).output().unwrap();
    assert_eq!(text(&inside.stdout), "of the host\n0::/\n17\n0\n1\n2\n");
    assert!(text(&inside.stderr).contains("Read-only file system"), "{}", text(&inside.stderr));
    bed.ok(&["delete", "--force", "two"]);
    assert!(!fs::exists(format!("/sys/fs/cgroup{elsewhere}")).unwrap());
}

#[test]
fn a_container_that_cannot_be_saved_runs_on() {
    if !is_for_this_kernel() {
        return println!("NOT RUN: criu does not know this kernel");
    }
    let mut bed = bed();
    bed.config["root"]["readonly"] = json!(false);
    let script = "echo > /a; ln /a /b; exec 3</a; rm /a; sleep 1000";
    bed.config["process"]["args"] = json!(["sh", "-c", script]);
    let namespaces = bed.config["linux"]["namespaces"].as_array_mut().unwrap();
    let network = namespaces.iter_mut().find(|namespace| namespace["type"] == "network").unwrap();
    network["path"] = json!("/proc/self/ns/net");
    bed.write_config();
    leave(&bed, &["run", "--detach", "one"]);
    wait_for("the deleted file", || bed.rootfs().join("b").exists() && !bed.rootfs().join("a").exists());
    let said = refusal(&bed, &["checkpoint", "--image-path", "images", "one"]);
    let log = bed.dir.join("images/dump.log");
    assert!(said.contains("link-remap") && said.contains(log.to_str().unwrap()), "{said}");
    assert_eq!(state(&bed, "one")["status"], "running");
    assert_eq!(bed.ok(&["exec", "one", "echo", "well"]), "well\n");

    let first = "checkpoint --leave-running --link-remap --file-locks --tcp-established --tcp-skip-in-flight \
                 --ext-unix-sk --shell-job --manage-cgroups-mode full --image-path first one";
    leave(&bed, &first.split_whitespace().collect::<Vec<_>>());
    assert_eq!(bed.ok(&["exec", "one", "echo", "well"]), "well\n");
    bed.ok(&["pause", "one"]);
    leave(&bed, &["checkpoint", "--leave-running", "--link-remap", "--image-path", "paused", "one"]);
    assert_eq!(state(&bed, "one")["status"], "paused");
    bed.ok(&["resume", "one"]);
    assert_eq!(bed.ok(&["exec", "one", "echo", "well"]), "well\n");
    leave(&bed, &["checkpoint", "--pre-dump", "--image-path", "before", "one"]);
    let rest = ["checkpoint", "--link-remap", "--parent-path", "../before", "--image-path", "after", "one"];
    leave(&bed, &rest);
    assert_eq!(bed.ok(&["list", "-q"]), "");
    let unlocked = refusal(&bed, &["restore", "--image-path", "nothing", "one"]);
    assert!(unlocked.contains("read images"), "{unlocked}");
    fs::create_dir(bed.dir.join("nothing")).unwrap();
    fs::write(bed.dir.join("nothing/descriptors.json"), r#"["", "", ""]"#).unwrap();
    let nothing = refusal(&bed, &["restore", "--image-path", "nothing", "one"]);
    assert!(nothing.contains("criu restore: ") && nothing.contains("nothing/restore.log"), "{nothing}");
    assert_eq!(bed.ok(&["list", "-q"]), "");

    let restore = ["restore", "--link-remap", "--image-path", "after", "one"];
    let mut restored = command(&bed, &restore).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_running = || {
        let state = bed.runtime(&["state", "one"]).output().unwrap();
        text(&state.stdout).contains("running")
    };
    wait_for("the restored container", is_running);
    let pid = state(&bed, "one")["pid"].clone();
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
    assert_eq!(network(&pid.to_string()), network("thread-self"));
    bed.ok(&["kill", "one", "KILL"]);
    assert_eq!(restored.wait().unwrap().code(), Some(137));
    assert_eq!(bed.ok(&["list", "-q"]), "");
}
