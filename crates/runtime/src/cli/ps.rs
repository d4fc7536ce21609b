//! `ps`: the processes of a container, as ps(1) shows them.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use lexopt::{Arg, Parser, ValueExt};

use super::container::Container;
use super::error::{Error, Result};
use super::list::is_json;
use super::{Global, print, require};

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let (mut id, mut json, mut options) = (None, false, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('f') | Arg::Long("format") => json = is_json(&parser.value()?.string()?)?,
            Arg::Value(value) => {
                id = Some(value.string()?);
                // All that follows is for ps, whatever it looks like.
                options = parser.raw_args()?.collect();
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let container = Container::open(&global.root, &require(id)?)?;
    let pids = container.load()?.pids()?;
    print(&match json {
        true => serde_json::json!(pids).to_string() + "\n",
        false => rows(&table(options)?, &pids)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What ps(1) prints of all processes.
fn table(mut options: Vec<OsString>) -> Result<String> {
    if options.is_empty() {
        options.push("-ef".into());
    }
    let output = Command::new("ps").args(options).output();
    let output = output.map_err(|e| Error::new(format!("execute ps: {e} (is procps installed?)")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Error::new(format!("ps: {}", String::from_utf8_lossy(&output.stderr).trim()))),
    }
}

/// The header and the lines of these processes.
fn rows(table: &str, pids: &[i32]) -> Result<String> {
    let header = table.lines().next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::new("the options for ps leave out the column PID"))?;
    let pid = |line: &str| line.split_whitespace().nth(column)?.parse::<i32>().ok();
    let ours = table.lines().skip(1).filter(|line| pid(line).is_some_and(|pid| pids.contains(&pid)));
    Ok(std::iter::once(header).chain(ours).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_are_kept() {
        let table = "UID        PID  PPID CMD\nroot         1     0 init\nroot        12     1 sleep 13\n";
        assert_eq!(
            rows(table, &[12, 13]).unwrap(),
            "UID        PID  PPID CMD\nroot        12     1 sleep 13\n"
        );
        assert!(rows("COMMAND\nsleep\n", &[1]).is_err());
    }
}
