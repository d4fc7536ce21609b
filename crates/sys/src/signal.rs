//! Signals as descriptors, and to processes named by descriptors: signalfd(2), pidfd_send_signal(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::{Context, Error, Result};

pub use libc::{SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// Signals that are read, not suffered: blocked, and queued in a descriptor.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` in the calling thread, and in what it clones and executes from now on until they
    /// unblock them ([`crate::clone::reset_signals`]). The descriptor does not block and closes on exec.
    pub fn new(signals: &[i32]) -> Result<Self> {
        // SAFETY: `sigset_t` is plain memory that sigemptyset then initialises; the numbers are only checked by
        // sigaddset; both calls touch nothing but `mask`, which outlives them.
        let descriptor = unsafe {
            let mut mask = std::mem::zeroed();
            libc::sigemptyset(&raw mut mask);
            for signal in signals {
                libc::sigaddset(&raw mut mask, *signal);
            }
            libc::sigprocmask(libc::SIG_BLOCK, &raw const mask, std::ptr::null_mut());
            libc::signalfd(-1, &raw const mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error()).op("signalfd");
        }
        // SAFETY: signalfd made this descriptor a moment ago; nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Takes the next signal that arrived, if any.
    pub fn take(&self) -> Result<Option<i32>> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut record[..]) {
            // `ssi_signo` is the first field, 32 bits.
            Ok(_) => Ok(Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno).op("read signalfd"),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal, real-time ones included, to the process that `pidfd` names. `ESRCH`: it has ended.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: with a null siginfo the kernel fills it in as kill(2) does; there is no other pointer.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    match answer {
        0 => Ok(()),
        _ => Err(Error::new("send signal", signal.to_string(), std::io::Error::last_os_error())),
    }
}

/// Makes this process the parent of all orphans below it: PR_SET_CHILD_SUBREAPER of prctl(2).
pub fn become_subreaper() -> Result<()> {
    // Any process id says yes; the kernel looks only at whether it is zero.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).op("become subreaper")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read() {
        // This test's thread only: SIGUSR2 is directed at it.
        let signals = SignalFd::new(&[SIGUSR2]).expect("signalfd");
        assert_eq!(signals.take().expect("take"), None);
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        // SAFETY: tgkill sends a signal that this thread blocks.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGUSR2) };
        assert_eq!(signals.take().expect("take"), Some(SIGUSR2));
    }

    #[test]
    fn signal_zero_finds_a_process_and_not_a_dead_one() {
        let mut child = std::process::Command::new("true").spawn().expect("spawn");
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("pidfd");
        send(pidfd.as_fd(), 0).expect("it exists");
        child.wait().expect("wait");
        assert!(send(pidfd.as_fd(), 0).expect_err("it ended").is(Errno::SRCH));
    }
}
