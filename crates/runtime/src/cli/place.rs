//! Where a container's cgroup is: at a path of every hierarchy, made by us, or in a scope, made by systemd.

use std::os::fd::{AsFd, OwnedFd};

use hull_cgroup::Cgroup;
use hull_cgroup::systemd::{Manager, Scope};
use hull_oci::runtime::LinuxResources;
use hull_sys::Context;
use hull_sys::clone::{Child, Clone, Side, clone, exit_now};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::Global;
use super::error::{Error, Result};

/// The place of a container that is about to be made.
pub(super) struct Place {
    /// `None` if there is to be none.
    pub(super) cgroup: Option<String>,
    /// The `cgroupsPath`, if it names a scope.
    pub(super) scope: Option<String>,
    /// Keeps the scope until the container's process is in it.
    _holder: Option<Holder>,
}

impl Place {
    /// The place that the specification names. systemd's is there afterwards; another comes with the container.
    pub(super) fn make(
        global: &Global,
        id: &str,
        cgroups_path: &str,
        resources: Option<&LinuxResources>,
    ) -> Result<Self> {
        if !global.systemd {
            let cgroup = path(cgroups_path, id);
            let cgroup = if global.rootless { allowed(cgroup, resources)? } else { Some(cgroup) };
            return Ok(Self { cgroup, scope: None, _holder: None });
        }
        let scope = Scope::parse(cgroups_path, id, of_user())?;
        let mut manager = Manager::connect(of_user())?;
        let cgroup = manager.cgroup(&scope)?;
        let holder = Holder::new()?;
        manager.start(&scope, id, holder.child.pid.as_raw_nonzero().get().unsigned_abs(), resources)?;
        Ok(Self { cgroup: Some(cgroup), scope: Some(cgroups_path.to_owned()), _holder: Some(holder) })
    }
}

/// The cgroup of the specification, below the root of each hierarchy, whether it begins with a slash or not; that of the
/// container's name if there is none.
fn path(cgroups_path: &str, id: &str) -> String {
    match cgroups_path.trim_matches('/') {
        "" => format!("/{id}"),
        path => format!("/{path}"),
    }
}

/// The cgroup, made, if this user may make it. If not, a container goes without, unless it is to have limits.
fn allowed(cgroup: String, resources: Option<&LinuxResources>) -> Result<Option<String>> {
    let Err(error) = Cgroup::create(&cgroup) else { return Ok(Some(cgroup)) };
    let none = LinuxResources::default();
    let mut limits = resources.unwrap_or(&none).clone();
    // Who may not make a device node has none to be kept from.
    limits.set_devices(None);
    match error {
        hull_cgroup::Error::System(ref why)
            if [Errno::ACCESS, Errno::PERM, Errno::ROFS].iter().any(|errno| why.is(*errno)) =>
        {
            match limits == none {
                true => Ok(None),
                false => {
                    Err(Error::new(format!("limits need a cgroup, and this user may not make one: {error}")))
                }
            }
        }
        error => Err(error.into()),
    }
}

/// Tells systemd of other limits, if the scope is its.
pub(super) fn update(id: &str, scope: Option<&str>, resources: &LinuxResources) -> Result<()> {
    let Some(scope) = scope else { return Ok(()) };
    let scope = Scope::parse(scope, id, of_user())?;
    Ok(Manager::connect(of_user())?.update(&scope, resources)?)
}

/// Lets systemd forget the scope of a container that has ended. It does so by itself in the end, so if it cannot be
/// asked, that is worth no more than a word.
pub(super) fn leave(global: &Global, id: &str, scope: Option<&str>) {
    let Some(scope) = scope else { return };
    let stopped =
        Scope::parse(scope, id, of_user()).and_then(|scope| Manager::connect(of_user())?.stop(&scope));
    if let Err(error) = stopped {
        global.log.warning(&format!("systemd was not told of the end of {id}: {error}"));
    }
}

/// Whether this is the business of a user's systemd rather than the host's.
fn of_user() -> bool {
    !rustix::process::geteuid().is_root()
}

/// A process that does nothing: systemd makes no scope without one. Dropping it ends it.
struct Holder {
    child: Child,
    /// What it waits at.
    _held: OwnedFd,
}

impl Holder {
    fn new() -> Result<Self> {
        let (end, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).op("pipe")?;
        match clone(&Clone::default())? {
            Side::Parent(child) => Ok(Self { child, _held: held }),
            Side::Child => {
                // It waits for a word that is never said, and so for the end of its maker.
                drop(held);
                let _ = rustix::io::retry_on_intr(|| rustix::io::read(&end, &mut [0_u8; 1]));
                exit_now(0)
            }
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail only if the process is gone, which is what they are for.
        let _ = pidfd_send_signal(&self.child.pidfd, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| {
            waitid(WaitId::PidFd(self.child.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
    }
}
