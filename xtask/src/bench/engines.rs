//! Whole engines: what a user types, what a program asks of the API, what lies idle.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::contest::{Task, race};
use super::engine::Engine;
use super::http::Connection;
use super::report::Report;
use super::{Bench, network, output, status, thousand};

/// How many containers the rows with many have.
const MANY: usize = 50;
/// How many clients start and remove them.
const CLIENTS: usize = 8;

/// One number of a row, or why there is none.
pub(super) type Number = Result<f64, String>;

pub(super) fn run(bench: &Bench, report: &mut Report) -> Result<(), String> {
    let archive = archive(bench)?;
    let mut engines = Vec::new();
    for mut engine in contestants(bench)? {
        let ready = engine
            .start()
            .and_then(|()| engine.contestant.within(|| engine.call(&["import", &archive, "box"])));
        match ready {
            Ok(()) => engines.push(engine),
            Err(why) => report.note(format!("{} could not take part: {why}", engine.contestant.name)),
        }
    }
    if bench.wants("idle") {
        weights(&engines, report);
    }
    if bench.wants("commands") {
        commands(bench, &engines, report);
    }
    if bench.wants("api") {
        api(bench, &engines, report);
    }
    if bench.wants("many") {
        many(&mut engines, report);
    }
    if bench.wants("thousand") {
        thousand::run(&mut engines, report);
    }
    if bench.wants("logs") {
        output::run(bench, &engines, report);
    }
    if bench.wants("network") {
        network::run(bench, &engines, report)?;
    }
    engines.iter_mut().filter(|engine| engine.has_daemon()).try_for_each(Engine::stop)
}

fn contestants(bench: &Bench) -> Result<Vec<Engine>, String> {
    let mut engines = vec![Engine::hull(bench, "hull", &bench.dist)?];
    if let Some(before) = &bench.before {
        engines.push(Engine::hull(bench, "before", before)?);
    }
    if bench.peers {
        engines.extend([Engine::podman(bench)?, Engine::docker(bench)?]);
    }
    Ok(engines)
}

/// A root file system as an archive that every engine imports.
fn archive(bench: &Bench) -> Result<String, String> {
    let rootfs = bench.directory.join("rootfs");
    if !rootfs.exists() {
        super::runtimes::make_rootfs(&rootfs)?;
    }
    let archive = bench.directory.join("box.tar").display().to_string();
    status(Command::new("tar").arg("-C").arg(&rootfs).args(["-cf", &archive, "."]))?;
    Ok(archive)
}

/// The commands of every day, one after the other.
fn commands(bench: &Bench, engines: &[Engine], report: &mut Report) {
    let simple = |args: &'static [&'static str]| {
        let tasks = engines.iter().map(|engine| Task::new(&engine.contestant, move || engine.call(args)));
        race(bench.rounds, tasks.collect())
    };
    let found = simple(&["run", "--rm", "box", "true"]);
    report.times_within("`run --rm box true`, bridge", found, "≤ 10 (9)");
    let found = simple(&["run", "--rm", "--network", "none", "box", "true"]);
    report.times_within("`run --rm --network none box true`", found, "≤ 6");

    let up = ["run", "-d", "--name", "up", "box", "sleep", "1000"];
    let down = ["rm", "-f", "up"];
    let start = engines.iter().map(|engine| {
        Task::new(&engine.contestant, move || engine.call(&up)).after(move || engine.call(&down))
    });
    report.times_within("`run -d`", race(bench.rounds, start.collect()), "≤ 10");
    let remove = engines.iter().map(|engine| {
        Task::new(&engine.contestant, move || engine.call(&down)).before(move || engine.call(&up))
    });
    report.times_within("`rm -f` of a running container", race(bench.rounds, remove.collect()), "≤ 8");
    let inside = engines.iter().map(|engine| {
        Task::new(&engine.contestant, move || engine.call(&["exec", "up", "true"]))
            .before(move || engine.call(&up))
            .after(move || engine.call(&down))
    });
    report.times_within("`exec up true`", race(bench.rounds, inside.collect()), "≤ 5");
}

/// The same without a client's start: requests on one kept connection.
fn api(bench: &Bench, engines: &[Engine], report: &mut Report) {
    let body = r#"{"Image":"box","Cmd":["sleep","1000"],"HostConfig":{}}"#;
    for (what, at, budget) in [("create", 0, "≤ 1.5"), ("start", 1, "≤ 6"), ("delete, forced", 2, "≤ 5")]
    {
        let mut found = Vec::new();
        for (engine, socket) in engines.iter().filter_map(|engine| Some((engine, engine.socket.as_ref()?))) {
            let times = engine.contestant.within(|| {
                let mut connection = Connection::open(socket)?;
                (0..=bench.rounds).map(|_| cycle(&mut connection, body)).collect::<Result<Vec<_>, _>>()
            });
            found.push((
                engine.contestant.name,
                times.map(|times| median(times.iter().skip(1).map(|t| t[at]))),
            ));
        }
        report.values(&format!("API on a kept connection: {what}"), "ms", found, budget);
    }
}

/// Creates, starts and deletes a container; the milliseconds of each.
fn cycle(connection: &mut Connection, body: &str) -> Result<[f64; 3], String> {
    let mut times = [0.0; 3];
    let mut timed = |at: usize, method: &str, path: &str, body: &str| {
        let started = Instant::now();
        let answer = connection.ask(method, path, body);
        times[at] = started.elapsed().as_secs_f64() * 1e3;
        answer
    };
    let answer = timed(0, "POST", "/v1.41/containers/create", body)?;
    let answer: Value = serde_json::from_str(&answer).map_err(|why| why.to_string())?;
    let id = answer["Id"].as_str().ok_or("no Id")?.to_owned();
    timed(1, "POST", &format!("/v1.41/containers/{id}/start"), "")?;
    timed(2, "DELETE", &format!("/v1.41/containers/{id}?force=1"), "")?;
    Ok(times)
}

/// Whoever gives memory back when there is nothing to do has done it by then.
const SETTLED: Duration = Duration::from_secs(12);

/// What the engines weigh with nothing to do, some time after they started.
fn weights(engines: &[Engine], report: &mut Report) {
    std::thread::sleep(SETTLED);
    let found = engines.iter().filter(|engine| engine.has_daemon());
    let found = found.map(|engine| (engine.contestant.name, engine.weight().map(|(weight, _)| weight)));
    report.values("idle memory of all daemons (PSS)", "MiB", found.collect(), "≤ 15 MiB");
}

/// Fifty containers: starting, listing, weighing, a new daemon, removing.
fn many(engines: &mut [Engine], report: &mut Report) {
    let mut rows: [Vec<(&'static str, Number)>; 6] = std::array::from_fn(|_| Vec::new());
    for engine in engines {
        let name = engine.contestant.name;
        std::thread::sleep(SETTLED);
        let before = engine.weight().map_or((0.0, 0), |weight| weight);
        rows[0].push((name, crowd(engine, |name| vec!["run", "-d", "--name", name, "box", "sleep", "1000"])));
        std::thread::sleep(SETTLED);
        let supervisors = engine.weight().map(|(weight, _)| (weight - before.0).max(0.0) / MANY as f64);
        rows[1].push((name, supervisors));
        rows[2].push((name, engine.contestant.within(|| list(engine))));
        if engine.has_daemon() {
            let (stop, start) = restart(engine);
            rows[3].push((name, stop));
            rows[4].push((name, start));
        }
        rows[5].push((name, crowd(engine, |name| vec!["rm", "-f", name])));
    }
    let [starts, supervisors, lists, stops, restarts, removals] = rows;
    report.values("50 starts by 8 clients", "s", starts, "≤ 0.4 s");
    report.values(
        "supervisor per container, and the daemon's growth (PSS)",
        "MiB",
        supervisors,
        "≤ 0.25 MiB",
    );
    report.values("`ps` with 50 containers", "ms", lists, "≤ 4 ms");
    report.values("daemon with 50 running: stop", "s", stops, "≤ 0.1 s");
    report.values("daemon with 50 running: start until it answers", "s", restarts, "≤ 0.1 s");
    report.values("50 removals by 8 clients", "s", removals, "≤ 0.3 s");
}

/// Fifty calls by eight clients at a time; the seconds of all.
fn crowd(engine: &Engine, args: impl Fn(&str) -> Vec<&str> + Sync) -> Number {
    engine.contestant.within(|| {
        let started = Instant::now();
        let failures: Vec<String> = std::thread::scope(|scope| {
            let client = |first: usize| {
                let args = &args;
                // A thread is born in the cgroup of its maker.
                scope.spawn(move || {
                    let names = (first..MANY).step_by(CLIENTS).map(|n| format!("many-{n}"));
                    names.filter_map(|name| engine.ask(&args(&name)).err()).collect::<Vec<_>>()
                })
            };
            let clients: Vec<_> = (0..CLIENTS).map(client).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).collect()
        });
        match failures.into_iter().next() {
            None => Ok(started.elapsed().as_secs_f64()),
            Some(why) => Err(why),
        }
    })
}

fn list(engine: &Engine) -> Number {
    let mut times = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        let listed = engine.ask(&["ps", "-q"])?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        if listed.lines().count() != MANY {
            return Err(format!("{} of {MANY} containers listed", listed.lines().count()));
        }
    }
    Ok(median(times.into_iter()))
}

/// Seconds to stop the daemon, and to start it until it answers with all its containers.
fn restart(engine: &mut Engine) -> (Number, Number) {
    let started = Instant::now();
    let stopped = engine.stop().map(|()| started.elapsed().as_secs_f64());
    let started = Instant::now();
    let answered = engine.start().map(|()| started.elapsed().as_secs_f64());
    let complete = answered.and_then(|seconds| engine.contestant.within(|| list(engine)).map(|_| seconds));
    (stopped, complete)
}

pub(super) fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
