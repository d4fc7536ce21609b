//! Measuring: wall clock from outside, processor time from the contestant's cgroup.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hull_cgroup::{Cgroup, Entry};

use super::Bench;

/// Time for what goes on after a command has ended, counted as processor time only: a daemon tidies up, and the
/// kernel takes network namespaces down, which would hold up the next in turn.
const SETTLE: Duration = Duration::from_millis(100);

/// Someone who takes part: a name and a cgroup for everything it runs.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    cgroup: Cgroup,
    entry: Entry,
    home: Entry,
    errors: PathBuf,
}

impl Contestant {
    pub(super) fn new(bench: &Bench, name: &'static str) -> Result<Self, String> {
        let text = |why: hull_cgroup::Error| why.to_string();
        let cgroup = Cgroup::create(&format!("{}/{name}", bench.cgroup)).map_err(text)?;
        let home = Cgroup::create(&format!("{}/bench", bench.cgroup)).map_err(text)?;
        let (entry, home) = (cgroup.entry().map_err(text)?, home.entry().map_err(text)?);
        Ok(Self { name, cgroup, entry, home, errors: bench.directory.join(format!("{name}.err")) })
    }

    /// Where its containers' cgroups go.
    pub(super) fn cgroup(&self) -> &str {
        self.cgroup.path()
    }

    /// Runs `what` as part of the contestant: this thread, and what it starts, is in its cgroup meanwhile.
    pub(super) fn within<T>(&self, what: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        self.entry.enter().map_err(|why| format!("enter {}: {why}", self.cgroup.path()))?;
        let outcome = what();
        self.home.enter().map_err(|why| format!("leave {}: {why}", self.cgroup.path()))?;
        outcome
    }

    /// Processor time of everything in its cgroup so far, the dead included.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.cgroup.stats().map_or(0, |stats| stats.cpu.total))
    }

    /// Runs a command to its successful end.
    pub(super) fn run(&self, command: &mut Command) -> Result<(), String> {
        let errors = File::create(&self.errors).map_err(|why| why.to_string())?;
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let status = command.status().map_err(|why| format!("{:?}: {why}", command.get_program()))?;
        if status.success() {
            return Ok(());
        }
        let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
        Err(format!("{status}: {}", said.lines().last().unwrap_or_default()))
    }
}

/// What a contestant does in one round; only `timed` counts.
pub(super) struct Task<'a> {
    pub(super) contestant: &'a Contestant,
    pub(super) prepare: Box<dyn FnMut() -> Result<(), String> + 'a>,
    pub(super) timed: Box<dyn FnMut() -> Result<(), String> + 'a>,
    pub(super) finish: Box<dyn FnMut() -> Result<(), String> + 'a>,
}

impl<'a> Task<'a> {
    pub(super) fn new(contestant: &'a Contestant, timed: impl FnMut() -> Result<(), String> + 'a) -> Self {
        Self { contestant, prepare: Box::new(|| Ok(())), timed: Box::new(timed), finish: Box::new(|| Ok(())) }
    }

    pub(super) fn before(mut self, prepare: impl FnMut() -> Result<(), String> + 'a) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    pub(super) fn after(mut self, finish: impl FnMut() -> Result<(), String> + 'a) -> Self {
        self.finish = Box::new(finish);
        self
    }

    fn round(&mut self) -> Result<(Duration, Duration), String> {
        let contestant = self.contestant;
        contestant.within(|| {
            (self.prepare)()?;
            let used = contestant.used();
            let started = Instant::now();
            let outcome = (self.timed)();
            let wall = started.elapsed();
            std::thread::sleep(SETTLE);
            let cpu = contestant.used().saturating_sub(used);
            (self.finish)()?;
            outcome.map(|()| (wall, cpu))
        })
    }
}

/// What came of one contestant.
pub(super) enum Finding {
    Measured { wall: Duration, cpu: Duration },
    Failed(String),
}

/// Lets all do their task `rounds` times in turn, after one round that does not count. One that fails is out.
/// Each round begins with another one, so that none always follows the same.
pub(super) fn race(rounds: usize, mut tasks: Vec<Task<'_>>) -> Vec<(&'static str, Finding)> {
    let mut samples: Vec<Result<Vec<(Duration, Duration)>, String>> =
        tasks.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..=rounds {
        for turn in 0..tasks.len() {
            let who = (round + turn) % tasks.len();
            let (task, samples) = (&mut tasks[who], &mut samples[who]);
            let Ok(measured) = samples else { continue };
            match task.round() {
                Ok(_) if round == 0 => {}
                Ok(sample) => measured.push(sample),
                Err(why) => *samples = Err(why),
            }
        }
    }
    let names = tasks.iter().map(|task| task.contestant.name);
    names.zip(samples.into_iter().map(summary)).collect()
}

fn summary(samples: Result<Vec<(Duration, Duration)>, String>) -> Finding {
    match samples {
        Ok(samples) => {
            let column = |pick: fn(&(Duration, Duration)) -> Duration| {
                let mut column: Vec<_> = samples.iter().map(pick).collect();
                column.sort();
                column
            };
            let (walls, cpus) = (column(|sample| sample.0), column(|sample| sample.1));
            let middle = walls.len() / 2;
            Finding::Measured { wall: walls[middle], cpu: cpus[middle] }
        }
        Err(why) => Finding::Failed(why),
    }
}
