//! The library as a supervisor uses it. One thread, one test after the other: see `harness` in Cargo.toml.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_oci::runtime::{Process, Spec};
use hull_runtime::{Create, Exec, Failure, Rootfs, Running, Stdio, create, exec};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use serde_json::json;
use support::Bed;

/// A test and its name.
type Test = (&'static str, fn(&mut Bed));

const TESTS: &[Test] = &[
    ("an_overlay_is_seen_in_the_container_only", overlay),
    ("users_and_groups_have_names", users),
    ("unknown_users_are_a_failure_of_the_step_user", unknown_users),
    ("a_terminal_is_the_containers_own", terminal),
    ("an_exec_is_a_child_of_the_caller", exec_is_our_child),
    ("an_exec_has_a_terminal_of_its_own", exec_terminal),
    ("a_container_that_is_not_started_leaves_nothing", dropped),
    ("a_program_that_is_missing_is_a_failure_of_the_step_exec", missing_program),
    ("a_network_namespace_is_joined", network),
    ("the_default_filter_lets_a_container_start", default_filter),
];

/// Speaks as much of the test harness's command line as its callers use: `--list`, and `--exact NAME`.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout();
    if args.iter().any(|arg| arg == "--list") {
        return TESTS.iter().for_each(|(name, _)| writeln!(out, "{name}: test").unwrap());
    }
    let wanted = |name: &str| !args.iter().any(|arg| arg == "--exact") || args.iter().any(|arg| arg == name);
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        writeln!(out, "test {name} ...").unwrap();
        let mut bed = Bed::new();
        test(&mut bed);
        drop(bed);
        let left = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        assert!(left.is_err(), "a child is left");
    }
}

/// A container of the bed's spec that runs `script` and writes to the returned pipe.
fn prepare(bed: &mut Bed, script: &str) -> (Create, std::io::PipeReader) {
    bed.config["process"]["args"] = json!(["sh", "-c", script]);
    let spec: Spec = serde_json::from_value(bed.config.clone()).unwrap();
    let (reader, stdio) = pipe();
    let rootfs = Rootfs::Directory(bed.rootfs());
    (Create { stdio, cgroup: Some(bed.cgroup()), ..Create::new("test", spec, rootfs) }, reader)
}

fn pipe() -> (std::io::PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    let stdin = OwnedFd::from(fs::File::open("/dev/null").unwrap());
    let stderr = OwnedFd::from(writer.try_clone().unwrap());
    (reader, Stdio::Fds { stdin, stdout: OwnedFd::from(writer), stderr })
}

/// Runs it to its end; what it wrote.
fn finish(container: Create, reader: std::io::PipeReader) -> String {
    let mut running = create(container).unwrap().start().unwrap();
    let text = read(reader);
    assert_eq!(wait(&running), Some(0), "{text}");
    running.cgroup.take().unwrap().remove().unwrap();
    text
}

fn read(mut reader: impl Read) -> String {
    let mut bytes = Vec::new();
    // The master side of a terminal ends with EIO.
    let _ = reader.read_to_end(&mut bytes);
    support::text(&bytes)
}

fn wait(running: &Running) -> Option<i32> {
    let ended = waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    ended.exit_status()
}

fn end(mut running: Running) {
    pidfd_send_signal(&running.pidfd, Signal::KILL).unwrap();
    assert_eq!(wait(&running), None);
    running.cgroup.take().unwrap().remove().unwrap();
}

fn overlay(bed: &mut Bed) {
    let dir = |name: &str| {
        let path = bed.dir.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let (top, upper, work) = (dir("top"), dir("upper"), dir("work"));
    fs::write(top.join("hello"), "from the top layer\n").unwrap();
    // Longer than what the mount interface takes in one piece.
    let deep = (0..10).fold(dir("deep"), |path, _| path.join("d".repeat(30)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("far"), "from afar\n").unwrap();
    bed.config["root"]["readonly"] = json!(false);
    let (mut container, reader) =
        prepare(bed, "cat /hello /far; echo new > /made; grep -c overlay /proc/mounts");
    let lower = vec![top, deep, bed.rootfs()];
    container.rootfs = Rootfs::Overlay { lower, upper: upper.clone(), work, volatile: false, mapped: false };
    assert_eq!(finish(container, reader), "from the top layer\nfrom afar\n1\n");
    assert_eq!(fs::read_to_string(upper.join("made")).unwrap(), "new\n");
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains("overlay /"));
}

fn users(bed: &mut Bed) {
    let identity = |bed: &mut Bed, user: &str, extra: &[&str]| {
        let (mut container, reader) = prepare(bed, "echo $(id -u) $(id -g) $(id -G) $HOME");
        container.user = Some(user.to_owned());
        container.extra_groups = extra.iter().map(|group| (*group).to_owned()).collect();
        finish(container, reader)
    };
    assert_eq!(identity(bed, "", &[]), "0 0 0 /root\n");
    assert_eq!(identity(bed, "web", &[]), "33 44 44 29 /var/www\n");
    assert_eq!(identity(bed, "web:audio", &[]), "33 29 29 /var/www\n");
    assert_eq!(identity(bed, "1000:1000", &["audio", "7"]), "1000 1000 1000 7 29 /\n");
}

fn unknown_users(bed: &mut Bed) {
    let failure = |bed: &mut Bed, user: &str| -> Failure {
        let (mut container, _reader) = prepare(bed, "true");
        container.user = Some(user.to_owned());
        create(container).unwrap_err()
    };
    let unknown = failure(bed, "ghost");
    assert_eq!(unknown.step, "user");
    assert_eq!(unknown.to_string(), "unable to find user ghost: no matching entries in passwd file");
    let group = failure(bed, "web:ghosts").to_string();
    assert_eq!(group, "unable to find group ghosts: no matching entries in group file");
    assert!(failure(bed, "4294967296").to_string().contains("must be in range 0-2147483647"));
    // A giant file is not read (CVE-2026-47262).
    let file = fs::File::create(bed.rootfs().join("etc/group")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(failure(bed, "web").errno, rustix::io::Errno::FBIG.raw_os_error());
}

fn terminal(bed: &mut Bed) {
    let script =
        "tty; test -c /dev/console && echo console; stty size; : > /dev/console; stat -c %u /dev/pts/0";
    fs::remove_file(bed.rootfs().join("bin/stty")).ok();
    std::os::unix::fs::symlink("busybox", bed.rootfs().join("bin/stty")).unwrap();
    let (mut container, _) = prepare(bed, script);
    container.stdio = Stdio::Terminal { rows: 33, cols: 77 };
    container.user = Some("web".to_owned());
    let mut created = create(container).unwrap();
    let master = fs::File::from(created.terminal.take().unwrap());
    let mut running = created.start().unwrap();
    assert_eq!(read(master), "/dev/pts/0\r\nconsole\r\n33 77\r\n33\r\n");
    assert_eq!(wait(&running), Some(0));
    running.cgroup.take().unwrap().remove().unwrap();
}

fn sleeper(bed: &mut Bed) -> Running {
    let (container, _) = prepare(bed, "exec sleep 1000");
    create(container).unwrap().start().unwrap()
}

fn process(bed: &Bed, args: &[&str]) -> Process {
    let mut process = bed.config["process"].clone();
    process["args"] = json!(args);
    serde_json::from_value(process).unwrap()
}

fn exec_is_our_child(bed: &mut Bed) {
    let running = sleeper(bed);
    let (reader, stdio) = pipe();
    let joined = process(bed, &["sh", "-c", "echo $(id -u) $(cat /proc/1/comm); exit 5"]);
    let user = Some("web".to_owned());
    let other = Exec { stdio, user, cgroup: Some(bed.cgroup()), ..Exec::new(running.pid, joined) };
    let other = exec(other).unwrap();
    let parent = fs::read_to_string(format!("/proc/{}/stat", other.pid)).unwrap();
    let parent: u32 = parent.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(parent, std::process::id());
    assert_eq!(read(reader), "33 sleep\n");
    assert_eq!(wait(&other), Some(5));
    // Our own children are born in our own pid namespace again.
    assert_eq!(
        fs::read_link("/proc/self/ns/pid").unwrap(),
        fs::read_link("/proc/self/ns/pid_for_children").unwrap()
    );

    let missing = Exec::new(running.pid, process(bed, &["/nope"]));
    let failure = exec(missing).unwrap_err();
    assert_eq!((failure.step.as_str(), failure.object.as_str()), ("exec", "/nope"));
    end(running);
}

fn exec_terminal(bed: &mut Bed) {
    let running = sleeper(bed);
    let stdio = Stdio::Terminal { rows: 10, cols: 20 };
    let other = Exec { stdio, ..Exec::new(running.pid, process(bed, &["sh", "-c", "tty; echo > /dev/tty"])) };
    let mut other = exec(other).unwrap();
    let master = fs::File::from(other.terminal.take().unwrap());
    assert_eq!(read(master), "/dev/pts/0\r\n\r\n");
    assert_eq!(wait(&other), Some(0));
    end(running);
}

fn dropped(bed: &mut Bed) {
    let (container, reader) = prepare(bed, "true");
    let created = create(container).unwrap();
    assert!(Path::new("/proc").join(created.pid.to_string()).exists());
    drop(created);
    // Nobody holds the pipe any more; the bed looks for the cgroup and the test's main for the child.
    assert_eq!(read(reader), "");
}

fn missing_program(bed: &mut Bed) {
    let (mut container, _reader) = prepare(bed, "true");
    let mut process = container.spec.process().clone().unwrap();
    process.set_args(Some(vec!["nope".to_owned()]));
    container.spec.set_process(Some(process));
    let failure = create(container).unwrap_err();
    let known = Failure { step: "exec".into(), op: "lookup".into(), object: "nope".into(), errno: 2 };
    assert_eq!(failure, known);
}

fn network(bed: &mut Bed) {
    let path = PathBuf::from("/proc/self/ns/net");
    let own = OwnedFd::from(fs::File::open(&path).unwrap());
    let outside = fs::read_link(&path).unwrap();
    let (mut container, reader) = prepare(bed, "readlink /proc/self/ns/net");
    container.network = Some(own);
    assert_eq!(finish(container, reader).trim(), outside.to_str().unwrap());
}

fn default_filter(bed: &mut Bed) {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let policy = hull_runtime::seccomp::docker_default(&capabilities);
    let filter = hull_runtime::seccomp::compile(&policy).unwrap();
    for no_new_privileges in [true, false] {
        bed.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let (mut container, reader) =
            prepare(bed, "grep Seccomp: /proc/self/status; ! mount -t tmpfs x /dev/shm 2>&1");
        container.seccomp = Some(filter.clone());
        container.user = Some("web".to_owned());
        let text = finish(container, reader);
        assert!(text.starts_with("Seccomp:\t2\n"), "{text}");
    }
}
