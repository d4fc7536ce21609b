//! Requests as Docker reads them: what they may leave open, what older versions have, and what is refused.

use hull_testkit::Daemon;
use hull_testkit::images::Image;
use serde_json::{Value, json};

fn post(daemon: &Daemon, path: &str, body: &str) -> (u16, Value) {
    let answer = daemon.send("POST", path, &["Content-Type: application/json"], body.as_bytes());
    let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer.status, value)
}

fn host(daemon: &Daemon, host: Value) -> (u16, String) {
    let body = json!({"Image": "busybox", "HostConfig": host}).to_string();
    let (status, answer) = post(daemon, "/v1.51/containers/create", &body);
    (status, answer["message"].as_str().unwrap_or_default().to_owned())
}

fn inspect(daemon: &Daemon, name: &str) -> Value {
    daemon.api("GET", &format!("/v1.51/containers/{name}/json"), None).json()
}

fn exec(daemon: &Daemon, version: &str, body: &Value) -> String {
    let path = format!("/{version}/containers/box/exec");
    post(daemon, &path, &body.to_string()).1["Id"].as_str().expect("an id").to_owned()
}

#[test]
fn null_is_nothing_wherever_it_stands() {
    let daemon = Daemon::with_busybox();
    let body = r#"{"Image": "busybox", "Labels": {"a": null}, "User": null, "Cmd": ["sleep", "1000"],
        "HostConfig": {"Memory": null, "Sysctls": null, "LogConfig": {"Type": null}, "ExtraHosts": null,
        "Mounts": null, "ConsoleSize": [null]}}"#;
    assert_eq!(post(&daemon, "/containers/create?name=box", body).0, 201);
    assert_eq!(inspect(&daemon, "box")["Config"]["Labels"], json!({"a": ""}));
    daemon.hull(["start", "box"]).ok();
    for size in ["null", "[]", "[null, null]", "[10, null]", "[1, 2, 3]"] {
        let id = exec(&daemon, "v1.51", &json!({"Cmd": ["true"]}));
        let start = format!(r#"{{"Detach": true, "Tty": null, "ConsoleSize": {size}}}"#);
        assert_eq!(post(&daemon, &format!("/exec/{id}/start"), &start).0, 200, "{size}");
    }
    let (status, answer) =
        post(&daemon, "/containers/create", r#"{"Image": "busybox", "HostConfig": {"Memory": "1"}}"#);
    let text =
        "invalid JSON: json: cannot unmarshal string into Go struct field .HostConfig.Memory of type int64";
    assert_eq!((status, answer["message"].as_str()), (400, Some(text)));
}

#[test]
fn a_terminal_has_its_size_from_the_session_since_1_42() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let says = |version: &str| {
        let ask = ["sh", "-c", "stty size || true"];
        let body = json!({"Cmd": ask, "Tty": true, "AttachStdout": true, "ConsoleSize": [12, 34]});
        let id = exec(&daemon, version, &body);
        let headers = ["Content-Type: application/json"];
        let started = daemon.send("POST", &format!("/v1.51/exec/{id}/start"), &headers, br#"{"Tty": true}"#);
        String::from_utf8_lossy(&started.body).into_owned()
    };
    assert!(says("v1.42").contains("12 34"));
    assert!(!says("v1.41").contains("12 34"));
}

#[test]
fn what_has_ended_has_no_sessions() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let id = exec(&daemon, "v1.51", &json!({"Cmd": ["true"]}));
    assert_eq!(inspect(&daemon, "box")["ExecIDs"], json!([id]));
    daemon.hull(["kill", "box"]).ok();
    assert_eq!(inspect(&daemon, "box")["ExecIDs"], Value::Null);
}

#[test]
fn signals_are_judged_after_the_container_they_are_for() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let said = |path: &str| {
        let answer = daemon.api("POST", &format!("/v1.51/containers/{path}"), None);
        (answer.status, answer.message())
    };
    assert_eq!(said("gone/stop?signal=FOO"), (404, "No such container: gone".to_owned()));
    assert_eq!(said("gone/restart?signal=FOO").0, 404);
    assert_eq!(
        said("box/stop?signal=FOO"),
        (400, "cannot stop container: box: invalid signal: FOO".to_owned())
    );
    let text = "cannot kill container: box: the linux daemon does not support signal 65";
    assert_eq!(said("box/kill?signal=65"), (400, text.to_owned()));
    assert_eq!(said("box/kill?signal=0"), (400, "cannot kill container: box: invalid signal: 0".to_owned()));
    assert_eq!(inspect(&daemon, "box")["State"]["Running"], true);
}

#[test]
fn modes_hosts_and_limits_are_dockers() {
    let daemon = Daemon::with_busybox();
    for (wish, message) in [
        (json!({"PidMode": "private"}), "invalid PID mode: private"),
        (json!({"UTSMode": "private"}), "invalid UTS mode: private"),
        (json!({"ExtraHosts": ["a=192.0.2.1"]}), "bad format for add-host: \"a=192.0.2.1\""),
        (json!({"ExtraHosts": ["a:[::1]"]}), "invalid IP address in add-host: \"[::1]\""),
        (
            json!({"CpusetCpus": "0-9000"}),
            "Invalid value 0-9000 for cpuset cpus: value of out range, maximum is 8192",
        ),
        (json!({"CpusetCpus": " 0"}), "Invalid value  0 for cpuset cpus: invalid format:  0"),
    ] {
        assert_eq!(host(&daemon, wish), (400, message.to_owned()));
    }
    for wish in [
        json!({"UsernsMode": "keep-id"}),
        json!({"ExtraHosts": ["a:::1", "b:host-gateway"]}),
        json!({"MemoryReservation": -1}),
    ] {
        assert_eq!(host(&daemon, wish).0, 201);
    }
    let dotted = json!({"Image": "busybox", "MacAddress": "0200.0000.0a01", "Shell": []}).to_string();
    assert_eq!(post(&daemon, "/v1.43/containers/create?name=dotted", &dotted).0, 201);
    assert_eq!(inspect(&daemon, "dotted")["Config"].get("Shell"), None);
    daemon.hull(["start", "dotted"]).ok();
    let odd = json!({"Image": "busybox"}).to_string();
    assert_eq!(post(&daemon, "/v1.40/containers/create?platform=a/b/c/d", &odd).0, 201);
    assert_eq!(post(&daemon, "/v1.41/containers/create?platform=a/b/c/d", &odd).0, 400);
}

#[test]
fn who_is_not_there_is_no_program_that_failed() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "-u", "nobody-here", "busybox", "true"]).ok();
    daemon.hull(["start", "box"]).complains("unable to find user nobody-here");
    assert_eq!(inspect(&daemon, "box")["State"]["ExitCode"], 128);
}

#[test]
fn a_foreign_image_is_named_as_it_names_itself() {
    let daemon = Daemon::with_busybox();
    let archive =
        Image::busybox().architecture("arm64").set("Cmd", json!(["x"])).docker_archive("foreign:latest");
    daemon.hull_with_input(["load", "-q"], &archive).ok();
    let body = json!({"Image": "foreign"}).to_string();
    let (_, answer) = post(&daemon, "/v1.51/containers/create", &body);
    let warning = answer["Warnings"][0].as_str().expect("a warning");
    assert!(warning.starts_with("The requested image's platform (linux/arm64) does not match"), "{warning}");
    let host = warning.split("host platform (").nth(1).and_then(|rest| rest.split(')').next());
    assert!(host.is_some_and(|host| host.starts_with("linux/")), "{warning}");
}
