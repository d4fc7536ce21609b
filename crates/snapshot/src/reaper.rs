//! Removing trees in the background.
//!
//! Removing a container is one rename(2); deleting its files is nothing that anybody waits for. It can be slow without
//! being large: unmounting an overlay syncs the file system, and the first changes after that wait for the journal.
//!
//! What is queued is nothing that anybody still names, so whatever a crash cuts off is found and queued again by the
//! next start: for the snapshotter all that lies below `unfinished/`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use hull_sys::root::Root;

/// A queue of trees, worked off by one thread for as long as there are any. Dropping it waits for the end of that.
#[derive(Debug, Default)]
pub struct Reaper {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<PathBuf>,
    running: bool,
}

impl Reaper {
    /// Removes the tree at `path`, soon.
    pub fn push(&self, path: PathBuf) {
        let mut state = self.queue.lock();
        state.waiting.push_back(path);
        if std::mem::replace(&mut state.running, true) {
            return;
        }
        drop(state);
        let queue = Arc::clone(&self.queue);
        let spawned =
            std::thread::Builder::new().name("layer-reaper".to_owned()).spawn(move || queue.drain());
        if spawned.is_err() {
            // No thread to be had: then somebody has to wait after all.
            self.queue.drain();
        }
    }

    /// Waits until nothing is queued.
    pub fn wait(&self) {
        let mut state = self.queue.lock();
        while state.running {
            state = self.queue.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&self) {
        loop {
            let mut state = self.lock();
            let Some(path) = state.waiting.pop_front() else {
                state.running = false;
                self.idle.notify_all();
                return;
            };
            drop(state);
            // What cannot be removed now is queued again by the next start.
            let _ = remove_tree(&path);
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.wait();
    }
}

/// Removes a directory of ours.
pub(crate) fn remove_tree(path: &Path) -> hull_sys::Result<()> {
    let parent = Root::open(path.parent().unwrap_or(Path::new("/")))?;
    parent.remove_all(path.file_name().unwrap_or_default())
}
