//! Watching another program's system calls: ptrace(2). Made for tests that end a daemon at each of its steps.

use std::collections::HashSet;
use std::fs;
use std::marker::PhantomData;

use rustix::io::Errno;

use crate::{Context, Error, Result};

/// A thread is about to enter a system call.
#[derive(Debug, Clone, Copy)]
pub struct Entered {
    /// The thread.
    pub thread: i32,
    /// The call's number, one of `libc::SYS_*`.
    pub number: u64,
    /// Its arguments, as they stand in the registers.
    pub arguments: [u64; 6],
}

/// Every thread of one process, stopped at each system call until it is let on. The kernel ties all of that to
/// the thread that attached. Dropped, the process runs on when that thread ends.
#[derive(Debug)]
pub struct Tracer {
    process: i32,
    known: HashSet<i32>,
    stopped: Option<i32>,
    not_send: PhantomData<*const ()>,
}

/// `PTRACE_EVENT_STOP` in ptrace(2): a thread stands still because it was told to, or because it is new.
const EVENT_STOP: i32 = 128;

impl Tracer {
    /// Takes hold of every thread of a process. The right to do so is that of ptrace(2).
    pub fn attach(process: i32) -> Result<Self> {
        let mut tracer = Self { process, known: HashSet::new(), stopped: None, not_send: PhantomData };
        // A thread that is held cannot make others unnoticed: once all are held, there are no more.
        while let Some(thread) = tracer.unknown_thread()? {
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE;
            let seized = ptrace(libc::PTRACE_SEIZE, thread, 0, options as usize);
            match seized.and_then(|_| ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0)) {
                Err(error) if error.is(Errno::SRCH) || (error.is(Errno::PERM) && tracer.is_over(thread)) => {}
                held => drop(held?),
            }
            tracer.known.insert(thread);
        }
        Ok(tracer)
    }

    /// Whether a thread has come to its end, where nobody may seize it any more (proc_pid_stat(5), `state`).
    fn is_over(&self, thread: i32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/task/{thread}/stat", self.process));
        let state = stat.ok().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
        matches!(state, None | Some('Z' | 'X'))
    }

    fn unknown_thread(&self) -> Result<Option<i32>> {
        let tasks = format!("/proc/{}/task", self.process);
        let entries = fs::read_dir(&tasks).on("open", &tasks)?.flatten();
        let mut threads = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(threads.find(|thread| !self.known.contains(thread)))
    }

    /// Lets the process on until one of its threads is about to enter a system call; `None` when it has ended.
    /// All its other threads run meanwhile, but none passes its own next call.
    pub fn advance(&mut self) -> Result<Option<Entered>> {
        if let Some(thread) = self.stopped.take() {
            resume(thread, 0)?;
        }
        loop {
            let mut status = 0;
            // SAFETY: waitpid writes `status` and nothing else.
            let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            match thread {
                1.. if libc::WIFSTOPPED(status) => {
                    if let Some(entered) = self.at_stop(thread, status)? {
                        self.stopped = Some(thread);
                        return Ok(Some(entered));
                    }
                }
                1.. if thread == self.process => return Ok(None),
                1.. => {}
                _ => match Errno::from_io_error(&std::io::Error::last_os_error()) {
                    Some(Errno::INTR) => {}
                    Some(Errno::CHILD) => return Ok(None),
                    errno => return Err(Error::new("waitpid", "", errno.unwrap_or(Errno::IO))),
                },
            }
        }
    }

    fn at_stop(&self, thread: i32, status: i32) -> Result<Option<Entered>> {
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if event == EVENT_STOP && !self.owns(thread) {
            // A child that is a process of its own.
            return ptrace(libc::PTRACE_DETACH, thread, 0, 0).map(|_| None);
        }
        if signal == libc::SIGTRAP | 0x80
            && let Some(entered) = entry(thread)?
        {
            return Ok(Some(entered));
        }
        let is_signal = event == 0 && signal & 0x7f != libc::SIGTRAP;
        resume(thread, if is_signal { signal } else { 0 }).map(|()| None)
    }

    fn owns(&self, thread: i32) -> bool {
        std::path::Path::new(&format!("/proc/{}/task/{thread}", self.process)).exists()
    }
}

/// The call that a thread is about to enter; `None` if it is about to leave one.
fn entry(thread: i32) -> Result<Option<Entered>> {
    // SAFETY: plain memory, for which all bits zero is a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let address = &raw mut info as usize;
    match ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size_of_val(&info), address) {
        // Killed while it stood.
        Err(error) if error.is(Errno::SRCH) => return Ok(None),
        answer => answer?,
    };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: the kernel has said that this is the member it has filled in.
    let call = unsafe { info.u.entry };
    Ok(Some(Entered { thread, number: call.nr, arguments: call.args }))
}

fn resume(thread: i32, signal: i32) -> Result<()> {
    match ptrace(libc::PTRACE_SYSCALL, thread, 0, signal as usize) {
        Err(error) if error.is(Errno::SRCH) => Ok(()),
        resumed => resumed.map(drop),
    }
}

fn ptrace(request: libc::c_uint, thread: i32, address: usize, data: usize) -> Result<i64> {
    // SAFETY: none of the requests made here writes to this process, but PTRACE_GET_SYSCALL_INFO: it writes at most
    // `address` bytes to `data`, which is a live structure of that size.
    let answer = unsafe { libc::ptrace(request, thread, address, data) };
    match answer {
        -1 => Err(std::io::Error::last_os_error()).op("ptrace"),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn nothing_happens_after_a_kill_at_the_door_of_a_call() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("first"), directory.path().join("second"));
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"read go; umask 7; mkdir "$0"; umask 70; umask 77; mkdir "$1""#]);
        let mut child = shell.args([&first, &second]).stdin(Stdio::piped()).spawn().unwrap();
        let process = child.id().cast_signed();
        let mut tracer = Tracer::attach(process).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let mut masks = 0;
        while let Some(entered) = tracer.advance().unwrap() {
            assert_eq!(entered.thread, process);
            masks +=
                i32::from(entered.number.cast_signed() == libc::SYS_umask && entered.arguments[0] == 0o77);
            if masks > 0 {
                let _ = rustix::process::kill_process(
                    rustix::process::Pid::from_raw(process).unwrap(),
                    rustix::process::Signal::KILL,
                );
            }
        }
        // The tracer is of the parent's process and has waited for it already.
        let _ = child.wait();
        assert_eq!(masks, 1);
        assert!(first.exists() && !second.exists());
    }
}
