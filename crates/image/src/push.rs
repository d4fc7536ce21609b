//! `docker push`: what the registry lacks of an image, then its manifest.
//!
//! Layers go as they are stored, so what was pulled keeps its digests. Layers that were never packed (of `commit`,
//! `import` and old archives) are packed first, and the image's manifest from then on is the one with the packed
//! layers: a second push sends nothing.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hull_oci::digest::Algorithm;
use hull_oci::{Digest, Platform, Reference};

use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::make::layer_type;
use crate::manifest::{Descriptor, Document};
use crate::progress::{Progress, Pushed, Sink, TICK};
use crate::registry::{Failure, Host, Session, Target};
use crate::settings::Auth;
use crate::store::{Lease, Named, Record, Store, group};
use crate::unpack;

const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// One push of one tag.
struct Push<'a> {
    store: &'a Arc<Store>,
    session: &'a Session,
    name: &'a Reference,
    /// The only one that is wanted.
    platform: Option<&'a Platform>,
    progress: &'a Sink,
}

/// Pushes the image of that name; without a tag, all tags of the repository.
pub(crate) async fn push(
    store: &Arc<Store>,
    name: &Reference,
    platform: Option<&Platform>,
    auth: &Auth,
    progress: Sink,
) -> Result<()> {
    progress.send(Progress::message(format!("The push refers to repository [{}]", name.name())));
    let names = local_names(store, name)?;
    let hosts = Host::for_push(&store.settings(), name.domain()).await?;
    let opened = Session::open(&store.settings(), hosts, Target::Push(name), auth).await;
    let session = opened.map_err(Failure::into_error)?;
    for name in &names {
        let push = Push { store, session: &session, name, platform, progress: &progress };
        push.run().await.map_err(Failure::into_error)?;
    }
    Ok(())
}

/// The tags that are meant, all of which are here.
fn local_names(store: &Store, name: &Reference) -> Result<Vec<Reference>> {
    if name.digest().is_some() {
        return Err(Error::Invalid("cannot push a digest reference".to_owned()));
    }
    store.with_names(|names| {
        let known = names.iter().filter_map(|named| named.entry.name.as_ref());
        let repository = name.name();
        let all: Vec<Reference> = known.filter(|known| known.name() == repository).cloned().collect();
        if all.is_empty() {
            let text = format!("An image does not exist locally with the tag: {}", name.familiar_name());
            return Err(Error::NotFound(text));
        }
        match name.tag() {
            Some(_) if all.contains(name) => Ok(vec![name.clone()]),
            Some(_) => Err(Error::NotFound(format!("tag does not exist: {}", name.familiar()))),
            None => Ok(all.into_iter().filter(|name| name.digest().is_none()).collect()),
        }
    })
}

impl Push<'_> {
    async fn run(&self) -> std::result::Result<(), Failure> {
        let lease = Lease::new(self.store);
        let tag = self.name.tag().unwrap_or_default();
        if let Some((index, all)) = self.whole(&lease)? {
            for named in &all {
                self.content(named).await?;
                self.manifest(&named.entry.target, &named.entry.target.digest.to_string()).await?;
            }
            return self.finish(&index, Some(&index), &all, tag).await;
        }
        let named = self.packed(&lease).await?;
        self.content(&named).await?;
        self.finish(&named.entry.target.clone(), None, &[named], tag).await
    }

    /// The index of the name with its images, held; none where the name has none, not all of it is here, or only one
    /// platform is wanted.
    fn whole(&self, lease: &Lease<'_>) -> Result<Option<(Descriptor, Vec<Named>)>> {
        let all: Vec<Named> = self.store.with_names(|names| {
            let found = crate::query::by_name(names, self.name).into_iter();
            found.flat_map(|found| group(names, found)).cloned().collect()
        });
        all.iter().for_each(|named| hold(lease, named));
        let Some(index) = all.first().and_then(|named| named.entry.index.clone()) else { return Ok(None) };
        lease.hold(&index.digest);
        let Document::Index(document) = Document::parse(&self.store.blobs.document(&index.digest)?, "")?
        else {
            return Ok(None);
        };
        let is_here = |entry: &Descriptor| all.iter().any(|named| named.entry.target.digest == entry.digest);
        let is_whole = self.platform.is_none() && document.manifests.iter().all(is_here);
        Ok(is_whole.then_some((index, all)))
    }

    /// Sends a manifest under a tag or a digest; how long it is.
    async fn manifest(&self, target: &Descriptor, name: &str) -> std::result::Result<u64, Failure> {
        let bytes = self.store.blobs.document(&target.digest)?;
        self.session.put_manifest(name, &target.media_type, &bytes).await?;
        Ok(bytes.len() as u64)
    }

    /// Gives what was sent its tag there, and its digest here.
    async fn finish(
        &self,
        target: &Descriptor,
        index: Option<&Descriptor>,
        images: &[Named],
        tag: &str,
    ) -> std::result::Result<(), Failure> {
        let size = self.manifest(target, tag).await?;
        let digest = target.digest.clone();
        let name = self.name.with_digest(digest.clone());
        for named in images {
            self.store.register_of(&named.entry.target, index, std::slice::from_ref(&name), None)?;
        }
        self.progress.send(Progress::message(format!("{tag}: digest: {digest} size: {size}")));
        let pushed = Some(Pushed { tag: tag.to_owned(), digest, size });
        self.progress.send(Progress { pushed, ..Progress::default() });
        Ok(())
    }

    /// Sends what an image consists of, but for its manifest.
    async fn content(&self, named: &Named) -> std::result::Result<(), Failure> {
        let record = &named.record;
        let mut blobs: Vec<(Descriptor, String)> = Vec::new();
        for (blob, diff_id) in record.layers.iter().zip(&record.config.rootfs.diff_ids).rev() {
            if !blobs.iter().any(|(other, _)| other.digest == blob.digest) {
                let id = diff_id.short();
                self.progress.send(Progress::step(id, "Preparing"));
                blobs.push((blob.clone(), id.to_owned()));
            }
        }
        // Collected: the compiler cannot see that a lazy map over borrowed pairs is `Send`.
        let uploads: Vec<_> = blobs.iter().map(|(blob, id)| self.blob(blob, Some(id))).collect();
        let mut running = futures_util::stream::iter(uploads)
            .buffer_unordered(self.store.settings().max_concurrent_uploads.max(1));
        while let Some(done) = running.next().await {
            done?;
        }
        drop(running);
        self.blob(&record.config_descriptor, None).await
    }

    /// The image with all layers packed, held.
    async fn packed(&self, lease: &Lease<'_>) -> std::result::Result<Named, Failure> {
        let find = || {
            let found = self.store.with_names(|names| {
                let found = crate::query::by_name(names, self.name)?;
                let suits = |named: &&Named| {
                    self.platform.is_none_or(|wanted| wanted.matches(&named.record.config.platform()))
                };
                let found = [found].into_iter().chain(group(names, found)).find(suits);
                found.cloned()
            });
            found.ok_or_else(|| Error::no_such_image(&self.name.familiar()))
        };
        let named = find()?;
        hold(lease, &named);
        let named = find()?;
        let unpacked: Vec<Descriptor> =
            named.record.layers.iter().filter(|layer| is_unpacked(layer)).cloned().collect();
        if unpacked.is_empty() {
            return Ok(named);
        }
        let store = Arc::clone(self.store);
        let packing = tokio::task::spawn_blocking(move || pack_image(&store, &named));
        packing.await.map_err(|error| Error::System(format!("pack layers: {error}")))??;
        let named = find()?;
        hold(lease, &named);
        Ok(named)
    }

    /// Sees that the registry has a blob.
    async fn blob(&self, blob: &Descriptor, id: Option<&str>) -> std::result::Result<(), Failure> {
        let tell = |status: &'static str| {
            id.into_iter().for_each(|id| self.progress.send(Progress::step(id, status)))
        };
        if self.session.has_blob(&blob.digest).await? {
            tell("Layer already exists");
            return Ok(());
        }
        for repository in self.siblings(&blob.digest) {
            if self.session.mount(&blob.digest, &repository).await? {
                if let Some(id) = id {
                    let status = format!("Mounted from {repository}");
                    self.progress.send(Progress { id: Some(id.to_owned()), ..Progress::message(status) });
                }
                return Ok(());
            }
        }
        self.upload(blob, id).await?;
        tell("Pushed");
        Ok(())
    }

    async fn upload(&self, blob: &Descriptor, id: Option<&str>) -> std::result::Result<(), Failure> {
        let path = self.store.blobs.path(&blob.digest);
        let mut attempt = 1;
        loop {
            let sent = self.counter(blob, id);
            match self.session.upload(blob, &path, sent).await {
                Err(failure) if failure.is_passing() && attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// Tells how far an upload is, now and then.
    fn counter(&self, blob: &Descriptor, id: Option<&str>) -> Arc<dyn Fn(u64) + Send + Sync> {
        let Some(id) = id.map(str::to_owned) else { return Arc::new(|_| {}) };
        let (progress, total) = (self.progress.clone(), blob.size);
        let state = Mutex::new((0, Instant::now()));
        Arc::new(move |bytes| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (done, shown) = &mut *state;
            *done += bytes;
            if *done == total || shown.elapsed() >= TICK {
                *shown = Instant::now();
                progress.send(Progress::bytes(&id, "Pushing", *done, total));
            }
        })
    }

    /// Other repositories of the same registry that have the blob, as far as we know: those whose digest names are
    /// here, for these were pulled from there or pushed to there.
    fn siblings(&self, blob: &Digest) -> BTreeSet<String> {
        self.store.with_names(|names| {
            let there =
                names.iter().filter(|named| named.record.layers.iter().any(|layer| layer.digest == *blob));
            let remote =
                there.filter_map(|named| named.entry.name.as_ref()).filter(|name| name.digest().is_some());
            let same =
                remote.filter(|name| name.domain() == self.name.domain() && name.path() != self.name.path());
            same.map(|name| name.path().to_owned()).take(3).collect()
        })
    }
}

fn hold(lease: &Lease<'_>, named: &Named) {
    let record: &Record = &named.record;
    let layers = record.layers.iter().map(|layer| &layer.digest);
    [&named.entry.target.digest, &record.id].into_iter().chain(layers).for_each(|digest| lease.hold(digest));
}

fn is_unpacked(layer: &Descriptor) -> bool {
    layer.media_type.ends_with(".tar") || layer.media_type == "application/vnd.docker.image.rootfs.diff.tar"
}

/// Packs an image's layers and puts the manifest that has them in the place of the old one.
fn pack_image(store: &Store, named: &Named) -> Result<()> {
    let lease = Lease::new(store);
    hold(&lease, named);
    let layers = Mutex::new(named.record.layers.to_vec());
    unpack::in_parallel(named.record.layers.len(), |index| {
        let layer = &named.record.layers[index];
        if is_unpacked(layer) {
            let packed = pack(store, &lease, layer)?;
            layers.lock().unwrap_or_else(PoisonError::into_inner)[index] = packed;
        }
        Ok(())
    })?;
    let layers = layers.into_inner().unwrap_or_else(PoisonError::into_inner);
    let config = store.blobs.document(&named.record.id)?;
    let target = store.put_manifest(&lease, &config, layers)?;
    store.retarget(&named.entry.target.digest, &target)
}

fn pack(store: &Store, lease: &Lease<'_>, layer: &Descriptor) -> Result<Descriptor> {
    let failed = |error: std::io::Error| Error::System(format!("pack layer {}: {error}", layer.digest));
    let mut content = store.blobs.file(&layer.digest)?;
    let ingest = store.blobs.ingest(Algorithm::Sha256)?;
    let mut encoder = flate2::write::GzEncoder::new(ingest, flate2::Compression::default());
    std::io::copy(&mut content, &mut encoder).map_err(failed)?;
    let mut ingest = encoder.finish().map_err(failed)?;
    ingest.flush().map_err(failed)?;
    let size = ingest.written();
    let digest = ingest.keep_held(lease)?;
    Ok(Descriptor::new(layer_type(Compression::Gzip), digest, size))
}
