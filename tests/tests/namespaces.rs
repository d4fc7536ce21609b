//! Namespaces that containers share, with each other and with the host.

use hull_testkit::Daemon;

/// What `/proc/1/ns` says of a namespace in a container.
fn namespace(daemon: &Daemon, container: &str, kind: &str) -> String {
    daemon.hull(["exec", container, "readlink", &format!("/proc/self/ns/{kind}")]).ok().to_owned()
}

fn own(kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a link");
    link.to_string_lossy().into_owned()
}

#[test]
fn memory_is_shared_by_who_offers_it() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["exec", "donor", "sh", "-c", "echo shared >/dev/shm/file"]).ok();
    daemon.hull(["run", "-d", "--name", "user", "--ipc", "container:donor", "busybox", "sleep", "1000"]).ok();
    assert_eq!(namespace(&daemon, "donor", "ipc"), namespace(&daemon, "user", "ipc"));
    assert_eq!(daemon.hull(["exec", "user", "cat", "/dev/shm/file"]).ok(), "shared");
    daemon.hull(["exec", "user", "sh", "-c", "echo back >/dev/shm/file"]).ok();
    assert_eq!(daemon.hull(["exec", "donor", "cat", "/dev/shm/file"]).ok(), "back");
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", "donor"]).ok().to_owned();
    let mode = daemon.hull(["inspect", "-f", "{{.HostConfig.IpcMode}}", "user"]);
    assert_eq!(mode.ok(), format!("container:{id}"));
    // Others can be looked into even when the donor is gone.
    daemon.hull(["rm", "-f", "donor"]).ok();
    assert_eq!(daemon.hull(["exec", "user", "cat", "/dev/shm/file"]).ok(), "back");
}

#[test]
fn private_memory_is_nobody_elses() {
    let daemon = Daemon::with_busybox();
    let id = daemon.hull(["run", "-d", "--name", "donor", "busybox", "sleep", "1000"]).ok().to_owned();
    let output = daemon.hull(["run", "--name", "user", "--ipc", "container:donor", "busybox", "true"]);
    output.complains(&format!(
        "failed to join IPC namespace: container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor \
         container)"
    ));
    daemon.hull(["kill", "donor"]).ok();
    daemon.hull(["wait", "donor"]).ok();
    daemon
        .hull(["start", "user"])
        .complains(&format!("failed to join IPC namespace: container {id} is not running"))
        .fails(1);
    let bare =
        daemon.hull(["run", "--rm", "--ipc", "none", "busybox", "grep", "-c", "/dev/shm", "/proc/mounts"]);
    assert_eq!(bare.stdout.trim(), "0");
}

#[test]
fn the_hosts_namespaces_are_had_by_name() {
    let daemon = Daemon::with_busybox();
    let flags = ["--ipc", "host", "--pid", "host", "--uts", "host", "--cgroupns", "host", "--userns", "host"];
    let all = [&["run", "-d", "--name", "open"], &flags[..], &["busybox", "sleep", "1000"]].concat();
    daemon.hull(all).ok();
    for kind in ["ipc", "pid", "uts", "cgroup", "user"] {
        assert_eq!(namespace(&daemon, "open", kind), own(kind), "{kind}");
    }
    let flags = ["--cgroupns", "private"];
    let all = [&["run", "-d", "--name", "closed"], &flags[..], &["busybox", "sleep", "1000"]].concat();
    daemon.hull(all).ok();
    for kind in ["ipc", "pid", "uts", "cgroup", "mnt", "net"] {
        assert_ne!(namespace(&daemon, "closed", kind), own(kind), "{kind}");
    }
}

#[test]
fn processes_are_seen_from_a_joined_namespace() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "one", "busybox", "sleep", "4321"]).ok();
    let flags = ["run", "--rm", "--init", "--pid", "container:one"];
    let all = [&flags[..], &["busybox", "sh", "-c", "ps; cat /proc/1/comm"]].concat();
    let seen = daemon.hull(all);
    seen.says("sleep 4321");
    assert_eq!(seen.lines().last(), Some(&"sleep"), "no init beside the one that is there: {seen:#?}");
    daemon.hull(["create", "--name", "two", "--pid", "container:one", "busybox", "true"]).ok();
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", "one"]).ok().to_owned();
    daemon.hull(["kill", "one"]).ok();
    daemon.hull(["wait", "one"]).ok();
    daemon
        .hull(["start", "two"])
        .complains(&format!("failed to join PID namespace: container {id} is not running"))
        .fails(1);
    assert_eq!(daemon.api("POST", "/containers/two/start", None).status, 500);
    let own = ["run", "--name", "me", "--network", "container:me", "busybox", "true"];
    daemon.docker(own).complains("cannot join own network namespace").fails(125);
}

#[test]
fn older_clients_get_the_hosts_cgroups_where_they_always_did() {
    let daemon = Daemon::start_with(&["--default-cgroupns-mode", "private"]);
    let archive = hull_testkit::images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    let v1 = daemon.api("GET", "/info", None).json()["CgroupVersion"] == "1";
    let mode = |version: &str| {
        let body = serde_json::json!({"Image": "busybox"});
        let made = daemon.api("POST", &format!("/{version}/containers/create"), Some(&body)).json();
        let id = made["Id"].as_str().expect("an id").to_owned();
        daemon.api("GET", &format!("/containers/{id}/json"), None).json()["HostConfig"]["CgroupnsMode"]
            .clone()
    };
    assert_eq!(mode("v1.40"), if v1 { "host" } else { "private" });
    assert_eq!(mode("v1.41"), "private");
}
