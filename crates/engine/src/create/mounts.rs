//! From what was asked for to mount points: volumes are made, sources are checked.

use std::path::Path;

use crate::model::{Container, MountKind, MountPoint, VolumeRequest};
use crate::{Engine, Error, Result};

use super::binds;

/// Volumes made for a container on its way; removed unless kept.
pub(super) struct NewVolumes<'a> {
    engine: &'a Engine,
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
            self.engine.forget_new_volume(name);
        }
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
        let mut volumes = NewVolumes { engine: self, names: Vec::new() };
        let host = &container.host;
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
            // They are the other container's, also when it is removed.
            mount.anonymous = false;
        }
        Ok(mounts)
    }

    /// Checks a bind's source, makes a volume.
    fn settle(&self, mut mount: MountPoint, volumes: &mut NewVolumes<'_>) -> Result<MountPoint> {
        match mount.kind {
            MountKind::Bind => require_source(&mount)?,
            MountKind::Volume => {
                let options = mount.spec.as_ref().and_then(|spec| spec.volume.clone()).unwrap_or_default();
                mount.anonymous = mount.name.is_empty();
                let request = VolumeRequest {
                    name: mount.name.clone(),
                    driver: mount.driver.clone(),
                    labels: Some(options.labels).filter(|labels| !labels.is_empty()),
                    options: Some(options.driver_opts).filter(|options| !options.is_empty()),
                };
                let (volume, is_new) = self.make_volume(request, true)?;
                if is_new {
                    volumes.names.push(volume.name.clone());
                }
                if !mount.anonymous && mount.mode.is_empty() {
                    // Docker shows named volumes so.
                    mount.mode = "z".into();
                }
                mount.source = volume.mountpoint.to_string_lossy().into_owned();
                mount.device = crate::volumes::device(volume.options.as_ref())?;
                mount.driver = volume.driver;
                mount.name = volume.name;
            }
            MountKind::Image => mount.layers = self.images.get(&mount.name)?.chain_ids.to_vec(),
            _ => {}
        }
        Ok(mount)
    }

    /// Copies what the image has at the places of empty volumes into them.
    pub(super) fn fill_new_volumes(&self, container: &Container) -> Result<()> {
        let is_to_fill = |mount: &&MountPoint| mount.kind == MountKind::Volume && mount.copy;
        let mut to_fill = container.mounts.iter().filter(is_to_fill).peekable();
        if to_fill.peek().is_none() {
            return Ok(());
        }
        let image = self.snapshots.view(&container.layers)?;
        for mount in to_fill {
            use std::os::fd::{AsFd, AsRawFd};
            // What is elsewhere has its own content.
            let Some(directory) = mount.directory() else { continue };
            let part = crate::sources::below(Path::new(directory), mount.subpath());
            // A part that is not there is what the start complains of.
            let Ok(part) = part else { continue };
            // By its descriptor: who has the volume may put a link into the place of its name.
            let directory = format!("/proc/self/fd/{}", part.as_raw_fd());
            hull_snapshot::copy_up(image.as_fd(), Path::new(&mount.destination), Path::new(&directory))?;
        }
        Ok(())
    }
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
