//! The terminal of a process that a foreign runtime makes: it sends the master side to a socket of ours.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use hull_sys::{Context, Error, Result, scm};
use rustix::io::Errno;

/// The socket's file in the supervisor's directory.
const SOCKET: &str = "console.sock";

/// A socket that listens.
pub(super) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Begins to listen.
    pub(super) fn listen() -> Result<Self> {
        match fs::remove_file(SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).on("remove", SOCKET),
            _ => {}
        }
        // The working directory is the supervisor's own, whose whole path may be too long for an address.
        let listener = UnixListener::bind(SOCKET).on("bind", SOCKET)?;
        listener.set_nonblocking(true).on("listen", SOCKET)?;
        let path = format!("/proc/{}/cwd/{SOCKET}", std::process::id());
        Ok(Self { listener, path: path.into() })
    }

    /// The socket as others find it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was sent, after the runtime has done its work.
    pub(super) fn take(self) -> Result<OwnedFd> {
        let (connection, _) = self.listener.accept().on("accept", SOCKET)?;
        let (_, mut descriptors) = scm::receive(&connection, &mut [0; 4096])?;
        let _ = fs::remove_file(SOCKET);
        descriptors.pop().ok_or_else(|| Error::new("receive the terminal from", "the runtime", Errno::BADMSG))
    }
}
