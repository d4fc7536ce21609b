//! Attributes of the calling process that a program keeps across execve(2): scheduling, input/output priority,
//! personality, memory policy.

use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::caps;
use crate::error::{Context, Error, Result};

/// Does something as a user and group of files (setfsuid(2)), with all capabilities as before. The calling thread only.
pub fn with_file_ids<T>(user: u32, group: u32, inside: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = (geteuid().as_raw(), getegid().as_raw());
    set_file_ids(user, group);
    // Who is not root any more has lost those that are about files.
    let done = caps::raise().and_then(|()| inside());
    set_file_ids(before.0, before.1);
    caps::raise()?;
    done
}

fn set_file_ids(user: u32, group: u32) {
    // SAFETY: both calls take numbers and change the credentials of the calling thread, no memory. They report no error;
    // what they refuse, the kernel refuses again where it matters.
    unsafe {
        libc::setfsgid(group);
        libc::setfsuid(user);
    }
}

/// What sched_setattr(2) takes; `SCHED_…` of linux/sched.h.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The policy: 0 other, 1 fifo, 2 rr, 3 batch, 5 idle, 6 deadline.
    pub policy: u32,
    /// `SCHED_FLAG_…`.
    pub flags: u64,
    /// For the policies other and batch: -20 to 19.
    pub nice: i32,
    /// For the policies fifo and rr: 1 to 99.
    pub priority: u32,
    /// For the policy deadline, in nanoseconds.
    pub runtime: u64,
    /// For the policy deadline, in nanoseconds.
    pub deadline: u64,
    /// For the policy deadline, in nanoseconds.
    pub period: u64,
}

/// `struct sched_attr` of linux/sched/types.h, in its first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Changes how the calling thread is scheduled: sched_setattr(2).
pub fn set_scheduling(to: &Scheduling) -> Result<()> {
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = *to;
    let size = size_of::<SchedAttr>() as u32;
    let attr = SchedAttr { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads one `struct sched_attr` of the size that stands in it; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attr), 0) };
    answered(answer, "sched_setattr")
}

/// The classes of ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoClass {
    /// First served, always.
    RealTime = 1,
    /// The usual one.
    BestEffort = 2,
    /// Served when nobody else wants to be.
    Idle = 3,
}

/// Changes the input/output priority of the calling thread: ioprio_set(2). `level` is 0 (highest) to 7.
pub fn set_io_priority(class: IoClass, level: u8) -> Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    let priority = (class as libc::c_int) << CLASS_SHIFT | libc::c_int::from(level);
    // SAFETY: three numbers; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) };
    answered(answer, "ioprio_set")
}

/// The domain in which a machine of 64 bits shows itself as one of 32 bits: `PER_LINUX32` of
/// linux/personality.h.
pub const LINUX32: u32 = 0x8;

/// Changes the execution domain of the calling process: personality(2).
pub fn set_personality(domain: u32) -> Result<()> {
    // SAFETY: one number.
    let answer = unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(domain)) };
    answered(answer, "personality")
}

/// Changes the memory policy of the calling thread: set_mempolicy(2). `mode` with its flags is `MPOL_…` of
/// linux/mempolicy.h.
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> Result<()> {
    const BITS: usize = libc::c_ulong::BITS as usize;
    let words = nodes.iter().max().map_or(0, |highest| *highest as usize / BITS + 1);
    let mut mask: Vec<libc::c_ulong> = vec![0; words];
    for node in nodes {
        mask[*node as usize / BITS] |= 1 << (*node as usize % BITS);
    }
    // The kernel looks at one bit less than it is told.
    let bits = if mask.is_empty() { 0 } else { mask.len() * BITS + 1 };
    let pointer = if mask.is_empty() { std::ptr::null() } else { mask.as_ptr() };
    // SAFETY: the kernel reads `bits - 1` bits behind the pointer, all of which `mask` holds; none for a null pointer.
    let answer = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    answered(answer, "set_mempolicy")
}

fn answered(answer: libc::c_long, op: &'static str) -> Result<()> {
    match answer {
        -1 => Err(Error::new(op, "", std::io::Error::last_os_error())),
        _ => Ok(()),
    }
}

/// The processors or nodes of a list as the kernel writes it: `0-3,7`. Numbers are below `limit`.
pub fn parse_list(text: &str, limit: u32) -> Result<Vec<u32>> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number < limit);
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => found.extend(first..=last),
            _ => return Err(Errno::INVAL).on("parse the list", text),
        }
    }
    Ok(found)
}

/// The most processors that a list may name (`CPU_SETSIZE` of sched.h).
pub const CPUS_MAX: u32 = 1024;

/// The processors that the calling thread may run on: sched_setaffinity(2).
pub fn set_affinity(cpus: &[u32]) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    cpus.iter().filter(|cpu| **cpu < CPUS_MAX).for_each(|cpu| set.set(*cpu as usize));
    rustix::thread::sched_setaffinity(None, &set).op("sched_setaffinity")
}

/// The processors that a thread may run on.
#[derive(Debug, Clone)]
pub struct Affinity(rustix::thread::CpuSet);

impl Affinity {
    /// Those of the calling thread: sched_getaffinity(2).
    pub fn current() -> Result<Self> {
        rustix::thread::sched_getaffinity(None).op("sched_getaffinity").map(Self)
    }

    /// Makes them those of the calling thread.
    pub fn restore(&self) -> Result<()> {
        rustix::thread::sched_setaffinity(None, &self.0).op("sched_setaffinity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_those_of_the_kernel() {
        assert_eq!(parse_list("0-2,5", 1024).unwrap(), [0, 1, 2, 5]);
        assert_eq!(parse_list(" 7 ,", 1024).unwrap(), [7]);
        assert!(parse_list("", 1024).unwrap().is_empty());
        for wrong in ["2-1", "x", "1-", "1024", "-1", "4294967295"] {
            assert!(parse_list(wrong, 1024).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_thread_changes_itself() {
        // A thread of its own: what it changes ends with it.
        std::thread::spawn(|| {
            set_scheduling(&Scheduling { policy: 3, nice: 5, ..Scheduling::default() }).expect("batch");
            set_io_priority(IoClass::Idle, 0).expect("idle");
            set_memory_policy(0, &[]).expect("the default policy");
            assert!(set_memory_policy(2, &[900]).is_err(), "there is no such node");
            assert!(set_scheduling(&Scheduling { policy: 99, ..Scheduling::default() }).is_err());
        })
        .join()
        .expect("the thread");
    }
}
