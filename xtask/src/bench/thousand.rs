//! A thousand containers: what the API answers then, and how long a daemon takes to begin with them.

use std::time::Instant;

use serde_json::Value;

use super::engine::Engine;
use super::engines::{Number, median};
use super::http::Connection;
use super::report::Report;

/// How many there are.
const THOUSAND: usize = 1000;
/// How often each request is sent.
const TIMES: usize = 15;

/// What is asked with all of them there; `{}` is the id of one that runs.
const REQUESTS: [(&str, &str, &str); 5] = [
    ("list of all", "/v1.41/containers/json?all=1", "≤ 20 ms"),
    ("inspect", "/v1.41/containers/{}/json", "≤ 2 ms"),
    ("stats, one-shot", "/v1.41/containers/{}/stats?stream=0&one-shot=1", "≤ 5 ms"),
    ("events of the past", "/v1.41/events?since=1&until=2", "≤ 2 ms"),
    ("disk usage", "/v1.41/system/df", "≤ 100 ms"),
];

pub(super) fn run(engines: &mut [Engine], report: &mut Report) {
    let mut asked: [Vec<(&'static str, Number)>; REQUESTS.len()] = std::array::from_fn(|_| Vec::new());
    let (mut created, mut running) = (Vec::new(), Vec::new());
    for engine in engines.iter_mut().filter(|engine| engine.socket.is_some()) {
        let name = engine.contestant.name;
        match engine.contestant.within(|| crowd(engine)) {
            Ok(ids) => {
                for (row, request) in asked.iter_mut().zip(REQUESTS) {
                    row.push((name, engine.contestant.within(|| ask(engine, request.1, &ids[0]))));
                }
                created.push((name, restart(engine)));
                if name != "docker" {
                    let started = engine.contestant.within(|| start(engine, &ids[1..]));
                    running.push((name, started.and_then(|()| restart(engine))));
                }
                if let Err(why) = engine.contestant.within(|| remove(engine, &ids)) {
                    report.note(format!("{name}: removing a thousand containers: {why}"));
                }
            }
            Err(why) => created.push((name, Err(why))),
        }
    }
    for (row, (what, _, budget)) in asked.into_iter().zip(REQUESTS) {
        report.values(&format!("API with 1,000 containers: {what}"), "ms", row, budget);
    }
    report.values("daemon with 1,000 created: start until it answers", "s", created, "≤ 0.3 s");
    // Docker would take minutes to start as many.
    report.values("daemon with 1,000 running: start until it answers", "s", running, "≤ 0.5 s");
}

fn connect(engine: &Engine) -> Result<Connection, String> {
    Connection::open(engine.socket.as_deref().ok_or("no socket")?)
}

/// A thousand, of which the first runs. Their ids.
fn crowd(engine: &Engine) -> Result<Vec<String>, String> {
    let mut connection = connect(engine)?;
    let body = r#"{"Image":"box","Cmd":["sleep","1000"],"HostConfig":{"NetworkMode":"none"}}"#;
    let mut ids = Vec::with_capacity(THOUSAND);
    for _ in 0..THOUSAND {
        let answer = connection.ask("POST", "/v1.41/containers/create", body)?;
        let answer: Value = serde_json::from_str(&answer).map_err(|why| why.to_string())?;
        ids.push(answer["Id"].as_str().ok_or("no Id")?.to_owned());
    }
    start(engine, &ids[..1])?;
    Ok(ids)
}

fn start(engine: &Engine, ids: &[String]) -> Result<(), String> {
    let mut connection = connect(engine)?;
    ids.iter()
        .try_for_each(|id| connection.ask("POST", &format!("/v1.41/containers/{id}/start"), "").map(drop))
}

fn remove(engine: &Engine, ids: &[String]) -> Result<(), String> {
    let mut connection = connect(engine)?;
    ids.iter()
        .try_for_each(|id| connection.ask("DELETE", &format!("/v1.41/containers/{id}?force=1"), "").map(drop))
}

/// The median of some answers, in milliseconds.
fn ask(engine: &Engine, path: &str, id: &str) -> Number {
    let mut connection = connect(engine)?;
    let path = path.replace("{}", id);
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let started = Instant::now();
        connection.ask("GET", &path, "")?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times.into_iter()))
}

/// Seconds from the start of a daemon until it lists all of them.
fn restart(engine: &mut Engine) -> Number {
    engine.stop()?;
    let started = Instant::now();
    engine.start()?;
    let seconds = started.elapsed().as_secs_f64();
    let listed =
        engine.contestant.within(|| connect(engine)?.ask("GET", "/v1.41/containers/json?all=1", ""))?;
    let listed: Vec<Value> = serde_json::from_str(&listed).map_err(|why| why.to_string())?;
    match listed.len() {
        THOUSAND => Ok(seconds),
        other => Err(format!("{other} of {THOUSAND} containers listed")),
    }
}
