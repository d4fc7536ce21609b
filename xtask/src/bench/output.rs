//! How fast output gets from a container to its log, back to a user, and straight to an attached one.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Bench;
use super::engine::Engine;
use super::engines::{Number, median};
use super::report::Report;

/// What a container prints, in MiB: as JSON less than the 100 MB that Hull keeps of a log by default.
const LONG: usize = 32;
/// The same of lines of two bytes: enough to outweigh the container's start, and little, since each takes 73 bytes as JSON.
const SHORT: usize = 8;
/// No more rounds than this: the slowest contestant takes seconds for each.
const ROUNDS: usize = 9;
/// Bytes that the reader of a client's output takes at once: what a pipe holds.
const CHUNK: usize = 64 << 10;

const ROWS: [(&str, &str); 4] = [
    ("container to its log, 100-byte lines", "≥ 157 MB/s"),
    ("`logs` of it", "≥ 500 MB/s"),
    ("`run` attached, 100-byte lines", "≥ 150 MB/s"),
    ("`run` attached, 2-byte lines", "≥ 50 MB/s"),
];

/// One contestant's numbers of one round; nothing where it has none.
type Round = [Option<Number>; ROWS.len()];

pub(super) fn run(bench: &Bench, engines: &[Engine], report: &mut Report) {
    let scripts = Scripts::new();
    let names = std::iter::once("floor").chain(engines.iter().map(|engine| engine.contestant.name));
    let mut samples: Vec<(&'static str, Vec<Round>)> = names.map(|name| (name, Vec::new())).collect();
    for _ in 0..bench.rounds.min(ROUNDS) {
        samples[0].1.push(scripts.alone());
        for (engine, (_, rounds)) in engines.iter().zip(&mut samples[1..]) {
            rounds.push(scripts.inside(engine));
        }
    }
    for (row, (what, budget)) in ROWS.into_iter().enumerate() {
        let found = samples.iter_mut().filter_map(|(name, rounds)| {
            let numbers: Option<Vec<Number>> = rounds.iter_mut().map(|round| round[row].take()).collect();
            let numbers: Number =
                numbers?.into_iter().collect::<Result<Vec<f64>, String>>().map(|n| median(n.into_iter()));
            Some((*name, numbers))
        });
        report.values(what, "MiB/s", found.collect(), budget);
    }
}

/// What the containers run.
struct Scripts {
    long: String,
    short: String,
}

impl Scripts {
    fn new() -> Self {
        Self {
            long: format!("yes {} | head -c {}", "x".repeat(99), LONG << 20),
            short: format!("yes | head -c {}", SHORT << 20),
        }
    }

    /// The same without a container: no engine is faster than what writes into it.
    fn alone(&self) -> Round {
        let script = |script: &str, mib| drained(Command::new("busybox").args(["sh", "-c", script]), mib);
        [
            Some(script(&self.long, LONG)),
            None,
            Some(script(&self.long, LONG)),
            Some(script(&self.short, SHORT)),
        ]
    }

    fn inside(&self, engine: &Engine) -> Round {
        let within = |measure: &dyn Fn() -> Number| Some(engine.contestant.within(measure));
        let attached =
            |script, mib| drained(&mut engine.command(&["run", "--rm", "box", "sh", "-c", script]), mib);
        [
            within(&|| logged(engine, &self.long)),
            within(&|| {
                let read = drained(&mut engine.command(&["logs", "log"]), LONG);
                engine.call(&["rm", "-f", "log"])?;
                read
            }),
            within(&|| attached(&self.long, LONG)),
            within(&|| attached(&self.short, SHORT)),
        ]
    }
}

/// MiB a second of what a container logs, from its start to its end.
fn logged(engine: &Engine, script: &str) -> Number {
    let started = Instant::now();
    engine.call(&["run", "-d", "--name", "log", "box", "sh", "-c", script])?;
    engine.call(&["wait", "log"])?;
    Ok(LONG as f64 / started.elapsed().as_secs_f64())
}

/// MiB a second of what a command prints; all of it must arrive.
fn drained(command: &mut Command, expected: usize) -> Number {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|why| why.to_string())?;
    let mut output = child.stdout.take().ok_or("no output")?;
    let (mut chunk, mut bytes) = (vec![0; CHUNK], 0);
    loop {
        match output.read(&mut chunk).map_err(|why| why.to_string())? {
            0 => break,
            count => bytes += count,
        }
    }
    let status = child.wait().map_err(|why| why.to_string())?;
    match status.success() && bytes == expected << 20 {
        true => Ok(expected as f64 / started.elapsed().as_secs_f64()),
        false => Err(format!("{status}, {bytes} bytes of {expected} MiB arrived")),
    }
}
