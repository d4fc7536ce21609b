//! Registries for the tests: Debian's docker-registry as a child process, and one made by hand that misbehaves.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs a test in a network namespace of its own, with its loopback up.
pub(crate) fn isolated(test: impl AsyncFnOnce() + Send) {
    let (_, ()) = hull_sys::netns::create(|| {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    })
    .unwrap();
}

/// A docker-registry that ends with this.
pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
    pub(crate) directory: tempfile::TempDir,
}

/// What kind of docker-registry.
#[derive(Default)]
pub(crate) struct Kind {
    pub(crate) tls: bool,
    /// User `me`, password `secret`.
    pub(crate) password: bool,
}

const PASSWORD: &str = "me:$2b$04$GhRt/7NRICGIP0p3dPT8muRoFCeQ.RznHqNDXhhhyKbL8ZqGQ.QkW\n";

impl Registry {
    pub(crate) fn start(kind: &Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n",
            path("data")
        );
        std::fs::write(path("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", &path("config.yml")]).env("REGISTRY_HTTP_ADDR", format!("127.0.0.1:{port}"));
        if kind.tls {
            make_certificates(directory.path());
            command.env("REGISTRY_HTTP_TLS_CERTIFICATE", path("server.crt"));
            command.env("REGISTRY_HTTP_TLS_KEY", path("server.key"));
        }
        if kind.password {
            std::fs::write(path("htpasswd"), PASSWORD).unwrap();
            command
                .env("REGISTRY_AUTH_HTPASSWD_REALM", "test")
                .env("REGISTRY_AUTH_HTPASSWD_PATH", path("htpasswd"));
        }
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = Self { child, port, directory };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("docker-registry does not listen");
    }

    /// A name in this registry.
    pub(crate) fn name(&self, rest: &str) -> hull_oci::Reference {
        hull_oci::Reference::parse(&format!("127.0.0.1:{}/{rest}", self.port)).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// An authority, and a certificate of 127.0.0.1 and of registry.test by it.
fn make_certificates(directory: &Path) {
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let authority = ["req", "-x509", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt"];
    openssl(&[&authority[..], &key].concat());
    let subject = [
        "-subj",
        "/CN=registry.test",
        "-addext",
        "subjectAltName=DNS:registry.test,IP:127.0.0.1,IP:192.0.2.1",
    ];
    let issuer = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
    let server = ["req", "-x509", "-keyout", "server.key", "-out", "server.crt"];
    openssl(&[&server[..], &subject, &issuer, &key].concat());
}

/// A request to a [`Fake`].
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a [`Fake`] answers.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Says it sends all, and sends so much.
    pub(crate) cut: Option<usize>,
    /// Then keeps the connection, silently.
    pub(crate) stall: bool,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
        Self { status, body: body.to_string().into_bytes(), ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A server of answers, one for each connection; it notes what it was asked.
pub(crate) struct Fake {
    pub(crate) port: u16,
    pub(crate) log: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer) = (Arc::clone(&log), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &*answer, &noted));
            }
        });
        Self { port, log }
    }

    pub(crate) fn name(&self, rest: &str) -> hull_oci::Reference {
        hull_oci::Reference::parse(&format!("127.0.0.1:{}/{rest}", self.port)).unwrap()
    }

    /// The requests of that path, in order.
    pub(crate) fn asked(&self, part: &str) -> Vec<Asked> {
        let mut log = self.log.lock().unwrap();
        log.extract_if(.., |asked| asked.path.contains(part)).collect()
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&Asked) -> Answer, log: &Mutex<Vec<Asked>>) {
    let Some(asked) = read(&mut stream) else { return };
    let answer = answer(&asked);
    log.lock().unwrap().push(asked);
    let mut head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(b"\r\n");
    let _ = stream.write_all(body);
    if answer.stall {
        std::thread::sleep(Duration::from_secs(5));
    }
}

/// A request; none if this is not one (a TLS greeting, say).
fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length: u64 = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    Some(Asked { method, path, headers })
}
