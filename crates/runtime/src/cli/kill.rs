//! `kill`: a signal for a container.

use std::os::fd::AsFd;
use std::process::ExitCode;

use hull_oci::Signal;
use hull_oci::runtime::ContainerState;
use lexopt::{Arg, Parser, ValueExt};

use super::container::{Container, Record};
use super::error::{Error, Result};
use super::{Global, require};

/// SIGTERM.
const DEFAULT: Signal = Signal::TERM;

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let (mut id, mut signal, mut all) = (None, None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('a') | Arg::Long("all") => all = true,
            Arg::Value(value) if id.is_none() => id = Some(value.string()?),
            Arg::Value(value) if signal.is_none() => signal = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let container = Container::open(&global.root, &require(id)?)?;
    let signal = match signal {
        Some(text) => text.parse().map_err(|error| Error::usage(format!("{error}")))?,
        None => DEFAULT,
    };
    let record = container.load()?;
    if all {
        return kill_all(&record, signal);
    }
    match (record.pidfd()?, container.status(&record)) {
        (Some(pidfd), status) if status != ContainerState::Stopped => {
            record.signal(&pidfd, signal.number())?;
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Error::new("container not running")),
    }
}

/// Also those that are left of a container whose first process has ended.
fn kill_all(record: &Record, signal: Signal) -> Result<ExitCode> {
    if let (Signal::KILL, Some(cgroup)) = (signal, record.cgroup()?) {
        cgroup.kill()?;
        return Ok(ExitCode::SUCCESS);
    }
    for pid in record.pids()? {
        let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
        if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            hull_sys::signal::send(pidfd.as_fd(), signal.number())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
