//! `pull` and `push` against Debian's docker-registry, over HTTP and TLS, and against servers that misbehave.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod kit;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hull_image::{Auth, Error, Progress, Settings, Sink};
use hull_oci::{Digest, Platform, Reference};
use kit::registry::{Answer, Asked, Fake, Kind, Registry, isolated};
use kit::{Fixture, Layout, archive, docker_archive, gzip};
use serde_json::json;

fn layer(text: &str) -> Vec<u8> {
    archive(&[("etc/motd", text.as_bytes())])
}

fn me() -> Auth {
    Auth { username: "me".to_owned(), password: "secret".to_owned(), ..Auth::default() }
}

/// Notes progress as `id status`.
fn notes() -> (Sink, Arc<Mutex<Vec<String>>>) {
    let notes: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Sink::new({
        let notes = Arc::clone(&notes);
        move |Progress { id, status, .. }: Progress| {
            notes.lock().unwrap().push(format!("{} {status}", id.unwrap_or_default()).trim().to_owned());
        }
    });
    (sink, notes)
}

#[test]
fn pushes_and_pulls_over_http() {
    isolated(async || {
        let registry = Registry::start(&Kind::default());
        let source = Fixture::new();
        source.load(docker_archive("app:1", &[&layer("one"), &layer("two")])).await.unwrap();
        let name = registry.name("team/app:1");
        source.store.tag("app:1", &name).await.unwrap();
        let (sink, told) = notes();
        source.store.push(&name, None, Auth::default(), sink).await.unwrap();
        let told = told.lock().unwrap().clone();
        assert_eq!(told[0], format!("The push refers to repository [127.0.0.1:{}/team/app]", registry.port));
        assert_eq!(told.iter().filter(|line| line.ends_with(" Pushed")).count(), 2, "{told:?}");
        let pushed = source.store.get(&name.familiar()).unwrap();
        assert!(
            told.iter().any(|line| line.starts_with(&format!("1: digest: {} size: ", pushed.target.digest)))
        );
        assert_eq!(pushed.repo_digests, [format!("{}@{}", name.name(), pushed.target.digest)]);

        let target = Fixture::new();
        let (sink, told) = notes();
        let pulled = target.store.pull(&name, None, Auth::default(), sink).await.unwrap();
        assert!(pulled.newer && pulled.id == pushed.id);
        assert_eq!(target.read(&name.familiar(), "etc/motd"), "two");
        let told = told.lock().unwrap().clone();
        assert_eq!(told[0], "1 Pulling from team/app");
        for status in
            ["Pulling fs layer", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"]
        {
            assert_eq!(told.iter().filter(|line| line.ends_with(status)).count(), 2, "{status}: {told:?}");
        }
        assert_eq!(told[told.len() - 1], format!("Digest: {}", pulled.digest));
        let (sink, told) = notes();
        let again = target.store.pull(&name, None, Auth::default(), sink).await.unwrap();
        assert!(!again.newer);
        let expected = ["1 Pulling from team/app".to_owned(), format!("Digest: {}", pulled.digest)];
        assert_eq!(told.lock().unwrap()[..2], expected);

        let by_digest = name.with_digest(pulled.digest.clone());
        target.store.remove(&name.familiar(), false, false, vec![]).await.unwrap();
        assert_eq!(target.remains(), Vec::<PathBuf>::new());
        target.store.pull(&by_digest, None, Auth::default(), Sink::none()).await.unwrap();
        assert_eq!(target.store.get(&by_digest.familiar()).unwrap().id, pushed.id);

        let elsewhere = registry.name("other/app:2");
        source.store.tag("app:1", &elsewhere).await.unwrap();
        let (sink, told) = notes();
        source.store.push(&elsewhere, None, Auth::default(), sink).await.unwrap();
        assert_eq!(
            told.lock().unwrap().iter().filter(|line| line.ends_with("Mounted from team/app")).count(),
            2
        );
        source.store.push(&elsewhere, None, Auth::default(), Sink::none()).await.unwrap();
        assert_eq!(source.store.remote_tags(&elsewhere, Auth::default()).await.unwrap(), ["2"]);
    });
}

#[test]
fn knows_dockers_words_for_what_is_not_there() {
    isolated(async || {
        let registry = Registry::start(&Kind::default());
        let fixture = Fixture::new();
        let message = async |name: &Reference| {
            fixture.store.pull(name, None, Auth::default(), Sink::none()).await.unwrap_err().to_string()
        };
        let name = registry.name("no/such");
        let expected =
            format!("manifest for {}:latest not found: manifest unknown: manifest unknown", name.familiar());
        assert_eq!(message(&name).await, expected);
        let push = async |name: &Reference| {
            fixture.store.push(name, None, Auth::default(), Sink::none()).await.unwrap_err().to_string()
        };
        let text = format!("An image does not exist locally with the tag: {}", name.familiar());
        assert_eq!(push(&name).await, text);
        fixture.load(docker_archive(&format!("{}:here", name.familiar()), &[&layer("x")])).await.unwrap();
        let other = name.with_tag("there").unwrap();
        assert_eq!(push(&other).await, format!("tag does not exist: {}", other.familiar()));
        let port = registry.port;
        drop(registry);
        let text = message(&name).await;
        assert!(text.contains(&format!("dial tcp 127.0.0.1:{port}: connect: connection refused")), "{text}");
    });
}

#[test]
fn trusts_the_authorities_it_is_given() {
    isolated(async || {
        let registry = Registry::start(&Kind { tls: true, password: true });
        let certs = tempfile::tempdir().unwrap();
        // Not loopback by name, so it has to be trusted properly.
        std::process::Command::new("ip")
            .args(["address", "add", "192.0.2.1/32", "dev", "lo"])
            .status()
            .unwrap();
        let forward = forward("192.0.2.1:0", registry.port);
        let name = Reference::parse(&format!("192.0.2.1:{forward}/app:1")).unwrap();
        let settings = || Settings { certs_dir: Some(certs.path().to_owned()), ..Settings::default() };
        let source = Fixture::with(settings());
        source.load(docker_archive(&name.to_string(), &[&layer("one")])).await.unwrap();

        let text = source.store.push(&name, None, me(), Sink::none()).await.unwrap_err().to_string();
        assert!(text.ends_with("x509: certificate signed by unknown authority"), "{text}");
        let directory = certs.path().join(format!("192.0.2.1:{forward}"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::copy(registry.directory.path().join("ca.crt"), directory.join("ca.crt")).unwrap();
        source.store.push(&name, None, me(), Sink::none()).await.unwrap();

        let target = Fixture::with(settings());
        let none = target.store.pull(&name, None, Auth::default(), Sink::none()).await.unwrap_err();
        assert!(none.to_string().ends_with("no basic auth credentials"), "{none}");
        let wrong = Auth { password: "wrong".to_owned(), ..me() };
        let text = target.store.pull(&name, None, wrong.clone(), Sink::none()).await.unwrap_err();
        assert!(
            matches!(&text, Error::Unauthorized(text) if text.contains("authentication required")),
            "{text}"
        );
        let refused = target.store.login(name.domain(), wrong).await.unwrap_err().to_string();
        assert!(refused.ends_with("/v2/ failed with status: 401 Unauthorized"), "{refused}");
        target.store.login(name.domain(), me()).await.unwrap();
        target.store.pull(&name, None, me(), Sink::none()).await.unwrap();
        assert_eq!(target.read(&name.familiar(), "etc/motd"), "one");
    });
}

/// Another address for a local port.
fn forward(from: &str, to: u16) -> u16 {
    let listener = std::net::TcpListener::bind(from).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut incoming in listener.incoming().flatten() {
            let mut outgoing = std::net::TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut back_in, mut back_out) = (outgoing.try_clone().unwrap(), incoming.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut incoming, &mut outgoing));
            std::thread::spawn(move || std::io::copy(&mut back_in, &mut back_out));
        }
    });
    port
}

/// An image as a fake registry has it: documents and blobs by path.
struct Content {
    files: Vec<(String, Vec<u8>)>,
    digests: Vec<Digest>,
}

impl Content {
    fn new(layers: &[Vec<u8>]) -> Self {
        let plain: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        let layout = Layout::new(None, &plain, gzip);
        let blobs = layout.files.iter().filter(|(path, _)| path.starts_with("blobs"));
        let named = blobs.map(|(_, bytes)| (Digest::sha256(bytes), bytes.clone()));
        let mut content = Self { files: Vec::new(), digests: Vec::new() };
        for (digest, bytes) in named {
            content.files.push((format!("/blobs/{digest}"), bytes.clone()));
            content.files.push((format!("/manifests/{digest}"), bytes));
            content.digests.push(digest);
        }
        let manifest = content.files[content.files.len() - 1].1.clone();
        content.files.push(("/manifests/1".to_owned(), manifest));
        content
    }

    fn answer(&self, asked: &Asked) -> Answer {
        match self.files.iter().find(|(path, _)| asked.path.ends_with(path)) {
            Some((_, bytes)) => Answer::ok(bytes.clone()),
            None if asked.path.ends_with("/v2/") => Answer::ok("{}"),
            None => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        }
    }
}

#[test]
fn takes_up_a_broken_download_where_it_broke() {
    isolated(async || {
        for ranges in [true, false] {
            let noise: Vec<u8> =
                (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
            let content = Content::new(&[archive(&[("noise", &noise)])]);
            let path = format!("/blobs/{}", content.digests[0]);
            let tries = AtomicUsize::new(0);
            let fake = Fake::start(move |asked| {
                let mut answer = content.answer(asked);
                if asked.path.ends_with(&path) {
                    if let (true, Some(offset)) = (ranges, asked.header("range").strip_prefix("bytes=")) {
                        let offset: usize = offset.trim_end_matches('-').parse().unwrap();
                        answer = Answer { status: 206, body: answer.body.split_off(offset), ..answer };
                    }
                    let cut = answer.body.len() / 2;
                    answer.cut = (tries.fetch_add(1, Ordering::Relaxed) < 2).then_some(cut);
                }
                answer
            });
            let fixture = Fixture::new();
            let name = fake.name("app:1");
            fixture.store.pull(&name, None, Auth::default(), Sink::none()).await.unwrap();
            let asked = fake.asked("/blobs/");
            let offsets: Vec<&str> =
                asked.iter().map(|asked| asked.header("range")).filter(|range| !range.is_empty()).collect();
            assert_eq!(offsets.len(), 2, "{offsets:?}");
            let image = fixture.store.get(&name.familiar()).unwrap();
            assert_eq!(image.size, noise.len() as u64);
        }
    });
}

#[test]
fn the_next_pull_goes_on_where_one_was_cut() {
    isolated(async || {
        for spoiled in [false, true] {
            let noise: Vec<u8> =
                (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
            let content = Content::new(&[archive(&[("noise", &noise)])]);
            let path = format!("/blobs/{}", content.digests[0]);
            let tries = AtomicUsize::new(0);
            let fake = Fake::start(move |asked| {
                let mut answer = content.answer(asked);
                if asked.path.ends_with(&path) {
                    if let Some(offset) = asked.header("range").strip_prefix("bytes=") {
                        let offset: usize = offset.trim_end_matches('-').parse().unwrap();
                        answer = Answer { status: 206, body: answer.body.split_off(offset), ..answer };
                    }
                    let cut = answer.body.len() / 2;
                    answer.cut = (tries.fetch_add(1, Ordering::Relaxed) == 0).then_some(cut);
                }
                answer
            });
            let fixture = Fixture::with(Settings { max_download_attempts: 1, ..Settings::default() });
            let name = fake.name("app:1");
            fixture.store.pull(&name, None, Auth::default(), Sink::none()).await.unwrap_err();
            let partial = fixture.directory.path().join("images/partial");
            let files = || -> Vec<_> {
                std::fs::read_dir(&partial).unwrap().map(|entry| entry.unwrap().path()).collect()
            };
            let [file] = &files()[..] else { panic!("{:?}", files()) };
            let length = std::fs::metadata(file).unwrap().len();
            assert!(length > 0);
            if spoiled {
                std::fs::write(file, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
            }
            let fixture = fixture.reopen();
            fixture.store.pull(&name, None, Auth::default(), Sink::none()).await.unwrap();
            assert_eq!(files(), [""; 0].map(PathBuf::from));
            let asked = fake.asked("/blobs/");
            let offsets: Vec<&str> =
                asked.iter().map(|asked| asked.header("range")).filter(|range| !range.is_empty()).collect();
            assert_eq!(offsets, [format!("bytes={length}-")], "spoiled: {spoiled}");
            let image = fixture.store.get(&name.familiar()).unwrap();
            assert_eq!(image.size, noise.len() as u64);
        }
    });
}

#[test]
fn two_pulls_of_one_image_fetch_it_once() {
    isolated(async || {
        let content = Content::new(&[layer("one"), layer("two")]);
        let fake = Fake::start(move |asked| {
            if asked.path.contains("/blobs/") {
                std::thread::sleep(Duration::from_millis(200));
            }
            content.answer(asked)
        });
        let fixture = Fixture::new();
        let (one, two) = (fake.name("one:1"), fake.name("one:1"));
        let pull = |name| fixture.store.pull(name, None, Auth::default(), Sink::none());
        let (first, second) = tokio::join!(pull(&one), pull(&two));
        assert_eq!(first.unwrap().id, second.unwrap().id);
        let asked = fake.asked("/blobs/");
        // Two layers, and the configuration for each pull.
        assert_eq!(asked.len(), 4, "{:?}", asked.iter().map(|asked| &asked.path).collect::<Vec<_>>());
    });
}

#[test]
fn a_pull_that_is_given_up_leaves_nothing_but_its_beginning() {
    isolated(async || {
        let noise: Vec<u8> =
            (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let content = Content::new(&[layer("one"), archive(&[("noise", &noise)])]);
        let path = format!("/blobs/{}", content.digests[1]);
        let fake = Fake::start(move |asked| {
            let mut answer = content.answer(asked);
            if asked.path.ends_with(&path) {
                // It stalls half-way.
                answer.cut = Some(answer.body.len() / 2);
                answer.stall = true;
            }
            answer
        });
        let fixture = Fixture::new();
        let name = fake.name("app:1");
        let pull = fixture.store.pull(&name, None, Auth::default(), Sink::none());
        assert!(tokio::time::timeout(Duration::from_millis(700), pull).await.is_err());
        for _ in 0..50 {
            if fixture.remains().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("left: {:?}", fixture.remains());
    });
}

#[test]
fn refuses_content_that_is_not_what_was_asked_for() {
    isolated(async || {
        let change = |what: &'static str| {
            let content = Content::new(&[layer("one")]);
            let other = gzip(&layer("two"));
            Fake::start(move |asked| {
                let mut answer = content.answer(asked);
                let blob = |index: usize| asked.path.ends_with(&format!("/blobs/{}", content.digests[index]));
                match what {
                    "layer" if blob(0) => answer.body = gzip(&layer("evil")),
                    "same size" if blob(0) => answer.body.clone_from(&other),
                    "longer" if blob(0) => answer.body.extend_from_slice(b"more"),
                    "flipped" if blob(0) => answer.body[30] ^= 1,
                    "config" if blob(1) => answer.body.push(b' '),
                    "huge manifest" if asked.path.ends_with("/manifests/1") => {
                        answer.body = vec![b' '; 5 << 20]
                    }
                    "both" if asked.path.ends_with("/manifests/1") => {
                        let mut value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                        value["manifests"] = json!([]);
                        answer.body = value.to_string().into_bytes();
                    }
                    "type" if asked.path.ends_with("/manifests/1") => {
                        answer = answer.with("Content-Type", "application/vnd.oci.image.index.v1+json");
                    }
                    _ => {}
                }
                answer
            })
        };
        for what in ["layer", "same size", "longer", "flipped", "config", "huge manifest", "both", "type"] {
            let fake = change(what);
            let settings = Settings { max_download_attempts: 1, ..Settings::default() };
            let fixture = Fixture::with(settings);
            let refused = fixture.store.pull(&fake.name("app:1"), None, Auth::default(), Sink::none()).await;
            let error = refused.expect_err(what);
            assert!(matches!(error, Error::Invalid(_) | Error::Unavailable(_)), "{what}: {error:?}");
            assert_eq!(fixture.remains(), Vec::<PathBuf>::new(), "{what}");
        }
        let fake = change("none");
        let fixture = Fixture::new();
        let wrong = fake.name("app").with_digest(Digest::sha256(b"else"));
        assert!(fixture.store.pull(&wrong, None, Auth::default(), Sink::none()).await.is_err());
        fixture.store.pull(&fake.name("app:1"), None, Auth::default(), Sink::none()).await.unwrap();
        assert_eq!(fixture.store.list(true).unwrap().len(), 1);
    });
}

/// Token servers that are not set up well answer in ways of their own; users are told what they said.
#[test]
fn tells_what_a_token_server_said() {
    isolated(async || {
        let said = |status: u16, body: &'static str| async move {
            let server = Fake::start(move |_| Answer { body: body.into(), ..Answer::status(status) });
            let realm = server.port;
            let fake = Fake::start(move |_| {
                Answer::error(401, "UNAUTHORIZED", "authentication required")
                    .with("WWW-Authenticate", format!(r#"Bearer realm="http://127.0.0.1:{realm}/token""#))
            });
            let fixture = Fixture::new();
            let name = fake.name("team/app:1");
            fixture.store.pull(&name, None, Auth::default(), Sink::none()).await.unwrap_err().to_string()
        };
        let ends = [
            (401, r#"{"error":"unauthorized"}"#, "unauthorized: authentication required"),
            (401, r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (
                429,
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"out of tokens"}]}"#,
                "toomanyrequests: out of tokens",
            ),
            (403, "no way", r#"error parsing HTTP 403 response body: no error in it: "no way""#),
            (400, "", "unexpected status from the registry: 400 Bad Request"),
            (200, r#"{"something":"wrong"}"#, "authorization server did not include a token in the response"),
        ];
        for (status, body, end) in ends {
            let text = said(status, body).await;
            assert!(text.ends_with(end), "{status} {body}: {text}");
        }
    });
}

#[test]
fn gets_tokens_and_keeps_secrets() {
    isolated(async || {
        let token_server = Fake::start(|_| Answer::ok(r#"{"token":"t0k3n"}"#));
        let storage_content = Content::new(&[layer("one")]);
        let storage = Fake::start(move |asked| storage_content.answer(asked));
        let content = Content::new(&[layer("one")]);
        let (realm, elsewhere) = (token_server.port, storage.port);
        let fake = Fake::start(move |asked| {
            if asked.header("authorization") != "Bearer t0k3n" {
                let challenge = format!(r#"Bearer realm="http://127.0.0.1:{realm}/token",service="fake""#);
                return Answer::error(401, "UNAUTHORIZED", "authentication required")
                    .with("WWW-Authenticate", challenge);
            }
            match asked.path.contains("/blobs/") {
                true => Answer::status(307)
                    .with("Location", format!("http://127.0.0.1:{elsewhere}{}", asked.path)),
                false => content.answer(asked),
            }
        });
        let fixture = Fixture::new();
        fixture.store.pull(&fake.name("team/app:1"), None, me(), Sink::none()).await.unwrap();
        let asked = token_server.asked("/token");
        assert_eq!(asked.len(), 1, "one token is enough");
        assert_eq!(asked[0].path, "/token?service=fake&scope=repository%3Ateam%2Fapp%3Apull&account=me");
        assert_eq!(asked[0].header("authorization"), "Basic bWU6c2VjcmV0");
        let redirected = storage.asked("/blobs/");
        assert_eq!(redirected.len(), 2);
        assert!(
            redirected.iter().all(|asked| asked.header("authorization").is_empty()),
            "nothing for strangers"
        );
    });
}

#[test]
fn does_not_answer_strangers() {
    isolated(async || {
        let thief = Fake::start(|_| Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\""));
        let content = Content::new(&[layer("one")]);
        let port = thief.port;
        let fake = Fake::start(move |asked| match asked.path.contains("/blobs/") {
            true => Answer::status(302).with("Location", format!("http://127.0.0.1:{port}/steal")),
            false => content.answer(asked),
        });
        let fixture = Fixture::new();
        let error = fixture.store.pull(&fake.name("app:1"), None, me(), Sink::none()).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
        assert!(thief.asked("/steal").iter().all(|asked| asked.header("authorization").is_empty()));

        let loops = Fake::start(|asked| match asked.path.as_str() {
            "/v2/" => Answer::ok("{}"),
            path => Answer::status(302).with("Location", path),
        });
        let error = fixture.store.pull(&loops.name("app:1"), None, me(), Sink::none()).await.unwrap_err();
        assert!(error.to_string().contains("redirects"), "{error}");
        let file = Fake::start(|asked| match asked.path.as_str() {
            "/v2/" => Answer::ok("{}"),
            _ => Answer::status(302).with("Location", "file:///etc/passwd"),
        });
        assert!(fixture.store.pull(&file.name("app:1"), None, me(), Sink::none()).await.is_err());
    });
}

#[test]
fn says_who_is_denied() {
    isolated(async || {
        let denied = Fake::start(|asked| match asked.path.as_str() {
            "/v2/" => Answer::ok("{}"),
            _ => Answer::error(403, "DENIED", "requested access to the resource is denied"),
        });
        let fixture = Fixture::new();
        let name = denied.name("secret");
        let error = fixture.store.pull(&name, None, Auth::default(), Sink::none()).await.unwrap_err();
        let expected = format!(
            "pull access denied for {}, repository does not exist or may require 'docker login': denied: requested \
             access to the resource is denied",
            name.familiar()
        );
        assert!(matches!(&error, Error::NotFound(text) if *text == expected), "{error}");
    });
}

#[test]
fn chooses_the_platform_and_tries_mirrors() {
    isolated(async || {
        let content = Content::new(&[layer("one")]);
        let host = Platform::host();
        let digest = content.digests.last().unwrap().clone();
        let entry = |architecture: &str, digest: &Digest| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
                "platform": {"os": "linux", "architecture": architecture}})
        };
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry("s390x", &Digest::sha256(b"other")), entry(&host.architecture, &digest)]})
        .to_string();
        let list = Digest::sha256(index.as_bytes());
        let fake = Fake::start(move |asked| match asked.path.ends_with("/manifests/multi") {
            true => Answer::ok(index.clone()),
            false => content.answer(asked),
        });
        let fixture = Fixture::new();
        let name = fake.name("app:multi");
        let pulled = fixture.store.pull(&name, None, Auth::default(), Sink::none()).await.unwrap();
        assert_eq!(pulled.digest, list);
        let image = fixture.store.get(&name.familiar()).unwrap();
        assert_eq!((image.target.digest, image.repo_digests[0].ends_with(&list.to_string())), (digest, true));
        let other = Platform::parse("linux/riscv64").unwrap();
        let error = fixture.store.pull(&name, Some(other), Auth::default(), Sink::none()).await.unwrap_err();
        assert_eq!(error.to_string(), "no matching manifest for linux/riscv64 in the manifest list entries");

        let mirrors = vec!["http://127.0.0.1:1".to_owned(), format!("http://127.0.0.1:{}", fake.port)];
        let fixture = Fixture::with(Settings { mirrors, ..Settings::default() });
        let hub = Reference::parse("busybox:multi").unwrap();
        let asker = Auth { client: "Magic-Client/1.2.3 (linux)".to_owned(), ..me() };
        fixture.store.pull(&hub, None, asker, Sink::none()).await.unwrap();
        assert_eq!(fixture.store.get("busybox:multi").unwrap().repo_tags, ["busybox:multi"]);
        for asked in fake.asked("/v2/library/busybox") {
            assert_eq!(asked.header("authorization"), "");
            let agent = asked.header("user-agent");
            assert!(agent.ends_with(r" UpstreamClient(Magic-Client/1.2.3 \(linux\))"), "{agent}");
        }
    });
}

#[test]
fn platforms_come_one_by_one_and_go_together() {
    isolated(async || {
        let registry = Registry::start(&Kind::default());
        let (host, other) = (Platform::host(), Platform::parse("linux/s390x").unwrap());
        let name = registry.name("app:multi");
        let layers = [layer("ours"), layer("theirs")];
        let images =
            [(host.architecture.as_str(), &layers[0][..]), (other.architecture.as_str(), &layers[1][..])];
        let mut layout = Layout::platforms(&name.to_string(), &images);
        // A registry wants all of an index, and the attestation is not here.
        layout.without_attestations(&name.to_string());
        let source = Fixture::new();
        source.load(layout.archive()).await.unwrap();
        source.store.push(&name, None, Auth::default(), Sink::none()).await.unwrap();
        let image = source.store.get(&name.familiar()).unwrap();
        let index = image.index.clone().unwrap().digest;
        assert!(image.repo_digests[0].ends_with(&index.to_string()), "{:?}", image.repo_digests);

        let fixture = Fixture::new();
        let pull = async |platform: Option<&Platform>| {
            fixture.store.pull(&name, platform.cloned(), Auth::default(), Sink::none()).await.unwrap()
        };
        assert_eq!(pull(Some(&other)).await.digest, index);
        assert_eq!(fixture.store.get(&name.familiar()).unwrap().platform(), other);
        assert!(pull(None).await.newer);
        assert!(!pull(None).await.newer);
        let here = |platform: &Platform| fixture.store.get_for(&name.familiar(), Some(platform)).unwrap();
        assert_eq!((here(&host).platform(), here(&other).platform()), (host.clone(), other.clone()));
        assert_eq!(fixture.store.list(true).unwrap().len(), 1);
        assert_eq!(here(&other).index.unwrap().digest, index);

        // One platform alone is pushed as what it is.
        let alone = registry.name("app:alone");
        fixture.store.tag(&name.familiar(), &alone).await.unwrap();
        fixture.store.push(&alone, Some(other.clone()), Auth::default(), Sink::none()).await.unwrap();
        let copy = Fixture::new();
        copy.store.pull(&alone, Some(other.clone()), Auth::default(), Sink::none()).await.unwrap();
        let image = copy.store.get(&alone.familiar()).unwrap();
        assert_eq!((image.platform(), image.index), (other, None));
    });
}
