//! The commands, and what they have in common.

mod bundle;
mod checkpoint;
mod clock;
mod commands;
mod container;
mod create;
mod criu;
mod delete;
mod error;
mod events;
mod exec;
mod features;
mod foreground;
mod kill;
mod list;
mod log;
mod pause;
mod place;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::{CString, OsStr, OsString};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use hull_runtime::SPEC_VERSION;
use hull_runtime::hooks::Hooked;
use hull_sys::Context;
use lexopt::{Arg, Parser, ValueExt};

use commands::Command;
use error::{Error, Result};
use log::Log;

/// Where root's containers are remembered.
const ROOT: &str = "/run/hull-runtime";

/// The version of this runtime.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is said before the command.
pub(crate) struct Global {
    root: PathBuf,
    log: Log,
    /// Whether systemd makes the cgroups.
    systemd: bool,
    /// Whether a container may be without a cgroup where its user may make none.
    rootless: bool,
    /// The program that saves processes and makes them again.
    criu: OsString,
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let mut parser = Parser::from_env();
    let user = !rustix::process::geteuid().is_root();
    let mut global = Global {
        root: root(user),
        log: Log::default(),
        systemd: false,
        rootless: user || in_user_namespace(),
        criu: OsString::from("criu"),
    };
    let command = match command(&mut global, &mut parser) {
        Ok(Some(command)) => command,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return failed(&global, &error),
    };
    (command.run)(&global, &mut parser).unwrap_or_else(|error| failed(&global, &error))
}

/// Whether root is root here only. The first namespace of each kind has an inode of its own: `PROC_USER_INIT_INO` of
/// `linux/proc_ns.h`.
fn in_user_namespace() -> bool {
    const FIRST: u64 = 0xefff_fffd;
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino != FIRST)
}

/// Where containers are remembered unless told otherwise: an ordinary user has a directory of his own.
fn root(of_user: bool) -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|_| of_user) {
        Some(own) => PathBuf::from(own).join("hull-runtime"),
        None if of_user => {
            PathBuf::from(format!("/run/user/{}/hull-runtime", rustix::process::geteuid().as_raw()))
        }
        None => PathBuf::from(ROOT),
    }
}

fn failed(global: &Global, error: &Error) -> ExitCode {
    global.log.error(&error.to_string());
    ExitCode::from(error.code())
}

/// Reads up to the name of the command. `None` if the help or the version was all that was wanted.
fn command(global: &mut Global, parser: &mut Parser) -> Result<Option<&'static Command>> {
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("root") => global.root = path(parser)?,
            Arg::Long("log") => global.log.file = log_file(parser)?,
            Arg::Long("log-format") => global.log.json = is_json(&parser.value()?)?,
            Arg::Long("criu") => global.criu = parser.value()?,
            Arg::Long("debug") => global.log.debug = switch(parser)?,
            Arg::Long("rootless") => match parser.value()?.to_str() {
                Some("true") => global.rootless = true,
                Some("false") => global.rootless = false,
                Some("auto") => {}
                _ => return Err(Error::usage("--rootless is one of true, false and auto")),
            },
            Arg::Long("systemd-cgroup") => global.systemd = switch(parser)?,
            Arg::Short('h') | Arg::Long("help") => return print(&commands::help()).map(|()| None),
            Arg::Short('v') | Arg::Long("version") => return print(&version()).map(|()| None),
            Arg::Value(name) => return find(global, &name.string()?, parser),
            other => return Err(other.unexpected().into()),
        }
    }
    Err(Error::usage("a command is missing; see hull-runtime --help"))
}

fn find(global: &Global, name: &str, parser: &mut Parser) -> Result<Option<&'static Command>> {
    let topic = |parser: &mut Parser| Some(parser.raw_args().ok()?.peek()?.to_string_lossy().into_owned());
    if let "help" | "h" = name {
        let topic = topic(parser);
        let known = topic.as_deref().map(|name| Command::named(name).ok_or_else(|| unknown(name)));
        return print(&known.transpose()?.map_or_else(commands::help, Command::help)).map(|()| None);
    }
    let command = Command::named(name).ok_or_else(|| unknown(name))?;
    if let Some("-h" | "--help") = topic(parser).as_deref() {
        return print(&command.help()).map(|()| None);
    }
    if matches!(name, "create" | "run" | "exec") {
        protect_program()?;
    }
    global.log.debug(|| format!("{name} in {}", global.root.display()));
    Ok(Some(command))
}

fn unknown(name: &str) -> Error {
    Error::usage(format!("no such command: {name}; see hull-runtime --help"))
}

fn is_json(format: &OsStr) -> Result<bool> {
    match format.to_str() {
        Some("json") => Ok(true),
        Some("text" | "") => Ok(false),
        _ => Err(Error::usage(format!("no such log format: {}", format.display()))),
    }
}

/// Whether an option without a value is on: `--debug`, `--debug=true` or `--debug=false`.
fn switch(parser: &mut Parser) -> Result<bool> {
    match parser.optional_value() {
        None => Ok(true),
        Some(value) => match value.to_str() {
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            _ => Err(Error::usage(format!("{} is neither true nor false", value.display()))),
        },
    }
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

/// The version as engines read it: the first line names the runtime, `spec` what it implements.
fn version() -> String {
    format!("hull-runtime version {VERSION}\nspec: {SPEC_VERSION}\n")
}

/// Runs the hooks for a container that is gone. Their failures change nothing any more.
fn run_poststop(log: &Log, hooked: Option<&Hooked>) {
    warn(log, &hooked.map(Hooked::stopped).unwrap_or_default());
}

/// Says what changes nothing.
fn warn(log: &Log, warnings: &[impl std::fmt::Display]) {
    warnings.iter().for_each(|warning| log.warning(&warning.to_string()));
}

/// A path as it is meant here: a command may go elsewhere before it is used.
fn path(parser: &mut Parser) -> Result<PathBuf> {
    let given = PathBuf::from(parser.value()?);
    std::path::absolute(&given).map_err(|e| Error::file("the path", &given, e))
}

/// As [`path`]; an empty one is none.
fn log_file(parser: &mut Parser) -> Result<Option<PathBuf>> {
    let given = PathBuf::from(parser.value()?);
    let absolute = (!given.as_os_str().is_empty()).then(|| std::path::absolute(&given));
    absolute.transpose().map_err(|e| Error::file("the path", &given, e))
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
