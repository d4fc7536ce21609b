//! Mounts by file descriptor: the mount interface of Linux 5.2 and later.
//!
//! A mount made here belongs to no mount table until [`move_to`] attaches it, and it vanishes with its last
//! descriptor. That is what keeps the host's mount table empty and leaves nothing behind after a crash.
//! Sources: fsopen(2), fsconfig(2), fsmount(2), move_mount(2), open_tree(2), mount_setattr(2), pivot_root(2).

use std::ffi::c_int;
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{self as linux, FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

pub use rustix::mount::MountAttrFlags as Attr;

use crate::{Context, Error, Result};

/// The longest value that fsconfig(2) accepts for a string option, in bytes.
const VALUE_MAX: usize = 255;

/// The writable half of an overlay.
#[derive(Debug, Clone, Copy)]
pub struct Writable<'a> {
    /// Where changes go.
    pub upper: &'a Path,
    /// The overlay's own directory, on the file system of `upper`.
    pub work: &'a Path,
    /// Nothing waits for the disk: not fsync(2), not syncfs(2), not the unmount. For trees that nobody needs after a
    /// crash of the machine. The kernel leaves a mark in `work`, with which it refuses the next mount.
    pub volatile: bool,
}

/// An overlay file system, detached: `lower` with the top layer first, and optionally where changes go (without
/// that the mount is read-only).
///
/// Layers are handed over one by one (`lowerdir+`, Linux 6.7). Older kernels take a single string of at
/// most 255 bytes; there the layers are named by the numbers of their descriptors, which is enough for
/// some eighty of them. That way the working directory is changed for a moment: call it from a process
/// with one thread where such kernels matter.
pub fn overlay(lower: &[PathBuf], writable: Option<Writable<'_>>) -> Result<OwnedFd> {
    if lower.is_empty() {
        return Err(Error::new("overlay", "no lower layer", Errno::INVAL));
    }
    match overlay_by_layer(lower, writable) {
        Err(error) if error.is(Errno::INVAL) => overlay_by_string(lower, writable),
        made => made,
    }
}

fn overlay_by_layer(lower: &[PathBuf], writable: Option<Writable<'_>>) -> Result<OwnedFd> {
    let fs = Filesystem::open("overlay")?;
    // Descriptors that stand in for overlong paths; they live until the file system exists.
    let mut held = Vec::new();
    for layer in lower {
        fs.set_path("lowerdir+", layer, &mut held)?;
    }
    if let Some(writable) = writable {
        fs.set_path("upperdir", writable.upper, &mut held)?;
        fs.set_path("workdir", writable.work, &mut held)?;
    }
    overlay_mount(&fs, writable, &lower[0])
}

fn overlay_by_string(lower: &[PathBuf], writable: Option<Writable<'_>>) -> Result<OwnedFd> {
    let open = |path: &Path| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .on("open", path)
    };
    let layers = lower.iter().map(|layer| open(layer)).collect::<Result<Vec<_>>>()?;
    let mut names = String::new();
    for layer in &layers {
        let separator = if names.is_empty() { "" } else { ":" };
        write!(names, "{separator}{}", layer.as_raw_fd()).map_err(|_| Errno::NOMEM).op("overlay")?;
    }
    if names.len() > VALUE_MAX {
        let object = format!("{} layers are too many for this kernel", lower.len());
        return Err(Error::new("overlay", object, Errno::TOOBIG));
    }
    let fs = Filesystem::open("overlay")?;
    fs.set("lowerdir", &names)?;
    let pair = writable.map(|to| Ok::<_, Error>((open(to.upper)?, open(to.work)?))).transpose()?;
    if let Some((upper, work)) = &pair {
        fs.set("upperdir", &upper.as_raw_fd().to_string())?;
        fs.set("workdir", &work.as_raw_fd().to_string())?;
    }
    let _there = WorkingDirectory::change("/proc/self/fd")?;
    overlay_mount(&fs, writable, &lower[0])
}

fn overlay_mount(fs: &Filesystem, writable: Option<Writable<'_>>, top: &Path) -> Result<OwnedFd> {
    // Redirects and metadata-only copies are extended attributes that an image could bring along;
    // following them would let one layer name files of another.
    fs.set("redirect_dir", "nofollow")?;
    fs.set("metacopy", "off")?;
    // An index would tie the upper directory to these very lower ones by their inodes.
    fs.set("index", "off")?;
    if writable.is_some_and(|writable| writable.volatile) {
        fs.flag("volatile")?;
    }
    let attr = if writable.is_none() { Attr::MOUNT_ATTR_RDONLY } else { Attr::empty() };
    fs.create().map_err(|e| Error::new("mount overlay", top.to_string_lossy(), e.errno))?;
    fs.mount(attr)
}

/// A file system of any type, detached. An option without a value is a flag; a value longer than 255 bytes
/// is refused by the kernel. `source` is an option like any other.
pub fn new_fs(fstype: &str, options: &[(&str, Option<&str>)], attr: Attr) -> Result<OwnedFd> {
    let fs = Filesystem::open(fstype)?;
    for (key, value) in options {
        match value {
            Some(value) => fs.set(key, value)?,
            None => fs.flag(key)?,
        }
    }
    fs.create()?;
    fs.mount(attr)
}

/// A file system between fsopen(2) and fsmount(2).
struct Filesystem {
    fstype: String,
    context: OwnedFd,
}

impl Filesystem {
    fn open(fstype: &str) -> Result<Self> {
        let context = linux::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).on("fsopen", fstype)?;
        Ok(Self { fstype: fstype.to_owned(), context })
    }

    fn flag(&self, key: &str) -> Result<()> {
        linux::fsconfig_set_flag(&self.context, key).on("fsconfig", format!("{} {key}", self.fstype))
    }

    fn set(&self, key: &str, value: &str) -> Result<()> {
        self.set_bytes(key, value.as_bytes())
    }

    fn set_bytes(&self, key: &str, value: &[u8]) -> Result<()> {
        linux::fsconfig_set_string(&self.context, key, value)
            .map_err(|errno| self.refused(key, &String::from_utf8_lossy(value), errno))
    }

    /// Sets a path, by way of a descriptor where it is too long for the interface.
    fn set_path(&self, key: &str, path: &Path, held: &mut Vec<OwnedFd>) -> Result<()> {
        if path.as_os_str().len() <= VALUE_MAX {
            return self.set_bytes(key, path.as_os_str().as_bytes());
        }
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("open", path)?;
        self.set(key, &format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        held.push(fd);
        Ok(())
    }

    fn refused(&self, key: &str, value: &str, errno: Errno) -> Error {
        Error::new("fsconfig", format!("{} {key}={value}", self.fstype), errno)
    }

    fn create(&self) -> Result<()> {
        linux::fsconfig_create(&self.context).on("mount", &self.fstype)
    }

    fn mount(&self, attr: Attr) -> Result<OwnedFd> {
        linux::fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, attr).on("fsmount", &self.fstype)
    }
}

/// The working directory, changed until this is dropped.
struct WorkingDirectory(OwnedFd);

impl WorkingDirectory {
    fn change(to: &str) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let back = rustix::fs::open(".", flags, Mode::empty()).on("open", ".")?;
        rustix::process::chdir(to).on("chdir", to)?;
        Ok(Self(back))
    }
}

impl Drop for WorkingDirectory {
    fn drop(&mut self) {
        // The directory was the working directory a moment ago; there is nobody to tell if it is not any more.
        let _ = rustix::process::fchdir(&self.0);
    }
}

/// A detached copy of the mount at `path` (relative to `dir`), with everything below it if `recursive`.
/// A symbolic link at the end is followed; an empty path means `dir` itself.
pub fn open_tree_clone(dir: BorrowedFd<'_>, path: impl AsRef<Path>, recursive: bool) -> Result<OwnedFd> {
    let path = path.as_ref();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    linux::open_tree(dir, path, flags).on("open_tree", path)
}

/// Attaches a detached mount at the place that `target` is (a directory, or a file for a mount of a file).
pub fn move_to(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    linux::move_mount(mount, "", target, "", flags).op("move_mount")
}

/// Attaches a detached mount at a path of the caller's own mount namespace. Links are not followed at its end.
pub fn move_to_path(mount: BorrowedFd<'_>, target: impl AsRef<Path>) -> Result<()> {
    let target = target.as_ref();
    linux::move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .on("move_mount", target)
}

/// How mounts and unmounts travel between a mount and its copies; mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither sent nor received.
    Private,
    /// Received, not sent.
    Slave,
    /// Sent and received.
    Shared,
    /// Private, and not to be bind mounted.
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// A change of a mount's attributes; mount_setattr(2). Empty at first.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// Attributes to set.
    pub set: Attr,
    /// Attributes to clear. A change of an access-time mode clears `MOUNT_ATTR__ATIME`.
    pub clear: Attr,
    /// The new propagation type, if it is to change.
    pub propagation: Option<Propagation>,
}

impl Default for Change {
    fn default() -> Self {
        Self { set: Attr::empty(), clear: Attr::empty(), propagation: None }
    }
}

impl Change {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.clear.is_empty() && self.propagation.is_none()
    }
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes a mount (and all below it, if `recursive`). Linux 5.12.
pub fn set_attr(mount: BorrowedFd<'_>, change: &Change, recursive: bool) -> Result<()> {
    let attr = MountAttr {
        attr_set: change.set.bits().into(),
        attr_clr: change.clear.bits().into(),
        propagation: change.propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    };
    mount_setattr(mount, &attr, recursive)
}

/// Shows the files of a detached mount with the ids that user namespace `userns` maps them to.
pub fn set_idmap(mount: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let attr = MountAttr {
        attr_set: Attr::MOUNT_ATTR_IDMAP.bits().into(),
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(userns.as_raw_fd()).unwrap_or_default(),
    };
    mount_setattr(mount, &attr, recursive)
}

fn mount_setattr(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> Result<()> {
    let mut flags = AtFlags::EMPTY_PATH.bits();
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    // SAFETY: the path is a static empty C string and `attr` is a live `struct mount_attr` whose size is
    // passed with it; the kernel only reads both. The descriptor outlives the call by its borrow.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).op("mount_setattr") }
}

/// Sets the propagation of a mount by its path in the caller's mount namespace.
pub fn set_propagation(path: impl AsRef<Path>, propagation: Propagation, recursive: bool) -> Result<()> {
    use rustix::mount::MountPropagationFlags as Flags;
    let mut flags = match propagation {
        Propagation::Private => Flags::PRIVATE,
        Propagation::Slave => Flags::DOWNSTREAM,
        Propagation::Shared => Flags::SHARED,
        Propagation::Unbindable => Flags::UNBINDABLE,
    };
    flags.set(Flags::REC, recursive);
    let path = path.as_ref();
    linux::mount_change(path, flags).on("mount", path)
}

/// Makes `root` the root directory of the mount namespace and lets go of everything that was outside of it:
/// afterwards no path, however crafted, names anything of the old tree. `root` must be the root of a mount.
///
/// Uses `pivot_root(".", ".")`, which stacks the old root on the new one, and unmounts what is on top.
pub fn pivot_root(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root).op("fchdir")?;
    rustix::process::pivot_root(".", ".").op("pivot_root")?;
    linux::unmount(".", UnmountFlags::DETACH).on("umount", "old root")?;
    rustix::process::chdir("/").on("chdir", "/")
}

/// Unmounts lazily; links are not followed at the end of `path`.
pub fn detach(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    linux::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).on("umount", path)
}

/// The type of the file system that `fd` is on, as in statfs(2) (`PROC_SUPER_MAGIC`, …).
pub fn fs_magic(fd: impl AsFd) -> Result<c_int> {
    // The magic numbers of linux/magic.h are 32 bits wide; some appear sign-extended.
    rustix::fs::fstatfs(fd).map(|stat| stat.f_type as c_int).op("fstatfs")
}
