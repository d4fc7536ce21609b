//! A further process in a container that runs.
//!
//! The new process is a child of the caller, born in the container's pid namespace; everything else it joins by
//! itself. It is in the container's cgroup before it touches anything of the container.

use std::os::fd::{AsFd, OwnedFd};

use hull_cgroup::{Cgroup, Version};
use hull_oci::runtime::{ContainerState, Process, State};
use hull_sys::Context;
use hull_sys::clone::{self, Child, Clone, Namespace, Namespaces, Side};
use hull_sys::process::{self, Affinity};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::birth::clone_below;
use crate::channel::Channel;
use crate::create::{Common, Guard, Running, Stdio, hide_program, lost, wait_executed, wait_ready};
use crate::failure::Step;
use crate::init::attributes::given;
use crate::init::{self, Join};
use crate::notify::Notifier;
use crate::plan::check;
use crate::{Failure, seccomp};

/// A process to be run in a container.
#[derive(Debug)]
pub struct Exec {
    /// The container's first process, as the caller sees it.
    pub pid: i32,
    /// What to run; all its paths are the container's.
    pub process: Process,
    /// As [`crate::Create::user`].
    pub user: Option<String>,
    /// As [`crate::Create::extra_groups`].
    pub extra_groups: Vec<String>,
    /// What it reads and writes; `process.terminal` is not looked at.
    pub stdio: Stdio,
    /// The compiled system call filter.
    pub seccomp: Option<seccomp::Program>,
    /// The cgroup to enter (the container's).
    pub cgroup: Option<String>,
    /// What it shares with the container's other processes: [`Common::of`].
    pub common: Option<Common>,
    /// The container's state, for the agent that answers the notifications of its filter.
    pub state: Option<State>,
    /// How many descriptors from 3 on the process keeps.
    pub preserve_fds: u32,
    /// The session keyring to join: see [`crate::Create::keyring`].
    pub keyring: Option<String>,
}

impl Exec {
    /// A process with the caller's stdio, as the numbers of its spec, without a cgroup or filter.
    pub fn new(pid: i32, process: Process) -> Self {
        Self {
            pid,
            process,
            user: None,
            extra_groups: Vec::new(),
            stdio: Stdio::Inherit,
            seccomp: None,
            cgroup: None,
            common: None,
            state: None,
            preserve_fds: 0,
            keyring: None,
        }
    }
}

/// Runs a process in a container. Returns when its program is executed; the caller is its parent.
pub fn exec(exec: Exec) -> Result<Running, Failure> {
    check::process(&exec.process)?;
    let container = open_process(exec.pid).step("namespaces")?;
    let cgroup = exec.cgroup.as_deref().map(|path| open_cgroup(path, exec.pid)).transpose().step("cgroup")?;
    let entry = cgroup.as_ref().map(Cgroup::entry).transpose().step("cgroup")?;
    let state = || exec.state.clone().unwrap_or_default();
    let notifier = Notifier::connect(exec.seccomp.as_ref(), state, ContainerState::Running);
    let notifier = notifier.step("seccomp")?;
    hide_program().step("clone")?;

    let (ours, theirs) = Channel::pair().step("clone")?;
    let what = Clone {
        namespaces: Namespaces::default(),
        cgroup: entry.as_ref().and_then(|entry| entry.clone_fd()),
        sibling: false,
    };
    let born = || clone::join_process(container.as_fd(), Namespaces::from_iter([Namespace::ProcessID]));
    let before = start_affinity(&exec.process).step("cpu affinity")?;
    let side = clone_below(&born, &what).step("clone")?;
    let child: Child = match side {
        Side::Parent(child) => {
            before.map_or(Ok(()), |before| before.restore()).step("cpu affinity")?;
            child
        }
        Side::Child => {
            drop(ours);
            init::run_join(Join::new(&exec, &container, entry.as_ref(), notifier), theirs)
        }
    };
    drop(theirs);
    let guard = Guard::of(child);
    let terminal = wait_ready(&ours, &|| Ok(()))?;
    let warnings = wait_executed(&ours)?;
    let running = guard.disarm(terminal).ok_or_else(lost)?;
    Ok(Running { warnings, ..running })
}

/// The processors that the new process starts on, before it is in the container's cgroup: those that its parent has at
/// that moment. Also what the parent had before.
fn start_affinity(process: &Process) -> hull_sys::Result<Option<Affinity>> {
    let affinity = process.exec_cpu_affinity().as_ref();
    let Some(list) = affinity.and_then(|affinity| given(affinity.initial())) else { return Ok(None) };
    let before = Affinity::current()?;
    process::set_affinity(&process::parse_list(list, process::CPUS_MAX)?)?;
    Ok(Some(before))
}

fn open_process(pid: i32) -> hull_sys::Result<OwnedFd> {
    let object = pid.to_string();
    let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH).on("pidfd_open", &object)?;
    pidfd_open(pid, PidfdFlags::empty()).on("pidfd_open", object)
}

/// The container's cgroup, or the one below it that its first process is in: version 2 lets no process into a cgroup
/// that controls its children, which a container with an init system has made of its own.
fn open_cgroup(path: &str, pid: i32) -> hull_cgroup::Result<Cgroup> {
    let cgroup = Cgroup::open(path)?;
    if cgroup.version() != Version::V2 {
        return Ok(cgroup);
    }
    let file = format!("/proc/{pid}/cgroup");
    let lines = std::fs::read_to_string(&file).on("read", &file)?;
    match lines.lines().find_map(|line| line.strip_prefix("0::")) {
        Some(own) if own.strip_prefix(path).is_some_and(|below| below.starts_with('/')) => Cgroup::open(own),
        _ => Ok(cgroup),
    }
}
