//! `pause` and `resume`.

use std::process::ExitCode;

use hull_cgroup::Cgroup;
use lexopt::Parser;

use super::container::Container;
use super::error::{Error, Result};
use super::{Global, only_id};

pub(super) fn pause(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    change(global, parser, Cgroup::freeze)
}

pub(super) fn resume(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    change(global, parser, Cgroup::thaw)
}

fn change(
    global: &Global,
    parser: &mut Parser,
    to: fn(&Cgroup) -> hull_cgroup::Result<()>,
) -> Result<ExitCode> {
    let container = Container::open(&global.root, &only_id(parser)?)?;
    let record = container.load()?;
    match record.cgroup()? {
        Some(cgroup) if record.is_alive() => to(&cgroup)?,
        None if record.is_alive() => return Err(Error::new("a container without a cgroup cannot be paused")),
        _ => return Err(Error::new("container not running")),
    }
    Ok(ExitCode::SUCCESS)
}
