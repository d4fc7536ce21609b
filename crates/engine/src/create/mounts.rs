//! From what was asked for to mount points: volumes are made, sources are checked.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tokio::runtime::Handle;

use crate::model::{Container, MountKind, MountPoint, VolumeRequest};
use crate::{Engine, Error, Result};

use super::binds;
use crate::volumes::{LOCAL, is_of_plugin, local};

/// Volumes made for a container on its way; removed unless kept.
pub(super) struct NewVolumes<'a> {
    engine: &'a Engine,
    container: String,
    /// The driver of those that name none.
    driver: String,
    names: Vec<String>,
}

impl NewVolumes<'_> {
    /// They stay.
    pub(super) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for NewVolumes<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            self.engine.volumes.let_go(&self.container);
            self.engine.forget_new_volume(name);
        }
        self.engine.volumes.let_go(&self.container);
    }
}

impl Engine {
    /// The mounts of a container on its way, in Docker's order: other containers' first, then `-v`, `--mount`, and
    /// anonymous volumes for what is still free. `shallow`: what is mounted below a read-only one stays writable.
    pub(super) fn resolve_mounts(
        &self,
        container: &Container,
        shallow: bool,
    ) -> Result<(Vec<MountPoint>, NewVolumes<'_>)> {
        let host = &container.host;
        let mut volumes = NewVolumes {
            engine: self,
            container: container.id.clone(),
            driver: host.volume_driver.clone(),
            names: Vec::new(),
        };
        let mut mounts: Vec<MountPoint> = Vec::new();
        for from in host.volumes_from.iter().flatten() {
            let taken = self.mounts_from(from)?;
            mounts.retain(|mount| taken.iter().all(|other| other.destination != mount.destination));
            mounts.extend(taken);
        }
        let inherited = mounts.len();
        let binds = host.binds.iter().flatten().map(|text| binds::bind(text, &host.volume_driver));
        let specs = host.mounts.iter().map(binds::mount);
        for mount in binds.chain(specs) {
            let mut mount = self.settle(mount?, &mut volumes)?;
            if mount.kind == MountKind::Volume && mount.driver == LOCAL && mount.mode.is_empty() {
                // Docker shows those that somebody asked for so.
                mount.mode = "z".into();
            }
            mount.shallow_read_only = shallow;
            let same = |other: &MountPoint| other.destination == mount.destination;
            let has_tmpfs = host.tmpfs.iter().flatten().any(|(path, _)| *path == mount.destination);
            if mounts[inherited.min(mounts.len())..].iter().any(same) || has_tmpfs {
                return Err(Error::invalid(format!("Duplicate mount point: {}", mount.destination)));
            }
            mounts.retain(|other| !same(other));
            mounts.push(mount);
        }
        for (path, _) in host.tmpfs.iter().flatten() {
            binds::destination_path(path)?;
        }
        for path in &container.config.volumes {
            let mount = binds::anonymous(path, &host.volume_driver)?;
            let taken = mounts.iter().any(|other| other.destination == mount.destination)
                || host.tmpfs.iter().flatten().any(|(path, _)| *path == mount.destination);
            if !taken {
                mounts.push(self.settle(mount, &mut volumes)?);
            }
        }
        Ok((mounts, volumes))
    }

    /// The mounts of another container, as `--volumes-from` names it: "X[:ro|rw]".
    fn mounts_from(&self, from: &str) -> Result<Vec<MountPoint>> {
        let (name, writable) = binds::volumes_from(from)?;
        let other = self.container(name).map_err(|error| Error::invalid(error.message))?;
        let mut mounts = other.mounts.clone();
        for mount in &mut mounts {
            mount.rw &= writable;
            mount.copy = false;
        }
        Ok(mounts)
    }

    /// Checks a bind's source, makes a volume.
    fn settle(&self, mut mount: MountPoint, volumes: &mut NewVolumes<'_>) -> Result<MountPoint> {
        match mount.kind {
            MountKind::Bind => {
                require_source(&mount)?;
                self.let_own_mounts_in(&mut mount)?;
            }
            MountKind::Volume => {
                let options = mount.spec.as_ref().and_then(|spec| spec.volume.clone()).unwrap_or_default();
                mount.anonymous = mount.name.is_empty();
                if mount.spec.is_none() && mount.driver.is_empty() {
                    mount.driver.clone_from(&volumes.driver);
                }
                let request = VolumeRequest {
                    name: mount.name.clone(),
                    driver: mount.driver.clone(),
                    labels: Some(options.labels).filter(|labels| !labels.is_empty()),
                    options: Some(options.driver_opts).filter(|options| !options.is_empty()),
                };
                let (volume, is_new) = self.make_volume(request, Some(&volumes.container))?;
                if is_new {
                    volumes.names.push(volume.name.clone());
                }
                mount.source = volume.mountpoint.to_string_lossy().into_owned();
                mount.device = match volume.driver.as_str() {
                    LOCAL => local::device(volume.options.as_ref())?,
                    _ => None,
                };
                mount.driver = volume.driver;
                mount.name = volume.name;
            }
            MountKind::Image => mount.layers = self.images.get(&mount.name)?.chain_ids.to_vec(),
            _ => {}
        }
        Ok(mount)
    }

    /// What is mounted where the daemon keeps its own is not held by a container: it has to go there as well.
    fn let_own_mounts_in(&self, mount: &mut MountPoint) -> Result<()> {
        let root = &self.options.data_root;
        if !is_at(root, Path::new(&mount.source)) {
            return Ok(());
        }
        match binds::wanted_propagation(mount) {
            "" => mount.propagation = "rslave".into(),
            "rslave" | "rshared" => {}
            other => {
                return Err(Error::invalid(format!(
                    "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount \
                     source is within the daemon root, daemon root: {root:?}, bind mount source: {:?}, propagation: \
                     {other:?}",
                    mount.source
                )));
            }
        }
        Ok(())
    }

    /// Copies what the image has at the places of empty volumes into them.
    pub(super) fn fill_new_volumes(&self, container: &Container) -> Result<()> {
        let is_to_fill = |mount: &&MountPoint| mount.kind == MountKind::Volume && mount.copy;
        let mut to_fill = container.mounts.iter().filter(is_to_fill).peekable();
        if to_fill.peek().is_none() {
            return Ok(());
        }
        let image = self.snapshots.view(&container.layers)?;
        to_fill.filter(|mount| has(&image, &mount.destination)).try_for_each(|mount| {
            self.fill_volume(container, mount, &image)
                .map_err(|error| error.within("failed to populate volume"))
        })
    }

    /// One that is a file system, or a plugin's, is mounted for that.
    fn fill_volume(&self, container: &Container, mount: &MountPoint, image: &OwnedFd) -> Result<()> {
        let copy = |to: &Path| {
            // A part that is not there is what the start complains of.
            let Ok(part) = crate::sources::below(to, mount.subpath()) else { return Ok(()) };
            // By its descriptor: who has the volume may put a link into the place of its name.
            let to = format!("/proc/self/fd/{}", part.as_raw_fd());
            let copied = hull_snapshot::copy_up(image.as_fd(), Path::new(&mount.destination), Path::new(&to));
            copied.map(drop).map_err(Error::from)
        };
        if is_of_plugin(mount) {
            let runtime = Handle::current();
            let within =
                |error: Error| error.within(format!("error while mounting volume '{}'", mount.source));
            let mounted = runtime.block_on(self.mount_by_plugin(&mount.name, &container.id));
            let copied = mounted.map_err(within).and_then(|directory| copy(Path::new(&directory)));
            runtime.block_on(self.unmount_volumes(&container.id));
            return copied;
        }
        let shared = self.volumes.devices.share_some(&container.id, std::iter::once(mount))?;
        match (shared.directory(&mount.name), mount.directory()) {
            (Some(mounted), _) => copy(&mounted),
            (None, Some(directory)) => copy(Path::new(directory)),
            (None, None) => Ok(()),
        }
    }
}

/// Whether there may be something at a path of an image: what is not there needs no volume mounted to be copied.
fn has(image: &OwnedFd, path: &str) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let stay = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(image, path, flags, Mode::empty(), stay);
    !matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
}

/// Whether one of both is in the other.
pub(crate) fn is_at(root: &Path, source: &Path) -> bool {
    source.starts_with(root) || root.starts_with(source)
}

/// A `--mount` of something that is not there is a mistake; a `-v` makes it at the start.
pub(super) fn require_source(mount: &MountPoint) -> Result<()> {
    if mount.kind != MountKind::Bind || mount.create_source || Path::new(&mount.source).exists() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        mount.source
    )))
}
