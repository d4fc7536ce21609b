//! The policy that containers get unless told otherwise: what Docker's default policy allows and refuses.
//!
//! Everything is refused with EPERM but what is named here. Calls that only a capability makes possible come
//! with that capability. `clone` makes processes but no namespaces; `clone3`, whose flags lie in memory where no
//! filter can look, does not exist (ENOSYS), so that C libraries fall back on `clone`.

use hull_oci::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSyscall};

use super::policy::masked;

/// Files, directories, their attributes and contents.
const FILES: &str = "
    _llseek access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup
    dup2 dup3 faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2
    fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr
    fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd
    getdents getdents64 getxattr getxattrat ioctl lchown lchown32 lgetxattr link linkat listmount
    listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod
    mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat
    rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64
    statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate
    truncate64 unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
";

/// Memory of the process itself.
const MEMORY: &str = "
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall
    mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect process_mrelease remap_file_pages
";

/// Sockets that exist already, and pairs; `socket` itself is looked at more closely.
const SOCKETS: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
";

/// Clocks that are read and timers.
const TIME: &str = "
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep
    setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times
";

/// Signals.
const SIGNALS: &str = "
    kill pause pidfd_send_signal restart_syscall rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sigaltstack signalfd signalfd4 sigprocmask sigreturn tgkill tkill
";

/// Waiting for events, and asynchronous input and output.
const EVENTS: &str = "
    _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
    epoll_wait epoll_wait_old eventfd eventfd2 fanotify_mark futex futex_requeue futex_time64
    futex_wait futex_waitv futex_wake inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit poll
    ppoll ppoll_time64 pselect6 pselect6_time64 select
";

/// System V and POSIX message queues, semaphores, shared memory.
const IPC: &str = "
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
    semtimedop_time64 shmat shmctl shmdt shmget
";

/// Users, groups, capabilities, sessions: the kernel checks what may be set.
const IDENTITY: &str = "
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid
    getpgrp getpid getppid getresgid getresgid32 getresuid getresuid32 getsid gettid getuid getuid32
    set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setpgid setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setsid setuid setuid32 umask
";

/// Processes and threads, their scheduling and limits, and sandboxes they make for themselves.
const PROCESSES: &str = "
    execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getpriority
    getrandom getrlimit getrusage ioprio_get ioprio_set landlock_add_rule landlock_create_ruleset
    landlock_restrict_self pidfd_open prctl prlimit64 process_vm_readv process_vm_writev ptrace rseq
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list
    set_thread_area setpriority setrlimit sysinfo ugetrlimit uname uretprobe vfork wait4 waitid
    waitpid
";

/// What only one family of processors has.
#[cfg(target_arch = "x86_64")]
const NATIVE: &str = "arch_prctl modify_ldt";
#[cfg(target_arch = "aarch64")]
const NATIVE: &str = "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2";

/// What a capability adds.
const BY_CAPABILITY: &[(&str, &str)] = &[
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr
         perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
];

/// Every CLONE_NEW* flag that clone(2) takes.
const CLONE_NEW: u64 = 0x7e02_0000;

/// personality(2): Linux, its 16-bit uids, both with a fixed address layout left out, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The address families below 64 (the kernel has fewer) without AF_ALG (38), the kernel's own ciphers, and
/// AF_VSOCK (40), which reaches the host of a virtual machine: as masks and values. The kernel reads only the
/// lower half of the argument, so only that is compared, or a family would pass with any bit above it.
const FAMILIES: [(u64, u64); 8] = [
    (0xffff_ffe0, 0),
    (0xffff_fffc, 32),
    (0xffff_fffe, 36),
    (0xffff_ffff, 39),
    (0xffff_ffff, 41),
    (0xffff_fffe, 42),
    (0xffff_fffc, 44),
    (0xffff_fff0, 48),
];

/// The errno of "there is no such call".
const ENOSYS: u32 = 38;
/// The errno of "not permitted".
const EPERM: u32 = 1;

/// The default policy for a container with these capabilities (names as `CAP_SYS_ADMIN`).
pub fn docker_default<S: AsRef<str>>(capabilities: &[S]) -> LinuxSeccomp {
    let granted = |name: &str| capabilities.iter().any(|capability| capability.as_ref() == name);
    let always = [FILES, MEMORY, SOCKETS, TIME, SIGNALS, EVENTS, IPC, IDENTITY, PROCESSES, NATIVE];
    let mut names: Vec<&str> = always.into_iter().flat_map(str::split_whitespace).collect();
    for (_, added) in BY_CAPABILITY.iter().filter(|(capability, _)| granted(capability)) {
        names.extend(added.split_whitespace());
    }
    let mut rules = vec![rule(&names, Action::ScmpActAllow, None)];
    rules.extend(FAMILIES.map(|(mask, family)| allow_if("socket", masked(0, mask, family))));
    rules.extend(PERSONALITIES.map(|personality| allow_if("personality", masked(0, u64::MAX, personality))));
    if !granted("CAP_SYS_ADMIN") {
        rules.push(allow_if("clone", masked(0, CLONE_NEW, 0)));
        let mut absent = rule(&["clone3"], Action::ScmpActErrno, None);
        absent.set_errno_ret(Some(ENOSYS));
        rules.push(absent);
    }
    let mut policy = LinuxSeccomp::default();
    policy.set_default_action(Action::ScmpActErrno);
    policy.set_default_errno_ret(Some(EPERM));
    policy.set_architectures(Some(architectures()));
    policy.set_syscalls(Some(rules));
    policy
}

/// The native architecture and those whose programs its kernel also runs.
fn architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
    }
}

fn allow_if(name: &str, arg: LinuxSeccompArg) -> LinuxSyscall {
    rule(&[name], Action::ScmpActAllow, Some(vec![arg]))
}

fn rule(names: &[&str], action: Action, args: Option<Vec<LinuxSeccompArg>>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect());
    rule.set_action(action);
    rule.set_args(args);
    rule
}
