//! Images: a content store in OCI's image layout, its names, and the ways in and out of it: pull, push, load, save,
//! import, commit.
//!
//! [`ImageStore`] is the whole face. What is quick (names, listing, inspecting) is synchronous; what moves bytes is
//! async, with the processor's part on blocking threads. Everything that comes from outside is verified against its
//! digest while it streams, before anything refers to it.

mod archive;
mod change;
mod compression;
mod config;
mod error;
mod fetch;
mod image;
mod make;
mod manifest;
mod progress;
mod pull;
mod push;
mod query;
mod registry;
mod remote;
mod remove;
mod settings;
mod store;
mod unpack;
mod words;

pub use config::{Config, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use error::{Error, Result};
pub use image::{HistoryEntry, Image, Listed, Loaded, Pruned, Pulled, Removed, Use};
pub use manifest::{Descriptor, ManifestKind, PlatformFields, media_type};
pub use progress::{Detail, Progress, Pushed, Sink};
pub use registry::Trust;
pub use remote::Remote;
pub use settings::{Auth, Commit, Import, Proxies, Settings};

use std::path::Path;
use std::sync::Arc;

use hull_oci::{Digest, Platform, Reference};
use hull_snapshot::Snapshotter;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::SyncIoBridge;

use registry::{Host, Session, Target};
use store::Store;

/// The uncompressed content of an archive: plain, gzip, zstd, bzip2 or xz, told by its first bytes.
pub fn decompressed<'a>(
    source: impl std::io::Read + Send + 'a,
) -> Result<Box<dyn std::io::Read + Send + 'a>> {
    compression::decompress(source)
}

/// The images of one engine. Cheap to clone; all clones are the same store.
#[derive(Clone, Debug)]
pub struct ImageStore {
    store: Arc<Store>,
}

impl ImageStore {
    /// Opens the store below `root`, making it (0700) if it is new, and sweeps what a crash left: blobs and layers
    /// that no image refers to and no snapshot stands on. One process has it open at a time.
    pub fn open(root: &Path, snapshotter: Arc<Snapshotter>, settings: Settings) -> Result<Self> {
        Ok(Self { store: Arc::new(Store::open(root, snapshotter, settings)?) })
    }

    /// The image of that name, id, beginning of an id, or digest. Errors say `No such image: x:latest`.
    pub fn get(&self, name: &str) -> Result<Image> {
        self.store.find(name)
    }

    /// The same for a platform, if there is an image for it under that name; else as [`get`](Self::get) has it.
    pub fn get_for(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        self.store.find_for(name, platform)
    }

    /// Whether the name means the image of that id, perhaps for another platform.
    pub fn means(&self, name: &str, id: &Digest) -> bool {
        self.store.means(name, id)
    }

    /// All manifests that the image's names mean: those of its index, or its own.
    pub fn manifests(&self, image: &Image) -> Result<Vec<Listed>> {
        self.store.manifests(image)
    }

    /// Replaces the settings, for what begins from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.store.set_settings(settings);
    }

    /// Whether `save` would find all of these.
    pub fn check_saved(&self, names: &[String]) -> Result<()> {
        self.store.check_saved(names)
    }

    /// Like [`get`](Self::get), of the id alone, for those who hold one.
    pub fn by_id(&self, id: &Digest) -> Result<Image> {
        self.store.find_id(id)
    }

    /// All images, newest first; without `intermediate`, those untagged ones that others were committed on are left
    /// out.
    pub fn list(&self, intermediate: bool) -> Result<Vec<Image>> {
        Ok(self.store.all(intermediate))
    }

    /// Bytes of the layers that `image` shares with other images.
    pub fn shared_size(&self, image: &Image) -> Result<u64> {
        Ok(self.store.shared(image))
    }

    /// Bytes of all unpacked layers and of all blobs (`system df`).
    pub fn disk_usage(&self) -> Result<(u64, u64)> {
        self.store.usage()
    }

    /// What made the image, newest step first.
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryEntry>> {
        self.store.history(name, platform)
    }

    /// Gives the image a name; a name that another image had moves. The default tag is added where there is none.
    /// Answers the name, complete, and the image.
    pub async fn tag(&self, name: &str, target: &Reference) -> Result<(Reference, Digest)> {
        let (name, target) = (name.to_owned(), target.clone());
        self.blocking(move |store| store.tag(&name, target)).await
    }

    /// Removes a name, and with the last one the image, as `docker rmi` does; `keep_parents` is its `--no-prune`.
    pub async fn remove(
        &self,
        name: &str,
        force: bool,
        keep_parents: bool,
        uses: Vec<Use>,
    ) -> Result<Vec<Removed>> {
        let name = name.to_owned();
        self.blocking(move |store| store.remove(&name, force, keep_parents, &uses)).await
    }

    /// Removes the images for some platforms, if the name has others, too; else as [`remove`](Self::remove) does.
    pub async fn remove_platforms(
        &self,
        name: &str,
        platforms: Vec<Platform>,
        force: bool,
        uses: Vec<Use>,
    ) -> Result<Vec<Removed>> {
        let name = name.to_owned();
        self.blocking(move |store| store.remove_platforms(&name, &platforms, force, &uses)).await
    }

    /// Removes images that no container uses: the untagged ones, or with `all` the tagged as well, if `wanted` says
    /// so. Sweeps, too: layers that only a removed container held go now.
    pub async fn prune(
        &self,
        all: bool,
        wanted: impl Fn(&Image) -> bool + Send + 'static,
        uses: Vec<Use>,
    ) -> Result<Pruned> {
        self.blocking(move |store| store.prune(all, wanted, &uses)).await
    }

    /// Pulls one image. `platform` None means the host's.
    pub async fn pull(
        &self,
        name: &Reference,
        platform: Option<Platform>,
        auth: Auth,
        progress: Sink,
    ) -> Result<Pulled> {
        pull::pull(&self.store, name, platform, &auth, progress).await
    }

    /// The tags that the registry has for the repository of `name` (`docker pull --all-tags`).
    pub async fn remote_tags(&self, name: &Reference, auth: Auth) -> Result<Vec<String>> {
        let hosts = Host::for_push(&self.store.settings(), name.domain()).await?;
        let session = Session::open(&self.store.settings(), hosts, Target::Pull(name), &auth).await;
        let tags = match session {
            Ok(session) => session.tags().await,
            Err(failure) => Err(failure),
        };
        tags.map_err(|failure| failure.on_pull(name))
    }

    /// What the registry has under that name; nothing is fetched but documents.
    pub async fn remote(&self, name: &Reference, auth: &Auth) -> Result<Remote> {
        remote::inspect(&self.store.settings(), name, auth).await
    }

    /// The repositories that a registry finds for `term` (Docker Hub, or the registry in front of it): the JSON of the
    /// registry's answer.
    pub async fn search(&self, term: &str, limit: u64, auth: &Auth) -> Result<Vec<u8>> {
        remote::search(&self.store.settings(), term, limit, auth).await
    }

    /// Pushes the image of that name; without a tag, all tags of the repository that are here. Layers that are here
    /// only unpacked (of `commit`, say) are packed first.
    pub async fn push(
        &self,
        name: &Reference,
        platform: Option<Platform>,
        auth: Auth,
        progress: Sink,
    ) -> Result<()> {
        push::push(&self.store, name, platform.as_ref(), &auth, progress).await
    }

    /// Reads an archive of `docker save`, of OCI's image layout, or both in one; plain, gzip or zstd. Either all its
    /// images are loaded, or none; of images for several platforms, those that are asked for, or all.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        platforms: Vec<Platform>,
        progress: Sink,
    ) -> Result<Vec<Loaded>> {
        let archive = SyncIoBridge::new(archive);
        self.blocking(move |store| store.load(archive, &platforms, &progress)).await
    }

    /// Writes images as one archive that is an OCI image layout and a `docker save` at once. A repository without a
    /// tag means all its tags. What does not exist fails before anything is written.
    pub async fn save(
        &self,
        names: &[String],
        platforms: Vec<Platform>,
        mut archive: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<()> {
        let names = names.to_vec();
        let runtime = tokio::runtime::Handle::current();
        self.blocking(move |store| {
            store.save(&names, &platforms, SyncIoBridge::new(&mut archive))?;
            let ended = runtime.block_on(archive.shutdown());
            ended.map_err(|error| Error::System(format!("end archive: {error}")))
        })
        .await
    }

    /// What stands at a URL, for [`import`](Self::import).
    pub async fn download(&self, url: &str) -> Result<impl AsyncRead + Send + Unpin + 'static + use<>> {
        remote::download(&self.store.settings(), url).await
    }

    /// Makes an image with one layer of a root file system's archive; plain, gzip or zstd. Answers its id.
    pub async fn import(
        &self,
        import: Import,
        archive: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<Digest> {
        let archive = SyncIoBridge::new(archive);
        self.blocking(move |store| store.import(import, archive)).await
    }

    /// Makes an image of a container's changes. Answers its id.
    pub async fn commit(&self, commit: Commit) -> Result<Digest> {
        self.blocking(move |store| store.commit(commit)).await
    }

    /// Checks credentials against a registry (`docker login`), by its domain or URL; empty is Docker Hub. Answers an
    /// identity token that may stand for the password, if the registry gives one.
    pub async fn login(&self, registry: &str, auth: Auth) -> Result<Option<String>> {
        let hosts = Host::for_push(&self.store.settings(), registry::domain(registry)).await?;
        let session = Session::open(&self.store.settings(), hosts, Target::Login, &auth).await;
        let token = match session {
            Ok(session) => session.login().await,
            Err(failure) => Err(failure),
        };
        token.map_err(registry::Failure::into_error)
    }

    /// Runs what reads, writes and computes on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.unwrap_or_else(|error| Err(Error::System(format!("image operation: {error}"))))
    }
}
