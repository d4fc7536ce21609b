//! Small images and archives for the tests, made by hand.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub(crate) mod registry;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hull_image::{ImageStore, Settings, Sink};
use hull_oci::Digest;
use hull_snapshot::{Kind, Node, Snapshotter, tar};
use serde_json::{Value, json};

/// A store in a directory of its own, and what a test needs to look into it.
pub(crate) struct Fixture {
    /// The store.
    pub(crate) store: ImageStore,
    /// Its layers.
    pub(crate) snapshotter: Arc<Snapshotter>,
    /// Holds the directory. Last: whoever writes there in the background has ended when it is removed.
    pub(crate) directory: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, snapshotter) = open(directory.path(), settings);
        Self { directory, store, snapshotter }
    }

    /// Opens the same directory again, as after a restart.
    pub(crate) fn reopen(self) -> Self {
        let Self { directory, store, snapshotter } = self;
        snapshotter.finish_removals();
        drop((store, snapshotter));
        let (store, snapshotter) = open(directory.path(), Settings::default());
        Self { directory, store, snapshotter }
    }

    pub(crate) async fn load(&self, archive: Vec<u8>) -> hull_image::Result<Vec<String>> {
        let loaded = self.store.load(std::io::Cursor::new(archive), Vec::new(), Sink::none()).await?;
        Ok(loaded.iter().map(ToString::to_string).collect())
    }

    pub(crate) async fn save(&self, names: &[&str]) -> hull_image::Result<Vec<u8>> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let out = Collect::default();
        self.store.save(&names, Vec::new(), out.clone()).await?;
        let bytes = out.0.lock().unwrap().clone();
        Ok(bytes)
    }

    /// Blobs and layers, and whatever lies about unfinished.
    pub(crate) fn remains(&self) -> Vec<PathBuf> {
        self.snapshotter.finish_removals();
        self.snapshotter.finish_removals();
        let images = self.directory.path().join("images");
        let snapshots = self.directory.path().join("snapshots");
        let places = [
            images.join("blobs/sha256"),
            images.join("ingest"),
            snapshots.join("layers"),
            snapshots.join("unfinished"),
        ];
        let entries = places.iter().flat_map(|place| std::fs::read_dir(place).unwrap());
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// A file of an image, as a container would see it.
    pub(crate) fn read(&self, image: &str, path: &str) -> String {
        let image = self.store.get(image).unwrap();
        let chain = image.chain_ids.last().unwrap();
        let layer = self.directory.path().join("snapshots/layers").join(chain.hex()).join("fs");
        std::fs::read_to_string(layer.join(path)).unwrap()
    }
}

fn open(directory: &Path, settings: Settings) -> (ImageStore, Arc<Snapshotter>) {
    let snapshotter = Arc::new(Snapshotter::open(&directory.join("snapshots")).unwrap());
    let store = ImageStore::open(&directory.join("images"), Arc::clone(&snapshotter), settings).unwrap();
    (store, snapshotter)
}

/// Collects what is written.
#[derive(Clone, Default)]
pub(crate) struct Collect(pub(crate) Arc<Mutex<Vec<u8>>>);

impl tokio::io::AsyncWrite for Collect {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// An archive of files with content, and of links (`path -> target`).
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = tar::Writer::new(Vec::new());
    for (path, content) in files {
        let (path, kind) = match path.split_once(" -> ") {
            Some((path, target)) => (path, Kind::Symlink(target.into())),
            None => (*path, Kind::file(content.len() as u64)),
        };
        let node = Node {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            modified: Default::default(),
            xattrs: vec![],
        };
        writer.append(&node, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

/// The configuration of an image with those layers (uncompressed archives).
pub(crate) fn config(layers: &[&[u8]]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::sha256(layer).to_string()).collect();
    json!({
        "architecture": hull_oci::Platform::host().architecture, "os": "linux", "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Healthcheck": {"Test": ["NONE"]}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| json!({"created": "2026-01-02T03:04:05Z", "created_by": "layer"})).collect::<Vec<_>>(),
    })
}

/// What `docker save` of old wrote: a configuration and `N/layer.tar`s.
pub(crate) fn docker_archive(tag: &str, layers: &[&[u8]]) -> Vec<u8> {
    let config = config(layers).to_string();
    let paths: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": paths}]).to_string();
    let mut files: Vec<(&str, &[u8])> =
        paths.iter().map(String::as_str).zip(layers.iter().copied()).collect();
    files.push(("config.json", config.as_bytes()));
    files.push(("manifest.json", manifest.as_bytes()));
    archive(&files)
}

/// The files of an OCI layout with one image of packed layers.
pub(crate) struct Layout {
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Layout {
    pub(crate) fn new(name: Option<&str>, layers: &[&[u8]], pack: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let mut layout =
            Self { files: vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())] };
        let packed: Vec<Value> = layers
            .iter()
            .map(|layer| layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", pack(layer)))
            .collect();
        let config =
            layout.blob("application/vnd.oci.image.config.v1+json", config(layers).to_string().into_bytes());
        // Some makers say no version.
        let manifest = json!({"schemaVersion": 0, "config": config, "layers": packed});
        let manifest =
            layout.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes());
        layout.index(manifest, name);
        layout
    }

    /// An index of images of one layer each, by architecture, with an attestation of the first.
    pub(crate) fn platforms(name: &str, images: &[(&str, &[u8])]) -> Self {
        let mut layout =
            Self { files: vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())] };
        let mut manifests = Vec::new();
        for (architecture, layer) in images {
            let mut config = config(&[layer]);
            config["architecture"] = json!(architecture);
            let packed = layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer));
            let config =
                layout.blob("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
            let manifest = json!({"schemaVersion": 2, "config": config, "layers": [packed]});
            let bytes = manifest.to_string().into_bytes();
            let mut descriptor = layout.blob("application/vnd.oci.image.manifest.v1+json", bytes);
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            manifests.push(descriptor);
        }
        manifests.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::sha256(b"said"), "size": 9,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": manifests[0]["digest"],
            },
        }));
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        let index = layout.blob(media_type, index.to_string().into_bytes());
        layout.index(index, Some(name));
        layout
    }

    /// The same index, or what is left of it without its last entry.
    pub(crate) fn without_attestations(&mut self, name: &str) {
        let is_index = |(_, bytes): &&(String, Vec<u8>)| bytes.windows(11).any(|part| part == b"attestation");
        let (_, bytes) = self.files.iter().find(is_index).unwrap();
        let mut index: Value = serde_json::from_slice(bytes).unwrap();
        index["manifests"].as_array_mut().unwrap().pop();
        let index = self.blob("application/vnd.oci.image.index.v1+json", index.to_string().into_bytes());
        self.index(index, Some(name));
    }

    /// Adds a blob; its descriptor.
    pub(crate) fn blob(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let digest = Digest::sha256(&content);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": content.len()});
        self.files.push((format!("blobs/sha256/{}", digest.hex()), content));
        descriptor
    }

    /// Replaces the index by one of that manifest.
    pub(crate) fn index(&mut self, mut manifest: Value, name: Option<&str>) {
        if let Some(name) = name {
            manifest["annotations"] = json!({"io.containerd.image.name": name});
        }
        self.files.retain(|(path, _)| path != "index.json");
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        self.files.push(("index.json".to_owned(), index.to_string().into_bytes()));
    }

    pub(crate) fn archive(&self) -> Vec<u8> {
        let files: Vec<(&str, &[u8])> =
            self.files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
        archive(&files)
    }
}
