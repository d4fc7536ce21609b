//! `start`: the program of a container that was created.

use std::process::ExitCode;

use hull_oci::runtime::ContainerState;
use lexopt::Parser;

use super::container::Container;
use super::error::{Error, Result};
use super::{Global, only_id};

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let container = Container::open(&global.root, &only_id(parser)?)?;
    let record = container.load()?;
    match container.status(&record) {
        ContainerState::Created => {}
        status => return Err(Error::new(format!("cannot start a container that is {status}"))),
    }
    let socket = container.connect()?;
    let started = hull_runtime::start(socket);
    container.forget_gate()?;
    started?;
    Ok(ExitCode::SUCCESS)
}
