//! The life of containers: every state, and the ways between them.

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::{Value, json};

fn status(daemon: &Daemon, name: &str) -> String {
    daemon.hull(["inspect", "-f", "{{.State.Status}}", name]).ok().to_owned()
}

#[test]
fn from_created_to_removed() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox", "sleep", "1000"]).ok();
    assert_eq!(status(&daemon, "box"), "created");
    daemon.hull(["start", "box"]).ok();
    assert_eq!(status(&daemon, "box"), "running");
    daemon.hull(["pause", "box"]).ok();
    assert_eq!(status(&daemon, "box"), "paused");
    daemon.hull(["unpause", "box"]).ok();
    daemon.hull(["rename", "box", "crate"]).ok();
    daemon.hull(["restart", "-t", "0", "crate"]).ok();
    assert_eq!(status(&daemon, "crate"), "running");
    daemon.hull(["stop", "-t", "0", "crate"]).ok();
    assert_eq!(
        daemon.hull(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "crate"]).ok(),
        "exited 137"
    );
    daemon.hull(["rm", "crate"]).ok();
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "");
}

#[test]
fn stop_asks_first() {
    let daemon = Daemon::with_busybox();
    let script = "trap 'echo asked; exit 3' TERM; echo ready; while true; do sleep 0.05; done";
    daemon.hull(["run", "-d", "--name", "polite", "busybox", "sh", "-c", script]).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "polite"]).stdout.contains("ready")));
    daemon.hull(["stop", "polite"]).ok();
    assert_eq!(daemon.hull(["inspect", "-f", "{{.State.ExitCode}}", "polite"]).ok(), "3");
    daemon.hull(["logs", "polite"]).says("asked");
    let usr1 = "trap 'exit 9' USR1; echo ready; while true; do sleep 0.05; done";
    daemon.hull(["run", "-d", "--name", "own", "--stop-signal", "SIGUSR1", "busybox", "sh", "-c", usr1]).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "own"]).stdout.contains("ready")));
    daemon.hull(["stop", "own"]).ok();
    assert_eq!(daemon.hull(["inspect", "-f", "{{.State.ExitCode}}", "own"]).ok(), "9");
}

#[test]
fn restart_policies_decide() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "failing", "--restart", "on-failure:2", "busybox", "false"]).ok();
    let count = |name: &str| {
        daemon.hull(["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", name]).ok().to_owned()
    };
    assert!(eventually(PATIENCE, || count("failing") == "2 exited"), "{}", count("failing"));
    daemon.hull(["run", "-d", "--name", "fine", "--restart", "on-failure", "busybox", "true"]).ok();
    daemon.hull(["wait", "fine"]).ok();
    assert_eq!(count("fine"), "0 exited");
    daemon.hull(["run", "-d", "--name", "always", "--restart", "always", "busybox", "sleep", "0.2"]).ok();
    assert!(eventually(PATIENCE, || count("always").starts_with('2')), "{}", count("always"));
    daemon.hull(["stop", "-t", "0", "always"]).ok();
    assert!(count("always").ends_with("exited"), "a user's stop holds: {}", count("always"));
}

#[test]
fn attached_start_and_wait() {
    let daemon = Daemon::with_busybox();
    daemon
        .hull(["create", "--name", "echo", "-i", "busybox", "sh", "-c", "read line; echo got $line; exit 5"])
        .ok();
    let mut client = daemon.spawn_hull(["start", "-a", "-i", "echo"]);
    client.write(b"a line\n");
    let output = client.finish();
    assert_eq!((output.stdout.as_str(), output.code), ("got a line\n", 5));
    let waiting = daemon.spawn_hull(["wait", "echo"]);
    assert_eq!(waiting.finish().ok(), "5");
}

#[test]
fn ps_shows_and_filters() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "up", "--label", "tier=front", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["run", "--name", "down", "busybox", "sh", "-c", "exit 3"]).fails(3);
    let list = |flags: &[&str]| {
        let all = [&["ps", "--format", "{{.Names}}"], flags].concat();
        daemon.hull(all).ok().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list(&[]), ["up"]);
    assert_eq!(list(&["-a"]), ["down", "up"]);
    assert_eq!(list(&["-a", "--filter", "exited=3"]), ["down"]);
    assert_eq!(list(&["--filter", "label=tier=front"]), ["up"]);
    assert_eq!(list(&["-a", "--filter", "status=exited"]), ["down"]);
    assert_eq!(list(&["-a", "--filter", "ancestor=busybox", "--filter", "name=^up$"]), ["up"]);
    assert_eq!(list(&["-l"]), ["down"]);
    let table = daemon.hull(["ps", "-a"]);
    let head = table.lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(head, "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES");
    table.says("Exited (3)").says("Up ").says("\"sleep 1000\"");
}

#[test]
fn containers_of_what_was_built_on_an_image_are_its_too() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--name", "base", "busybox", "touch", "/file"]).ok();
    daemon.hull(["commit", "base", "built:1"]).ok();
    daemon.hull(["create", "--name", "top", "built:1"]).ok();
    let of = |image: &str| {
        let output =
            daemon.hull(["ps", "-a", "--filter", &format!("ancestor={image}"), "--format", "{{.Names}}"]);
        output.ok().replace('\n', " ")
    };
    assert_eq!(of("busybox"), "top base");
    assert_eq!(of("built:1"), "top");
    assert_eq!(of("nosuch"), "");
}

#[test]
fn events_tell_what_happened() {
    let daemon = Daemon::with_busybox();
    let events = daemon.spawn_hull(["events", "--filter", "container=story", "--format", "{{.Action}}"]);
    // The listener is there when the daemon knows one; a run before that would be missed.
    let listening = || daemon.api("GET", "/info", None).json()["NEventsListener"].as_i64() == Some(1);
    assert!(eventually(PATIENCE, listening));
    daemon.hull(["run", "--rm", "--name", "story", "busybox", "true"]).ok();
    events.wait_for("destroy");
    let told: Vec<String> = events.stdout().lines().map(str::to_owned).collect();
    let order: Vec<_> = ["create", "start", "die", "destroy"]
        .iter()
        .map(|action| told.iter().position(|line| line == action))
        .collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{told:?}");
}

#[test]
fn top_stats_and_rename_see_the_processes() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["top", "box"]).says("PID").says("sleep 1000");
    let stats = daemon.hull(["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "box"]);
    assert_eq!(stats.ok(), "box 1");
}

#[test]
fn fifty_containers_start_side_by_side() {
    let daemon = Daemon::with_busybox();
    let clients: Vec<_> =
        (0..50).map(|_| daemon.spawn_hull(["run", "-d", "busybox", "sleep", "1000"])).collect();
    for client in clients {
        client.finish().ok();
    }
    assert_eq!(daemon.hull(["ps", "-q"]).lines().len(), 50);
}

#[test]
fn strangers_are_kept_out_of_the_directories() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "busybox", "sleep", "1000"]).ok();
    let mode = |path: std::path::PathBuf| {
        std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777
    };
    assert_eq!(mode(daemon.data_root()), 0o700);
    assert_eq!(mode(daemon.exec_root()), 0o711, "a group may pass to a socket in it");
    assert_eq!(mode(daemon.exec_root().join("shim")), 0o700);
    assert_eq!(mode(daemon.socket()), 0o660);
}

#[test]
fn log_lines_tell_what_was_asked_for() {
    let daemon = Daemon::with_busybox();
    let flags = ["--log-opt", "labels=tier", "--log-opt", "env=COLOR", "--log-opt", "tag={{.Name}}"];
    let about = ["--name", "box", "--label", "tier=front", "-e", "COLOR=red", "busybox", "echo", "text"];
    daemon.hull([&["run"], &flags[..], &about[..]].concat()).ok();
    let log = daemon.hull(["logs", "--details", "box"]);
    assert_eq!(log.ok(), "COLOR=red,tag=box,tier=front text");
    let wrong = ["run", "--log-opt", "tag={{.Frob}}", "busybox"];
    daemon.hull(wrong).complains("failed to initialize logging driver: template: log-tag").fails(125);
}

#[test]
fn a_container_that_is_removed_at_its_end_can_be_restarted() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "1000"]).ok();
    for _ in 0..2 {
        daemon.hull(["restart", "-t", "0", "brief"]).ok();
        assert_eq!(status(&daemon, "brief"), "running");
    }
    daemon.hull(["kill", "brief"]).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["ps", "-aq"]).ok().is_empty()));
}

#[test]
fn what_restarts_for_ever_is_removed_by_force() {
    let daemon = Daemon::with_busybox();
    for round in 0..10 {
        daemon.hull(["run", "-d", "--name", "looping", "--restart", "always", "busybox", "false"]).ok();
        std::thread::sleep(std::time::Duration::from_millis(round * 17));
        daemon.hull(["rm", "-f", "looping"]).ok();
    }
}

#[test]
fn links_are_names() {
    let daemon = Daemon::with_busybox();
    let id = daemon.hull(["run", "-d", "--name", "db", "busybox", "sleep", "1000"]).ok().to_owned();
    daemon.hull(["run", "-d", "--name", "web", "--link", "db:store", "busybox", "sleep", "1000"]).ok();
    let names = |of: &str| {
        let list = daemon.api("GET", "/containers/json", None).json();
        let of = format!("/{of}");
        let found = list.as_array().unwrap().iter().find(|one| one["Names"][0] == of.as_str()).cloned();
        found.unwrap()["Names"].clone()
    };
    assert_eq!(names("db"), serde_json::json!(["/db", "/web/store"]));
    daemon.hull(["rename", "web", "site"]).ok();
    assert_eq!(daemon.api("GET", "/containers/site/store/json", None).json()["Id"], id.as_str());
    daemon.hull(["exec", "site", "grep", "store", "/etc/hosts"]).ok();
    let default = daemon.api("DELETE", "/containers/db?link=1", None);
    assert_eq!(default.status, 409, "{}", default.message());
    assert_eq!(daemon.api("DELETE", "/containers/site/store?link=1", None).status, 204);
    assert_eq!(names("db"), serde_json::json!(["/db"]));
    assert!(daemon.api("GET", "/containers/site/json", None).json()["HostConfig"]["Links"].is_null());
    assert_eq!(daemon.hull(["exec", "site", "grep", "store", "/etc/hosts"]).code, 1);
}

#[test]
fn a_commits_configuration_stands_on_the_containers() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--name", "base", "-e", "A=1", "busybox", "sh", "-c", "touch /file"]).ok();
    let body = serde_json::json!({ "Labels": { "tier": "front" }, "Env": ["B=2"] });
    let made = daemon.api("POST", "/commit?container=base&repo=made", Some(&body));
    assert_eq!(made.status, 201, "{}", made.message());
    let config = daemon.api("GET", "/images/made/json", None).json()["Config"].clone();
    assert_eq!(config["Cmd"], serde_json::json!(["sh", "-c", "touch /file"]));
    assert_eq!(config["Labels"]["tier"], "front");
    let env: Vec<&str> = config["Env"].as_array().unwrap().iter().filter_map(|one| one.as_str()).collect();
    assert!(env.contains(&"A=1") && env.contains(&"B=2"), "{env:?}");
}

#[test]
fn a_restart_is_counted_when_it_is_decided() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "looping", "--restart", "always", "busybox", "false"]).ok();
    let state = || {
        let shown = daemon.api("GET", "/containers/looping/json", None).json();
        (shown["State"]["Status"].as_str().unwrap().to_owned(), shown["RestartCount"].as_u64().unwrap())
    };
    let mut last = 0;
    assert!(eventually(PATIENCE, || {
        let (status, count) = state();
        assert!(count >= last, "it never falls");
        last = count;
        status == "restarting" && count >= 3
    }));
    daemon.hull(["stop", "looping"]).ok();
    let (status, count) = state();
    assert_eq!(status, "exited");
    daemon.hull(["start", "looping"]).ok();
    assert!(state().1 < count, "a start of the user's begins anew");
}

#[test]
fn what_is_not_probed_is_not_healthy() {
    let daemon = Daemon::with_busybox();
    let check = ["--health-cmd", "true", "--health-interval", "100ms"];
    daemon
        .hull(["run", "-d", "--name", "box"].into_iter().chain(check).chain(["busybox", "sleep", "1000"]))
        .ok();
    let health = || daemon.hull(["inspect", "-f", "{{.State.Health.Status}}", "box"]).ok().to_owned();
    assert!(eventually(PATIENCE, || health() == "healthy"));
    daemon.hull(["pause", "box"]).ok();
    assert_eq!(health(), "unhealthy");
    daemon.hull(["unpause", "box"]).ok();
    assert!(eventually(PATIENCE, || health() == "healthy"));
    daemon.hull(["restart", "-t", "0", "box"]).ok();
    let log = daemon.hull(["inspect", "-f", "{{len .State.Health.Log}}", "box"]).ok().to_owned();
    assert_ne!(log, "0", "what former probes said");
    daemon.hull(["stop", "-t", "0", "box"]).ok();
    assert_eq!(health(), "unhealthy");
    let daemon = &daemon;
    let wrong = |kind: &str| {
        let check = json!({ "Test": [kind, "nosuch"], "Interval": 100_000_000, "Retries": 1 });
        let wish = json!({ "Image": "busybox", "Cmd": ["sleep", "1000"], "Healthcheck": check });
        let id = daemon.api("POST", "/containers/create", Some(&wish)).json()["Id"].clone();
        let id = id.as_str().expect("an id").to_owned();
        assert_eq!(daemon.api("POST", &format!("/containers/{id}/start"), None).status, 204);
        move || daemon.api("GET", &format!("/containers/{id}/json"), None).json()["State"]["Health"].clone()
    };
    let health = wrong("CMD");
    assert!(eventually(PATIENCE, || health()["Status"] == "unhealthy"));
    let probe = health()["Log"][0].clone();
    assert_eq!(probe["ExitCode"], -1, "it could not be started");
    assert!(probe["Output"].as_str().is_some_and(|text| text.ends_with("$PATH: unknown")), "{probe}");
    assert_eq!(wrong("FROB")(), Value::Null);
}

#[test]
fn a_stop_right_after_the_start_is_heard() {
    let daemon = Daemon::with_busybox();
    // The kernel drops what a process 1 does not listen to, and this one listens late.
    let late = "sleep 0.05; trap 'exit 3' TERM; while true; do sleep 0.02; done";
    daemon.hull(["run", "-d", "--name", "late", "busybox", "sh", "-c", late]).ok();
    assert_eq!(daemon.api("POST", "/containers/late/stop?t=30", None).status, 204);
    assert_eq!(daemon.hull(["inspect", "-f", "{{.State.ExitCode}}", "late"]).ok(), "3");
    // Who never listens is not waited for longer than a moment.
    daemon.hull(["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]).ok();
    let asked = std::time::Instant::now();
    assert_eq!(daemon.api("POST", "/containers/deaf/kill?signal=USR1", None).status, 204);
    assert!(asked.elapsed() < std::time::Duration::from_secs(3));
}

#[test]
fn one_that_waits_for_its_next_try_counts_as_running() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "looping", "--restart", "always", "busybox", "false"]).ok();
    assert!(eventually(PATIENCE, || status(&daemon, "looping") == "restarting"));
    let count =
        || daemon.hull(["inspect", "-f", "{{.RestartCount}}", "looping"]).ok().parse::<u32>().unwrap();
    assert!(eventually(PATIENCE, || count() >= 5), "the pauses are long by now");
    assert_eq!(daemon.api("POST", "/containers/looping/start", None).status, 304);
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", "looping"]).ok().to_owned();
    let text = format!("Container {id} is restarting, wait until the container is running");
    let exec = daemon.api("POST", "/containers/looping/exec", Some(&json!({"Cmd": ["true"]})));
    assert_eq!((exec.status, exec.message()), (409, text));
}

#[test]
fn what_the_kernel_says_of_a_program_is_its_output() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox", "/script"]).ok();
    let script = daemon.dir().join("script");
    std::fs::write(&script, "#!/nosuch\n").expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("chmod");
    daemon.docker(["cp", script.to_str().expect("utf-8"), "box:/script"]).ok();
    daemon.docker(["start", "-a", "box"]).complains("exec /script: no such file or directory").fails(255);
    let state =
        daemon.docker(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", "box"]);
    assert_eq!(state.stdout.trim(), "exited 255");
}
