//! What was measured, as a table to read and as `docs/benchmarks.md`.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::contest::Finding;
use crate::Outcome;

/// What Hull set out for: its time over that of another, at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) of: &'static str,
    pub(super) at_most: f64,
}

/// One line of a table.
struct Row {
    what: String,
    /// Contestant, what is printed for it, and the number that ratios are made of.
    cells: Vec<(&'static str, String, Option<f64>)>,
    goals: Vec<Goal>,
    budget: Option<String>,
}

/// Everything measured in one run.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// The columns, ours first after the floor.
const COLUMNS: [&str; 7] = ["floor", "hull", "before", "crun", "runc", "podman", "docker"];

impl Report {
    /// A row of times: wall clock, and processor time in brackets.
    pub(super) fn times(&mut self, what: &str, found: Vec<(&'static str, Finding)>, goals: &[Goal]) {
        let cells = found.into_iter().map(|(name, finding)| match finding {
            Finding::Measured { wall, cpu } => {
                (name, format!("{} ({})", milliseconds(wall), milliseconds(cpu)), Some(wall.as_secs_f64()))
            }
            Finding::Failed(why) => (name, format!("failed: {why}"), None),
        });
        let row = Row { what: what.to_owned(), cells: cells.collect(), goals: goals.to_vec(), budget: None };
        crate::say(row.text());
        self.rows.push(row);
    }

    /// A row of times with an absolute budget, in the words of the plan.
    pub(super) fn times_within(&mut self, what: &str, found: Vec<(&'static str, Finding)>, budget: &str) {
        self.times(what, found, &[]);
        if let Some(row) = self.rows.last_mut() {
            row.budget = Some(budget.to_owned());
        }
    }

    /// A row of any other quantity, already in words; `None` where it could not be measured.
    pub(super) fn values(
        &mut self,
        what: &str,
        unit: &str,
        found: Vec<(&'static str, Result<f64, String>)>,
        budget: &str,
    ) {
        let cells = found.into_iter().map(|(name, value)| match value {
            Ok(value) => (name, format!("{value:.2} {unit}"), Some(value)),
            Err(why) => (name, format!("failed: {why}"), None),
        });
        let budget = Some(budget.to_owned());
        let row = Row { what: what.to_owned(), cells: cells.collect(), goals: Vec::new(), budget };
        crate::say(row.text());
        self.rows.push(row);
    }

    /// Something a reader of the table has to know.
    pub(super) fn note(&mut self, note: String) {
        crate::say(&note);
        self.notes.push(note);
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let used: Vec<&str> =
            COLUMNS.into_iter().filter(|name| self.rows.iter().any(|row| row.cell(name).is_some())).collect();
        let _ = writeln!(text, "| what | {} | hull against the best peer | budget |", used.join(" | "));
        let _ = writeln!(text, "|---|{}---|---|", "---|".repeat(used.len()));
        for row in &self.rows {
            let cells: Vec<&str> = used.iter().map(|name| row.cell(name).unwrap_or("–")).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                row.what,
                cells.join(" | "),
                row.ratio(),
                row.verdicts()
            );
        }
        text
    }

    pub(super) fn write(&self, path: &Path, rounds: usize) -> Outcome {
        let text = format!(
            "# Benchmarks\n\n\
             Written by `cargo xtask bench` (`make bench` builds first). Repeat it as root on an otherwise idle machine; \
             the peers come from Debian, and everything runs in namespaces, cgroups and directories of its own.\n\n\
             Wall clock in milliseconds, processor time in brackets: of client, daemon, supervisor, runtime and container \
             together, read from one cgroup around them all, until 100 ms after the command's end. Whole processes; the \
             medians of {rounds} rounds in which each contestant has its turn. `floor` is `bench/floor.c`: the same \
             system calls with nothing in between; in the rows about output (medians of 9 rounds), it is what writes \
             the output alone, straight into the reader's pipe. The system calls of a start are counted, with the reason \
             for each, in [system-calls.md](system-calls.md).\n\n{}\n{}",
            machine(),
            self.text()
        );
        fs::write(path, text).map_err(|why| format!("write {}: {why}", path.display()))
    }
}

impl Row {
    fn cell(&self, name: &str) -> Option<&str> {
        self.cells.iter().find(|cell| cell.0 == name).map(|cell| cell.1.as_str())
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.0 == name).and_then(|cell| cell.2)
    }

    /// Our number over that of the best peer.
    fn ratio(&self) -> String {
        let peers = self.cells.iter().filter(|cell| !matches!(cell.0, "floor" | "hull" | "before"));
        let best = peers.filter_map(|cell| cell.2).min_by(f64::total_cmp);
        match (self.number("hull"), best) {
            (Some(ours), Some(best)) if best > 0.0 => format!("{:.2}", ours / best),
            _ => "–".to_owned(),
        }
    }

    /// Each goal, and whether it was met.
    fn verdicts(&self) -> String {
        let verdict = |goal: &Goal| {
            let asked = format!("≤ {} × {}", goal.at_most, goal.of);
            match (self.number("hull"), self.number(goal.of)) {
                (Some(ours), Some(theirs)) => {
                    let is = ours / theirs;
                    format!("{asked}: {} ({is:.2})", if is <= goal.at_most { "met" } else { "missed" })
                }
                _ => format!("{asked}: not measured"),
            }
        };
        let verdicts: Vec<String> = self.goals.iter().map(verdict).chain(self.budget.clone()).collect();
        if verdicts.is_empty() { "–".to_owned() } else { verdicts.join("; ") }
    }

    fn text(&self) -> String {
        let cells: Vec<String> = self.cells.iter().map(|(name, text, _)| format!("{name} {text}")).collect();
        format!("{}: {}", self.what, cells.join(", "))
    }
}

fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.1}") }
}

/// What a reader needs to know of the machine and of who took part.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cgroups = hull_cgroup::support().map_or(String::new(), |support| format!("{:?}", support.version));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut text = format!(
        "{processors} × {}, Linux {}, cgroups {cgroups}, load at the end {}.\n\n",
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default()
    );
    for program in ["crun", "runc", "podman", "dockerd"] {
        if let Ok(output) = Command::new(program).arg("--version").output() {
            let version =
                String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
            let _ = writeln!(text, "- {version}");
        }
    }
    text
}
