//! Volumes of plugins: a real plugin, over a unix socket, that keeps directories and counts what it is asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hull_testkit::output::eventually;
use hull_testkit::{Daemon, certificates, images, steps};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a plugin has and was asked.
#[derive(Default)]
struct Facts {
    /// Volumes, each with the ids that it is mounted for.
    volumes: BTreeMap<String, Vec<String>>,
    /// Methods in the order of the calls, `Get`, `List` and `Path` left out.
    calls: Vec<String>,
    options: Value,
    /// How often it was asked what it can do.
    questions: usize,
    /// Methods that are refused.
    broken: Vec<&'static str>,
}

/// A volume plugin.
struct Plugin {
    home: TempDir,
    facts: Arc<Mutex<Facts>>,
}

impl Plugin {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("directory");
        let plugin = Self { home, facts: Arc::default() };
        fs::create_dir(plugin.home.path().join("sockets")).expect("mkdir");
        plugin.listen("shelf");
        plugin
    }

    fn listen(&self, name: &str) {
        let socket = UnixListener::bind(self.directory().join(format!("{name}.sock"))).expect("bind");
        let (facts, home) = (Arc::clone(&self.facts), self.home.path().to_owned());
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let (facts, home) = (Arc::clone(&facts), home.clone());
                std::thread::spawn(move || converse(stream, &facts, &home));
            }
        });
    }

    /// Listens behind TLS, and wants certificates of the authority that made its own; where that is.
    fn listen_veiled(&self, certificates: &Path) -> String {
        let pem = |name: &str| CertificateDer::from_pem_file(certificates.join(name)).expect("certificate");
        let mut roots = RootCertStore::empty();
        roots.add(pem("ca.crt")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::from_pem_file(certificates.join("server.key")).expect("key");
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("verifier"))
            .with_single_cert(vec![pem("server.crt")], key)
            .expect("a server");
        let (config, socket) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").expect("bind"));
        let address = socket.local_addr().expect("address").to_string();
        let (facts, home) = (Arc::clone(&self.facts), self.home.path().to_owned());
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
                let (facts, home) = (Arc::clone(&facts), home.clone());
                std::thread::spawn(move || converse(StreamOwned::new(tls, stream), &facts, &home));
            }
        });
        address
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("sockets")
    }

    fn daemon(&self) -> Daemon {
        let daemon = Daemon::start_with(&["--plugin-dir", self.directory().to_str().expect("utf-8")]);
        let archive = images::busybox(daemon.dir()).expect("an image");
        daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
        fs::remove_file(archive).expect("remove");
        daemon
    }

    fn facts<T>(&self, look: impl FnOnce(&mut Facts) -> T) -> T {
        look(&mut self.facts.lock().expect("facts"))
    }

    fn mounted(&self, volume: &str) -> usize {
        self.facts(|facts| facts.volumes.get(volume).map_or(0, Vec::len))
    }
}

/// Answers requests until the daemon closes.
fn converse(stream: impl Read + Write, facts: &Mutex<Facts>, home: &Path) {
    let mut reader = BufReader::new(stream);
    while let Some((method, body)) = request(&mut reader) {
        let (status, answer) = answer(&method, &body, &mut facts.lock().expect("facts"), home);
        let text = answer.to_string();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", text.len());
        if reader.get_mut().write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

fn request(reader: &mut impl BufRead) -> Option<(String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let method = line.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, serde_json::from_slice(&body).unwrap_or_default()))
}

fn answer(method: &str, body: &Value, facts: &mut Facts, home: &Path) -> (u16, Value) {
    let name = body["Name"].as_str().unwrap_or_default().to_owned();
    let id = body["ID"].as_str().unwrap_or_default().to_owned();
    let place = home.join(&name);
    let short = method.trim_start_matches("VolumeDriver.");
    if !matches!(short, "Get" | "List" | "Path" | "Capabilities" | "Plugin.Activate") {
        facts.calls.push(short.to_owned());
    }
    if facts.broken.contains(&short) {
        return (500, json!({"Err": "the shelf is broken"}));
    }
    let shown = |name: &str, ids: &Vec<String>| {
        let mountpoint = if ids.is_empty() { String::new() } else { home.join(name).display().to_string() };
        json!({"Name": name, "Mountpoint": mountpoint, "CreatedAt": "2024-05-06T07:08:09Z", "Status": {"shelf": 7}})
    };
    let there = facts.volumes.contains_key(&name);
    let answer = match short {
        "Plugin.Activate" => json!({"Implements": ["VolumeDriver"]}),
        "Capabilities" => {
            facts.questions += 1;
            json!({"Capabilities": {"Scope": "global"}})
        }
        "Create" => {
            fs::create_dir_all(&place).expect("mkdir");
            facts.options = body["Opts"].clone();
            facts.volumes.insert(name, Vec::new());
            // What Go's encoders make of nothing.
            Value::Null
        }
        "List" => {
            json!({"Volumes": facts.volumes.iter().map(|(name, ids)| shown(name, ids)).collect::<Vec<_>>()})
        }
        _ if !there => json!({"Err": "no such volume on the shelf"}),
        "Get" => json!({"Volume": shown(&name, &facts.volumes[&name])}),
        "Mount" => {
            facts.volumes.entry(name).or_default().push(id);
            json!({"Mountpoint": place})
        }
        "Unmount" => {
            facts.volumes.entry(name).or_default().retain(|other| *other != id);
            json!({})
        }
        "Remove" => {
            facts.volumes.remove(&name);
            fs::remove_dir_all(&place).expect("remove");
            json!({})
        }
        _ => return (404, json!({})),
    };
    (200, answer)
}

#[test]
fn a_plugins_volume_is_made_mounted_and_removed() {
    let plugin = Plugin::start();
    let daemon = plugin.daemon();
    daemon.hull(["volume", "create", "-d", "shelf", "-o", "size=big", "--label", "a=b", "books"]).ok();
    assert_eq!(plugin.facts(|facts| facts.options.clone()), json!({"size": "big"}));
    let seen = daemon.api("GET", "/volumes/books", None).json();
    let expected = json!({
        "CreatedAt": "2024-05-06T07:08:09Z", "Driver": "shelf", "Labels": {"a": "b"}, "Mountpoint": "",
        "Name": "books", "Options": {"size": "big"}, "Scope": "global", "Status": {"shelf": 7},
    });
    assert_eq!(seen, expected);
    daemon.hull(["run", "-d", "--name", "reader", "-v", "books:/b", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["exec", "reader", "sh", "-c", "echo text >/b/file"]).ok();
    assert_eq!(fs::read_to_string(plugin.home.path().join("books/file")).expect("on the shelf"), "text\n");
    assert_eq!(plugin.mounted("books"), 1);
    let source = daemon.hull(["inspect", "-f", "{{(index .Mounts 0).Source}}", "reader"]);
    assert_eq!(source.ok(), plugin.home.path().join("books").to_str().expect("utf-8"));
    daemon.hull(["run", "--rm", "-v", "books:/b:ro", "busybox", "cat", "/b/file"]).ok();
    assert_eq!(plugin.mounted("books"), 1, "each container has a mount of its own");
    daemon.hull(["volume", "rm", "books"]).complains("volume is in use");
    daemon.hull(["rm", "-f", "reader"]).ok();
    assert_eq!(plugin.mounted("books"), 0);
    // It is not ours to prune, and not on our disk.
    let pruned = daemon.api("POST", "/volumes/prune?filters={%22all%22:[%221%22]}", None).json();
    assert_eq!(pruned["VolumesDeleted"], json!([]));
    assert_eq!(daemon.api("GET", "/system/df?type=volume", None).json()["Volumes"], json!([]));
    let drivers = daemon.api("GET", "/info", None).json()["Plugins"]["Volume"].clone();
    assert_eq!(drivers, json!(["local", "shelf"]));
    daemon.hull(["volume", "rm", "books"]).ok();
    assert!(plugin.facts(|facts| facts.volumes.is_empty()));
}

#[test]
fn a_plugin_that_is_about_to_start_is_waited_for() {
    let plugin = Plugin::start();
    let daemon = plugin.daemon();
    std::thread::scope(|scope| {
        let late =
            || daemon.hull(["run", "--rm", "--volume-driver", "late", "-v", "books:/b", "busybox", "true"]);
        let run = scope.spawn(late);
        // Nobody else waits meanwhile.
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        daemon.hull(["volume", "create", "-d", "shelf", "magazines"]).ok();
        assert_eq!(daemon.hull(["volume", "ls", "-q"]).lines(), ["magazines"]);
        assert!(begun.elapsed() < Duration::from_secs(5) && !run.is_finished());
        plugin.listen("late");
        run.join().expect("a run").ok();
    });
    assert!(plugin.facts(|facts| facts.volumes.contains_key("books")));
    daemon.hull(["volume", "rm", "books", "magazines"]).ok();
}

#[test]
fn a_plugin_may_listen_behind_tls() {
    let plugin = Plugin::start();
    let home = tempfile::tempdir().expect("directory");
    certificates::make(home.path());
    let address = plugin.listen_veiled(home.path());
    let describe = |name: &str, authority: &str, own: &str| {
        let file = |name: &str| home.path().join(name);
        let tls = json!({"CAFile": file(authority), "CertFile": file(&format!("{own}.crt")),
            "KeyFile": file(&format!("{own}.key"))});
        let text = json!({"Name": name, "Addr": format!("https://{address}"), "TLSConfig": tls}).to_string();
        fs::write(plugin.directory().join(name).with_extension("json"), text).expect("write");
    };
    describe("veiled", "ca.crt", "client");
    let daemon = plugin.daemon();
    daemon.hull(["volume", "create", "-d", "veiled", "secret"]).ok();
    daemon.hull(["run", "--rm", "-v", "secret:/s", "busybox", "touch", "/s/file"]).ok();
    assert!(plugin.home.path().join("secret/file").exists());
    daemon.hull(["volume", "rm", "secret"]).ok();
    // Who is not who he should be gets nothing, on both sides.
    describe("stranger", "stranger.crt", "client");
    describe("nobody", "ca.crt", "stranger");
    // Both are waited for.
    std::thread::scope(|scope| {
        for (name, why) in [("stranger", "invalid peer certificate"), ("nobody", "dial tcp")] {
            let daemon = &daemon;
            scope.spawn(move || {
                daemon.hull(["volume", "create", "-d", name, name]).complains(why).fails(1);
            });
        }
    });
    describe("lost", "nothing.crt", "client");
    daemon.hull(["volume", "create", "-d", "lost", "one"]).complains("read TLS file").fails(1);
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn an_image_fills_a_plugins_volume() {
    let plugin = Plugin::start();
    let daemon = plugin.daemon();
    let mount = "type=volume,source=conf,target=/etc,volume-driver=shelf";
    daemon.hull(["run", "--rm", "--mount", mount, "busybox", "test", "-e", "/etc/passwd"]).ok();
    assert!(plugin.home.path().join("conf/passwd").exists());
    assert_eq!(plugin.facts(|facts| facts.calls.clone()), ["Create", "Mount", "Unmount", "Mount", "Unmount"]);
    plugin.facts(|facts| facts.calls.clear());
    daemon.hull(["run", "--rm", "--volume-driver", "shelf", "-v", "/scratch", "busybox", "true"]).ok();
    // Where the image has nothing, there is nothing to mount it for but the container.
    assert_eq!(plugin.facts(|facts| facts.calls.clone()), ["Create", "Mount", "Unmount", "Remove"]);
    assert_eq!(plugin.facts(|facts| facts.questions), 1);
    assert_eq!(plugin.facts(|facts| facts.volumes.len()), 1, "--rm takes anonymous volumes along");
    daemon.hull(["volume", "rm", "conf"]).ok();
}

#[test]
fn a_plugin_knows_its_volumes_best() {
    let plugin = Plugin::start();
    let daemon = plugin.daemon();
    daemon.hull(["volume", "create", "-d", "shelf", "ours"]).ok();
    daemon.hull(["volume", "create", "here"]).ok();
    plugin.facts(|facts| drop(facts.volumes.insert("theirs".into(), Vec::new())));
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).lines(), ["here", "ours", "theirs"]);
    let theirs = daemon.api("GET", "/volumes/theirs", None).json();
    assert_eq!(theirs["Driver"], "shelf");
    let other = json!({"Name": "ours", "Driver": "local"});
    let conflict = daemon.api("POST", "/volumes/create", Some(&other));
    let message = "create ours: driver 'shelf' already has volume 'ours': volume name must be unique";
    assert_eq!((conflict.status, conflict.message().as_str()), (409, message));
    // What the plugin has lost is gone.
    plugin.facts(|facts| drop(facts.volumes.remove("ours")));
    let lost = daemon.api("GET", "/volumes/ours", None);
    assert_eq!((lost.status, lost.message().as_str()), (404, "get ours: no such volume"));
    let made = daemon.api("POST", "/volumes/create", Some(&other));
    assert_eq!((made.status, made.json()["Driver"].as_str()), (201, Some("local")));
    plugin.facts(|facts| facts.volumes.clear());
}

#[test]
fn what_a_plugin_refuses_is_told_and_undone() {
    let plugin = Plugin::start();
    let daemon = plugin.daemon();
    plugin.facts(|facts| facts.broken = vec!["Create"]);
    let refused = daemon.api("POST", "/volumes/create", Some(&json!({"Name": "books", "Driver": "shelf"})));
    let message = "create books: VolumeDriver.Create: the shelf is broken";
    assert_eq!((refused.status, refused.message().as_str()), (500, message));
    assert_eq!(daemon.hull(["volume", "ls", "-q"]).ok(), "");
    plugin.facts(|facts| facts.broken = vec!["Mount"]);
    daemon.hull(["volume", "create", "-d", "shelf", "books"]).ok();
    let mount = "type=volume,source=books,target=/b,volume-nocopy";
    daemon
        .hull(["run", "--name", "reader", "--mount", mount, "busybox"])
        .complains("VolumeDriver.Mount: the shelf is broken");
    plugin.facts(|facts| facts.broken = vec!["Remove"]);
    daemon.hull(["rm", "reader"]).ok();
    daemon
        .hull(["volume", "rm", "books"])
        .complains("remove books: VolumeDriver.Remove: the shelf is broken");
    plugin.facts(|facts| facts.broken.clear());
    daemon.hull(["volume", "rm", "books"]).ok();
    // A socket that nobody listens on, and a program that is no plugin of volumes.
    drop(UnixListener::bind(plugin.directory().join("dead.sock")).expect("bind"));
    let all = daemon.api("GET", "/volumes", None);
    assert_eq!((all.status, &all.json()["Volumes"]), (200, &json!([])));
}

#[test]
fn mounts_of_a_plugin_survive_the_daemon() {
    let plugin = Plugin::start();
    let mut daemon = plugin.daemon();
    daemon.hull(["volume", "create", "-d", "shelf", "books"]).ok();
    let run = |daemon: &Daemon, name: &str| {
        daemon.hull(["run", "-d", "--name", name, "-v", "books:/b", "busybox", "sleep", "1000"]).ok();
    };
    run(&daemon, "one");
    run(&daemon, "two");
    assert_eq!(plugin.mounted("books"), 2);
    daemon.kill9();
    daemon.restart();
    assert_eq!(plugin.mounted("books"), 2, "what runs keeps its mounts");
    daemon.hull(["rm", "-f", "one"]).ok();
    assert_eq!(plugin.mounted("books"), 1);
    daemon.crash_everything();
    daemon.restart();
    let patience = std::time::Duration::from_secs(10);
    assert!(eventually(patience, || plugin.mounted("books") == 0), "it is told later");
    daemon.hull(["rm", "two"]).ok();
    daemon.hull(["volume", "rm", "books"]).ok();
}

#[test]
fn a_daemon_that_dies_at_a_start_leaves_no_mount() {
    let plugin = Plugin::start();
    let mut daemon = plugin.daemon();
    daemon.hull(["volume", "create", "-d", "shelf", "books"]).ok();
    let run = ["run", "-d", "--name", "reader", "-v", "books:/b", "busybox", "sleep", "1000"];
    let mut killed_at = |n: usize| {
        let steps = steps::kill_at(&mut daemon, n, |daemon| drop(daemon.hull(run)));
        daemon.restart();
        daemon.hull(["rm", "-f", "reader"]);
        let patience = std::time::Duration::from_secs(20);
        let clean = eventually(patience, || plugin.mounted("books") == 0);
        assert!(clean, "cut at step {n}: {:?}", plugin.facts(|facts| facts.calls.clone()));
        steps
    };
    let all = killed_at(usize::MAX);
    assert!(all > 0);
    for n in (1..=all).step_by(all.div_ceil(12)) {
        killed_at(n);
    }
    daemon.hull(["volume", "rm", "books"]).ok();
}
