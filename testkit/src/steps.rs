//! Killing the daemon at a chosen step: as it is about to enter its n-th system call that would change something
//! outside of its own memory. So whatever it has done stays done, and nothing of the rest is.

use std::fs;
use std::sync::mpsc;
use std::thread;

use hull_sys::trace::{Entered, Tracer};
use rustix::process::{Pid, Signal};

use crate::Daemon;

/// The calls that change files, mounts, namespaces, processes, or tell another program something.
#[rustfmt::skip]
const CHANGING: &[i64] = &[
    libc::SYS_fallocate, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat,
    libc::SYS_fdatasync, libc::SYS_fsync, libc::SYS_ftruncate, libc::SYS_kill, libc::SYS_linkat, libc::SYS_lsetxattr,
    libc::SYS_mkdirat, libc::SYS_mknodat, libc::SYS_mount, libc::SYS_move_mount, libc::SYS_pidfd_send_signal,
    libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_sendmsg, libc::SYS_sendto, libc::SYS_setns,
    libc::SYS_symlinkat, libc::SYS_syncfs, libc::SYS_umount2, libc::SYS_unlinkat, libc::SYS_unshare,
    libc::SYS_utimensat,
];

/// The same under their older numbers.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const CHANGING_OF_OLD: &[i64] = &[
    libc::SYS_chmod, libc::SYS_link, libc::SYS_mkdir, libc::SYS_mknod, libc::SYS_rename, libc::SYS_rmdir,
    libc::SYS_symlink, libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const CHANGING_OF_OLD: &[i64] = &[];

/// Those that do so if it is a file they write to.
const WRITING: &[i64] = &[libc::SYS_write, libc::SYS_pwrite64, libc::SYS_writev, libc::SYS_copy_file_range];

/// Runs `act` and kills the daemon at step `n`, counted from 1; where there are fewer, after `act`. Returns how
/// many steps there were. The daemon is dead afterwards.
///
/// # Panics
/// Where processes cannot be traced, and if `act` does.
pub fn kill_at(daemon: &mut Daemon, n: usize, act: impl FnOnce(&Daemon)) -> usize {
    let process = daemon.pid().cast_signed();
    let (ready, attached) = mpsc::channel();
    let tracer = thread::spawn(move || {
        let mut tracer = Tracer::attach(process).unwrap();
        ready.send(()).unwrap();
        let mut steps = 0;
        while let Some(entered) = tracer.advance().unwrap() {
            steps += usize::from(changes_something(process, &entered));
            if steps == n {
                // It is at the door of the call and never comes through.
                let _ = rustix::process::kill_process(Pid::from_raw(process).unwrap(), Signal::KILL);
            }
        }
        steps
    });
    attached.recv().unwrap();
    act(daemon);
    let _ = rustix::process::kill_process(Pid::from_raw(process).unwrap(), Signal::KILL);
    // The tracer hears of the end first.
    let steps = tracer.join().unwrap();
    daemon.kill9();
    steps
}

fn changes_something(process: i32, entered: &Entered) -> bool {
    let number = entered.number.cast_signed();
    if WRITING.contains(&number) {
        return is_file(process, entered.arguments[0]);
    }
    if number == libc::SYS_openat {
        return entered.arguments[2] & libc::O_CREAT as u64 != 0;
    }
    CHANGING.contains(&number) || CHANGING_OF_OLD.contains(&number)
}

/// What is not: the counters by which the daemon's own threads wake each other.
fn is_file(process: i32, descriptor: u64) -> bool {
    let target = fs::read_link(format!("/proc/{process}/fd/{descriptor}")).unwrap_or_default();
    target.is_absolute()
}
