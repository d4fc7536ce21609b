//! Images made on the spot, from this machine's static busybox.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hull_oci::Digest;
use hull_snapshot::tar::Writer;
use hull_snapshot::{Kind, Node};
use hull_sys::root::Time;
use serde_json::{Value, json};

/// The name under which the archives hold their image.
pub const BUSYBOX: &str = "busybox:latest";

/// What every file here says it was modified at: the images are the same bytes on every machine with the same busybox.
const MODIFIED: Time = Time { seconds: 1_700_000_000, nanos: 0 };

/// A file of an archive.
pub fn file(path: &str, mode: u32) -> Node {
    node(path, Kind::file(0), mode)
}

/// A directory of an archive.
pub fn directory(path: &str, mode: u32) -> Node {
    node(path, Kind::Directory, mode)
}

/// A symbolic link of an archive.
pub fn symlink(path: &str, target: &str) -> Node {
    node(path, Kind::Symlink(target.into()), 0o777)
}

fn node(path: &str, kind: Kind, mode: u32) -> Node {
    Node { path: path.into(), kind, mode, uid: 0, gid: 0, modified: MODIFIED, xattrs: Vec::new() }
}

/// Packs nodes; a file gets the bytes beside it.
pub fn pack(nodes: &[(Node, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (node, content) in nodes {
        let mut node = node.clone();
        if let Kind::File { size, .. } = &mut node.kind {
            *size = content.len() as u64;
        }
        writer.append(&node, &mut &**content).unwrap();
    }
    writer.finish().unwrap()
}

/// The busybox of this machine.
pub fn busybox_program() -> PathBuf {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    places.into_iter().find(|path| path.exists()).expect("tests need busybox-static")
}

/// The layer of the busybox image: the program, its applets, users, and what a shell wants.
pub fn busybox_layer() -> &'static [u8] {
    static LAYER: OnceLock<Vec<u8>> = OnceLock::new();
    LAYER.get_or_init(|| {
        let program = fs::read(busybox_program()).unwrap();
        let list = Command::new(busybox_program()).arg("--list").output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let mut nodes: Vec<(Node, &[u8])> = vec![
            (directory("bin", 0o755), b""),
            (file("bin/busybox", 0o755), &program),
            (directory("dev", 0o755), b""),
            (directory("etc", 0o755), b""),
            (file("etc/group", 0o644), b"root:x:0:\nusers:x:100:guest\nstaff:x:50:\n"),
            (file("etc/passwd", 0o644), b"root:x:0:0:root:/root:/bin/sh\nguest:x:1000:100::/home:/bin/sh\n"),
            (directory("home", 0o755), b""),
            (directory("proc", 0o755), b""),
            (directory("root", 0o700), b""),
            (directory("sys", 0o755), b""),
            (directory("tmp", 0o1777), b""),
            (directory("usr", 0o755), b""),
            (directory("var", 0o755), b""),
        ];
        let applets = list.lines().filter(|applet| *applet != "busybox");
        nodes.extend(applets.map(|applet| (symlink(&format!("bin/{applet}"), "busybox"), &b""[..])));
        pack(&nodes)
    })
}

/// An image: its layers (bottom first) and what a container of it runs.
#[derive(Debug, Clone)]
pub struct Image {
    layers: Vec<Vec<u8>>,
    config: Value,
    created: String,
    architecture: String,
}

impl Image {
    /// Busybox with a shell as its command.
    pub fn busybox() -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self::of(vec![busybox_layer().to_vec()]).set("Cmd", json!(["sh"])).set("Env", json!([path]))
    }

    /// An image with nothing but these layers.
    pub fn of(layers: Vec<Vec<u8>>) -> Self {
        let architecture = hull_oci::Platform::host().architecture;
        Self { layers, config: json!({}), created: "2023-11-14T22:13:20Z".to_owned(), architecture }
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Vec<u8>) -> Self {
        self.layers.push(layer);
        self
    }

    /// Sets a field of the container configuration, as `Entrypoint`.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Sets when it was created, RFC 3339.
    #[must_use]
    pub fn created(mut self, created: &str) -> Self {
        created.clone_into(&mut self.created);
        self
    }

    /// Sets the processor that it is for, by Go's name.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| Digest::sha256(layer).to_string()).collect();
        let history: Vec<_> = diff_ids.iter().map(|_| json!({ "created_by": "testkit" })).collect();
        let config = json!({
            "created": self.created,
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        config.to_string().into_bytes()
    }

    /// The id that the image has everywhere.
    pub fn id(&self) -> Digest {
        Digest::sha256(&self.configuration())
    }

    /// An archive as `docker save` made it before it knew OCI layouts.
    pub fn docker_archive(&self, name: &str) -> Vec<u8> {
        let config = self.configuration();
        let config_name = format!("{}.json", Digest::sha256(&config).hex());
        let names: Vec<_> = (0..self.layers.len()).map(|number| format!("{number}/layer.tar")).collect();
        let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]).to_string();
        let mut nodes: Vec<(Node, &[u8])> = vec![(file(&config_name, 0o644), &config)];
        nodes.extend(
            names.iter().zip(&self.layers).map(|(name, layer)| (file(name, 0o644), layer.as_slice())),
        );
        nodes.push((file("manifest.json", 0o644), manifest.as_bytes()));
        pack(&nodes)
    }

    /// An archive of an OCI image layout.
    pub fn oci_archive(&self, name: &str) -> Vec<u8> {
        let mut blobs = Vec::new();
        let manifest = self.manifest(&mut blobs);
        layout(manifest, name, &blobs)
    }

    /// The same of an index of images for several platforms.
    pub fn index_archive(name: &str, images: &[Self]) -> Vec<u8> {
        let mut blobs = Vec::new();
        let manifests: Vec<_> = images
            .iter()
            .map(|image| {
                let mut manifest = image.manifest(&mut blobs);
                manifest["platform"] = json!({ "os": "linux", "architecture": image.architecture });
                manifest
            })
            .collect();
        let media = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": media, "manifests": manifests });
        let index = blob(&mut blobs, "index.v1+json", index.to_string().into_bytes());
        layout(index, name, &blobs)
    }

    /// Adds the image's blobs; the descriptor of its manifest.
    fn manifest(&self, blobs: &mut Vec<Vec<u8>>) -> Value {
        let layers: Vec<_> =
            self.layers.iter().map(|layer| blob(blobs, "layer.v1.tar", layer.clone())).collect();
        let config = blob(blobs, "config.v1+json", self.configuration());
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": media, "config": config, "layers": layers });
        blob(blobs, "manifest.v1+json", manifest.to_string().into_bytes())
    }
}

/// Adds a blob; its descriptor.
fn blob(blobs: &mut Vec<Vec<u8>>, media: &str, bytes: Vec<u8>) -> Value {
    let described = json!({
        "mediaType": format!("application/vnd.oci.image.{media}"),
        "digest": Digest::sha256(&bytes).to_string(),
        "size": bytes.len(),
    });
    blobs.push(bytes);
    described
}

/// An OCI image layout with one name.
fn layout(mut target: Value, name: &str, blobs: &[Vec<u8>]) -> Vec<u8> {
    target["annotations"] = json!({
        "io.containerd.image.name": format!("docker.io/library/{name}"),
        "org.opencontainers.image.ref.name": name.split(':').nth(1).unwrap_or("latest"),
    });
    let index = json!({ "schemaVersion": 2, "manifests": [target] }).to_string();
    let paths: Vec<_> =
        blobs.iter().map(|blob| format!("blobs/sha256/{}", Digest::sha256(blob).hex())).collect();
    let mut nodes: Vec<(Node, &[u8])> = vec![
        (file("oci-layout", 0o644), br#"{"imageLayoutVersion":"1.0.0"}"#),
        (file("index.json", 0o644), index.as_bytes()),
    ];
    nodes.extend(paths.iter().zip(blobs).map(|(path, blob)| (file(path, 0o644), blob.as_slice())));
    pack(&nodes)
}

/// Writes the busybox image into `dir` as a docker-archive; returns its path.
///
/// # Errors
/// What writing the file fails with.
pub fn busybox(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join("busybox.tar");
    fs::write(&path, Image::busybox().docker_archive(BUSYBOX))?;
    Ok(path)
}
