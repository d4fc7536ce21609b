//! `start`: the program of a container that was created.

use std::process::ExitCode;

use hull_oci::runtime::ContainerState;
use hull_runtime::hooks::Moment;
use lexopt::Parser;
use rustix::process::{Signal, pidfd_send_signal};

use super::container::{Container, Record};
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
    super::warn(&global.log, &started?);
    if let Some(hooked) = &record.hooked {
        hooked.run(Moment::Poststart, record.pid).inspect_err(|_| stop(&record))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A container does not run on when a hook has failed.
fn stop(record: &Record) {
    if let Ok(Some(pidfd)) = record.pidfd() {
        // The failure of the hook is the one to be told; the process may have ended by itself.
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
    }
}
