//! What is told of what happened, and for how long it is known.

use std::time::Duration;

use hull_testkit::Daemon;
use hull_testkit::images::{file, pack};
use serde_json::{Value, json};

/// The daemon's time, as its clients ask for events.
fn now() -> String {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}

/// Everything that happened since then and that the filters want.
fn events(daemon: &Daemon, since: &str, filters: &Value) -> Vec<Value> {
    let filters = filters.to_string().replace('"', "%22").replace(' ', "%20");
    let answer =
        daemon.api("GET", &format!("/v1.51/events?since={since}&until={}&filters={filters}", now()), None);
    assert_eq!(answer.status, 200, "{}", answer.message());
    let text = String::from_utf8(answer.body).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

/// "type action" of each.
fn told(events: &[Value]) -> Vec<String> {
    let word = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| format!("{} {}", word(event, "Type"), word(event, "Action"))).collect()
}

#[test]
fn a_life_is_told_in_order() {
    let daemon = Daemon::with_busybox();
    let since = now();
    daemon
        .hull([
            "run",
            "--rm",
            "--name",
            "box",
            "--label",
            "tier=front",
            "-v",
            "data:/data",
            "busybox",
            "true",
        ])
        .ok();
    let all = events(&daemon, &since, &json!({}));
    let expected = [
        "volume create",
        "container create",
        "container attach",
        "volume mount",
        "network connect",
        "container start",
        "network disconnect",
        "volume unmount",
        "container die",
        "container destroy",
    ];
    assert_eq!(told(&all), expected);
    let start = &all[5];
    assert_eq!(start["Actor"]["Attributes"], json!({ "image": "busybox", "name": "box", "tier": "front" }));
    assert_eq!((&start["status"], &start["from"]), (&json!("start"), &json!("busybox")));
    assert_eq!(start["id"], start["Actor"]["ID"]);
    let id = &start["id"];
    let mount = json!({ "container": id, "destination": "/data", "driver": "local", "propagation": "",
        "read/write": "true" });
    assert_eq!((&all[3]["Actor"]["ID"], &all[3]["Actor"]["Attributes"]), (&json!("data"), &mount));
    assert_eq!(all[7]["Actor"]["Attributes"], json!({ "container": id, "driver": "local" }));
    let network = json!({ "container": id, "name": "bridge", "type": "bridge" });
    assert_eq!(all[4]["Actor"]["Attributes"], network);
    assert_eq!(all[8]["Actor"]["Attributes"]["exitCode"], "0");
    assert!(all[8]["Actor"]["Attributes"]["execDuration"].is_string());
    let times: Vec<i64> = all.iter().filter_map(|event| event["timeNano"].as_i64()).collect();
    assert!(times.is_sorted() && times.len() == all.len());
}

#[test]
fn the_past_survives_the_daemon() {
    let mut daemon = Daemon::with_busybox();
    let since = now();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    daemon.kill9();
    daemon.restart();
    daemon.hull(["rm", "box"]).ok();
    let found = events(&daemon, &since, &json!({ "container": ["box"] }));
    assert_eq!(told(&found), ["container create", "container destroy"]);
    daemon.restart();
    assert_eq!(events(&daemon, &since, &json!({ "event": ["destroy"] })).len(), 1);
    assert!(events(&daemon, "0", &json!({ "type": ["container"] })).len() >= 2, "since the beginning");
}

#[test]
fn bounds_are_moments() {
    let daemon = Daemon::with_busybox();
    let before = now();
    daemon.hull(["volume", "create", "one"]).ok();
    let between = now();
    daemon.hull(["volume", "create", "two"]).ok();
    assert_eq!(events(&daemon, &before, &json!({})).len(), 2);
    assert_eq!(events(&daemon, &between, &json!({})).len(), 1);
    let until = |until: &str| daemon.api("GET", &format!("/events?until={until}"), None).body;
    assert_eq!(
        String::from_utf8_lossy(&until(&between)).matches("timeNano").count(),
        2,
        "and the image's load"
    );
    let wrong = daemon.api("GET", &format!("/events?since={between}&until={before}"), None);
    assert_eq!(wrong.status, 400);
    let message = format!("`since` time ({between}) cannot be after `until` time ({before})");
    assert_eq!(wrong.message(), message);
    // The client asks for whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let cli = daemon.docker(["events", "--since", "1m", "--until", "0s", "--filter", "type=volume"]);
    assert_eq!(cli.lines().len(), 2, "{cli:#?}");
    let newest = daemon.api("GET", &format!("/v1.52/events?since={before}&until={}", now()), None);
    assert!(!String::from_utf8_lossy(&newest.body).contains("\"status\""));
}

#[test]
fn prunes_and_commits_are_told() {
    let daemon = Daemon::with_busybox();
    let since = now();
    for kind in ["containers", "images", "networks", "volumes"] {
        assert_eq!(daemon.api("POST", &format!("/{kind}/prune"), None).status, 200, "{kind}");
    }
    let pruned = events(&daemon, &since, &json!({"event": ["prune"]}));
    let kinds: Vec<_> = pruned.iter().map(|event| event["Type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["container", "image", "network", "volume"]);
    assert!(pruned.iter().all(|event| event["Actor"]["Attributes"]["reclaimed"] == "0"), "{pruned:?}");
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    let since = now();
    let id = daemon.hull(["commit", "-m", "why", "box", "made:1"]).ok().to_owned();
    let told = events(&daemon, &since, &json!({}));
    let [made, tag, commit] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&made["Type"], &made["Action"]), (&json!("image"), &json!("create")));
    assert_eq!((&tag["Action"], &tag["Actor"]["Attributes"]["name"]), (&json!("tag"), &json!("made:1")));
    let attributes = &commit["Actor"]["Attributes"];
    assert_eq!(
        [&commit["Action"], &attributes["comment"], &attributes["imageID"], &attributes["imageRef"]],
        ["commit", "why", &id, "made:1"]
    );
}

#[test]
fn details_are_found_by_their_names() {
    let daemon = Daemon::with_busybox();
    let since = now();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "100"]).ok();
    daemon.hull(["exec", "box", "sh", "-c", "exit 3"]).fails(3);
    daemon.hull(["rename", "box", "crate"]).ok();
    daemon.hull(["pause", "crate"]).ok();
    daemon.hull(["unpause", "crate"]).ok();
    daemon.hull(["top", "crate"]).ok();
    daemon.hull(["kill", "crate"]).ok();
    daemon.hull(["wait", "crate"]).ok();
    daemon.hull(["tag", "busybox", "other:tag"]).ok();
    daemon.hull(["rmi", "other:tag"]).ok();
    let one = |action: &str| {
        let mut found = events(&daemon, &since, &json!({ "event": [action] }));
        assert_eq!(found.len(), 1, "{action}: {found:#?}");
        found.remove(0)
    };
    let attribute =
        |event: &Value, name: &str| event["Actor"]["Attributes"][name].as_str().unwrap_or("").to_owned();
    assert_eq!(one("exec_create")["Action"], "exec_create: sh -c exit 3");
    assert_eq!(one("exec_start")["Action"], "exec_start: sh -c exit 3");
    assert_eq!(attribute(&one("exec_die"), "exitCode"), "3");
    assert_eq!(attribute(&one("exec_die"), "execID").len(), 64);
    assert_eq!(attribute(&one("rename"), "oldName"), "/box");
    assert_eq!(attribute(&one("kill"), "signal"), "9");
    assert_eq!(attribute(&one("die"), "exitCode"), "137");
    for action in ["pause", "unpause", "top"] {
        assert_eq!(attribute(&one(action), "name"), "crate");
    }
    assert_eq!(attribute(&one("tag"), "name"), "other:tag");
    assert!(one("tag")["Actor"]["ID"].as_str().is_some_and(|id| id.starts_with("sha256:")));
    assert_eq!(one("untag")["Actor"]["ID"], one("tag")["Actor"]["ID"]);
}

#[test]
fn a_commit_tells_of_its_image() {
    let daemon = Daemon::with_busybox();
    let since = now();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    let id = daemon.hull(["commit", "-m", "a note", "box", "kept"]).ok().to_owned();
    daemon.hull(["commit", "box"]).ok();
    let found = events(&daemon, &since, &json!({ "event": ["commit", "tag"] }));
    let said = |at: usize, name: &str| found[at]["Actor"]["Attributes"][name].as_str();
    let actions: Vec<_> = found.iter().map(|event| event["Action"].as_str().unwrap_or_default()).collect();
    assert_eq!(actions, ["tag", "commit", "commit"]);
    assert_eq!(said(0, "name"), Some("kept:latest"));
    assert_eq!((said(1, "comment"), said(1, "imageRef")), (Some("a note"), Some("kept:latest")));
    assert!(said(1, "imageID").is_some_and(|image| image.ends_with(&id)), "{id}: {found:#?}");
    assert_eq!((said(2, "comment"), said(2, "imageRef")), (Some(""), Some("")));
}

#[test]
fn listeners_are_told_as_it_happens() {
    let daemon = Daemon::with_busybox();
    let listener = daemon.spawn_docker([
        "events",
        "--filter",
        "type=network",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    ]);
    std::thread::sleep(Duration::from_millis(500));
    daemon.hull(["network", "create", "net"]).ok();
    daemon.hull(["network", "rm", "net"]).ok();
    listener.wait_for("create net\ndestroy net\n");
    drop(listener);
}

#[test]
fn names_of_images_come_and_go_with_their_labels() {
    let daemon = Daemon::start();
    let since = now();
    let archive = pack(&[(file("x", 0o600), b"x")]);
    let path = "/images/create?fromSrc=-&repo=heard&tag=1&changes=LABEL%20a%3Db";
    assert_eq!(daemon.send("POST", path, &["Content-Type: application/x-tar"], &archive).status, 200);
    daemon.hull(["rmi", "heard:1"]).ok();
    let found = events(&daemon, &since, &json!({ "type": ["image"] }));
    assert_eq!(told(&found), ["image tag", "image import", "image untag", "image delete"]);
    let of = |event: &Value, name: &str| event["Actor"]["Attributes"][name].clone();
    assert_eq!(of(&found[0], "name"), "heard:1");
    let labels: Vec<_> = found.iter().map(|event| of(event, "a")).collect();
    assert_eq!(labels, [json!("b"), json!("b"), json!("b"), Value::Null]);
}

#[test]
fn what_is_thawed_to_end_is_told_and_what_never_ran_did_not_die() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["exec", "box", "nosuch"]).fails(127);
    daemon.hull(["pause", "box"]).ok();
    let since = now();
    daemon.hull(["kill", "box"]).ok();
    let ends = events(&daemon, &since, &json!({ "type": ["container"] }));
    assert_eq!(told(&ends), ["container kill", "container unpause", "container die"]);
    let died = events(&daemon, "0", &json!({ "event": ["exec_die"] }));
    assert!(died.is_empty(), "{died:?}");
}
