//! File systems that volumes are by their options, each mounted once for all containers that run with it.
//!
//! A file system is made by the first start that needs it, in a mount namespace in which it is all there is
//! ([`hull_sys::mntns`]). Each container gets a copy of the mount; each supervisor holds the namespace, and so does the
//! engine while there are users: a daemon that starts anew finds it at the supervisors. With the last user the file
//! system goes, and what was in memory only is gone, as with Docker.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hull_shim::protocol;
use hull_sys::mntns;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::local;
use crate::error::said;
use crate::model::{Container, Device, MountPoint};
use crate::{Error, Result, sources};

/// The file systems that are mounted, by volume.
#[derive(Default)]
pub(crate) struct Devices {
    by_volume: Mutex<HashMap<String, Mounted>>,
}

/// One of them.
#[derive(Default)]
struct Mounted {
    users: BTreeSet<String>,
    /// Held by whoever mounts it. Empty: nobody has yet.
    namespace: Arc<Mutex<Option<Arc<OwnedFd>>>>,
}

/// What a container has of them; given back unless kept.
pub(crate) struct SharedMounts<'a> {
    devices: &'a Devices,
    container: Option<&'a str>,
    mounts: Vec<SharedMount>,
}

struct SharedMount {
    volume: String,
    target: PathBuf,
    mount: OwnedFd,
    namespace: Arc<OwnedFd>,
}

impl Devices {
    /// All that a container needs, mounted. Blocks, for as long as a server takes.
    pub(crate) fn share<'a>(&'a self, container: &'a Container) -> Result<SharedMounts<'a>> {
        self.share_some(&container.id, container.mounts.iter())
    }

    /// Some mounts of a container.
    pub(crate) fn share_some<'a>(
        &'a self,
        container: &'a str,
        mounts: impl Iterator<Item = &'a MountPoint>,
    ) -> Result<SharedMounts<'a>> {
        let mut shared = SharedMounts { devices: self, container: Some(container), mounts: Vec::new() };
        for mount in mounts {
            let Some(device) = &mount.device else { continue };
            let within =
                |error: Error| error.within(format!("error while mounting volume '{}'", mount.source));
            if device.is_bind() {
                require_directory(mount, device).map_err(within)?;
                continue;
            }
            let namespace = self.mount(mount, device, container).map_err(within)?;
            shared.mounts.push(SharedMount {
                volume: mount.name.clone(),
                target: mount.destination.clone().into(),
                mount: mntns::copy_of(namespace.as_fd(), Path::new(mount.subpath()))
                    .map_err(|error| within(no_part(mount, &error)))?,
                namespace,
            });
        }
        Ok(shared)
    }

    fn mount(&self, mount: &MountPoint, device: &Device, container: &str) -> Result<Arc<OwnedFd>> {
        let place = self.note(&mount.name, container);
        // Held while the kernel asks a server: others wait who want the same.
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let namespace = match &*place {
            Some(namespace) => Arc::clone(namespace),
            None => Arc::new(mntns::alone(new_filesystem(mount, device)?)?),
        };
        *place = Some(Arc::clone(&namespace));
        Ok(namespace)
    }

    /// Notes a user of a volume.
    fn note(&self, volume: &str, container: &str) -> Arc<Mutex<Option<Arc<OwnedFd>>>> {
        let mut all = self.lock();
        let mounted = all.entry(volume.to_owned()).or_default();
        mounted.users.insert(container.to_owned());
        Arc::clone(&mounted.namespace)
    }

    /// A container has ended, or not begun.
    pub(crate) fn release(&self, container: &str) {
        self.lock().retain(|_, mounted| !mounted.users.remove(container) || !mounted.users.is_empty());
    }

    /// A container that runs on has these, as its supervisor says.
    pub(crate) fn adopt(&self, container: &str, state: &protocol::State) {
        for (volume, descriptor) in &state.shared {
            let path = format!("/proc/{}/fd/{descriptor}", state.shim_pid);
            let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let Ok(namespace) = opened else {
                tracing::error!(container, volume, "the mount namespace of the volume is lost");
                continue;
            };
            let place = self.note(volume, container);
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            place.get_or_insert_with(|| Arc::new(namespace));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Mounted>> {
        self.by_volume.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedMounts<'_> {
    /// What the supervisor is told. It opens the paths while this is there.
    pub(crate) fn config(&self) -> Vec<protocol::Shared> {
        let path = |fd: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()).into();
        let shared = |one: &SharedMount| protocol::Shared {
            name: one.volume.clone(),
            target: one.target.clone(),
            mount: path(&one.mount),
            namespace: path(&one.namespace),
        };
        self.mounts.iter().map(shared).collect()
    }

    /// The directory of a volume, as long as this is there.
    pub(crate) fn directory(&self, volume: &str) -> Option<PathBuf> {
        let found = self.mounts.iter().find(|one| one.volume == volume)?;
        Some(format!("/proc/self/fd/{}", found.mount.as_raw_fd()).into())
    }

    /// The container has them from now on.
    pub(crate) fn keep(mut self) {
        self.container = None;
    }
}

impl Drop for SharedMounts<'_> {
    fn drop(&mut self) {
        if let Some(container) = self.container {
            self.devices.release(container);
        }
    }
}

fn new_filesystem(mount: &MountPoint, device: &Device) -> Result<OwnedFd> {
    if device.device.is_empty() {
        return Err(Error::invalid("missing device in volume options"));
    }
    let options = local::mount_options(device)?;
    hull_runtime::new_filesystem(&device.filesystem, &device.device, &options)
        .map_err(|error| failed(mount, device, &options, 0, Errno::from_raw_os_error(error.errno)))
}

/// Why a part of a volume cannot be had, in the words for one that is a directory.
fn no_part(mount: &MountPoint, error: &hull_sys::Error) -> Error {
    sources::no_part(Path::new(&mount.source), mount.subpath(), Errno::from_raw_os_error(error.errno))
}

fn require_directory(mount: &MountPoint, device: &Device) -> Result<()> {
    const MS_BIND: u32 = 0x1000;
    let path = Path::new(&device.device);
    let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    opened.map(drop).map_err(|errno| failed(mount, device, &[], MS_BIND, errno))
}

/// In Docker's words, with no password in them. Another device or other options would do: it is the caller's to mend.
fn failed(mount: &MountPoint, device: &Device, options: &[String], flags: u32, errno: Errno) -> Error {
    let shown = options.iter().map(|option| match option.split_once('=') {
        Some(("password" | "pass", _)) => "password=********".to_owned(),
        _ => option.clone(),
    });
    let data = shown.collect::<Vec<_>>().join(",");
    let flags = if flags == 0 { String::new() } else { format!(", flags: {flags:#x}") };
    let data = if data.is_empty() { data } else { format!(", data: {data}") };
    let why = said(&errno.into());
    let (from, to) = (&device.device, &mount.source);
    Error::invalid(format!("failed to mount local volume: mount {from}:{to}{flags}{data}: {why}"))
}
