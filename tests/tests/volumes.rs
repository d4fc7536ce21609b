//! Volumes, binds and memory file systems.

use std::fs;

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::json;

#[test]
fn a_named_volume_outlives_its_containers() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept >/data/file"]).ok();
    assert_eq!(
        daemon
            .hull(["run", "--rm", "--mount", "source=data,target=/d,readonly", "busybox", "cat", "/d/file"])
            .ok(),
        "kept"
    );
    daemon
        .hull(["run", "--rm", "-v", "data:/d:ro", "busybox", "touch", "/d/x"])
        .complains("Read-only file system");
    daemon.hull(["create", "--name", "user", "-v", "data:/data", "busybox"]).ok();
    daemon.hull(["volume", "rm", "data"]).complains("volume is in use").fails(1);
    daemon.hull(["rm", "user"]).ok();
    daemon.hull(["volume", "rm", "data"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn an_empty_volume_gets_what_the_image_has_there() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--rm", "-v", "conf:/etc", "busybox", "grep", "-q", "root", "/etc/passwd"]).ok();
    daemon
        .hull([
            "run",
            "--rm",
            "--mount",
            "source=bare,target=/etc,volume-nocopy",
            "busybox",
            "test",
            "-e",
            "/etc/passwd",
        ])
        .fails(1);
}

#[test]
fn anonymous_volumes_go_with_rm_v() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--name", "box", "-v", "/scratch", "busybox", "touch", "/scratch/x"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).lines().len(), 1);
    daemon.hull(["rm", "-v", "box"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
    daemon.hull(["run", "--rm", "-v", "/scratch", "busybox", "true"]).ok();
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "", "--rm takes them along");
}

#[test]
fn binds_show_the_hosts_files() {
    let daemon = Daemon::with_busybox();
    let shared = daemon.dir().join("shared");
    fs::create_dir(&shared).expect("mkdir");
    fs::write(shared.join("in"), "from the host").expect("write");
    let bind = format!("{}:/mnt", shared.display());
    assert_eq!(
        daemon
            .hull(["run", "--rm", "-v", &bind, "busybox", "sh", "-c", "cat /mnt/in; echo back >/mnt/out"])
            .ok(),
        "from the host"
    );
    assert_eq!(fs::read_to_string(shared.join("out")).expect("written by the container"), "back\n");
    let file = format!("type=bind,source={}/in,target=/etc/passwd,readonly", shared.display());
    assert_eq!(
        daemon.hull(["run", "--rm", "--mount", &file, "busybox", "cat", "/etc/passwd"]).ok(),
        "from the host"
    );
    let missing = format!("{}/made:/mnt", daemon.dir().display());
    daemon.hull(["run", "--rm", "-v", &missing, "busybox", "true"]).ok();
    assert!(daemon.dir().join("made").is_dir(), "-v makes a missing source, as Docker does");
}

#[test]
fn a_mount_point_that_is_a_link_stays_in_the_container() {
    let daemon = Daemon::with_busybox();
    let trap = daemon.dir().join("trap");
    fs::create_dir(&trap).expect("mkdir");
    daemon
        .hull(["run", "--name", "evil", "busybox", "ln", "-s", trap.to_str().expect("utf-8"), "/link"])
        .ok();
    daemon.hull(["commit", "evil", "evil:1"]).ok();
    daemon.hull(["run", "--rm", "-v", "vol:/link/sub", "evil:1", "touch", "/link/sub/x"]).ok();
    assert_eq!(fs::read_dir(&trap).expect("the trap").count(), 0, "nothing was made on the host");
    daemon.hull(["rm", "evil"]).ok();
}

#[test]
fn a_tmpfs_is_fresh_and_bounded() {
    let daemon = Daemon::with_busybox();
    let output = daemon.hull([
        "run",
        "--rm",
        "--mount",
        "type=tmpfs,target=/t,tmpfs-size=1048576",
        "busybox",
        "sh",
        "-c",
        "df -k /t | tail -1 | awk '{print $2}'; dd if=/dev/zero of=/t/x bs=1M count=2",
    ]);
    assert_eq!(output.lines()[0], "1024");
    output.complains("No space left on device");
}

#[test]
fn a_volume_is_what_its_options_say() {
    let daemon = Daemon::with_busybox();
    let host = daemon.dir().join("shared");
    std::fs::create_dir(&host).expect("mkdir");
    let device = format!("device={}", host.display());
    let make = ["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "elsewhere"];
    daemon.hull(make).ok();
    daemon
        .hull(["run", "--rm", "-v", "elsewhere:/data", "busybox", "sh", "-c", "echo text >/data/file"])
        .ok();
    assert_eq!(std::fs::read_to_string(host.join("file")).expect("it is there"), "text\n");
    daemon.hull(["run", "--rm", "-v", "elsewhere:/data:ro", "busybox", "touch", "/data/x"]).fails(1);
    daemon.hull(["create", "--name", "idle", "-v", "elsewhere:/data", "busybox"]).ok();
    let copy = daemon.dir().join("copy");
    daemon.hull(["cp", "idle:/data/file", copy.to_str().expect("utf-8")]).ok();
    assert_eq!(std::fs::read_to_string(&copy).expect("copied"), "text\n");
    daemon.hull(["rm", "idle"]).ok();
    daemon.hull(["volume", "rm", "elsewhere"]).ok();
    assert!(host.join("file").exists(), "what is elsewhere stays");

    let make =
        ["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,mode=700", "quick"];
    daemon.hull(make).ok();
    let script = "stat -c %a /data; df -k /data | tail -1 | awk '{print $2}'";
    let seen = daemon.hull(["run", "--rm", "-v", "quick:/data", "busybox", "sh", "-c", script]);
    assert_eq!(seen.lines(), ["700", "1024"]);
    daemon.hull(["volume", "create", "-o", "frob=1"]).complains("invalid option: \"frob\"").fails(1);
}

#[test]
fn a_volume_in_memory_is_one_for_all_that_run() {
    let mut daemon = Daemon::with_busybox();
    daemon
        .hull(["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "quick"])
        .ok();
    let run = |daemon: &Daemon, name: &str| {
        daemon.hull(["run", "-d", "--name", name, "-v", "quick:/data", "busybox", "sleep", "1000"]).ok();
    };
    run(&daemon, "first");
    daemon.hull(["exec", "first", "sh", "-c", "echo shared >/data/file"]).ok();
    run(&daemon, "second");
    assert_eq!(daemon.hull(["exec", "second", "cat", "/data/file"]).ok(), "shared");
    daemon.hull(["run", "--rm", "-v", "quick:/data:ro", "busybox", "touch", "/data/x"]).fails(1);
    // Another daemon finds it at the supervisors.
    daemon.kill9();
    daemon.restart();
    run(&daemon, "third");
    assert_eq!(daemon.hull(["exec", "third", "cat", "/data/file"]).ok(), "shared");
    daemon.hull(["rm", "-f", "first", "second"]).ok();
    daemon.restart();
    run(&daemon, "fourth");
    assert_eq!(daemon.hull(["exec", "fourth", "cat", "/data/file"]).ok(), "shared");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains("size=1024k"), "nothing of it is mounted on the host: {mounts}");
    // What is in memory goes with its last container.
    daemon.hull(["rm", "-f", "third", "fourth"]).ok();
    daemon.hull(["run", "--rm", "-v", "quick:/data", "busybox", "test", "-e", "/data/file"]).fails(1);
    daemon.hull(["volume", "rm", "quick"]).ok();
}

#[test]
fn what_a_volume_cannot_mount_is_said_in_dockers_words() {
    let daemon = Daemon::with_busybox();
    let create = |name: &str, options: &[&str]| {
        let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        daemon.hull([&["volume", "create"][..], &options, &[name]].concat()).ok();
    };
    let mountpoint =
        |name: &str| daemon.hull(["volume", "inspect", "-f", "{{.Mountpoint}}", name]).ok().to_owned();
    create("odd", &["type=nosuchfs", "device=there", "o=password=secret,x=1"]);
    let odd = daemon.hull(["create", "-v", "odd:/etc", "busybox"]);
    odd.complains(&format!(
        "failed to populate volume: error while mounting volume '{place}': failed to mount local volume: mount \
         there:{place}, data: password=********,x=1: no such device",
        place = mountpoint("odd")
    ));
    create("far", &["type=none", "o=bind", "device=/nowhere/at/all"]);
    daemon
        .hull(["create", "--name", "late", "--mount", "source=far,target=/d,volume-nocopy", "busybox"])
        .ok();
    daemon.hull(["start", "late"]).complains(&format!(
        "error while mounting volume '{place}': failed to mount local volume: mount /nowhere/at/all:{place}, flags: \
         0x1000: no such file or directory",
        place = mountpoint("far")
    ));
    create("none", &["type=tmpfs", "device="]);
    daemon.hull(["run", "-v", "none:/etc", "busybox"]).complains("missing device in volume options");
    create("lost", &["type=nfs", "device=:/export", "o=addr=no-such-host.invalid"]);
    daemon
        .hull(["create", "-v", "lost:/etc", "busybox"])
        .complains("error resolving passed in network volume address: lookup no-such-host.invalid");
    assert_eq!(daemon.hull(["ps", "-aq"]).lines().len(), 1, "a create that failed leaves no container");
}

#[test]
fn a_volume_has_one_name_and_one_driver() {
    let daemon = Daemon::start();
    let create = |body: serde_json::Value| daemon.api("POST", "/v1.44/volumes/create", Some(&body));
    let made = create(json!({"Name": "data", "Labels": {"a": "b"}}));
    assert_eq!((made.status, made.json()["Scope"].as_str()), (201, Some("local")));
    // As Docker does: the one of that name, whatever else is asked for.
    let again = create(json!({"Name": "data", "DriverOpts": {"frob": "1"}, "Labels": {"c": "d"}}));
    assert_eq!((again.status, &again.json()["Labels"]), (201, &json!({"a": "b"})));
    let refused = |body: serde_json::Value, status: u16, message: &str| {
        let answer = create(body);
        assert_eq!((answer.status, answer.message().as_str()), (status, message));
    };
    refused(
        json!({"Name": "x"}),
        400,
        "create x: volume name is too short, names should be at least two alphanumeric characters",
    );
    refused(
        json!({"Name": "a/b"}),
        400,
        "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" \
         are allowed. If you intended to pass a host directory, use absolute path",
    );
    refused(json!({"Name": "aa", "DriverOpts": {"x": "1"}}), 400, "create aa: invalid option: \"x\"");
    let missing = "error looking up volume plugin frob: plugin \"frob\" not found";
    // It is waited for, whoever has the name by now.
    std::thread::scope(|scope| {
        for name in ["aa", "data"] {
            scope.spawn(move || {
                refused(json!({"Name": name, "Driver": "frob"}), 404, &format!("create {name}: {missing}"));
            });
        }
    });
    let put = daemon.api("PUT", "/v1.44/volumes/data?version=1", Some(&json!({})));
    let message = "volume update only valid for cluster volumes, but swarm is unavailable";
    assert_eq!((put.status, put.message().as_str()), (503, message));
    let cluster = create(json!({"Name": "csi", "ClusterVolumeSpec": {}}));
    assert_eq!(cluster.status, 503, "{}", cluster.message());
    assert!(daemon.api("GET", "/volumes/csi", None).message().ends_with("get csi: no such volume"));
}

#[test]
fn lists_and_prunes_take_dockers_filters() {
    let daemon = Daemon::with_busybox();
    for name in ["one", "two", "three"] {
        daemon.hull(["volume", "create", "--label", &format!("n={name}"), name]).ok();
    }
    daemon.hull(["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "elsewhere"]).ok();
    let anonymous = daemon.hull(["volume", "create"]).ok().to_owned();
    let labels = daemon.api("GET", &format!("/volumes/{anonymous}"), None).json()["Labels"].clone();
    assert_eq!(labels, json!({"com.docker.volume.anonymous": ""}));
    daemon.hull(["create", "--name", "user", "-v", "one:/a", "-v", "/b", "busybox"]).ok();
    let quoted = |filters: &str| filters.replace('"', "%22").replace('^', "%5E");
    let list = |filters: &str| -> Vec<String> {
        let answer = daemon.api("GET", &format!("/volumes?filters={}", quoted(filters)), None).json();
        let volumes = answer["Volumes"].as_array().expect("a list").iter();
        volumes.map(|volume| volume["Name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(list(r#"{"name":["^t"]}"#), ["three", "two"]);
    assert_eq!(list(r#"{"label":["n=one"]}"#), ["one"]);
    assert_eq!(list(r#"{"dangling":["false"]}"#).len(), 2);
    assert_eq!(list(r#"{"driver":["other"]}"#), Vec::<String>::new());
    let odd = daemon.api("GET", "/volumes?filters={%22colour%22:[%22red%22]}", None);
    assert_eq!((odd.status, odd.message().as_str()), (400, "invalid filter 'colour'"));

    let prune = |query: &str| daemon.api("POST", &format!("/v1.44/volumes/prune{}", quoted(query)), None);
    let odd = prune(r#"?filters={"all":["maybe"]}"#);
    let message = "invalid filter 'all': strconv.ParseBool: parsing \"maybe\": invalid syntax";
    assert_eq!((odd.status, odd.message().as_str()), (400, message));
    assert_eq!(prune("").json()["VolumesDeleted"], json!([anonymous]));
    assert_eq!(
        prune(r#"?filters={"all":["1"],"label!":["n=two"]}"#).json()["VolumesDeleted"],
        json!(["three"])
    );
    let old = daemon.api("POST", "/v1.41/volumes/prune", None);
    assert_eq!(old.json()["VolumesDeleted"], json!(["two"]), "older clients mean all");
    assert_eq!(list("").len(), 3, "what is in use, and what is elsewhere, stays");
    let used = daemon.api("DELETE", "/volumes/one", None);
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", "user"]).ok().to_owned();
    assert_eq!((used.status, used.message()), (409, format!("remove one: volume is in use - [{id}]")));
    let usage = daemon.api("GET", "/system/df?type=volume", None).json();
    let usage = usage["Volumes"].as_array().expect("a list");
    assert_eq!(usage.len(), 2, "what is elsewhere uses nothing here: {usage:?}");
    let one = usage.iter().find(|volume| volume["Name"] == "one").expect("it is there");
    assert_eq!(one["UsageData"]["RefCount"], 1);
    daemon.hull(["rm", "-v", "user"]).ok();
    assert_eq!(list(""), ["elsewhere", "one"]);
}

#[test]
fn owners_and_modes_come_along_into_a_new_volume() {
    let daemon = Daemon::with_busybox();
    let script = "mkdir -p /srv/own/deep && chown 123:45 /srv/own && chmod 1750 /srv/own && echo x >/srv/own/deep/file";
    daemon.hull(["run", "--name", "maker", "busybox", "sh", "-c", script]).ok();
    daemon.hull(["commit", "maker", "owned:1"]).ok();
    daemon.hull(["run", "--rm", "-v", "fresh:/srv/own", "owned:1", "true"]).ok();
    let look = [
        "run",
        "--rm",
        "-v",
        "fresh:/data",
        "busybox",
        "sh",
        "-c",
        "stat -c '%u:%g %a' /data; cat /data/deep/file",
    ];
    assert_eq!(daemon.hull(look).lines(), ["123:45 1750", "x"]);
    daemon.hull(["run", "--rm", "-v", "fresh:/etc", "busybox", "test", "-e", "/etc/passwd"]).fails(1);
    daemon.hull(["rm", "maker"]).ok();
}

#[test]
fn a_part_of_a_volume_that_is_a_file_system() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "quick"]).ok();
    let script = "mkdir /data/part; echo in >/data/part/file; ln -s /etc /data/out; sleep 1000";
    daemon.hull(["run", "-d", "--name=holder", "-v", "quick:/data", "busybox", "sh", "-c", script]).ok();
    let part = |path: &str| format!("type=volume,source=quick,target=/p,volume-subpath={path}");
    let run = |path: &str, command: &[&str]| {
        daemon.hull([&["run", "--rm", "--mount", &part(path), "busybox"], command].concat())
    };
    assert!(eventually(PATIENCE, || run("part", &["cat", "/p/file"]).stdout == "in\n"));
    assert_eq!(run("part/file", &["cat", "/p"]).ok(), "in", "a part may be a file");
    run("part", &["touch", "/p/more"]).ok();
    daemon.hull(["exec", "holder", "test", "-e", "/data/part/more"]).ok();
    run("nope", &["true"]).complains("nope: no such file or directory").fails(127);
    run("out", &["true"]).complains("path concatenation escapes the base directory").fails(125);
}

#[test]
fn a_part_of_a_volume_that_is_a_directory_elsewhere() {
    let daemon = Daemon::with_busybox();
    let host = daemon.dir().join("elsewhere");
    fs::create_dir_all(host.join("part")).expect("mkdir");
    fs::write(host.join("part/file"), "in\n").expect("write");
    let device = format!("device={}", host.display());
    daemon.hull(["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "bound"]).ok();
    let mount = "type=volume,source=bound,target=/p,volume-subpath=part";
    assert_eq!(daemon.hull(["run", "--rm", "--mount", mount, "busybox", "cat", "/p/file"]).ok(), "in");
    daemon.hull(["volume", "rm", "bound"]).ok();
    fs::remove_dir_all(host).expect("remove");
}

#[test]
fn a_volume_shows_the_options_that_it_was_given() {
    let daemon = Daemon::start();
    let create = |body: serde_json::Value| daemon.api("POST", "/volumes/create", Some(&body)).json();
    let empty = create(serde_json::json!({"Name": "empty", "DriverOpts": {}, "Labels": {}}));
    assert_eq!((&empty["Options"], &empty["Labels"]), (&serde_json::json!({}), &serde_json::json!({})));
    let none = create(serde_json::json!({"Name": "none", "Labels": {"x": null}}));
    assert_eq!(
        (&none["Options"], &none["Labels"]),
        (&serde_json::Value::Null, &serde_json::json!({"x": ""}))
    );
    let all = daemon.api("GET", "/volumes?filters=%7B%22name%22%3A%5B%5D%7D", None).json();
    assert_eq!(all["Volumes"].as_array().map(Vec::len), Some(2), "a filter without values filters nothing");
    assert_eq!(daemon.api("GET", "/volumes/", None).message(), "get: no such volume");
}
