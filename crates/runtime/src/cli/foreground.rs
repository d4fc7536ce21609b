//! Staying with a process until its end: its signals are ours, and its terminal is, too.

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use hull_runtime::Running;
use hull_sys::Context;
use hull_sys::signal::{self, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::error::{Error, Result};

/// Change of the terminal's size: SIGWINCH.
const WINDOW: i32 = 28;
/// What is passed on to the process; HUP, INT, QUIT, USR1, USR2, PIPE, ALRM, TERM, CONT, TSTP, TTIN, TTOU.
const FORWARDED: [i32; 11] = [1, 2, 3, 10, 12, 14, 15, 18, 20, 21, 22];

/// From here on signals wait to be passed on.
pub(super) fn take_signals() -> Result<SignalFd> {
    let all: Vec<i32> = FORWARDED.into_iter().chain([WINDOW]).collect();
    Ok(SignalFd::new(&all)?)
}

/// Stays until the process has ended; its status is ours.
pub(super) fn attend(running: &mut Running, signals: &SignalFd) -> Result<ExitCode> {
    let terminal = running.terminal.take().map(Terminal::take).transpose()?;
    attend_to(running, signals, terminal.as_ref())?;
    if let Some(terminal) = &terminal {
        terminal.drain();
    }
    status(running.pidfd.as_fd())
}

fn attend_to(running: &Running, signals: &SignalFd, terminal: Option<&Terminal>) -> Result<()> {
    let mut input = terminal.is_some();
    let mut output = terminal.is_some();
    loop {
        let mut fds = vec![PollFd::new(&running.pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        let stdin = rustix::stdio::stdin();
        if let Some(terminal) = terminal {
            let watch = |on| if on { PollFlags::IN } else { PollFlags::empty() };
            fds.push(PollFd::from_borrowed_fd(terminal.master.as_fd(), watch(output)));
            fds.push(PollFd::from_borrowed_fd(stdin, watch(input)));
        }
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            polled => polled.op("poll")?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[1] {
            pass_on(signals, running.pidfd.as_fd(), terminal)?;
        }
        if let Some(terminal) = terminal {
            output = output && (!ready[2] || copy(terminal.master.as_fd(), rustix::stdio::stdout()));
            input = input && (!ready[3] || copy(stdin, terminal.master.as_fd()));
        }
        if ready[0] {
            return Ok(());
        }
    }
}

fn pass_on(signals: &SignalFd, pidfd: BorrowedFd<'_>, terminal: Option<&Terminal>) -> Result<()> {
    while let Some(signal) = signals.take()? {
        match (signal, terminal) {
            (WINDOW, Some(terminal)) => terminal.resize(),
            (WINDOW, None) => {}
            (signal, _) => match signal::send(pidfd, signal) {
                // It has just ended.
                Err(error) if error.is(Errno::SRCH) => {}
                sent => sent?,
            },
        }
    }
    Ok(())
}

/// Copies what is there. False at the end of either side.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 8192];
    let length = match rustix::io::read(from, &mut buffer[..]) {
        Err(Errno::INTR | Errno::AGAIN) => return true,
        Ok(length) if length > 0 => length,
        _ => return false,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Our own terminal as a window to that of the process, until this is dropped.
struct Terminal {
    master: OwnedFd,
    before: Option<Termios>,
}

impl Terminal {
    fn take(master: OwnedFd) -> Result<Self> {
        let stdin = rustix::stdio::stdin();
        let mut before = None;
        if isatty(stdin) {
            let settings = tcgetattr(stdin).op("tcgetattr")?;
            let mut raw = settings.clone();
            raw.make_raw();
            tcsetattr(stdin, OptionalActions::Flush, &raw).op("tcsetattr")?;
            before = Some(settings);
        }
        let terminal = Self { master, before };
        terminal.resize();
        Ok(terminal)
    }

    /// Gives the process's terminal the size of ours, if we have one.
    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Copies what the process wrote before its end.
    fn drain(&self) {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        while poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
            && fds[0].revents().contains(PollFlags::IN)
        {
            if !copy(self.master.as_fd(), rustix::stdio::stdout()) {
                break;
            }
        }
        let _ = std::io::stdout().flush();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// The status of a process that has ended: its own, or 128 and the number of the signal.
fn status(pidfd: BorrowedFd<'_>) -> Result<ExitCode> {
    let ended =
        rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED));
    let ended = ended.op("waitid")?.ok_or_else(|| Error::new("the process has not ended"))?;
    let code = match (ended.exit_status(), ended.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => return Err(Error::new("the process ended without a status")),
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
