//! config-linux.md, "Seccomp": flags, errno values, notifications.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::{Bed, other_runtime, text};

crate::prints! {
    errors_have_their_numbers: { "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 },
            { "names": ["unlink", "unlinkat"], "action": "SCMP_ACT_ERRNO" },
        ] } } },
        "mkdir /dev/shm/x 2>&1; touch /dev/shm/y; rm /dev/shm/y 2>&1; true"
        => "mkdir: can't create directory '/dev/shm/x': No space left on device\nrm: can't remove '/dev/shm/y': Operation not permitted\n";
    arguments_are_compared: { "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2, "args": [{ "index": 1, "value": 31, "valueTwo": 9, "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{ "index": 1, "value": 0, "op": "SCMP_CMP_EQ" }] },
        ] } } },
        "sleep 9 & kill -0 $! 2>&1 | sed 's/.*: //'; kill -9 $! 2>&1 | sed 's/.*: //'; kill -15 $! && echo sent"
        => "Input/output error\nNo such file or directory\nsent\n";
    the_flags_are_set lacks "runc": { "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_LOG" }],
        } } },
        "grep -E '^Seccomp(_filters)?:' /proc/self/status" => "Seccomp:\t2\nSeccomp_filters:\t1\n";
}

#[test]
fn what_is_not_allowed_by_default_has_its_error() {
    let mut bed = Bed::new();
    let profile: Value = serde_json::to_value(hull_runtime::seccomp::docker_default::<&str>(&[])).unwrap();
    bed.config["linux"]["seccomp"] = profile;
    bed.config["linux"]["seccomp"]["defaultErrnoRet"] = json!(38);
    assert_eq!(bed.shell("mount -t tmpfs x /dev/shm 2>&1 | sed 's/.*: //'"), "Function not implemented\n");
}

/// An agent that answers every notification with "no space left", and what it was told.
fn agent(listener: UnixListener, answers: usize) -> JoinHandle<Value> {
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 64 << 10];
        let (length, mut descriptors) = hull_sys::scm::receive(&stream, &mut buffer).unwrap();
        assert_eq!(descriptors.len(), 1);
        let told = serde_json::from_slice(&buffer[..length]).unwrap();
        let notifications: OwnedFd = descriptors.pop().unwrap();
        for _ in 0..answers {
            hull_sys::seccomp::refuse_next(notifications.as_fd(), 28).unwrap();
        }
        told
    })
}

#[test]
fn notifications_are_handed_to_the_agent() {
    let mut bed = Bed::new();
    let path = bed.dir.join("agent");
    bed.config["annotations"] = json!({ "a": "b" });
    bed.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "for the agent",
        "flags": if other_runtime().is_none() { json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]) } else { json!([]) },
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
    });
    bed.config["process"]["args"] = json!(["sh", "-c", "mkdir /dev/shm/x 2>&1; exec sleep 1000"]);
    bed.write_config();
    let first = agent(UnixListener::bind(&path).unwrap(), 1);
    let log = fs::File::create(bed.dir.join("log")).unwrap();
    let mut run = bed.runtime(&["run", "--detach", "--pid-file", "pid", "one"]);
    assert!(run.stdout(log).status().unwrap().success());
    let told = first.join().unwrap();
    let pid: Value = fs::read_to_string(bed.dir.join("pid")).unwrap().parse().unwrap();
    assert_eq!(told["pid"], pid);
    assert_eq!((&told["fds"], &told["metadata"]), (&json!(["seccompFd"]), &json!("for the agent")));
    assert_eq!((&told["state"]["id"], &told["state"]["pid"]), (&json!("one"), &pid));
    assert_eq!(told["state"]["annotations"]["a"], "b");
    assert_eq!(told["state"]["bundle"], bed.dir.canonicalize().unwrap().to_str().unwrap());

    // One more process is one more filter.
    fs::remove_file(&path).unwrap();
    let second = agent(UnixListener::bind(&path).unwrap(), 1);
    let output = bed.runtime(&["exec", "one", "mkdir", "/dev/shm/y"]).output().unwrap();
    assert!(text(&output.stderr).contains("No space left"), "{}", text(&output.stderr));
    let told = second.join().unwrap();
    assert_ne!(told["pid"], pid);
    assert!(told["state"]["pid"] == pid || other_runtime().is_some(), "{told}");
    assert!(fs::read_to_string(bed.dir.join("log")).unwrap().contains("No space left"));
    bed.ok(&["delete", "--force", "one"]);
}

crate::refuses! {
    notifications_without_an_agent lacks "crun": { "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] } } } => "needs a listenerPath";
    an_agent_that_is_not_there: { "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] } } } => "seccomp: connect to the seccomp listener /no/such: no such file";
    notifications_of_everything lacks "crun": { "linux": { "seccomp": { "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x" } } } => "must allow sendmsg";
    an_argument_that_no_call_has: { "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }] }] } } } => "argument 6";
}
