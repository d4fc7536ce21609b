//! Checkpoints: the container saved to files, and made again from there, by criu, which runs as a child of the supervisor.
//!
//! While it runs, the supervisor waits for it: the container stands still then. What criu makes becomes a child of the
//! supervisor, and gets its pipes in the place of those that the saved one had.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hull_cgroup::Cgroup;
use hull_oci::runtime::{LinuxNamespaceType, Spec};
use hull_runtime::criu::{self, Action, Restore, Restored, Save, Settings, Tree};
use hull_runtime::hooks::{Hooked, Moment};
use hull_runtime::{Failure, Rootfs, Running, Stdio};
use hull_shim::protocol::{self, Checkpoint, Config, unfinished};
use hull_sys::mount::{self, Writable};
use hull_sys::{Context, Error, Result};

use crate::container::Container;

/// The name of all this in failures.
const STEP: &str = "checkpoint";

/// Saves a container that runs, and does `meanwhile` again and again. If that fails, it runs on, and nothing is left in the
/// directory.
pub(crate) fn save(
    container: &Container,
    wish: &Checkpoint,
    meanwhile: &mut dyn FnMut(),
) -> std::result::Result<(), Failure> {
    let partial = unfinished(&wish.directory);
    let saved = clear(&partial).map_err(failure).and_then(|()| write(container, wish, &partial, meanwhile));
    saved
        .and_then(|()| fs::rename(&partial, &wish.directory).on("rename", &partial).map_err(failure))
        .inspect_err(
            // What cannot be removed now is removed before the next one of that name.
            |_| drop(clear(&partial)),
        )
}

fn write(
    container: &Container,
    wish: &Checkpoint,
    images: &Path,
    meanwhile: &mut dyn FnMut(),
) -> std::result::Result<(), Failure> {
    let text = fs::read(protocol::CONFIG).on("read", protocol::CONFIG).map_err(failure)?;
    let config: Config = protocol::decode(&text).map_err(|why| told(why.to_string()))?;
    check(&config).map_err(told)?;
    let own = directory().map_err(failure)?;
    // A log beside images that are removed would tell nobody anything.
    let settings = Settings { work: Some(own.clone()), ..Settings::new(images.to_owned()) };
    let cgroup = Cgroup::open(&container.cgroup).map_err(|why| told(why.to_string()))?;
    let given: Vec<PathBuf> = config.shared.iter().map(|shared| shared.target.clone()).collect();
    let what = Save {
        pid: container.pid,
        spec: &config.spec,
        rootfs: None,
        cgroup: Some(&cgroup),
        given: &given,
        network_given: config.netns_fd.is_some(),
        dir: &own,
    };
    let action = if wish.exit { Action::End } else { Action::LeaveRunning };
    fs::DirBuilder::new().mode(0o700).create(images).on("mkdir", images).map_err(failure)?;
    let notes = images.join(protocol::NOTES);
    // Before criu: a container that it has ended must have a whole checkpoint.
    fs::write(&notes, &wish.notes).on("write", &notes).map_err(failure)?;
    criu::save(&settings, &what, action, meanwhile).map_err(|why| told(why.to_string()))
}

/// What of a container cannot be saved, beside what the runtime says of it.
fn check(config: &Config) -> std::result::Result<(), String> {
    match () {
        () if config.runtime.is_some() => Err("its runtime is another program".into()),
        () if config.terminal.is_some() => Err("it has a terminal".into()),
        () if has(&config.spec, |kind, _| kind == LinuxNamespaceType::User) => {
            Err("it has a user namespace".into())
        }
        // criu would give it one of its own.
        () if has(&config.spec, |kind, joined| kind == LinuxNamespaceType::Ipc && joined) => {
            Err("it shares the ipc namespace of another container".into())
        }
        () => Ok(()),
    }
    .map_err(|why: String| format!("{why}, which cannot be saved"))
}

/// Whether it has a namespace of that kind; the second is whether it is joined.
fn has(spec: &Spec, such: impl Fn(LinuxNamespaceType, bool) -> bool) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().any(|namespace| such(namespace.typ(), namespace.path().is_some()))
}

/// A container that was made again, and whose processes are stopped. Dropping it kills them and removes its cgroup.
pub(crate) struct Stopped(Option<Running>);

impl Stopped {
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|running| running.pidfd.as_fd())
    }

    /// What there is of it, to be removed by the caller.
    pub(crate) fn take(mut self) -> Option<Running> {
        self.0.take()
    }

    /// Lets it run. If that fails, nothing is left.
    pub(crate) fn go_on(self) -> std::result::Result<Running, Failure> {
        let Some(running) = &self.0 else { return Err(told("there is no process")) };
        let pids = running.cgroup.as_ref().map_or_else(|| Ok(vec![running.pid]), Cgroup::pids);
        criu::go_on(pids.map_err(|why| told(why.to_string()))?).map_err(failure)?;
        running.hooked.as_ref().map_or(Ok(()), |hooked| hooked.run(Moment::Poststart, running.pid))?;
        self.take().ok_or_else(|| told("there is no process"))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // There is nobody to tell that it has failed; the daemon finds a cgroup by its path.
        let _ =
            self.0.take().and_then(|running| running.cgroup).map(|cgroup| (cgroup.kill(), cgroup.remove()));
    }
}

/// What was made of a checkpoint: the container, its first process, and its root if that is an overlay.
pub(crate) type Made = (Stopped, i32, Option<OwnedFd>);

/// Makes the container again, stopped. If that fails, nothing is left.
pub(crate) fn restore(
    images: &Path,
    config: &Config,
    stdio: &Stdio,
    network: Option<&OwnedFd>,
    given: BTreeMap<PathBuf, OwnedFd>,
) -> std::result::Result<Made, Failure> {
    let cgroup = hull_runtime::make_cgroup(&config.cgroup, &config.spec)?;
    let made = within(&cgroup, images, config, stdio, network, given);
    let done = made.and_then(|(restored, rootfs)| {
        let hooked = Hooked::of(&config.spec, &config.id, &config.bundle);
        for moment in [Moment::Prestart, Moment::CreateRuntime] {
            hooked.as_ref().map_or(Ok(()), |hooked| hooked.run(moment, restored.pid))?;
        }
        Ok((restored, rootfs, hooked))
    });
    match done {
        Ok((Restored { pid, pidfd }, rootfs, hooked)) => {
            let cgroup = Some(cgroup);
            let running =
                Running { pid, pidfd, terminal: None, cgroup, warnings: Vec::new(), rdt: None, hooked };
            Ok((Stopped(Some(running)), pid, rootfs))
        }
        Err(failure) => {
            // The failure that led here is the one to be told.
            let _ = (cgroup.kill(), cgroup.remove());
            Err(failure)
        }
    }
}

fn within(
    cgroup: &Cgroup,
    images: &Path,
    config: &Config,
    stdio: &Stdio,
    network: Option<&OwnedFd>,
    given: BTreeMap<PathBuf, OwnedFd>,
) -> std::result::Result<(Restored, Option<OwnedFd>), Failure> {
    let Stdio::Fds { stdin, stdout, stderr } = stdio else {
        return Err(told("a terminal cannot be restored"));
    };
    let (root, rootfs) = root(&config.rootfs).map_err(failure)?;
    let mut mounts: Vec<_> = given.into_iter().collect();
    for (destination, source) in &config.sources {
        let tree = hull_runtime::open_source(source, is_tree(&config.spec, destination)).map_err(failure)?;
        mounts.push((destination.clone(), tree));
    }
    let own = directory().map_err(failure)?;
    let what = Restore {
        spec: &config.spec,
        bundle: &own,
        root,
        mounts,
        network: network.map(AsFd::as_fd),
        stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        cgroup: Some(cgroup),
        stopped: true,
        dir: &own,
    };
    let restored = criu::restore(&Settings::new(images.to_owned()), what);
    Ok((restored.map_err(|why| told(why.to_string()))?, rootfs))
}

/// Whether a mount brings what is mounted below it.
fn is_tree(spec: &Spec, destination: &Path) -> bool {
    let mut mounts = spec.mounts().iter().flatten().filter(|mount| mount.destination() == destination);
    mounts.any(|mount| mount.options().iter().flatten().any(|word| word == "rbind"))
}

/// What becomes the container's root, and a descriptor that keeps it if it is an overlay.
fn root(rootfs: &Rootfs) -> Result<(Tree, Option<OwnedFd>)> {
    match rootfs {
        Rootfs::Directory(path) => Ok((Tree::Path(path.clone()), None)),
        Rootfs::Overlay { lower, upper, work, volatile, .. } => {
            let made = mount::overlay(lower, Some(Writable { upper, work, volatile: *volatile }))?;
            let kept = made.try_clone().op("dup")?;
            Ok((Tree::Mount(made), Some(kept)))
        }
    }
}

/// The supervisor's own, which is where it works.
fn directory() -> Result<PathBuf> {
    std::env::current_dir().op("read the working directory")
}

fn clear(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.on("remove", directory),
    }
}

/// A failed system call.
fn failure(error: Error) -> Failure {
    let Error { op, object, errno } = error;
    Failure { step: STEP.into(), op: op.into(), object, errno }
}

/// A failure that a sentence explains.
fn told(why: impl Into<String>) -> Failure {
    Failure { step: STEP.into(), op: why.into(), object: String::new(), errno: 0 }
}
