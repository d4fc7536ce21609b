//! How a container's first process comes to be: by one clone, unless namespaces must be joined before others are made.

use std::os::fd::{AsFd, OwnedFd};

use hull_sys::clone::{self, Child, Clone, Namespace, Side};
use hull_sys::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use crate::channel::{Channel, Message};
use crate::failure::{Failure, Step};
use crate::init::EndWithoutReturn;
use crate::plan::NamespacePlan;

/// Makes the process. In the caller this returns the child, in the child itself [`Side::Child`]; `ours` and `theirs`
/// are the two ends of the line between them.
pub(crate) fn give(
    namespaces: &NamespacePlan,
    what: &Clone<'_>,
    ours: &Channel,
    theirs: &Channel,
) -> std::result::Result<Side, Failure> {
    if namespaces.needs_stage() {
        return by_stage(namespaces, what, ours, theirs);
    }
    match &namespaces.pid {
        None => clone::clone(what).step("clone"),
        Some(pid) => clone_below(&|| clone::join(pid.as_fd(), Namespace::ProcessID), what).step("clone"),
    }
}

/// Clones. What `join` joins is the pid namespace of children, for this one only.
pub(crate) fn clone_below(join: &dyn Fn() -> Result<()>, what: &Clone<'_>) -> Result<Side> {
    let path = "/proc/self/ns/pid";
    let own = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)?;
    join()?;
    let side = clone::clone(what);
    if !matches!(side, Ok(Side::Child)) {
        match clone::join(own.as_fd(), Namespace::ProcessID) {
            // Who has given up his user namespace for the container's cannot go back, and is to clone no more.
            Err(error) if error.is(Errno::PERM) => {}
            joined => joined?,
        }
    }
    side
}

/// A process between the two joins what there is to join, makes the container's process as its own sibling, and ends.
fn by_stage(
    namespaces: &NamespacePlan,
    what: &Clone<'_>,
    ours: &Channel,
    theirs: &Channel,
) -> std::result::Result<Side, Failure> {
    match clone::clone(&Clone { cgroup: what.cgroup, ..Clone::default() }).step("clone")? {
        Side::Parent(stage) => {
            let ended = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(WaitId::PidFd(stage.pidfd.as_fd()), WaitIdOptions::EXITED)
            });
            let ended = ended.op("waitid").step("clone")?;
            // Only then it has said something; the line has no end while both of its ends are here.
            if ended.and_then(|ended| ended.exit_status()) != Some(0) {
                return Err(Failure::text("clone", "the process that joins namespaces ended without a word"));
            }
            match ours.receive().step("clone")? {
                Message::Born(child) => Ok(Side::Parent(child)),
                Message::Failed(failure) => Err(failure),
                _ => Err(Failure::text("clone", "the process that joins namespaces said nonsense")),
            }
        }
        Side::Child => {
            let end = EndWithoutReturn;
            match join_and_clone(namespaces, what) {
                Ok(Side::Child) => {
                    std::mem::forget(end);
                    Ok(Side::Child)
                }
                Ok(Side::Parent(child)) => {
                    // Unsaid, the child reads the end of its line and ends, too.
                    clone::exit_now(i32::from(theirs.born(&child).is_err()))
                }
                Err(failure) => {
                    theirs.failed(&failure);
                    clone::exit_now(0)
                }
            }
        }
    }
}

/// Joins as the caller first, whose privileges reach farther than those in a user namespace that is joined; what he may
/// not join, that namespace's root perhaps may.
fn join_and_clone(namespaces: &NamespacePlan, what: &Clone<'_>) -> std::result::Result<Side, Failure> {
    let pid = namespaces.pid.iter().map(|fd| (Namespace::ProcessID, fd));
    let mut later = Vec::new();
    for (kind, fd) in namespaces.joined.iter().map(|(kind, fd)| (*kind, fd)).chain(pid) {
        match clone::join(fd.as_fd(), kind) {
            Err(error) if error.is(Errno::PERM) && namespaces.user.is_some() => later.push((kind, fd)),
            joined => joined.step("namespaces")?,
        }
    }
    if let Some(user) = &namespaces.user {
        clone::join(user.as_fd(), Namespace::User).step("namespaces")?;
    }
    later
        .into_iter()
        .try_for_each(|(kind, fd): (_, &OwnedFd)| clone::join(fd.as_fd(), kind))
        .step("namespaces")?;
    clone::clone(&Clone { namespaces: what.namespaces, cgroup: what.cgroup, sibling: true }).step("clone")
}

impl Channel {
    /// Says which process was made, to its parent.
    fn born(&self, child: &Child) -> Result<()> {
        self.hand_over(child.pid.as_raw_nonzero().get(), child.pidfd.as_fd())
    }
}
