//! The other name of this program: a process that makes a network namespace which belongs to a user namespace, for a daemon
//! that has too many threads to do so.
//!
//! It says one byte when they are there, and ends when its standard input does. The daemon writes the maps.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use hull_sys::clone::{self, Namespace};
use hull_sys::{Context, Result};
use rustix::fs::{Mode, OFlags};

/// Runs it; the argument is the path of a user namespace to join instead of making one.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match make(arguments.next()) {
        Ok(()) => {
            // Whoever does not hear it sees our end.
            let _ = std::io::stdout().write_all(b".").and_then(|()| std::io::stdout().flush());
            let _ = std::io::stdin().read(&mut [0]);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = write!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn make(user: Option<OsString>) -> Result<()> {
    match user {
        None => clone::unshare(Namespace::User)?,
        Some(path) => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let user = rustix::fs::open(&path, flags, Mode::empty()).on("open", &path)?;
            clone::join(user.as_fd(), Namespace::User)?;
        }
    }
    clone::unshare(Namespace::Network)
}
