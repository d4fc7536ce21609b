//! Entering the cgroup and the namespaces.

use std::os::fd::{AsFd, OwnedFd};

use hull_cgroup::Entry;
use hull_sys::clone::{self, Namespace, Namespaces};
use hull_sys::root::Root;
use hull_sys::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Init, Join, mounts, rootfs};

pub(super) fn enter_cgroup(init: &mut Init<'_>) -> Result<()> {
    // What is made for the container has exactly the permissions that it is made with.
    rustix::process::umask(Mode::empty());
    enter_v1(init.entry)
}

/// Enters what CLONE_INTO_CGROUP, by which the process was made, leaves out.
pub(super) fn enter_v1(entry: Option<&Entry>) -> Result<()> {
    entry.map_or(Ok(()), |entry| entry.enter_v1().op("write tasks"))
}

pub(super) fn enter(init: &mut Init<'_>) -> Result<()> {
    let namespaces = &init.plan.namespaces;
    if !namespaces.needs_stage() {
        namespaces.joined.iter().try_for_each(|(kind, fd)| clone::join(fd.as_fd(), *kind))?;
    }
    if namespaces.fresh_cgroup {
        clone::unshare(Namespace::ControlGroup)?;
    }
    if namespaces.fresh_time {
        enter_time(init)?;
    }
    if namespaces.maps_users() {
        if init.line.is_some() && namespaces.mount.is_none() {
            // The root of the maps may not walk there.
            init.host_place = Some(rootfs::open_host_place(init)?);
        }
        if namespaces.mount.is_none() {
            mounts::prefer_locked(init);
        }
        become_mapped_root()?;
    }
    Ok(())
}

/// Finds out which process this is on the host, if somebody there wants to know.
pub(super) fn learn_pid(init: &mut Init<'_>) -> Result<()> {
    let Some(notifier) = &mut init.task.notifier else { return Ok(()) };
    let procfs = open_procfs()?;
    notifier.learn_pid(&procfs)
}

fn open_procfs() -> Result<OwnedFd> {
    rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("open", "/proc")
}

/// Becomes the root that the maps show.
fn become_mapped_root() -> Result<()> {
    match rustix::thread::set_thread_groups(&[]) {
        // Denied to who has mapped himself alone: his groups stay.
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno).op("setgroups"),
    }
    super::task::change_ids(0, 0)
}

/// Makes a time namespace and moves into it: only what is born into one, or joins it by hand, is in it. Its offsets
/// can be set as long as it is empty.
fn enter_time(init: &Init<'_>) -> Result<()> {
    clone::unshare(Namespace::Time)?;
    let offsets = init.create.spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref());
    for (clock, offset) in offsets.into_iter().flatten() {
        let line = format!("{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        let path = "/proc/self/timens_offsets";
        let file =
            rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)?;
        rustix::io::write(&file, line.as_bytes()).on("write", format!("{path}: {line}"))?;
    }
    let path = "/proc/self/ns/time_for_children";
    let namespace =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)?;
    clone::join(namespace.as_fd(), Namespace::Time)
}

/// Joins all namespaces of a container but that of pids, into which the process was born.
pub(super) fn join(join: &mut Join<'_>) -> Result<()> {
    let proc = open_procfs()?;
    if let Some(notifier) = &mut join.task.notifier {
        notifier.learn_pid(&proc)?;
    }
    if let Some(score) = join.task.process.oom_score_adj() {
        crate::create::set_oom_score("/proc/self/oom_score_adj", score)?;
    }
    let mut kinds: Namespaces = [
        Namespace::Mount,
        Namespace::HostNameAndNISDomainName,
        Namespace::InterProcessCommunication,
        Namespace::Network,
        Namespace::ControlGroup,
    ]
    .into_iter()
    .collect();
    // The kernel refuses to join a user namespace again; kernels without time namespaces know no such flag.
    for kind in [Namespace::User, Namespace::Time] {
        if differs(&proc, join.pid, kind)? {
            kinds.insert(kind);
        }
    }
    match clone::join_process(join.pidfd.as_fd(), kinds) {
        // Those that the container shares with its host may be joined by the host's root only, and need not be.
        Err(error) if error.is(rustix::io::Errno::PERM) => {
            clone::join_process(join.pidfd.as_fd(), own_of(&proc, join.pid, kinds)?)?;
        }
        joined => joined?,
    }
    if kinds.contains(Namespace::User) {
        become_mapped_root()?;
    }
    join.task.root = Some(Root::open("/")?);
    join.task.procfs = Some(proc);
    Ok(())
}

/// The namespaces of these kinds that a process has and we have not.
fn own_of(proc: &OwnedFd, pid: i32, kinds: Namespaces) -> Result<Namespaces> {
    let mut own = Namespaces::default();
    for kind in [
        Namespace::User,
        Namespace::Mount,
        Namespace::HostNameAndNISDomainName,
        Namespace::InterProcessCommunication,
        Namespace::Network,
        Namespace::ControlGroup,
        Namespace::Time,
    ] {
        if kinds.contains(kind) && differs(proc, pid, kind)? {
            own.insert(kind);
        }
    }
    Ok(own)
}

fn differs(proc: &OwnedFd, pid: i32, kind: Namespace) -> Result<bool> {
    let stat = |who: &str| {
        let path = format!("{who}/ns/{}", clone::name(kind));
        match rustix::fs::statat(proc, &path, rustix::fs::AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            stat => stat.map(|stat| Some((stat.st_dev, stat.st_ino))).on("stat", format!("/proc/{path}")),
        }
    };
    Ok(stat("self")? != stat(&pid.to_string())?)
}
