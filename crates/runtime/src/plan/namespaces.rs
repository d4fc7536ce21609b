//! Which namespaces a container is made with, and which it joins.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hull_oci::runtime::{LinuxNamespaceType, Spec};
use hull_sys::clone::{self, Namespace, Namespaces};
use hull_sys::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::failure::{Failure, Step};

/// The step of all failures here.
const STEP: &str = "namespaces";

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// Those that the process is born into.
    pub(crate) fresh: Namespaces,
    /// Whether it is to have a cgroup namespace of its own; made once it is in its cgroup.
    pub(crate) fresh_cgroup: bool,
    /// Whether it is to have a time namespace of its own; made before its offsets are set.
    pub(crate) fresh_time: bool,
    /// Those that it joins, but the three below.
    pub(crate) joined: Vec<(Namespace, OwnedFd)>,
    /// Joined by the parent: only children are in it.
    pub(crate) pid: Option<OwnedFd>,
    /// Joined after the others, which the caller's own privileges open, and before any that is made, which it is to own.
    pub(crate) user: Option<OwnedFd>,
    /// Joined last of all: the host's files are there until then.
    pub(crate) mount: Option<OwnedFd>,
    named: Namespaces,
}

impl NamespacePlan {
    /// Reads and checks. `network` is joined whatever the spec says of it.
    pub(super) fn of(spec: &Spec, network: Option<&OwnedFd>) -> std::result::Result<Self, Failure> {
        let mut plan = Self::default();
        for namespace in spec.linux().iter().flat_map(|linux| linux.namespaces().iter().flatten()) {
            let kind = kind(namespace.typ());
            if plan.named.contains(kind) {
                return Err(Failure::text(STEP, format!("{} is named twice", clone::name(kind))));
            }
            plan.named.insert(kind);
            match namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty()) {
                _ if kind == Namespace::Network && network.is_some() => {}
                None => plan.make(kind),
                Some(path) => plan.join(kind, path)?,
            }
        }
        if let Some(network) = network {
            plan.joined.push((Namespace::Network, network.try_clone().op("dup").step(STEP)?));
        }
        plan.check(spec)?;
        Ok(plan)
    }

    /// Whether the process is root only in a user namespace.
    pub(crate) fn maps_users(&self) -> bool {
        self.fresh.contains(Namespace::User) || self.user.is_some()
    }

    /// Whether the container has a namespace that its host does not share, made or joined.
    pub(crate) fn has_own(&self, kind: Namespace) -> bool {
        let held = match kind {
            Namespace::ControlGroup => self.fresh_cgroup,
            Namespace::Time => self.fresh_time,
            Namespace::User => self.user.is_some(),
            Namespace::Mount => self.mount.is_some(),
            Namespace::ProcessID => self.pid.is_some(),
            _ => false,
        };
        held || self.fresh.contains(kind) || self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether a process between the caller and the container's has to join first: what is made is to belong to a user
    /// namespace that is joined; and what is joined beside a new user namespace does not belong to that.
    pub(crate) fn needs_stage(&self) -> bool {
        self.user.is_some() || (self.fresh.contains(Namespace::User) && !self.joined.is_empty())
    }

    fn make(&mut self, kind: Namespace) {
        match kind {
            Namespace::ControlGroup => self.fresh_cgroup = true,
            Namespace::Time => self.fresh_time = true,
            kind => self.fresh.insert(kind),
        }
    }

    fn join(&mut self, kind: Namespace, path: &Path) -> std::result::Result<(), Failure> {
        let fd = open(kind, path).step(STEP)?;
        if is_own(&fd, kind).step(STEP)? {
            return Ok(());
        }
        match kind {
            Namespace::ProcessID => self.pid = Some(fd),
            Namespace::User => self.user = Some(fd),
            Namespace::Mount => self.mount = Some(fd),
            kind => self.joined.push((kind, fd)),
        }
        Ok(())
    }

    fn check(&self, spec: &Spec) -> std::result::Result<(), Failure> {
        let failed = |text: &str| Err(Failure::text(STEP, text));
        if !self.fresh.contains(Namespace::Mount) && self.mount.is_none() {
            return failed("a container needs a mount namespace of its own");
        }
        let Some(linux) = spec.linux() else { return Ok(()) };
        let given = |mappings: &Option<Vec<_>>| mappings.as_ref().is_some_and(|list| !list.is_empty());
        let mapped = (given(linux.uid_mappings()), given(linux.gid_mappings()));
        if self.fresh.contains(Namespace::User) && mapped != (true, true) {
            return failed("a new user namespace needs uidMappings and gidMappings");
        }
        if !self.named.contains(Namespace::User) && mapped != (false, false) {
            return failed("uidMappings and gidMappings are for a user namespace, and there is none");
        }
        let offsets = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty());
        if offsets.is_some() && !self.fresh_time {
            return failed("timeOffsets are for a new time namespace, and there is none");
        }
        Ok(())
    }
}

/// Opens a namespace, and only one of that kind.
fn open(kind: Namespace, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).on("open", path)?;
    let wrong = |errno: Errno| {
        let object = format!("{} as a {} namespace", path.display(), clone::name(kind));
        hull_sys::Error::new("join", object, errno)
    };
    match clone::kind_of(fd.as_fd()) {
        Ok(found) if found == Some(kind) => Ok(fd),
        Ok(_) => Err(wrong(Errno::INVAL)),
        Err(error) => Err(wrong(Errno::from_raw_os_error(error.errno))),
    }
}

/// Whether `fd` is the namespace that this process is in already.
fn is_own(fd: &OwnedFd, kind: Namespace) -> Result<bool> {
    let own = format!("/proc/self/ns/{}", clone::name(kind));
    let own = rustix::fs::stat(&own).on("stat", &own)?;
    let other = rustix::fs::fstat(fd).op("stat")?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

fn kind(typ: LinuxNamespaceType) -> Namespace {
    match typ {
        LinuxNamespaceType::Mount => Namespace::Mount,
        LinuxNamespaceType::Cgroup => Namespace::ControlGroup,
        LinuxNamespaceType::Uts => Namespace::HostNameAndNISDomainName,
        LinuxNamespaceType::Ipc => Namespace::InterProcessCommunication,
        LinuxNamespaceType::User => Namespace::User,
        LinuxNamespaceType::Pid => Namespace::ProcessID,
        LinuxNamespaceType::Network => Namespace::Network,
        LinuxNamespaceType::Time => Namespace::Time,
    }
}
