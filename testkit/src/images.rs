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
}

impl Image {
    /// Busybox with a shell as its command.
    pub fn busybox() -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self::of(vec![busybox_layer().to_vec()]).set("Cmd", json!(["sh"])).set("Env", json!([path]))
    }

    /// An image with nothing but these layers.
    pub fn of(layers: Vec<Vec<u8>>) -> Self {
        Self { layers, config: json!({}), created: "2023-11-14T22:13:20Z".to_owned() }
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

    fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| Digest::sha256(layer).to_string()).collect();
        let history: Vec<_> = diff_ids.iter().map(|_| json!({ "created_by": "testkit" })).collect();
        let architecture = hull_oci::Platform::host().architecture;
        let config = json!({
            "created": self.created,
            "architecture": architecture,
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
        let mut blobs: Vec<Vec<u8>> = Vec::new();
        let mut add = |media: &str, blob: Vec<u8>| {
            let described = json!({
                "mediaType": format!("application/vnd.oci.image.{media}"),
                "digest": Digest::sha256(&blob).to_string(),
                "size": blob.len(),
            });
            blobs.push(blob);
            described
        };
        let layers: Vec<_> = self.layers.iter().map(|layer| add("layer.v1.tar", layer.clone())).collect();
        let config = add("config.v1+json", self.configuration());
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": media, "config": config, "layers": layers });
        let mut manifest = add("manifest.v1+json", manifest.to_string().into_bytes());
        manifest["annotations"] = json!({
            "io.containerd.image.name": format!("docker.io/library/{name}"),
            "org.opencontainers.image.ref.name": name.split(':').nth(1).unwrap_or("latest"),
        });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string();
        let paths: Vec<_> =
            blobs.iter().map(|blob| format!("blobs/sha256/{}", Digest::sha256(blob).hex())).collect();
        let mut nodes: Vec<(Node, &[u8])> = vec![
            (file("oci-layout", 0o644), br#"{"imageLayoutVersion":"1.0.0"}"#),
            (file("index.json", 0o644), index.as_bytes()),
        ];
        nodes.extend(paths.iter().zip(&blobs).map(|(path, blob)| (file(path, 0o644), blob.as_slice())));
        pack(&nodes)
    }
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
