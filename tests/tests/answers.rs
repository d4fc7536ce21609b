//! Answers as Docker 28 gives them: found by sending the same requests to both daemons.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use hull_testkit::Daemon;
use serde_json::{Value, json};

fn create(daemon: &Daemon, name: &str, more: Value) -> (u16, String) {
    let mut body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"]});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    let answer = daemon.api("POST", &format!("/v1.51/containers/create?name={name}"), Some(&body));
    (answer.status, if answer.status < 300 { String::new() } else { answer.message() })
}

fn post(daemon: &Daemon, path: &str, body: Value) -> (u16, String) {
    let answer = daemon.api("POST", path, Some(&body));
    (answer.status, if answer.status < 300 { String::new() } else { answer.message() })
}

fn inspect(daemon: &Daemon, name: &str) -> Value {
    daemon.api("GET", &format!("/v1.51/containers/{name}/json"), None).json()
}

#[test]
fn filters_may_stand_in_a_url_as_they_are_typed() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    let mut connection = UnixStream::connect(daemon.socket()).unwrap();
    let request = r#"GET /containers/json?all=1&filters={"status":["created"]} HTTP/1.1"#;
    write!(connection, "{request}\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("/box"), "{answer}");
}

#[test]
fn endpoints_are_checked_with_the_container() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "--subnet", "10.199.0.0/24", "mine"]).ok();
    daemon.hull(["network", "create", "pooled"]).ok();
    let refused = |network: &str, settings: Value| {
        let (status, message) = create(
            &daemon,
            "c1",
            json!({
                "HostConfig": {"NetworkMode": network},
                "NetworkingConfig": {"EndpointsConfig": {network: settings}},
            }),
        );
        assert_eq!(status, 400, "{message}");
        message
            .strip_prefix(&format!("invalid config for network {network}: "))
            .unwrap_or(&message)
            .to_owned()
    };
    let wrong = "invalid endpoint settings:\n";
    let bad_mac = "invalid MAC address bad";
    assert_eq!(refused("bridge", Value::Null), "EndpointsConfig is nil");
    assert_eq!(refused("mine", json!({"MacAddress": "bad"})), bad_mac);
    let address = |text: &str| json!({"IPAMConfig": {"IPv4Address": text}});
    assert_eq!(refused("mine", address("bad")), format!("{wrong}invalid IPv4 address: bad"));
    assert_eq!(
        refused("mine", address("1.2.3.4")),
        format!("{wrong}no configured subnet or ip-range contain the IP address 1.2.3.4")
    );
    let unchosen = "user specified IP address is supported only when connecting to networks with user configured subnets";
    assert_eq!(refused("pooled", address("1.2.3.4")), format!("{wrong}{unchosen}"));
    assert_eq!(
        refused("bridge", address("172.17.0.9")),
        format!(
            "{wrong}* user specified IP address is supported on user defined networks only\n* {unchosen}"
        )
    );
    assert_eq!(
        refused("bridge", json!({"Aliases": ["a"]})),
        format!("{wrong}network-scoped alias is supported only for containers in user defined networks")
    );
    let of_bridge = format!("invalid config for network bridge: {bad_mac}");
    assert_eq!(create(&daemon, "c1", json!({"MacAddress": "bad"})).1, of_bridge);
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "", "a refused container is none");

    create(&daemon, "c1", json!({}));
    let connect = |network: &str, settings: Value| {
        let body = json!({"Container": "c1", "EndpointConfig": settings});
        post(&daemon, &format!("/networks/{network}/connect"), body)
    };
    assert_eq!(connect("pooled", address("1.2.3.4")), (400, format!("{wrong}{unchosen}")));
    // Since version 1.52 it is found while the body is read.
    let unread = "invalid JSON: address bad: invalid MAC address";
    assert_eq!(connect("mine", json!({"MacAddress": "bad"})), (400, unread.to_owned()));
    assert_eq!(connect("host", Value::Null).0, 400);
    assert_eq!(connect("none", Value::Null).0, 400);
    assert_eq!(connect("mine", address("10.199.0.77")), (200, String::new()));
}

#[test]
fn networks_are_refused_in_dockers_words() {
    let daemon = Daemon::start();
    let refused = |body: Value| post(&daemon, "/networks/create", body);
    let pool = |pool: Value| refused(json!({"Name": "n1", "IPAM": {"Config": [pool]}}));
    let config = |text: &str| (400, format!("invalid network config:\n{text}"));
    assert_eq!(refused(json!({"Name": "default"})).0, 403);
    assert_eq!(
        refused(json!({"Name": "n1", "EnableIPv4": false})),
        (400, "IPv4 or IPv6 must be enabled".to_owned())
    );
    assert_eq!(refused(json!({"Name": "n1", "Ingress": true})).0, 403);
    assert_eq!(refused(json!({"Name": "n1", "Scope": "swarm"})).0, 403);
    assert_eq!(refused(json!({"Name": "n1", "Driver": "overlay"})).0, 403);
    assert_eq!(
        refused(json!({"Name": "n1", "Driver": "frob"})),
        (404, "plugin \"frob\" not found".to_owned())
    );
    assert_eq!(pool(json!({})), config("invalid subnet : invalid CIDR block notation"));
    assert_eq!(pool(json!({"Subnet": "bad"})), config("invalid subnet bad: invalid CIDR block notation"));
    let with = |field: &str, value: Value| pool(json!({"Subnet": "10.1.0.0/16", field: value}));
    assert_eq!(with("Gateway", json!("bad")), config("invalid gateway bad: invalid address"));
    assert_eq!(with("IPRange", json!("bad")), config("invalid ip-range bad: invalid CIDR block notation"));
    assert_eq!(
        with("IPRange", json!("10.2.0.0/24")),
        config("invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/16 doesn't contain ip-range")
    );
    assert_eq!(
        with("AuxiliaryAddresses", json!({"a": "1.1.1.1"})),
        config("invalid auxiliary address a: parent subnet 10.1.0.0/16 doesn't contain this address")
    );
    let left = daemon.api("GET", "/networks", None).json();
    assert_eq!(left.as_array().unwrap().len(), 3, "{left}");
}

#[test]
fn a_container_without_network_has_none() {
    let daemon = Daemon::with_busybox();
    create(&daemon, "alone", json!({"NetworkDisabled": true}));
    assert_eq!(inspect(&daemon, "alone")["NetworkSettings"]["Networks"], json!({}));
    daemon.hull(["start", "alone"]).ok();
    let settings = &inspect(&daemon, "alone")["NetworkSettings"];
    assert_eq!((&settings["Networks"], &settings["IPAddress"]), (&json!({}), &json!("")));
    assert_eq!(daemon.hull(["exec", "alone", "ls", "/sys/class/net"]).ok(), "lo");
}

#[test]
fn host_and_none_are_endpoints() {
    let daemon = Daemon::with_busybox();
    for mode in ["host", "none"] {
        create(&daemon, mode, json!({"HostConfig": {"NetworkMode": mode}}));
        let id = || {
            inspect(&daemon, mode)["NetworkSettings"]["Networks"][mode]["EndpointID"].as_str().unwrap().len()
        };
        assert_eq!(id(), 0);
        daemon.hull(["start", mode]).ok();
        assert_eq!(id(), 64);
        daemon.hull(["kill", mode]).ok();
        daemon.hull(["wait", mode]).ok();
        assert_eq!(id(), 0);
    }
}

#[test]
fn another_containers_network_is_looked_for_at_the_start() {
    let daemon = Daemon::with_busybox();
    let created = create(&daemon, "guest", json!({"HostConfig": {"NetworkMode": "container:nobody"}}));
    assert_eq!(created, (201, String::new()), "a missing container must not read as a missing image");
    let (_, message) = post(&daemon, "/containers/guest/start", json!(null));
    assert_eq!(message, "joining network namespace of container: No such container: nobody");
}

#[test]
fn what_nobody_probes_any_more_is_unhealthy() {
    let daemon = Daemon::with_busybox();
    create(&daemon, "probed", json!({"Healthcheck": {"Test": ["CMD", "true"]}}));
    create(&daemon, "odd", json!({"Healthcheck": {"Test": ["FROB"]}}));
    let status = |name: &str| inspect(&daemon, name)["State"]["Health"]["Status"].clone();
    daemon.hull(["start", "probed", "odd"]).ok();
    assert_eq!((status("probed"), status("odd")), (json!("starting"), Value::Null));
    daemon.hull(["stop", "-t", "0", "probed"]).ok();
    assert_eq!(status("probed"), "unhealthy");
    daemon.hull(["start", "probed"]).ok();
    assert_eq!(status("probed"), "starting");
}

#[test]
fn emptiness_is_shown_as_docker_shows_it() {
    let daemon = Daemon::with_busybox();
    create(&daemon, "box", json!({}));
    let answer = |path: &str| daemon.api("GET", path, None);
    assert_eq!(answer("/containers/box/changes").json(), Value::Null);
    let listed = answer("/containers/json?all=1&size=1").json();
    assert!(listed[0].get("SizeRw").is_none() && listed[0]["SizeRootFs"].as_i64().unwrap() > 0, "{listed}");
    let unmodified = daemon.api("POST", "/containers/box/stop", None);
    assert_eq!((unmodified.status, unmodified.header("content-type")), (304, ""));
    let used =
        |version: &str| answer(&format!("/{version}/system/df")).json()["Images"][0]["Containers"].clone();
    assert_eq!((used("v1.44"), used("v1.51")), (json!(1), json!(1)));
    assert_eq!(answer("/v1.50/images/json").json()[0]["Containers"], -1);
}

#[test]
fn refusals_name_what_the_user_named() {
    let daemon = Daemon::with_busybox();
    create(&daemon, "box", json!({}));
    daemon.hull(["start", "box"]).ok();
    let message = |method: &str, path: &str| daemon.api(method, path, None).message();
    let removal = message("DELETE", "/containers/box");
    assert!(removal.starts_with("cannot remove container \"box\": container is running"), "{removal}");
    daemon.hull(["pause", "box"]).ok();
    assert!(message("POST", "/containers/box/pause").starts_with("Container "));
    let (_, said) = post(&daemon, "/containers/box/exec", json!({"Cmd": ["true"]}));
    assert_eq!(said, "Container box is paused, unpause the container before exec");
    daemon.hull(["unpause", "box"]).ok();
    assert_eq!(
        post(&daemon, "/containers/box/update", json!({"Memory": 64 << 20})).0,
        409,
        "a limit without one for swap"
    );
    let id = "a".repeat(64);
    let (_, said) = create(&daemon, "c1", json!({"Image": id}));
    assert_eq!(said, format!("No such image: sha256:{id}"));
    let policy = json!({"HostConfig": {"RestartPolicy": {"MaximumRetryCount": 3}}});
    assert_eq!(create(&daemon, "c1", policy).0, 400);
    let mount = json!({"Type": "bind", "Source": "/", "Target": "/x", "BindOptions": {"ReadOnlyForceRecursive": true}});
    let (_, said) = create(&daemon, "c1", json!({"HostConfig": {"Mounts": [mount]}}));
    assert_eq!(said, "mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive");
    let said = message("POST", "/containers/box/rename?name=b@d");
    assert!(said.contains("Invalid container name (/b@d)"), "{said}");
}

#[test]
fn a_commit_tells_of_its_image() {
    let daemon = Daemon::with_busybox();
    create(&daemon, "box", json!({}));
    daemon.hull(["commit", "-m", "a note", "box", "made:1"]).ok();
    daemon.api("POST", "/networks/prune", None);
    daemon.api("POST", "/images/prune", None);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let events = daemon.api("GET", &format!("/events?since=1&until={until}"), None);
    let text = String::from_utf8(events.body.clone()).unwrap();
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<String> = events
        .iter()
        .map(|event| format!("{} {}", event["Type"].as_str().unwrap(), event["Action"].as_str().unwrap()))
        .skip_while(|told| told != "image create")
        .collect();
    assert_eq!(told, ["image create", "image tag", "container commit", "network prune", "image prune"]);
    let commit = events.iter().find(|event| event["Action"] == "commit").unwrap();
    let attributes = &commit["Actor"]["Attributes"];
    assert_eq!((&attributes["imageRef"], &attributes["comment"]), (&json!("made:1"), &json!("a note")));
}
