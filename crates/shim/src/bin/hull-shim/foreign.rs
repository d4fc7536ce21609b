//! A runtime that is somebody else's program, by the command line that runc has given all of them: `create`, `start`,
//! `kill`, `exec`, `delete`.
//!
//! The states are the supervisor's own; the runtime keeps its notes in the supervisor's directory, so that they go with
//! it. What it makes becomes a child of the supervisor, which is the nearest subreaper, and is waited for as any other.
//! Limits, the freezer, statistics and the end of what is left are the cgroup's affair, whoever has made it.

mod bundle;
mod console;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hull_cgroup::Cgroup;
use hull_oci::runtime::Process;
use hull_runtime::{Failure, Running};
use hull_shim::protocol::{Config, ForeignRuntime};
use hull_sys::root::Root;
use hull_sys::{Context, Result, clone};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::creation::failure;
use console::Console;

/// In the supervisor's directory: what the runtime notes of the container.
const STATE: &str = "runtime";
/// There, too: what it says when it fails.
const LOG: &str = "runtime.log";
/// And the id of the process it has made.
const PID_FILE: &str = "runtime.pid";
/// Of its messages, the last bytes are read.
const LOG_MAX: usize = 64 << 10;

/// The runtime of one container.
pub(crate) struct Foreign {
    program: PathBuf,
    arguments: Vec<String>,
    /// The container's id.
    id: String,
    /// The supervisor's directory, absolute.
    directory: PathBuf,
}

/// A container that waits to be started.
pub(crate) struct Created {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) terminal: Option<OwnedFd>,
    /// Its root, which the supervisor holds to the end.
    pub(crate) rootfs: Option<OwnedFd>,
}

impl Foreign {
    /// Makes a container up to its program. If that fails, nothing is left of it.
    pub(crate) fn create(
        runtime: ForeignRuntime,
        config: &Config,
        stdio: hull_runtime::Stdio,
        network: Option<OwnedFd>,
        mounts: &bundle::Given,
    ) -> std::result::Result<(Self, Created), Failure> {
        let ForeignRuntime { program, arguments } = runtime;
        let directory = std::env::current_dir().op("read the working directory").map_err(failure)?;
        let this = Self { program, arguments, id: config.id.clone(), directory };
        let network = network.as_ref().map(AsFd::as_fd);
        let (bundle, rootfs) =
            bundle::make(&this.directory, config, network, mounts, &stdio).map_err(|error| match error {
                bundle::Refused::Identity(error) => named("user", error),
                bundle::Refused::System(error) => failure(error),
            })?;
        let made = this.make("create", stdio, |command| {
            command.arg("--bundle").arg(&bundle);
        });
        match made {
            Ok((pid, pidfd, terminal)) => Ok((this, Created { pid, pidfd, terminal, rootfs })),
            Err(failure) => {
                this.delete();
                Err(failure)
            }
        }
    }

    /// Lets the container's program begin.
    pub(crate) fn start(&self, created: Created, cgroup: &str) -> std::result::Result<Running, Failure> {
        self.run(self.command("start").arg(&self.id)).map_err(|why| told("OCI runtime start failed", why))?;
        let Created { pid, pidfd, .. } = created;
        // Without it there is nothing to count, and nothing to remove.
        let cgroup = Cgroup::open(cgroup).ok();
        Ok(Running { pid, pidfd, terminal: None, cgroup, warnings: Vec::new(), rdt: None, hooked: None })
    }

    /// Sends a signal to the container's first process.
    pub(crate) fn kill(&self, number: i32) -> Result<()> {
        let sent = self.run(self.command("kill").arg(&self.id).arg(number.to_string()));
        sent.map_err(|why| hull_sys::Error::new("kill by the runtime", why, 0))
    }

    /// Runs a further process. Returns when its program is executing.
    pub(crate) fn exec(
        &self,
        init: i32,
        exec: Extra,
        stdio: hull_runtime::Stdio,
    ) -> std::result::Result<Running, Failure> {
        let Extra { name, mut process, user, groups } = exec;
        let root = Root::open(format!("/proc/{init}/root")).map_err(failure)?;
        bundle::identify(&root, &mut process, user.as_deref(), &groups)
            .map_err(|error| named("user", error))?;
        bundle::give_terminal(&mut process, &stdio);
        let file = self.directory.join(format!("exec-{name}.json"));
        let text = serde_json::to_vec(&process).map_err(std::io::Error::from).op("write the process");
        text.and_then(|text| fs::write(&file, text).on("write", &file)).map_err(failure)?;
        let made = self.make("exec", stdio, |command| {
            command.arg("--detach").arg("--process").arg(&file);
        });
        // It is read; what is left goes with the directory.
        let _ = fs::remove_file(&file);
        let (pid, pidfd, terminal) = made?;
        Ok(Running { pid, pidfd, terminal, cgroup: None, warnings: Vec::new(), rdt: None, hooked: None })
    }

    /// Has the runtime forget the container, and kill what there is of it. Its failure changes nothing: the daemon
    /// removes the cgroup, and the supervisor's end the mounts.
    pub(crate) fn delete(&self) {
        let _ = self.run(self.command("delete").arg("--force").arg(&self.id));
    }

    /// Runs `create` or `exec`, which leave a process behind: its id, its name, and its terminal if it is to have one.
    fn make(
        &self,
        action: &str,
        stdio: hull_runtime::Stdio,
        more: impl FnOnce(&mut Command),
    ) -> std::result::Result<(i32, OwnedFd, Option<OwnedFd>), Failure> {
        let pid_file = self.directory.join(PID_FILE);
        let mut command = self.command(action);
        command.arg("--pid-file").arg(&pid_file);
        let mut console = None;
        match stdio {
            hull_runtime::Stdio::Terminal { .. } => {
                let listening = Console::listen().map_err(failure)?;
                command.arg("--console-socket").arg(listening.path());
                console = Some(listening);
            }
            hull_runtime::Stdio::Fds { stdin, stdout, stderr } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
            }
            hull_runtime::Stdio::Inherit => {}
        }
        more(&mut command);
        self.run(command.arg(&self.id)).map_err(|why| told(&format!("OCI runtime {action} failed"), why))?;
        let (pid, pidfd) = process_of(&pid_file).map_err(failure)?;
        let terminal = console.map(Console::take).transpose().map_err(failure)?;
        Ok((pid, pidfd, terminal))
    }

    /// The program with what stands before every action, without input and output.
    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command.args([OsStr::new("--root"), self.directory.join(STATE).as_os_str()]);
        command.args([OsStr::new("--log"), self.directory.join(LOG).as_os_str()]);
        command.args(["--log-format", "json"]).arg(action);
        // It looks for what it runs there, as runtimes under other engines do.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        clone::with_clean_signals(&mut command);
        command
    }

    /// Runs it to its end; why it failed.
    fn run(&self, command: &mut Command) -> std::result::Result<(), String> {
        let log = self.directory.join(LOG);
        let _ = fs::remove_file(&log);
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(last_error(&log).unwrap_or_else(|| format!("{}: {status}", self.program.display())))
            }
            Err(why) => Err(format!("{}: {why}", self.program.display())),
        }
    }
}

/// What an exec session is to run.
pub(crate) struct Extra {
    pub(crate) name: String,
    pub(crate) process: Process,
    pub(crate) user: Option<String>,
    pub(crate) groups: Vec<String>,
}

impl Created {
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn process_of(file: &Path) -> Result<(i32, OwnedFd)> {
    let text = fs::read_to_string(file).on("read", file)?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw).ok_or(Errno::INVAL).on("read", file)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).on("pidfd_open", text.trim())?;
    Ok((pid.as_raw_nonzero().get(), pidfd))
}

/// The message of the last error in a log of JSON lines.
fn last_error(log: &Path) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_MAX)..]).into_owned();
    let entries = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut errors = entries.filter(|entry| matches!(entry["level"].as_str(), Some("error" | "fatal")));
    errors.next_back().and_then(|entry| entry["msg"].as_str().map(|said| said.trim().to_owned()))
}

/// A failure in the runtime's own words.
fn told(what: &str, why: String) -> Failure {
    Failure { step: "runtime".into(), op: format!("{what}: {why}"), object: String::new(), errno: 0 }
}

/// A failure of ours in a step that the daemon knows.
fn named(step: &str, error: hull_sys::Error) -> Failure {
    Failure { step: step.into(), ..failure(error) }
}
