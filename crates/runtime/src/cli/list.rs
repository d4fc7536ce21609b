//! `list`: all containers below `--root`.

use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use serde_json::Value;

use super::container::Container;
use super::error::{Error, Result};
use super::state::describe;
use super::{Global, print};

/// The columns, and what of the state they show.
const COLUMNS: [(&str, &str); 6] = [
    ("ID", "id"),
    ("PID", "pid"),
    ("STATUS", "status"),
    ("BUNDLE", "bundle"),
    ("CREATED", "created"),
    ("OWNER", "owner"),
];

/// How many blanks stand between two columns at least, and how wide a column is.
const PADDING: usize = 3;
const WIDTH: usize = 12;

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let (mut quiet, mut json) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('q') | Arg::Long("quiet") => quiet = true,
            Arg::Short('f') | Arg::Long("format") => json = is_json(&parser.value()?.string()?)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let mut states = Vec::new();
    for container in Container::all(&global.root)? {
        // One that is being created, or deleted, has none.
        if let Ok(record) = container.load() {
            let mut state = describe(&container, &record)?;
            state["owner"] = Value::from(owner(&container));
            states.push(state);
        }
    }
    print(&match (quiet, json) {
        (true, _) => states.iter().map(|state| text(&state["id"]) + "\n").collect(),
        (false, true) => format!("{}\n", Value::Array(states)),
        (false, false) => table(&states),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The owner's name, or number where the host has none for it: `#1000`.
fn owner(container: &Container) -> String {
    let Some(uid) = container.owner() else { return String::new() };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    users.lines().find_map(name).unwrap_or_else(|| format!("#{uid}"))
}

pub(super) fn is_json(format: &str) -> Result<bool> {
    match format {
        "json" => Ok(true),
        "table" => Ok(false),
        other => Err(Error::usage(format!("no such format: {other}"))),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn table(states: &[Value]) -> String {
    let header = COLUMNS.map(|(name, _)| name.to_owned());
    let rows = states.iter().map(|state| COLUMNS.map(|(_, key)| text(&state[key])));
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(|column| (width(column) + PADDING).max(WIDTH)).collect();
    let line = |row: &[String; COLUMNS.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
