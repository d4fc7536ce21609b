//! Making a container again from its images.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_cgroup::Cgroup;
use hull_oci::runtime::Spec;
use hull_sys::clone::{self, Namespace};
use hull_sys::mount::{self, Change, Propagation};
use hull_sys::{Context, root::Root};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{
    Call, DESCRIPTORS, Error, NETWORK, Result, SHARED, Settings, check, external_mounts, remove_yard,
};
use crate::plan::sysctl;

/// Files from outside.
#[derive(Debug)]
pub enum Tree {
    /// What is at a path of the host.
    Path(PathBuf),
    /// A mount that has no place yet.
    Mount(OwnedFd),
}

/// A container to be made again.
#[derive(Debug)]
pub struct Restore<'a> {
    /// What it is made of: its namespaces and mounts from outside are taken from it.
    pub spec: &'a Spec,
    /// Where relative sources of mounts begin.
    pub bundle: &'a Path,
    /// What becomes its root.
    pub root: Tree,
    /// By destination: mounts from outside, whatever the specification says of their sources.
    pub mounts: Vec<(PathBuf, OwnedFd)>,
    /// The network namespace to join, whatever the specification says of it.
    pub network: Option<BorrowedFd<'a>>,
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// The cgroup that was made for it.
    pub cgroup: Option<&'a Cgroup>,
    /// Whether it waits for [`go_on`].
    pub stopped: bool,
    /// A directory of ours, for files and directories during the call.
    pub dir: &'a Path,
}

/// A container's first process, made again. The caller is its parent and has to wait for it.
#[derive(Debug)]
pub struct Restored {
    /// Its id, as the caller sees it.
    pub pid: i32,
    /// Names it even after its end.
    pub pidfd: OwnedFd,
}

/// Makes the container again.
///
/// # Errors
/// criu is not there or has failed: nothing is left of it but its cgroup.
pub fn restore(settings: &Settings, mut what: Restore<'_>) -> Result<Restored> {
    check(what.spec)?;
    let mut call = Call::new(settings, "restore", "restore.log")?;
    call.args(["--restore-detached", "--restore-sibling"]);
    call.args(what.stopped.then_some("--leave-stopped"));
    make_places(&what)?;
    what.network.map_or(Ok(()), |network| set_sysctls(what.spec, network))?;
    let places = name_mounts(&mut call, &mut what);
    // Open until the end: criu has them by their numbers.
    let _given = give(&mut call, settings, &what)?;
    let pid = execute(call, settings, &what, &places)?;
    let pidfd = Pid::from_raw(pid).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
    let pidfd = pidfd.ok_or_else(|| Error::new("criu has told no process"))?.op("pidfd_open")?;
    Ok(Restored { pid, pidfd })
}

/// Lets processes run that were made stopped.
pub fn go_on(pids: impl IntoIterator<Item = i32>) -> hull_sys::Result<()> {
    for pid in pids.into_iter().filter_map(Pid::from_raw) {
        match rustix::process::kill_process(pid, Signal::CONT) {
            // It has ended meanwhile.
            Err(Errno::SRCH) => {}
            sent => sent.op("kill")?,
        }
    }
    Ok(())
}

/// The kernel settings of a network namespace are no process's, so they are not saved.
fn set_sysctls(spec: &Spec, network: BorrowedFd<'_>) -> Result<()> {
    let settings = sysctl::of_network(spec);
    if settings.is_empty() {
        return Ok(());
    }
    let own = "/proc/self/ns/net";
    let own = rustix::fs::open(own, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", own)?;
    clone::join(network, Namespace::Network)?;
    let set = settings.iter().try_for_each(|(path, value)| {
        let path = Path::new("/proc/sys").join(path);
        fs::write(&path, value).map_err(|e| Error::file("write", &path, e))
    });
    clone::join(own.as_fd(), Namespace::Network)?;
    set
}

/// Makes the places of the mounts, which a directory from elsewhere may not have. Those inside of another mount come
/// with that.
fn make_places(what: &Restore<'_>) -> Result<()> {
    let Tree::Path(rootfs) = &what.root else { return Ok(()) };
    let root = Root::open(rootfs)?;
    let mounts: Vec<_> = what.spec.mounts().iter().flatten().collect();
    for mount in &mounts {
        let place = mount.destination();
        let below = |other: &Path| place != other && place.starts_with(other) && other != Path::new("/");
        if mounts.iter().any(|other| below(other.destination())) || root.stat(place).is_ok() {
            continue;
        }
        let source = mount.source().as_deref().map(fs::metadata);
        match source.and_then(std::result::Result::ok).is_some_and(|source| !source.is_dir()) {
            false => drop(root.mkdir_all(place, 0o755)?),
            true => {
                if let Some(parent) = place.parent() {
                    root.mkdir_all(parent, 0o755)?;
                }
                root.create_file(place, 0o644)?;
            }
        }
    }
    Ok(())
}

/// Tells criu where the mounts are that lead outside. Those without a path get one below our directory: it, and the
/// mount.
fn name_mounts(call: &mut Call, what: &mut Restore<'_>) -> Vec<(PathBuf, OwnedFd)> {
    let directories = what.cgroup.map(Cgroup::directories).unwrap_or_default();
    let own =
        directories.iter().find(|(controllers, _)| controllers.is_empty()).map(|(_, directory)| directory);
    let given: Vec<_> = std::mem::take(&mut what.mounts);
    for (destination, source) in external_mounts(what.spec) {
        let source = source.map(|source| what.bundle.join(source)).or_else(|| own.cloned());
        if let Some(source) = source.filter(|_| !given.iter().any(|(place, _)| place == destination)) {
            name_mount(call, destination, &source);
        }
    }
    let places = given.into_iter().enumerate().map(|(number, (destination, mount))| {
        let place = what.dir.join(format!("mount-{number}"));
        name_mount(call, &destination, &place);
        (place, mount)
    });
    places.collect()
}

fn name_mount(call: &mut Call, destination: &Path, source: &Path) {
    let mount = format!("mnt[{}]:{}", destination.display(), source.display());
    call.args(["--external", &mount]);
}

/// Gives criu what processes of the container have from outside: its shared namespaces, and its standard streams.
fn give(call: &mut Call, settings: &Settings, what: &Restore<'_>) -> Result<Vec<OwnedFd>> {
    let mut given = Vec::new();
    for (path, kind, key) in settings.shared(what.spec) {
        if kind == NETWORK && what.network.is_some() {
            continue;
        }
        // Not closed when criu is executed.
        let namespace = rustix::fs::open(&path, OFlags::RDONLY, Mode::empty()).on("open", &path)?;
        given.push((namespace, key.to_owned()));
    }
    if let Some(network) = what.network {
        let key = SHARED.iter().find(|(_, kind, _)| *kind == NETWORK).map_or("", |(.., key)| key);
        given.push((rustix::io::dup(network).op("dup network namespace")?, key.to_owned()));
    }
    let path = settings.images.join(DESCRIPTORS);
    let text = fs::read(&path).map_err(|e| Error::file("read", &path, e))?;
    let names: [String; 3] =
        serde_json::from_slice(&text).map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
    for (at, (name, fd)) in names.iter().zip(what.stdio).enumerate() {
        let outside = ["pipe:[", "socket:[", "file["].iter().any(|kind| name.starts_with(kind));
        // One thing under several numbers is given once.
        if outside && !names[at + 1..].contains(name) {
            let shared = names[..at].contains(name);
            given.push((inheritable(fd, shared)?, name.clone()));
        }
    }
    for (fd, name) in &given {
        call.args(["--inherit-fd".to_owned(), format!("fd[{}]:{name}", fd.as_raw_fd())]);
    }
    Ok(given.into_iter().map(|(fd, _)| fd).collect())
}

/// A copy of a descriptor that is not closed by execve(2). What was one file for input and output is opened for both,
/// if it can be.
fn inheritable(fd: BorrowedFd<'_>, both: bool) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let file =
        fs::metadata(&path).is_ok_and(|file| !std::os::unix::fs::FileTypeExt::is_fifo(&file.file_type()));
    match rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()) {
        Ok(opened) if both && file => Ok(opened),
        _ => Ok(rustix::io::dup(fd).op("dup")?),
    }
}

/// Runs criu where the root file system, mounts and the hierarchies of cgroups are mounts of its own, which the host
/// does not see; the process's id.
fn execute(
    mut call: Call,
    settings: &Settings,
    what: &Restore<'_>,
    mounts: &[(PathBuf, OwnedFd)],
) -> Result<i32> {
    let dir = what.dir;
    let (root, yard, pid_file) = (dir.join("root"), dir.join("yard"), dir.join("pid"));
    call.args(["--root".as_ref(), root.as_os_str(), "--pidfile".as_ref(), pid_file.as_os_str()]);
    let open = |path: &str| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let (host, cwd) = (open("/proc/self/ns/mnt").op("open mnt namespace")?, open(".").op("open .")?);
    clone::unshare(Namespace::Mount)?;
    let prepare = |call: &mut Call| {
        mount::set_propagation("/", Propagation::Slave, true)?;
        match &what.root {
            Tree::Path(rootfs) => attach(rootfs, &root)?,
            Tree::Mount(mount) => place(mount.as_fd(), &root)?,
        }
        mounts.iter().try_for_each(|(path, mount)| place(mount.as_fd(), path))?;
        what.cgroup.map_or(Ok(()), |cgroup| call.cgroup(settings, cgroup, &yard, attach))
    };
    let done = prepare(&mut call).and_then(|()| call.run(&mut || ()));
    // Before anybody removes what they are mounted on; what is not mounted need not be detached.
    let places = fs::read_dir(&yard).into_iter().flatten().flatten().map(|entry| entry.path());
    let own = mounts.iter().map(|(path, _)| path.clone()).chain([root.clone()]);
    places.chain(own).for_each(|place| drop(mount::detach(place)));
    clone::join(host.as_fd(), Namespace::Mount)?;
    rustix::process::fchdir(cwd).op("fchdir")?;
    done?;
    let pid = fs::read_to_string(&pid_file).map_err(|e| Error::file("read", &pid_file, e))?;
    remove_yard(&yard);
    // They are of no use any more, and go with the container at the latest.
    let _ = (fs::remove_file(&pid_file), fs::remove_dir(&root));
    pid.trim().parse().map_err(|e| Error::new(format!("the pid file of criu: {e}")))
}

/// Mounts what is at one place of this mount namespace, with all below it, also at another, which is made.
fn attach(what: &Path, path: &Path) -> Result<()> {
    place(mount::open_tree_clone(CWD, what, true)?.as_fd(), path)
}

/// Mounts a tree at a place, which is made.
fn place(tree: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(tree).on("stat", path)?;
    let made = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => fs::create_dir(path),
        _ => fs::write(path, ""),
    };
    made.map_err(|e| Error::file("create", path, e))?;
    let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
    mount::set_attr(tree, &private, true)?;
    Ok(mount::move_to_path(tree, path)?)
}
