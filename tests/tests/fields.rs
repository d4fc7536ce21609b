//! Every field of a container: what is refused in which words, and what inspect shows again.

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::{Value, json};

/// Asks for a container with a changed configuration; the status and the message, and nothing is left.
fn refused(daemon: &Daemon, changes: &Value, host: &Value) -> (u16, String) {
    let mut body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host});
    for (key, value) in changes.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    let answer = daemon.api("POST", "/containers/create", Some(&body));
    (answer.status, answer.message())
}

/// Makes a container; its id and the warnings.
fn create(daemon: &Daemon, host: Value) -> (String, Vec<String>) {
    let body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": host});
    let answer = daemon.api("POST", "/containers/create", Some(&body));
    assert_eq!(answer.status, 201, "{body}: {}", answer.message());
    let warnings = answer.json()["Warnings"].clone();
    let id = answer.json()["Id"].as_str().unwrap_or_default().to_owned();
    (id, serde_json::from_value(warnings).expect("a list"))
}

fn inspect(daemon: &Daemon, id: &str) -> Value {
    daemon.api("GET", &format!("/containers/{id}/json"), None).json()
}

#[test]
fn what_does_not_go_together_is_refused_in_dockers_words() {
    let daemon = Daemon::with_busybox();
    let none = json!({});
    let cases = [
        (json!({"Hostname": "two words"}), none.clone(), "invalid hostname: two words"),
        (
            json!({"Hostname": "x"}),
            json!({"UTSMode": "host"}),
            "conflicting options: hostname and the UTS mode",
        ),
        (
            json!({"Hostname": "x"}),
            json!({"NetworkMode": "container:a"}),
            "conflicting options: hostname and the network mode",
        ),
        (
            none.clone(),
            json!({"NetworkMode": "container:"}),
            "invalid network mode: invalid container format container:<name|id>",
        ),
        (
            none.clone(),
            json!({"NetworkMode": "container:a", "Dns": ["1.1.1.1"]}),
            "conflicting options: dns and the network mode",
        ),
        (
            none.clone(),
            json!({"NetworkMode": "host", "Links": ["a:b"]}),
            "conflicting options: host type networking can't be used with links. This would result in undefined \
             behavior",
        ),
        (none.clone(), json!({"PidMode": "frob"}), "invalid PID mode: frob"),
        (none.clone(), json!({"IpcMode": "frob"}), "invalid IPC mode: frob"),
        (none.clone(), json!({"UTSMode": "frob"}), "invalid UTS mode: frob"),
        (none.clone(), json!({"CgroupnsMode": "frob"}), "invalid cgroup namespace mode: frob"),
        (none.clone(), json!({"IpcMode": "container:nosuch"}), "No such container: nosuch"),
        (
            none.clone(),
            json!({"Isolation": "hyperv"}),
            "invalid isolation (hyperv): linux only supports 'default'",
        ),
        (
            none.clone(),
            json!({"IOMaximumIOps": 5}),
            "invalid option: QoS maximum IOPs configuration is not supported on linux",
        ),
        (none.clone(), json!({"Runtime": "frob"}), "unknown or invalid runtime name: frob"),
        (none.clone(), json!({"CpusetCpus": "a"}), "Invalid value a for cpuset cpus: invalid format: a"),
        (
            none.clone(),
            json!({"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}),
            "invalid port specification: \"x\"",
        ),
        (
            none.clone(),
            json!({"Annotations": {"": "x"}}),
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ),
        (none.clone(), json!({"VolumesFrom": [""]}), "volumes-from specification cannot be an empty string"),
        (none.clone(), json!({"VolumesFrom": ["nosuch"]}), "No such container: nosuch"),
        (none.clone(), json!({"SecurityOpt": ["frob=1"]}), "invalid --security-opt 2: \"frob=1\""),
        (none, json!({"Binds": ["/a:/b:ro,rw"]}), "invalid mode: ro,rw"),
    ];
    for (config, host, text) in cases {
        assert_eq!(refused(&daemon, &config, &host), (400, text.to_owned()), "{config} {host}");
    }
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "");
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn a_request_without_a_configuration_is_none() {
    let daemon = Daemon::start();
    for body in [json!(null), json!({}), json!({"HostConfig": {}})] {
        let answer = daemon.api("POST", "/containers/create", Some(&body));
        let text = "config cannot be empty in order to create a container".to_owned();
        assert_eq!((answer.status, answer.message()), (400, text), "{body}");
    }
}

#[test]
fn inspect_tells_null_from_nothing() {
    let daemon = Daemon::with_busybox();
    let (id, warnings) = create(&daemon, json!({}));
    assert!(warnings.is_empty(), "{warnings:?}");
    let shown = inspect(&daemon, &id);
    let host = &shown["HostConfig"];
    for field in
        ["Dns", "DnsOptions", "DnsSearch", "Devices", "BlkioWeightDevice", "BlkioDeviceReadBps", "Binds"]
    {
        assert_eq!(host[field], json!(null), "{field}");
    }
    assert_eq!(host["NetworkMode"], "bridge");
    assert_eq!(host["RestartPolicy"], json!({"Name": "no", "MaximumRetryCount": 0}));
    assert_eq!(host["IpcMode"], "private");
    assert!(host["MaskedPaths"].as_array().expect("a list").contains(&json!("/proc/kcore")));
    assert_eq!(
        host["ReadonlyPaths"],
        json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"])
    );
    for path in ["ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"] {
        assert_eq!(shown[path], "", "{path}");
    }
    let given = json!({
        "Dns": [], "Devices": [], "BlkioDeviceReadBps": [], "MaskedPaths": [], "Privileged": true, "PidsLimit": -1,
        "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["a.b/c=d"]}],
    });
    let (id, _) = create(&daemon, given);
    let host = &inspect(&daemon, &id)["HostConfig"];
    for field in ["Dns", "Devices", "BlkioDeviceReadBps", "MaskedPaths"] {
        assert_eq!(host[field], json!([]), "{field}");
    }
    assert_eq!((&host["ReadonlyPaths"], &host["PidsLimit"]), (&json!(null), &json!(null)));
    assert_eq!(host["SecurityOpt"], json!(["label=disable"]));
    assert_eq!(host["DeviceRequests"][0]["Capabilities"], json!(null));
}

#[test]
fn versions_mean_different_things() {
    let daemon = Daemon::with_busybox();
    let create = |version: &str, host: Value| {
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host});
        daemon.api("POST", &format!("/v{version}/containers/create"), Some(&body))
    };
    let old = create("1.39", json!({})).json()["Id"].as_str().unwrap_or_default().to_owned();
    assert_eq!(inspect(&daemon, &old)["HostConfig"]["IpcMode"], "shareable");
    let part = json!({"Mounts": [
        {"Type": "volume", "Source": "data", "Target": "/x", "VolumeOptions": {"Subpath": "y"}}
    ]});
    assert_eq!(create("1.44", part).message(), "VolumeOptions.Subpath needs API v1.45 or newer");
    let mac = json!({"Image": "busybox", "Cmd": ["true"], "MacAddress": "02:00:00:00:00:09"});
    let answer = daemon.api("POST", "/v1.44/containers/create", Some(&mac)).json();
    assert!(
        answer["Warnings"][0].as_str().expect("a warning").contains("MacAddress field is now deprecated")
    );
    let shown = inspect(&daemon, answer["Id"].as_str().expect("an id"));
    assert_eq!(shown["NetworkSettings"]["Networks"]["bridge"]["MacAddress"], "02:00:00:00:00:09");
}

#[test]
fn updates_that_contradict_are_conflicts() {
    let daemon = Daemon::with_busybox();
    let (id, _) = create(&daemon, json!({"CpuQuota": 50_000, "Memory": 64 << 20, "AutoRemove": true}));
    let update = |body: Value| {
        let answer = daemon.api("POST", &format!("/containers/{id}/update"), Some(&body));
        (answer.status, answer.message())
    };
    let conflict = |text: &str| (409, format!("Cannot update container {id}: {text}"));
    assert_eq!(
        update(json!({"NanoCpus": 500_000_000})),
        conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
    );
    assert_eq!(
        update(json!({"Memory": 512 << 20})),
        conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    );
    assert_eq!(
        update(json!({"RestartPolicy": {"Name": "always"}})),
        conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
    );
    assert_eq!(update(json!({"Memory": 5})), (400, "Minimum memory limit allowed is 6MB".to_owned()));
    let answer = daemon.api("POST", &format!("/containers/{id}/update"), Some(&json!({"Memory": 32 << 20})));
    assert_eq!((answer.status, answer.json()), (200, json!({"Warnings": null})));
    let resources = &inspect(&daemon, &id)["HostConfig"];
    assert_eq!((&resources["Memory"], &resources["MemorySwap"]), (&json!(32 << 20), &json!(128 << 20)));
}

#[test]
fn names_are_checked_as_they_came() {
    let daemon = Daemon::with_busybox();
    let body = json!({"Image": "busybox", "Cmd": ["true"]});
    let create = |name: &str| daemon.api("POST", &format!("/containers/create?name={name}"), Some(&body));
    assert_eq!(create("/one").status, 201);
    let twice = create("//two");
    assert_eq!(twice.status, 400);
    assert_eq!(twice.message(), "Invalid container name (//two), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    assert_eq!(daemon.api("POST", "/containers/create?platform=frob", Some(&body)).status, 400);
}

#[test]
fn what_is_hidden_and_what_is_writable_is_the_users_choice() {
    let daemon = Daemon::with_busybox();
    let inside = |host: Value, script: &str| {
        let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host});
        let answer = daemon.api("POST", "/containers/create", Some(&body)).json();
        let id = answer["Id"].as_str().expect("an id").to_owned();
        daemon.hull(["start", "-a", &id]).stdout.trim().to_owned()
    };
    let mounts = "grep -c ' /proc/keys ' /proc/self/mountinfo";
    assert_eq!(inside(json!({}), mounts), "1");
    assert_eq!(inside(json!({"MaskedPaths": []}), mounts), "0");
    assert_eq!(inside(json!({"SecurityOpt": ["systempaths=unconfined"]}), mounts), "0");
    let read_only =
        "grep -o ' /proc/sys ro' /proc/self/mountinfo; grep -o ' /etc/motd ro' /proc/self/mountinfo";
    assert_eq!(inside(json!({}), read_only), "/proc/sys ro");
    assert_eq!(inside(json!({"ReadonlyPaths": []}), read_only), "");
    let cgroups = "awk '$5 ~ \"^/sys/fs/cgroup\" && $6 !~ /^rw/' /proc/self/mountinfo | wc -l";
    assert_ne!(inside(json!({}), cgroups), "0");
    assert_eq!(inside(json!({"SecurityOpt": ["writable-cgroups=true"]}), cgroups), "0");
}

#[test]
fn new_files_lack_the_permissions_of_the_umask() {
    let daemon = Daemon::with_busybox();
    let check = ["--health-cmd", "umask > /tmp/probe", "--health-interval", "100ms"];
    let run = ["run", "-d", "--name", "box", "--user", "1000", "--umask", "0037"];
    let script = "umask; mkdir /tmp/directory; sleep 1000";
    daemon.hull(run.into_iter().chain(check).chain(["busybox", "sh", "-c", script])).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "box"]).stdout == "0037\n"));
    assert_eq!(daemon.hull(["exec", "--user", "0", "box", "sh", "-c", "umask"]).ok(), "0037");
    assert!(eventually(PATIENCE, || daemon.hull(["exec", "box", "cat", "/tmp/probe"]).stdout == "0037\n"));
    assert_eq!(inspect(&daemon, "box")["HostConfig"]["Umask"], 0o37);
    let old = daemon.api("GET", "/v1.55/containers/box/json", None).json();
    assert_eq!(old["HostConfig"].get("Umask"), None);
    assert_eq!(daemon.hull(["run", "--rm", "busybox", "sh", "-c", "umask"]).ok(), "0022");
    let (status, message) = refused(&daemon, &json!({}), &json!({ "Umask": 0o1000 }));
    assert_eq!((status, message.starts_with("invalid umask 01000")), (400, true), "{message}");
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Umask": 0o1000}});
    assert_eq!(daemon.api("POST", "/v1.55/containers/create", Some(&body)).status, 201);
    let failed = daemon.hull(["run", "--rm", "--umask", "0800", "busybox", "true"]);
    assert!(failed.stderr.contains("invalid umask: 0800"), "{}", failed.stderr);
}

#[test]
fn what_the_kernel_does_not_have_is_said() {
    let daemon = Daemon::with_busybox();
    let (id, warnings) = create(&daemon, json!({"CpuPercent": 5, "SecurityOpt": ["apparmor=mine"]}));
    assert!(warnings.contains(&"linux does not support CPU percent. Percent discarded.".to_owned()));
    assert_eq!(inspect(&daemon, &id)["AppArmorProfile"], "mine");
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        let text = "Your kernel does not support AppArmor. AppArmor profile discarded.";
        assert!(warnings.iter().any(|warning| warning == text), "{warnings:?}");
        daemon.hull(["start", &id]).ok();
    }
    let (_, warnings) =
        create(&daemon, json!({"NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostPort": "80"}]}}));
    assert_eq!(warnings, ["Published ports are discarded when using host network mode"]);
}

#[test]
fn exposed_ports_are_shown_as_they_came() {
    let daemon = Daemon::with_busybox();
    let ports = json!({ "8080": {}, "8081/tcp": {}, "53/udp": {} });
    let host = json!({ "PortBindings": { "8080/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "0" }] } });
    let wish =
        json!({ "Image": "busybox", "Cmd": ["sleep", "1000"], "ExposedPorts": ports, "HostConfig": host });
    assert_eq!(daemon.api("POST", "/containers/create?name=box", Some(&wish)).status, 201);
    daemon.hull(["start", "box"]).ok();
    let shown = inspect(&daemon, "box");
    assert_eq!(shown["Config"]["ExposedPorts"], ports);
    let published = shown["NetworkSettings"]["Ports"].as_object().expect("ports");
    assert_eq!(published.keys().collect::<Vec<_>>(), ["53/udp", "8080/tcp", "8081/tcp"]);
    assert_eq!(published["8080/tcp"][0]["HostIp"], "127.0.0.1");
}

#[test]
fn a_container_may_do_without_a_network() {
    let daemon = Daemon::with_busybox();
    let wish = json!({ "Image": "busybox", "Cmd": ["sleep", "1000"], "NetworkDisabled": true });
    assert_eq!(daemon.api("POST", "/containers/create?name=box", Some(&wish)).status, 201);
    daemon.hull(["start", "box"]).ok();
    assert_eq!(daemon.hull(["exec", "box", "ls", "/sys/class/net"]).ok(), "lo");
    let found = daemon.api("GET", "/containers/box/json", None).json();
    assert_eq!(found["NetworkSettings"]["Networks"], json!({}));
    let stats = daemon.api("GET", "/containers/box/stats?stream=0", None).json();
    assert_eq!(stats.get("networks"), None);
}

#[test]
fn volumes_that_were_asked_for_are_shown_with_a_mode() {
    let daemon = Daemon::with_busybox();
    let mode = |wish: Value| {
        let id = daemon.api("POST", "/containers/create", Some(&wish)).json()["Id"].clone();
        let path = format!("/containers/{}/json", id.as_str().expect("an id"));
        daemon.api("GET", &path, None).json()["Mounts"][0]["Mode"].clone()
    };
    let host = |host: Value| json!({ "Image": "busybox", "HostConfig": host });
    assert_eq!(mode(host(json!({ "Mounts": [{ "Type": "volume", "Target": "/x" }] }))), "z");
    assert_eq!(mode(host(json!({ "Binds": ["some:/x"] }))), "z");
    assert_eq!(mode(json!({ "Image": "busybox", "Volumes": { "/x": {} } })), "");
}
