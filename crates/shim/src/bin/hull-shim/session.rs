//! One connection of a client.
//!
//! ```text
//! Asking ──a request──► Waiting ──the container is drained──┐
//!    │ └──Attach, Exec──► Streaming ──the output has ended──┤
//!    └──────────any other request, answered─────────────────┴─► Closing ──everything sent──► (dropped)
//! ```
//!
//! A client that hangs up is dropped in every state. Nothing a client does or does not do blocks the supervisor;
//! one that is slow makes the container wait, as a pipe would, when a MiB for it has gathered.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_shim::protocol::{self, Answer, Attach, Header, MAX_REQUEST, Stream};
use hull_sys::scm;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags};

use crate::outbox::Outbox;

/// Names a session as long as it exists.
pub(crate) type Key = u32;

/// Bytes that may wait for a client before its process has to wait.
const BEHIND: usize = 256 << 10;
/// How much a streaming client's socket holds, so that both sides take few turns.
const SOCKET_BUFFER: usize = 1 << 20;

/// One client.
pub(crate) struct Session {
    socket: OwnedFd,
    pub(crate) phase: Phase,
    inbox: Vec<u8>,
    /// What came with the request.
    descriptors: Vec<OwnedFd>,
    outbox: Outbox,
    /// The client may still send.
    open: bool,
    /// It was told that no more output follows.
    shut: bool,
    /// The client has hung up.
    gone: bool,
}

/// What a client is here for.
pub(crate) enum Phase {
    /// It has not said yet.
    Asking,
    /// To learn how the container ended.
    Waiting,
    /// To exchange input and output with a process.
    Streaming(Target, Attach),
    /// Nothing more; what is on its way still goes.
    Closing,
}

/// Whose streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The container's first process.
    Container,
    /// The exec session that this session began.
    Exec(Key),
}

/// What reading from a client brought.
pub(crate) enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// It sends no more.
    End,
}

impl Session {
    /// Takes the next client, if there is one.
    pub(crate) fn accept(listener: BorrowedFd<'_>) -> Option<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::accept_with(listener, flags).ok()?;
        Some(Self {
            socket,
            phase: Phase::Asking,
            inbox: Vec::new(),
            descriptors: Vec::new(),
            outbox: Outbox::default(),
            open: true,
            shut: false,
            gone: false,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to wait for; `input_behind`: the process does not take this client's input now.
    pub(crate) fn interest(&self, input_behind: bool) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, self.open && !input_behind);
        interest.set(PollFlags::OUT, self.outbox.len() > 0);
        interest
    }

    /// The process this client sends input to.
    pub(crate) fn feeds(&self) -> Option<Target> {
        match &self.phase {
            Phase::Streaming(target, attach) if attach.stdin => Some(*target),
            _ => None,
        }
    }

    /// Whether this client wants to see that output.
    pub(crate) fn wants(&self, whose: Target, stream: Stream) -> bool {
        let Phase::Streaming(target, attach) = &self.phase else { return false };
        *target == whose && if stream == Stream::Stderr { attach.stderr } else { attach.stdout }
    }

    /// Whether so much waits for this client that its process has to wait, too.
    pub(crate) fn behind(&self) -> bool {
        self.outbox.len() >= BEHIND
    }

    /// Whether it can be dropped.
    pub(crate) fn finished(&self) -> bool {
        self.gone || (matches!(self.phase, Phase::Closing) && self.outbox.len() == 0)
    }

    /// Answers the request.
    pub(crate) fn answer(&mut self, answer: &Answer) {
        // Answers have no maps with keys that could fail to be text.
        let line = protocol::encode(answer).unwrap_or_default();
        self.send([&line, &[]]);
    }

    /// Answers the request, which is all there was to do.
    pub(crate) fn dismiss(&mut self, answer: &Answer) {
        self.answer(answer);
        self.phase = Phase::Closing;
    }

    /// Begins to exchange input and output.
    pub(crate) fn stream(&mut self, target: Target, attach: Attach) {
        // Beyond the system's limit it needs a privilege; without it things are only slower.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, SOCKET_BUFFER);
        self.phase = Phase::Streaming(target, attach);
    }

    /// Sends a frame.
    pub(crate) fn frame(&mut self, stream: Stream, payload: &[u8]) {
        let header = Header { stream, length: payload.len() }.encode();
        self.send([&header, payload]);
    }

    /// Says that no more output follows, when all of it went; input is still taken.
    pub(crate) fn end_output(&mut self) {
        if self.outbox.len() == 0 && !self.shut {
            self.shut = true;
            // It fails if the client is gone, which the next poll tells.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        self.gone |= self.outbox.flush(&self.socket).is_err();
    }

    /// The client will neither send nor take anything any more.
    pub(crate) fn hang_up(&mut self) {
        self.gone = true;
    }

    /// Input from this client is not taken any more.
    pub(crate) fn stop_feeding(&mut self) {
        if let Phase::Streaming(_, attach) = &mut self.phase {
            attach.stdin = false;
        }
    }

    /// Reads what the client sends into `buffer`.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let received = match self.phase {
            Phase::Asking => self.receive_request(buffer),
            _ => rustix::io::read(&self.socket, buffer),
        };
        match received {
            Ok(count) if count > 0 => Received::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
            Ok(_) | Err(_) => {
                self.open = false;
                Received::End
            }
        }
    }

    /// A request may bring descriptors.
    fn receive_request(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let received = scm::receive(&self.socket, buffer);
        let (count, descriptors) = received.map_err(|error| Errno::from_raw_os_error(error.errno))?;
        self.descriptors.extend(descriptors);
        self.descriptors.truncate(protocol::MAX_HELD);
        Ok(count)
    }

    /// The descriptors that came with the request.
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Answers `Ok` with copies of descriptors.
    pub(crate) fn hand_out(&mut self, descriptors: &[OwnedFd]) {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let line = protocol::encode(&Answer::Ok).unwrap_or_default();
        // Nothing was sent to this client before: a short line fits, or it is gone.
        self.gone |= scm::send(&self.socket, &line, &descriptors).is_err();
        self.phase = Phase::Closing;
    }

    /// Takes the next piece of the request; the whole line, when it is there. What follows it stays for
    /// [`Session::take_ahead`]. An error: this is no request.
    pub(crate) fn request_line(&mut self, piece: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        let searched = self.inbox.len();
        self.inbox.extend_from_slice(piece);
        match self.inbox[searched..].iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let ahead = self.inbox.split_off(searched + end + 1);
                Ok(Some(std::mem::replace(&mut self.inbox, ahead)))
            }
            None if self.inbox.len() > MAX_REQUEST => Err("the request is too long"),
            None => Ok(None),
        }
    }

    /// What came behind the request's line already.
    pub(crate) fn take_ahead(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }

    fn send(&mut self, parts: [&[u8]; 2]) {
        self.gone |= self.outbox.send(&self.socket, parts).is_err();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A socket closed with something unread in it looks to the client like a broken one.
        let mut rest = [0; 4096];
        for _ in 0..SOCKET_BUFFER / rest.len() {
            if !matches!(rustix::io::read(&self.socket, &mut rest[..]), Ok(1..)) {
                break;
            }
        }
    }
}
