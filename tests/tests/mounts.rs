//! Mounts of all kinds with all their options, seen from inside.

use std::fs;
use std::os::unix::fs::symlink;

use hull_testkit::Daemon;
use serde_json::{Value, json};

/// Runs a script in a container with these mounts.
fn run(daemon: &Daemon, mounts: &Value, script: &str) -> hull_testkit::output::Output {
    let host = json!({"Mounts": mounts});
    let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host});
    let answer = daemon.api("POST", "/containers/create", Some(&body));
    assert_eq!(answer.status, 201, "{mounts}: {}", answer.message());
    let id = answer.json()["Id"].as_str().unwrap_or_default().to_owned();
    daemon.hull(["start", "-a", &id])
}

fn refused(daemon: &Daemon, mount: Value) -> (u16, String) {
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Mounts": [mount]}});
    let answer = daemon.api("POST", "/containers/create", Some(&body));
    (answer.status, answer.message())
}

#[test]
fn wrong_mounts_are_refused_in_dockers_words() {
    let daemon = Daemon::with_busybox();
    let cases = [
        (json!({"Type": "bind", "Source": "/", "Target": ""}), "bind", "field Target must not be empty"),
        (json!({"Type": "bind", "Target": "/x"}), "bind", "field Source must not be empty"),
        (
            json!({"Type": "bind", "Source": "/", "Target": "x"}),
            "bind",
            "invalid mount path: 'x' mount path must be absolute",
        ),
        (
            json!({"Type": "bind", "Source": "/", "Target": "/"}),
            "bind",
            "invalid specification: destination can't be '/'",
        ),
        (
            json!({"Type": "bind", "Source": "/nosuch", "Target": "/x"}),
            "bind",
            "bind source path does not exist: /nosuch",
        ),
        (
            json!({"Type": "tmpfs", "Source": "/a", "Target": "/x"}),
            "tmpfs",
            "field Source must not be specified",
        ),
        (
            json!({"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": [["uid", "5"]]}}),
            "tmpfs",
            "invalid option: uid",
        ),
        (
            json!({"Type": "volume", "Target": "/x", "VolumeOptions": {"Subpath": "a"}}),
            "volume",
            "must not set Subpath when using anonymous volumes",
        ),
        (
            json!({"Type": "volume", "Source": "data", "Target": "/x", "VolumeOptions": {"Subpath": "../a"}}),
            "volume",
            "subpath must be a relative path within the volume",
        ),
        (json!({"Type": "npipe", "Source": "x", "Target": "/x"}), "npipe", "mount type unknown"),
        (json!({"Type": "frob", "Source": "x", "Target": "/x"}), "frob", "mount type unknown"),
        (json!({"Type": "image", "Target": "/x"}), "image", "field Source must not be empty"),
    ];
    for (mount, kind, text) in cases {
        let text = format!("invalid mount config for type \"{kind}\": {text}");
        assert_eq!(refused(&daemon, mount.clone()), (400, text), "{mount}");
    }
    let missing = refused(&daemon, json!({"Type": "image", "Source": "nosuch", "Target": "/x"}));
    assert_eq!(missing, (404, "No such image: nosuch:latest".to_owned()));
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "");
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn a_part_of_a_volume_is_that_part_and_nothing_else() {
    let daemon = Daemon::with_busybox();
    let script = "mkdir -p /v/sub /v/hack; echo hello >/v/sub/hello.txt; echo foo >/v/bar.txt; \
                  ln -s ../sub /v/hack/good; ln -s / /v/hack/root; ln -s ../../../../../.. /v/hack/up";
    daemon.hull(["run", "--rm", "-v", "data:/v", "busybox", "sh", "-c", script]).ok();
    let part = |subpath: &str| json!([{"Type": "volume", "Source": "data", "Target": "/p", "VolumeOptions": {"Subpath": subpath}}]);
    assert_eq!(run(&daemon, &part("sub"), "ls /p; echo new >/p/new").ok(), "hello.txt");
    assert_eq!(run(&daemon, &part("hack/good"), "ls /p").ok(), "hello.txt\nnew");
    assert_eq!(run(&daemon, &part("bar.txt"), "cat /p").ok(), "foo");
    run(&daemon, &part("nosuch"), "true").complains("cannot access path");
    for out in ["hack/root", "hack/up", "hack/root/etc"] {
        run(&daemon, &part(out), "ls /p").complains("path concatenation escapes the base directory");
    }
    let shown = daemon.hull(["ps", "-aq", "--no-trunc", "-l"]);
    let inspected = daemon.api("GET", &format!("/containers/{}/json", shown.ok()), None).json();
    assert_eq!(inspected["HostConfig"]["Mounts"][0]["VolumeOptions"]["Subpath"], "hack/root/etc");
}

#[test]
fn the_files_of_an_image_are_mounted_read_only() {
    let daemon = Daemon::with_busybox();
    let commit = ["sh", "-c", "mkdir -p /opt/tool/bin; echo one >/opt/tool/bin/a; ln -s /etc /opt/out"];
    daemon.hull([&["run", "--name", "author", "busybox"][..], &commit[..]].concat()).ok();
    daemon.hull(["commit", "author", "tools:1"]).ok();
    daemon.hull(["rm", "author"]).ok();
    let whole = json!([{"Type": "image", "Source": "tools:1", "Target": "/tools"}]);
    assert_eq!(run(&daemon, &whole, "cat /tools/opt/tool/bin/a").ok(), "one");
    run(&daemon, &whole, "touch /tools/x").complains("Read-only file system");
    let part = |subpath: &str| json!([{"Type": "image", "Source": "tools:1", "Target": "/t", "ImageOptions": {"Subpath": subpath}}]);
    assert_eq!(run(&daemon, &part("opt/tool/bin"), "ls /t").ok(), "a");
    assert_eq!(run(&daemon, &part("opt/tool/bin/a"), "cat /t").ok(), "one");
    run(&daemon, &part("opt/out"), "ls /t").complains("path concatenation escapes the base directory");
    run(&daemon, &part("nosuch"), "ls /t")
        .complains("cannot access path nosuch: lstat nosuch: no such file or directory");
    // The layers stay as long as somebody has them mounted.
    let body =
        json!({"Image": "busybox", "Cmd": ["cat", "/tools/opt/tool/bin/a"], "HostConfig": {"Mounts": whole}});
    let id = daemon.api("POST", "/containers/create?name=later", Some(&body)).json()["Id"].clone();
    assert!(id.is_string());
    daemon.hull(["rmi", "-f", "tools:1"]).ok();
    assert_eq!(daemon.hull(["start", "-a", "later"]).ok(), "one");
}

#[test]
fn image_mounts_survive_the_daemon() {
    let mut daemon = Daemon::with_busybox();
    let whole = json!([{"Type": "image", "Source": "busybox", "Target": "/image"}]);
    let body =
        json!({"Image": "busybox", "Cmd": ["ls", "/image/bin/busybox"], "HostConfig": {"Mounts": whole}});
    daemon.api("POST", "/containers/create?name=box", Some(&body));
    daemon.restart();
    assert_eq!(daemon.hull(["start", "-a", "box"]).ok(), "/image/bin/busybox");
    let point = &daemon.hull(["inspect", "box"]).json()[0]["Mounts"][0];
    assert_eq!((&point["Type"], &point["RW"]), (&json!("image"), &json!(false)));
}

#[test]
fn binds_have_their_options() {
    let daemon = Daemon::with_busybox();
    let (outer, inner) = (daemon.dir().join("outer"), daemon.dir().join("outer/inner"));
    fs::create_dir_all(&inner).expect("mkdir");
    rustix::mount::mount("tmpfs", &inner, "tmpfs", rustix::mount::MountFlags::empty(), None).expect("mount");
    fs::write(inner.join("file"), "below").expect("write");
    let bind = |options: Value, read_only: bool| json!([{"Type": "bind", "Source": outer, "Target": "/b", "ReadOnly": read_only, "BindOptions": options}]);
    assert_eq!(run(&daemon, &bind(json!({}), false), "cat /b/inner/file").ok(), "below");
    assert_ne!(run(&daemon, &bind(json!({"NonRecursive": true}), false), "cat /b/inner/file").code, 0);
    run(&daemon, &bind(json!({}), true), "touch /b/inner/x").complains("Read-only file system");
    let shallow = json!({"ReadOnlyNonRecursive": true});
    run(&daemon, &bind(shallow, true), "touch /b/inner/x && ! touch /b/x").ok();
    run(&daemon, &bind(json!({"ReadOnlyForceRecursive": true}), true), "touch /b/inner/x")
        .complains("Read-only file system");
    let made = daemon.dir().join("made");
    let create = json!([{
        "Type": "bind", "Source": made, "Target": "/b", "BindOptions": {"CreateMountpoint": true}
    }]);
    run(&daemon, &create, "touch /b/x").ok();
    assert!(made.join("x").exists());
    // Before 1.44 read-only was shallow, with `-v`, too.
    let old = |version: &str| {
        let binds = json!([format!("{}:/b:ro", outer.display())]);
        let body =
            json!({"Image": "busybox", "Cmd": ["touch", "/b/inner/x"], "HostConfig": {"Binds": binds}});
        let answer = daemon.api("POST", &format!("/v{version}/containers/create"), Some(&body)).json();
        daemon.hull(["start", "-a", answer["Id"].as_str().expect("an id")]).code
    };
    assert_eq!((old("1.43"), old("1.44")), (0, 1));
    rustix::mount::unmount(&inner, rustix::mount::UnmountFlags::DETACH).expect("umount");
}

#[test]
fn mounts_travel_as_far_as_was_asked_for() {
    let daemon = Daemon::with_busybox();
    let shared = daemon.dir().join("shared");
    fs::create_dir(&shared).expect("mkdir");
    rustix::mount::mount_bind(&shared, &shared).expect("bind");
    rustix::mount::mount_change(&shared, rustix::mount::MountPropagationFlags::SHARED).expect("share");
    let bind = format!("{}:/s:rslave", shared.display());
    daemon.hull(["run", "-d", "--name", "slave", "-v", &bind, "busybox", "sleep", "1000"]).ok();
    let bind = format!("{}:/s", shared.display());
    daemon.hull(["run", "-d", "--name", "private", "-v", &bind, "busybox", "sleep", "1000"]).ok();
    let later = shared.join("later");
    fs::create_dir(&later).expect("mkdir");
    rustix::mount::mount("tmpfs", &later, "tmpfs", rustix::mount::MountFlags::empty(), None).expect("mount");
    let sees = |name: &str| daemon.hull(["exec", name, "grep", "-c", "/s/later", "/proc/mounts"]).stdout;
    assert_eq!((sees("slave").trim(), sees("private").trim()), ("1", "0"));
    let script = "mkdir -p /s/inside; mount -t tmpfs tmpfs /s/inside";
    let bind = format!("{}:/s:rshared", shared.display());
    daemon.hull(["run", "--privileged", "--name", "sharer", "-v", &bind, "busybox", "sh", "-c", script]).ok();
    let mounts = fs::read_to_string("/proc/thread-self/mounts").expect("mounts");
    assert!(mounts.contains(&format!("{}/inside", shared.display())), "{mounts}");
    for path in [shared.join("inside"), later, shared.clone()] {
        rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).expect("umount");
    }
    let plain = daemon.dir().join("plain");
    fs::create_dir(&plain).expect("mkdir");
    rustix::mount::mount_bind(&plain, &plain).expect("bind");
    rustix::mount::mount_change(&plain, rustix::mount::MountPropagationFlags::PRIVATE).expect("unshare");
    let bind = format!("{}:/s:rshared", plain.display());
    daemon
        .hull(["run", "--rm", "-v", &bind, "busybox", "true"])
        .complains(&format!("path {0} is mounted on {0} but it is not a shared mount", plain.display()));
    rustix::mount::unmount(&plain, rustix::mount::UnmountFlags::DETACH).expect("umount");
}

#[test]
fn memory_file_systems_have_size_mode_and_options() {
    let daemon = Daemon::with_busybox();
    let options = json!({"SizeBytes": 8 << 20, "Mode": 0o711, "Options": [["exec"]]});
    let mounts = json!([{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": options}]);
    let script =
        "df -m /t | tail -1 | awk '{print $2}'; stat -c %a /t; grep -c '/t tmpfs.*noexec' /proc/mounts";
    assert_eq!(run(&daemon, &mounts, script).lines(), ["8", "711", "0"]);
    let plain = json!([{"Type": "tmpfs", "Target": "/t", "ReadOnly": true}]);
    run(&daemon, &plain, "touch /t/x").complains("Read-only file system");
}

#[test]
fn mounts_are_taken_over_with_their_modes() {
    let daemon = Daemon::with_busybox();
    let source = daemon.dir().join("source");
    fs::create_dir(&source).expect("mkdir");
    symlink("nowhere", source.join("link")).expect("link");
    let bind = format!("{}:/b", source.display());
    daemon
        .hull(["create", "--name", "donor", "-v", &bind, "-v", "data:/d:ro", "-v", "/anon", "busybox"])
        .ok();
    let seen = "touch /b/x && touch /anon/x; touch /d/x || echo ro";
    let output = daemon.hull(["run", "--rm", "--volumes-from", "donor", "busybox", "sh", "-c", seen]);
    assert_eq!(output.ok(), "ro");
    let all = "touch /b/x || touch /anon/x || echo all";
    let output = daemon.hull(["run", "--rm", "--volumes-from", "donor:ro,z", "busybox", "sh", "-c", all]);
    assert_eq!(output.ok(), "all");
    // The donor's anonymous volume is not the user's to remove.
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).lines().len(), 2);
}

#[test]
fn where_the_daemon_keeps_its_own_new_mounts_go_as_well() {
    let daemon = Daemon::with_busybox();
    let root = daemon.data_root().display().to_string();
    let create = |host: &Value| {
        let wish = json!({ "Image": "busybox", "Cmd": ["true"], "HostConfig": host });
        daemon.api("POST", "/containers/create", Some(&wish))
    };
    let below = format!("{root}/containers");
    let cases =
        [("", Some("rslave")), ("rslave", Some("rslave")), ("rshared", Some("rshared")), ("private", None)];
    for (source, (propagation, expected)) in
        [&root, &below].into_iter().flat_map(|source| cases.map(|case| (source, case)))
    {
        let word = if propagation.is_empty() { String::new() } else { format!(":{propagation}") };
        let options = json!({ "Propagation": propagation });
        let mount = json!({ "Type": "bind", "Source": source, "Target": "/foo", "BindOptions": options });
        for host in [json!({ "Binds": [format!("{source}:/foo{word}")] }), json!({ "Mounts": [mount] })] {
            let created = create(&host);
            let Some(expected) = expected else {
                assert_eq!(created.status, 400, "{host}");
                assert!(
                    created.message().contains("must use either propagation mode"),
                    "{}",
                    created.message()
                );
                continue;
            };
            assert_eq!(created.status, 201, "{host}: {}", created.message());
            let id = created.json()["Id"].as_str().expect("an id").to_owned();
            let found = daemon.api("GET", &format!("/containers/{id}/json"), None).json();
            assert_eq!(found["Mounts"][0]["Propagation"], expected, "{host}");
        }
    }
    // Nobody asked for it, so a host whose mounts stay where they are is no obstacle.
    daemon.hull(["run", "--rm", "-v", "/:/host:ro", "busybox", "cat", "/host/proc/version"]).ok();
}

#[test]
fn a_volume_does_not_hide_the_files_that_are_the_engines() {
    let daemon = Daemon::with_busybox();
    let run = |more: &[&str], file: &str| {
        let all = [&["run", "--rm", "-v", "/etc"], more, &["busybox", "cat", file]].concat();
        daemon.hull(all).ok().to_owned()
    };
    assert!(run(&["--dns", "192.0.2.1"], "/etc/resolv.conf").contains("nameserver 192.0.2.1"));
    for name in ["inner", "in_ner!"] {
        assert_eq!(run(&["--hostname", name], "/etc/hostname"), name);
    }
    assert!(run(&["--add-host", "other:192.0.2.7"], "/etc/hosts").contains("192.0.2.7\tother"));
}

#[test]
fn anonymous_volumes_go_with_the_last_container_that_has_them() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "donor", "-v", "/anon", "-v", "named:/named", "busybox"]).ok();
    daemon.hull(["create", "--name", "heir", "--volumes-from", "donor", "busybox"]).ok();
    daemon.hull(["rm", "donor"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).lines().len(), 2);
    daemon.hull(["rm", "-v", "heir"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "named");
}
