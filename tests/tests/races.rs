//! Requests that meet: whatever the order, one of them wins, the others are told so, and nothing stays behind.

use std::thread;

use hull_testkit::Daemon;
use hull_testkit::http::Response;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::{Value, json};

/// How often each meeting is tried.
const TIMES: usize = 8;

fn post(daemon: &Daemon, path: &str) -> u16 {
    daemon.api("POST", path, None).status
}

fn create(daemon: &Daemon, name: &str, more: &Value) -> Response {
    let mut body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"]});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    daemon.api("POST", &format!("/containers/create?name={name}"), Some(&body))
}

/// What each of `requests` answered, all sent at the same time; sorted.
fn together<const N: usize>(requests: [&(dyn Fn() -> u16 + Sync); N]) -> Vec<u16> {
    let mut answers: Vec<u16> = thread::scope(|scope| {
        let sent: Vec<_> = requests.map(|request| scope.spawn(request)).into_iter().collect();
        sent.into_iter().map(|request| request.join().expect("an answer")).collect()
    });
    answers.sort_unstable();
    answers
}

fn status(daemon: &Daemon, name: &str) -> String {
    let state = daemon.api("GET", &format!("/containers/{name}/json"), None).json();
    state["State"]["Status"].as_str().unwrap_or("gone").to_owned()
}

#[test]
fn a_name_is_given_once() {
    let daemon = Daemon::with_busybox();
    let make = || create(&daemon, "only", &json!({})).status;
    assert_eq!(together([&make, &make, &make, &make]), [201, 409, 409, 409]);
    for round in 0..TIMES {
        let (one, other, wanted) = (format!("one{round}"), format!("other{round}"), format!("wanted{round}"));
        create(&daemon, &one, &json!({}));
        create(&daemon, &other, &json!({}));
        let rename = |name: &str| post(&daemon, &format!("/containers/{name}/rename?name={wanted}"));
        let taken =
            together([&|| rename(&one), &|| rename(&other), &|| create(&daemon, &wanted, &json!({})).status]);
        assert_eq!(taken.iter().filter(|status| **status < 300).count(), 1, "{taken:?}");
        assert_eq!(taken.iter().filter(|status| **status == 409).count(), 2, "{taken:?}");
    }
}

#[test]
fn who_starts_what_starts_is_told_so() {
    let daemon = Daemon::with_busybox();
    for round in 0..TIMES {
        let name = format!("box{round}");
        create(&daemon, &name, &json!({}));
        let start = || post(&daemon, &format!("/containers/{name}/start"));
        assert_eq!(together([&start, &start, &start]), [204, 304, 304]);
        let kill = || post(&daemon, &format!("/containers/{name}/kill"));
        let killed = together([&kill, &kill]);
        assert!(killed.iter().all(|status| [204, 409].contains(status)) && killed[0] == 204, "{killed:?}");
        assert_eq!(status(&daemon, &name), "exited");
    }
}

#[test]
fn a_removal_meets_a_start_and_another_removal() {
    let daemon = Daemon::with_busybox();
    for round in 0..TIMES {
        let name = format!("box{round}");
        create(&daemon, &name, &json!({}));
        let start = || post(&daemon, &format!("/containers/{name}/start"));
        let remove = || daemon.api("DELETE", &format!("/containers/{name}?force=1&v=1"), None).status;
        let answers = together([&start, &remove, &remove]);
        assert!(answers.iter().all(|status| [204, 304, 404, 409].contains(status)), "{answers:?}");
        assert_eq!(status(&daemon, &name), "gone");
    }
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "");
}

#[test]
fn what_is_removed_does_not_come_back_under_another_name_or_started() {
    let mut daemon = Daemon::with_busybox();
    for round in 0..TIMES {
        let (name, other) = (format!("box{round}"), format!("other{round}"));
        create(&daemon, &name, &json!({}));
        let remove = || daemon.api("DELETE", &format!("/containers/{name}?force=1"), None).status;
        let rename = || post(&daemon, &format!("/containers/{name}/rename?name={other}"));
        let restart = || post(&daemon, &format!("/containers/{name}/restart?t=0"));
        let answers = together([&remove, &rename, &restart]);
        assert!(answers.iter().all(|status| [204, 404, 409].contains(status)), "{answers:?}");
        // It was faster than the removal's look at the name.
        daemon.api("DELETE", &format!("/containers/{other}?force=1"), None);
        for free in [&name, &other] {
            assert_eq!(create(&daemon, free, &json!({})).status, 201, "{free} is free");
            daemon.api("DELETE", &format!("/containers/{free}"), None);
        }
    }
    daemon.restart();
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "");
}

#[test]
fn a_restart_that_fails_takes_what_removes_itself_along() {
    let daemon = Daemon::with_busybox();
    let gone = json!({"Cmd": ["/nosuch"], "HostConfig": {"AutoRemove": true}});
    create(&daemon, "box", &gone);
    assert_eq!(post(&daemon, "/containers/box/restart"), 400);
    assert_eq!(status(&daemon, "box"), "gone");
}

#[test]
fn what_removes_itself_goes_once_whoever_waits_or_removes() {
    let daemon = Daemon::with_busybox();
    for round in 0..TIMES {
        let name = format!("box{round}");
        create(&daemon, &name, &json!({"HostConfig": {"AutoRemove": true}}));
        assert_eq!(post(&daemon, &format!("/containers/{name}/start")), 204);
        let wait = || {
            let answer = daemon.api("POST", &format!("/containers/{name}/wait?condition=removed"), None);
            let told = answer.status != 200 || answer.json()["Error"].is_null();
            assert!(told, "{}", String::from_utf8_lossy(&answer.body));
            answer.status
        };
        let kill = || post(&daemon, &format!("/containers/{name}/kill"));
        let remove = || daemon.api("DELETE", &format!("/containers/{name}?force=1"), None).status;
        let answers = together([&wait, &kill, &remove]);
        assert!(answers.iter().all(|status| [200, 204, 404, 409].contains(status)), "{answers:?}");
        assert!(eventually(PATIENCE, || status(&daemon, &name) == "gone"));
    }
}

#[test]
fn a_stop_meets_restarts_of_the_policy_and_wins() {
    let daemon = Daemon::with_busybox();
    for round in 0..TIMES {
        let name = format!("box{round}");
        let policy = json!({"Cmd": ["sh", "-c", "sleep 0.05; exit 1"], "HostConfig": {"RestartPolicy": {"Name": "always"}}});
        create(&daemon, &name, &policy);
        post(&daemon, &format!("/containers/{name}/start"));
        thread::sleep(std::time::Duration::from_millis(40 * round as u64));
        let stop = || post(&daemon, &format!("/containers/{name}/stop?t=1"));
        let answers = together([&stop, &stop]);
        assert!(answers.iter().all(|status| [204, 304].contains(status)), "{answers:?}");
        thread::sleep(std::time::Duration::from_millis(250));
        assert_eq!(status(&daemon, &name), "exited", "nobody starts it any more");
    }
}

#[test]
fn a_kill_meets_restarts_of_the_policy_and_wins() {
    let daemon = Daemon::with_busybox();
    for round in 0..20 {
        let policy = json!({"Cmd": ["false"], "HostConfig": {"RestartPolicy": {"Name": "always"}}});
        create(&daemon, "box", &policy);
        post(&daemon, "/containers/box/start");
        // About when the first try comes.
        thread::sleep(std::time::Duration::from_millis(90 + 3 * round));
        assert_eq!(post(&daemon, "/containers/box/kill"), 204);
        thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(status(&daemon, "box"), "exited", "nobody starts it any more");
        daemon.api("DELETE", "/containers/box", None);
    }
}

#[test]
fn a_session_of_a_container_that_ends_is_answered() {
    let daemon = Daemon::with_busybox();
    for round in 0..TIMES {
        let name = format!("box{round}");
        create(&daemon, &name, &json!({}));
        post(&daemon, &format!("/containers/{name}/start"));
        let body = json!({"Cmd": ["sleep", "1000"], "AttachStdout": true});
        let session = daemon.api("POST", &format!("/containers/{name}/exec"), Some(&body)).json();
        let id = session["Id"].as_str().expect("an id");
        let run = || {
            let start = Some(json!({"Detach": false}));
            daemon.api("POST", &format!("/exec/{id}/start"), start.as_ref()).status
        };
        let kill = || post(&daemon, &format!("/containers/{name}/kill"));
        let answers = together([&run, &kill]);
        assert!(answers.iter().all(|status| [200, 204, 404, 409].contains(status)), "{answers:?}");
        let left = daemon.api("GET", &format!("/containers/{name}/json"), None).json();
        assert!(eventually(PATIENCE, || {
            let shown = daemon.api("GET", &format!("/exec/{id}/json"), None);
            shown.status == 404 || shown.json()["Running"] == false
        }));
        assert_eq!((&left["State"]["Status"], &left["ExecIDs"]), (&json!("exited"), &Value::Null));
    }
}

/// What may be asked of a container at any time: the method, the path behind its name, and a body.
fn requests() -> Vec<(&'static str, &'static str, Option<Value>)> {
    vec![
        ("POST", "/pause", None),
        ("POST", "/update", Some(json!({ "CpuShares": 512 }))),
        ("POST", "/unpause", None),
        ("GET", "/archive?path=/etc/hostname", None),
        ("POST", "/restart?t=0", None),
        ("POST", "/resize?h=10&w=10", None),
        ("GET", "/export", None),
        ("POST", "/rename?name=other", None),
        ("GET", "/top", None),
        ("HEAD", "/archive?path=/v", None),
        ("POST", "/kill?signal=HUP", None),
        ("GET", "/changes", None),
        ("POST", "/start", None),
        ("GET", "/stats?stream=0&one-shot=1", None),
        ("POST", "/stop?t=0", None),
        ("GET", "/logs?stdout=1", None),
    ]
}

/// Whoever asks while a container ends is told that, or gets what was asked for; no failure of the machine's is seen.
#[test]
fn the_end_of_a_container_is_no_failure() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "further"]).ok();
    let begun = std::time::Instant::now();
    let goes_on = || begun.elapsed() < std::time::Duration::from_secs(8);
    let fine = |what: &str, answer: Response| {
        assert!(answer.status < 500, "{what}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        answer
    };
    let lives = || {
        for round in 0.. {
            let script = ["sleep 0.02", "sleep 0.1", "true", "exec sleep 0.3"][round % 4];
            let host = json!({ "AutoRemove": round % 3 == 0 });
            let more = json!({ "Cmd": ["sh", "-c", script], "HostConfig": host, "Volumes": { "/v": {} } });
            fine("create", create(&daemon, "box", &more));
            fine("start", daemon.api("POST", "/containers/box/start", None));
            thread::sleep(std::time::Duration::from_millis(40 * (round as u64 % 4)));
            for name in ["box", "other"] {
                fine("remove", daemon.api("DELETE", &format!("/containers/{name}?force=1&v=1"), None));
            }
            if !goes_on() {
                break;
            }
        }
    };
    let asks = |first: usize| {
        let all = requests();
        for (method, path, body) in all.iter().cycle().skip(first) {
            fine(path, daemon.api(method, &format!("/containers/box{path}"), body.as_ref()));
            if !goes_on() {
                break;
            }
        }
    };
    let runs = || {
        while goes_on() {
            let body = json!({ "Cmd": ["true"], "AttachStdout": true });
            let session = fine("exec", daemon.api("POST", "/containers/box/exec", Some(&body))).json();
            if let Some(id) = session["Id"].as_str() {
                fine(
                    "exec start",
                    daemon.api("POST", &format!("/exec/{id}/start"), Some(&json!({ "Detach": true }))),
                );
                fine("exec resize", daemon.api("POST", &format!("/exec/{id}/resize?h=1&w=1"), None));
            }
        }
    };
    let joins = || {
        while goes_on() {
            let who = json!({ "Container": "box" });
            fine("connect", daemon.api("POST", "/networks/further/connect", Some(&who)));
            fine("disconnect", daemon.api("POST", "/networks/further/disconnect", Some(&who)));
            fine("commit", daemon.api("POST", "/commit?container=box&repo=saved", None));
        }
    };
    thread::scope(|scope| {
        scope.spawn(lives);
        scope.spawn(runs);
        scope.spawn(joins);
        for first in [0, 5, 11] {
            scope.spawn(move || asks(first));
        }
    });
    for name in ["box", "other"] {
        daemon.api("DELETE", &format!("/containers/{name}?force=1&v=1"), None);
    }
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "");
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
}
