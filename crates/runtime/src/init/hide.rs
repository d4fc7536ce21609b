//! Parts of /proc and /sys that a container is not to see, or not to change.

use std::os::fd::{AsFd, OwnedFd};

use hull_sys::mount::{self, Attr, Change};
use hull_sys::root::Root;
use hull_sys::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use super::Init;

/// Covers files with the null device and directories with an empty one. What is not there needs no cover.
pub(super) fn mask(init: &mut Init<'_>) -> Result<()> {
    let Some(root) = &init.task.root else { return Ok(()) };
    let paths = init.create.spec.linux().as_ref().and_then(|linux| linux.masked_paths().as_ref());
    let mut covers = Covers::default();
    for path in paths.into_iter().flatten() {
        let Some(place) = open_existing(root, path)? else { continue };
        let stat = rustix::fs::fstat(&place).on("stat", path)?;
        let cover = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => covers.directory()?,
            _ => covers.file(root)?,
        };
        mount::move_to(cover.as_fd(), place.as_fd())?;
        covers.keep(cover, FileType::from_raw_mode(stat.st_mode));
    }
    Ok(())
}

/// What is laid over masked paths. One mount of each kind is made; the others are copies of it, which the kernel
/// gives only of a mount that has its place.
#[derive(Default)]
struct Covers {
    directory: Option<OwnedFd>,
    file: Option<OwnedFd>,
}

impl Covers {
    fn directory(&self) -> Result<OwnedFd> {
        match &self.directory {
            Some(placed) => mount::open_tree_clone(placed.as_fd(), "", false),
            None => {
                let options = [("source", Some("tmpfs")), ("nr_inodes", Some("1"))];
                let attr = Attr::MOUNT_ATTR_RDONLY
                    | Attr::MOUNT_ATTR_NOSUID
                    | Attr::MOUNT_ATTR_NODEV
                    | Attr::MOUNT_ATTR_NOEXEC;
                mount::new_fs("tmpfs", &options, attr)
            }
        }
    }

    /// The null device of the container's own /dev, made by us a moment ago. That it is one is checked on the
    /// descriptor that is then used (CVE-2025-31133).
    fn file(&self, root: &Root) -> Result<OwnedFd> {
        if let Some(placed) = &self.file {
            return mount::open_tree_clone(placed.as_fd(), "", false);
        }
        let null = root.open_at("/dev/null", OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let stat = rustix::fs::fstat(&null).on("stat", "/dev/null")?;
        let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !device || stat.st_rdev != makedev(1, 3) {
            return Err(crate::plan::refused("mask with", "/dev/null".as_ref(), Errno::NXIO));
        }
        mount::open_tree_clone(null.as_fd(), "", false)
    }

    fn keep(&mut self, cover: OwnedFd, kind: FileType) {
        let kept = if kind == FileType::Directory { &mut self.directory } else { &mut self.file };
        *kept = Some(cover);
    }
}

/// Lays over each path itself, read-only, with all that is mounted below it.
pub(super) fn make_read_only(init: &mut Init<'_>) -> Result<()> {
    let Some(root) = &init.task.root else { return Ok(()) };
    let paths = init.create.spec.linux().as_ref().and_then(|linux| linux.readonly_paths().as_ref());
    let change = Change { set: Attr::MOUNT_ATTR_RDONLY, ..Change::default() };
    for path in paths.into_iter().flatten() {
        let Some(place) = open_existing(root, path)? else { continue };
        let cover = mount::open_tree_clone(place.as_fd(), "", true)?;
        mount::set_attr(cover.as_fd(), &change, true)?;
        mount::move_to(cover.as_fd(), place.as_fd())?;
    }
    Ok(())
}

fn open_existing(root: &Root, path: &str) -> Result<Option<OwnedFd>> {
    match root.open_at(path, OFlags::PATH, Mode::empty()) {
        Err(error) if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) => Ok(None),
        opened => opened.map(Some),
    }
}
