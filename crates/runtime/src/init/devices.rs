//! The device nodes of a container: the standard ones, and those of the spec.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_oci::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};
use hull_sys::mount::{self, Change, Propagation};
use hull_sys::root::Root;
use hull_sys::{Context, Result};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;

use super::{Init, mounts};
use crate::plan::{What, refused};

/// What every Linux program may expect in /dev: name, major, minor. Mode 0666, as everywhere.
const STANDARD: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links that the runtime specification asks for, and what programs expect of a devpts of one's own.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// One node.
struct Node {
    path: PathBuf,
    kind: FileType,
    device: u64,
    mode: u32,
    owner: Option<(u32, u32)>,
}

/// Opens the host's nodes where the container cannot make its own: in a user namespace, its own or the caller's.
pub(super) fn prepare(init: &mut Init<'_>) -> Result<()> {
    if !wanted(init) || can_make(init)? {
        return Ok(());
    }
    for node in nodes(init)?.iter().filter(|node| node.needs_privilege()) {
        let bind = mount::open_tree_clone(CWD, &node.path, false)?;
        let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
        mount::set_attr(bind.as_fd(), &private, false)?;
        init.device_binds.push((node.path.clone(), bind));
    }
    Ok(())
}

/// Whether the kernel lets nodes be made: told by one of the standard ones, made in the container's /dev before that has
/// its place.
fn can_make(init: &mut Init<'_>) -> Result<bool> {
    if init.plan.maps_users() {
        return Ok(false);
    }
    let Some(dev) = mounts::new_dev(init) else { return Ok(true) };
    let asked = asked(init);
    let mut standard = STANDARD.map(Node::standard).into_iter();
    let Some(node) = standard.find(|node| !asked.iter().any(|other| *other.path() == node.path)) else {
        return Ok(true);
    };
    let name = node.path.file_name().unwrap_or_default();
    match rustix::fs::mknodat(dev, name, node.kind, Mode::from_raw_mode(node.mode), node.device) {
        Err(Errno::PERM) => Ok(false),
        made => {
            made.on("mknod", &node.path)?;
            init.node_made = Some(node.path);
            Ok(true)
        }
    }
}

/// Makes the nodes and links.
pub(super) fn make(init: &mut Init<'_>) -> Result<()> {
    if !wanted(init) {
        return Ok(());
    }
    let Some(root) = &init.task.root else { return Ok(()) };
    let dev = match &init.dev {
        Some(dev) => dev.try_clone().on("dup", "/dev")?,
        None => root.mkdir_all("/dev", 0o755)?,
    };
    for node in nodes(init)?.iter().filter(|node| init.node_made.as_ref() != Some(&node.path)) {
        match init.device_binds.iter().find(|(path, _)| *path == node.path) {
            Some((_, bind)) => bind_node(root, node, bind)?,
            None => make_node(root, &dev, node)?,
        }
    }
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused("symlink", &Path::new("/dev").join(name), errno)),
        }
    }
    Ok(())
}

/// A container that is given a /dev of the host has all it needs there.
fn wanted(init: &Init<'_>) -> bool {
    !init
        .plan
        .mounts
        .iter()
        .any(|mount| mount.target == Path::new("/dev") && matches!(mount.what, What::Bind(_)))
}

/// The standard nodes and those of the spec, which win.
fn nodes(init: &Init<'_>) -> Result<Vec<Node>> {
    let asked: Vec<Node> = asked(init).iter().map(Node::of).collect::<Result<_>>()?;
    let mut nodes: Vec<Node> = STANDARD.map(Node::standard).into();
    nodes.retain(|node| !asked.iter().any(|other| other.path == node.path));
    nodes.extend(asked);
    Ok(nodes)
}

/// The devices of the spec.
fn asked<'a>(init: &Init<'a>) -> &'a [LinuxDevice] {
    let devices = init.create.spec.linux().as_ref().and_then(|linux| linux.devices().as_deref());
    devices.unwrap_or_default()
}

impl Node {
    fn standard((name, major, minor): (&str, u32, u32)) -> Self {
        Self {
            path: Path::new("/dev").join(name),
            kind: FileType::CharacterDevice,
            device: makedev(major, minor),
            mode: 0o666,
            owner: None,
        }
    }

    /// A fifo is everybody's.
    fn needs_privilege(&self) -> bool {
        self.kind != FileType::Fifo
    }

    fn of(device: &LinuxDevice) -> Result<Self> {
        let path = device.path().clone();
        let number = |n: i64| u32::try_from(n).map_err(|_| refused("mknod", &path, Errno::INVAL));
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
            LinuxDeviceType::P => FileType::Fifo,
            LinuxDeviceType::A => return Err(refused("mknod", &path, Errno::INVAL)),
        };
        let owner = Some((device.uid().unwrap_or(0), device.gid().unwrap_or(0)));
        let device_number = makedev(number(device.major())?, number(device.minor())?);
        let mode = device.file_mode().unwrap_or(0o666) & 0o7777;
        Ok(Self { kind, device: device_number, mode, owner, path })
    }
}

fn make_node(root: &Root, dev: &OwnedFd, node: &Node) -> Result<()> {
    // Nearly all lie in /dev itself: no need to look that up again and again.
    match node.path.strip_prefix("/dev") {
        Ok(name) if name.components().count() == 1 => make_node_in(root, dev, name.as_os_str(), node),
        _ => {
            if let Some(parent) = node.path.parent() {
                root.mkdir_all(parent, 0o755)?;
            }
            let (parent, name) = root.parent(&node.path)?;
            make_node_in(root, &parent, &name, node)
        }
    }
}

fn make_node_in(root: &Root, parent: &OwnedFd, name: &OsStr, node: &Node) -> Result<()> {
    let Node { path, kind, device, mode, owner } = node;
    match rustix::fs::mknodat(parent, name, *kind, Mode::from_raw_mode(*mode), *device) {
        Err(Errno::EXIST) => return same_node(root, node),
        made => made.on("mknod", path)?,
    }
    match owner {
        Some((uid, gid)) if (*uid, *gid) != (0, 0) => {
            let (uid, gid) = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).on("chown", path)
        }
        _ => Ok(()),
    }
}

/// What is there already must be what was asked for: an image's own /dev, or a node that is named twice.
fn same_node(root: &Root, node: &Node) -> Result<()> {
    let stat = root.lstat(&node.path)?;
    let same = FileType::from_raw_mode(stat.st_mode) == node.kind && stat.st_rdev == node.device;
    if same { Ok(()) } else { Err(refused("mknod", &node.path, Errno::EXIST)) }
}

fn bind_node(root: &Root, node: &Node, bind: &OwnedFd) -> Result<()> {
    if let Some(parent) = node.path.parent() {
        root.mkdir_all(parent, 0o755)?;
    }
    let place = root.create_file(&node.path, 0o666)?;
    mount::move_to(bind.as_fd(), place.as_fd())
}

/// The limits with what the runtime itself needs and every container is given: to make any node, and to use the
/// standard ones, its terminals and its console. A spec that says nothing of devices allows no other either.
pub(crate) fn allow_standard(mut resources: LinuxResources) -> LinuxResources {
    let rules = resources.devices_mut().get_or_insert_default();
    let allow = |kind, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_typ(Some(kind)).set_major(major).set_minor(minor);
        rule.set_access(Some(access.to_owned()));
        rule
    };
    rules.push(allow(LinuxDeviceType::C, None, None, "m"));
    rules.push(allow(LinuxDeviceType::B, None, None, "m"));
    let extra = [(5, Some(1)), (5, Some(2)), (136, None)];
    let standard = STANDARD.iter().map(|(_, major, minor)| (i64::from(*major), Some(i64::from(*minor))));
    rules.extend(
        standard.chain(extra).map(|(major, minor)| allow(LinuxDeviceType::C, Some(major), minor, "rwm")),
    );
    resources
}
