//! The API itself, as it stands on the wire: versions, paths, methods, bodies, headers.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use hull_testkit::Daemon;
use hull_testkit::http::Response;
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json";

fn get(daemon: &Daemon, path: &str) -> Response {
    daemon.send("GET", path, &[], b"")
}

/// The status and the message of an answer.
fn said(response: &Response) -> (u16, String) {
    (response.status, response.message())
}

#[test]
fn a_ping_says_who_is_there() {
    let daemon = Daemon::start();
    for method in ["GET", "HEAD"] {
        let ping = daemon.send(method, "/_ping", &[], b"");
        assert_eq!(ping.status, 200);
        for (name, value) in [
            ("Api-Version", "1.56"),
            ("Docker-Experimental", "false"),
            ("Ostype", "linux"),
            ("Swarm", "inactive"),
            ("Builder-Version", "1"),
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Pragma", "no-cache"),
            ("Content-Type", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(ping.header(name), value, "{method} {name}");
        }
        assert!(ping.header("Server").starts_with("Docker/"), "{}", ping.head);
        assert_eq!(ping.body, if method == "GET" { b"OK".as_slice() } else { b"" });
    }
    assert_eq!(get(&daemon, "/v1.24/_ping").status, 200);
}

#[test]
fn versions_are_spoken_from_the_oldest_to_the_newest() {
    let daemon = Daemon::start();
    for version in ["1.24", "1.40", "1.51", "1.56", "1.43.7"] {
        assert_eq!(get(&daemon, &format!("/v{version}/info")).status, 200, "{version}");
    }
    for (version, text) in [
        ("1.99", "client version 1.99 is too new. Maximum supported API version is 1.56"),
        ("2.0", "client version 2.0 is too new. Maximum supported API version is 1.56"),
        ("1.99999999999", "client version 1.99999999999 is too new. Maximum supported API version is 1.56"),
    ] {
        assert_eq!(said(&get(&daemon, &format!("/v{version}/info"))), (400, text.to_owned()));
    }
    let old = get(&daemon, "/v1.12/info");
    let text = "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a \
                newer version\n";
    assert_eq!((old.status, old.body.as_slice()), (400, text.as_bytes()));
    assert_eq!(old.header("Content-Type"), "text/plain; charset=utf-8");
    assert_eq!(get(&daemon, "/v1/info").status, 400);
    assert_eq!(get(&daemon, "/version").json()["ApiVersion"], "1.56");
    assert_eq!(get(&daemon, "/version").json()["MinAPIVersion"], "1.24");
}

#[test]
fn unknown_paths_and_methods_are_not_found() {
    let daemon = Daemon::start();
    for (method, path) in [
        ("GET", "/nosuchpath"),
        ("GET", "/"),
        ("GET", "/v1.43"),
        ("GET", "/v1.43/"),
        ("GET", "/vx.y/info"),
        ("GET", "/info/"),
        ("POST", "/info"),
        ("HEAD", "/info"),
        ("DELETE", "/containers/json"),
        ("GET", "/containers/create"),
        ("PATCH", "/containers/a/start"),
        ("GET", "/v9.9/nosuchpath"),
    ] {
        let answer = daemon.send(method, path, &[], b"");
        assert_eq!(answer.status, 404, "{method} {path}");
        // This is the route of a container of that name.
        if method == "DELETE" {
            continue;
        }
        for absent in ["Api-Version", "Docker-Experimental", "Ostype", "Server"] {
            assert_eq!(answer.header(absent), "", "{method} {path}");
        }
        if method != "HEAD" {
            assert_eq!(answer.json(), json!({"message": "page not found"}), "{method} {path}");
        }
    }
    assert_eq!(said(&get(&daemon, "/containers/a/b/json")), (404, "No such container: a/b".to_owned()));
    let options = daemon.send("OPTIONS", "/v1.43/any/route", &[], b"");
    assert_eq!((options.status, options.body.as_slice()), (200, b"".as_slice()));
    assert_eq!(daemon.send("OPTIONS", "/v9.9/any", &[], b"").status, 400);
}

#[test]
fn headers_are_written_as_go_writes_them() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    let stat = daemon.send("HEAD", "/containers/box/archive?path=/bin", &[], b"");
    for name in ["Api-Version: ", "Ostype: ", "Date: ", "X-Docker-Container-Path-Stat: "] {
        assert!(stat.head.lines().any(|line| line.starts_with(name)), "{name}: {}", stat.head);
    }
    let old = get(&daemon, "/v1.12/info");
    assert!(old.head.contains("X-Content-Type-Options: nosniff"), "{}", old.head);
}

#[test]
fn wrong_times_and_filters_are_named_as_docker_names_them() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    for (path, text) in [
        ("/events?since=30s", r#"strconv.ParseInt: parsing "30s": invalid syntax"#),
        ("/containers/box/logs?stdout=1&until=1.x", r#"strconv.ParseInt: parsing "x": invalid syntax"#),
        ("/volumes?filters=garbage", "error reading volume filters: invalid filter"),
        (
            r#"/networks?filters={"dangling":["true","0"]}"#,
            r#"got more than one value for filter key "dangling""#,
        ),
        (
            r#"/networks?filters={"dangling":["maybe"]}"#,
            r#"invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")"#,
        ),
    ] {
        assert_eq!(said(&get(&daemon, path)), (400, text.to_owned()), "{path}");
    }
    let dangling = get(&daemon, r#"/networks?filters={"dangling":["1"]}"#);
    assert_eq!(dangling.json(), json!([]));
}

#[test]
fn odd_slashes_lead_to_the_clean_path() {
    let daemon = Daemon::start();
    for (path, location) in
        [("//containers/json?all=1", "/containers/json?all=1"), ("/v1.43/x/../info", "/v1.43/info")]
    {
        let moved = get(&daemon, path);
        assert_eq!((moved.status, moved.header("Location")), (301, location));
    }
}

#[test]
fn bodies_are_json_and_nothing_else() {
    let daemon = Daemon::start();
    let post =
        |path: &str, headers: &[&str], body: &str| said(&daemon.send("POST", path, headers, body.as_bytes()));
    let is = |message: &str| (400, message.to_owned());
    for path in ["/containers/create", "/networks/create", "/volumes/create", "/containers/x/exec", "/commit"]
    {
        assert_eq!(
            post(path, &["Content-Type: text/plain"], "{}"),
            is("unsupported Content-Type header (text/plain): must be 'application/json'"),
            "{path}"
        );
        assert_eq!(
            post(path, &[JSON], "{invalid json"),
            is("invalid JSON: invalid character 'i' looking for beginning of object key string"),
            "{path}"
        );
        assert_eq!(post(path, &[JSON], "{} trailing"), is("unexpected content after JSON"), "{path}");
        assert_eq!(post(path, &[JSON], "{}{}"), is("unexpected content after JSON"), "{path}");
    }
    let nothing = is("invalid JSON: got EOF while reading request body");
    assert_eq!(post("/containers/create", &[JSON], ""), nothing);
    assert_eq!(post("/containers/create", &[JSON], "[1]").0, 400);
    assert_eq!(post("/containers/create?name=x", &[JSON], &"[".repeat(100_000)).0, 400);
    let huge = format!("{{\"Image\": \"{}\"}}", "a".repeat(9 << 20));
    assert_eq!(post("/containers/create", &[JSON], &huge).0, 400);
    let volume = post("/volumes/create", &[], "");
    assert_eq!(volume.0, 201, "no body is no reason to complain: {volume:?}");
}

#[test]
fn fields_are_read_in_any_case() {
    let daemon = Daemon::with_busybox();
    let body = json!({
        "image": "busybox", "cmd": ["true"], "labels": {"Tier": "a", "tier": "b"},
        "hostconfig": {"networkmode": "none", "memory": 64 << 20, "Sysctls": {"net.core.somaxconn": "9"}},
    });
    let created = daemon.api("POST", "/containers/create?name=box", Some(&body));
    assert_eq!(created.status, 201, "{}", created.message());
    let shown = get(&daemon, "/containers/box/json").json();
    assert_eq!(shown["HostConfig"]["NetworkMode"], "none");
    assert_eq!(shown["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(shown["HostConfig"]["Sysctls"], json!({"net.core.somaxconn": "9"}));
    assert_eq!((&shown["Config"]["Labels"], &shown["Config"]["Cmd"]), (&body["labels"], &body["cmd"]));
    let twice = daemon.send("POST", "/volumes/create", &[JSON], br#"{"Name": "one", "Name": "two"}"#);
    assert_eq!(twice.json()["Name"], "two");
}

#[test]
fn a_request_means_what_its_version_meant() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "first", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["create", "--name", "second", "busybox"]).ok();
    let post = |path: &str, body: &str| said(&daemon.send("POST", path, &[JSON], body.as_bytes()));
    let removed =
        "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24";
    assert_eq!(post("/containers/first/start", r#"{"Binds": []}"#), (400, removed.to_owned()));
    assert_eq!(post("/containers/first/start", "{}").0, 204);
    assert_eq!(post("/containers/first/stop?signal=frob", "").0, 400);
    assert_eq!(post("/v1.41/containers/first/stop?signal=frob&t=0", "").0, 204);
    assert_eq!(post("/containers/first/wait?condition=frob", "").0, 400);
    assert_eq!(post("/v1.29/containers/first/wait?condition=frob", "").0, 200);
    let names = |query: &str| {
        let list = get(&daemon, &format!("/containers/json?all=1&{query}")).json();
        let list = list.as_array().unwrap().iter();
        list.map(|container| container["Names"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("since=first"), ["/second"]);
    assert_eq!(names("before=second"), ["/first"]);
    let id = daemon.api("POST", "/commit?container=first", None).json()["Id"].as_str().unwrap().to_owned();
    let first = get(&daemon, "/containers/first/json").json()["Id"].clone();
    assert_eq!(get(&daemon, &format!("/v1.44/images/{id}/json")).json()["Container"], first);
    assert!(get(&daemon, &format!("/v1.45/images/{id}/json")).json().get("Container").is_none());
    let twice = "/prune?filters=%7B%22until%22%3A%5B%221h%22%2C%222h%22%5D%7D";
    for kind in ["containers", "images", "networks"] {
        let text = "more than one until filter specified".to_owned();
        assert_eq!(post(&format!("/{kind}{twice}"), ""), (400, text), "{kind}");
    }
    assert_eq!(post("/commit?container=", ""), (400, "invalid name or ID supplied: \"\"".to_owned()));
    assert_eq!(post("/images/create?fromImage=a@b", ""), (400, "invalid reference format".to_owned()));
    let pid = get(&daemon, "/containers/first/top?ps_args=-o%20pid%3D");
    assert_eq!(pid.status, 409, "{}", pid.message());
}

#[test]
fn a_client_chooses_the_form_of_an_answer() {
    let daemon = Daemon::with_busybox();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 1;
    let events = |accept: &str| daemon.send("GET", &format!("/events?since=0&until={now}"), &[accept], b"");
    for (accept, form) in [
        ("X-None: 1", "application/json"),
        ("Accept: */*", "application/jsonl"),
        ("Accept: application/x-ndjson", "application/x-ndjson"),
        ("Accept: application/json-seq", "application/json-seq"),
    ] {
        let told = events(accept);
        assert_eq!(told.header("Content-Type"), form);
        let separated = told.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let separated: Vec<bool> = separated.map(|line| line[0] == 0x1e).collect();
        assert!(!separated.is_empty() && separated.iter().all(|is| *is == form.ends_with("seq")), "{accept}");
    }
    let usage = |query: &str| get(&daemon, &format!("/system/df?type=image{query}")).json();
    let keys = |shown: &Value| shown.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&usage("")), ["ImageUsage", "Images", "LayersSize"]);
    assert_eq!(keys(&usage("&verbose=0")), ["ImageUsage"]);
    assert!(usage("&verbose=0")["ImageUsage"].get("Items").is_none());
    assert_eq!(usage("&verbose=1")["ImageUsage"]["Items"][0]["RepoTags"], json!(["busybox:latest"]));
    assert_eq!(usage("&verbose=x"), json!({"message": "invalid value for verbose: x"}));
}

#[test]
fn a_session_needs_its_directory() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let body = json!({"Cmd": ["pwd"], "WorkingDir": "/nowhere"});
    let id =
        daemon.api("POST", "/containers/box/exec", Some(&body)).json()["Id"].as_str().unwrap().to_owned();
    let answer = daemon.api("POST", &format!("/exec/{id}/start"), Some(&json!({"Detach": true})));
    let text = "chdir to cwd (\"/nowhere\") set in config.json failed: no such file or directory";
    assert!(
        answer.status == 400 && answer.message().contains(text),
        "{} {}",
        answer.status,
        answer.message()
    );
    assert_eq!(get(&daemon, &format!("/exec/{id}/json")).json()["ExitCode"], 127);
    assert_eq!(daemon.send("HEAD", "/containers/box/archive?path=/nowhere", &[], b"").status, 404);
    // A part of a processor that is too small for the kernel is the caller's mistake.
    let update = daemon.api("POST", "/containers/box/update", Some(&json!({"NanoCpus": 1_000_000})));
    assert_eq!(update.status, 400, "{}", update.message());
    daemon.hull(["rm", "-f", "box"]).ok();
}

#[test]
fn a_refused_conversation_is_plain_text() {
    let daemon = Daemon::start();
    for headers in [&["Connection: Upgrade", "Upgrade: tcp"][..], &[]] {
        let answer = daemon.send("POST", "/containers/nosuch/attach?stream=1", headers, b"");
        assert_eq!(answer.status, 404);
        assert_eq!(answer.header("Content-Type"), "application/vnd.docker.raw-stream");
        assert_eq!(answer.body, b"No such container: nosuch\r\n");
    }
}

#[test]
fn a_network_tells_how_many_addresses_are_left() {
    let daemon = Daemon::with_busybox();
    let pool = json!({"Subnet": "10.9.8.0/24", "IPRange": "10.9.8.128/28", "AuxiliaryAddresses": {"a": "10.9.8.130"}});
    let pool6 = json!({"Subnet": "fd00:9::/96"});
    let body = json!({"Name": "net", "EnableIPv6": true, "IPAM": {"Config": [pool, pool6]}});
    assert_eq!(daemon.api("POST", "/networks/create", Some(&body)).status, 201);
    let subnets = || get(&daemon, "/networks/net").json()["Status"]["IPAM"]["Subnets"].clone();
    assert_eq!(subnets()["10.9.8.0/24"], json!({"IPsInUse": 4, "DynamicIPsAvailable": 15}));
    assert_eq!(subnets()["fd00:9::/96"], json!({"IPsInUse": 2, "DynamicIPsAvailable": 4_294_967_294_u64}));
    daemon.hull(["run", "-d", "--network", "net", "--name", "box", "busybox", "sleep", "1000"]).ok();
    assert_eq!(subnets()["10.9.8.0/24"], json!({"IPsInUse": 5, "DynamicIPsAvailable": 14}));
    assert_eq!(subnets()["fd00:9::/96"]["IPsInUse"], 3);
    assert!(get(&daemon, "/v1.51/networks/net").json().get("Status").is_none());
    assert!(get(&daemon, "/networks").json()[0].get("Status").is_none());
    assert_eq!(get(&daemon, "/networks/none").json()["Status"], json!({"IPAM": {}}));
    daemon.hull(["rm", "-f", "box"]).ok();
    daemon.hull(["network", "rm", "net"]).ok();
}

#[test]
fn queries_are_read_as_docker_reads_them() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    let count = |path: &str| get(&daemon, path).json().as_array().map(Vec::len);
    for (value, all) in [("1", true), ("true", true), ("yes", true), ("T", true), ("on", true), ("", false)] {
        assert_eq!(count(&format!("/containers/json?all={value}")), Some(usize::from(all)), "{value}");
    }
    for value in ["0", "no", "false", "none", "False", "NO", "%20false%20"] {
        assert_eq!(count(&format!("/containers/json?all={value}")), Some(0), "{value}");
    }
    let is = |message: &str| (400, message.to_owned());
    let asked = |path: &str| said(&get(&daemon, path));
    assert_eq!(asked("/containers/json?limit=x"), is("strconv.Atoi: parsing \"x\": invalid syntax"));
    assert_eq!(asked("/containers/json?all=%zz"), is("invalid URL escape \"%zz\""));
    assert_eq!(asked("/containers/json?a=1;b=2"), is("invalid semicolon separator in query"));
}

#[test]
fn filters_come_in_two_forms_and_are_checked() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "--label", "a=b", "busybox"]).ok();
    let asked = |filters: &str| {
        let filters = filters.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace('=', "%3D");
        get(&daemon, &format!("/containers/json?all=1&filters={filters}"))
    };
    for filters in [r#"{"label":["a=b"]}"#, r#"{"label":{"a=b":true}}"#, r#"{"name":["b.x"],"id":null}"#] {
        assert_eq!(asked(filters).json().as_array().map(Vec::len), Some(1), "{filters}");
    }
    for (filters, message) in [
        (r#"{"frob":["x"]}"#, "invalid filter 'frob'"),
        ("[]", "invalid filter"),
        ("x", "invalid filter"),
        (r#"{"label":1}"#, "invalid filter"),
    ] {
        assert_eq!(said(&asked(filters)), (400, message.to_owned()), "{filters}");
    }
    let dangling = get(&daemon, "/images/json?filters=%7B%22dangling%22:%5B%22maybe%22%5D%7D");
    assert_eq!(said(&dangling), (400, "invalid filter 'dangling=[maybe]'".to_owned()));
}

/// Whether a field is there, by the pointer to it, in the newest version that lacks or has it and in its neighbour.
fn there(daemon: &Daemon, path: &str, field: &str, minor: u16) -> bool {
    let answer = get(daemon, &format!("/v1.{minor}{path}")).json();
    let first = match &answer {
        Value::Array(list) => list.first().cloned().unwrap_or_default(),
        other => other.clone(),
    };
    first.pointer(field).is_some()
}

#[test]
fn fields_come_and_go_with_the_versions() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "--annotation", "a=b", "busybox"]).ok();
    for (path, field, since) in [
        ("/containers/json?all=1", "/HostConfig/Annotations", 46),
        ("/containers/json?all=1", "/Health", 52),
        ("/images/json?manifests=1", "/Descriptor", 48),
        ("/images/json?manifests=1", "/Manifests", 47),
        ("/images/busybox/json?manifests=1", "/Descriptor", 48),
        ("/images/busybox/json?manifests=1", "/Manifests", 48),
        ("/info", "/FirewallBackend", 49),
        ("/info", "/DiscoveredDevices", 50),
        ("/system/df", "/ImageUsage", 52),
    ] {
        assert!(there(&daemon, path, field, since), "{path} {field} in 1.{since}");
        assert!(!there(&daemon, path, field, since - 1), "{path} {field} before 1.{since}");
    }
    for (path, field, until) in [
        ("/containers/box/json", "/NetworkSettings/IPAddress", 52),
        ("/images/json", "/VirtualSize", 44),
        ("/images/busybox/json", "/VirtualSize", 44),
        ("/images/busybox/json", "/ContainerConfig", 45),
        ("/images/busybox/json", "/Config/Hostname", 50),
        ("/images/busybox/json", "/Config/OnBuild", 52),
        ("/images/busybox/json", "/Parent", 52),
        ("/info", "/RegistryConfig/AllowNondistributableArtifactsCIDRs", 49),
        ("/info", "/RuncCommit/Expected", 49),
        ("/info", "/BridgeNfIptables", 50),
    ] {
        assert!(there(&daemon, path, field, until - 1), "{path} {field} until 1.{until}");
        assert!(!there(&daemon, path, field, until), "{path} {field} in 1.{until}");
    }
}

#[test]
fn disk_usage_has_two_forms() {
    let daemon = Daemon::with_busybox();
    let old = get(&daemon, "/v1.51/system/df").json();
    assert!(old["LayersSize"].as_i64() > Some(0) && old["Images"][0]["Size"] == old["LayersSize"], "{old}");
    let both = get(&daemon, "/v1.52/system/df").json();
    assert_eq!(both["Images"], get(&daemon, "/v1.51/system/df").json()["Images"]);
    assert_eq!(both["ImageUsage"]["TotalSize"], old["LayersSize"]);
    assert_eq!(both["ImageUsage"]["Reclaimable"], old["LayersSize"], "nobody uses it");
    let new = get(&daemon, "/v1.52/system/df?verbose=1").json();
    assert!(new.get("Images").is_none() && new["ImageUsage"]["Items"][0]["Containers"] == 0, "{new}");
    let one = get(&daemon, "/v1.44/system/df?type=volume").json();
    let others =
        json!({"BuildCache": null, "Containers": null, "Images": null, "LayersSize": 0, "Volumes": []});
    assert_eq!(one, others, "lists that nobody asked for are there, and none");
    let other = get(&daemon, "/system/df?type=frob");
    assert_eq!(said(&other), (400, "unknown object type: frob".to_owned()));
}

/// The containers that a list with these filters shows, by name.
fn listed(daemon: &Daemon, query: &str, filters: &Value) -> Vec<String> {
    let list = listing(daemon, query, filters);
    assert_eq!(list.status, 200, "{filters}: {}", list.message());
    let list = list.json();
    let names = list.as_array().unwrap().iter().map(|container| container["Names"][0].as_str().unwrap());
    names.map(|name| name.trim_start_matches('/').to_owned()).collect()
}

fn listing(daemon: &Daemon, query: &str, filters: &Value) -> Response {
    let escaped: String = filters.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    get(daemon, &format!("/containers/json?filters={escaped}&{query}"))
}

#[test]
fn containers_are_listed_by_every_filter() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "net"]).ok();
    daemon.hull(["tag", "busybox", "other:1"]).ok();
    let create = ["create", "--name", "first", "--label", "a=b", "-v", "data:/data", "busybox", "true"];
    let first = daemon.hull(create).ok().to_owned();
    daemon.hull(["create", "--name", "second", "--annotation", "note=1", "-v", "/tmp:/t", "other:1"]).ok();
    let run =
        ["run", "-d", "--name", "third", "--network", "net", "-p", "18077:80", "--expose", "90", "busybox"];
    daemon.hull([run.as_slice(), &["sleep", "1000"]].concat()).ok();
    daemon.hull(["run", "--name", "fourth", "--network", "none", "busybox", "sh", "-c", "exit 3"]).fails(3);
    let net = daemon.hull(["network", "inspect", "-f", "{{.Id}}", "net"]).ok().to_owned();
    for (query, filters, names) in [
        ("", json!({}), "third"),
        ("all=1", json!({}), "fourth third second first"),
        ("limit=2", json!({}), "fourth third"),
        ("limit=-1", json!({}), "third"),
        ("all=1", json!({"before": ["third"]}), "second first"),
        ("all=1", json!({"since": [first]}), "fourth third second"),
        ("all=1", json!({"since": ["first"], "before": ["fourth"]}), "third second"),
        ("all=1", json!({"name": ["ir"]}), "third first"),
        ("all=1", json!({"name": ["^/first$"]}), "first"),
        ("all=1", json!({"name": ["^first$", "second"]}), "second first"),
        ("all=1", json!({"name": ["["]}), ""),
        ("all=1", json!({"id": [&first[..20]]}), "first"),
        ("all=1", json!({"id": [&first[1..20]]}), ""),
        ("all=1", json!({"id": [first], "name": ["second"]}), ""),
        ("all=1", json!({"label": ["a"]}), "first"),
        ("all=1", json!({"label": ["a=c"]}), ""),
        ("all=1", json!({"annotation": ["note=1"]}), "second"),
        ("", json!({"status": ["created"]}), "second first"),
        ("", json!({"status": ["exited", "running"]}), "fourth third"),
        ("all=1", json!({"exited": ["3"]}), "fourth"),
        ("all=1", json!({"exited": ["0"]}), ""),
        ("", json!({"exited": ["3"]}), ""),
        ("all=1", json!({"volume": ["data"]}), "first"),
        ("all=1", json!({"volume": ["/t"]}), "second"),
        ("all=1", json!({"volume": ["/tmp"]}), "second"),
        ("all=1", json!({"network": ["net"]}), "third"),
        ("all=1", json!({"network": [&net[..10]]}), "third"),
        ("all=1", json!({"network": ["none", "net"]}), "fourth third"),
        ("all=1", json!({"publish": ["18077"]}), "third"),
        ("all=1", json!({"publish": ["18000-18100/tcp"]}), "third"),
        ("all=1", json!({"publish": ["80"]}), ""),
        ("all=1", json!({"expose": ["80/tcp"]}), "third"),
        ("all=1", json!({"expose": ["90"], "publish": ["1"]}), "third"),
        ("all=1", json!({"expose": ["80/udp"]}), ""),
        ("all=1", json!({"ancestor": ["busybox"]}), "fourth third second first"),
        ("all=1", json!({"ancestor": ["nosuch"]}), ""),
        ("all=1", json!({"health": ["none"], "label": ["a=b"]}), "first"),
        ("all=1", json!({"is-task": ["true"]}), ""),
        ("all=1", json!({"is-task": ["false"], "name": ["first"]}), "first"),
        ("all=1", json!({"isolation": ["x"], "name": ["first"]}), "first"),
    ] {
        assert_eq!(listed(&daemon, query, &filters).join(" "), names, "{query} {filters}");
    }
}

#[test]
fn filters_of_containers_are_checked() {
    let daemon = Daemon::start();
    for (filters, status, message) in [
        (
            json!({"status": ["rubbish"]}),
            400,
            "invalid filter 'status=rubbish': invalid value for state (rubbish): must be one of created, running, paused, \
             restarting, removing, exited, dead",
        ),
        (
            json!({"health": ["ill"]}),
            400,
            "invalid filter 'health=ill': invalid value for health (ill): must be one of none, starting, healthy, unhealthy",
        ),
        (
            json!({"exited": ["x"]}),
            400,
            "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (json!({"is-task": ["x"]}), 400, "invalid filter 'is-task=[x]'"),
        (json!({"before": ["nosuch"]}), 404, "No such container: nosuch"),
        (json!({"publish": ["1.2.3.4:80"]}), 400, "filter for 'publish' should not contain ':': 1.2.3.4:80"),
        (json!({"expose": ["x"]}), 400, "error while looking up for expose x: invalid port: x/tcp"),
    ] {
        assert_eq!(said(&listing(&daemon, "all=1", &filters)), (status, message.to_owned()), "{filters}");
    }
}

#[test]
fn a_list_knows_an_image_by_its_name_while_it_has_it() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox"]).ok();
    let image = || get(&daemon, "/containers/json?all=1").json()[0].clone();
    assert_eq!(image()["Image"], "busybox");
    assert_eq!(image()["Health"], json!({"Status": "none", "FailingStreak": 0}));
    daemon.hull(["tag", "busybox", "kept:1"]).ok();
    daemon.hull(["rmi", "busybox"]).ok();
    assert_eq!(image()["Image"], image()["ImageID"]);
}

#[test]
fn what_is_pruned_is_told_line_by_line() {
    let daemon = Daemon::with_busybox();
    let container = daemon.hull(["create", "busybox"]).ok().to_owned();
    daemon.hull(["network", "create", "net"]).ok();
    daemon.hull(["volume", "create", "vol"]).ok();
    for (kind, query, field, id) in [
        ("containers", "", "ContainersDeleted", container.as_str()),
        ("networks", "", "NetworksDeleted", "net"),
        ("volumes", "&filters=%7B%22all%22:%5B%22true%22%5D%7D", "VolumesDeleted", "vol"),
        ("images", "&filters=%7B%22dangling%22:%5B%22false%22%5D%7D", "ImagesDeleted", "busybox:latest"),
        ("build", "", "CachesDeleted", ""),
    ] {
        let told = daemon.send("POST", &format!("/{kind}/prune?stream=true{query}"), &[], b"");
        assert_eq!((told.status, told.header("Content-Type")), (200, "application/jsonl"), "{kind}");
        let text = String::from_utf8(told.body).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (report, steps) = lines.split_last().unwrap();
        assert!(report["aux"].get(field).is_some(), "{kind}: {report}");
        let status = if kind == "images" { "untagged" } else { "deleted" };
        let first = if id.is_empty() { Value::Null } else { json!({"id": id, "status": status}) };
        assert_eq!(steps.first().cloned().unwrap_or_default(), first, "{kind}");
    }
    let old = daemon.send("POST", "/v1.55/containers/prune?stream=true", &[], b"");
    assert_eq!(old.json(), json!({"ContainersDeleted": null, "SpaceReclaimed": 0}));
}
