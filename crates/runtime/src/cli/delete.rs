//! `delete`: what a container left.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use hull_oci::runtime::ContainerState;
use hull_sys::Context;
use lexopt::{Arg, Parser};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::container::{Container, Record};
use super::error::{Error, Result};
use super::{Global, place, require, run, take_id};

/// How long a killed process may take to end, in seconds.
const PATIENCE: i64 = 10;

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let (mut id, mut force) = (None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('f') | Arg::Long("force") => force = true,
            Arg::Value(value) => take_id(&mut id, value)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let container = match Container::open(&global.root, &require(id)?) {
        Err(_) if force => return Ok(ExitCode::SUCCESS),
        container => container?,
    };
    match container.load() {
        Ok(record) => remove(global, &container, &record, force),
        // Its creation was cut.
        Err(_) if force => container.remove(),
        Err(error) => Err(error),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Removes all that is left of a container.
pub(super) fn remove(global: &Global, container: &Container, record: &Record, force: bool) -> Result<()> {
    end(container, record, force)?;
    place::leave(global, container.id(), record.scope.as_deref());
    container.remove()?;
    super::run_poststop(&global.log, record.hooked.as_ref());
    Ok(())
}

/// Ends the container's processes, if they may be ended, and removes its cgroup.
fn end(container: &Container, record: &Record, force: bool) -> Result<()> {
    let status = container.status(record);
    // Nothing of the container's own runs before its start.
    if status == ContainerState::Running && !force {
        let id = container.id();
        return Err(Error::new(format!("cannot delete container {id} that is not stopped: {status}")));
    }
    if let Some(pidfd) = record.pidfd()? {
        kill(record, &pidfd)?;
    }
    record.cgroup()?.map_or(Ok(()), |cgroup| run::end(&cgroup))?;
    Ok(record.rdt.as_ref().map_or(Ok(()), |rdt| rdt.remove())?)
}

fn kill(record: &Record, pidfd: &OwnedFd) -> Result<()> {
    if pidfd_send_signal(pidfd, Signal::KILL) == Err(rustix::io::Errno::SRCH) {
        return Ok(());
    }
    record.wake()?;
    wait(pidfd)
}

/// Waits for the end of a process that is about to end.
pub(super) fn wait(pidfd: &OwnedFd) -> Result<()> {
    let patience = rustix::time::Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&patience)).op("poll")? {
        0 => Err(Error::new(format!("the container's process did not end within {PATIENCE} seconds"))),
        _ => Ok(()),
    }
}
