//! Volumes of plugins: asked for, made, mounted for containers, and removed.
//!
//! A mount has an id, which is in the volume's row before the plugin is asked to mount, and goes from there once it was
//! told to unmount. What the rows have of containers that do not run is told at the next opening.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use hull_plugin::{Error as PluginError, Plugins, VolumeDriver, VolumeFacts};
use tokio::runtime::Handle;

use super::LOCAL;
use crate::containers::Entry;
use crate::model::{Container, MountKind, MountPoint, Volume, VolumeRequest};
use crate::{Engine, Error, Kind, Result, identity};

/// What a plugin says of one of its volumes.
enum Seen {
    There(VolumeFacts),
    /// It knows none of that name.
    Absent,
}

/// Plugins with what they say, and the driver's name for messages.
async fn driver(plugins: &Plugins, name: &str) -> Result<VolumeDriver> {
    plugins.volume_driver(name).await.map_err(|error| {
        let kind = if matches!(error, PluginError::NotFound(_)) { Kind::NotFound } else { Kind::System };
        Error::new(kind, format!("error looking up volume plugin {name}: {error}"))
    })
}

/// Asks for one volume. Only a plugin that cannot be reached is an error.
async fn look(plugins: &Plugins, driver_name: &str, name: &str) -> Result<Seen> {
    let within = |error: Error| {
        error.within(format!("error while checking if volume {name:?} exists in driver {driver_name:?}"))
    };
    let driver = driver(plugins, driver_name).await.map_err(within)?;
    match driver.get(name).await {
        Ok(Some(facts)) => Ok(Seen::There(facts)),
        Err(PluginError::Unreachable(why)) => Err(within(Error::system(why))),
        Ok(None) | Err(_) => Ok(Seen::Absent),
    }
}

fn refused(error: PluginError) -> Error {
    Error::system(error.to_string())
}

impl Volume {
    /// The volume with what its plugin says of it.
    fn with(mut self, facts: VolumeFacts) -> Self {
        self.mountpoint = facts.mountpoint.unwrap_or_default().into();
        self.created = facts.created_at;
        self.status = facts.status;
        self
    }
}

impl Engine {
    /// The volume of that name, as its driver knows it.
    pub async fn volume(&self, name: &str) -> Result<Volume> {
        // As in Docker, a name that is none is not shown.
        let shown = if name.is_empty() { String::new() } else { format!(" {name}") };
        let absent = || Error::not_found(format!("get{shown}: no such volume"));
        match self.volumes.get(name) {
            Some(volume) if volume.driver == LOCAL => Ok(volume),
            Some(volume) => {
                let within = |error: Error| Error::system(format!("get {name}: {error}"));
                match look(&self.volumes.plugins, &volume.driver, name).await.map_err(within)? {
                    Seen::There(facts) => Ok(volume.with(facts)),
                    Seen::Absent => {
                        self.purge(name);
                        Err(absent())
                    }
                }
            }
            None => self.look_everywhere(name).await.ok_or_else(absent),
        }
    }

    /// Looks for a volume without a row at every plugin.
    async fn look_everywhere(&self, name: &str) -> Option<Volume> {
        for driver in self.volumes.plugins.volume_drivers().await {
            if let Ok(Some(facts)) = driver.get(name).await {
                let scope = driver.scope().await.name().to_owned();
                let volume = Volume { scope, ..Volume::of(name, driver.name(), VolumeRequest::default()) };
                return Some(volume.with(facts));
            }
        }
        None
    }

    /// Forgets the row of a volume that its plugin does not have, unless a container wants it.
    fn purge(&self, name: &str) {
        if self.volume_users(name).is_empty() && self.store.delete_volume(name).is_ok() {
            self.volumes.lock().remove(name);
        }
    }

    /// Every volume, by name, and what kept drivers from telling theirs.
    pub async fn volumes(&self) -> (Vec<Volume>, Vec<String>) {
        let mut all: BTreeMap<String, Volume> =
            self.recorded_volumes().into_iter().map(|volume| (volume.name.clone(), volume)).collect();
        let mut warnings = Vec::new();
        let drivers = self.volumes.plugins.volume_drivers().await;
        for driver in &drivers {
            match driver.list().await {
                Ok(listed) => take_over(&mut all, driver, listed).await,
                Err(why) => warnings.push(format!("list {}: {why}", driver.name())),
            }
        }
        let known: HashSet<&str> = drivers.iter().map(VolumeDriver::name).chain([LOCAL]).collect();
        let gone: HashSet<&str> =
            all.values().map(|volume| volume.driver.as_str()).filter(|name| !known.contains(name)).collect();
        warnings.extend(gone.iter().map(|name| format!("list {name}: the plugin does not answer")));
        (all.into_values().collect(), warnings)
    }

    /// The volume that `name` means already, for one who wants it from `driver` (empty: from any). Blocks.
    pub(super) fn known_volume(&self, name: &str, driver_name: &str) -> Result<Option<Volume>> {
        let Some(volume) = self.volumes.get(name) else {
            let anywhere =
                driver_name.is_empty().then(|| Handle::current().block_on(self.look_everywhere(name)));
            return anywhere.flatten().map(|volume| self.record_volume(volume)).transpose();
        };
        let other = &volume.driver;
        let differs = !driver_name.is_empty() && driver_name != other;
        if differs && driver_name != LOCAL {
            Handle::current().block_on(driver(&self.volumes.plugins, driver_name))?;
        }
        let unique = |why: String| Error::conflict(format!("{why}: volume name must be unique"));
        if other != LOCAL {
            let seen = Handle::current().block_on(look(&self.volumes.plugins, other, name));
            let seen = seen.map_err(|error| {
                unique(format!(
                    "found reference to volume '{name}' in driver '{other}', but got an error while checking the \
                     driver: {error}"
                ))
            })?;
            if matches!(seen, Seen::Absent) {
                if !self.volume_users(name).is_empty() {
                    return Err(unique(format!(
                        "found references to volume '{name}' in driver '{other}' but the volume was not found in the \
                         driver -- you may need to remove containers referencing this volume or force remove the volume \
                         to re-create it"
                    )));
                }
                self.purge(name);
                return Ok(None);
            }
        }
        match differs {
            true => Err(unique(format!("driver '{other}' already has volume '{name}'"))),
            false => Ok(Some(volume)),
        }
    }

    fn record_volume(&self, volume: Volume) -> Result<Volume> {
        self.store.put_volume(&volume)?;
        self.volumes.lock().insert(volume.name.clone(), volume.clone());
        Ok(volume)
    }

    /// Blocks.
    pub(super) fn make_by_plugin(
        &self,
        name: &str,
        request: VolumeRequest,
        unclaimed: bool,
    ) -> Result<Volume> {
        let runtime = Handle::current();
        let driver = runtime.block_on(driver(&self.volumes.plugins, &request.driver))?;
        let scope = runtime.block_on(driver.scope()).name().to_owned();
        let options = request.options.clone().unwrap_or_default();
        let volume = Volume { scope, unclaimed, ..Volume::of(name, driver.name(), request) };
        // Recorded first: what a crash leaves at the plugin has a name here.
        self.record_volume(volume.clone())?;
        let made = runtime.block_on(async {
            match driver.get(name).await {
                Ok(Some(facts)) => Ok(Some(facts)),
                _ => driver.create(name, &options).await.map(|()| None),
            }
        });
        match made {
            Ok(Some(facts)) => Ok(volume.with(facts)),
            // Where it will be is told when it is mounted.
            Ok(None) => Ok(volume),
            Err(error) => {
                self.volumes.lock().remove(name);
                self.store.delete_volume(name)?;
                Err(refused(error))
            }
        }
    }

    /// Blocks. With `force` the row goes whatever the plugin says.
    pub(super) fn remove_by_plugin(&self, volume: &Volume, force: bool) -> Result<()> {
        let removed = Handle::current().block_on(async {
            let driver = driver(&self.volumes.plugins, &volume.driver).await?;
            driver.remove(&volume.name).await.map_err(refused)
        });
        match removed {
            Err(error) if !force => Err(error),
            _ => self.store.delete_volume(&volume.name),
        }
    }

    /// Has the plugins mount what a container is about to run with, and notes where that is.
    pub(crate) async fn mount_volumes(&self, entry: &Entry) -> Result<()> {
        let container = entry.now();
        for mount in container.mounts.iter().filter(|mount| is_of_plugin(mount)) {
            let source = self
                .mount_by_plugin(&mount.name, &entry.id)
                .await
                .map_err(|error| error.within(format!("error while mounting volume '{}'", mount.source)))?;
            self.change(entry, |container| {
                let found = container.mounts.iter_mut().find(|one| one.destination == mount.destination);
                if let Some(found) = found {
                    found.source = source;
                }
            })?;
        }
        Ok(())
    }

    /// Where the plugin has mounted a volume for `container`.
    pub(crate) async fn mount_by_plugin(&self, name: &str, container: &str) -> Result<String> {
        let driver_name = self
            .volumes
            .get(name)
            .map(|volume| volume.driver)
            .ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))?;
        let driver = driver(&self.volumes.plugins, &driver_name).await?;
        let id = identity::fresh()?;
        self.change_volume(name, |volume| drop(volume.mounts.insert(id.clone(), container.to_owned())))?;
        match driver.mount(name, &id).await {
            Ok(mountpoint) => Ok(mountpoint),
            Err(error) => {
                self.change_volume(name, |volume| drop(volume.mounts.remove(&id)))?;
                Err(refused(error))
            }
        }
    }

    /// Has the plugins unmount what was mounted for a container. Who cannot be told now is told at the next opening.
    pub(crate) async fn unmount_volumes(&self, container: &str) {
        let ids_of = |volume: &Volume| -> Vec<String> {
            let ours = volume.mounts.iter().filter(|(_, user)| *user == container);
            ours.map(|(id, _)| id.clone()).collect()
        };
        let all: Vec<_> = self.volumes.lock().values().filter(|v| !v.mounts.is_empty()).cloned().collect();
        for volume in all {
            for id in ids_of(&volume) {
                if let Err(error) = self.unmount_by_plugin(&volume, &id).await {
                    tracing::warn!(volume = volume.name, container, "unmount: {error}");
                }
            }
        }
    }

    async fn unmount_by_plugin(&self, volume: &Volume, id: &str) -> Result<()> {
        let driver = driver(&self.volumes.plugins, &volume.driver).await?;
        match driver.unmount(&volume.name, id).await {
            Err(error @ PluginError::Unreachable(_)) => Err(refused(error)),
            // What it refuses once, it refuses for ever.
            answered => {
                self.change_volume(&volume.name, |volume| drop(volume.mounts.remove(id)))?;
                answered.map_err(refused)
            }
        }
    }

    /// Unmounts what rows have of containers that do not run, and removes what was made for containers that did not come
    /// to be. Plugins that do not answer keep nobody waiting.
    pub(crate) fn unmount_strays(self: &Arc<Self>, live: &HashSet<String>) {
        let volumes = self.volumes.lock();
        let users: HashSet<String> =
            volumes.values().flat_map(|volume| volume.mounts.values()).cloned().collect();
        for container in users.into_iter().filter(|user| !live.contains(user)) {
            let engine = Arc::clone(self);
            tokio::spawn(async move { engine.unmount_volumes(&container).await });
        }
        let unclaimed = volumes.values().filter(|volume| volume.unclaimed && volume.driver != LOCAL);
        for volume in unclaimed.cloned().collect::<Vec<_>>() {
            let engine = Arc::clone(self);
            // One that cannot be removed now is listed, and removed by whoever does not want it.
            tokio::spawn(async move { drop(engine.drop_volume(&volume, None, false).await) });
        }
    }

    fn change_volume(&self, name: &str, change: impl FnOnce(&mut Volume)) -> Result<()> {
        let mut volumes = self.volumes.lock();
        let Some(volume) = volumes.get_mut(name) else { return Ok(()) };
        let mut next = volume.clone();
        change(&mut next);
        self.store.put_volume(&next)?;
        *volume = next;
        Ok(())
    }

    /// Tells that volumes are mounted in a container, or not any more.
    pub(crate) fn emit_mounts(&self, container: &Container, action: &str) {
        for mount in container.mounts.iter().filter(|mount| mount.kind == MountKind::Volume) {
            let Some(volume) = self.volumes.get(&mount.name) else { continue };
            let mut facts = vec![("container".to_owned(), container.id.clone())];
            if action == "mount" {
                facts.push(("destination".to_owned(), mount.destination.clone()));
                facts.push(("read/write".to_owned(), mount.rw.to_string()));
                facts.push(("propagation".to_owned(), mount.propagation.clone()));
            }
            self.emit_volume(&volume, action, facts);
        }
    }
}

/// Whether the volume is a plugin's.
pub(crate) fn is_of_plugin(mount: &MountPoint) -> bool {
    mount.kind == MountKind::Volume && !matches!(mount.driver.as_str(), "" | LOCAL)
}

/// Adds what a plugin has listed to what the rows know of it: labels and options are the rows'.
async fn take_over(all: &mut BTreeMap<String, Volume>, driver: &VolumeDriver, listed: Vec<VolumeFacts>) {
    let scope = driver.scope().await.name().to_owned();
    let names: HashSet<&str> = listed.iter().map(|facts| facts.name.as_str()).collect();
    all.retain(|name, volume| volume.driver != driver.name() || names.contains(name.as_str()));
    for facts in listed {
        let name = facts.name.clone();
        match all.get_mut(&name) {
            Some(volume) if volume.driver != driver.name() => {
                tracing::warn!(name, driver = driver.name(), "another driver has a volume of that name");
            }
            Some(volume) => volume.mountpoint = PathBuf::from(facts.mountpoint.unwrap_or_default()),
            None => {
                let volume = Volume {
                    scope: scope.clone(),
                    ..Volume::of(&name, driver.name(), VolumeRequest::default())
                };
                all.insert(name, volume.with(VolumeFacts { status: None, ..facts }));
            }
        }
    }
}
