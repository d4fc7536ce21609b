//! From a [`Config`] to a container that waits to be started.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_oci::runtime::{Process, Spec};
use hull_runtime::{Create, Failure, Stdio};
use hull_shim::protocol::{Config, Shared};
use hull_sys::signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SignalFd};
use hull_sys::{Context, Result, signal};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};

use crate::checkpoint;
use crate::container::Container;
use crate::copy::{Streams, Wish};
use crate::foreign::Foreign;
use crate::log::Log;
use crate::supervisor::Supervisor;

/// What would end an ordinary process, and the news of children. SIGPIPE is ignored by Rust's own start.
const SIGNALS: &[i32] = &[SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Makes the container. If that fails, nothing is left of it.
pub(crate) fn create(config: Config) -> std::result::Result<Supervisor, Failure> {
    let signals = SignalFd::new(SIGNALS).map_err(failure)?;
    signal::become_subreaper().map_err(failure)?;
    let log = Log::open(&config.log)?;
    let wish = Wish { terminal: config.terminal, stdin: config.open_stdin };
    let (stdio, mut streams) = Streams::new(wish).map_err(failure)?;
    let root = hull_runtime::mapped_root(&config.spec);
    hand_over(&stdio, root).map_err(failure)?;
    let network = config.netns_fd.map(|_| inherited_namespace()).transpose().map_err(failure)?;
    let (mounts, shared) = open_shared(&config.shared).map_err(failure)?;
    if let Some(runtime) = config.runtime.clone() {
        let (foreign, mut created) = Foreign::create(runtime, &config, stdio, network, &mounts)?;
        streams.attach(created.terminal.take()).map_err(failure)?;
        let mut container = Container::foreign(foreign, created, streams, log, config);
        container.shared = shared;
        return Supervisor::new(signals, container).map_err(failure);
    }
    if let Some(images) = config.checkpoint.clone() {
        let made = checkpoint::restore(&images, &config, &stdio, network.as_ref(), mounts)?;
        let mut container = Container::restored(made, streams, log, config);
        container.shared = shared;
        return Supervisor::new(signals, container).map_err(failure);
    }
    let mut created = hull_runtime::create(Create {
        stdio,
        user: config.user,
        extra_groups: config.extra_groups,
        seccomp: config.seccomp,
        cgroup: Some(config.cgroup.clone()),
        network,
        mounts,
        sources: config.sources,
        bundle: config.bundle,
        dies_with_caller: true,
        ..Create::new(config.id, unprotected(config.spec), config.rootfs)
    })?;
    streams.attach(created.terminal.take()).map_err(failure)?;
    let mut container = Container::new(created, streams, log, config.cgroup, config.stdin_once);
    (container.shared, container.root) = (shared, root);
    Supervisor::new(signals, container).map_err(failure)
}

/// Gives pipes to the container's root, if he is another to us, so that he can open /dev/stdout.
pub(crate) fn hand_over(stdio: &Stdio, root: Option<(u32, u32)>) -> Result<()> {
    let Stdio::Fds { stdin, stdout, stderr } = stdio else { return Ok(()) };
    let Some((user, group)) = root else { return Ok(()) };
    for fd in [stdin, stdout, stderr] {
        let stat = rustix::fs::fstat(fd).op("stat stdio")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            rustix::fs::fchown(fd, Some(user), Some(group)).op("chown stdio")?;
        }
    }
    Ok(())
}

/// A system call of the supervisor itself as the container's failure.
pub(crate) fn failure(error: hull_sys::Error) -> Failure {
    let hull_sys::Error { op, object, errno } = error;
    Failure { step: "supervisor".into(), op: op.into(), object, errno }
}

pub(crate) fn open_null(access: OFlags) -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", access | OFlags::CLOEXEC, Mode::empty()).on("open", "/dev/null")
}

/// The mounts to be placed, by their place, and the namespaces that keep them, by name.
type OpenedShared = (BTreeMap<PathBuf, OwnedFd>, BTreeMap<String, OwnedFd>);

/// Opens what the daemon, which waits for us, has made.
fn open_shared(all: &[Shared]) -> Result<OpenedShared> {
    let open = |path: &Path, access| {
        rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty()).on("open", path)
    };
    let (mut mounts, mut namespaces) = (BTreeMap::new(), BTreeMap::new());
    for shared in all {
        mounts.insert(shared.target.clone(), open(&shared.mount, OFlags::PATH)?);
        namespaces.insert(shared.name.clone(), open(&shared.namespace, OFlags::RDONLY)?);
    }
    Ok((mounts, namespaces))
}

/// The network namespace that the daemon gave us as standard input.
fn inherited_namespace() -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).op("dup network namespace")
}

/// The container is not to inherit our own protection from the kernel's memory killer, nor the daemon's.
fn unprotected(mut spec: Spec) -> Spec {
    if let Some(process) = spec.process().clone() {
        spec.set_process(Some(with_oom_score(process)));
    }
    spec
}

/// `process` with the score that processes have when nobody sets one.
pub(crate) fn with_oom_score(mut process: Process) -> Process {
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(Some(0));
    }
    process
}
