//! Exec sessions: what they say of themselves, what their clients get, and that they outlive the daemon.

use hull_testkit::Daemon;
use hull_testkit::http::Response;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::{Value, json};

fn post(daemon: &Daemon, path: &str, body: &Value) -> Response {
    daemon.api("POST", path, Some(body))
}

fn create(daemon: &Daemon, config: &Value) -> String {
    let created = post(daemon, "/containers/box/exec", config);
    assert_eq!(created.status, 201, "{}", created.head);
    created.json()["Id"].as_str().expect("an id").to_owned()
}

fn inspect(daemon: &Daemon, id: &str) -> Value {
    daemon.api("GET", &format!("/exec/{id}/json"), None).json()
}

fn start(daemon: &Daemon, id: &str, detach: bool) -> Response {
    post(daemon, &format!("/exec/{id}/start"), &json!({ "Detach": detach, "Tty": false }))
}

fn with_box() -> Daemon {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    daemon
}

#[test]
fn sessions_survive_the_daemon() {
    let mut daemon = with_box();
    let script = |script: &str| json!({ "Cmd": ["sh", "-c", script], "AttachStdout": true });
    let [unstarted, ended, away, runs] = ["exit 4", "exit 5", "sleep 0.5; exit 6", "sleep 4; exit 7"]
        .map(|text| create(&daemon, &script(text)));
    for id in [&ended, &away, &runs] {
        assert_eq!(start(&daemon, id, true).status, 200);
    }
    let code = |daemon: &Daemon, id: &str| inspect(daemon, id)["ExitCode"].clone();
    assert!(eventually(PATIENCE, || code(&daemon, &ended) == 5));
    daemon.kill9();
    std::thread::sleep(std::time::Duration::from_secs(1));
    daemon.restart();
    assert_eq!(code(&daemon, &ended), 5);
    assert!(eventually(PATIENCE, || code(&daemon, &away) == 6), "ended while nobody listened");
    assert_eq!(inspect(&daemon, &runs)["Running"], true);
    assert_eq!(inspect(&daemon, &runs)["ProcessConfig"]["arguments"], json!(["-c", "sleep 4; exit 7"]));
    assert!(eventually(PATIENCE, || code(&daemon, &runs) == 7));
    assert_eq!(start(&daemon, &runs, true).status, 409);
    assert_eq!(start(&daemon, &unstarted, true).status, 200);
    assert!(eventually(PATIENCE, || code(&daemon, &unstarted) == 4));
}

#[test]
fn only_what_is_attached_is_sent() {
    let daemon = with_box();
    let said = |out: bool, err: bool| {
        let config = json!({ "Cmd": ["sh", "-c", "echo out; echo err >&2"],
            "AttachStdout": out, "AttachStderr": err });
        let id = create(&daemon, &config);
        let answer = start(&daemon, &id, false);
        assert_eq!(inspect(&daemon, &id)["ExitCode"], 0);
        String::from_utf8(answer.body).unwrap().replace(|letter: char| !letter.is_alphabetic(), "")
    };
    assert_eq!(said(true, false), "out");
    assert_eq!(said(false, true), "err");
    assert_eq!(said(false, false), "");
}

#[test]
fn states_of_a_session() {
    let daemon = with_box();
    let id = create(&daemon, &json!({ "Cmd": ["sleep", "1000"], "DetachKeys": "ctrl-a,b", "Tty": true }));
    let fresh = inspect(&daemon, &id);
    assert_eq!(fresh["ExitCode"], Value::Null);
    assert_eq!((&fresh["Running"], &fresh["Pid"]), (&json!(false), &json!(0)));
    assert_eq!(fresh["DetachKeys"], "AWI=", "the bytes of the keys");
    assert_eq!(start(&daemon, &id, true).status, 200);
    let again = start(&daemon, &id, true);
    assert_eq!((again.status, again.message()), (409, format!("exec command {id} is already running")));
    let attached = start(&daemon, &id, false);
    let text = String::from_utf8_lossy(&attached.body);
    assert_eq!(attached.status, 200);
    assert!(text.ends_with(&format!("exec command {id} is already running\r\n")), "{text:?}");
    assert_eq!(inspect(&daemon, &id)["CanRemove"], false);
    assert_eq!(post(&daemon, &format!("/exec/{id}/resize?h=40&w=80"), &json!({})).status, 200);
    assert_eq!(post(&daemon, "/containers/box/exec", &json!({ "Cmd": "true" })).status, 400, "no list");
    let waiting = create(&daemon, &json!({ "Cmd": ["true"] }));
    daemon.hull(["pause", "box"]).ok();
    let paused = post(&daemon, "/containers/box/exec", &json!({ "Cmd": ["true"] }));
    let text = "Container box is paused, unpause the container before exec";
    assert_eq!((paused.status, paused.message()), (409, text.to_owned()));
    assert_eq!(start(&daemon, &waiting, true).status, 409);
    daemon.hull(["unpause", "box"]).ok();
    daemon.hull(["stop", "-t", "0", "box"]).ok();
    let gone = start(&daemon, &waiting, true);
    assert_eq!((gone.status, gone.message()), (404, format!("No such exec instance: {waiting}")));
    let stopped = post(&daemon, "/containers/box/exec", &json!({ "Cmd": ["true"] }));
    assert_eq!(stopped.status, 409);
}

/// Who sees the end of the output and asks at once finds the container as it ended, and its networks free.
#[test]
fn an_outputs_end_comes_with_the_exit() {
    let daemon = with_box();
    for _ in 0..5 {
        daemon.hull(["network", "create", "short"]).ok();
        let config = json!({
            "Image": "busybox", "Cmd": ["sh", "-c", "sleep 0.5; echo said; exit 7"], "HostConfig": {"NetworkMode": "short"}
        });
        let id = create_container(&daemon, &config);
        let path = format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1");
        let attached = std::thread::scope(|scope| {
            let attached = scope.spawn(|| post(&daemon, &path, &Value::Null));
            // Attached before the start or after it: the end is the same.
            assert_eq!(post(&daemon, &format!("/containers/{id}/start"), &Value::Null).status, 204);
            attached.join().expect("an answer")
        });
        let path = format!("/containers/{id}/json");
        let state = daemon.api("GET", &path, None).json()["State"].clone();
        assert_eq!(
            (&state["Status"], &state["ExitCode"]),
            (&json!("exited"), &json!(7)),
            "{}",
            attached.head
        );
        daemon.hull(["network", "rm", "short"]).ok();
        daemon.hull(["rm", &id]).ok();
    }
}

fn create_container(daemon: &Daemon, config: &Value) -> String {
    let made = post(daemon, "/containers/create", config);
    assert_eq!(made.status, 201, "{}", made.head);
    made.json()["Id"].as_str().expect("an id").to_owned()
}
