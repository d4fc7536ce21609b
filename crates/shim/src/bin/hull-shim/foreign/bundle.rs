//! What a foreign runtime is given: a directory with `config.json` and the root file system.
//!
//! The root and every source that no path of the host names are mounted below that directory, in a mount namespace of
//! the supervisor's: nobody on the host sees them, and they go with it. Mounts of the host still come in; what the
//! container mounts does not come out, also where a volume is shared (`rshared`).

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_oci::runtime::{BoxBuilder, LinuxNamespace, LinuxNamespaceType, Mount, Process, RootBuilder, Spec};
use hull_runtime::{Rootfs, Stdio, passwd};
use hull_shim::protocol::Config;
use hull_sys::clone::Namespace;
use hull_sys::mount::{self, Propagation, Writable};
use hull_sys::root::Root;
use hull_sys::{Context, Error, Result, clone};
use rustix::fs::FileType;

use crate::creation::with_oom_score;

/// Mounts that are made already, by their destination.
pub(crate) type Given = BTreeMap<PathBuf, OwnedFd>;

/// What runtimes of today and of some years ago take. Nothing of a newer version is in what the engine writes.
const VERSION: &str = "1.0.2";

/// The words of mount options that are not a file system's own.
const GENERAL: [&str; 10] =
    ["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "relatime", "noatime"];

/// Why there is no bundle.
pub(super) enum Refused {
    /// The user or a group is not known.
    Identity(Error),
    System(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::System(error)
    }
}

/// Makes the bundle below `directory`; its path, and the root if it is an overlay.
pub(super) fn make(
    directory: &Path,
    config: &Config,
    network: Option<BorrowedFd<'_>>,
    given: &Given,
    stdio: &Stdio,
) -> std::result::Result<(PathBuf, Option<OwnedFd>), Refused> {
    clone::unshare(Namespace::Mount)?;
    mount::set_propagation("/", Propagation::Slave, true)?;
    let bundle = directory.join("bundle");
    let root = bundle.join("rootfs");
    fs::create_dir_all(&root).on("mkdir", &root)?;
    let (overlay, place) = root_at(&config.rootfs, root)?;
    let mut spec = config.spec.clone();
    spec.set_version(VERSION.to_owned());
    let read_only = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    spec.set_root(RootBuilder::default().path(&place).readonly(read_only).build().ok());
    if let Some(process) = spec.process().clone() {
        let mut process = with_oom_score(process);
        let root = Root::open(&place)?;
        identify(&root, &mut process, config.user.as_deref(), &config.extra_groups)
            .map_err(Refused::Identity)?;
        give_terminal(&mut process, stdio);
        spec.set_process(Some(process));
    }
    place_sources(&bundle, config, given, &mut spec)?;
    join(network, &mut spec);
    let file = bundle.join("config.json");
    let text = serde_json::to_vec(&spec).map_err(std::io::Error::from).op("write the specification")?;
    fs::write(&file, text).on("write", &file)?;
    Ok((bundle, overlay))
}

/// Mounts the root at `place`, or names the directory that it is.
fn root_at(rootfs: &Rootfs, place: PathBuf) -> Result<(Option<OwnedFd>, PathBuf)> {
    match rootfs {
        Rootfs::Directory(path) => Ok((None, path.clone())),
        Rootfs::Overlay { lower, upper, work, volatile, .. } => {
            let made = mount::overlay(lower, Some(Writable { upper, work, volatile: *volatile }))?;
            mount::move_to_path(made.as_fd(), &place)?;
            Ok((Some(made), place))
        }
    }
}

/// Puts what no path names at a path, and that into the specification.
fn place_sources(bundle: &Path, config: &Config, given: &Given, spec: &mut Spec) -> Result<()> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (number, mount) in mounts.iter_mut().enumerate() {
        let place = bundle.join(format!("source-{number}"));
        let tree = mount.options().iter().flatten().any(|word| word == "rbind");
        if let Some(source) = config.sources.get(mount.destination()) {
            attach(hull_runtime::open_source(source, tree)?.as_fd(), &place)?;
            mount.set_source(Some(place));
        } else if let Some(made) = given.get(mount.destination()) {
            attach(made.as_fd(), &place)?;
            bind(mount, place);
        }
    }
    spec.set_mounts(Some(mounts));
    Ok(())
}

/// A file system that is there already is bound, with those of its options that any mount can have.
fn bind(mount: &mut Mount, source: PathBuf) {
    let words = mount.options().clone().unwrap_or_default();
    let general = words.into_iter().filter(|word| GENERAL.contains(&word.as_str()));
    mount.set_options(Some(std::iter::once("bind".to_owned()).chain(general).collect()));
    mount.set_typ(Some("bind".to_owned()));
    mount.set_source(Some(source));
}

fn attach(mount: BorrowedFd<'_>, place: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(mount).on("stat", place)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => fs::create_dir(place).on("mkdir", place)?,
        _ => fs::write(place, "").on("create", place)?,
    }
    mount::move_to_path(mount, place)
}

/// The network namespace by a path that holds as long as this process keeps the descriptor.
fn join(network: Option<BorrowedFd<'_>>, spec: &mut Spec) {
    let (Some(network), Some(mut linux)) = (network, spec.linux().clone()) else { return };
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd()));
    let is_network = |namespace: &LinuxNamespace| namespace.typ() == LinuxNamespaceType::Network;
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in namespaces.iter_mut().filter(|namespace| is_network(namespace)) {
        namespace.set_path(Some(path.clone()));
    }
    linux.set_namespaces(Some(namespaces));
    spec.set_linux(Some(linux));
}

/// Gives a process the numbers of its user and groups, which the files below `root` know.
pub(super) fn identify(
    root: &Root,
    process: &mut Process,
    user: Option<&str>,
    groups: &[String],
) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    let identity = passwd::resolve(root, user, groups)?;
    let mut numbers = process.user().clone();
    numbers.set_uid(identity.uid).set_gid(identity.gid).set_additional_gids(Some(identity.groups));
    process.set_user(numbers);
    Ok(())
}

/// Says whether it has a terminal, and of what size.
pub(super) fn give_terminal(process: &mut Process, stdio: &Stdio) {
    process.set_terminal(Some(matches!(stdio, Stdio::Terminal { .. })));
    if let Stdio::Terminal { rows, cols } = *stdio
        && rows > 0
        && cols > 0
    {
        process.set_console_size(BoxBuilder::default().height(rows).width(cols).build().ok());
    }
}
