//! `run`: create and start, and stay until the end unless told otherwise.

use std::process::ExitCode;

use hull_cgroup::Cgroup;
use hull_runtime::{Gate, Running};
use hull_sys::signal::SignalFd;
use lexopt::Parser;

use super::bundle::Options;
use super::container::{Container, New};
use super::error::Result;
use super::{Global, create, foreground, place, require};

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let mut options = Options::parse(parser)?;
    options.is_run = true;
    let id = require(options.id.clone())?;
    let new = Container::create(&global.root, &id)?;
    // Before the clone: a signal that comes from then on is for the container.
    let signals = if options.detach { None } else { Some(foreground::take_signals()?) };
    let mut created = create::make(global, &new, &options, Gate::Caller)?;
    create::hand_out(&mut created, &options)?;
    let running = created.start()?;
    super::warn(&global.log, &running.warnings);
    let Some(signals) = signals else {
        new.keep();
        return Ok(ExitCode::SUCCESS);
    };
    stay(global, new, running, &signals, options.keep)
}

/// Stays until the end of a container's process, and removes what is left of it then, unless it is to be kept.
pub(super) fn stay(
    global: &Global,
    new: New,
    mut running: Running,
    signals: &SignalFd,
    keep: bool,
) -> Result<ExitCode> {
    // Only systemd's containers have one: nobody else reads a record again that was just written.
    let scope = if global.systemd { new.container()?.load()?.scope } else { None };
    let ended = foreground::attend(&mut running, signals);
    if keep {
        new.keep();
    } else {
        running.cgroup.as_ref().map_or(Ok(()), end)?;
        running.rdt.as_ref().map_or(Ok(()), |rdt| rdt.remove())?;
        place::leave(global, new.container()?.id(), scope.as_deref());
        drop(new);
        super::run_poststop(&global.log, running.hooked.as_ref());
    }
    ended
}

/// Ends what is left of a container whose first process has ended: those that share a pid namespace with others.
pub(super) fn end(cgroup: &Cgroup) -> Result<()> {
    if !cgroup.pids()?.is_empty() {
        cgroup.kill()?;
    }
    Ok(cgroup.remove()?)
}
