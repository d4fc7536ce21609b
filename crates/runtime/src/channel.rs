//! The line between the caller and the process it makes: a pair of sequenced-packet sockets.
//!
//! The new process may ask for the *hooks* of the caller's side, and says once that it is *ready* (and hands over its
//! terminal) or why it *failed*. It may *warn* of what it goes on without. When it is let
//! go and its program is executed, the kernel closes its end, and the caller reads the end of the line. So the
//! caller knows of success without a word, and a death without one is told from it by the ready that is missing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::clone::Child;
use hull_sys::{Context, Error, Result, scm};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;

use crate::Failure;

/// The longest message in bytes. A failure's object is cut to fit.
const MESSAGE_MAX: usize = 4096;

/// One end of the line.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What one side says.
#[derive(Debug)]
pub(crate) enum Message {
    /// The new process was made by one that joined namespaces before: this child of the receiver.
    Born(Child),
    /// All is mounted: the hooks of the receiver's side may run.
    Hooks,
    /// The new process is set up; the master side of its terminal, if it has one.
    Ready(Option<OwnedFd>),
    /// It was given less than was asked for, and goes on.
    Warning(String),
    /// It could not be set up, and has ended.
    Failed(Failure),
    /// It may go on.
    Go,
    /// The other side is closed.
    End,
}

impl Channel {
    /// Both ends; neither survives an execve.
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .op("socketpair")?;
        Ok((Self(one), Self(other)))
    }

    /// Another handle of the same end.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        self.0.try_clone().op("dup").map(Self)
    }

    /// Says that the process is ready.
    pub(crate) fn ready(&self, terminal: Option<BorrowedFd<'_>>) -> Result<()> {
        self.send(b"r", terminal)
    }

    /// Asks for the hooks of the other side.
    pub(crate) fn hooks(&self) -> Result<()> {
        self.send(b"h", None)
    }

    /// Hands over a child: its id as the receiver sees it, and its descriptor.
    pub(crate) fn hand_over(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        let mut message = b"b".to_vec();
        message.extend(pid.to_ne_bytes());
        self.send(&message, Some(pidfd))
    }

    /// Lets the process go on.
    pub(crate) fn go(&self) -> Result<()> {
        self.send(b"g", None)
    }

    /// Says what the process does without. That nobody may listen any more, or that a filter forbids to say it, changes
    /// nothing.
    pub(crate) fn warn(&self, step: &str, warning: &str) {
        let text = format!("w{step}: {warning}");
        let _ = self.send(&text.as_bytes()[..floor_char(&text, MESSAGE_MAX)], None);
    }

    /// Says why the process ends. That nobody may listen any more is not its concern.
    pub(crate) fn failed(&self, failure: &Failure) {
        let mut failure = failure.clone();
        failure.object.truncate(floor_char(&failure.object, MESSAGE_MAX / 8));
        failure.op.truncate(floor_char(&failure.op, MESSAGE_MAX / 8));
        let mut message = b"f".to_vec();
        if serde_json::to_writer(&mut message, &failure).is_ok() {
            let _ = self.send(&message, None);
        }
    }

    fn send(&self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
        scm::send(&self.0, message, fd.as_slice()).map(drop)
    }

    /// Waits for the next word of the other side.
    pub(crate) fn receive(&self) -> Result<Message> {
        let mut buffer = [0; MESSAGE_MAX];
        let (length, mut fds) = loop {
            match scm::receive(&self.0, &mut buffer) {
                Err(error) if error.is(Errno::INTR) => {}
                // The other side ended without having read what we said.
                Err(error) if error.is(Errno::CONNRESET) => return Ok(Message::End),
                received => break received?,
            }
        };
        match &buffer[..length] {
            [] => Ok(Message::End),
            [b'h'] => Ok(Message::Hooks),
            [b'b', pid @ ..] => born(pid, fds.pop()).ok_or_else(garbled),
            [b'r'] => Ok(Message::Ready(fds.pop())),
            [b'g'] => Ok(Message::Go),
            [b'w', text @ ..] => Ok(Message::Warning(String::from_utf8_lossy(text).into_owned())),
            [b'f', failure @ ..] => {
                serde_json::from_slice(failure).map(Message::Failed).map_err(|_| garbled())
            }
            _ => Err(garbled()),
        }
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn born(pid: &[u8], pidfd: Option<OwnedFd>) -> Option<Message> {
    let pid = Pid::from_raw(i32::from_ne_bytes(pid.try_into().ok()?))?;
    Some(Message::Born(Child { pid, pidfd: pidfd? }))
}

fn garbled() -> Error {
    Error::new("recvmsg", "message of the new process", Errno::BADMSG)
}

/// The largest index not above `max` at which `text` can be cut.
fn floor_char(text: &str, max: usize) -> usize {
    (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}
