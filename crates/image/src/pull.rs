//! `docker pull`: a manifest, its configuration, its layers.
//!
//! Layers come several at once, and each is hashed, stored and unpacked while it comes. All is held by a lease until
//! the table names it; a pull that fails, or whose caller goes away, leaves nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use hull_oci::{Digest, Platform, Reference};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::fetch;
use crate::image::Pulled;
use crate::manifest::{Descriptor, Document, Index, Manifest, media_type};
use crate::progress::{Progress, Sink};
use crate::registry::{Failure, Host, Session, Target};
use crate::settings::Auth;
use crate::store::{Lease, Record, Store, parse_config, verify};

/// Layers that are being fetched, by digest: a second pull of the same one waits for the first.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>);

impl InFlight {
    fn turn(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(digest.clone()).or_default())
    }
}

/// One pull.
struct Pull<'a> {
    store: &'a Arc<Store>,
    lease: &'a Lease<'a>,
    session: Session,
    name: Reference,
    platform: Option<Platform>,
    progress: Sink,
}

/// A manifest of one image, as the registry has it.
struct Remote {
    descriptor: Descriptor,
    manifest: Manifest,
    bytes: Vec<u8>,
    /// The index it was chosen from, and that as it stands there.
    index: Option<(Descriptor, Vec<u8>)>,
}

/// Pulls the image of that name.
pub(crate) async fn pull(
    store: &Arc<Store>,
    name: &Reference,
    platform: Option<Platform>,
    auth: &Auth,
    progress: Sink,
) -> Result<Pulled> {
    let name = name.clone().with_default_tag();
    let wanted = name.digest().map(Digest::to_string).or(name.tag().map(str::to_owned)).unwrap_or_default();
    let lease = Lease::new(store);
    let mut failure = Failure::Local(Error::Invalid("no registry host".to_owned()));
    let hosts = Host::for_pull(&store.settings(), &name).await?;
    // Mirrors one by one; then the registry itself, by TLS or without.
    for hosts in hosts.chunk_by(|one, next| !one.mirror && !next.mirror) {
        let session = match Session::open(&store.settings(), hosts.to_vec(), Target::Pull(&name), auth).await
        {
            Ok(session) => session,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        let (name, platform, progress) = (name.clone(), platform.clone(), progress.clone());
        let pull = Pull { store, lease: &lease, session, name, platform, progress };
        match pull.run(&wanted).await {
            Ok(pulled) => return Ok(pulled),
            Err(error) => failure = error,
        }
    }
    Err(failure.on_pull(&name))
}

impl Pull<'_> {
    async fn run(&self, wanted: &str) -> std::result::Result<Pulled, Failure> {
        let (digest, remote) = self.resolve(wanted).await?;
        let status = format!("Pulling from {}", self.name.path());
        let id = self.name.digest().map_or_else(|| wanted.to_owned(), |_| self.name.to_string());
        self.progress.send(Progress { id: Some(id), ..Progress::message(status) });
        let id = remote.manifest.config.digest.clone();
        let index = remote.index.clone();
        if let Some((index, bytes)) = &index {
            self.lease.hold(&index.digest);
            self.store.blobs.put_as(bytes, &index.digest)?;
        }
        let platform = remote.descriptor.platform.clone();
        let (mut target, newer) = match self.present(&id) {
            Some(target) => (target, !self.names(&id)),
            None => (self.fetch(remote).await?, true),
        };
        target.platform = platform;
        let mut names = vec![self.name.with_digest(digest.clone())];
        if let Some(tag) = self.name.tag().filter(|_| self.name.digest().is_none()) {
            names.push(self.name.with_tag(tag).map_err(Error::from)?);
        }
        let index = index.as_ref().map(|(index, _)| index);
        self.store.register_of(&target, index, &names, None)?;
        self.progress.send(Progress::message(format!("Digest: {digest}")));
        Ok(Pulled { id, digest, newer })
    }

    /// The image, if it is here; it is held before it is looked for.
    fn present(&self, id: &Digest) -> Option<Descriptor> {
        let image = self.store.find_id(id).ok()?;
        let layers = image.layers.iter().map(|layer| &layer.digest);
        [&image.id, &image.target.digest].into_iter().chain(layers).chain(image.chain_ids.iter()).for_each(
            |digest| {
                self.lease.hold(digest);
            },
        );
        self.store.find_id(id).ok().map(|image| image.target)
    }

    /// Whether the name means that image already.
    fn names(&self, id: &Digest) -> bool {
        self.store.means(&self.name.to_string(), id)
    }

    /// What the name stands for in the registry: the digest of that, and the manifest for our platform.
    async fn resolve(&self, wanted: &str) -> std::result::Result<(Digest, Remote), Failure> {
        let first = self.session.manifest(wanted).await?;
        let digest = match self.name.digest() {
            Some(digest) => {
                verify("manifest", &first.bytes, digest)?;
                digest.clone()
            }
            None => Digest::sha256(&first.bytes),
        };
        match Document::parse(&first.bytes, &first.media_type)? {
            Document::Manifest(manifest) => {
                Ok((digest.clone(), Remote::new(&first.media_type, digest, manifest, first.bytes)))
            }
            Document::Index(index) => {
                let platform = self.platform.clone().unwrap_or_else(Platform::host);
                let chosen = index.choose(&platform).ok_or_else(|| {
                    Error::NotFound(format!(
                        "no matching manifest for {platform} in the manifest list entries"
                    ))
                })?;
                let mut remote = self.chosen(chosen).await?;
                remote.descriptor.platform.clone_from(&chosen.platform);
                let size = first.bytes.len() as u64;
                let descriptor =
                    Descriptor::new(&index_type(&first.media_type, &index), digest.clone(), size);
                remote.index = Some((descriptor, first.bytes));
                Ok((digest, remote))
            }
        }
    }

    async fn chosen(&self, chosen: &Descriptor) -> std::result::Result<Remote, Failure> {
        let fetched = self.session.manifest(&chosen.digest.to_string()).await?;
        verify("manifest", &fetched.bytes, &chosen.digest)?;
        let media_type = match chosen.media_type.as_str() {
            "" => &fetched.media_type,
            known => known,
        };
        match Document::parse(&fetched.bytes, media_type)? {
            Document::Manifest(manifest) => {
                Ok(Remote::new(media_type, chosen.digest.clone(), manifest, fetched.bytes))
            }
            Document::Index(_) => {
                Err(Error::NotSupported(format!("{} is an index within an index", chosen.digest)).into())
            }
        }
    }

    /// Brings everything here that the manifest names.
    async fn fetch(&self, remote: Remote) -> std::result::Result<Descriptor, Failure> {
        let Remote { descriptor, manifest, bytes, index: _ } = remote;
        let config_type = manifest.config.media_type.as_str();
        if !matches!(config_type, "" | media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
            return Err(
                Error::NotSupported(format!("unsupported media type {config_type}: not an image")).into()
            );
        }
        let config = self.session.config(&manifest.config.digest).await?;
        verify("image config", &config, &manifest.config.digest)?;
        let record = Record::new(manifest.config, manifest.layers, parse_config(&config)?)?;
        self.check_platform(&record)?;
        let documents = [&record.id, &descriptor.digest];
        let layers = record.layers.iter().map(|layer| &layer.digest);
        documents
            .into_iter()
            .chain(layers)
            .chain(record.chain_ids.iter())
            .for_each(|digest| self.lease.hold(digest));
        self.layers(&record).await?;
        self.store.blobs.put_as(&config, &record.id)?;
        self.store.blobs.put_as(&bytes, &descriptor.digest)?;
        Ok(descriptor)
    }

    /// A platform that was asked for is not passed over in silence.
    fn check_platform(&self, record: &Record) -> Result<()> {
        let found = record.config.platform();
        match &self.platform {
            Some(wanted) if !wanted.matches(&found) => Err(Error::NotFound(format!(
                "image with reference {} was found but its platform ({found}) does not match the specified platform ({wanted})",
                self.name.familiar()
            ))),
            _ => Ok(()),
        }
    }

    async fn layers(&self, record: &Record) -> std::result::Result<(), Failure> {
        let slots = Semaphore::new(self.store.settings().max_concurrent_downloads.max(1));
        for (index, layer) in record.layers.iter().enumerate() {
            if !self.is_here(record, index) {
                self.progress.send(Progress::step(layer.digest.short(), "Pulling fs layer"));
            }
        }
        let layers = (0..record.layers.len()).map(|index| self.layer(record, index, &slots));
        try_join_all(layers).await.map(drop)
    }

    fn is_here(&self, record: &Record, index: usize) -> bool {
        let unpacked = self.store.snapshotter.has_layer(&record.chain_ids[index]);
        unpacked && self.store.blobs.has(&record.layers[index])
    }

    async fn layer(
        &self,
        record: &Record,
        index: usize,
        slots: &Semaphore,
    ) -> std::result::Result<(), Failure> {
        let blob = &record.layers[index];
        let id = blob.digest.short();
        let turn = self.store.in_flight.turn(&blob.digest);
        if self.is_here(record, index) {
            self.progress.send(Progress::step(id, "Already exists"));
            return Ok(());
        }
        if slots.available_permits() == 0 {
            self.progress.send(Progress::step(id, "Waiting"));
        }
        let _slot = slots.acquire().await.map_err(|_| Error::System("pull: no more downloads".to_owned()))?;
        let _turn = turn.lock().await;
        if !self.is_here(record, index) {
            let layer = fetch::Layer {
                blob: blob.clone(),
                chain: record.chain_ids[index].clone(),
                diff_id: record.config.rootfs.diff_ids[index].clone(),
            };
            fetch::layer(self.store, &self.session, layer, &self.progress).await?;
        }
        self.progress.send(Progress::step(id, "Pull complete"));
        Ok(())
    }
}

impl Remote {
    fn new(media_type: &str, digest: Digest, manifest: Manifest, bytes: Vec<u8>) -> Self {
        let media_type = match manifest.media_type.as_str() {
            "" => media_type,
            own => own,
        };
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        Self { descriptor, manifest, bytes, index: None }
    }
}

/// What an index says it is, or how it came.
fn index_type(came_as: &str, index: &Index) -> String {
    if index.media_type.is_empty() { came_as.to_owned() } else { index.media_type.clone() }
}
