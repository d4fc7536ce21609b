//! The set of containers: finding them by id, prefix or name, and changing one at a time.
//!
//! An [`Entry`] is one container. Its *snapshot* is replaced as a whole, so readers never wait and never see half
//! a change. Its *gate* is held by whoever moves it to another state (start, exit, pause, remove): the gate is of
//! one container, there is none over all of them. Its *door* decides what happens to those who attach.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::attach::Door;
use crate::model::{Container, Exit};
use crate::store::Store;
use crate::{Engine, Error, Result, links};

/// One container in memory.
pub(crate) struct Entry {
    /// Its id.
    pub(crate) id: String,
    /// Held while its state changes.
    pub(crate) gate: tokio::sync::Mutex<()>,
    /// Whom exits and removal are told.
    pub(crate) progress: watch::Sender<Progress>,
    /// Where attaching clients wait.
    pub(crate) door: Mutex<Door>,
    /// Pause before the restart policy's next try.
    pub(crate) back_off: Mutex<Duration>,
    now: RwLock<Record>,
}

/// A container as it is written down.
struct Record {
    container: Arc<Container>,
    /// It is not, any more, and never will be again.
    forgotten: bool,
}

/// What waiters wait for. Counts only grow, so that nothing is missed between two looks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// How often it has ended since the engine knows it.
    pub(crate) exits: u64,
    /// How it ended last.
    pub(crate) last: Exit,
    /// Whether it is gone.
    pub(crate) removed: bool,
}

/// The first exit after a moment, or the end of the container. The moment has to come before its state is looked at:
/// an exit in between would never be told.
pub(crate) struct NextExit {
    progress: watch::Receiver<Progress>,
    exits: u64,
}

impl NextExit {
    /// Returns when it has come. Cancel-safe.
    pub(crate) async fn reached(&mut self) {
        let reached = |progress: &Progress| progress.exits > self.exits || progress.removed;
        // An error: the entry is gone, and the container with it.
        let _ = self.progress.wait_for(reached).await;
    }

    /// The same; false if it has not come within `patience`.
    pub(crate) async fn within(&mut self, patience: Option<Duration>) -> bool {
        match patience {
            Some(patience) => tokio::time::timeout(patience, self.reached()).await.is_ok(),
            None => {
                self.reached().await;
                true
            }
        }
    }
}

impl Entry {
    /// The exit that comes after now.
    pub(crate) fn next_exit(&self) -> NextExit {
        let progress = self.progress.subscribe();
        let exits = progress.borrow().exits;
        NextExit { progress, exits }
    }

    pub(crate) fn new(container: Container) -> Arc<Self> {
        let last = Exit { code: container.state.exit_code, error: container.state.error.clone() };
        Arc::new(Self {
            id: container.id.clone(),
            gate: tokio::sync::Mutex::new(()),
            progress: watch::Sender::new(Progress { last, ..Progress::default() }),
            door: Mutex::new(Door::default()),
            back_off: Mutex::new(Duration::ZERO),
            now: RwLock::new(Record { container: Arc::new(container), forgotten: false }),
        })
    }

    /// The container as it is now.
    pub(crate) fn now(&self) -> Arc<Container> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).container)
    }

    /// Waits for the turn to change its state. For one that is gone meanwhile there is none.
    pub(crate) async fn enter(&self) -> Result<tokio::sync::MutexGuard<'_, ()>> {
        let gate = self.gate.lock().await;
        match self.progress.borrow().removed {
            true => Err(self.absent()),
            false => Ok(gate),
        }
    }

    /// Changes the container and writes it down. The change is visible only once it is written. One that is forgotten is
    /// not found: its record would come back.
    pub(crate) fn change(
        &self,
        store: &Store,
        change: impl FnOnce(&mut Container),
    ) -> Result<Arc<Container>> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.forgotten {
            return Err(self.absent());
        }
        let mut next = Container::clone(&now.container);
        change(&mut next);
        store.put_container(&next)?;
        now.container = Arc::new(next);
        Ok(Arc::clone(&now.container))
    }

    /// Takes its record away, for good.
    pub(crate) fn forget(&self, store: &Store) -> Result<()> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        store.delete_container(&self.id)?;
        now.forgotten = true;
        Ok(())
    }

    /// What is said of one that is gone.
    pub(crate) fn absent(&self) -> Error {
        Error::not_found(format!("No such container: {}", self.id))
    }

    /// A user's start: the restart policy begins anew.
    pub(crate) fn forget_back_off(&self) {
        *self.back_off.lock().unwrap_or_else(PoisonError::into_inner) = Duration::ZERO;
    }

    /// Changes what is not written down.
    pub(crate) fn change_in_memory(&self, change: impl FnOnce(&mut Container)) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut now.container));
    }
}

/// Every container, by id and by name.
#[derive(Default)]
pub(crate) struct Containers {
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    by_id: BTreeMap<String, Arc<Entry>>,
    by_name: HashMap<String, String>,
}

/// A name that is taken for a container to come; given back unless kept.
pub(crate) struct ReservedName<'a> {
    containers: &'a Containers,
    name: String,
    kept: bool,
}

impl ReservedName<'_> {
    /// The name.
    pub(crate) fn text(&self) -> &str {
        &self.name
    }

    /// The name stays taken.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for ReservedName<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.containers.write().by_name.remove(&self.name);
        }
    }
}

impl Containers {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `name` for the container `id`, or says who has it.
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<ReservedName<'_>> {
        let mut index = self.write();
        if let Some(owner) = index.by_name.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to \
                 remove (or rename) that container to be able to reuse that name."
            )));
        }
        index.by_name.insert(name.into(), id.into());
        Ok(ReservedName { containers: self, name: name.into(), kept: false })
    }

    /// Gives a name back.
    pub(crate) fn release(&self, name: &str) {
        self.write().by_name.remove(name);
    }

    /// Adds a container whose name is reserved already.
    pub(crate) fn add(&self, entry: &Arc<Entry>) {
        let name = entry.now().name.clone();
        let mut index = self.write();
        index.by_name.insert(name, entry.id.clone());
        index.by_id.insert(entry.id.clone(), Arc::clone(entry));
    }

    /// Takes a container and its name out.
    pub(crate) fn remove(&self, id: &str) {
        let mut index = self.write();
        index.by_id.remove(id);
        index.by_name.retain(|_, owner| owner != id);
    }

    /// The container of that id, name or unambiguous prefix.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Entry>> {
        if name.is_empty() {
            return Err(Error::invalid("invalid name or ID supplied: \"\""));
        }
        let index = self.read();
        if let Some(entry) = index.by_id.get(name) {
            return Ok(Arc::clone(entry));
        }
        let bare = name.strip_prefix('/').unwrap_or(name);
        if let Some(entry) = index.by_name.get(bare).and_then(|id| index.by_id.get(id)) {
            return Ok(Arc::clone(entry));
        }
        if let Some(entry) = index.by_link(bare) {
            return Ok(entry);
        }
        index.by_prefix(name)
    }

    /// Every container.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.read().by_id.values().cloned().collect()
    }
}

impl Index {
    /// The container that another one calls so: "owner/alias".
    fn by_link(&self, name: &str) -> Option<Arc<Entry>> {
        let (owner, alias) = name.split_once('/')?;
        let owner = self.by_name.get(owner).and_then(|id| self.by_id.get(id))?.now();
        links::target(&owner, alias).and_then(|id| self.by_id.get(id)).cloned()
    }

    fn by_prefix(&self, prefix: &str) -> Result<Arc<Entry>> {
        let absent = || Error::not_found(format!("No such container: {prefix}"));
        if prefix.is_empty() {
            return Err(absent());
        }
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let mut found = self.by_id.range::<str, _>(from).take_while(|(id, _)| id.starts_with(prefix));
        let (_, entry) = found.next().ok_or_else(absent)?;
        if found.next().is_some() {
            return Err(Error::invalid(format!("multiple IDs found with provided prefix: {prefix}")));
        }
        Ok(Arc::clone(entry))
    }
}

impl Engine {
    /// The container of that name, id or unambiguous prefix of an id, as it is now.
    pub fn container(&self, name: &str) -> Result<Arc<Container>> {
        Ok(self.containers.find(name)?.now())
    }

    /// Every container as it is now, newest first.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<_> = self.containers.all().iter().map(|entry| entry.now()).collect();
        all.sort_by_key(|container| std::cmp::Reverse(container.created));
        all
    }

    /// Changes a container and writes it down.
    pub(crate) fn change(
        &self,
        entry: &Entry,
        change: impl FnOnce(&mut Container),
    ) -> Result<Arc<Container>> {
        entry.change(&self.store, change)
    }
}

#[cfg(test)]
mod tests;
