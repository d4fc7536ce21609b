//! `hull-shim DIR`: the supervisor of one container. The daemon spawns it; people do not.
//!
//! Under other names it is what a container needs beside it: [`init`], the [`logger`], the packer of
//! old logs, the maker of [`namespaces`].
//!
//! ```text
//!            create()               Start                init ends            output and exec sessions end
//! (nothing) ─────────► Created ───────────────► Running ───────────► Exited ──────────────────────────────► Drained
//!     └─ Failed          └─ init ends ─► Exited    └─ Start fails ─► Exited                                    │
//!                                                           every client has got all of its output ─► this process ends
//! ```
//!
//! *Created*: init waits in its namespaces. *Running*: the program executes. *Exited*: init is gone and with it, in
//! the end, everything in the container's cgroup; what they wrote last is still read. *Drained*: the log is
//! complete, the cgroup is removed, `exit.json` is written, the socket is gone, `Wait` is answered. Only the
//! requests of clients and the end of init change the state; the loop in [`supervisor`] does, and nobody else.
//!
//! What survives:
//! - *the daemon dies* (SIGKILL, an upgrade): nothing happens here. The supervisor is a child of the machine's init, in
//!   a session of its own, and has no descriptor of the daemon's. Logging goes on; attached clients just leave.
//! - *the supervisor dies*: the container is killed with it (its parent-death signal), because nobody would read
//!   its output or learn how it ended. `exit.json` is missing then; the daemon reports the container as killed and
//!   removes its cgroup. The supervisor protects itself from the kernel's memory killer, and only SIGKILL ends it.
//! - *the machine dies*: nothing.
//!
//! One thread, no async runtime: a process that clones must have one thread, and all there is to do is to
//! wait for descriptors. Buffers are given back when nothing moves, so that an idle container costs little memory.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use hull_runtime::Failure;
use hull_shim::client;
use hull_shim::protocol::{self, Answer, Config};
use hull_sys::clone::{self, Clone, Side};
use hull_sys::{Context, Result};
use rustix::fs::{Mode, OFlags};

use crate::creation::{failure, open_null};
use crate::supervisor::Supervisor;

mod checkpoint;
mod clock;
mod container;
mod copy;
mod creation;
mod exec;
mod exit;
mod foreign;
mod init;
mod log;
mod logger;
mod namespaces;
mod outbox;
mod pace;
mod request;
mod session;
mod supervisor;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().map(PathBuf::from).unwrap_or_default();
    match name.file_name().and_then(OsStr::to_str) {
        Some(init::NAME) => return init::run(arguments),
        Some(client::NAMESPACES) => return namespaces::run(arguments),
        Some(logger::NAME) => return logger::run(),
        Some(log::packer::NAME) => return log::packer::run(arguments),
        _ => {}
    }
    let Some(dir) = arguments.next().map(PathBuf::from) else { return ExitCode::from(2) };
    match clone::clone(&Clone::default()) {
        // The daemon waits for this process and for nothing else: the supervisor is never its zombie.
        Ok(Side::Parent(_)) => ExitCode::SUCCESS,
        Ok(Side::Child) => supervise(dir),
        Err(error) => refuse(failure(error)),
    }
}

fn supervise(dir: PathBuf) -> ExitCode {
    match settle_in(&dir).map_err(failure).and_then(creation::create) {
        Ok(mut supervisor) => match announce(&mut supervisor).and_then(|()| supervisor.run()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(failure) => refuse(failure),
    }
}

/// Leaves the daemon's session and directory; reads what there is to do.
fn settle_in(dir: &PathBuf) -> Result<Config> {
    // The kernel has named it after the descriptor it was executed by.
    rustix::thread::set_name(c"hull-shim").op("name the process")?;
    rustix::process::setsid().op("setsid")?;
    rustix::process::chdir(dir).on("change to", dir)?;
    // Containers inherit it, and expect this one.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let text = std::fs::read(protocol::CONFIG).on("read", protocol::CONFIG)?;
    protocol::decode(&text).map_err(std::io::Error::from).on("parse", protocol::CONFIG)
}

/// Begins to listen, and says so.
fn announce(supervisor: &mut Supervisor) -> Result<()> {
    let shim_pid = rustix::process::getpid().as_raw_nonzero().get();
    supervisor.listen()?;
    std::fs::write(protocol::PID, shim_pid.to_string()).on("write", protocol::PID)?;
    supervisor.protect();
    say(&Answer::Created { pid: supervisor.pid(), shim_pid })
}

fn refuse(failure: Failure) -> ExitCode {
    // Who cannot be told will find that there is no supervisor.
    let _ = say(&Answer::Failed(failure));
    ExitCode::FAILURE
}

/// Writes the first and only line for the daemon, and lets go of what it gave us.
fn say(answer: &Answer) -> Result<()> {
    let line = protocol::encode(answer).map_err(std::io::Error::from).op("encode")?;
    let sent = rustix::io::write(rustix::stdio::stdout(), &line).op("write answer").map(drop);
    let null = open_null(OFlags::RDWR)?;
    rustix::stdio::dup2_stdin(&null).op("dup2")?;
    rustix::stdio::dup2_stdout(&null).op("dup2")?;
    sent
}
