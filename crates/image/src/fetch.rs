//! One layer on its way from a registry: fetched here, and on a blocking thread hashed, stored and unpacked at once.
//!
//! The two halves are joined by a channel of pieces. The thread's reader gives the unpacker its end of file only when
//! the blob had the right length and digest, so nothing unverified ever becomes a layer or a blob. A connection that
//! breaks is taken up where it broke; the thread does not notice. What a pull that was cut has left, the next one
//! reads first, as if it came from the registry.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use hull_oci::Digest;
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::progress::{Progress, Sink, TICK};
use crate::registry::{Failure, Session};
use crate::store::{Ingest, Lease, Partial, Store};
use crate::unpack;

/// Pieces (of up to 400 KB) between the halves: what the network is ahead of the disk.
const AHEAD: usize = 32;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A layer to fetch.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) blob: Descriptor,
    pub(crate) chain: Digest,
    pub(crate) diff_id: Digest,
}

/// Brings a layer here, packed and unpacked.
pub(crate) async fn layer(
    store: &Arc<Store>,
    session: &Session,
    layer: Layer,
    progress: &Sink,
) -> std::result::Result<(), Failure> {
    let partial = beginning(store, &layer.blob)?;
    let resumed = partial.as_ref().is_some_and(|partial| partial.length > 0);
    match attempt(store, session, &layer, partial, progress).await {
        // The beginning may have been no good. It is gone then, and all is fetched anew.
        Err(Failure::Local(error)) if resumed => {
            tracing::debug!(digest = %layer.blob.digest, "go on with a download: {error}");
            let partial = beginning(store, &layer.blob)?;
            attempt(store, session, &layer, partial, progress).await
        }
        done => done,
    }
}

/// What an earlier pull has left of a blob that is not here yet.
fn beginning(store: &Store, blob: &Descriptor) -> Result<Option<Partial>> {
    if store.blobs.has(blob) { Ok(None) } else { store.blobs.partial(blob) }
}

async fn attempt(
    store: &Arc<Store>,
    session: &Session,
    layer: &Layer,
    partial: Option<Partial>,
    progress: &Sink,
) -> std::result::Result<(), Failure> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let whole = store.blobs.has(&layer.blob);
    let beginning = partial.as_ref().map_or(0, |partial| partial.length);
    let worker = {
        let (store, layer) = (Arc::clone(store), layer.clone());
        tokio::task::spawn_blocking(move || match whole {
            true => unpack_again(&store, &layer),
            false => receive(&store, &layer, partial, receiver),
        })
    };
    let id = layer.blob.digest.short();
    let sent = match whole {
        true => Ok(()),
        false => send(store, session, &layer.blob, beginning, sender, progress).await,
    };
    if sent.is_ok() {
        let size = layer.blob.size;
        progress.send(Progress::bytes(id, "Extracting", size, size));
    }
    let done = worker.await.unwrap_or_else(|error| Err(Error::System(format!("unpack layer {id}: {error}"))));
    match (sent, done) {
        // The thread ended first: its reason is the reason.
        (Err(Failure::Local(_)) | Ok(()), Err(error)) => Err(Failure::Local(error)),
        (Err(failure), _) => Err(failure),
        (Ok(()), Ok(())) => Ok(()),
    }
}

/// The blob is here already, only its unpacked form is not.
fn unpack_again(store: &Store, layer: &Layer) -> Result<()> {
    unpack::layer(store, &layer.chain, &layer.diff_id, store.blobs.file(&layer.blob.digest)?)
}

/// Fetches the blob into the channel, as often as it takes.
async fn send(
    store: &Store,
    session: &Session,
    blob: &Descriptor,
    beginning: u64,
    sender: mpsc::Sender<Bytes>,
    progress: &Sink,
) -> std::result::Result<(), Failure> {
    let mut transfer = Transfer { blob, sender, progress, at: beginning, shown: Instant::now() };
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    while transfer.at < blob.size {
        let before = transfer.at;
        let Err(failure) = transfer.attempt(session).await else { break };
        if transfer.at > before {
            (attempt, pause) = (1, FIRST_PAUSE);
        }
        if !failure.is_passing() || attempt >= store.settings().max_download_attempts.max(1) {
            return Err(failure);
        }
        tracing::debug!(digest = %blob.digest, at = transfer.at, attempt, "download broke, going on");
        tokio::time::sleep(pause).await;
        attempt += 1;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    progress.send(Progress::step(blob.digest.short(), "Verifying Checksum"));
    progress.send(Progress::step(blob.digest.short(), "Download complete"));
    Ok(())
}

/// A download and how far it came.
struct Transfer<'a> {
    blob: &'a Descriptor,
    sender: mpsc::Sender<Bytes>,
    progress: &'a Sink,
    at: u64,
    shown: Instant,
}

impl Transfer<'_> {
    /// One connection's worth of it.
    async fn attempt(&mut self, session: &Session) -> std::result::Result<(), Failure> {
        let mut answer = session.blob(&self.blob.digest, self.at).await?;
        let mut known = match answer.status() {
            StatusCode::PARTIAL_CONTENT => 0,
            // It begins anew; what we have is passed over.
            _ => self.at,
        };
        while let Some(mut piece) = next_piece(&mut answer).await? {
            let skip = known.min(piece.len() as u64);
            known -= skip;
            piece.advance(usize::try_from(skip).unwrap_or(usize::MAX));
            self.give(piece).await?;
        }
        match self.at == self.blob.size {
            true => Ok(()),
            false => Err(Failure::Unreachable(format!(
                "layer {}: the connection ended after {} of {} bytes",
                self.blob.digest.short(),
                self.at,
                self.blob.size
            ))),
        }
    }

    async fn give(&mut self, piece: Bytes) -> std::result::Result<(), Failure> {
        self.at += piece.len() as u64;
        if self.at > self.blob.size {
            let text = format!(
                "layer {}: more than the {} bytes of its descriptor",
                self.blob.digest, self.blob.size
            );
            return Err(Error::Invalid(text).into());
        }
        if self.sender.send(piece).await.is_err() {
            return Err(Error::System("unpacking ended early".to_owned()).into());
        }
        if self.shown.elapsed() >= TICK {
            self.shown = Instant::now();
            let id = self.blob.digest.short();
            self.progress.send(Progress::bytes(id, "Downloading", self.at, self.blob.size));
        }
        Ok(())
    }
}

async fn next_piece(answer: &mut Response) -> std::result::Result<Option<Bytes>, Failure> {
    answer.chunk().await.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Failure::Unreachable(format!("the connection broke: {cause}"))
    })
}

/// The thread's half: stores what comes, and unpacks it unless that was done before.
fn receive(
    store: &Store,
    layer: &Layer,
    partial: Option<Partial>,
    receiver: mpsc::Receiver<Bytes>,
) -> Result<()> {
    // If the pull goes away meanwhile, this is what cleans up.
    let lease = Lease::new(store);
    lease.hold(&layer.blob.digest);
    lease.hold(&layer.chain);
    let algorithm = layer.blob.digest.algorithm();
    let ingest = match partial {
        Some(partial) => store.blobs.resume(partial, algorithm),
        None => store.blobs.ingest(algorithm)?,
    };
    let mut incoming =
        Incoming { receiver, piece: Bytes::new(), ingest, expected: &layer.blob, whole: false, cut: false };
    if let Err(error) = take(store, layer, &mut incoming) {
        if !incoming.cut {
            // More of it would not make it better.
            incoming.ingest.spoil();
        }
        return Err(error);
    }
    incoming.ingest.keep(Some(&layer.blob.digest)).map(drop)
}

fn take(store: &Store, layer: &Layer, incoming: &mut Incoming<'_>) -> Result<()> {
    if !store.snapshotter.has_layer(&layer.chain) {
        unpack::layer(store, &layer.chain, &layer.diff_id, &mut *incoming)
            .map_err(|error| error.within(&format!("layer {}", layer.blob.digest)))?;
    }
    io::copy(incoming, &mut io::sink()).map(drop).map_err(|error| Error::Invalid(error.to_string()))
}

/// What comes from the channel, stored on the way. Its end is an error unless the blob is whole and right.
struct Incoming<'a> {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
    ingest: Ingest<'a>,
    expected: &'a Descriptor,
    whole: bool,
    /// It ended too early, and what came was as it should be, as far as that can be told.
    cut: bool,
}

impl Incoming<'_> {
    fn check(&mut self) -> io::Result<()> {
        if self.ingest.written() != self.expected.size {
            self.cut = true;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download was cut off"));
        }
        self.ingest.check(&self.expected.digest).map_err(|error| io::Error::other(error.to_string()))?;
        self.whole = true;
        Ok(())
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let replayed = self.ingest.replay(buffer)?;
        if replayed > 0 {
            return Ok(replayed);
        }
        while self.piece.is_empty() && !self.whole {
            match self.receiver.blocking_recv() {
                Some(piece) => {
                    self.ingest.write_all(&piece)?;
                    self.piece = piece;
                }
                None => self.check()?,
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.split_to(count).copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
