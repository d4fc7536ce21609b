//! The command line as engines use it: what runc prints, asks and leaves, here too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Bed, text, wait_for};

/// A container that sleeps, by the name `one`.
fn sleeper(limits: Value) -> Bed {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.config["linux"]["resources"] = limits;
    bed.write_config();
    bed.leave(&["run", "--detach", "one"]);
    bed
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn memory_limit(bed: &Bed) -> Value {
    parse(&bed.ok(&["events", "--stats", "one"]))["data"]["memory"]["usage"]["limit"].clone()
}

#[test]
fn the_version_and_the_help_are_printed() {
    let bed = Bed::new();
    let version = bed.ok(&["--version"]);
    assert!(version.starts_with("hull-runtime version "), "{version}");
    assert!(version.lines().any(|line| line.starts_with("spec: 1.")), "{version}");
    let help = bed.ok(&["--help"]);
    for command in ["checkpoint", "create", "events", "features", "ps", "restore", "update"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in {help}");
        assert!(bed.ok(&[command, "--help"]).starts_with(&format!("hull-runtime {command}: ")));
    }
    assert_eq!(bed.ok(&["help", "kill"]), bed.ok(&["kill", "--help"]));
}

#[test]
fn checkpoint_and_restore_say_what_they_cannot_do() {
    let bed = sleeper(json!({}));
    let refused = |args: &[&str]| {
        let output = bed.runtime(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let missing = refused(&["--criu", "/no/criu", "checkpoint", "--image-path", "images", "one"]);
    assert!(
        missing.contains("execute /no/criu: No such file") && missing.contains("package is criu"),
        "{missing}"
    );
    assert!(refused(&["--criu", "/no/criu", "checkpoint", "two"]).contains("container does not exist: two"));
    let none = refused(&["--criu", "/no/criu", "restore", "--image-path", "images", "two"]);
    assert!(none.contains("read images") && !bed.dir.join("images").exists(), "{none}");
    fs::create_dir(bed.dir.join("images")).unwrap();
    assert!(
        refused(&["--criu", "/no/criu", "restore", "--image-path", "images", "two"])
            .contains("package is criu")
    );
    for (args, word) in [
        (["checkpoint", "--lazy-pages", "one"], "--lazy-pages is not supported"),
        (["checkpoint", "--page-server=1.2.3.4:5", "one"], "--page-server is not supported"),
        (["checkpoint", "--manage-cgroups-mode=ignore", "one"], "ignore is not supported"),
        (["checkpoint", "--empty-ns=pid", "one"], "--empty-ns is for network only"),
        (["checkpoint", "--parent-path=/a", "one"], "--parent-path is relative"),
        (["restore", "--console-socket=/a", "two"], "--console-socket is for containers with a terminal"),
    ] {
        let said = refused(&args);
        assert!(said.contains(word), "{args:?}: {said}");
    }
    assert_eq!(parse(&bed.ok(&["state", "one"]))["status"], "running");
    assert_eq!(bed.ok(&["list", "-q"]), "one\n");
    bed.ok(&["delete", "--force", "one"]);
}

#[test]
fn errors_are_one_line_in_the_form_that_was_asked_for() {
    let bed = Bed::new();
    let plain = bed.runtime(&["--log", "log", "state", "none"]).output().unwrap();
    assert_eq!(text(&plain.stderr), "hull-runtime: container does not exist: none\n");
    let line = fs::read_to_string(bed.dir.join("log")).unwrap();
    assert!(line.ends_with("level=error msg=\"container does not exist: none\"\n"), "{line}");

    fs::remove_file(bed.dir.join("log")).unwrap();
    let logged = bed.runtime(&["--log", "log", "--log-format", "json", "state", "none"]).output().unwrap();
    assert_eq!((logged.status.code(), &logged.stderr), (Some(1), &plain.stderr));
    let line = parse(&fs::read_to_string(bed.dir.join("log")).unwrap());
    assert_eq!((&line["level"], &line["msg"]), (&json!("error"), &json!("container does not exist: none")));
    assert!(line["time"].as_str().unwrap().ends_with('Z'));

    let direct = bed.runtime(&["--log-format=json", "state", "none"]).output().unwrap();
    assert_eq!(parse(&text(&direct.stderr))["msg"], line["msg"]);
    let debug = bed.runtime(&["--debug", "state", "none"]).output().unwrap();
    assert!(text(&debug.stderr).contains("level=debug msg=\"state in "));
    let quiet = bed.runtime(&["--debug=false", "state", "none"]).output().unwrap();
    assert_eq!(quiet.stderr, plain.stderr);
}

#[test]
fn a_failed_create_leaves_nothing() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["no-such-program"]);
    bed.write_config();
    let failed =
        bed.runtime(&["--log", "log", "--log-format", "json", "create", "--pid-file", "pid", "one"]).output();
    assert_eq!(failed.unwrap().status.code(), Some(1));
    let line = parse(&fs::read_to_string(bed.dir.join("log")).unwrap());
    assert_eq!(line["msg"], r#"exec: "no-such-program": executable file not found in $PATH"#);
    assert_eq!(bed.ok(&["list", "-q"]), "");
    assert!(!bed.dir.join("pid").exists());
}

#[test]
fn the_state_is_that_of_the_specification() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.config["annotations"] = json!({ "org.example": "yes" });
    bed.write_config();
    bed.leave(&["create", "one"]);
    let state = parse(&bed.ok(&["state", "one"]));
    assert_eq!(state["annotations"], json!({ "org.example": "yes" }));
    assert_eq!(state["bundle"], json!(bed.dir));
    assert_eq!(state["rootfs"], json!(bed.rootfs()));
    let keys: Vec<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
    let known = ["annotations", "bundle", "created", "id", "ociVersion", "owner", "pid", "rootfs", "status"];
    assert_eq!(keys, known);
    let listed = parse(&bed.ok(&["list", "--format", "json"]));
    assert_eq!((&listed[0]["id"], &listed[0]["owner"]), (&json!("one"), &json!("root")));
    bed.ok(&["delete", "one"]);
}

#[test]
fn the_use_of_a_container_is_told() {
    let bed = sleeper(json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 7 } }));
    let stats = parse(&bed.ok(&["events", "--stats", "one"]));
    assert_eq!((&stats["type"], &stats["id"]), (&json!("stats"), &json!("one")));
    let data = &stats["data"];
    assert_eq!(data["memory"]["usage"]["limit"], json!(64 << 20));
    assert_eq!(data["pids"], json!({ "current": 1, "limit": 7 }));
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert!(!data["memory"]["raw"].as_object().unwrap().is_empty());
    assert!(!data["cpuset"]["cpus"].as_array().unwrap().is_empty());
    bed.ok(&["delete", "--force", "one"]);
    let gone = bed.runtime(&["events", "--stats", "one"]).output().unwrap();
    assert!(text(&gone.stderr).contains("container does not exist"));
}

#[test]
fn events_come_until_the_end() {
    let limit = 24 << 20;
    let bed = sleeper(json!({ "memory": { "limit": limit, "swap": limit } }));
    let mut events = bed.runtime(&["events", "--interval", "20ms", "one"]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines().map(|line| parse(&line.unwrap()));
    assert_eq!(lines.next().unwrap()["type"], "stats");
    // tail keeps what it may still have to print: of an endless line, everything.
    let killed = bed.runtime(&["exec", "one", "/bin/busybox", "tail", "/dev/zero"]).output().unwrap();
    assert_eq!(killed.status.code(), Some(137));
    let oom = lines.find(|event| event["type"] == "oom").unwrap();
    assert_eq!(oom, json!({ "type": "oom", "id": "one" }));
    bed.ok(&["kill", "one", "KILL"]);
    assert!(lines.all(|event| event["id"] == "one"));
    assert!(events.wait().unwrap().success());
    bed.ok(&["delete", "one"]);
}

#[test]
fn processes_are_listed() {
    let bed = sleeper(json!({}));
    let pid = parse(&bed.ok(&["state", "one"]))["pid"].clone();
    assert_eq!(parse(&bed.ok(&["ps", "--format", "json", "one"])), json!([pid]));
    let table = bed.ok(&["ps", "one"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("PID") && lines[1].ends_with("sleep 1000"), "{table}");
    let chosen = bed.ok(&["ps", "one", "-o", "pid,args"]);
    assert_eq!(chosen.lines().nth(1).unwrap().trim(), format!("{pid} sleep 1000"));
    bed.ok(&["delete", "--force", "one"]);
}

#[test]
fn limits_can_be_changed() {
    let bed = sleeper(json!({ "memory": { "limit": 64 << 20 } }));
    bed.ok(&["update", "--memory", "32m", "--pids-limit", "9", "--cpu-share", "512", "one"]);
    assert_eq!(memory_limit(&bed), json!(32 << 20));
    let pids = |bed: &Bed| parse(&bed.ok(&["events", "--stats", "one"]))["data"]["pids"]["limit"].clone();
    assert_eq!(pids(&bed), 9);

    let mut update = bed.runtime(&["update", "--resources", "-", "one"]);
    let mut update = update.stdin(Stdio::piped()).spawn().unwrap();
    let limits = json!({ "memory": { "limit": 48 << 20 }, "devices": [{ "allow": false, "access": "rwm" }] });
    update.stdin.take().unwrap().write_all(limits.to_string().as_bytes()).unwrap();
    assert!(update.wait().unwrap().success());
    assert_eq!((memory_limit(&bed), pids(&bed)), (json!(48 << 20), json!(9)));

    fs::write(bed.dir.join("limits"), r#"{ "pids": { "limit": 11 } }"#).unwrap();
    bed.ok(&["update", "-r", "limits", "one"]);
    assert_eq!((memory_limit(&bed), pids(&bed)), (json!(48 << 20), json!(11)));
    for wrong in [["--memory", "much"], ["--cpuset-cpus", "4095"], ["--l3-cache-schema", "x"]] {
        let refused = bed.runtime(&["update", wrong[0], wrong[1], "one"]).output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{wrong:?}");
    }
    bed.ok(&["delete", "--force", "one"]);
}

/// The runtime goes to the bundle, what it was told does not.
#[test]
fn paths_are_relative_to_the_caller() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    let elsewhere = bed.dir.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let runtime = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hull-runtime"));
        command.current_dir(&elsewhere).args(["--root", "root", "--log", "log"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
    };
    assert!(runtime(&["run", "-d", "--bundle", "..", "--pid-file", "pid", "one"]).success());
    assert!(!runtime(&["run", "-d", "--bundle", "..", "one"]).success());
    let mut names: Vec<_> =
        fs::read_dir(&elsewhere).unwrap().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["log", "pid", "root"]);
    assert!(runtime(&["delete", "--force", "one"]).success());
}

/// In a mount namespace without version 2, whose freezer lets nothing die.
#[test]
fn what_version_1_has_frozen_can_be_ended() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    let without = |args: &[&str]| {
        let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", script, "sh"]);
        let runtime = bed.runtime(args);
        command
            .arg(runtime.get_program())
            .args(runtime.get_args())
            .current_dir(&bed.dir)
            .stdin(Stdio::null());
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{args:?}");
    };
    without(&["run", "-d", "one"]);
    without(&["pause", "one"]);
    without(&["delete", "--force", "one"]);
    without(&["run", "-d", "two"]);
    without(&["pause", "two"]);
    without(&["kill", "two", "KILL"]);
    without(&["delete", "--force", "two"]);
}

/// Whoever stays with a container clears up at its end, while another is still busy with ending it.
#[test]
fn ends_that_meet_do_not_fail() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    for turn in 0..30 {
        let mut run = bed.runtime(&["run", "one"]).stdin(Stdio::null()).spawn().unwrap();
        wait_for("the container", || {
            let state = bed.runtime(&["state", "one"]).output().unwrap();
            text(&state.stdout).contains("running")
        });
        let all = ["kill", "--all", "one", "KILL"];
        let alone = ["kill", "one", "KILL"];
        bed.ok(if turn % 2 == 0 { &all } else { &alone });
        assert_eq!(run.wait().unwrap().code(), Some(137));
    }
}

/// Whatever is read and written on the way is the container's to pay for.
#[test]
fn half_a_mebibyte_is_enough() {
    let mut bed = Bed::new();
    // What lies in the page cache already has been paid for.
    fs::read(bed.rootfs().join("bin/busybox")).unwrap();
    bed.config["linux"]["resources"] = json!({ "memory": { "limit": 512 << 10, "swap": 512 << 10 } });
    assert_eq!(bed.shell("echo enough"), "enough\n");
}

#[test]
fn a_limit_that_the_kernel_has_given_up_is_ignored_with_a_word() {
    let mut bed = Bed::new();
    bed.config["linux"]["resources"] = json!({ "memory": { "kernel": 1 << 20, "useHierarchy": true } });
    let output = bed.run(&["true"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("warning: linux.resources.memory.kernel is ignored"));
}

/// An ordinary user, without cgroups, and root in a user namespace where nobody else is.
#[test]
fn an_ordinary_user_runs_containers() {
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt as _;
    const USER: u32 = 12345;
    let bed = Bed::new();
    let own = bed.dir.join("own");
    for path in ["", "rootfs", "rootfs/bin", "run"] {
        fs::create_dir_all(own.join(path)).unwrap();
        chown(own.join(path), Some(USER), Some(USER)).unwrap();
    }
    // He can write to it, so what he executes is a copy in memory.
    for (from, to) in
        [(env!("CARGO_BIN_EXE_hull-runtime"), "runtime"), ("/bin/busybox", "rootfs/bin/busybox")]
    {
        let copied = std::process::Command::new("cp").arg(from).arg(own.join(to)).status().unwrap();
        assert!(copied.success());
        chown(own.join(to), Some(USER), Some(USER)).unwrap();
    }
    let as_user = |args: &[&str]| {
        // Which also takes the groups of root from him.
        let mut command = std::process::Command::new(own.join("runtime"));
        command.uid(USER).gid(USER).args(args);
        command.env("XDG_RUNTIME_DIR", own.join("run")).current_dir(&own).stdin(Stdio::null());
        command
    };
    let ok = |args: &[&str]| {
        let output = as_user(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    ok(&["spec", "--rootless"]);
    let mut config = parse(&fs::read_to_string(own.join("config.json")).unwrap());
    let mut say = |args: &[&str], limits: Value| {
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        config["linux"]["resources"] = limits;
        fs::write(own.join("config.json"), config.to_string()).unwrap();
    };
    say(&["/bin/busybox", "sh", "-c", "busybox id -u; busybox cat /proc/self/uid_map"], json!({}));
    assert_eq!(ok(&["run", "one"]).split_whitespace().collect::<Vec<_>>(), ["0", "0", "12345", "1"]);
    say(&["/bin/busybox", "sleep", "1000"], json!({ "pids": { "limit": 9 } }));
    let refused = as_user(&["create", "two"]).output().unwrap();
    assert!(text(&refused.stderr).contains("limits need a cgroup, and this user may not make one"));
    say(&["/bin/busybox", "sleep", "1000"], json!({}));
    let status = as_user(&["run", "-d", "two"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success());
    assert!(own.join("run/hull-runtime/two").is_dir());
    assert_eq!(ok(&["exec", "two", "/bin/busybox", "id", "-u"]), "0\n");
    assert_eq!(ok(&["ps", "two"]).lines().count(), 2);
    ok(&["delete", "--force", "two"]);
    assert_eq!(ok(&["list", "-q"]), "");
}

/// Each option that is said to be known, on a mount of its own.
#[test]
fn the_features_are_there() {
    let mut bed = Bed::new();
    let features = parse(&bed.ok(&["features"]));
    let words = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mappable = bed.can_map_ids();
    let options = words(&features["mountOptions"]);
    let options: Vec<_> = options.iter().filter(|option| mappable || !option.ends_with("idmap")).collect();
    for (number, option) in options.iter().enumerate() {
        let target = format!("/dev/option-{number}");
        let maps = option.ends_with("idmap");
        let bind = maps || option.ends_with("bind") && !option.contains("un");
        let (kind, source) = if bind { ("bind", "rootfs") } else { ("tmpfs", "tmpfs") };
        let mut mount = json!({ "destination": target, "type": kind, "source": source, "options": [option] });
        if maps {
            let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
            (mount["uidMappings"], mount["gidMappings"]) = (map.clone(), map);
        }
        bed.mount(mount);
    }
    let linux = &features["linux"];
    let capabilities = words(&linux["capabilities"]);
    bed.config["process"]["capabilities"] = json!({ "bounding": capabilities });
    let namespaces: Vec<Value> = words(&linux["namespaces"])
        .iter()
        .filter(|kind| *kind != "user")
        .map(|kind| json!({ "type": kind }))
        .collect();
    bed.config["linux"]["namespaces"] = json!(namespaces);
    let seccomp = &linux["seccomp"];
    let arg = |op| json!({ "index": 0, "value": 99, "valueTwo": 98, "op": op });
    let conditions: Vec<Value> = words(&seccomp["operators"]).iter().map(arg).collect();
    let rule = |action| json!({ "names": ["vhangup"], "action": action, "args": conditions });
    let actions = words(&seccomp["actions"]);
    bed.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": seccomp["archs"],
        "flags": seccomp["supportedFlags"],
        "syscalls": actions.iter().filter(|action| *action != "SCMP_ACT_NOTIFY").map(rule).collect::<Vec<_>>(),
    });
    let mounts = bed.shell("mount | grep -c /dev/option-");
    assert_eq!(mounts.trim(), options.len().to_string());
    assert_eq!(features["ociVersionMin"], "1.0.0");
}

#[test]
fn a_container_has_a_session_keyring_of_its_own() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.config["linux"]["maskedPaths"] = json!([]);
    bed.write_config();
    // The kernel forgets a keyring some time after its last user, so each container here has a name of its own.
    let keyrings = |bed: &Bed, id: &str| {
        let keys = bed.ok(&["exec", id, "cat", "/proc/keys"]);
        keys.lines().filter(|line| line.contains(&format!("_ses.{id}:"))).count()
    };
    bed.leave(&["run", "--detach", "keyed"]);
    assert_eq!(keyrings(&bed, "keyed"), 1, "one for all its processes");
    bed.ok(&["delete", "--force", "keyed"]);
    bed.leave(&["run", "--detach", "--no-new-keyring", "unkeyed"]);
    assert_eq!(keyrings(&bed, "unkeyed"), 0);
    bed.ok(&["delete", "--force", "unkeyed"]);
}

#[test]
fn a_root_can_be_changed_without_pivot() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sh", "-c", "ls /bin/busybox; ls /etc"]);
    bed.write_config();
    assert_eq!(bed.ok(&["run", "--no-pivot", "one"]), "/bin/busybox\ngroup\npasswd\n");
}

#[test]
fn a_descriptor_of_the_process_is_handed_out() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    let path = bed.dir.join("pidfd");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bed.leave(&["create", "--pidfd-socket", path.to_str().unwrap(), "one"]);
    let (stream, _) = listener.accept().unwrap();
    let mut name = [0; 64];
    let (length, mut descriptors) = hull_sys::scm::receive(&stream, &mut name).unwrap();
    assert_eq!(&name[..length], b"one");
    bed.ok(&["start", "one"]);
    let pidfd = descriptors.pop().unwrap();
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    rustix::event::poll(&mut [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)], None)
        .unwrap();
    assert_eq!(parse(&bed.ok(&["state", "one"]))["status"], "stopped");
    bed.ok(&["delete", "one"]);
}

#[test]
fn listening_sockets_are_passed_on() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; cat <&3"]);
    bed.write_config();
    let script = format!(
        "export LISTEN_PID=$$ LISTEN_FDS=1; exec {} --root state run c 3</etc/hostname",
        env!("CARGO_BIN_EXE_hull-runtime")
    );
    let output =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(&bed.dir).output().unwrap();
    let host = fs::read_to_string("/etc/hostname").unwrap();
    assert_eq!(text(&output.stdout), format!("1 1\n{host}"), "{}", text(&output.stderr));
}
