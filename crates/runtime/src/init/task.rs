//! The process itself: who it is, what it may do, what it runs. The same for the first process of a container and
//! for one that joins.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_oci::runtime::{Capabilities, Capability, LinuxCapabilities, PosixRlimit, PosixRlimitType, Process};
use hull_sys::caps::{self, CapabilitySet, Sets};
use hull_sys::clone;
use hull_sys::root::Root;
use hull_sys::{Context, Error, Result};
use rustix::fs::{FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::console;
use super::program::Program;
use crate::create::{Common, Create, Stdio};
use crate::exec::Exec;
use crate::failure::Failure;
use crate::hooks::{Hooked, Moment};
use crate::notify::Notifier;
use crate::passwd::{self, Identity};
use crate::plan::refused;
use crate::{plan, seccomp};

/// The permissions that new files of a process lack, unless it is told otherwise.
const UMASK: u32 = 0o022;

/// A process on its way to its program.
pub(super) struct Task<'a> {
    pub(super) process: &'a Process,
    user: Option<&'a str>,
    extra_groups: &'a [String],
    stdio: &'a Stdio,
    seccomp: Option<&'a seccomp::Program>,
    preserve_fds: u32,
    keyring: Option<&'a str>,
    /// Whether /dev/console is the terminal.
    is_first: bool,
    /// What it goes on without.
    pub(super) warnings: Vec<String>,
    /// Who answers the notifications of the filter.
    pub(super) notifier: Option<Notifier>,
    /// What the container's processes share.
    pub(super) common: Option<Common>,
    /// The container's hooks and what they are told, if it has any.
    pub(super) hooked: Option<Hooked>,
    /// The container's root, once there is no other.
    pub(super) root: Option<Root>,
    /// A procfs that is certainly one, whatever the container's /proc is.
    pub(super) procfs: Option<OwnedFd>,
    identity: Identity,
    terminal: Option<hull_sys::pty::Pair>,
    program: Option<Program>,
}

impl<'a> Task<'a> {
    pub(super) fn of_container(
        create: &'a Create,
        notifier: Option<Notifier>,
    ) -> std::result::Result<Self, Failure> {
        Ok(Self {
            process: plan::process(&create.spec)?,
            user: create.user.as_deref(),
            extra_groups: &create.extra_groups,
            stdio: &create.stdio,
            seccomp: create.seccomp.as_ref(),
            preserve_fds: create.preserve_fds,
            keyring: create.keyring.as_deref(),
            is_first: true,
            warnings: Vec::new(),
            notifier,
            common: Common::of(&create.spec),
            hooked: Hooked::of(&create.spec, &create.id, &create.bundle),
            root: None,
            procfs: None,
            identity: Identity::default(),
            terminal: None,
            program: None,
        })
    }

    pub(super) fn of_exec(exec: &'a Exec, notifier: Option<Notifier>) -> Self {
        Self {
            process: &exec.process,
            user: exec.user.as_deref(),
            extra_groups: &exec.extra_groups,
            stdio: &exec.stdio,
            seccomp: exec.seccomp.as_ref(),
            preserve_fds: exec.preserve_fds,
            keyring: exec.keyring.as_deref(),
            is_first: false,
            warnings: Vec::new(),
            notifier,
            common: exec.common.clone(),
            hooked: None,
            root: None,
            procfs: None,
            identity: Identity::default(),
            terminal: None,
            program: None,
        }
    }

    /// The supervisor's end of the terminal.
    pub(super) fn master(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(|pair| pair.master.as_fd())
    }

    fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or(Errno::NOENT).op("the root is not there yet")
    }

    /// Leaves the caller's session keyring, with what the caller may have in it.
    pub(super) fn join_keyring(&mut self) -> Result<()> {
        let Some(name) = self.keyring else { return Ok(()) };
        let name = std::ffi::CString::new(name).unwrap_or_default();
        match hull_sys::keyring::join_session(&name) {
            // A kernel without keys has none to keep apart.
            Err(error) if error.is(Errno::NOSYS) => Ok(()),
            joined => joined,
        }
    }

    /// Who the process will be, by the container's own files.
    pub(super) fn resolve_user(&mut self) -> Result<()> {
        let root = self.root()?;
        self.identity = match self.user {
            Some(user) => passwd::resolve(root, user, self.extra_groups)?,
            None => {
                let user = self.process.user();
                let mut groups = user.additional_gids().clone().unwrap_or_default();
                groups.extend(passwd::groups(root, self.extra_groups)?);
                let home = passwd::home(root, user.uid())?;
                Identity { uid: user.uid(), gid: user.gid(), groups, home }
            }
        };
        Ok(())
    }

    /// Makes the terminal, and a session that it controls.
    pub(super) fn open_console(&mut self) -> Result<()> {
        rustix::process::setsid().op("setsid")?;
        if let Stdio::Terminal { rows, cols } = self.stdio {
            let root = self.root()?;
            let pair = console::open(root, *rows, *cols)?;
            if self.is_first {
                console::bind(root, &pair.slave)?;
            }
            console::control(&pair.slave)?;
            self.terminal = Some(pair);
        }
        Ok(())
    }

    /// Goes to the working directory, which is made if it is missing. By descriptor, below the root and without the
    /// links of /proc, so that it cannot be one that the caller has open outside (CVE-2024-21626).
    pub(super) fn make_directory(&mut self) -> Result<()> {
        let cwd = self.process.cwd();
        if cwd.is_absolute() {
            self.root()?.mkdir_all(cwd, 0o755)?;
        }
        self.enter_directory()
    }

    /// Goes to the working directory, which is there.
    pub(super) fn enter_directory(&mut self) -> Result<()> {
        let cwd = self.process.cwd();
        if !cwd.is_absolute() {
            return Err(refused("chdir", cwd, Errno::INVAL));
        }
        let directory = self.root()?.open_dir(cwd);
        let directory = directory.map_err(|why| hull_sys::Error { op: "chdir", ..why })?;
        rustix::process::fchdir(&directory).on("chdir", cwd)?;
        let now = rustix::process::getcwd(Vec::new()).on("getcwd", cwd)?;
        // The kernel says "(unreachable)" of what is not below the root.
        if now.to_bytes().starts_with(b"/") { Ok(()) } else { Err(refused("chdir", cwd, Errno::XDEV)) }
    }

    pub(super) fn set_limits(&mut self) -> Result<()> {
        self.process.rlimits().iter().flatten().try_for_each(set_limit)
    }

    /// Puts 0, 1 and 2 in place.
    pub(super) fn take_stdio(&mut self) -> Result<()> {
        let (stdin, stdout, stderr) = match (self.stdio, &self.terminal) {
            (Stdio::Inherit, _) | (Stdio::Terminal { .. }, None) => return self.hand_over_stdio(),
            (Stdio::Fds { stdin, stdout, stderr }, _) => (stdin, stdout, stderr),
            (Stdio::Terminal { .. }, Some(pair)) => (&pair.slave, &pair.slave, &pair.slave),
        };
        dup2_stdin(stdin).op("dup2 stdin")?;
        dup2_stdout(stdout).op("dup2 stdout")?;
        dup2_stderr(stderr).op("dup2 stderr")?;
        self.hand_over_stdio()
    }

    /// Lets the process's user open /dev/stdout and its like: pipes, sockets and terminals become his.
    fn hand_over_stdio(&self) -> Result<()> {
        if self.identity.uid == 0 {
            return Ok(());
        }
        for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            let stat = rustix::fs::fstat(fd).op("stat stdio")?;
            let his = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Fifo | FileType::Socket => true,
                FileType::CharacterDevice => stat.st_rdev != makedev(1, 3),
                _ => false,
            };
            if !his || stat.st_uid == self.identity.uid {
                continue;
            }
            match rustix::fs::fchown(fd, Some(Uid::from_raw(self.identity.uid)), None) {
                // A file system that is read-only, or an owner whom the user namespace cannot name.
                Ok(()) | Err(Errno::ROFS | Errno::PERM | Errno::INVAL) => {}
                Err(errno) => return Err(errno).op("chown stdio"),
            }
        }
        Ok(())
    }

    /// Changes to the user. Capabilities are kept for the steps that follow.
    pub(super) fn become_user(&mut self) -> Result<()> {
        let groups: Vec<Gid> = self.identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        match rustix::thread::set_thread_groups(&groups) {
            // Denied to who has mapped himself alone: his groups stay, and none was asked for.
            Err(Errno::PERM) if groups.is_empty() => {}
            set => set.op("setgroups")?,
        }
        caps::keep(true)?;
        change_ids(self.identity.uid, self.identity.gid)?;
        if self.identity.uid != 0 {
            caps::raise()?;
        }
        let umask = self.process.user().umask().unwrap_or(UMASK);
        rustix::process::umask(Mode::from_raw_mode(umask));
        Ok(())
    }

    /// Finds the program and makes its environment.
    pub(super) fn find_program(&mut self) -> Result<()> {
        let home = self.identity.home.as_deref().unwrap_or("/");
        self.program = Some(Program::find(self.process, home)?);
        Ok(())
    }

    pub(super) fn close_descriptors(&mut self) -> Result<()> {
        clone::close_on_exec_from(3 + self.preserve_fds)
    }

    pub(super) fn reset_signals(&mut self) -> Result<()> {
        clone::reset_signals();
        Ok(())
    }

    fn no_new_privileges(&self) -> bool {
        self.process.no_new_privileges().unwrap_or(false)
    }

    pub(super) fn filter_calls_privileged(&mut self) -> Result<()> {
        if self.no_new_privileges() { Ok(()) } else { self.filter_calls() }
    }

    pub(super) fn filter_calls_unprivileged(&mut self) -> Result<()> {
        if !self.no_new_privileges() {
            return Ok(());
        }
        rustix::thread::set_no_new_privs(true).op("prctl no_new_privs")?;
        self.filter_calls()
    }

    fn filter_calls(&self) -> Result<()> {
        let Some(program) = self.seccomp else { return Ok(()) };
        match (program.load()?, &self.notifier) {
            (Some(listener), Some(notifier)) => notifier.hand_over(listener),
            _ => Ok(()),
        }
    }

    /// Leaves the process what it was given, and nothing else.
    pub(super) fn drop_capabilities(&mut self) -> Result<()> {
        let sets = self.process.capabilities().as_ref().map_or(Sets::NONE, sets_of);
        caps::limit(sets.bounding)?;
        match caps::apply(&sets) {
            Err(error) if error.is(Errno::PERM) => self.apply_granted(sets),
            applied => applied,
        }
    }

    /// What cannot be granted is left out with a warning, as the specification asks for.
    fn apply_granted(&mut self, sets: Sets) -> Result<()> {
        let granted = caps::permitted()?;
        let lacking = (sets.permitted | sets.effective | sets.inheritable).difference(granted);
        caps::apply(&sets.within(granted))?;
        self.warnings.push(format!("not granted: {}", caps::names(lacking)));
        Ok(())
    }

    /// The hooks right before the program.
    pub(super) fn run_start_hooks(&mut self) -> Result<()> {
        let Some(hooked) = &self.hooked else { return Ok(()) };
        hooked.run_in_step(Moment::StartContainer, rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Becomes the program.
    pub(super) fn execute(&mut self) -> Result<()> {
        let Some(program) = &self.program else { return Err(Error::new("lookup", "", Errno::NOENT)) };
        Err(clone::execve(&program.path, &program.args, &program.env))
    }
}

/// Changes all user and group ids of the process, which has one thread.
pub(super) fn change_ids(uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).on("setgid", Path::new(&gid.as_raw().to_string()))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).on("setuid", Path::new(&uid.as_raw().to_string()))
}

fn set_limit(limit: &PosixRlimit) -> Result<()> {
    let resource = match limit.typ() {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    };
    // The largest number is the kernel's word for "no limit".
    let bound = |value: u64| (value != u64::MAX).then_some(value);
    let limits = Rlimit { current: bound(limit.soft()), maximum: bound(limit.hard()) };
    rustix::process::setrlimit(resource, limits).on("setrlimit", format!("{:?}", limit.typ()))
}

fn sets_of(given: &LinuxCapabilities) -> Sets {
    let set = |capabilities: &Option<Capabilities>| {
        capabilities
            .iter()
            .flatten()
            .fold(CapabilitySet::empty(), |set, capability| set | bit_of(*capability))
    };
    Sets {
        effective: set(given.effective()),
        permitted: set(given.permitted()),
        inheritable: set(given.inheritable()),
        bounding: set(given.bounding()),
        ambient: set(given.ambient()),
    }
}

fn bit_of(capability: Capability) -> CapabilitySet {
    match capability {
        Capability::AuditControl => CapabilitySet::AUDIT_CONTROL,
        Capability::AuditRead => CapabilitySet::AUDIT_READ,
        Capability::AuditWrite => CapabilitySet::AUDIT_WRITE,
        Capability::BlockSuspend => CapabilitySet::BLOCK_SUSPEND,
        Capability::Bpf => CapabilitySet::BPF,
        Capability::CheckpointRestore => CapabilitySet::CHECKPOINT_RESTORE,
        Capability::Chown => CapabilitySet::CHOWN,
        Capability::DacOverride => CapabilitySet::DAC_OVERRIDE,
        Capability::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
        Capability::Fowner => CapabilitySet::FOWNER,
        Capability::Fsetid => CapabilitySet::FSETID,
        Capability::IpcLock => CapabilitySet::IPC_LOCK,
        Capability::IpcOwner => CapabilitySet::IPC_OWNER,
        Capability::Kill => CapabilitySet::KILL,
        Capability::Lease => CapabilitySet::LEASE,
        Capability::LinuxImmutable => CapabilitySet::LINUX_IMMUTABLE,
        Capability::MacAdmin => CapabilitySet::MAC_ADMIN,
        Capability::MacOverride => CapabilitySet::MAC_OVERRIDE,
        Capability::Mknod => CapabilitySet::MKNOD,
        Capability::NetAdmin => CapabilitySet::NET_ADMIN,
        Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        Capability::NetBroadcast => CapabilitySet::NET_BROADCAST,
        Capability::NetRaw => CapabilitySet::NET_RAW,
        Capability::Perfmon => CapabilitySet::PERFMON,
        Capability::Setgid => CapabilitySet::SETGID,
        Capability::Setfcap => CapabilitySet::SETFCAP,
        Capability::Setpcap => CapabilitySet::SETPCAP,
        Capability::Setuid => CapabilitySet::SETUID,
        Capability::SysAdmin => CapabilitySet::SYS_ADMIN,
        Capability::SysBoot => CapabilitySet::SYS_BOOT,
        Capability::SysChroot => CapabilitySet::SYS_CHROOT,
        Capability::SysModule => CapabilitySet::SYS_MODULE,
        Capability::SysNice => CapabilitySet::SYS_NICE,
        Capability::SysPacct => CapabilitySet::SYS_PACCT,
        Capability::SysPtrace => CapabilitySet::SYS_PTRACE,
        Capability::SysRawio => CapabilitySet::SYS_RAWIO,
        Capability::SysResource => CapabilitySet::SYS_RESOURCE,
        Capability::SysTime => CapabilitySet::SYS_TIME,
        Capability::SysTtyConfig => CapabilitySet::SYS_TTY_CONFIG,
        Capability::Syslog => CapabilitySet::SYSLOG,
        Capability::WakeAlarm => CapabilitySet::WAKE_ALARM,
    }
}
