//! The files of a container that does not run, with everything that is mounted there when it does.
//!
//! A mount namespace of its own, in which nothing runs, holds them together for as long as somebody looks. A mount
//! whose place the container's files do not have is made when something is to be written, as Docker does; somebody
//! who only reads changes nothing, and finds that mount's files at their source.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_sys::mount::{self, Change};
use hull_sys::root::Root;
use hull_sys::{Context, mntns};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::model::Container;
use crate::{Error, Result};

/// A file or directory of the host at its place in the container.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub(super) source: PathBuf,
    /// The part of a volume that is mounted; no link in it leads out of the volume.
    subpath: Option<PathBuf>,
    pub(super) destination: PathBuf,
    read_only: bool,
}

/// What is seen.
pub(super) struct View {
    pub(super) root: OwnedFd,
    pub(super) namespace: OwnedFd,
    /// Those whose places are not there.
    pub(super) missing: Vec<Inner>,
}

/// What is mounted into a container's files from the host, outer ones first.
pub(super) fn inner_mounts(container: &Container) -> Vec<Inner> {
    let own = [
        ("/etc/resolv.conf", &container.resolv_conf_path),
        ("/etc/hostname", &container.hostname_path),
        ("/etc/hosts", &container.hosts_path),
    ];
    let own = own.into_iter().map(|(destination, source)| Inner {
        source: source.clone(),
        subpath: None,
        destination: destination.into(),
        read_only: container.host.readonly_rootfs,
    });
    let asked = container.mounts.iter().filter_map(|mount| {
        let volume = mount.spec.as_ref().and_then(|spec| spec.volume.as_ref());
        let subpath = volume.map(|volume| volume.subpath.as_str()).filter(|subpath| !subpath.is_empty());
        Some(Inner {
            source: mount.directory()?.into(),
            subpath: subpath.map(PathBuf::from),
            destination: mount.destination.clone().into(),
            read_only: !mount.rw,
        })
    });
    // One that has not been started yet has no files of its own, and a tmpfs has no source.
    let mut all: Vec<_> = own.chain(asked).filter(|inner| inner.source.exists()).collect();
    all.sort_by_key(|inner| inner.destination.components().count());
    all
}

impl Inner {
    /// A copy of what is to be mounted.
    fn tree(&self) -> hull_sys::Result<OwnedFd> {
        let Some(subpath) = &self.subpath else { return mount::open_tree_clone(CWD, &self.source, true) };
        let part = Root::open(&self.source)?.open_at(subpath, OFlags::PATH, Mode::empty())?;
        mount::open_tree_clone(part.as_fd(), "", true)
    }

    /// The directory that has the files of `path` in the container, and the path there.
    pub(super) fn elsewhere(&self, path: &Path) -> hull_sys::Result<(OwnedFd, PathBuf)> {
        let rest = path.strip_prefix(&self.destination).unwrap_or(path);
        if let Some(subpath) = &self.subpath {
            return Ok((Root::open(&self.source)?.open_dir(subpath)?, Path::new("/").join(rest)));
        }
        let root = Path::new("/");
        let (dir, path) = match self.source.is_dir() {
            true => (self.source.as_path(), root.join(rest)),
            false => {
                let name = self.source.file_name().unwrap_or_default();
                (self.source.parent().unwrap_or(root), root.join(name).join(rest))
            }
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((rustix::fs::open(dir, flags, Mode::empty()).on("open", dir)?, path))
    }
}

impl View {
    /// Blocks.
    pub(super) fn open(mounts: &hull_snapshot::Mounts, inner: &[Inner], write: bool) -> Result<Self> {
        let (namespace, made) = mntns::create(|| assemble(mounts, inner, write))?;
        let (root, missing) = made?;
        Ok(Self { root, namespace, missing })
    }
}

fn assemble(mounts: &hull_snapshot::Mounts, inner: &[Inner], write: bool) -> Result<(OwnedFd, Vec<Inner>)> {
    // Before the host's files are covered.
    let sources = inner.iter().map(Inner::tree).collect::<hull_sys::Result<Vec<_>>>()?;
    let root = if write { mounts.mount()? } else { mounts.mount_readonly()? };
    mount::move_to_path(root.as_fd(), "/")?;
    let below = Root::from(root.try_clone().op("dup")?);
    let mut missing = Vec::new();
    for (inner, source) in inner.iter().zip(sources) {
        match place_for(&below, inner, write) {
            Ok(place) => {
                if inner.read_only {
                    let change = Change { set: mount::Attr::MOUNT_ATTR_RDONLY, ..Change::default() };
                    mount::set_attr(source.as_fd(), &change, true)?;
                }
                mount::move_to(source.as_fd(), place.as_fd())?;
            }
            Err(why) if why.is(Errno::NOENT) || why.is(Errno::NOTDIR) => missing.push(inner.clone()),
            Err(why) => return Err(Error::from(why)),
        }
    }
    Ok((root, missing))
}

/// Opens the place of a mount, and makes it if it is not there and may be made.
fn place_for(below: &Root, inner: &Inner, make: bool) -> hull_sys::Result<OwnedFd> {
    let open = || below.open_at(&inner.destination, OFlags::PATH, Mode::empty());
    match open() {
        Err(why) if make && why.is(Errno::NOENT) => {
            let parent = inner.destination.parent().unwrap_or(Path::new("/"));
            below.mkdir_all(parent, 0o755)?;
            let kind = inner.source.metadata().on("stat", &inner.source)?;
            match FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&kind)) {
                FileType::Directory => below.mkdir(&inner.destination, 0o755)?,
                _ => below.create_file(&inner.destination, 0o644).map(drop)?,
            }
            open()
        }
        opened => opened,
    }
}
