//! The other name of this program: `docker-init`, process 1 of a container with `--init`.
//!
//! It starts the container's program, hands on every signal that it gets, buries whatever orphans die, and ends as
//! its program ended. The container sees this static file read-only; it needs nothing of the image.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use hull_sys::Result;
use hull_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};

/// The name that the engine mounts this program under.
pub(crate) const NAME: &str = "docker-init";
/// SIGKILL, SIGSTOP cannot be caught; faults are this program's own.
const NOT_FORWARDED: [i32; 8] = [9, 19, 4, 5, 7, 8, 11, 31];
/// SIGCHLD.
const CHILD_ENDED: i32 = 17;

/// Runs the program that stands behind `--`.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut words = arguments.skip_while(|word| word != "--").skip(1);
    let Some(program) = words.next() else { return ExitCode::from(2) };
    // A process group of its own: what a terminal sends to the group, the program gets once and not twice. Before
    // any signal is blocked: a program inherits that.
    match Command::new(&program).args(words).process_group(0).spawn() {
        Ok(child) => ExitCode::from(accompany(Pid::from_child(&child)).unwrap_or(1)),
        Err(error) => refused(&program, &error),
    }
}

fn refused(program: &OsString, error: &std::io::Error) -> ExitCode {
    // Who cannot be told sees the exit code.
    let _ = writeln!(std::io::stderr(), "{NAME}: exec {}: {error}", program.display());
    ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

/// Serves the program until it ends; returns its exit code, as a shell would.
fn accompany(child: Pid) -> Result<u8> {
    let forwarded: Vec<i32> = (1..=64).filter(|signal| !NOT_FORWARDED.contains(signal)).collect();
    let signals = SignalFd::new(&forwarded)?;
    give_terminal(child);
    // It may have ended before we listened.
    if let Some(code) = bury(child) {
        return Ok(code);
    }
    loop {
        let mut ready = [PollFd::new(&signals, PollFlags::IN)];
        // An interruption is a signal, and that is what we wait for.
        let _ = poll(&mut ready, None);
        while let Some(signal) = signals.take()? {
            if signal == CHILD_ENDED {
                if let Some(code) = bury(child) {
                    return Ok(code);
                }
            } else if let Some(signal) = Signal::from_named_raw(signal) {
                // It may have ended just now: the next signal tells.
                let _ = kill_process(child, signal);
            }
        }
    }
}

/// The program becomes the foreground of the terminal, if there is one.
fn give_terminal(child: Pid) {
    if rustix::termios::tcsetpgrp(std::io::stdin().as_fd(), child).is_ok() {
        // It may have been stopped for reading a moment too early.
        let _ = kill_process_group(child, Signal::CONT);
    }
}

/// Collects everything that has ended; the exit code, if the program is among it.
fn bury(child: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            let status = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
            code = status.map(|status| status as u8);
        }
    }
    code
}
