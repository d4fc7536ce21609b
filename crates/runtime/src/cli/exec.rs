//! `exec`: another process in a container.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use hull_oci::runtime::{Capabilities, Capability, ContainerState, LinuxCapabilities, Process};
use hull_runtime::{Exec, Running, Stdio, config};
use hull_sys::clone::{self, Namespace, Namespaces};
use lexopt::{Arg, Parser, ValueExt};

use super::bundle::{send_console, send_descriptor, write_pid};
use super::container::{Container, Record};
use super::error::{Error, Result};
use super::log::Log;
use super::{Global, foreground, require, switch};

pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("-p, --process FILE", "the whole process, as in config.json"),
    ("-d, --detach", "do not wait for the process"),
    ("-t, --tty", "a terminal for it"),
    ("--console-socket PATH", "a unix socket that takes the terminal's master side"),
    ("--cwd DIR", "its directory"),
    ("-e, --env NAME=VALUE", "one more variable"),
    ("-u, --user UID[:GID]", "its user"),
    ("-g, --additional-gids GID", "one more group"),
    ("-c, --cap NAME", "one more capability"),
    ("--no-new-privs", "it cannot gain privileges"),
    ("--process-label LABEL", "its SELinux label"),
    ("--apparmor PROFILE", "its AppArmor profile"),
    ("--pid-file FILE", "where the process id is written to"),
    ("--pidfd-socket PATH", "a unix socket that takes a pidfd of the process"),
    ("--preserve-fds N", "hand descriptors 3 to 2+N to it"),
    ("--cgroup PATH", "a cgroup below the container's"),
    ("--ignore-paused", "also in a paused container"),
];

/// The status when the process could not be run, whatever it would have ended with itself.
const FAILED: u8 = 255;

/// What the command line says of the process.
#[derive(Default)]
struct Options {
    id: Option<String>,
    args: Vec<String>,
    process_file: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
    cgroup: Option<String>,
    preserve_fds: u32,
    detach: bool,
    terminal: bool,
    no_new_privileges: bool,
    ignore_paused: bool,
    cwd: Option<PathBuf>,
    user: Option<String>,
    groups: Vec<u32>,
    env: Vec<String>,
    capabilities: Vec<String>,
    apparmor: Option<String>,
    selinux: Option<String>,
}

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    exec(global, parser).map_err(|error| error.with_code(FAILED))
}

fn exec(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let mut options = Options::parse(parser)?;
    let container = Container::open(&global.root, &require(options.id.take())?)?;
    let record = container.load()?;
    match container.status(&record) {
        ContainerState::Running | ContainerState::Created => {}
        status => return Err(Error::new(format!("cannot exec in a {status} container"))),
    }
    // It would be frozen, too, before it could say that it runs.
    if record.cgroup()?.map(|cgroup| cgroup.frozen()).transpose()?.unwrap_or(false) && !options.ignore_paused
    {
        return Err(Error::new("cannot exec in a paused container (use --ignore-paused to override)"));
    }
    let process = options.process(&global.log, &record)?;
    let terminal = process.terminal().unwrap_or(false);
    if terminal && options.detach && options.console_socket.is_none() {
        return Err(Error::new("cannot allocate a terminal without --console-socket when detached"));
    }
    let signals = if options.detach { None } else { Some(foreground::take_signals()?) };
    let stdio = if terminal { Stdio::Terminal { rows: 0, cols: 0 } } else { Stdio::Inherit };
    let own = record.cgroup.as_deref();
    let cgroup = own.map(|own| options.cgroup.as_ref().map_or(own.to_owned(), |below| join(own, below)));
    let exec = Exec {
        state: Some(record.state()),
        stdio,
        seccomp: record.seccomp.clone(),
        cgroup,
        common: record.common.clone(),
        preserve_fds: options.preserve_fds,
        keyring: record.keyring.clone(),
        ..Exec::new(record.pid, process)
    };
    if !rustix::process::geteuid().is_root()
        && let Some(pidfd) = record.pidfd()?
    {
        // An ordinary user may join the other namespaces only as root of the one that owns them.
        clone::join_process(pidfd.as_fd(), Namespaces::from_iter([Namespace::User]))?;
    }
    let mut running = hull_runtime::exec(exec)?;
    super::warn(&global.log, &running.warnings);
    hand_out(&mut running, container.id(), &options)?;
    match signals {
        Some(signals) => foreground::attend(&mut running, &signals),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn hand_out(running: &mut Running, id: &str, options: &Options) -> Result<()> {
    if let Some(path) = &options.pidfd_socket {
        send_descriptor(path, id, running.pidfd.as_fd())?;
    }
    write_pid(options.pid_file.as_deref(), running.pid)?;
    match (&options.console_socket, running.terminal.take()) {
        (Some(path), Some(master)) => send_console(path, master.as_fd()),
        (None, terminal) => {
            running.terminal = terminal;
            Ok(())
        }
        (Some(_), None) => Err(Error::new("--console-socket is for processes with a terminal")),
    }
}

/// A cgroup below the container's own.
fn join(cgroup: &str, below: &str) -> String {
    match below.trim_matches('/') {
        "" => cgroup.to_owned(),
        below => format!("{cgroup}/{below}"),
    }
}

impl Options {
    fn parse(parser: &mut Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(value) => {
                    options.id = Some(value.string()?);
                    // All that follows is the command, whatever it looks like.
                    let words = parser.raw_args()?.map(|arg| arg.string());
                    options.args = words.collect::<std::result::Result<_, _>>()?;
                }
                other => {
                    let other = owned(other)?;
                    options.take(&other, parser)?;
                }
            }
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, parser: &mut Parser) -> Result<()> {
        match name {
            "p" | "process" => self.process_file = Some(parser.value()?.into()),
            "pid-file" => self.pid_file = Some(parser.value()?.into()),
            "console-socket" => self.console_socket = Some(parser.value()?.into()),
            "pidfd-socket" => self.pidfd_socket = Some(parser.value()?.into()),
            "cgroup" => self.cgroup = Some(parser.value()?.string()?),
            "preserve-fds" => self.preserve_fds = parser.value()?.parse()?,
            "d" | "detach" => self.detach = switch(parser)?,
            "t" | "tty" => self.terminal = switch(parser)?,
            "no-new-privs" => self.no_new_privileges = switch(parser)?,
            "ignore-paused" => self.ignore_paused = switch(parser)?,
            "cwd" => self.cwd = Some(parser.value()?.into()),
            "u" | "user" => self.user = Some(parser.value()?.string()?),
            "g" | "additional-gids" => self.groups.push(parser.value()?.parse()?),
            "e" | "env" => self.env.push(parser.value()?.string()?),
            "c" | "cap" => self.capabilities.push(parser.value()?.string()?),
            "apparmor" => self.apparmor = Some(parser.value()?.string()?),
            "process-label" => self.selinux = Some(parser.value()?.string()?),
            other => return Err(Error::usage(format!("invalid option {other:?}"))),
        }
        Ok(())
    }

    /// The process of the file, or one like the container's with what the command line changes.
    fn process(&self, log: &Log, record: &Record) -> Result<Process> {
        if let Some(path) = &self.process_file {
            let text = std::fs::read(path).map_err(|e| Error::file("read", path, e))?;
            let read =
                config::parse_process(&text).map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
            super::warn(log, &read.warnings);
            return Ok(read.value);
        }
        if self.args.is_empty() {
            return Err(Error::usage("a command is missing"));
        }
        let mut process = record.process.clone().unwrap_or_default();
        process.set_args(Some(self.args.clone())).set_terminal(Some(self.terminal));
        process.env_mut().get_or_insert_default().extend(self.env.iter().cloned());
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        if self.no_new_privileges {
            process.set_no_new_privileges(Some(true));
        }
        if self.apparmor.is_some() {
            process.set_apparmor_profile(self.apparmor.clone());
        }
        if self.selinux.is_some() {
            process.set_selinux_label(self.selinux.clone());
        }
        self.set_user(&mut process)?;
        self.add_capabilities(&mut process)?;
        Ok(process)
    }

    fn set_user(&self, process: &mut Process) -> Result<()> {
        let number =
            |text: &str| text.parse().map_err(|_| Error::usage(format!("user {text:?} is no number")));
        if let Some(user) = &self.user {
            let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
            process.user_mut().set_uid(number(uid)?);
            if !gid.is_empty() {
                process.user_mut().set_gid(number(gid)?);
            }
        }
        if !self.groups.is_empty() {
            process.user_mut().additional_gids_mut().get_or_insert_default().extend(&self.groups);
        }
        Ok(())
    }

    /// Adds to all sets but the inheritable one, which would outlive a change of user (CVE-2022-29162).
    fn add_capabilities(&self, process: &mut Process) -> Result<()> {
        let parse = |name: &String| {
            let short = name.trim_start_matches("CAP_");
            short.parse::<Capability>().map_err(|_| Error::usage(format!("no such capability: {name}")))
        };
        let added = self.capabilities.iter().map(parse).collect::<Result<Capabilities>>()?;
        if added.is_empty() {
            return Ok(());
        }
        let before = process.capabilities().clone().unwrap_or_default();
        let plus = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
        let mut sets: LinuxCapabilities = before.clone();
        sets.set_bounding(plus(before.bounding())).set_effective(plus(before.effective()));
        sets.set_permitted(plus(before.permitted()));
        process.set_capabilities(Some(sets));
        Ok(())
    }
}

/// The name of an option, without its dashes.
pub(super) fn owned(arg: Arg<'_>) -> Result<String> {
    match arg {
        Arg::Short(letter) => Ok(letter.to_string()),
        Arg::Long(name) => Ok(name.to_owned()),
        value @ Arg::Value(_) => Err(value.unexpected().into()),
    }
}
