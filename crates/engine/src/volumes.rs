//! Volumes: directories and file systems that outlive containers.
//!
//! A volume is a row in the store, and what its driver keeps for it. It is made by a request or by the first container
//! that names it, filled from the image by the first container that mounts it empty, and removed only when no
//! container, running or not, has it.
//!
//! - The driver *local* (`local`) keeps `volumes/<name>/_data` below the data root. A directory whose row was lost is
//!   adopted at the next opening: data is never dropped for a lack of bookkeeping. A volume with options (`type`,
//!   `device`, `o`) is that file system, which its running containers share and the host never sees: `devices`.
//! - Every other driver is a plugin: `drivers`. It knows best which volumes there are; a row whose volume it has not
//!   goes. What it has mounted for a container is in the row before it is asked to, and until it was told to unmount.
//!
//! The row comes before the directory, or the plugin's volume. A volume that goes is first renamed to
//! `volumes/.removing-<name>`, which no volume can be called: what a crash has left under such a name is no volume any
//! more. Whoever makes or removes a volume holds its *gate*; a container that is being made *holds* its volumes.

pub(crate) mod devices;
mod drivers;
pub(crate) mod local;
mod prune;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool};

pub(crate) use drivers::is_of_plugin;
use hull_plugin::Plugins;
use hull_sys::Context;
use jiff::Timestamp;

use crate::engine::private_directory;
use crate::events::EventKind;
use crate::model::{Container, MountKind, Volume, VolumeRequest};
use crate::store::Store;
use crate::{Engine, Error, Result, identity};

/// What Docker marks volumes with that nobody has named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// The name of the driver that is ours.
pub(crate) const LOCAL: &str = "local";

/// Every volume, by name.
pub(crate) struct Volumes {
    root: PathBuf,
    by_name: Mutex<BTreeMap<String, Volume>>,
    /// Volumes of containers that are being made: name and container.
    holds: Mutex<Vec<(String, String)>>,
    gates: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    pruning: AtomicBool,
    pub(crate) devices: devices::Devices,
    pub(crate) plugins: Plugins,
}

impl Volumes {
    /// Reads the rows; finishes the removals that were cut, drops volumes of containers that did not come to be, and
    /// adopts directories without a row. `containers` are all there are.
    pub(crate) fn load(
        store: &Store,
        root: &Path,
        containers: &[Container],
        plugins: Plugins,
    ) -> Result<Self> {
        local::finish_removals(store, root)?;
        let used: std::collections::HashSet<&str> = containers.iter().flat_map(volume_names).collect();
        let mut by_name = BTreeMap::new();
        for volume in store.volumes()? {
            let is_local = volume.driver == LOCAL;
            if is_local && volume.unclaimed && !used.contains(volume.name.as_str()) {
                local::discard(store, root, &volume.name)?;
                continue;
            }
            if is_local {
                private_directory(&root.join(&volume.name))?;
                local::make_data(&volume.mountpoint)?;
                // A crash may have come before.
                let size = local::size(volume.options.as_ref()).ok().flatten();
                if let Ok(Some((quotas, size))) = local::quotas(root, size) {
                    quotas.bound(std::slice::from_ref(&volume.mountpoint), size)?;
                }
            }
            by_name.insert(volume.name.clone(), volume);
        }
        for entry in fs::read_dir(root).on("open", root)?.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !by_name.contains_key(&name) && entry.path().join("_data").is_dir() {
                let volume = Volume::local(&name, root, VolumeRequest::default());
                store.put_volume(&volume)?;
                by_name.insert(name, volume);
            }
        }
        Ok(Self {
            root: root.to_owned(),
            by_name: Mutex::new(by_name),
            holds: Mutex::default(),
            gates: Mutex::default(),
            pruning: AtomicBool::new(false),
            devices: devices::Devices::default(),
            plugins,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Volume>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &str) -> Option<Volume> {
        self.lock().get(name).cloned()
    }

    /// Taken by whoever makes or removes the volume of that name.
    fn gate(&self, name: &str) -> Arc<Mutex<()>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        Arc::clone(gates.entry(name.to_owned()).or_default())
    }

    /// Volumes that a container on its way has.
    fn held(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container has come to be, or not.
    pub(crate) fn let_go(&self, container: &str) {
        self.held().retain(|(_, holder)| holder != container);
    }
}

impl Volume {
    fn local(name: &str, root: &Path, request: VolumeRequest) -> Self {
        Self { mountpoint: root.join(name).join("_data"), ..Self::of(name, LOCAL, request) }
    }

    /// A row without a place.
    fn of(name: &str, driver: &str, request: VolumeRequest) -> Self {
        Self {
            name: name.to_owned(),
            driver: driver.to_owned(),
            mountpoint: PathBuf::new(),
            created: Some(Timestamp::now()),
            labels: request.labels,
            options: request.options,
            scope: LOCAL.to_owned(),
            unclaimed: false,
            mounts: BTreeMap::new(),
            status: None,
        }
    }

    /// Whether it was made without a name.
    fn is_anonymous(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS))
    }
}

/// The names of the volumes that a container mounts.
fn volume_names(container: &Container) -> impl Iterator<Item = &str> {
    let volumes = container.mounts.iter().filter(|mount| mount.kind == MountKind::Volume);
    volumes.map(|mount| mount.name.as_str())
}

/// Whether a container mounts the volume of that name.
fn mounts(container: &Container, name: &str) -> bool {
    volume_names(container).any(|other| other == name)
}

impl Engine {
    /// Makes a volume, or returns the one of that name.
    pub async fn volume_create(self: &Arc<Self>, request: VolumeRequest) -> Result<Volume> {
        let engine = Arc::clone(self);
        // A plugin may take its time.
        tokio::task::spawn_blocking(move || engine.make_volume(request, None))
            .await?
            .map(|(volume, _)| volume)
    }

    /// The same; also whether it is new. One for a container that is being made is `unclaimed` until
    /// [`Engine::record_created`], and held for it until [`Volumes::let_go`]. Blocks.
    pub(crate) fn make_volume(
        &self,
        mut request: VolumeRequest,
        container: Option<&str>,
    ) -> Result<(Volume, bool)> {
        let name = match std::mem::take(&mut request.name) {
            name if name.is_empty() => {
                request.labels.get_or_insert_default().insert(ANONYMOUS.to_owned(), String::new());
                if request.driver.is_empty() {
                    request.driver = LOCAL.to_owned();
                }
                identity::fresh()?
            }
            name => name,
        };
        let gate = self.volumes.gate(&name);
        let _held = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |error: Error| error.within(format!("create {name}"));
        let known = match self.known_volume(&name, &request.driver).map_err(within)? {
            Some(volume) => (volume, false),
            None => {
                let unclaimed = container.is_some();
                let volume = match request.driver.as_str() {
                    "" | LOCAL => self.make_local(&name, request, unclaimed),
                    _ => self.make_by_plugin(&name, request, unclaimed),
                };
                let volume = volume.map_err(within)?;
                self.emit_volume(&volume, "create", []);
                (volume, true)
            }
        };
        if let Some(container) = container {
            self.volumes.held().push((name, container.to_owned()));
        }
        Ok(known)
    }

    fn make_local(&self, name: &str, request: VolumeRequest, unclaimed: bool) -> Result<Volume> {
        local::check_name(name)?;
        local::device(request.options.as_ref())?;
        let bounds = local::quotas(&self.volumes.root, local::size(request.options.as_ref())?)?;
        let volume = Volume { unclaimed, ..Volume::local(name, &self.volumes.root, request) };
        self.store.put_volume(&volume)?;
        private_directory(&self.volumes.root.join(name))?;
        local::make_data(&volume.mountpoint)?;
        if let Some((quotas, size)) = bounds {
            quotas.bound(std::slice::from_ref(&volume.mountpoint), size)?;
        }
        self.volumes.lock().insert(name.to_owned(), volume.clone());
        Ok(volume)
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

    /// Tells that `action` happened to a volume.
    pub(crate) fn emit_volume(
        &self,
        volume: &Volume,
        action: &str,
        more: impl IntoIterator<Item = (String, String)>,
    ) {
        let mut attributes = BTreeMap::from([("driver".to_owned(), volume.driver.clone())]);
        attributes.extend(more);
        self.events.emit(EventKind::Volume, action, &volume.name, attributes);
    }

    /// The names of the drivers that have volumes here.
    pub fn volume_drivers(&self) -> Vec<String> {
        let mut names = self.volumes.plugins.active_volume_drivers();
        names.push(LOCAL.to_owned());
        names.sort();
        names
    }

    /// Every volume that has a row, by name; without asking plugins.
    pub fn recorded_volumes(&self) -> Vec<Volume> {
        self.volumes.lock().values().cloned().collect()
    }

    /// Ids of the containers that use each volume.
    pub fn volume_references(&self) -> HashMap<String, Vec<String>> {
        let mut references: HashMap<String, Vec<String>> = HashMap::new();
        let mut note = |volume: &str, container: &str| {
            let users = references.entry(volume.to_owned()).or_default();
            if !users.iter().any(|user| user == container) {
                users.push(container.to_owned());
            }
        };
        for container in self.containers() {
            volume_names(&container).for_each(|volume| note(volume, &container.id));
        }
        self.volumes.held().iter().for_each(|(volume, container)| note(volume, container));
        references
    }

    /// Ids of the containers that use a volume.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        self.volume_references().remove(name).unwrap_or_default()
    }

    /// Removes a volume that no container uses; with `force` it is no error if there is none.
    pub async fn volume_remove(self: &Arc<Self>, name: &str, force: bool) -> Result<()> {
        let volume = match self.volume(name).await {
            Err(error) if force && error.kind == crate::Kind::NotFound => return Ok(()),
            // Of a plugin that is gone for good, only the row can be removed.
            Err(error) if force => self.volumes.get(name).ok_or(error)?,
            found => found?,
        };
        self.drop_volume(&volume, None, force).await
    }

    /// Removes a volume unless somebody but the container `except` uses it.
    async fn drop_volume(self: &Arc<Self>, volume: &Volume, except: Option<&str>, force: bool) -> Result<()> {
        let (engine, volume) = (Arc::clone(self), volume.clone());
        let except = except.map(str::to_owned);
        tokio::task::spawn_blocking(move || {
            let gate = engine.volumes.gate(&volume.name);
            let _held = gate.lock().unwrap_or_else(PoisonError::into_inner);
            let within = |error: Error| error.within(format!("remove {}", volume.name));
            let mut users = engine.volume_users(&volume.name);
            users.retain(|user| Some(user) != except.as_ref());
            if !users.is_empty() {
                let users = users.join(", ");
                return Err(within(Error::conflict(format!("volume is in use - [{users}]"))));
            }
            match volume.driver.as_str() {
                LOCAL => local::discard(&engine.store, &engine.volumes.root, &volume.name).map_err(within)?,
                _ => engine.remove_by_plugin(&volume, force).map_err(within)?,
            }
            engine.volumes.lock().remove(&volume.name);
            engine.emit_volume(&volume, "destroy", []);
            Ok(())
        })
        .await?
    }

    /// Undoes [`Engine::make_volume`] for a container that did not come to be. Blocks.
    pub(crate) fn forget_new_volume(&self, name: &str) {
        let gate = self.volumes.gate(name);
        let _held = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(volume) = self.volumes.get(name) else { return };
        if !self.volume_users(name).is_empty() {
            return;
        }
        // What cannot be undone is an empty volume that `docker volume rm` removes.
        let undone = match volume.driver.as_str() {
            LOCAL => local::discard(&self.store, &self.volumes.root, name),
            _ => self.remove_by_plugin(&volume, false),
        };
        if undone.is_ok() {
            self.volumes.lock().remove(name);
        }
    }
}
