//! New processes: clone3(2), setns(2), execve(2), and what a process inherits.
//!
//! [`clone`] is a fork: the child has a copy of the caller's memory and goes on where the caller stands. In a
//! process with several threads that copy may hold locks whose owners do not exist in it, so it is refused there.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

pub use rustix::thread::{LinkNameSpaceType as Namespace, UnshareFlags as Unshare};

use crate::mount::{self, Attr, Change, Propagation};
use crate::{Context, Error, Result};

/// `CLONE_INTO_CGROUP` of linux/sched.h, which does not fit the type that libc gives it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What the new process is to have of its own.
#[derive(Debug, Default)]
pub struct Clone<'fd> {
    /// New namespaces: `CLONE_NEW…` of sched.h. Not `CLONE_NEWTIME`, whose offsets must be set first.
    pub namespaces: Namespaces,
    /// The cgroup (version 2) to start in: `CLONE_INTO_CGROUP`.
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// Whether the caller's parent becomes the parent of the new process: `CLONE_PARENT`. The caller must not be the
    /// first process of its pid namespace.
    pub sibling: bool,
}

/// A set of kinds of namespaces, as in namespaces(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces(u32);

impl Namespaces {
    /// Adds a kind.
    pub fn insert(&mut self, kind: Namespace) {
        self.0 |= kind as u32;
    }

    /// Removes a kind.
    pub fn remove(&mut self, kind: Namespace) {
        self.0 &= !(kind as u32);
    }

    /// Whether the kind is in the set.
    pub fn contains(self, kind: Namespace) -> bool {
        self.0 & kind as u32 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Namespace> for Namespaces {
    fn from_iter<I: IntoIterator<Item = Namespace>>(kinds: I) -> Self {
        let mut set = Self::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}

/// Which of the two processes returned from [`clone`].
#[derive(Debug)]
pub enum Side {
    /// The caller; it has to wait for the child.
    Parent(Child),
    /// The new process.
    Child,
}

/// A child of this process.
#[derive(Debug)]
pub struct Child {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// Names the process even after its id was given to another one.
    pub pidfd: OwnedFd,
}

/// Makes a new process. Linux 5.7.
pub fn clone(what: &Clone<'_>) -> Result<Side> {
    if threads()? != 1 {
        return Err(Error::new("clone3", "the process has several threads", Errno::BUSY));
    }
    let mut pidfd: libc::c_int = -1;
    let mut flags = u64::from(what.namespaces.0) | libc::CLONE_PIDFD as u64;
    if what.cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    if what.sibling {
        flags |= libc::CLONE_PARENT as u64;
    }
    let args = libc::clone_args {
        flags,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        // A sibling's is that of the caller.
        exit_signal: if what.sibling { 0 } else { libc::SIGCHLD as u64 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: what.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: `args` is a live `clone_args` of the size passed. Without CLONE_VM the child runs on a copy of this
    // memory, stack included, so nothing is shared; the caller is the only thread (checked above), so the copy is
    // of a consistent state. `pidfd` is a live int for the kernel to write to in the parent.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&args), size_of_val(&args)) };
    match answer {
        -1 => Err(std::io::Error::last_os_error()).op("clone3"),
        0 => Ok(Side::Child),
        pid => {
            // SAFETY: CLONE_PIDFD succeeded, so the kernel stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::OVERFLOW).op("clone3")?;
            Ok(Side::Parent(Child { pid, pidfd }))
        }
    }
}

/// The number of threads of this process.
fn threads() -> Result<u64> {
    // A directory has one link for each directory in it, itself and its parent.
    let tasks = rustix::fs::stat("/proc/self/task").on("stat", "/proc/self/task")?;
    Ok(tasks.st_nlink.saturating_sub(2))
}

/// Joins one namespace that `fd` names (a file below /proc/PID/ns).
pub fn join(fd: BorrowedFd<'_>, kind: Namespace) -> Result<()> {
    rustix::thread::move_into_link_name_space(fd, Some(kind)).on("setns", name(kind))
}

/// Joins all the given namespaces of the process that `pidfd` names, at once.
pub fn join_process(pidfd: BorrowedFd<'_>, kinds: Namespaces) -> Result<()> {
    let kinds = ThreadNameSpaceType::from_bits_retain(kinds.0);
    rustix::thread::move_into_thread_name_spaces(pidfd, kinds).op("setns")
}

/// Which kind of namespace `fd` names: NS_GET_NSTYPE of ioctl_ns(2). `ENOTTY` if it names something else; `None` for
/// a kind that is not known here.
pub fn kind_of(fd: BorrowedFd<'_>) -> Result<Option<Namespace>> {
    // `_IO(NSIO, 0x3)` of linux/nsfs.h.
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument and touches no memory of the process.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    if kind < 0 {
        return Err(std::io::Error::last_os_error()).op("ioctl NS_GET_NSTYPE");
    }
    Ok(NAMESPACES.into_iter().find(|known| *known as u32 == kind as u32))
}

/// All kinds.
const NAMESPACES: [Namespace; 8] = [
    LinkNameSpaceType::Time,
    LinkNameSpaceType::Mount,
    LinkNameSpaceType::ControlGroup,
    LinkNameSpaceType::HostNameAndNISDomainName,
    LinkNameSpaceType::InterProcessCommunication,
    LinkNameSpaceType::User,
    LinkNameSpaceType::ProcessID,
    LinkNameSpaceType::Network,
];

/// The name of a kind of namespace below /proc/PID/ns.
pub fn name(kind: Namespace) -> &'static str {
    match kind {
        LinkNameSpaceType::Time => "time",
        LinkNameSpaceType::Mount => "mnt",
        LinkNameSpaceType::ControlGroup => "cgroup",
        LinkNameSpaceType::HostNameAndNISDomainName => "uts",
        LinkNameSpaceType::InterProcessCommunication => "ipc",
        LinkNameSpaceType::User => "user",
        LinkNameSpaceType::ProcessID => "pid",
        LinkNameSpaceType::Network => "net",
    }
}

/// Gives the caller a new namespace of one kind.
pub fn unshare(kind: Namespace) -> Result<()> {
    let flags = Unshare::from_bits_retain(kind as u32);
    // SAFETY: only a namespace flag can be in the set, so the table of descriptors stays shared as it was.
    unsafe { rustix::thread::unshare_unsafe(flags) }.on("unshare", name(kind))
}

/// Replaces the program. Returns only to report why that failed.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> Error {
    let argv = pointers(argv);
    let envp = pointers(envp);
    // SAFETY: the path is a C string; both arrays end with a null pointer and point to C strings that outlive
    // the call, as `argv` and `envp` are borrowed for all of this function.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Error::new("execve", path.to_string_lossy(), std::io::Error::last_os_error())
}

/// The program file `path` by way of a mount of its own that is read-only and in no mount table. A process that executes
/// it (by `/proc/self/fd/N`, or [`execve_fd`]) has a `/proc/PID/exe` that nobody can open for writing, not even root in
/// a container whose process it becomes (CVE-2019-5736).
///
/// Who may not mount gets a sealed copy of the file in memory instead.
pub fn read_only_program(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let program = match mount::open_tree_clone(rustix::fs::CWD, &path, false) {
        Err(error) if error.is(rustix::io::Errno::PERM) => return sealed_copy(path.as_ref()),
        program => program?,
    };
    let change =
        Change { set: Attr::MOUNT_ATTR_RDONLY, propagation: Some(Propagation::Private), ..Change::default() };
    mount::set_attr(program.as_fd(), &change, false)?;
    Ok(program)
}

fn sealed_copy(path: &Path) -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("program", flags).op("memfd_create")?;
    let mut file = std::fs::File::open(path).on("open", path)?;
    let mut copy = std::fs::File::from(copy);
    std::io::copy(&mut file, &mut copy).on("copy", path)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).op("seal")?;
    Ok(copy.into())
}

/// Whether the program of this process can be opened for writing by way of `/proc/PID/exe`.
pub fn program_is_writable() -> Result<bool> {
    let path = "/proc/self/exe";
    let stat = rustix::fs::statvfs(path).on("statvfs", path)?;
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(false);
    }
    // Root has it by way of a mount.
    if rustix::process::geteuid().is_root() {
        return Ok(true);
    }
    let program = std::fs::File::open(path).on("open", path)?;
    // Only files in memory have seals.
    let seals = rustix::fs::fcntl_get_seals(&program).unwrap_or(rustix::fs::SealFlags::empty());
    Ok(!seals.contains(rustix::fs::SealFlags::WRITE))
}

/// Replaces the program with the one that is open. Returns only to report why that failed.
pub fn execve_fd(program: BorrowedFd<'_>, argv: &[CString], envp: &[CString]) -> Error {
    let argv = pointers(argv);
    let envp = pointers(envp);
    // SAFETY: the path is a static empty C string; both arrays end with a null pointer and point to C strings that
    // outlive the call, as `argv` and `envp` are borrowed for all of this function.
    unsafe {
        let empty = c"".as_ptr();
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            empty,
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Error::new("execveat", "", std::io::Error::last_os_error())
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The number of signals: `_NSIG` of asm/signal.h.
const SIGNALS: i32 = 64;

/// Gives every signal its default action and unblocks all of them, so that a program does not inherit what its
/// starter ignores (Rust's runtime ignores SIGPIPE) or blocks. Also those that the C library keeps for itself.
pub fn reset_signals() {
    // The kernel's `struct sigaction`: all zeroes are SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0_u64; 4];
    let empty = 0_u64;
    for signal in 1..=SIGNALS {
        // SAFETY: the kernel reads one `struct sigaction` (32 bytes) with a mask of the size passed, and writes no old
        // one. No handler is installed. SIGKILL and SIGSTOP answer with an error that needs no handling.
        unsafe {
            let none = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, size_of::<u64>());
        }
    }
    // SAFETY: the kernel reads a mask of the size passed and writes no old one.
    unsafe {
        let none = std::ptr::null_mut::<u64>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const empty, none, size_of::<u64>());
    }
}

/// Has a command begin with every signal as [`reset_signals`] leaves it.
pub fn with_clean_signals(command: &mut std::process::Command) {
    let reset = || {
        reset_signals();
        Ok(())
    };
    // SAFETY: between fork and exec this makes system calls and nothing else: it allocates nothing and takes no lock.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, reset) };
}

/// Marks all descriptors from `first` on to be closed when another program is executed. Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: the call only sets flags of descriptors of this process; none is closed or reused.
    let answer = unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint)
    };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).op("close_range") }
}

/// Ends this process at once: no destructors, no exit handlers, no flushed buffers. For the child of [`clone`],
/// whose copies of such things belong to the parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory of the process.
    unsafe { libc::_exit(status) }
}

/// Sets the host name or domain name of the UTS namespace: sethostname(2).
pub fn set_hostname(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).on("sethostname", name)
}

/// Sets the NIS domain name of the UTS namespace: setdomainname(2).
pub fn set_domainname(name: &str) -> Result<()> {
    rustix::system::setdomainname(name.as_bytes()).on("setdomainname", name)
}
