//! `create`: everything but the program.

use std::os::fd::AsFd;
use std::process::ExitCode;

use hull_runtime::{Create, Created, Gate};
use lexopt::Parser;

use super::bundle::{Bundle, Options, send_console, send_descriptor, write_pid};
use super::container::{Container, New, Record};
use super::error::{Error, Result};
use super::place::Place;
use super::{Global, require};

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let options = Options::parse(parser)?;
    let id = require(options.id.clone())?;
    let new = Container::create(&global.root, &id)?;
    let listener = new.container()?.listen()?;
    let mut created = make(global, &new, &options, Gate::Listener(listener))?;
    hand_out(&mut created, &options)?;
    created.leave()?;
    new.keep();
    Ok(ExitCode::SUCCESS)
}

/// Makes the container of a bundle and remembers it.
pub(super) fn make(global: &Global, new: &New, options: &Options, gate: Gate) -> Result<Created> {
    let container = new.container()?;
    let bundle = Bundle::open(&global.log, options)?;
    bundle
        .ignored()
        .for_each(|what| global.log.warning(&format!("{what} is ignored: the kernel has given it up")));
    check_console(bundle.terminal, options)?;
    let (path, rootfs) = (bundle.path.clone(), bundle.rootfs.clone());
    let place = Place::make(global, container.id(), &bundle.cgroups_path(), bundle.resources())?;
    let cgroup = place.cgroup.clone();
    let spec = bundle.spec().clone();
    let create = Create { gate, ..bundle.into_create(container.id(), cgroup.clone(), options)? };
    let (seccomp, keyring) = (create.seccomp.clone(), create.keyring.clone());
    let created = hull_runtime::create(create)?;
    let mut record = Record::new(container.id(), created.pid, path, rootfs, cgroup, &spec);
    record.seccomp = seccomp;
    record.keyring = keyring;
    record.scope = place.scope.clone();
    record.hooked = created.hooked().cloned();
    record.rdt = created.rdt().cloned();
    container.save(&record)?;
    Ok(created)
}

/// Who is left without us needs the terminal from the socket; who has us does not.
fn check_console(terminal: bool, options: &Options) -> Result<()> {
    let detached = options.detach || !options.is_run;
    match (terminal, detached, options.console_socket.is_some()) {
        (true, true, false) => {
            Err(Error::new("cannot allocate a terminal without --console-socket when detached"))
        }
        (false, _, true) => Err(Error::new("--console-socket is for containers with a terminal")),
        _ => Ok(()),
    }
}

/// Gives the process and the terminal to those who asked for them.
pub(super) fn hand_out(created: &mut Created, options: &Options) -> Result<()> {
    if let (Some(path), Some(pidfd)) = (&options.pidfd_socket, created.pidfd()) {
        send_descriptor(path, options.id.as_deref().unwrap_or_default(), pidfd)?;
    }
    write_pid(options.pid_file.as_deref(), created.pid)?;
    if let Some(path) = &options.console_socket
        && let Some(master) = created.terminal.take()
    {
        send_console(path, master.as_fd())?;
    }
    Ok(())
}
