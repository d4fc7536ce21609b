//! Making usable layers durable, in the background.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use hull_sys::Context;
use hull_sys::root::Root;
use rustix::io::Errno;

use super::{Shared, Snapshotter, list};
use crate::Result;

impl Snapshotter {
    /// Makes usable layers durable in the background; at most one thread does, for as long as there are any.
    pub(super) fn sync_later(&self) {
        self.shared.unsynced.store(true, Ordering::SeqCst);
        if self.shared.syncing.swap(true, Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new().name("layer-sync".to_owned()).spawn(move || shared.sync());
        if spawned.is_err() {
            // No thread to be had: the layers stay usable, and are applied again after a crash of the machine.
            self.shared.syncing.store(false, Ordering::SeqCst);
        }
    }
}

impl Shared {
    /// Syncs until nothing was added meanwhile. A layer that fails to become durable is merely applied again
    /// after a crash of the machine.
    fn sync(&self) {
        loop {
            while self.unsynced.swap(false, Ordering::SeqCst) {
                let _ = self.sync_layers();
            }
            self.syncing.store(false, Ordering::SeqCst);
            // Somebody who added a layer just before that line relies on us.
            if !self.unsynced.load(Ordering::SeqCst) || self.syncing.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    fn sync_layers(&self) -> Result<()> {
        let layers = self.root.join("layers");
        let root = Root::open(&layers)?;
        let lacking: Vec<_> =
            list(&layers)?.into_iter().filter(|name| !layers.join(name).join("durable").exists()).collect();
        let file = root.open_dir(".")?;
        rustix::fs::syncfs(file).on("syncfs", &layers)?;
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Ok(());
        }
        for name in lacking {
            match root.create_file(Path::new(&name).join("durable"), 0o600) {
                // Removed or marked by another meanwhile.
                Err(error) if error.is(Errno::NOENT) || error.is(Errno::EXIST) => {}
                created => drop(created?),
            }
        }
        Ok(())
    }
}
