//! Every route of the table with parameters and bodies that are right, nearly right, and wrong: no answer of 500, none
//! that does not come, no panic, and the daemon goes on.
//!
//! The requests are the same each time. `HULL_FUZZ_REQUESTS` asks for more of them, `HULL_FUZZ_SEED` for others.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hull_testkit::Daemon;
use serde_json::{Value, json};

mod bodies;
mod values;

use bodies::body;
use values::{Dice, NAMES, query};

/// How many requests, without the variable.
const REQUESTS: usize = 1500;
/// An answer begins in that time, on two busy cores; a stop that waits and stats that measure take their seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many bytes of an endless answer are enough.
const ENOUGH: usize = 64 << 10;

/// A row of the table of routes.
struct Route {
    method: String,
    path: String,
}

/// The table that is made of the daemon's routes.
fn routes() -> Vec<Route> {
    let table = include_str!("../../../docs/api.md");
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
    stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
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
