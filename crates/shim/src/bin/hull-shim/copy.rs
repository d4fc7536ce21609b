//! The supervisor's ends of a process's standard streams.
//!
//! ```text
//! Output: Open ──end of file, EIO of a terminal, given up──► Ended
//! Input:  Open ──closing, what is pending is written──► Closed ◄──nobody reads any more── Open
//! ```
//!
//! Every descriptor here is non-blocking on our side only. An output is not read while a client that is attached
//! to it is behind ([`crate::session::Session::behind`]); a client is not read while its input is behind
//! ([`Input::behind`]). So both directions have bounded memory, and the slower side sets the pace.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use hull_runtime::Stdio;
use hull_shim::protocol::{Stream, Terminal};
use hull_sys::memory::Pages;
use hull_sys::{Context, Result, pty};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use crate::outbox::Outbox;
use crate::pace::Pace;

/// What a pipe is made to hold when a process fills it, so that the process need not wait for the supervisor's turn.
const LARGE_PIPE: usize = 1 << 20;
/// What is read at once, at most.
const CHUNK: usize = 256 << 10;
/// How many reads a full pipe takes.
pub(crate) const FULL_PIPE: usize = LARGE_PIPE / CHUNK;
/// Input that waits for the process before its clients have to.
const INPUT_BEHIND: usize = 64 << 10;

/// Where output is read to: one for all processes, and without memory when there is no output.
pub(crate) struct Buffer(pub(crate) Pages);

impl Buffer {
    /// Room for a chunk behind the start of a line.
    pub(crate) fn new() -> Result<Self> {
        Pages::new(crate::log::LIMIT + CHUNK).map(Self)
    }
}

/// All streams of one process.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) input: Option<Input>,
    pub(crate) outputs: Vec<Output>,
    terminal: bool,
}

/// The streams a process is to have.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) terminal: Option<Terminal>,
    pub(crate) stdin: bool,
}

impl Streams {
    /// Makes what the process gets, and our ends of its pipes. A terminal's end comes later: [`Streams::attach`].
    pub(crate) fn new(wish: Wish) -> Result<(Stdio, Self)> {
        if let Some(Terminal { rows, cols }) = wish.terminal {
            return Ok((Stdio::Terminal { rows, cols }, Self { terminal: true, ..Self::default() }));
        }
        let (stdin, input) = input_pipe(wish.stdin)?;
        let (stdout, output) = output_pipe(Stream::Stdout)?;
        let (stderr, error) = output_pipe(Stream::Stderr)?;
        let streams = Self { input, outputs: vec![output, error], terminal: false };
        Ok((Stdio::Fds { stdin, stdout, stderr }, streams))
    }

    /// Takes the master side of the process's terminal.
    pub(crate) fn attach(&mut self, terminal: Option<OwnedFd>) -> Result<()> {
        let Some(master) = terminal else { return Ok(()) };
        set_nonblocking(&master)?;
        let writer = master.try_clone().op("dup terminal")?;
        self.input = Some(Input::new(writer));
        self.outputs = vec![Output::new(master, Stream::Stdout, None)];
        Ok(())
    }

    /// Whether it has a terminal, not pipes.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether no more output will come.
    pub(crate) fn ended(&self) -> bool {
        self.outputs.iter().all(|output| output.fd.is_none())
    }

    /// The output to be read before that one: what it was left to gather is older, and for want of a better order
    /// stdout comes before stderr. Two streams in turns are not left to gather.
    pub(crate) fn before(&mut self, index: usize) -> Option<usize> {
        let gathers = |output: &Output| output.pipe.as_ref().is_some_and(|pipe| pipe.pace.is_slow());
        let other = (0..self.outputs.len()).find(|other| *other != index)?;
        if gathers(&self.outputs[other]) {
            self.hurry();
            return Some(other);
        }
        (other < index).then_some(other)
    }

    /// All output is read as soon as it is there, for now.
    pub(crate) fn hurry(&mut self) {
        self.outputs.iter_mut().filter_map(|output| output.pipe.as_mut()).for_each(|pipe| pipe.pace.hurry());
    }

    /// Sets the terminal's size; false if there is no terminal (any more).
    pub(crate) fn resize(&self, rows: u16, cols: u16) -> bool {
        match self.outputs.first().and_then(|output| output.fd.as_ref()) {
            Some(master) if self.terminal => pty::resize(master, rows, cols).is_ok(),
            _ => false,
        }
    }
}

fn input_pipe(wanted: bool) -> Result<(OwnedFd, Option<Input>)> {
    if !wanted {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, Mode::empty()).on("open", "/dev/null")?;
        return Ok((null, None));
    }
    let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).op("pipe")?;
    set_nonblocking(&ours)?;
    Ok((theirs, Some(Input::new(ours))))
}

fn output_pipe(stream: Stream) -> Result<(OwnedFd, Output)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).op("pipe")?;
    set_nonblocking(&ours)?;
    let pipe = Gathering::in_pipe(&ours)?;
    Ok((theirs, Output::new(ours, stream, Some(pipe))))
}

/// The other end of a pipe is another open file, so the process sees nothing of this.
fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK).op("fcntl O_NONBLOCK")
}

/// What a process writes.
pub(crate) struct Output {
    fd: Option<OwnedFd>,
    pub(crate) stream: Stream,
    /// The start of a line whose end was not read yet; for the log only.
    carry: Vec<u8>,
    /// `None` for a terminal: its reads are small, whatever gathers.
    pipe: Option<Gathering>,
}

/// How output gathers in a pipe.
struct Gathering {
    pace: Pace,
    /// What the pipe holds, in bytes.
    capacity: usize,
    may_grow: bool,
}

impl Gathering {
    fn in_pipe(pipe: &OwnedFd) -> Result<Self> {
        let capacity = fcntl_getpipe_size(pipe).op("fcntl F_GETPIPE_SZ")?;
        Ok(Self { pace: Pace::default(), capacity, may_grow: true })
    }

    /// Notes what a read brought; a pipe that was half full is made larger, once.
    fn brought(&mut self, count: usize, pipe: &OwnedFd) {
        if count >= self.capacity / 2 && std::mem::take(&mut self.may_grow) {
            // Without the privilege it stays as small as it is, which is only slower.
            self.capacity = fcntl_setpipe_size(pipe, LARGE_PIPE).unwrap_or(self.capacity);
        }
        self.pace.brought(count, CHUNK.min(self.capacity / 2), Instant::now());
    }
}

/// What one read brought.
pub(crate) struct Chunk<'buffer> {
    /// The start of the line and what is new.
    pub(crate) lines: &'buffer [u8],
    /// Where the new bytes begin.
    pub(crate) new: usize,
}

impl Output {
    fn new(fd: OwnedFd, stream: Stream, pipe: Option<Gathering>) -> Self {
        Self { fd: Some(fd), stream, carry: Vec::new(), pipe }
    }

    /// Until when it is left to gather.
    pub(crate) fn pauses(&self, now: Instant) -> Option<Instant> {
        self.fd.as_ref().and(self.pipe.as_ref()).and_then(|pipe| pipe.pace.pauses(now))
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Reads once. `None`: there is nothing now, or the stream has ended (then [`Output::fd`] is `None`).
    pub(crate) fn read<'buffer>(&mut self, buffer: &'buffer mut Buffer) -> Option<Chunk<'buffer>> {
        let fd = self.fd.as_ref()?;
        let new = self.carry.len();
        match rustix::io::read(fd, &mut buffer.0[new..new + CHUNK]) {
            Ok(count) if count > 0 => {
                if let Some(pipe) = &mut self.pipe {
                    pipe.brought(count, fd);
                }
                buffer.0[..new].copy_from_slice(&self.carry);
                Some(Chunk { lines: &buffer.0[..new + count], new })
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            // A terminal says EIO when nobody has its other side open.
            Ok(_) | Err(_) => {
                self.fd = None;
                None
            }
        }
    }

    /// Keeps the start of a line for the next read.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() && self.carry.capacity() > 0 {
            self.carry = Vec::new();
        } else if self.carry != rest {
            self.carry.clear();
            self.carry.extend_from_slice(rest);
        }
    }

    /// The line that was never ended.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.carry)
    }

    /// Reads no more: what still holds the other end is no process of ours.
    pub(crate) fn give_up(&mut self) {
        self.fd = None;
    }
}

/// What a process reads.
pub(crate) struct Input {
    fd: File,
    pending: Outbox,
    closing: bool,
}

impl Input {
    fn new(fd: OwnedFd) -> Self {
        Self { fd: File::from(fd), pending: Outbox::default(), closing: false }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether there is something to write when the process makes room.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.len() > 0
    }

    /// Whether clients must wait.
    pub(crate) fn behind(&self) -> bool {
        self.pending.len() >= INPUT_BEHIND
    }

    /// Writes, or keeps for later what the process does not take now. False: nobody reads, close it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.pending.send(&self.fd, [bytes, &[]]).is_ok()
    }

    /// Writes what was kept. False: it is done with, close it.
    pub(crate) fn flush(&mut self) -> bool {
        self.pending.flush(&self.fd).is_ok() && !self.finished()
    }

    /// No more input follows. False: there is none pending either, close it.
    pub(crate) fn close(&mut self) -> bool {
        self.closing = true;
        !self.finished()
    }

    fn finished(&self) -> bool {
        self.closing && !self.is_pending()
    }
}
