//! Containers that cannot be made: the message is the one users know, and the bed finds nothing left behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use support::Bed;

#[test]
fn programs_that_cannot_be_executed() {
    let mut bed = Bed::new();
    fs::write(bed.rootfs().join("etc/data"), "no program").unwrap();
    fs::write(bed.rootfs().join("bin/garbage"), "\0no program").unwrap();
    fs::write(bed.rootfs().join("bin/script"), "#!/nope\n").unwrap();
    for name in ["bin/garbage", "bin/script"] {
        fs::set_permissions(bed.rootfs().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let expected = [
        ("nope", r#"exec: "nope": executable file not found in $PATH"#),
        ("/nope", r#"exec: "/nope": stat /nope: no such file or directory"#),
        ("/etc/passwd/x", r#"exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory"#),
        ("/etc", r#"exec: "/etc": is a directory"#),
        ("/etc/data", r#"exec: "/etc/data": permission denied"#),
    ];
    for (program, message) in expected {
        let refusal = bed.refusal(&[program]);
        assert_eq!(refusal, format!("hull-runtime: {message}\n"));
    }
    // What only the kernel finds out, the process says itself.
    let started = [
        ("garbage", "exec /bin/garbage: exec format error\n"),
        ("script", "exec /bin/script: no such file or directory\n"),
    ];
    for (program, message) in started {
        let output = bed.run(&[program]);
        assert_eq!((output.status.code(), support::text(&output.stderr).as_str()), (Some(255), message));
    }
    bed.config["process"]["args"] = json!(["nope"]);
    bed.write_config();
    assert!(!bed.runtime(&["create", "one"]).output().unwrap().status.success());
}

#[test]
fn mounts_that_cannot_be_made() {
    let mut bed = Bed::new();
    let good = bed.config["mounts"].clone();
    let cases = [
        (json!({ "source": "/no/such", "destination": "/x", "options": ["bind"] }), "bind /no/such"),
        (json!({ "source": "x", "destination": "/x", "type": "nofs" }), "nofs"),
        (json!({ "source": "x", "destination": "/x", "type": "tmpfs", "options": ["nonsense"] }), "nonsense"),
        (
            json!({ "source": "x", "destination": "/x", "type": "tmpfs", "options": ["copy-symlink"] }),
            "not supported",
        ),
        (json!({ "source": "/etc", "destination": "/bin/busybox", "options": ["bind"] }), "/bin/busybox"),
    ];
    for (mount, message) in cases {
        bed.config["mounts"] = good.clone();
        bed.mount(mount);
        let refusal = bed.refusal(&["true"]);
        assert!(refusal.contains(message), "{message}: {refusal}");
    }
}

#[test]
fn specs_that_make_no_sense() {
    let mut bed = Bed::new();
    let good = bed.config.clone();
    let broken: [(&str, serde_json::Value, &str); 6] = [
        ("/process", json!(null), "process"),
        ("/root/path", json!("no-such-root"), "no-such-root"),
        ("/process/cwd", json!("relative"), "cwd: chdir relative"),
        ("/linux/namespaces", json!([{ "type": "pid" }]), "mount namespace"),
        ("/linux/resources", json!({ "memory": { "limit": 1 }, "pids": { "limit": 5 } }), "cgroup"),
        ("/linux/namespaces/0", json!({ "type": "pid", "path": "/no/such" }), "/no/such"),
    ];
    for (pointer, value, message) in broken {
        bed.config = good.clone();
        *bed.config.pointer_mut(pointer).unwrap() = value;
        if bed.config["process"].is_null() {
            bed.write_config();
            let output = bed.runtime(&["run", "c"]).output().unwrap();
            assert!(support::text(&output.stderr).contains(message));
            continue;
        }
        let refusal = bed.refusal(&["true"]);
        assert!(refusal.contains(message), "{pointer}: {refusal}");
    }
}

#[test]
fn a_program_that_fails_after_start_ends_the_container() {
    let mut bed = Bed::new();
    fs::write(bed.rootfs().join("bin/garbage"), "\0no program").unwrap();
    fs::set_permissions(bed.rootfs().join("bin/garbage"), fs::Permissions::from_mode(0o755)).unwrap();
    bed.config["process"]["args"] = json!(["garbage"]);
    bed.write_config();
    bed.leave(&["create", "one"]);
    bed.ok(&["start", "one"]);
    bed.ok(&["delete", "--force", "one"]);
}
