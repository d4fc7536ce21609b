//! Leases: what an operation in flight needs, so that nobody sweeps it away.
//!
//! An operation holds every digest (of a blob, or a layer's chain id) *before* it looks whether it is here. When the
//! lease ends, what it held and nothing else refers to goes: a failed pull or a refused archive leaves nothing, and
//! a good one keeps everything, because the table of names refers to it by then. Leases are of this process: after a
//! crash the sweep at opening finds the same.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hull_oci::Digest;

use super::Store;

/// Who holds what: digests with the number of their holders.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<Digest, usize>>);

impl Leases {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        // Every change is one insert or removal: a panic elsewhere cannot leave half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one operation holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    store: &'a Store,
    held: Mutex<HashSet<Digest>>,
}

impl<'a> Lease<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, held: Mutex::default() }
    }

    /// Holds `digest`: if it is here now, or comes, it stays.
    pub(crate) fn hold(&self, digest: &Digest) {
        let mut leases = self.store.leases.lock();
        if self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone()) {
            *leases.entry(digest.clone()).or_insert(0) += 1;
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let held = std::mem::take(self.held.get_mut().unwrap_or_else(PoisonError::into_inner));
        {
            let mut leases = self.store.leases.lock();
            for digest in &held {
                if let Some(count) = leases.get_mut(digest) {
                    *count -= 1;
                }
            }
            leases.retain(|_, count| *count > 0);
        }
        if let Err(error) = self.store.sweep(held) {
            tracing::warn!(%error, "what an image operation left could not be removed");
        }
    }
}
