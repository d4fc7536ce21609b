//! From a packed layer to a usable one: decompress, unpack, and hold the result against the configuration's diff id.

use std::io::{self, Read};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hull_oci::Digest;
use hull_oci::digest::Hasher;

use crate::compression::decompress;
use crate::error::{Error, Result};
use crate::store::{Record, Store};

impl From<hull_snapshot::Error> for Error {
    fn from(error: hull_snapshot::Error) -> Self {
        use hull_snapshot::Error as Snapshot;
        match error {
            Snapshot::Invalid(text) => Self::Invalid(text),
            Snapshot::NotFound(text) => Self::NotFound(text),
            Snapshot::InUse(text) | Snapshot::Conflict(text) => Self::Conflict(text),
            Snapshot::System(error) => Self::System(error.to_string()),
        }
    }
}

/// Unpacks one packed layer as `chain`. If its content is not `diff_id`'s, nothing is kept.
pub(crate) fn layer(store: &Store, chain: &Digest, diff_id: &Digest, packed: impl Read + Send) -> Result<()> {
    let (_, content) = decompress(packed)?;
    store.snapshotter.apply_verified(chain, diff_id, content, &store.settings().limits)?;
    Ok(())
}

/// Unpacks those layers of an image whose blobs are here and that are not unpacked yet, several at once.
pub(crate) fn image(store: &Store, record: &Record, done: impl Fn(usize) + Sync) -> Result<()> {
    in_parallel(record.layers.len(), |index| blob(store, record, index).map(|()| done(index)))
}

/// Does the work for 0, 1, … on as many threads as there are processors; the first failure ends it and is its outcome.
pub(crate) fn in_parallel(count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let worker = || {
        while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < count) {
            if let Err(error) = work(index) {
                next.store(count, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(count);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(worker);
        }
        worker();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn blob(store: &Store, record: &Record, index: usize) -> Result<()> {
    let (chain, layer_blob) = (&record.chain_ids[index], &record.layers[index]);
    if store.snapshotter.has_layer(chain) {
        return Ok(());
    }
    let file = store.blobs.file(&layer_blob.digest)?;
    layer(store, chain, &record.config.rootfs.diff_ids[index], file)
        .map_err(|error| error.within(&format!("layer {}", layer_blob.digest)))
}

/// Makes an image whole again after a crash of the machine: the snapshotter gave up layers that were not on the disk,
/// and the blobs, not on the disk either perhaps, are not to be trusted unseen.
pub(crate) fn restore(store: &Store, record: &Record) -> Result<()> {
    for (index, blob) in record.layers.iter().enumerate() {
        if !store.blobs.has(blob) {
            return Err(Error::NotFound(format!("layer {} is missing or cut short", blob.digest)));
        }
        let chain = &record.chain_ids[index];
        if !store.snapshotter.has_layer(chain) {
            let verified = Expect::new(store.blobs.file(&blob.digest)?, &blob.digest);
            layer(store, chain, &record.config.rootfs.diff_ids[index], verified)?;
        }
    }
    Ok(())
}

/// Passes content on and, at its end, fails if it was not what was expected: whoever reads to the end and then
/// commits, never commits anything else.
pub(crate) struct Expect<'a, R> {
    inner: R,
    expected: &'a Digest,
    hasher: Option<Hasher>,
}

impl<'a, R> Expect<'a, R> {
    pub(crate) fn new(inner: R, expected: &'a Digest) -> Self {
        Self { inner, expected, hasher: Some(Hasher::new(expected.algorithm())) }
    }
}

impl<R: Read> Read for Expect<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            return Ok(count);
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != *self.expected => Err(io::Error::other(
                Error::wrong_digest("filesystem layer", self.expected, &found).to_string(),
            )),
            _ => Ok(0),
        }
    }
}
