//! `start`: the program of a container that was created.

use std::process::ExitCode;

use hull_oci::runtime::ContainerState;
use lexopt::Parser;

use super::container::Container;
use super::error::{Error, Result};
use super::{Global, delete, only_id};

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let container = Container::open(&global.root, &only_id(parser)?)?;
    let record = container.load()?;
    match container.status(&record) {
        ContainerState::Created => {}
        status => return Err(Error::new(format!("cannot start a container that is {status}"))),
    }
    let socket = container.connect()?;
    let process = record.pidfd()?;
    let started = hull_runtime::start(socket);
    container.forget_gate()?;
    if let (Err(_), Some(process)) = (&started, &process) {
        // It has said why it ends, and is to be stopped for who asks next.
        delete::wait(process)?;
    }
    started?;
    Ok(ExitCode::SUCCESS)
}
