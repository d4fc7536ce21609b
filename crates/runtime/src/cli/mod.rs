//! The commands, and what they have in common.

mod bundle;
mod clock;
mod container;
mod create;
mod delete;
mod error;
mod exec;
mod foreground;
mod kill;
mod list;
mod pause;
mod run;
mod spec;
mod start;
mod state;

use std::ffi::{CString, OsStr, OsString};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use hull_runtime::hooks::Hooked;
use hull_sys::Context;
use lexopt::{Arg, Parser, ValueExt};

use error::{Error, Result};

/// Where containers are remembered.
const ROOT: &str = "/run/hull-runtime";

/// The version of the OCI runtime specification that is implemented.
const SPEC_VERSION: &str = "1.2.0";

const HELP: &str = "\
hull-runtime: an OCI runtime

Usage: hull-runtime [global options] COMMAND [options] [arguments]

Commands:
  create   create a container from a bundle
  start    execute the program of a container that was created
  run      create and start a container
  exec     run another process in a container
  state    print the state of a container
  list     list containers
  kill     send a signal to a container
  pause    stop all processes of a container
  resume   let them run again
  delete   remove what a container left
  spec     write a sample config.json

Global options:
  --root DIR          where containers are remembered (default /run/hull-runtime)
  --log FILE          append errors to this file, too
  --log-format FORMAT text or json (default text)
  --debug             accepted for compatibility
  -h, --help          this text
  -v, --version       the version
";

/// What is said before the command.
pub(crate) struct Global {
    root: PathBuf,
    log: Option<PathBuf>,
    json_log: bool,
}

/// A command: reads its own arguments.
type Command = fn(&Global, &mut Parser) -> Result<ExitCode>;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let mut parser = Parser::from_env();
    let mut global = Global { root: PathBuf::from(ROOT), log: None, json_log: false };
    let outcome = match command(&mut global, &mut parser) {
        Ok(Some(command)) => command(&global, &mut parser),
        Ok(None) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| report(&global, &error))
}

/// Reads up to the name of the command.
fn command(global: &mut Global, parser: &mut Parser) -> Result<Option<Command>> {
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("root") => global.root = parser.value()?.into(),
            Arg::Long("log") => global.log = Some(parser.value()?.into()),
            Arg::Long("log-format") => global.json_log = parser.value()? == "json",
            Arg::Long("debug") => {}
            Arg::Long("rootless") => drop(parser.value()?),
            Arg::Long("systemd-cgroup") => return Err(Error::usage("--systemd-cgroup is not supported")),
            Arg::Short('h') | Arg::Long("help") => return print(HELP).map(|()| None),
            Arg::Short('v') | Arg::Long("version") => return print(&version()).map(|()| None),
            Arg::Value(name) => return find(&name.string()?).map(Some),
            other => return Err(other.unexpected().into()),
        }
    }
    Err(Error::usage("a command is missing; see hull-runtime --help"))
}

fn find(name: &str) -> Result<Command> {
    if matches!(name, "create" | "run" | "exec") {
        protect_program()?;
    }
    Ok(match name {
        "create" => create::run,
        "start" => start::run,
        "run" => run::run,
        "exec" => exec::run,
        "state" => state::run,
        "list" => list::run,
        "kill" => kill::run,
        "pause" => pause::pause,
        "resume" => pause::resume,
        "delete" => delete::run,
        "spec" => spec::run,
        other => return Err(Error::usage(format!("no such command: {other}"))),
    })
}

/// Executes this program again, read-only, if a container could write to its file: the container's process is a copy of
/// this one until it executes a program that the container chooses, which may be `/proc/self/exe` (CVE-2019-5736).
fn protect_program() -> Result<()> {
    if !hull_sys::clone::program_is_writable()? {
        // The kernel has named it after the descriptor.
        return Ok(rustix::thread::set_name(c"hull-runtime").op("prctl set_name")?);
    }
    let program = hull_sys::clone::read_only_program("/proc/self/exe")?;
    let strings = |all: Vec<OsString>| all.into_iter().map(|one| CString::new(one.into_vec())).collect();
    let variables = std::env::vars_os().map(|(name, value)| [name, value].join(OsStr::new("="))).collect();
    let args: std::result::Result<Vec<_>, _> = strings(std::env::args_os().collect());
    let env: std::result::Result<Vec<_>, _> = strings(variables);
    match (args, env) {
        (Ok(args), Ok(env)) => Err(hull_sys::clone::execve_fd(program.as_fd(), &args, &env).into()),
        _ => Err(Error::usage("a zero byte in the arguments")),
    }
}

fn version() -> String {
    format!("hull-runtime version {}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

/// Tells the error to the user, and to the log that an engine reads.
fn report(global: &Global, error: &Error) -> ExitCode {
    // Nobody is left to hear that standard error is closed.
    let _ = writeln!(std::io::stderr(), "hull-runtime: {error}");
    if let Some(path) = &global.log {
        let time = clock::now();
        let line = match global.json_log {
            true => {
                serde_json::json!({ "level": "error", "msg": error.to_string(), "time": time }).to_string()
            }
            false => format!("time={time:?} level=error msg={:?}", error.to_string()),
        };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
    ExitCode::from(error.code())
}

/// Runs the hooks for a container that is gone. Their failures change nothing any more.
fn run_poststop(hooked: Option<&Hooked>) {
    warn(&hooked.map(Hooked::stopped).unwrap_or_default());
}

/// Says what changes nothing.
fn warn(warnings: &[impl std::fmt::Display]) {
    for warning in warnings {
        // Nobody is left to hear that standard error is closed.
        let _ = writeln!(std::io::stderr(), "hull-runtime: warning: {warning}");
    }
}

/// Prints a result.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|e| Error::new(format!("stdout: {e}")))
}

/// The one argument of a command that takes a container's name and nothing else.
fn only_id(parser: &mut Parser) -> Result<String> {
    let mut id = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Value(value) => take_id(&mut id, value)?,
            other => return Err(other.unexpected().into()),
        }
    }
    require(id)
}

/// Keeps the first free argument as the container's name; there must be no second.
fn take_id(id: &mut Option<String>, value: OsString) -> Result<()> {
    match id {
        None => *id = Some(value.string()?),
        Some(_) => return Err(Error::usage(format!("unexpected argument {value:?}"))),
    }
    Ok(())
}

fn require(id: Option<String>) -> Result<String> {
    id.ok_or_else(|| Error::usage("the name of a container is missing"))
}
