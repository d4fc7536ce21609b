//! Bad input gets the error that a user of Docker expects, and changes nothing.

use hull_testkit::Daemon;

#[test]
fn a_missing_program_is_127_and_a_directory_126() {
    let daemon = Daemon::with_busybox();
    let missing = daemon.hull(["run", "--rm", "busybox", "nosuchprogram"]);
    missing.complains(r#"exec: "nosuchprogram": executable file not found in $PATH"#).fails(127);
    daemon.hull(["run", "--rm", "busybox", "/nosuch/path"]).complains("no such file or directory").fails(127);
    daemon.hull(["run", "--rm", "busybox", "/tmp"]).fails(126);
    daemon.hull(["run", "--rm", "busybox", "/etc/passwd"]).complains("permission denied").fails(126);
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "", "a failed run --rm leaves no container");
}

#[test]
fn a_failed_start_keeps_the_container_and_says_why() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--name", "broken", "busybox", "nosuchprogram"]).fails(127);
    let state =
        daemon.hull(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", "broken"]);
    assert!(state.ok().starts_with("created 127 "), "{state:#?}");
    state.says("executable file not found");
    daemon.hull(["start", "broken"]).complains("executable file not found").fails(1);
}

#[test]
fn names_are_unique_and_well_formed() {
    let daemon = Daemon::with_busybox();
    let id = daemon.hull(["create", "--name", "web", "busybox"]).ok().to_owned();
    let again = daemon.hull(["create", "--name", "web", "busybox"]);
    again.complains(&format!(
        "Conflict. The container name \"/web\" is already in use by container \"{id}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    ));
    daemon
        .hull(["create", "--name", "a b", "busybox"])
        .complains("Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    assert_eq!(daemon.hull(["ps", "-aq", "--no-trunc"]).ok(), id);
}

#[test]
fn what_is_not_there_is_said() {
    let daemon = Daemon::with_busybox();
    for command in ["start", "stop", "kill", "rm", "pause", "logs", "wait"] {
        daemon.hull([command, "nosuch"]).complains("No such container: nosuch").fails(1);
    }
    daemon.hull(["inspect", "nosuch"]).complains("No such object: nosuch").fails(1);
    daemon.hull(["rmi", "nosuch"]).complains("No such image: nosuch:latest").fails(1);
    daemon.hull(["exec", "nosuch", "true"]).complains("No such container: nosuch").fails(1);
    let gone = daemon.api("POST", "/containers/create", Some(&serde_json::json!({"Image": "nosuch:1"})));
    assert_eq!((gone.status, gone.message()), (404, "No such image: nosuch:1".to_owned()));
}

#[test]
fn states_forbid_what_they_forbid() {
    let daemon = Daemon::with_busybox();
    let id = daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok().to_owned();
    daemon.hull(["rm", "box"]).complains("container is running").fails(1);
    daemon.hull(["unpause", "box"]).complains("is not paused").fails(1);
    daemon.hull(["rmi", "busybox"]).complains("container").fails(1);
    assert_eq!(daemon.api("POST", "/containers/box/start", None).status, 304);
    daemon.hull(["kill", "box"]).ok();
    daemon.hull(["wait", "box"]).ok();
    daemon.hull(["kill", "box"]).complains("is not running").fails(1);
    daemon.hull(["exec", "box", "true"]).complains(&format!("container {id} is not running")).fails(1);
    assert_eq!(daemon.api("POST", "/containers/box/stop", None).status, 304);
}

#[test]
fn flags_and_sizes_are_checked_before_anything_is_made() {
    let daemon = Daemon::with_busybox();
    for (flags, text, code) in [
        (vec!["run", "--nosuchflag", "busybox"], "nosuchflag", 125),
        (vec!["run", "-m", "4x", "busybox"], "invalid", 125),
        (vec!["run", "-m", "1m", "busybox"], "Minimum memory limit allowed is 6MB", 125),
        (vec!["run", "--cpus", "1000", "busybox"], "range of CPUs is from 0.01 to", 125),
        (vec!["run", "--restart", "sometimes", "busybox"], "restart policy", 125),
        (vec!["run", "-p", "99999:80", "busybox"], "invalid hostPort: 99999", 125),
        (vec!["run", "-v", "relative/path:/x:frob", "busybox"], "invalid", 125),
        (
            vec!["run", "--mount", "type=bind,source=/nonexistent,target=/x", "busybox"],
            "bind source path does not exist: /nonexistent",
            125,
        ),
        (vec!["run", "--network", "nosuchnetwork", "busybox"], "network nosuchnetwork not found", 125),
        (vec!["run", "--cap-add", "FROB", "busybox"], "FROB", 125),
        (vec!["run", "--security-opt", "frob=1", "busybox"], "frob", 125),
        (vec!["run", "-u", "4294967296", "busybox"], "", 125),
        (vec!["run", "Not/Valid", "true"], "must be lowercase", 125),
    ] {
        let output = daemon.hull(&flags);
        assert!(output.stderr.contains(text), "{flags:?}: no {text:?} in {output:#?}");
        assert!((125..=126).contains(&output.code), "{flags:?}: {code} is wanted: {output:#?}");
    }
    let left = daemon.hull(["ps", "-a", "--format", "{{.Command}} {{.Status}}"]);
    assert!(left.lines().len() <= 2, "only what failed at its start is left: {left:#?}");
}

#[test]
fn the_api_refuses_what_is_no_request() {
    let daemon = Daemon::start();
    assert_eq!(daemon.api("GET", "/nosuchpath", None).message(), "page not found");
    assert_eq!(daemon.api("GET", "/v1.10/info", None).status, 400);
    let new = daemon.api("GET", "/v9.99/info", None);
    assert!(new.message().contains("client version 9.99 is too new"), "{}", new.message());
    let filter = daemon.api("GET", "/containers/json?filters=%7B%22frob%22%3A%5B%22x%22%5D%7D", None);
    assert_eq!((filter.status, filter.message()), (400, "invalid filter 'frob'".to_owned()));
    let build = daemon.api("POST", "/build", None);
    assert_eq!(build.status, 501);
    assert!(build.message().contains("not supported yet"));
    let swarm = daemon.api("GET", "/nodes", None);
    assert_eq!(swarm.status, 503);
}

#[test]
fn what_cannot_be_killed_or_resized() {
    let daemon = Daemon::with_busybox();
    let id = daemon.hull(["create", "--name", "box", "busybox", "sleep", "1000"]).ok().to_owned();
    let said = |path: &str| {
        let answer = daemon.api("POST", path, None);
        (answer.status, answer.message())
    };
    let kill = |why: &str| format!("cannot kill container: {why}");
    assert_eq!(said("/containers/nosuch/kill"), (404, kill("nosuch: No such container: nosuch")));
    assert_eq!(said("/containers/box/kill"), (409, kill(&format!("box: container {id} is not running"))));
    assert_eq!(said("/containers/box/kill?signal=0"), (400, kill("box: invalid signal: 0")));
    let size = r#"invalid resize height "": invalid syntax"#;
    assert_eq!(said("/containers/box/resize?w=80"), (400, size.to_owned()));
    let size = r#"invalid resize width "-1": value out of range"#;
    assert_eq!(said("/containers/box/resize?h=40&w=-1"), (400, size.to_owned()));
    daemon.hull(["start", "box"]).ok();
    let resized = daemon.api("POST", "/containers/box/resize?h=40&w=80", None);
    assert_eq!(resized.status, 200, "nothing is wrong without a terminal");
}

#[test]
fn links_and_volumes_of_nobody_are_mistakes_of_the_request() {
    let daemon = Daemon::with_busybox();
    let host = serde_json::json!({ "Image": "busybox", "HostConfig": { "Links": ["nosuch"] } });
    let refused = daemon.api("POST", "/containers/create", Some(&host));
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("could not get container for nosuch"), "{}", refused.message());
}

#[test]
fn a_failed_start_is_what_waiters_are_told() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "broken", "busybox", "nosuchprogram"]).ok();
    let started = daemon.api("POST", "/containers/broken/start", None);
    assert_eq!(started.status, 400);
    let text =
        r#"error during container init: exec: "nosuchprogram": executable file not found in $PATH: unknown"#;
    assert!(started.message().ends_with(text), "{}", started.message());
    let waited = daemon.api("POST", "/containers/broken/wait", None).json();
    assert_eq!(waited["StatusCode"], 127);
    assert_eq!(waited["Error"]["Message"], started.message().as_str());
    // With `--rm` they are told of the removal, and the error comes from the start alone.
    let run = daemon.docker(["run", "--rm", "busybox", "nosuchprogram"]);
    assert_eq!(run.code, 127, "{}", run.stderr);
    assert!(!run.stderr.contains("Error waiting for container"), "{}", run.stderr);
}

#[test]
fn keys_and_names_that_are_none() {
    let daemon = Daemon::with_busybox();
    let id = daemon.hull(["create", "--name", "box", "busybox"]).ok().to_owned();
    daemon.hull(["create", "--name", "other", "busybox"]).ok();
    let keys = daemon.api("POST", "/containers/box/attach?detachKeys=ctrl-A,a&stream=1&stdout=1", None);
    assert_eq!((keys.status, &keys.body[..]), (400, &b"Invalid detach keys (ctrl-A,a) provided\r\n"[..]));
    assert_eq!(daemon.api("GET", "/containers/nosuch/attach/ws", None).status, 404);
    let taken = daemon.api("POST", "/containers/other/rename?name=box", None);
    let text = format!("name \"/box\" is already in use by container \"{id}\"");
    assert_eq!(taken.status, 409);
    assert!(taken.message().starts_with("Error when allocating new name: Conflict. "), "{}", taken.message());
    assert!(taken.message().contains(&text), "{}", taken.message());
    let wrong = daemon.api("POST", "/containers/other/rename?name=a%20b", None);
    assert_eq!(wrong.status, 400);
}

#[test]
fn checkpoints_are_refused_as_without_experimental_mode() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name=plain", "busybox", "true"]).ok();
    let why = "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order \
               to enable it.";
    let body = serde_json::json!({"CheckpointID": "one"});
    let all = [
        daemon.api("GET", "/containers/plain/checkpoints", None),
        daemon.api("POST", "/containers/plain/checkpoints", Some(&body)),
        daemon.api("DELETE", "/containers/plain/checkpoints/one", None),
    ];
    for answer in all {
        assert_eq!((answer.status, answer.message().as_str()), (501, why));
    }
    // Before the container is looked for.
    let answer = daemon.api("POST", "/containers/nobody/start?checkpoint=one", None);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.message(), "checkpoint is only supported in experimental mode");
    daemon.api("POST", "/containers/plain/start?checkpoint=", None);
    daemon.hull(["wait", "plain"]).ok();
}
