//! A spec, read once and checked before anything is made: which namespaces, which mounts, which kernel settings.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_oci::runtime::{LinuxNamespace, LinuxNamespaceType, Mount, Process, Spec};
use hull_sys::clone::{Namespace, Namespaces};
use hull_sys::{Context, Error};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::create::Create;
use crate::failure::{Failure, Step};
use crate::options::Options;

/// What is to be made.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Namespaces that the process is born into.
    fresh: Namespaces,
    /// Whether it is to have a cgroup namespace of its own; made once it is in its cgroup.
    pub(crate) cgroup_namespace: bool,
    /// Whether it is to have a time namespace of its own; made before its offsets are set.
    pub(crate) time_namespace: bool,
    /// Namespaces that it joins, without that of pids.
    pub(crate) joined: Vec<(Namespace, OwnedFd)>,
    pid_namespace: Option<OwnedFd>,
    /// Mounts, in order.
    pub(crate) mounts: Vec<MountPlan>,
    /// Files below /proc/sys, with their content.
    pub(crate) sysctls: Vec<(PathBuf, String)>,
}

/// One mount.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// Where it goes, in the container.
    pub(crate) target: PathBuf,
    /// What it is.
    pub(crate) what: What,
    /// How.
    pub(crate) options: Options,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum What {
    /// A directory or file of the host.
    Bind(PathBuf),
    /// The container's own cgroup, as this host has them.
    Cgroup,
    /// A file system of this type.
    Filesystem {
        /// The type.
        fstype: String,
        /// The device or name it is made from.
        source: String,
    },
}

impl Plan {
    /// Reads and checks.
    pub(crate) fn of(create: &Create) -> Result<Self, Failure> {
        let spec = &create.spec;
        process(spec)?;
        refuse_unsupported(spec)?;
        let mut plan = Self {
            fresh: Namespaces::default(),
            cgroup_namespace: false,
            time_namespace: false,
            joined: Vec::new(),
            pid_namespace: None,
            mounts: spec.mounts().iter().flatten().map(MountPlan::of).collect::<Result<_, _>>()?,
            sysctls: Vec::new(),
        };
        plan.take_network(create)?;
        for namespace in spec.linux().iter().flat_map(|linux| linux.namespaces().iter().flatten()) {
            plan.take_namespace(namespace)?;
        }
        if !plan.fresh.contains(Namespace::Mount) {
            return Err(Failure::text("namespaces", "a container needs a mount namespace of its own"));
        }
        plan.take_sysctls(spec)?;
        Ok(plan)
    }

    /// The namespaces to be born into.
    pub(crate) fn new_namespaces(&self) -> Namespaces {
        self.fresh
    }

    /// The pid namespace to join.
    pub(crate) fn pid_namespace(&self) -> Option<BorrowedFd<'_>> {
        self.pid_namespace.as_ref().map(OwnedFd::as_fd)
    }

    /// Whether the process is root only in a user namespace of its own.
    pub(crate) fn maps_users(&self) -> bool {
        self.fresh.contains(Namespace::User)
    }

    /// Whether the container has a namespace that its host does not share, made or joined.
    pub(crate) fn has_own(&self, kind: Namespace) -> bool {
        self.fresh.contains(kind) || self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    fn take_network(&mut self, create: &Create) -> Result<(), Failure> {
        if let Some(network) = &create.network {
            self.joined.push((Namespace::Network, network.try_clone().op("dup").step("namespaces")?));
        }
        Ok(())
    }

    fn take_namespace(&mut self, namespace: &LinuxNamespace) -> Result<(), Failure> {
        let kind = kind(namespace.typ());
        let path = namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty());
        match (kind, path) {
            (Namespace::Network, _) if self.has_own(Namespace::Network) => {}
            (Namespace::User | Namespace::Mount, Some(_)) => {
                let text =
                    format!("joining a {} namespace by its path is not supported yet", namespace.typ());
                return Err(Failure::text("namespaces", text));
            }
            (Namespace::ProcessID, Some(path)) => self.pid_namespace = Some(open_namespace(path)?),
            (kind, Some(path)) => {
                let fd = open_namespace(path)?;
                if !is_own(&fd, kind).step("namespaces")? {
                    self.joined.push((kind, fd));
                }
            }
            (Namespace::ControlGroup, None) => self.cgroup_namespace = true,
            (Namespace::Time, None) => self.time_namespace = true,
            (kind, None) => self.fresh.insert(kind),
        }
        Ok(())
    }

    fn take_sysctls(&mut self, spec: &Spec) -> Result<(), Failure> {
        for (name, value) in spec.linux().iter().flat_map(|linux| linux.sysctl().iter().flatten()) {
            let path =
                sysctl_path(name).ok_or_else(|| Failure::text("sysctl", format!("{name:?} is no name")))?;
            match sysctl_namespace(&path) {
                Some(kind) if self.has_own(kind) => self.sysctls.push((PathBuf::from(path), value.clone())),
                _ => {
                    let text = format!("{name:?} is not in a namespace of the container's own");
                    return Err(Failure::text("sysctl", text));
                }
            }
        }
        Ok(())
    }
}

impl MountPlan {
    fn of(mount: &Mount) -> Result<Self, Failure> {
        let target = mount.destination().clone();
        let fail = |text: String| Failure::text("mounts", format!("mount on {}: {text}", target.display()));
        if !target.is_absolute() {
            return Err(fail("the destination is not an absolute path".to_owned()));
        }
        let options = Options::parse(mount.options().iter().flatten())
            .map_err(|word| fail(format!("the option {word:?} is not supported")))?;
        let source = mount.source().clone();
        let fstype = mount.typ().as_deref().unwrap_or_default();
        let what = match (options.bind, fstype) {
            (Some(_), _) | (None, "bind" | "rbind") => {
                What::Bind(source.ok_or_else(|| fail("a bind mount needs a source".to_owned()))?)
            }
            (None, "cgroup" | "cgroup2") => What::Cgroup,
            (None, "" | "none") => return Err(fail("the type of the file system is missing".to_owned())),
            (None, fstype) => {
                let source = source.map_or(fstype.to_owned(), |source| source.to_string_lossy().into_owned());
                What::Filesystem { fstype: fstype.to_owned(), source }
            }
        };
        Ok(Self { target, what, options })
    }

    /// Whether this shows the kernel rather than files, so that its place must be an ordinary directory: a symbolic
    /// link in the image would put it elsewhere, and what is masked below it would stay open (CVE-2019-16884,
    /// CVE-2023-27561, CVE-2026-41579).
    pub(crate) fn is_kernel(&self) -> bool {
        let of_kernel = |fstype: &str| matches!(fstype, "proc" | "sysfs" | "devpts" | "mqueue");
        match &self.what {
            What::Bind(_) => self.target == Path::new("/dev"),
            What::Cgroup => true,
            What::Filesystem { fstype, .. } => of_kernel(fstype) || self.target == Path::new("/dev"),
        }
    }
}

/// The process that every container must have.
pub(crate) fn process(spec: &Spec) -> Result<&Process, Failure> {
    spec.process().as_ref().ok_or_else(|| Failure::text("spec", "there is no process in it"))
}

/// What the specification knows and this runtime does not, rather than to leave it out silently.
fn refuse_unsupported(spec: &Spec) -> Result<(), Failure> {
    let process = process(spec)?;
    let linux = spec.linux().as_ref();
    let asked = [
        ("process.scheduler", process.scheduler().is_some()),
        ("process.ioPriority", process.io_priority().is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
        ("process.selinuxLabel", process.selinux_label().as_ref().is_some_and(|label| !label.is_empty())),
        ("hooks", spec.hooks().is_some()),
        ("linux.personality", linux.is_some_and(|linux| linux.personality().is_some())),
        ("linux.intelRdt", linux.is_some_and(|linux| linux.intel_rdt().is_some())),
        ("linux.memoryPolicy", linux.is_some_and(|linux| linux.memory_policy().is_some())),
        (
            "linux.netDevices",
            linux.is_some_and(|linux| linux.net_devices().iter().flatten().next().is_some()),
        ),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(Failure::text("spec", format!("{what} is not supported yet"))),
        None => Ok(()),
    }
}

fn open_namespace(path: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .on("open", path)
        .step("namespaces")
}

/// Whether `fd` is the namespace that this process is in already.
fn is_own(fd: &OwnedFd, kind: Namespace) -> hull_sys::Result<bool> {
    let own = format!("/proc/self/ns/{}", hull_sys::clone::name(kind));
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

/// The file of a kernel setting below /proc/sys. As in sysctl(8), the first separator decides: `net.ipv4.tcp_mem`
/// or `net/ipv4/conf/eth0.1/forwarding`.
fn sysctl_path(name: &str) -> Option<String> {
    let dotted = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'.');
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let path: String = if dotted { name.chars().map(swap).collect() } else { name.to_owned() };
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains(['\0', '\n']);
    plain.then_some(path)
}

/// The namespace that a kernel setting belongs to; `None` if it is the whole machine's.
fn sysctl_namespace(path: &str) -> Option<Namespace> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    match path.split_once('/')? {
        ("net", _) => Some(Namespace::Network),
        ("fs", rest) if rest.starts_with("mqueue/") => Some(Namespace::InterProcessCommunication),
        ("kernel", name) if IPC.contains(&name) => Some(Namespace::InterProcessCommunication),
        ("kernel", "domainname") => Some(Namespace::HostNameAndNISDomainName),
        _ => None,
    }
}

/// A failure that says what was wrong with a path of the container.
pub(crate) fn refused(op: &'static str, path: &Path, errno: Errno) -> Error {
    Error::new(op, path.to_string_lossy(), errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_settings_are_files() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward").unwrap(), "net/ipv4/ip_forward");
        assert_eq!(
            sysctl_path("net.ipv4.conf.eth0/1.forwarding").unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            sysctl_path("net/ipv4/conf/eth0.1/forwarding").unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(sysctl_path("net/../kernel/core_pattern"), None);
        assert_eq!(sysctl_path("net.//.kernel"), None);
    }

    #[test]
    fn only_settings_with_a_namespace_are_let_in() {
        assert_eq!(sysctl_namespace("net/core/somaxconn"), Some(Namespace::Network));
        assert_eq!(sysctl_namespace("kernel/shmmax"), Some(Namespace::InterProcessCommunication));
        assert_eq!(sysctl_namespace("kernel/shm_rmid_forced+kernel/core_pattern"), None);
        assert_eq!(sysctl_namespace("kernel/core_pattern"), None);
        assert_eq!(sysctl_namespace("vm/swappiness"), None);
    }
}
