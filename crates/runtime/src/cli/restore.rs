//! `restore`: makes a container again from the files that `checkpoint` wrote.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use hull_cgroup::Cgroup;
use hull_oci::runtime::Spec;
use hull_runtime::hooks::{Hooked, Moment};
use hull_runtime::{Running, seccomp};
use hull_sys::clone::{self, Namespace};
use hull_sys::mount::{self, Change, Propagation};
use hull_sys::{Context, root::Root};
use lexopt::{Arg, Parser};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::bundle::{self, Bundle, write_pid};
use super::container::{Container, Record};
use super::criu::{self, Criu};
use super::error::{Error, Result};
use super::place::Place;
use super::{Global, exec, foreground, require, run, switch, take_id};

pub(super) const OPTIONS: &[(&str, &str)] = &[
    criu::IMAGES,
    criu::WORK,
    ("-b, --bundle DIR", "the directory with config.json (default: this one)"),
    ("-d, --detach", "do not wait for the process"),
    ("--pid-file FILE", "where the process id is written to"),
    criu::TCP,
    criu::UNIX,
    criu::SHELL,
    criu::LOCKS,
    criu::CGROUPS,
    criu::EMPTY,
    criu::DEDUP,
    criu::REMAP,
    ("--lsm-profile TYPE:NAME", "another profile of AppArmor or SELinux"),
    ("--lsm-mount-context CONTEXT", "another SELinux context for mounts"),
    ("--no-subreaper", "accepted: this runtime never is a subreaper"),
    ("--no-pivot", "accepted: criu changes the root"),
];

#[derive(Default)]
struct Options {
    bundle: bundle::Options,
    criu: criu::Options,
    labels: Vec<String>,
}

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let mut options = Options::parse(parser)?;
    options.criu.make_absolute()?;
    let images = options.criu.images();
    fs::read_dir(images).map_err(|e| Error::file("read images", images, e))?;
    let criu = Criu::new(global, "restore", "restore.log", &options.criu)?;
    let new = Container::create(&global.root, &require(options.bundle.id.clone())?)?;
    // Before the clone: a signal that comes from then on is for the container.
    let signals = if options.bundle.detach { None } else { Some(foreground::take_signals()?) };
    let running = restore(global, new.container()?, criu, &options)?;
    match signals {
        Some(signals) => run::stay(global, new, running, &signals, false),
        None => {
            new.keep();
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Options {
    fn parse(parser: &mut Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(value) => take_id(&mut options.bundle.id, value)?,
                other => {
                    let name = exec::owned(other)?;
                    options.take(&name, parser)?;
                }
            }
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, parser: &mut Parser) -> Result<()> {
        match name {
            "b" | "bundle" => self.bundle.bundle = Some(parser.value()?.into()),
            "d" | "detach" => self.bundle.detach = switch(parser)?,
            "pid-file" => {
                let given = parser.value()?;
                let path = std::path::absolute(&given).map_err(|e| Error::file("find", &given, e))?;
                self.bundle.pid_file = Some(path);
            }
            "console-socket" => match parser.value()?.is_empty() {
                true => {}
                false => return Err(Error::usage("--console-socket is for containers with a terminal")),
            },
            "no-subreaper" | "no-pivot" => drop(switch(parser)?),
            "lsm-profile" | "lsm-mount-context" => {
                let value = parser.value()?.to_string_lossy().into_owned();
                self.labels.extend([format!("--{name}"), value]);
            }
            name => self.criu.take(name, parser)?,
        }
        Ok(())
    }
}

/// Makes the container again, and remembers it.
fn restore(global: &Global, container: &Container, mut criu: Criu, options: &Options) -> Result<Running> {
    let bundle = Bundle::open(&global.log, &options.bundle)?;
    let spec = bundle.spec();
    criu::check(spec)?;
    let hooked = Hooked::of(spec, container.id(), &bundle.path);
    let early = [Moment::Prestart, Moment::CreateRuntime];
    let stopped = hooked.as_ref().is_some_and(|hooked| early.iter().any(|moment| hooked.has(*moment)));
    criu.args(&options.labels).args(["--restore-detached", "--restore-sibling"]);
    // The hooks come before the processes go on.
    criu.args(stopped.then_some("--leave-stopped"));

    let place = Place::make(global, container.id(), &bundle.cgroups_path(), bundle.resources())?;
    let cgroup = place.cgroup.as_deref().map(|path| hull_runtime::make_cgroup(path, spec)).transpose()?;
    let mut undo = Undo(cgroup);
    make_places(spec, &bundle.rootfs)?;
    add_mounts(&mut criu, spec, undo.0.as_ref(), &bundle.path);
    // Open until the end: criu has them by their numbers.
    let _given = give(&mut criu, spec, options)?;
    let pid = execute(criu, options, container.dir(), (&bundle.rootfs, undo.0.as_ref()))?;
    let pidfd = Pid::from_raw(pid).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
    let pidfd = pidfd.ok_or_else(|| Error::new("criu has told no process"))?.op("pidfd_open")?;

    let path = undo.0.as_ref().map(|cgroup| cgroup.path().to_owned());
    let mut record = Record::new(container.id(), pid, bundle.path.clone(), bundle.rootfs.clone(), path, spec);
    let policy = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    record.seccomp = policy.map(seccomp::compile).transpose().map_err(|e| Error::new(e.to_string()))?;
    record.scope = place.scope.clone();
    record.hooked = hooked.clone();
    container.save(&record)?;
    let run_hooks = |moment: Moment| hooked.as_ref().map_or(Ok(()), |hooked| hooked.run(moment, pid));
    let begun = early.into_iter().try_for_each(run_hooks).map_err(Error::from);
    let begun = begun.and_then(|()| if stopped { go_on(&record) } else { Ok(()) });
    let begun = begun.and_then(|()| Ok(run_hooks(Moment::Poststart)?));
    begun.and_then(|()| write_pid(options.bundle.pid_file.as_deref(), pid)).inspect_err(|_| end(&pidfd))?;
    Ok(Running { pid, pidfd, terminal: None, cgroup: undo.0.take(), rdt: None, hooked, warnings: Vec::new() })
}

/// Lets the processes run that criu has left stopped.
fn go_on(record: &Record) -> Result<()> {
    for pid in record.pids()?.into_iter().filter_map(Pid::from_raw) {
        rustix::process::kill_process(pid, Signal::CONT).op("kill")?;
    }
    Ok(())
}

fn end(pidfd: &OwnedFd) {
    // It fails only if the process is gone, which is what it is for.
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

/// The cgroup of a container that may still fail; then it is removed, with what is in it.
struct Undo(Option<Cgroup>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take() {
            // The failure that led here is the one to be told.
            let _ = run::end(&cgroup);
        }
    }
}

/// Makes the places of the mounts, which a root file system from elsewhere may not have. Those inside of another mount
/// come with that.
fn make_places(spec: &Spec, rootfs: &Path) -> Result<()> {
    let root = Root::open(rootfs)?;
    let mounts: Vec<_> = spec.mounts().iter().flatten().collect();
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

/// Tells criu where the mounts are that lead outside.
fn add_mounts(criu: &mut Criu, spec: &Spec, cgroup: Option<&Cgroup>, bundle: &Path) {
    let directories = cgroup.map(Cgroup::directories).unwrap_or_default();
    let own =
        directories.iter().find(|(controllers, _)| controllers.is_empty()).map(|(_, directory)| directory);
    for (destination, source) in criu::external_mounts(spec) {
        let source = source.map(|source| bundle.join(source)).or_else(|| own.cloned());
        if let Some(source) = source {
            let mount = format!("mnt[{}]:{}", destination.display(), source.display());
            criu.args(["--external", &mount]);
        }
    }
}

/// Gives criu what processes of the container have from outside: its shared namespaces, and what we have as standard
/// input, output and error.
fn give(criu: &mut Criu, spec: &Spec, options: &Options) -> Result<Vec<OwnedFd>> {
    let mut given = Vec::new();
    for (path, _, key) in options.criu.shared(spec) {
        // Not closed when criu is executed.
        let namespace = rustix::fs::open(&path, OFlags::RDONLY, Mode::empty()).on("open", &path)?;
        given.push((namespace, key.to_owned()));
    }
    let path = options.criu.images().join(criu::DESCRIPTORS);
    let text = fs::read(&path).map_err(|e| Error::file("read", &path, e))?;
    let names: [String; 3] =
        serde_json::from_slice(&text).map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
    let ours = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (at, (name, fd)) in names.iter().zip(ours).enumerate() {
        let outside = ["pipe:[", "socket:[", "file["].iter().any(|kind| name.starts_with(kind));
        // One thing under several numbers is given once.
        if outside && !names[at + 1..].contains(name) {
            let shared = names[..at].contains(name);
            given.push((inheritable(fd, shared)?, name.clone()));
        }
    }
    for (fd, name) in &given {
        criu.args(["--inherit-fd".to_owned(), format!("fd[{}]:{name}", fd.as_raw_fd())]);
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

/// Runs criu where the root file system and the hierarchies of cgroups are mounts of its own, which the host does not
/// see; the process's id.
fn execute(
    mut criu: Criu,
    options: &Options,
    dir: &Path,
    (rootfs, cgroup): (&Path, Option<&Cgroup>),
) -> Result<i32> {
    let (root, yard, pid_file) = (dir.join("root"), dir.join("yard"), dir.join("pid"));
    criu.args(["--root".as_ref(), root.as_os_str(), "--pidfile".as_ref(), pid_file.as_os_str()]);
    let open = |path: &str| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let (host, cwd) = (open("/proc/self/ns/mnt").op("open mnt namespace")?, open(".").op("open .")?);
    clone::unshare(Namespace::Mount)?;
    let prepare = |criu: &mut Criu| {
        mount::set_propagation("/", Propagation::Slave, true)?;
        attach(rootfs, &root)?;
        cgroup.map_or(Ok(()), |cgroup| criu.cgroup(&options.criu, cgroup, &yard, attach))
    };
    let done = prepare(&mut criu).and_then(|()| criu.run());
    // Before anybody removes what they are mounted on; what is not mounted need not be detached.
    let places = fs::read_dir(&yard).into_iter().flatten().flatten().map(|entry| entry.path());
    places.chain([root.clone()]).for_each(|place| drop(mount::detach(place)));
    clone::join(host.as_fd(), Namespace::Mount)?;
    rustix::process::fchdir(cwd).op("fchdir")?;
    done?;
    let pid = fs::read_to_string(&pid_file).map_err(|e| Error::file("read", &pid_file, e))?;
    criu::remove_yard(&yard);
    // They are of no use any more, and go with the container at the latest.
    let _ = (fs::remove_file(&pid_file), fs::remove_dir(&root));
    pid.trim().parse().map_err(|e| Error::new(format!("the pid file of criu: {e}")))
}

/// Mounts what is at one place of this mount namespace, with all below it, also at another, which is made.
fn attach(what: &Path, place: &Path) -> Result<()> {
    fs::create_dir(place).map_err(|e| Error::file("mkdir", place, e))?;
    let tree = mount::open_tree_clone(CWD, what, true)?;
    let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
    mount::set_attr(tree.as_fd(), &private, true)?;
    Ok(mount::move_to_path(tree.as_fd(), place)?)
}
