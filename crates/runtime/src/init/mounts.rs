//! The mounts of the spec, in two passes: made while the host's paths are there, placed when they are gone.
//!
//! In between, a mount is a descriptor and nothing else. So no path of the container is ever looked up in a tree
//! that the host's files are part of: a symbolic link in an image, or one that another container swaps in while we
//! look, ends inside the container or nowhere (CVE-2021-30465, CVE-2025-31133).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use hull_sys::mount::{self, Attr, Change, Propagation};
use hull_sys::root::Root;
use hull_sys::{Context, Error, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Init, copy_up, devices, rootfs};
use crate::create::Rootfs;
use crate::options::{Bind, Options};
use crate::plan::{MountPlan, What, refused};
use crate::sources::{self, Source};

/// `PROC_SUPER_MAGIC` of linux/magic.h.
const PROC_SUPER_MAGIC: i32 = 0x9fa0;

/// How many symbolic links one path may have, as in the kernel.
const LINKS_MAX: usize = 40;

/// A mount that waits for its place.
#[derive(Debug)]
pub(crate) struct Prepared {
    target: PathBuf,
    /// Whether the place must be an ordinary directory.
    strict: bool,
    file: bool,
    mount: OwnedFd,
    /// Whether it becomes read-only only after it is filled.
    read_only_later: bool,
    is_proc: bool,
    /// What a new file system takes over of its place.
    takes_over: TakeOver,
}

/// What a new file system takes over of the directory that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakeOver {
    Nothing,
    /// Its permissions.
    Mode,
    /// Its permissions and all that is in it.
    Content,
}

/// Makes every mount, in no place yet.
pub(super) fn prepare(init: &mut Init<'_>) -> Result<()> {
    let mut outside = std::mem::take(&mut init.made_outside).into_iter();
    for plan in &init.plan.mounts {
        let what = plan.target.clone();
        let prepared = match (&plan.what, outside.next().flatten()) {
            (_, Some(made)) => vec![made],
            (What::Bind(source), None) => vec![bind(plan, source, None)?],
            (What::Filesystem { fstype, source }, None) => vec![filesystem(plan, fstype, source)?],
            (What::Cgroup, None) => cgroup(init, plan)?,
            (What::Remount, None) => Vec::new(),
        };
        for one in &prepared {
            if one.is_proc && init.task.procfs.is_none() {
                init.task.procfs = Some(one.mount.try_clone().on("dup", &what)?);
            }
        }
        init.mounts.push(prepared);
    }
    devices::prepare(init)
}

/// Takes host files from this process's own copy of the host's mounts, where it can, instead of what the caller has made:
/// in the copy the kernel has locked that a mount is read-only, or without devices, and the root of a user namespace cannot
/// undo that (mount_namespaces(7)). Called while the process still has the caller's ids, before which more is open.
pub(crate) fn prefer_locked(init: &mut Init<'_>) {
    if let (Some(root), Rootfs::Directory(path)) = (&mut init.root_mount, &init.create.rootfs)
        && let Ok(own) = rootfs::clone_directory(path)
    {
        *root = own;
    }
    for (plan, made) in init.plan.mounts.iter().zip(&mut init.made_outside) {
        let (Some(made), What::Bind(source), None) = (made, &plan.what, &plan.idmap) else { continue };
        if init.create.sources.contains_key(&plan.target) {
            continue;
        }
        if let Ok(own) = bind(plan, source, None) {
            *made = own;
        }
    }
}

/// A directory or file of the host, with the ids that the user namespace `users` maps its own to.
pub(crate) fn bind(plan: &MountPlan, source: &Path, users: Option<&OwnedFd>) -> Result<Prepared> {
    let tree = plan.options.bind == Some(Bind::Tree);
    let mount = mount::open_tree_clone(CWD, source, tree)
        .map_err(|e| refused("bind", source, Errno::from_raw_os_error(e.errno)))?;
    adapt(plan, mount, source, users)
}

/// The same of what no path of the host names.
pub(crate) fn from_source(plan: &MountPlan, source: &Source, users: Option<&OwnedFd>) -> Result<Prepared> {
    let tree = plan.options.bind == Some(Bind::Tree);
    adapt(plan, sources::open(source, tree)?, &plan.target, users)
}

/// Gives a copy of host files the options of its mount.
fn adapt(plan: &MountPlan, mount: OwnedFd, source: &Path, users: Option<&OwnedFd>) -> Result<Prepared> {
    let stat = rustix::fs::fstat(&mount).on("stat", source)?;
    if let (Some(users), Some(idmap)) = (users, &plan.idmap) {
        mount::set_idmap(mount.as_fd(), users.as_fd(), idmap.recursive)
            .map_err(|e| refused("idmap", source, Errno::from_raw_os_error(e.errno)))?;
    }
    set_options(&mount, &plan.options)?;
    let file = FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
    let is_proc = !file && is_procfs(&mount)?;
    Ok(Prepared { file, is_proc, ..Prepared::new(plan, mount) })
}

/// A file system that the caller has made, with the options of this mount.
pub(crate) fn given(plan: &MountPlan, made: &OwnedFd) -> Result<Prepared> {
    let mount = made.try_clone().on("dup", &plan.target)?;
    set_options(&mount, &plan.options)?;
    // A part of it may be one.
    let stat = rustix::fs::fstat(&mount).on("stat", &plan.target)?;
    let file = FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
    Ok(Prepared { file, ..Prepared::new(plan, mount) })
}

/// Sets what the options of a bind mount ask for, and leaves the rest as it is at the source.
fn set_options(mount: &OwnedFd, options: &Options) -> Result<()> {
    set_attributes(mount, options)?;
    // Without a word, mounts on the host are seen in the container, but not the other way.
    let (propagation, deep) = options.propagation.unwrap_or((Propagation::Slave, true));
    mount::set_attr(mount.as_fd(), &Change { propagation: Some(propagation), ..Change::default() }, deep)
}

fn set_attributes(mount: &OwnedFd, options: &Options) -> Result<()> {
    if !options.attr.is_empty() {
        mount::set_attr(mount.as_fd(), &options.attr, false)?;
    }
    if !options.recursive.is_empty() {
        mount::set_attr(mount.as_fd(), &options.recursive, true)?;
    }
    Ok(())
}

/// A file system that is to be mounted more than once, detached. `options` are the words of mount(8).
///
/// # Errors
/// A word that is known and cannot be had (`EINVAL`), and all that the kernel refuses.
pub fn new_filesystem(fstype: &str, source: &str, options: &[String]) -> Result<OwnedFd> {
    let options = Options::parse(options).map_err(|word| Error::new("mount option", word, Errno::INVAL))?;
    let mut data: Vec<(&str, Option<&str>)> = vec![("source", Some(source))];
    data.extend(options.data.iter().map(|(key, value)| (key.as_str(), value.as_deref())));
    mount::new_fs(fstype, &data, options.attr.set | options.recursive.set)
}

/// A file system made for the container.
fn filesystem(plan: &MountPlan, fstype: &str, source: &str) -> Result<Prepared> {
    let mut options: Vec<(&str, Option<&str>)> = vec![("source", Some(source))];
    options.extend(plan.options.data.iter().map(|(key, value)| (key.as_str(), value.as_deref())));
    let mut attr = plan.options.attr.set | plan.options.recursive.set;
    // What is placed in it, or made in it, needs it writable until then.
    let read_only_later = fstype == "tmpfs" && plan.options.read_only();
    attr.set(Attr::MOUNT_ATTR_RDONLY, plan.options.read_only() && !read_only_later);
    let mount = mount::new_fs(fstype, &options, attr)?;
    if let Some((propagation, deep)) = plan.options.propagation {
        let change = Change { propagation: Some(propagation), ..Change::default() };
        mount::set_attr(mount.as_fd(), &change, deep)?;
    }
    let has_mode = plan.options.data.iter().any(|(key, _)| key == "mode");
    let takes_over = match fstype {
        "tmpfs" if plan.options.copy_up => TakeOver::Content,
        "tmpfs" if !has_mode => TakeOver::Mode,
        _ => TakeOver::Nothing,
    };
    Ok(Prepared { read_only_later, takes_over, is_proc: fstype == "proc", ..Prepared::new(plan, mount) })
}

/// The container's own cgroup, in the shape that this host has: one directory of version 2, or one for each
/// hierarchy of version 1. Nothing beside or above it is shown, whatever the cgroup namespace is (CVE-2023-25809).
fn cgroup(init: &Init<'_>, plan: &MountPlan) -> Result<Vec<Prepared>> {
    let Some(cgroup) = init.cgroup else {
        // An ordinary user's container may have none, and then sees none.
        let attr = plan.options.attr.set | Attr::MOUNT_ATTR_RDONLY;
        return Ok(vec![Prepared::new(plan, mount::new_fs("tmpfs", &[("source", Some("tmpfs"))], attr)?)]);
    };
    let directories = cgroup.directories();
    if let [(controllers, directory)] = directories.as_slice()
        && controllers.is_empty()
    {
        return Ok(vec![Prepared::new(plan, cgroup_directory(plan, directory)?)]);
    }
    let attr = plan.options.attr.set.difference(Attr::MOUNT_ATTR_RDONLY);
    let tmpfs = mount::new_fs("tmpfs", &[("source", Some("tmpfs")), ("mode", Some("755"))], attr)?;
    let mut all = Vec::with_capacity(1 + directories.len());
    for (controllers, directory) in &directories {
        let name = hierarchy_name(directory, cgroup.path());
        let target = plan.target.join(&name);
        rustix::fs::mkdirat(&tmpfs, &name, Mode::from_raw_mode(0o755)).on("mkdir", &target)?;
        // Each controller of a hierarchy with several has a link of its name.
        for link in controllers.iter().filter(|link| controllers.len() > 1 && name != link.as_str()) {
            rustix::fs::symlinkat(&name, &tmpfs, link).on("symlink", plan.target.join(link))?;
        }
        all.push(Prepared { target, ..Prepared::new(plan, cgroup_directory(plan, directory)?) });
    }
    let read_only_later = plan.options.read_only();
    all.insert(0, Prepared { read_only_later, ..Prepared::new(plan, tmpfs) });
    Ok(all)
}

fn cgroup_directory(plan: &MountPlan, directory: &Path) -> Result<OwnedFd> {
    let mount = mount::open_tree_clone(CWD, directory, false)?;
    let set = plan.options.attr.set | plan.options.recursive.set;
    let change = Change { set, propagation: Some(Propagation::Private), ..Change::default() };
    mount::set_attr(mount.as_fd(), &change, false)?;
    Ok(mount)
}

/// The name of the directory that a hierarchy is mounted on: what is left without the cgroup's own path.
fn hierarchy_name(directory: &Path, cgroup: &str) -> OsString {
    let depth = Path::new(cgroup).components().filter(|part| matches!(part, Component::Normal(_))).count();
    directory.ancestors().nth(depth).and_then(Path::file_name).unwrap_or(OsStr::new("unified")).to_owned()
}

impl Prepared {
    fn new(plan: &MountPlan, mount: OwnedFd) -> Self {
        Self {
            target: plan.target.clone(),
            strict: plan.is_kernel(),
            file: false,
            mount,
            read_only_later: false,
            is_proc: false,
            takes_over: TakeOver::Nothing,
        }
    }
}

/// The file system that becomes /dev, if one is made for that.
pub(super) fn new_dev<'a>(init: &'a Init<'_>) -> Option<BorrowedFd<'a>> {
    let mut all = init.plan.mounts.iter().zip(&init.mounts);
    let is_dev =
        |plan: &MountPlan| plan.target == Path::new("/dev") && matches!(plan.what, What::Filesystem { .. });
    all.find(|(plan, _)| is_dev(plan)).and_then(|(_, made)| made.first()).map(|made| made.mount.as_fd())
}

/// Puts every mount into its place, in order.
pub(super) fn place(init: &mut Init<'_>) -> Result<()> {
    let Some(root) = init.task.root.take() else { return Ok(()) };
    for (plan, prepared) in init.plan.mounts.iter().zip(std::mem::take(&mut init.mounts)) {
        if matches!(plan.what, What::Remount) {
            remount(&root, plan)?;
        }
        prepared.into_iter().try_for_each(|prepared| place_one(init, &root, prepared))?;
    }
    init.task.root = Some(root);
    Ok(())
}

fn place_one(init: &mut Init<'_>, root: &Root, prepared: Prepared) -> Result<()> {
    let place = find_place(root, &prepared)?;
    guard_procfs(&place, &prepared)?;
    take_over(&place, &prepared)?;
    mount::move_to(prepared.mount.as_fd(), place.as_fd())
        .map_err(|e| refused("mount on", &prepared.target, why_not(&prepared, &place, e.errno)))?;
    if prepared.target == Path::new("/dev") {
        init.dev = Some(prepared.mount.try_clone().on("dup", "/dev")?);
    }
    if prepared.read_only_later {
        init.read_only_later.push(prepared.mount);
    }
    Ok(())
}

/// A file goes on files and a directory on directories; the kernel says no more than that the call was wrong.
fn why_not(prepared: &Prepared, place: &OwnedFd, errno: i32) -> Errno {
    let is_file = rustix::fs::fstat(place)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory);
    if is_file == prepared.file { Errno::from_raw_os_error(errno) } else { Errno::NOTDIR }
}

/// Changes the attributes of what is mounted already.
fn remount(root: &Root, plan: &MountPlan) -> Result<()> {
    let named = |e: hull_sys::Error| refused("remount", &plan.target, Errno::from_raw_os_error(e.errno));
    let place = look_up(root, &plan.target, false).on("open", &plan.target)?;
    set_attributes(&place, &plan.options).map_err(named)?;
    let Some((propagation, deep)) = plan.options.propagation else { return Ok(()) };
    let change = Change { propagation: Some(propagation), ..Change::default() };
    mount::set_attr(place.as_fd(), &change, deep).map_err(named)
}

fn take_over(place: &OwnedFd, prepared: &Prepared) -> Result<()> {
    if prepared.takes_over == TakeOver::Nothing {
        return Ok(());
    }
    let stat = rustix::fs::fstat(place).on("stat", &prepared.target)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    rustix::fs::chmodat(&prepared.mount, ".", mode, AtFlags::empty()).on("chmod", &prepared.target)?;
    if prepared.takes_over == TakeOver::Content {
        copy_up::copy(place, &prepared.mount)
            .map_err(|e| Error::new("copy up", prepared.target.join(&e.object).to_string_lossy(), e.errno))?;
    }
    Ok(())
}

/// The place of a mount, made if it is missing.
fn find_place(root: &Root, prepared: &Prepared) -> Result<OwnedFd> {
    let target = &prepared.target;
    match look_up(root, target, prepared.strict) {
        Err(Errno::NOENT) if make_last(root, prepared).is_ok() => {
            look_up(root, target, prepared.strict).on("open", target)
        }
        Err(Errno::NOENT) => {
            let made = make_place(root, prepared)?;
            look_up(root, &made, true).on("open", target)
        }
        Err(Errno::LOOP) if prepared.strict => Err(refused("mount on a symbolic link", target, Errno::LOOP)),
        found => found.on("open", target),
    }
}

fn look_up(root: &Root, path: &Path, strict: bool) -> rustix::io::Result<OwnedFd> {
    let links = if strict { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::NO_MAGICLINKS };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), links | ResolveFlags::IN_ROOT)
}

/// The usual case: only the last name is missing, and there is nothing by that name.
fn make_last(root: &Root, prepared: &Prepared) -> rustix::io::Result<()> {
    let (Some(parent), Some(name)) = (prepared.target.parent(), prepared.target.file_name()) else {
        return Err(Errno::INVAL);
    };
    let parent = look_up(root, parent, prepared.strict)?;
    if prepared.file {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        return rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop);
    }
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
}

/// Makes a directory, or an empty file to mount a file on. Links that lead to nothing (an image's
/// `/etc/resolv.conf` often does) are followed: what they name is made. Its path, which has no links.
fn make_place(root: &Root, prepared: &Prepared) -> Result<PathBuf> {
    let path = without_links(root, &prepared.target)?;
    if !prepared.file {
        root.mkdir_all(&path, 0o755)?;
        return Ok(path);
    }
    if let Some(parent) = path.parent() {
        root.mkdir_all(parent, 0o755)?;
    }
    match root.create_file(&path, 0o644) {
        Err(error) if error.is(Errno::EXIST) => Ok(path),
        made => made.map(|_| path),
    }
}

/// `path` with all its symbolic links resolved, though the end of it, or of a link, does not exist. What changes
/// meanwhile can make this wrong, but never lead out: the result is used below the root only.
fn without_links(root: &Root, path: &Path) -> Result<PathBuf> {
    let mut found = PathBuf::from("/");
    let mut links = 0;
    let mut rest: VecDeque<OsString> = names(path);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            found.pop();
            continue;
        }
        found.push(&name);
        let is_link = match root.lstat(&found) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Symlink,
            Err(error) if error.is(Errno::NOENT) => false,
            Err(error) => return Err(error),
        };
        if is_link {
            links += 1;
            if links > LINKS_MAX {
                return Err(refused("resolve", path, Errno::LOOP));
            }
            let target = root.read_link(&found)?;
            found.pop();
            if target.is_absolute() {
                found = PathBuf::from("/");
            }
            names(&target).into_iter().rev().for_each(|name| rest.push_front(name));
        }
    }
    Ok(found)
}

/// The names of a path, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// What programs that emulate `/proc` files for containers may cover there.
const PROC_FILES: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// Refuses to cover parts of /proc: what we write there, and what is masked there, must be the kernel's.
fn guard_procfs(place: &OwnedFd, prepared: &Prepared) -> Result<()> {
    if prepared.is_proc || !is_procfs(place)? {
        return Ok(());
    }
    let allowed = prepared
        .target
        .strip_prefix("/proc")
        .is_ok_and(|name| PROC_FILES.iter().any(|file| name == Path::new(file)));
    if allowed { Ok(()) } else { Err(refused("mount inside of proc on", &prepared.target, Errno::PERM)) }
}

fn is_procfs(fd: &OwnedFd) -> Result<bool> {
    Ok(mount::fs_magic(fd)? == PROC_SUPER_MAGIC)
}
