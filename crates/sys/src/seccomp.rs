//! Loading a system call filter: seccomp(2). Allocates nothing, so that a child may call it after clone.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Error, Result};

/// One instruction of classic BPF is eight bytes: `struct sock_filter` of `linux/filter.h`.
pub const INSTRUCTION: usize = 8;
/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// `SECCOMP_FILTER_FLAG_TSYNC`: all threads of the process get the filter.
pub const TSYNC: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC as u32;
/// `SECCOMP_FILTER_FLAG_LOG`: everything but "allow" is logged.
pub const LOG: u32 = libc::SECCOMP_FILTER_FLAG_LOG as u32;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no mitigation of speculative store bypass for filtered processes.
pub const SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: hands back a descriptor that notifications are read from.
pub const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: once received, a notification is only given up for a deadly signal.
pub const WAIT_KILLABLE_RECV: u32 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32;

/// Puts `filter`, instructions in the kernel's byte order, before every further system call of the caller.
///
/// Needs no_new_privs or CAP_SYS_ADMIN. The descriptor is that of [`NEW_LISTENER`].
pub fn load(filter: &[u8], flags: u32) -> Result<Option<OwnedFd>> {
    let count = filter.len() / INSTRUCTION;
    let (Ok(len), 0) = (u16::try_from(count), filter.len() % INSTRUCTION) else {
        return Err(Error::new("seccomp", "", libc::EINVAL));
    };
    // The kernel copies the instructions and does not write to them, whatever the pointer's type says.
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    match set_filter(&program, flags) {
        Err(error) if error.errno == libc::ENOSYS && flags == 0 => {
            set_filter_by_prctl(&program).map(|()| None)
        }
        Ok(fd) if flags & NEW_LISTENER != 0 => {
            // SAFETY: with this flag the kernel returns a new descriptor, which nobody else knows.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
        outcome => outcome.map(|_| None),
    }
}

fn set_filter(program: &libc::sock_fprog, flags: u32) -> Result<i32> {
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: `program` points to `len` instructions, alive for the call; the kernel checks them.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, std::ptr::from_ref(program)) };
    match i32::try_from(answer) {
        Ok(-1) | Err(_) => Err(Error::new("seccomp", "", std::io::Error::last_os_error())),
        // With TSYNC: the thread that could not be brought along.
        Ok(thread) if thread > 0 && flags & TSYNC != 0 && flags & NEW_LISTENER == 0 => {
            Err(Error::new("seccomp", "", libc::ESRCH))
        }
        Ok(fd) => Ok(fd),
    }
}

fn set_filter_by_prctl(program: &libc::sock_fprog) -> Result<()> {
    // SAFETY: as in `set_filter`.
    let answer =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(program)) };
    match answer {
        0 => Ok(()),
        _ => Err(Error::new("prctl(PR_SET_SECCOMP)", "", std::io::Error::last_os_error())),
    }
}

/// Takes the next notification of a [`NEW_LISTENER`] and answers it with an error, so that the call is not made:
/// seccomp_unotify(2). Waits for it.
pub fn refuse_next(listener: BorrowedFd<'_>, errno: i32) -> Result<()> {
    let failed = |op| Error::new(op, "", std::io::Error::last_os_error());
    // SAFETY: all zeroes are a valid `struct seccomp_notif`, and the one that the kernel asks for.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `struct seccomp_notif`, which is alive for the call.
    let answer = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut notification) };
    if answer != 0 {
        return Err(failed("ioctl SECCOMP_IOCTL_NOTIF_RECV"));
    }
    let mut response = libc::seccomp_notif_resp { id: notification.id, val: 0, error: -errno, flags: 0 };
    // SAFETY: the kernel reads one `struct seccomp_notif_resp`, which is alive for the call.
    match unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut response) } {
        0 => Ok(()),
        _ => Err(failed("ioctl SECCOMP_IOCTL_NOTIF_SEND")),
    }
}

/// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND`: `_IOWR('!', 0 and 1, …)` of linux/seccomp.h.
const RECEIVE: libc::Ioctl = 0xc050_2100;
const SEND: libc::Ioctl = 0xc018_2101;
