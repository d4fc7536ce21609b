//! One look a second for everybody who watches.
//!
//! Watchers wait for the same ticks. The first one that asks for a container at a tick measures it; the others wait for
//! what it finds, and get that as long as somebody holds it. Without watchers nothing runs, and nothing is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore};

use super::StatsSample;

/// Between two ticks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A tick that is closer is not waited for, but the next one: a difference needs a while.
const TOO_SOON: Duration = Duration::from_millis(500);
/// Containers that are measured at once: more would only be more threads.
const AT_ONCE: usize = 4;

/// A sample, for as long as a watcher holds it.
pub(super) type Found = OnceCell<Weak<StatsSample>>;

/// The ticks, and what was found at the last one.
pub(crate) struct Ticks {
    begin: Instant,
    last: Mutex<Tick>,
    pub(super) permits: Semaphore,
}

#[derive(Default)]
struct Tick {
    number: u64,
    samples: HashMap<String, Arc<Found>>,
}

impl Default for Ticks {
    fn default() -> Self {
        Self { begin: Instant::now(), last: Mutex::default(), permits: Semaphore::new(AT_ONCE) }
    }
}

impl Ticks {
    /// Waits for the next tick; returns its number.
    pub(super) async fn next(&self) -> u64 {
        let soon = self.begin.elapsed() + TOO_SOON;
        let number = soon.as_secs() + 1;
        let left =
            (INTERVAL * u32::try_from(number).unwrap_or(u32::MAX)).saturating_sub(self.begin.elapsed());
        tokio::time::sleep(left).await;
        number
    }

    /// Where what is found of a container at that tick is noted, by whoever is the first to ask.
    pub(super) fn cell(&self, number: u64, id: &str) -> Arc<Found> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.number != number {
            *last = Tick { number, samples: HashMap::new() };
        }
        Arc::clone(last.samples.entry(id.to_owned()).or_default())
    }
}
