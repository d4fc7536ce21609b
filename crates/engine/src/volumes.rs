//! Volumes: directories that outlive containers.
//!
//! A volume is `volumes/<name>/_data` below the data root, and a row in the store. It is made by a request or by
//! the first container that names it, filled from the image by the first container that mounts it empty, and
//! removed only when no container, running or not, has it. A directory whose row was lost is adopted at the
//! next opening: data is never dropped for a lack of bookkeeping.
//!
//! A volume with options (`type`, `device`, `o`) is that file system. It is mounted in each container that has the
//! volume, not on the host: so one in memory is each container's own, and two that run at once may not have it.
//!
//! The row comes before the directory. A volume that goes is first renamed to `volumes/.removing-<name>`, which no
//! volume can be called: what a crash has left under such a name is no volume any more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hull_sys::Context;
use jiff::Timestamp;

use crate::engine::private_directory;
use crate::events::EventKind;
use crate::measure::bytes_below;
use crate::model::{Container, Device, MountKind, MountPoint, Pruned, Volume, VolumeRequest};
use crate::store::Store;
use crate::{Engine, Error, Result, identity};

/// What begins the name of the directory of a volume that is being removed.
const REMOVING: &str = ".removing-";

/// Every volume, by name.
pub(crate) struct Volumes {
    root: PathBuf,
    by_name: Mutex<BTreeMap<String, Volume>>,
}

impl Volumes {
    /// Reads the rows; finishes the removals that were cut, drops volumes of containers that did not come to be, and
    /// adopts directories without a row. `containers` are all there are.
    pub(crate) fn load(store: &Store, root: &Path, containers: &[Container]) -> Result<Self> {
        for entry in fs::read_dir(root).on("open", root)?.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if let Some(name) = name.strip_prefix(REMOVING) {
                store.delete_volume(name)?;
                fs::remove_dir_all(entry.path()).on("remove", entry.path())?;
            }
        }
        let mut by_name = BTreeMap::new();
        for volume in store.volumes()? {
            if volume.unclaimed && !containers.iter().any(|container| mounts(container, &volume.name)) {
                discard(store, root, &volume.name)?;
                continue;
            }
            private_directory(&root.join(&volume.name))?;
            make_data(&volume.mountpoint)?;
            by_name.insert(volume.name.clone(), volume);
        }
        for entry in fs::read_dir(root).on("open", root)?.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !by_name.contains_key(&name) && entry.path().join("_data").is_dir() {
                let volume = Volume::new(&name, root, VolumeRequest::default());
                store.put_volume(&volume)?;
                by_name.insert(name, volume);
            }
        }
        Ok(Self { root: root.to_owned(), by_name: Mutex::new(by_name) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Volume>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &str) -> Option<Volume> {
        self.lock().get(name).cloned()
    }
}

impl Volume {
    fn new(name: &str, root: &Path, request: VolumeRequest) -> Self {
        Self {
            name: name.to_owned(),
            driver: "local".into(),
            mountpoint: root.join(name).join("_data"),
            created: Timestamp::now(),
            labels: request.labels,
            options: request.options,
            anonymous: request.name.is_empty(),
            unclaimed: false,
        }
    }
}

/// Whether a container mounts the volume of that name.
fn mounts(container: &Container, name: &str) -> bool {
    container.mounts.iter().any(|mount| mount.kind == MountKind::Volume && mount.name == name)
}

/// Removes a volume's directory and row so that a crash at any point leaves the whole volume or none.
fn discard(store: &Store, root: &Path, name: &str) -> Result<()> {
    let (directory, removing) = (root.join(name), root.join(format!("{REMOVING}{name}")));
    match fs::rename(&directory, &removing) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        renamed => renamed.on("rename", &directory)?,
    }
    store.delete_volume(name)?;
    match fs::remove_dir_all(&removing) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => Ok(removed.on("remove", &removing)?),
    }
}

fn check_name(name: &str) -> Result<()> {
    let mut letters = name.bytes();
    let well_begun = letters.next().is_some_and(|letter| letter.is_ascii_alphanumeric());
    if name.len() == 1 {
        return Err(Error::invalid(format!(
            "volume name is too short, names should be at least two alphanumeric characters: \"{name}\""
        )));
    }
    if well_begun && letters.all(|letter| letter.is_ascii_alphanumeric() || b"_.-".contains(&letter)) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

impl Engine {
    /// Makes a volume, or returns the one of that name.
    pub async fn volume_create(&self, request: VolumeRequest) -> Result<Volume> {
        self.make_volume(request, false).map(|(volume, _)| volume)
    }

    /// The same; also whether it is new. One for a container that is being made is `unclaimed` until
    /// [`Engine::record_created`].
    pub(crate) fn make_volume(&self, request: VolumeRequest, unclaimed: bool) -> Result<(Volume, bool)> {
        check_driver(&request)?;
        let name = match request.name.as_str() {
            "" => identity::fresh()?,
            name => {
                check_name(name)?;
                name.to_owned()
            }
        };
        let mut volumes = self.volumes.lock();
        if let Some(volume) = volumes.get(&name) {
            return Ok((volume.clone(), false));
        }
        let volume = Volume { unclaimed, ..Volume::new(&name, &self.volumes.root, request) };
        self.store.put_volume(&volume)?;
        private_directory(&self.volumes.root.join(&name))?;
        make_data(&volume.mountpoint)?;
        volumes.insert(name, volume.clone());
        drop(volumes);
        self.emit_volume(&volume, "create");
        Ok((volume, true))
    }

    /// Writes the record of a new container, which from now on has the volumes that were made for it.
    pub(crate) fn record_created(&self, container: &Container) -> Result<()> {
        let mut volumes = self.volumes.lock();
        let made = volumes.values_mut().filter(|volume| volume.unclaimed && mounts(container, &volume.name));
        let mut claimed: Vec<_> = made.collect();
        if claimed.is_empty() {
            return self.store.put_container(container);
        }
        let rows: Vec<_> =
            claimed.iter().map(|volume| Volume { unclaimed: false, ..Volume::clone(volume) }).collect();
        self.store.put_with_volumes(container, &rows)?;
        claimed.iter_mut().for_each(|volume| volume.unclaimed = false);
        Ok(())
    }

    /// Refuses a start beside another container that has the same volume in memory: they would not share it.
    pub(crate) fn check_memory_volumes(&self, container: &Container) -> Result<()> {
        let in_memory = |mount: &&MountPoint| mount.device.as_ref().is_some_and(Device::is_memory);
        for mount in container.mounts.iter().filter(in_memory) {
            let other = self.containers().into_iter().find(|other| {
                other.id != container.id && other.state.status.is_running() && mounts(other, &mount.name)
            });
            if let Some(other) = other {
                return Err(Error::conflict(format!(
                    "volume {} is in memory and container {} has it: sharing it is not supported yet",
                    mount.name, other.name
                )));
            }
        }
        Ok(())
    }

    /// Tells that the volumes of a container are in use, or not any more.
    pub(crate) fn emit_mounts(&self, container: &Container, action: &str) {
        for mount in container.mounts.iter().filter(|mount| mount.kind == MountKind::Volume) {
            let mut attributes = BTreeMap::from([
                ("driver".to_owned(), mount.driver.clone()),
                ("container".to_owned(), container.id.clone()),
            ]);
            if action == "mount" {
                attributes.insert("destination".to_owned(), mount.destination.clone());
                attributes.insert("read/write".to_owned(), mount.rw.to_string());
                attributes.insert("propagation".to_owned(), mount.propagation.clone());
            }
            self.events.emit(EventKind::Volume, action, &mount.name, attributes);
        }
    }

    fn emit_volume(&self, volume: &Volume, action: &str) {
        let attributes = [("driver".to_owned(), volume.driver.clone())];
        self.events.emit(EventKind::Volume, action, &volume.name, attributes.into());
    }

    /// Every volume, by name.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        Ok(self.volumes.lock().values().cloned().collect())
    }

    /// The volume of that name.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        self.volumes.get(name).ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
    }

    /// Ids of the containers that use a volume.
    pub fn volume_users(&self, name: &str) -> Vec<String> {
        let containers = self.containers();
        let users = containers.iter().filter(|container| mounts(container, name));
        users.map(|container| container.id.clone()).collect()
    }

    /// Removes a volume that no container uses; with `force` it is no error if there is none.
    pub async fn volume_remove(self: &Arc<Self>, name: &str, force: bool) -> Result<()> {
        let volume = match self.volumes.get(name) {
            None if force => return Ok(()),
            None => return Err(Error::not_found(format!("get {name}: no such volume"))),
            Some(volume) => volume,
        };
        let users = self.volume_users(name);
        if !users.is_empty() {
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        self.drop_volume(&volume).await
    }

    async fn drop_volume(self: &Arc<Self>, volume: &Volume) -> Result<()> {
        let (engine, name) = (Arc::clone(self), volume.name.clone());
        tokio::task::spawn_blocking(move || discard(&engine.store, &engine.volumes.root, &name)).await??;
        self.volumes.lock().remove(&volume.name);
        self.emit_volume(volume, "destroy");
        Ok(())
    }

    /// Undoes [`Engine::make_volume`] for a container that did not come to be.
    pub(crate) fn forget_new_volume(&self, name: &str) {
        if self.volume_users(name).is_empty() && self.volumes.lock().remove(name).is_some() {
            // What cannot be undone is an empty volume that `docker volume rm` removes.
            let _ = discard(&self.store, &self.volumes.root, name);
        }
    }

    /// Removes anonymous volumes that only the container `id` used.
    pub(crate) async fn remove_anonymous_volumes(self: &Arc<Self>, id: &str, names: &[String]) -> Result<()> {
        for name in names {
            let others = self.volume_users(name).into_iter().any(|user| user != id);
            if let (false, Some(volume)) = (others, self.volumes.get(name)) {
                self.drop_volume(&volume).await?;
            }
        }
        Ok(())
    }

    /// Removes the unused volumes that `select` wants: without `all`, only anonymous ones.
    pub async fn volumes_prune(
        self: &Arc<Self>,
        all: bool,
        select: impl Fn(&Volume) -> bool + Send,
    ) -> Result<Pruned> {
        let wanted: Vec<_> = self
            .volumes()?
            .into_iter()
            .filter(|volume| (all || volume.anonymous) && select(volume))
            .collect();
        let mut pruned = Pruned::default();
        for volume in wanted {
            if self.volume_users(&volume.name).is_empty() {
                let size = bytes_below(volume.mountpoint.clone()).await?;
                self.drop_volume(&volume).await?;
                pruned.space_reclaimed += size;
                pruned.removed.push(volume.name);
            }
        }
        let attributes = [("reclaimed".to_owned(), pruned.space_reclaimed.to_string())];
        self.events.emit(EventKind::Volume, "prune", "", attributes.into());
        Ok(pruned)
    }
}

fn check_driver(request: &VolumeRequest) -> Result<()> {
    if !matches!(request.driver.as_str(), "" | "local") {
        return Err(Error::not_found(format!(
            "create {}: error looking up volume plugin {}: plugin \"{}\" not found",
            request.name, request.driver, request.driver
        )));
    }
    device(request.options.as_ref())
        .map(drop)
        .map_err(|error| error.within(format!("create {}", request.name)))
}

/// What the options of a local volume mount.
pub(crate) fn device(options: Option<&BTreeMap<String, String>>) -> Result<Option<Device>> {
    let Some(options) = options.filter(|options| !options.is_empty()) else { return Ok(None) };
    if let Some(name) = options.keys().find(|name| !["type", "device", "o", "size"].contains(&name.as_str()))
    {
        return Err(Error::invalid(format!("invalid option: \"{name}\"")));
    }
    if options.contains_key("size") {
        return Err(Error::invalid("quota size requested but no quota support"));
    }
    let required = |name: &str| {
        let value = options.get(name).filter(|value| !value.is_empty());
        value.cloned().ok_or_else(|| Error::invalid(format!("missing required option: \"{name}\"")))
    };
    let words = options.get("o").map(String::as_str).unwrap_or_default().split(',');
    let options = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Ok(Some(Device { filesystem: required("type")?, device: required("device")?, options }))
}

/// The data directory. Its owner is set by the first container's image.
fn make_data(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.on("mkdir", path)?,
    }
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755)).on("chmod", path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_the_local_driver() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            device(Some(&pairs.collect())).map_err(|error| error.message)
        };
        assert_eq!(read(&[]), Ok(None));
        let bind = read(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]).unwrap().unwrap();
        assert!(bind.is_bind() && !bind.is_memory());
        assert_eq!(bind.options, ["bind", "ro"]);
        let memory = read(&[("type", "tmpfs"), ("device", "tmpfs")]).unwrap().unwrap();
        assert!(memory.is_memory());
        assert_eq!(read(&[("frob", "1")]), Err("invalid option: \"frob\"".to_owned()));
        assert_eq!(read(&[("o", "bind")]), Err("missing required option: \"type\"".to_owned()));
        assert_eq!(read(&[("type", "none")]), Err("missing required option: \"device\"".to_owned()));
    }
}
