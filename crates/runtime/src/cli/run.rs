//! `run`: create and start, and stay until the end unless told otherwise.

use std::process::ExitCode;

use hull_cgroup::Cgroup;
use hull_runtime::Gate;
use lexopt::Parser;

use super::bundle::Options;
use super::container::Container;
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
    let mut running = created.start()?;
    super::warn(&global.log, &running.warnings);
    let Some(signals) = signals else {
        new.keep();
        return Ok(ExitCode::SUCCESS);
    };
    let scope = new.container()?.load()?.scope;
    let ended = foreground::attend(&mut running, &signals);
    if options.keep {
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
