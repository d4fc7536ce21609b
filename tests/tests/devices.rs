//! Devices of the host in containers: by path, by rule, and by the names of their vendors.

use std::fs;

use hull_testkit::Daemon;
use serde_json::{Value, json};

/// Runs a script in a container with this host configuration.
fn run(daemon: &Daemon, host: &Value, script: &str) -> hull_testkit::output::Output {
    let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host});
    let answer = daemon.api("POST", "/containers/create", Some(&body));
    assert_eq!(answer.status, 201, "{host}: {}", answer.message());
    let id = answer.json()["Id"].as_str().unwrap_or_default().to_owned();
    daemon.hull(["start", "-a", &id])
}

#[test]
fn devices_have_their_path_and_their_permissions() {
    let daemon = Daemon::with_busybox();
    let device = |access: &str| {
        json!({"Devices": [
            {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/host-fuse", "CgroupPermissions": access}
        ]})
    };
    let script = "stat -c '%t:%T' /dev/host-fuse; (: </dev/host-fuse) 2>/dev/null && echo read; \
                  (: >/dev/host-fuse) 2>/dev/null && echo written";
    assert_eq!(run(&daemon, &device("r"), script).stdout, "a:e5\nread\n");
    assert_eq!(run(&daemon, &device(""), script).stdout, "a:e5\nread\nwritten\n");
    let rule = json!({"DeviceCgroupRules": ["c 10:229 rm"], "CapAdd": ["MKNOD"]});
    let script = "mknod /tmp/k c 10 229; (: </tmp/k) && echo read; (: >/tmp/k) 2>/dev/null || echo refused";
    assert_eq!(run(&daemon, &rule, script).stdout, "read\nrefused\n");
    let missing = json!({"Devices": [{"PathOnHost": "/dev/nosuch", "CgroupPermissions": "rwm"}]});
    run(&daemon, &missing, "true").complains(
        "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory",
    );
    for none in ["/etc", "/etc/passwd"] {
        let none_at_all = json!({"Devices": [{"PathOnHost": none, "CgroupPermissions": "rwm"}]});
        run(&daemon, &none_at_all, "true").complains(&format!("custom device \"{none}\": not a device node"));
    }
}

#[test]
fn nobody_drives_gpus_that_are_not_there() {
    let daemon = Daemon::with_busybox();
    let text = "could not select device driver \"\" with capabilities: [[gpu]]";
    daemon.docker(["run", "--rm", "--gpus", "all", "busybox", "true"]).complains(text);
    daemon.hull(["run", "--rm", "--gpus", "all", "busybox", "true"]).complains(text);
    let odd = json!({"DeviceRequests": [{"Driver": "frob", "Capabilities": [["a", "b"], ["c"]]}]});
    run(&daemon, &odd, "true")
        .complains("could not select device driver \"frob\" with capabilities: [[a b] [c]]");
}

/// A daemon that looks for CDI devices in a directory of the test's own.
fn with_devices(files: &[(&str, String)]) -> (tempfile::TempDir, Daemon) {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        fs::write(directory.path().join(name), text).expect("write");
    }
    let daemon = Daemon::start_with(&["--cdi-spec-dir", directory.path().to_str().expect("utf-8")]);
    let archive = hull_testkit::images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    fs::remove_file(archive).expect("remove");
    (directory, daemon)
}

#[test]
fn devices_of_vendors_come_with_all_they_need() {
    let shared = tempfile::tempdir().expect("a directory");
    fs::write(shared.path().join("lib.so"), "library").expect("write");
    let marks = shared.path().join("marks");
    let yaml = format!(
        "cdiVersion: 0.6.0\nkind: acme.com/box\ncontainerEdits:\n  env: [VENDOR=acme]\n  mounts:\n  - hostPath: {0}\n    \
         containerPath: /opt/acme\n    options: [ro]\ndevices:\n- name: one\n  containerEdits:\n    env: [UNIT=one]\n    \
         deviceNodes:\n    - path: /dev/acme1\n      hostPath: /dev/fuse\n      permissions: r\n      fileMode: 0640\n    \
         additionalGids: [4242]\n    hooks:\n    - hookName: createRuntime\n      path: /bin/sh\n      \
         args: [sh, -c, 'echo made >>{1}']\n    - hookName: poststop\n      path: /bin/sh\n      \
         args: [sh, -c, 'echo gone >>{1}']\n",
        shared.path().display(),
        marks.display()
    );
    let (_directory, daemon) = with_devices(&[("acme.yaml", yaml)]);
    let host = json!({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["acme.com/box=one"]}]});
    let script = "echo $VENDOR $UNIT; cat /opt/acme/lib.so; echo; stat -c '%t:%T %a' /dev/acme1; id -G | grep -o 4242; \
                  (: </dev/acme1) && echo read; (: >/dev/acme1) 2>/dev/null || echo refused; \
                  touch /opt/acme/x 2>/dev/null || echo ro";
    let output = run(&daemon, &host, script);
    assert_eq!(
        output.lines(),
        ["acme one", "library", "a:e5 640", "4242", "read", "refused", "ro"],
        "{output:#?}"
    );
    let marked = || fs::read_to_string(&marks).unwrap_or_default();
    let both =
        hull_testkit::output::eventually(hull_testkit::output::PATIENCE, || marked() == "made\ngone\n");
    assert!(both, "{}", marked());
    daemon
        .docker(["run", "--rm", "--device", "acme.com/box=one", "busybox", "test", "-e", "/dev/acme1"])
        .ok();
    let missing = json!({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["acme.com/box=two"]}]});
    run(&daemon, &missing, "true")
        .complains("CDI device injection failed: unresolvable CDI devices acme.com/box=two");
    let counted =
        json!({"DeviceRequests": [{"Driver": "cdi", "Count": 1, "DeviceIDs": ["acme.com/box=one"]}]});
    run(&daemon, &counted, "true").complains("unexpected count in CDI device request");
}

#[test]
fn gpus_are_found_by_their_vendors_names() {
    let spec = json!({"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [
        {"name": "0", "containerEdits": {"env": ["SEEN=zero"]}},
        {"name": "all", "containerEdits": {"env": ["SEEN=all"]}},
    ]});
    let broken = "{".to_owned();
    let (directory, daemon) = with_devices(&[("nvidia.json", spec.to_string()), ("broken.json", broken)]);
    let seen = |gpus: &str| {
        daemon.docker(["run", "--rm", "--gpus", gpus, "busybox", "sh", "-c", "echo $SEEN"]).ok().to_owned()
    };
    assert_eq!((seen("all"), seen("1"), seen("device=0")), ("all".into(), "zero".into(), "zero".into()));
    let info = daemon.api("GET", "/info", None).json();
    assert_eq!(info["CDISpecDirs"], json!([directory.path()]));
    assert_eq!(
        info["DiscoveredDevices"],
        json!([{"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"Source": "cdi", "ID": "nvidia.com/gpu=all"}])
    );
    assert!(info["Warnings"][0].as_str().expect("a warning").contains("broken.json"));
}

#[test]
fn gpus_are_found_by_nvidias_hook() {
    let tools = tempfile::tempdir().expect("temporary directory");
    let (hook, seen) = (tools.path().join("nvidia-container-runtime-hook"), tools.path().join("seen"));
    let script = format!("#!/bin/sh\necho \"$0 $1\" >{0}; cat >>{0}\n", seen.display());
    std::fs::write(&hook, script).expect("write");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").expect("a PATH"));
    let daemon = Daemon::start_in(&[], &[("PATH", &path)]);
    let archive = hull_testkit::images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    std::fs::remove_file(archive).expect("remove");
    let run = |gpus: &str| {
        let script = "echo $NVIDIA_VISIBLE_DEVICES $NVIDIA_DRIVER_CAPABILITIES";
        daemon.hull(["run", "--rm", "--gpus", gpus, "busybox", "sh", "-c", script]).ok().to_owned()
    };
    assert_eq!(run("all"), "all");
    let told = std::fs::read_to_string(&seen).expect("the hook ran");
    assert!(told.contains(" prestart\n") && told.contains("\"pid\""), "{told}");
    assert_eq!(run("2"), "0,1");
    assert_eq!(run("device=GPU-5,capabilities=utility"), "GPU-5 utility");
}
