//! Every route of the table with parameters and bodies that are right, nearly right, and wrong: no answer of 500, none
//! that does not come, no panic, and the daemon goes on.
//!
//! The requests are the same each time. `HULL_FUZZ_REQUESTS` asks for more of them, `HULL_FUZZ_SEED` for others.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hull_api::wire::container::{ContainerConfig, ContainerCreateRequest};
use hull_api::wire::exec::{ExecCreateRequest, ExecStartRequest};
use hull_api::wire::host::UpdateRequest;
use hull_api::wire::network::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};
use hull_api::wire::system::AuthConfig;
use hull_api::wire::volume::VolumeCreateRequest;
use hull_testkit::Daemon;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// How many requests, without the variable.
const REQUESTS: usize = 700;
/// An answer begins in that time, on two busy cores; a stop that waits and stats that measure take their seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many bytes of an endless answer are enough.
const ENOUGH: usize = 64 << 10;

/// Numbers that look random and are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() >> 11).unwrap() % end
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Names and other words: some that mean something here, and some that mean nothing anywhere.
const WORDS: &[&str] = &[
    "box",
    "run",
    "busybox",
    "busybox:latest",
    "net",
    "vol",
    "bridge",
    "none",
    "local",
    "json-file",
    "80/tcp",
    "8000-8010/udp",
    "true",
    "0",
    "-1",
    "a=b",
    "latest",
    "",
    " ",
    "/",
    "..",
    "a b",
    "ä€😀",
    "%",
    "\u{1}",
    "{}",
    "[",
    "null",
    "SIGKILL",
    "9",
    "no",
    "10.99.0.0/24",
    "10.99.0.9",
    "fd00::/64",
    "02:42:ac:11:00:99",
    "root",
    "0:0",
    "1.5",
    "99999999999999999999",
    "sha256:0",
    "UPPER/case",
    "127.0.0.1:1/no/such:image",
];
const NUMBERS: &[i64] =
    &[0, 1, -1, 2, 10, 4096, 65_535, 65_536, 6_291_456, i64::MAX, i64::MIN, 1 << 31, -4096];
/// What the paths name.
const NAMES: &[&str] =
    &["box", "box", "run", "run", "net", "vol", "busybox", "nosuch", "a/b", "0", "%20", "ä", "..."];
const FILTERS: &[&str] = &[
    "label",
    "label!",
    "name",
    "id",
    "status",
    "before",
    "since",
    "until",
    "dangling",
    "reference",
    "ancestor",
    "expose",
    "publish",
    "network",
    "volume",
    "health",
    "exited",
    "is-task",
    "isolation",
    "driver",
    "scope",
    "type",
    "event",
    "container",
    "image",
    "enabled",
    "stars",
    "all",
    "frob",
];

/// What kind of value a query parameter has; all that are not here take words.
fn parameter(dice: &mut Dice, name: &str) -> String {
    let word = dice.pick(WORDS).to_owned();
    if dice.one_in(5) {
        return word;
    }
    match name {
        "filters" => filters(dice),
        "limit" | "h" | "w" | "tail" | "version" | "memory" | "timeout" | "reserved-space" => {
            dice.pick(NUMBERS).to_string()
        }
        // Waiting as long as one is told is no hang.
        "t" => dice.pick(&["0", "1", "x", ""]).to_owned(),
        "since" | "until" => {
            dice.pick(&["0", "1700000000.5", "2023-11-14T22:13:20Z", "1h", "-5", "x"]).to_owned()
        }
        "platform" | "platforms" => dice
            .pick(&[
                "linux/amd64",
                r#"{"os":"linux","architecture":"amd64"}"#,
                r#"{"os":"linux"}"#,
                "a/b/c/d",
                "{",
            ])
            .to_owned(),
        "condition" => dice.pick(&["not-running", "next-exit", "removed", "x"]).to_owned(),
        "signal" => dice.pick(&["SIGKILL", "KILL", "9", "SIGFROB", "0", "65", "-1"]).to_owned(),
        "path" => dice.pick(&["/", "/etc/passwd", "/tmp", "..", "/proc/1", "/nosuch/x"]).to_owned(),
        "changes" => dice.pick(&["CMD [\"true\"]", "ENV A=b", "FROB x", "EXPOSE 99999", "LABEL"]).to_owned(),
        _ => dice.pick(&["0", "1", "true", "false", "", "box", "busybox"]).to_owned(),
    }
}

fn filters(dice: &mut Dice) -> String {
    let mut map = Map::new();
    for _ in 0..=dice.below(2) {
        let (name, word) = (dice.pick(FILTERS), dice.pick(WORDS));
        let values = match dice.below(4) {
            0 => json!({ word: true }),
            1 => json!([word, dice.pick(WORDS)]),
            2 => json!([word]),
            _ => json!(dice.pick(NUMBERS)),
        };
        map.insert(name.to_owned(), values);
    }
    Value::Object(map).to_string()
}

/// The parameters of the API, for all routes: what one does not know it has to pass over.
const PARAMETERS: &[&str] = &[
    "all",
    "limit",
    "size",
    "filters",
    "name",
    "platform",
    "v",
    "force",
    "link",
    "path",
    "noOverwriteDirNonDir",
    "copyUIDGID",
    "detachKeys",
    "logs",
    "stream",
    "stdin",
    "stdout",
    "stderr",
    "signal",
    "follow",
    "since",
    "until",
    "timestamps",
    "tail",
    "h",
    "w",
    "t",
    "one-shot",
    "ps_args",
    "condition",
    "container",
    "repo",
    "tag",
    "comment",
    "author",
    "pause",
    "changes",
    "message",
    "names",
    "quiet",
    "shared-size",
    "digests",
    "manifests",
    "identity",
    "term",
    "noprune",
    "platforms",
    "type",
    "verbose",
    "scope",
    "version",
    "remote",
    "timeout",
    "status",
    "reserved-space",
    "insertDefaults",
    "statement",
];

/// The most likely ones of a route come from what its path is about.
fn query(dice: &mut Dice, route: &Route) -> String {
    let mut query = String::new();
    for _ in 0..dice.below(4) {
        let name = match (route.path.as_str(), dice.one_in(3)) {
            ("/images/create", _) => {
                dice.pick(&["fromImage", "fromSrc", "tag", "repo", "platform", "changes"])
            }
            (path, false) if path.ends_with("/json") || path.ends_with("prune") => {
                dice.pick(&["filters", "all", "limit", "size", "manifests", "platform"])
            }
            (path, false) if path.contains("archive") => dice.pick(&["path", "noOverwriteDirNonDir"]),
            (path, false) if path.ends_with("logs") => {
                dice.pick(&["stdout", "stderr", "tail", "since", "until"])
            }
            _ => dice.pick(PARAMETERS),
        };
        let value = match (name, parameter(dice, name)) {
            ("fromImage", value) if value.is_empty() || !value.contains(['/', ' ', '[']) => {
                "127.0.0.1:1/x".to_owned()
            }
            (_, value) => value,
        };
        let value = match dice.one_in(40) {
            true => "%zz".to_owned(),
            false => utf8_percent_encode(&value, NON_ALPHANUMERIC).to_string(),
        };
        write!(query, "{}{name}={value}", if query.is_empty() { '?' } else { '&' }).unwrap();
    }
    query
}

/// Fields of bodies that a type leaves out when they are empty, with a value that is right.
fn more_fields() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("Healthcheck", json!({"Test": ["CMD", "true"], "Interval": 1_000_000_000})),
        ("ExposedPorts", json!({"80/tcp": {}})),
        ("PortBindings", json!({"80/tcp": [{"HostPort": "18099"}]})),
        ("Mounts", json!([{"Type": "tmpfs", "Target": "/t"}])),
        ("Tmpfs", json!({"/t": "size=1m"})),
        ("NetworkMode", json!("none")),
        ("RestartPolicy", json!({"Name": "no"})),
        ("LogConfig", json!({"Type": "json-file", "Config": {"max-size": "1m"}})),
        ("Ulimits", json!([{"Name": "nofile", "Soft": 64, "Hard": 64}])),
        ("StopTimeout", json!(1)),
        ("IPAM", json!({"Config": [{"Subnet": "10.99.0.0/24"}]})),
        ("EndpointConfig", json!({"Aliases": ["x"]})),
        ("ConsoleSize", json!([24, 80])),
        ("Memory", json!(16_777_216)),
        ("PidsLimit", json!(50)),
        ("DriverOpts", json!({"type": "tmpfs"})),
        ("Labels", json!({"a": "b"})),
    ])
}

/// Fields that reach the host, however well a container is kept.
const NOT_FOR_FUZZING: &[&str] = &[
    "CgroupParent",
    "Binds",
    "Sysctls",
    "Devices",
    "Privileged",
    "PidMode",
    "IpcMode",
    "UTSMode",
    "UsernsMode",
    "NetworkMode",
    "RestartPolicy",
    "ContainerIDFile",
    "Driver",
    "Runtime",
    "Image",
    "Cmd",
    "Entrypoint",
    "AutoRemove",
];

/// Some value of a JSON type: nothing is expected of it.
fn anything(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth > 2 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(dice.one_in(2)),
        2 | 3 => json!(dice.pick(NUMBERS)),
        4 => json!(dice.pick(WORDS)),
        5 => json!(1.5e300),
        6 => json!([anything(dice, depth + 1), anything(dice, depth + 1)]),
        _ => json!({ dice.pick(WORDS): anything(dice, depth + 1) }),
    }
}

/// Changes some fields of a body, in any depth.
fn change(dice: &mut Dice, body: &mut Value) {
    match body {
        Value::Object(fields) if !fields.is_empty() && !dice.one_in(8) => {
            let keys: Vec<String> =
                fields.keys().filter(|key| !NOT_FOR_FUZZING.contains(&key.as_str())).cloned().collect();
            if let Some(field) = keys.get(dice.below(keys.len().max(1))).and_then(|key| fields.get_mut(key)) {
                change(dice, field);
            }
        }
        Value::Number(_) => *body = json!(dice.pick(NUMBERS)),
        Value::String(_) if !dice.one_in(3) => *body = json!(dice.pick(WORDS)),
        Value::Bool(is) if !dice.one_in(3) => *body = json!(!*is),
        Value::Array(items) if !dice.one_in(3) => items.push(json!(dice.pick(WORDS))),
        Value::Null if !dice.one_in(3) => *body = json!([dice.pick(WORDS)]),
        other => *other = anything(dice, 0),
    }
}

fn body(dice: &mut Dice, route: &Route) -> Vec<u8> {
    fn of<T: Serialize + Default>() -> Value {
        serde_json::to_value(T::default()).unwrap()
    }
    if !["POST", "PUT"].contains(&route.method.as_str()) {
        return Vec::new();
    }
    let mut body = match route.path.as_str() {
        "/containers/create" => {
            let mut body = of::<ContainerCreateRequest>();
            body["Image"] = json!(if dice.one_in(9) { dice.pick(WORDS) } else { "busybox" });
            body["Cmd"] =
                dice.pick(&[r#"["true"]"#, r#"["sleep","1000"]"#, r#"["nosuch"]"#]).parse().unwrap();
            body["HostConfig"]["NetworkMode"] = json!(dice.pick(&["none", "bridge", "net", "container:run"]));
            body
        }
        path if path.ends_with("/exec") => {
            let mut body = of::<ExecCreateRequest>();
            body["Cmd"] = json!(["true"]);
            body
        }
        path if path.starts_with("/exec") => of::<ExecStartRequest>(),
        path if path.ends_with("/update") => of::<UpdateRequest>(),
        "/commit" => of::<ContainerConfig>(),
        "/networks/create" => {
            let mut body = of::<NetworkCreateRequest>();
            body["Name"] = json!(dice.pick(&["net", "other", ""]));
            body
        }
        path if path.ends_with("/connect") => of::<NetworkConnectRequest>(),
        path if path.ends_with("/disconnect") => of::<NetworkDisconnectRequest>(),
        "/volumes/create" => of::<VolumeCreateRequest>(),
        "/auth" => of::<AuthConfig>(),
        _ => json!({}),
    };
    if body.get("Container").is_some() {
        body["Container"] = json!(dice.pick(&["box", "run", "nosuch", ""]));
    }
    let (name, value) = more_fields().into_iter().nth(dice.below(17)).unwrap();
    let place =
        if body.get("HostConfig").is_some() && dice.one_in(2) { &mut body["HostConfig"] } else { &mut body };
    if dice.one_in(2) && !place.is_null() {
        place[name] = value;
    }
    for _ in 0..dice.below(4) {
        change(dice, &mut body);
    }
    let mut bytes = body.to_string().into_bytes();
    match dice.below(12) {
        0 => bytes.truncate(dice.below(bytes.len().max(1))),
        1 => bytes.clear(),
        2 => bytes.extend_from_slice(b" {}"),
        _ => {}
    }
    bytes
}

/// A row of the table of routes.
struct Route {
    method: String,
    path: String,
}

/// The table that is made of the daemon's routes.
fn routes() -> Vec<Route> {
    let table = include_str!("../../docs/api.md");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split_once(" | `")?.1.split_once('`').map(|(path, _)| (row, path)));
    cells
        .map(|(row, path)| Route { method: row.split(' ').next().unwrap().to_owned(), path: path.to_owned() })
        .collect()
}

/// The path with names in the place of parameters.
fn path(dice: &mut Dice, route: &Route) -> String {
    let segments = route.path.split('/').map(|segment| match segment.starts_with('{') {
        true => match route.path.split('/').nth(1) {
            _ if dice.one_in(4) => dice.pick(NAMES).to_owned(),
            Some("images" | "distribution") => "busybox".to_owned(),
            Some("networks") => "net".to_owned(),
            Some("volumes") => "vol".to_owned(),
            _ => dice.pick(&["box", "run"]).to_owned(),
        },
        false => segment.to_owned(),
    });
    let path = segments.collect::<Vec<_>>().join("/");
    match dice.below(4) {
        0 => format!("/v1.{}{path}", 20 + dice.below(40)),
        _ => path,
    }
}

/// The status of the answer, and its beginning.
fn ask(daemon: &Daemon, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let mut stream = UnixStream::connect(daemon.socket()).map_err(|why| format!("connect: {why}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(request).map_err(|why| format!("write: {why}"))?;
    let (started, mut answer, mut piece) = (Instant::now(), Vec::new(), [0; 4096]);
    while answer.len() < ENOUGH {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            // What goes on for ever says nothing now and then; what has not begun, hangs.
            Err(_) if answer.windows(4).any(|window| window == b"\r\n\r\n") => break,
            Err(_) if started.elapsed() < PATIENCE => {}
            Err(_) => return Err(format!("no answer in {PATIENCE:?}")),
        }
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("not HTTP: {head:?}"))?, answer))
}

/// Puts back what the requests removed.
fn furnish(daemon: &Daemon, archive: &[u8]) {
    let there = |path: &str| daemon.send("GET", path, &[], b"").status == 200;
    let post = |path: &str, body: &Value| {
        daemon.send("POST", path, &["Content-Type: application/json"], body.to_string().as_bytes())
    };
    if !there("/images/busybox/json") {
        daemon.send("POST", "/images/load", &[], archive);
    }
    if !there("/networks/net") {
        post("/networks/create", &json!({"Name": "net"}));
    }
    if !there("/volumes/vol") {
        post("/volumes/create", &json!({"Name": "vol"}));
    }
    if !there("/containers/box/json") {
        post("/containers/create?name=box", &json!({"Image": "busybox", "Cmd": ["true"]}));
    }
    if daemon.send("GET", "/containers/run/json", &[], b"").json()["State"]["Status"] != "running" {
        daemon.send("DELETE", "/containers/run?force=1", &[], b"");
        let sleep = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "KILL",
            "HostConfig": {"NetworkMode": "none"}});
        post("/containers/create?name=run", &sleep);
        post("/containers/run/start", &json!({}));
    }
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_is_asked_is_answered() {
    let daemon = Daemon::start();
    let archive = std::fs::read(hull_testkit::images::busybox(daemon.dir()).unwrap()).unwrap();
    let mut dice = Dice(number("HULL_FUZZ_SEED", 0x48_75_6c_6c) as u64);
    let (routes, mut wrong) = (routes(), Vec::new());
    assert!(routes.len() > 100, "the table has {} rows", routes.len());
    for count in 0..number("HULL_FUZZ_REQUESTS", REQUESTS) {
        if count % 25 == 0 {
            furnish(&daemon, &archive);
        }
        let route = &routes[count % routes.len()];
        let (path, query, body) = (path(&mut dice, route), query(&mut dice, route), body(&mut dice, route));
        let kind = match dice.below(20) {
            0 => "text/plain",
            _ if route.path == "/images/load" || route.path.ends_with("archive") => "application/x-tar",
            _ => "application/json",
        };
        let head = format!(
            "{} {path}{query} HTTP/1.1\r\nHost: hull\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            route.method,
            body.len()
        );
        let request = [head.as_bytes(), &body].concat();
        let shown = || format!("{} {path}{query} {}", route.method, String::from_utf8_lossy(&body));
        match ask(&daemon, &request) {
            Ok((500.., answer)) if !is_no(&answer) => {
                wrong.push(format!("{}\n    {}", shown(), String::from_utf8_lossy(&answer)));
            }
            Ok(_) => {}
            Err(why) => wrong.push(format!("{}\n    {why}", shown())),
        }
    }
    assert_eq!(daemon.send("GET", "/_ping", &[], b"").status, 200);
    let panics: Vec<_> =
        daemon.log().lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
    assert!(panics.is_empty(), "{panics:#?}");
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    for name in ["net", "other"] {
        daemon.send("DELETE", &format!("/networks/{name}"), &[], b"");
    }
}

/// An answer that says no, and why: there is no swarm, no build, no registry.
fn is_no(answer: &[u8]) -> bool {
    ["HTTP/1.1 501", "HTTP/1.1 503"].iter().any(|no| answer.starts_with(no.as_bytes()))
}
