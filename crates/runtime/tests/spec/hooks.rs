//! config.md, "POSIX-platform Hooks", and the order of runtime.md, "Lifecycle".

use std::fs;

use serde_json::{Value, json};

use crate::support::{Bed, other_runtime, runtime_is, text};

/// A hook that is a script of the host's shell.
fn shell(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] })
}

/// A bed whose hooks write to `log` in its directory, each its name and what `script` prints.
fn logging(script: &str) -> Bed {
    let mut bed = Bed::new();
    let log = bed.dir.join("log");
    for moment in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        bed.config["hooks"][moment] =
            json!([shell(&format!("(echo -n '{moment} '; {script}) >> {}", log.display()))]);
    }
    bed
}

fn log(bed: &Bed) -> String {
    fs::read_to_string(bed.dir.join("log")).unwrap_or_default()
}

#[test]
fn hooks_run_in_the_order_of_the_lifecycle() {
    let mut bed = logging("echo");
    bed.config["process"]["args"] = json!(["true"]);
    bed.write_config();
    bed.leave(&["create", "one"]);
    // runc 1.1 runs its poststart hooks here already.
    assert!(log(&bed) == "prestart \ncreateRuntime \ncreateContainer \n" || runtime_is(&["runc"]));
    bed.ok(&["start", "one"]);
    assert_eq!(log(&bed), "prestart \ncreateRuntime \ncreateContainer \npoststart \n");
    bed.ok(&["delete", "--force", "one"]);
    assert_eq!(log(&bed), "prestart \ncreateRuntime \ncreateContainer \npoststart \npoststop \n");
    // By `run` they are the same.
    fs::remove_file(bed.dir.join("log")).unwrap();
    bed.run(&["true"]);
    assert_eq!(log(&bed), "prestart \ncreateRuntime \ncreateContainer \npoststart \npoststop \n");
}

#[test]
fn hooks_read_the_state() {
    let mut bed = logging("cat; echo");
    bed.config["annotations"] = json!({ "org.example.key": "value" });
    bed.config["hooks"]["createRuntime"][0]["env"] = json!(["PATH=/bin:/usr/bin", "A=b c"]);
    bed.run(&["true"]);
    let mut statuses = Vec::new();
    for line in log(&bed).lines() {
        let (moment, state) = line.split_once(' ').unwrap();
        let state: Value = serde_json::from_str(state).unwrap();
        assert_eq!(state["id"], "c");
        assert_eq!(state["bundle"], bed.dir.canonicalize().unwrap().to_str().unwrap());
        assert_eq!(state["annotations"]["org.example.key"], "value");
        if other_runtime().is_none() {
            assert_eq!(state["ociVersion"], "1.0.2");
            assert_eq!(state.get("pid").is_some(), moment != "poststop", "{line}");
        }
        statuses.push(format!("{moment}={}", state["status"].as_str().unwrap()));
    }
    // runc 1.1 says "created" to its poststart hooks, crun 1.8 to all.
    if other_runtime().is_none() {
        assert_eq!(
            statuses.join(" "),
            "prestart=creating createRuntime=creating createContainer=creating poststart=running poststop=stopped"
        );
    }
}

/// createRuntime: the caller's namespaces. createContainer: the container's, by a path of the caller, before its root
/// is changed; its mounts are there. What it mounts, the container sees.
#[test]
fn each_hook_is_in_its_namespaces() {
    let mut bed = Bed::new();
    let (log, rootfs) = (bed.dir.join("log"), bed.rootfs());
    let mark = |name: &str| {
        let at = rootfs.display();
        shell(&format!(
            "echo {name} $(readlink /proc/self/ns/uts) $(test -c {at}/dev/null && echo mounted) >> {}",
            log.display()
        ))
    };
    let mounting = format!(
        "mkdir {0}/dev/made && mount -t tmpfs made {0}/dev/made && touch {0}/dev/made/by-hook",
        rootfs.display()
    );
    bed.config["hooks"] = json!({
        "createRuntime": [mark("createRuntime")],
        "createContainer": [mark("createContainer"), shell(&mounting)],
    });
    let inside = bed.shell("readlink /proc/self/ns/uts; ls /dev/made; ls / | grep -c by-hook || true");
    let (inside, rest) = inside.split_once('\n').unwrap();
    assert_eq!(rest, "by-hook\n0\n");
    let outside = fs::read_link("/proc/self/ns/uts").unwrap();
    let said = fs::read_to_string(&log).unwrap();
    let expected = format!("createRuntime {}\ncreateContainer {inside} mounted\n", outside.to_str().unwrap());
    assert_eq!(said, expected);
}

/// Also where the container's root is nobody on the host, and may not walk to its own root file system there.
#[test]
fn hooks_run_beside_a_user_namespace() {
    if other_runtime().is_some() {
        return;
    }
    let mut bed = crate::namespaces::userns_bed();
    let closed = bed.dir.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::rename(bed.rootfs(), closed.join("rootfs")).unwrap();
    bed.config["root"]["path"] = json!("closed/rootfs");
    let log = bed.dir.join("log");
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let hook = |name: &str| shell(&format!("echo {name} $(cat /proc/self/uid_map) >> {}", log.display()));
    bed.config["hooks"] = json!({ "createRuntime": [hook("host")], "createContainer": [hook("container")] });
    bed.shell("test -c /dev/null");
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(said, "host 0 0 4294967295\ncontainer 0 100000 65536\n");
}

/// startContainer: the container itself, with no more privileges than its program has.
#[test]
fn the_start_hook_is_a_program_of_the_container() {
    let mut bed = Bed::new();
    bed.config["process"]["user"] = json!({ "uid": 33, "gid": 44 });
    let script = "cat > /dev/shm/state; (id -u; grep CapEff /proc/self/status; for n in 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$n && echo $n; done; echo end) > /dev/shm/log";
    bed.config["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    let inside = bed.shell("cat /dev/shm/log; grep -o '\"status\":\"[a-z]*\"' /dev/shm/state");
    if other_runtime().is_none() {
        assert_eq!(inside, "33\nCapEff:\t0000000000000000\nend\n\"status\":\"created\"\n");
    }
    assert!(inside.starts_with("33\nCapEff:\t0000000000000000\n"), "{inside}");
}

#[test]
fn a_hook_that_fails_undoes_the_container() {
    for moment in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let mut bed = Bed::new();
        let after = bed.dir.join("after");
        bed.config["hooks"] = json!({
            moment: [
                { "path": "/bin/sh", "args": ["sh", "-c", "echo why; echo not >&2; exit 7"] },
                { "path": "/bin/sh", "args": ["sh", "-c", format!("echo > {}", after.display())] },
            ],
            "poststop": [shell(&format!("echo >> {}", bed.dir.join("stopped").display()))],
        });
        let output = bed.run(&["sh", "-c", "echo it runs"]);
        assert!(!output.status.success(), "{moment}");
        assert_eq!(text(&output.stdout), "", "{moment}");
        assert!(!after.exists(), "{moment}: the next hook ran");
        assert!(bed.dir.join("stopped").exists() || other_runtime().is_some(), "{moment}: no poststop");
        if other_runtime().is_none() {
            let said = text(&output.stderr);
            let expected = format!("hull-runtime: {moment} hooks: run /bin/sh: exit status: 7: why not\n");
            assert_eq!(said, expected);
        }
    }
}

#[test]
fn a_poststart_hook_that_fails_ends_the_container() {
    // Version 1.0 of the specification asked for a warning only.
    if runtime_is(&["crun", "runc"]) {
        return;
    }
    let mut bed = Bed::new();
    bed.config["hooks"] = json!({ "poststart": [shell("exit 3")] });
    let output = bed.run(&["sleep", "1000"]);
    assert!(!output.status.success());
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["create", "one"]);
    assert!(!bed.runtime(&["start", "one"]).output().unwrap().status.success());
    bed.ok(&["delete", "--force", "one"]);
}

#[test]
fn a_poststop_hook_that_fails_is_a_warning() {
    // runc 1.1 stops at the first that fails.
    if runtime_is(&["runc"]) {
        return;
    }
    let mut bed = logging("echo");
    let all = bed.config["hooks"]["poststop"].as_array_mut().unwrap();
    all.insert(0, shell("exit 3"));
    let output = bed.run(&["true"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(log(&bed).ends_with("poststop \n"));
    if other_runtime().is_none() {
        let expected = "hull-runtime: warning: poststop hooks: run /bin/sh: exit status: 3\n";
        assert_eq!(text(&output.stderr), expected);
    }
}

#[test]
fn a_hook_has_its_time_its_arguments_and_its_environment() {
    let mut bed = Bed::new();
    bed.config["hooks"]["createRuntime"] =
        json!([{ "path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1 }]);
    let output = bed.run(&["true"]);
    assert!(!output.status.success());
    if other_runtime().is_none() {
        assert!(text(&output.stderr).contains("/bin/sleep: not done after 1 s"), "{}", text(&output.stderr));
    }
    let log = bed.dir.join("log");
    let script = format!("echo $0 $1 $A $B > {}", log.display());
    bed.config["hooks"]["createRuntime"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one"], "env": ["A=x=y"], "timeout": 10 }]);
    // Not the caller's.
    bed.write_config();
    bed.config["process"]["args"] = json!(["true"]);
    bed.write_config();
    assert!(bed.runtime(&["run", "c"]).env("B", "ours").status().unwrap().success());
    assert_eq!(fs::read_to_string(&log).unwrap(), "zero one x=y\n");
}

crate::refuses! {
    a_relative_hook lacks "crun": { "hooks": { "poststart": [{ "path": "true" }] } } => "poststart hooks: true is not an absolute path";
    a_missing_hook: { "hooks": { "createRuntime": [{ "path": "/no/such" }] } } => "createRuntime hooks: run /no/such: no such file";
    a_hook_without_time lacks "runc" "crun":
        { "hooks": { "poststop": [{ "path": "/bin/true", "timeout": 0 }] } } => "timeout is not greater than zero";
}
