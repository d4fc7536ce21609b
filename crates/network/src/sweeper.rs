//! Removes links that should have gone with their namespace and have not.
//!
//! A container's namespace usually ends with it, and its links with the namespace. Where another container shares
//! it (`--network container:X`) the link would stay on the bridge with an address that is already somebody else's.
//! One thread looks a moment after each release; what it has not done when the daemon ends, `reconcile` does.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use hull_sys::{Context, Result};

use crate::route::Routes;

/// The kernel needs some tens of milliseconds to take a namespace down by itself, some hundred under load.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Sweeper {
    links: Sender<(Instant, String)>,
}

impl Sweeper {
    /// Starts the thread, in the calling thread's namespace.
    pub(crate) fn start() -> Result<Self> {
        let (links, released) = channel();
        let routes = Routes::here()?;
        std::thread::Builder::new()
            .name("sweeper".to_owned())
            .stack_size(128 << 10)
            .spawn(move || sweep(routes, &released))
            .op("spawn thread")?;
        Ok(Self { links })
    }

    /// Sees that this link goes.
    pub(crate) fn see_off(&self, link: String) {
        // Without the thread it is left to `reconcile`.
        let _ = self.links.send((Instant::now() + PATIENCE, link));
    }
}

fn sweep(mut routes: Routes, released: &Receiver<(Instant, String)>) {
    // They come in the order in which they fall due.
    while let Ok((due, link)) = released.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // Usually it is gone, which is no failure; if the kernel refuses, `reconcile` tries again.
        let _ = routes.remove(&link);
    }
}
