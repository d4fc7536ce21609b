//! What the daemon gives back when nobody asks anything: most of its code is needed once, to start or by a request of
//! its kind, and stays in memory if nothing is done about it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hull_sys::memory::Spare;
use tokio::sync::Notify;

/// Without a request for this long, the daemon is idle.
const QUIET: Duration = Duration::from_secs(5);

/// Whether anybody asks.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    asked: AtomicBool,
    resting: AtomicBool,
    woken: Notify,
}

impl Rest {
    /// Somebody has asked something.
    pub(crate) fn note(&self) {
        self.asked.store(true, Ordering::Relaxed);
        if self.resting.swap(false, Ordering::Relaxed) {
            self.woken.notify_one();
        }
    }

    /// Gives memory back whenever nobody has asked for a while. A daemon that rests is not woken by this.
    pub(crate) async fn keep(&self) {
        let spare = Spare::find();
        loop {
            tokio::time::sleep(QUIET).await;
            if !self.asked.swap(false, Ordering::Relaxed) {
                self.resting.store(true, Ordering::Relaxed);
                spare.release();
                self.woken.notified().await;
            }
        }
    }
}
