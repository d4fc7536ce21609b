//! The sessions that somebody may ask for, in memory and beside their supervisor.
//!
//! What is beside the supervisor (`exec-<id>.json` in its directory) goes with it; a daemon that comes back reads it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::ExecState;
use crate::{Error, Result};

/// Every session that somebody may ask for.
#[derive(Default)]
pub(crate) struct Execs {
    by_id: Mutex<HashMap<String, Arc<Session>>>,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, session: &Arc<Session>) {
        self.lock().insert(session.now().id, Arc::clone(session));
    }

    pub(super) fn find(&self, id: &str) -> Result<Arc<Session>> {
        let found = self.lock().get(id).cloned();
        found.ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }

    pub(super) fn remove(&self, id: &str) {
        if let Some(session) = self.lock().remove(id) {
            session.forget();
        }
    }

    /// Forgets every session of a container that is gone.
    pub(crate) fn forget(&self, container: &str) {
        self.lock().retain(|_, session| session.now().container_id != container);
    }

    /// Forgets the sessions of a container that has ended which nobody has begun to start.
    pub(crate) fn forget_unstarted(&self, container: &str) {
        self.lock().retain(|_, session| session.is_claimed() || session.now().container_id != container);
    }
}

/// One session.
pub(super) struct Session {
    record: Mutex<Record>,
    /// Where the record is kept; none for those that die with the daemon.
    path: Option<PathBuf>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Record {
    state: ExecState,
    /// Whether somebody has begun to start it.
    claimed: bool,
}

impl Session {
    /// A new one; with `dir`, the supervisor's, it is kept there.
    pub(super) fn new(state: ExecState, dir: Option<&Path>) -> Arc<Self> {
        let path = dir.map(|dir| dir.join(format!("exec-{}.json", state.id)));
        let session = Self { record: Mutex::new(Record { state, claimed: false }), path };
        session.keep(&session.lock());
        Arc::new(session)
    }

    /// The sessions that a former daemon kept in `dir`.
    pub(super) fn kept(dir: &Path) -> Vec<Arc<Self>> {
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|file| file.path());
        let is_record = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("exec-") && name.ends_with(".json"))
        };
        let read = |path: PathBuf| {
            // One that was cut while it was written is lost, and nothing else.
            let record = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            Some(Arc::new(Self { record: Mutex::new(record), path: Some(path) }))
        };
        files.filter(is_record).filter_map(read).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes it down. Without a place to do so, a daemon that comes back does not know it.
    fn keep(&self, record: &Record) {
        if let (Some(path), Ok(bytes)) = (&self.path, serde_json::to_vec(record)) {
            let _ = std::fs::write(path, bytes);
        }
    }

    fn forget(&self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
            let _ = std::fs::remove_file(path.with_extension("exit"));
        }
    }

    pub(super) fn now(&self) -> ExecState {
        self.lock().state.clone()
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.lock().claimed
    }

    /// Whether it neither runs nor has ended.
    pub(super) fn may_start(&self) -> bool {
        let record = self.lock();
        !record.state.running && record.state.exit_code.is_none()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut ExecState)) {
        let mut record = self.lock();
        change(&mut record.state);
        self.keep(&record);
    }

    /// Takes the right to start it; there is one.
    pub(super) fn claim(&self) -> Result<ExecState> {
        let mut record = self.lock();
        let id = &record.state.id;
        if record.state.exit_code.is_some() {
            return Err(Error::conflict(format!("exec command {id} has already run")));
        }
        if record.claimed {
            return Err(Error::conflict(format!("exec command {id} is already running")));
        }
        record.claimed = true;
        self.keep(&record);
        Ok(record.state.clone())
    }
}
