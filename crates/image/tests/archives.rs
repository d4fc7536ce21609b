//! `load`, `save`, `import` and `commit`, with archives that are what they should be and with hostile ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod kit;

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::process::Command;

use hull_image::{Commit, Config, Error, Import, ManifestKind, Removed, Settings, Sink, Use};
use hull_oci::{Digest, Platform, Reference};
use hull_snapshot::Limits;
use kit::{Fixture, Layout, archive, config, docker_archive, gzip};
use serde_json::json;

fn layer(text: &str) -> Vec<u8> {
    archive(&[("etc/motd", text.as_bytes())])
}

#[tokio::test]
async fn loads_dockers_archive() {
    let fixture = Fixture::new();
    let (below, above) = (layer("one"), layer("two"));
    let bytes = docker_archive("app:1", &[&below, &above]);
    assert_eq!(fixture.load(bytes).await.unwrap(), ["Loaded image: app:1"]);
    let image = fixture.store.get("app:1").unwrap();
    assert_eq!((image.size, image.layers.len()), (6, 2));
    assert_eq!(fixture.read("app:1", "etc/motd"), "two");
    assert_eq!(image.config.config.healthcheck.as_ref().unwrap().test, ["NONE"]);
    let by_prefix = fixture.store.get(&image.id.hex()[..5]).unwrap();
    assert_eq!(by_prefix.id, image.id);
    let fixture = fixture.reopen();
    assert_eq!(fixture.store.get("app:1").unwrap().id, image.id);
}

type Packer<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

#[tokio::test]
async fn loads_a_layout_in_every_compression() {
    let content = layer("hello");
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let plain = |bytes: &[u8]| bytes.to_vec();
    let packers: [Packer<'_>; 3] = [&plain, &gzip, &zstd];
    for inner in packers {
        for outer in packers {
            let fixture = Fixture::new();
            let layout = Layout::new(Some("docker.io/library/app:1"), &[&content], inner);
            let loaded = fixture.load(outer(&layout.archive())).await.unwrap();
            assert_eq!(loaded, ["Loaded image: app:1"]);
            assert_eq!(fixture.read("app:1", "etc/motd"), "hello");
        }
    }
}

/// What the program of that name makes of `content`.
fn packed(program: &str, content: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    let output = Command::new(program).arg("-c").stdin(file).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    output.stdout
}

#[tokio::test]
async fn bzip2_and_xz_are_for_archives_and_not_for_layers() {
    let content = layer("hello");
    for program in ["bzip2", "xz"] {
        let fixture = Fixture::new();
        let inner = packed(program, &content);
        let layout = Layout::new(Some("docker.io/library/app:1"), &[&content], |_| inner.clone());
        fixture.load(packed(program, &layout.archive())).await.unwrap();
        assert_eq!(fixture.read("app:1", "etc/motd"), "hello");

        let manifest =
            json!([{"Config": "config", "RepoTags": ["old:1"], "Layers": ["layer.tar"]}]).to_string();
        let config = config(&[&content]).to_string();
        let old =
            [("config", config.as_bytes()), ("layer.tar", &inner), ("manifest.json", manifest.as_bytes())];
        fixture.load(archive(&old)).await.unwrap();
        assert_eq!(fixture.read("old:1", "etc/motd"), "hello");

        let import = Import { reference: Some(Reference::parse("new").unwrap()), ..Import::default() };
        fixture.store.import(import, std::io::Cursor::new(inner)).await.unwrap();
        assert_eq!(fixture.read("new", "etc/motd"), "hello");
        for name in ["old:1", "new"] {
            let layer = fixture.store.get(name).unwrap().layers[0].clone();
            assert_eq!(layer.media_type, "application/vnd.oci.image.layer.v1.tar", "{name}");
            assert_eq!(layer.size, content.len() as u64, "{name}");
        }
    }
}

#[tokio::test]
async fn a_name_that_moves_leaves_an_image_without_one() {
    let fixture = Fixture::new();
    fixture.load(docker_archive("app:1", &[&layer("one")])).await.unwrap();
    let before = fixture.store.get("app:1").unwrap().id;
    let said = fixture.load(docker_archive("app:1", &[&layer("two")])).await.unwrap();
    let moved =
        format!("The image app:1 already exists, renaming the old one with ID {before} to empty string");
    assert_eq!(said, [format!("{moved}\nLoaded image: app:1")]);
    assert!(fixture.store.by_id(&before).unwrap().is_dangling());
    // The time of the last name is that of names given here.
    assert_eq!(fixture.store.get("app:1").unwrap().last_tagged, None);
    fixture.store.tag("app:1", &Reference::parse("other").unwrap()).await.unwrap();
    let tagged = fixture.store.get("app:1").unwrap().last_tagged;
    assert!(tagged.is_some());
    let again = fixture.load(docker_archive("app:1", &[&layer("two")])).await.unwrap();
    assert_eq!(again, ["Loaded image: app:1"]);
    assert_eq!(fixture.store.get("app:1").unwrap().last_tagged, tagged);
}

#[tokio::test]
async fn a_parent_that_is_none_is_refused() {
    let fixture = Fixture::new();
    let (base, other) = (kit::config(&[&layer("one")]), kit::config(&[&layer("two")]));
    let id = Digest::sha256(base.to_string().as_bytes()).to_string();
    let manifest = json!([
        {"Config": "base.json", "RepoTags": ["base:1"], "Layers": ["one.tar"]},
        {"Config": "other.json", "RepoTags": ["other:1"], "Layers": ["two.tar"], "Parent": id},
    ]);
    let bytes = archive(&[
        ("base.json", base.to_string().as_bytes()),
        ("other.json", other.to_string().as_bytes()),
        ("one.tar", &layer("one")),
        ("two.tar", &layer("two")),
        ("manifest.json", manifest.to_string().as_bytes()),
    ]);
    let refused = fixture.load(bytes).await.unwrap_err().to_string();
    assert!(refused.contains("is not a valid parent for"), "{refused}");
    assert_eq!(fixture.remains(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn what_is_saved_is_as_old_as_the_image() {
    let fixture = Fixture::new();
    fixture.load(docker_archive("app:1", &[&layer("one")])).await.unwrap();
    let image = fixture.store.get("app:1").unwrap();
    let saved = fixture.save(&["app:1"]).await.unwrap();
    let mut reader = hull_snapshot::tar::Reader::new(&saved[..], u64::MAX);
    let mut times = BTreeMap::new();
    while let Some(node) = reader.next_entry().unwrap() {
        times.insert(node.path.to_string_lossy().into_owned(), node.modified.seconds);
    }
    let created = image.created_unix();
    assert_eq!(times[&format!("blobs/sha256/{}", image.id.hex())], created);
    assert_eq!(times[&format!("blobs/sha256/{}", image.layers[0].digest.hex())], created);
    assert_eq!((times["manifest.json"], times["index.json"]), (0, 0));
}

#[tokio::test]
async fn saved_images_load_again_unchanged() {
    let source = Fixture::new();
    let layout = Layout::new(Some("docker.io/library/app:1"), &[&layer("x")], gzip);
    source.load(layout.archive()).await.unwrap();
    source.store.tag("app:1", &Reference::parse("other").unwrap()).await.unwrap();
    let image = source.store.get("app:1").unwrap();

    for names in [vec!["app", "other:latest"], vec![image.id.short()]] {
        let saved = source.save(&names).await.unwrap();
        assert_eq!(saved, source.save(&names).await.unwrap(), "the same bytes each time");
        let target = Fixture::new();
        target.load(saved).await.unwrap();
        let loaded = target.store.get(&image.id.to_string()).unwrap();
        assert_eq!(loaded.target.digest, image.target.digest, "the manifest is kept");
        assert_eq!(loaded.repo_tags.len(), names.len() % 3 * (names.len() - 1));
    }
    assert!(
        matches!(source.save(&["absent"]).await, Err(Error::NotFound(text)) if text == "No such image: absent:latest")
    );
}

/// The host's architecture and another one.
fn architectures() -> (String, Platform) {
    (Platform::host().architecture, Platform::parse("linux/s390x").unwrap())
}

/// The content of a name's image for a platform.
fn content_for(fixture: &Fixture, name: &str, platform: &Platform) -> String {
    let id = fixture.store.get_for(name, Some(platform)).unwrap().id.to_string();
    fixture.read(&id, "etc/motd")
}

#[tokio::test]
async fn a_name_has_several_platforms() {
    let (host, other) = architectures();
    let layers = [layer("ours"), layer("theirs")];
    let images = [(host.as_str(), &layers[0][..]), (other.architecture.as_str(), &layers[1][..])];
    let layout = Layout::platforms("docker.io/library/app:1", &images);
    let fixture = Fixture::new();
    assert_eq!(fixture.load(layout.archive()).await.unwrap(), ["Loaded image: app:1"]);
    fixture.store.tag("app:1", &Reference::parse("other").unwrap()).await.unwrap();
    let fixture = fixture.reopen();
    for name in ["app:1", "other"] {
        assert_eq!(fixture.read(name, "etc/motd"), "ours");
        assert_eq!(content_for(&fixture, name, &other), "theirs");
    }
    let all = fixture.store.list(true).unwrap();
    assert_eq!(all.len(), 1, "one platform stands for the name");
    let listed = fixture.store.manifests(&all[0]).unwrap();
    let kinds: Vec<_> = listed.iter().map(|one| (one.kind, one.available)).collect();
    let image = (ManifestKind::Image, true);
    assert_eq!(kinds, [image, image, (ManifestKind::Attestation, false)]);
    assert_eq!(listed[2].descriptor.attests(), Some(listed[0].descriptor.digest.to_string().as_str()));
    let theirs = listed[1].image.clone().unwrap();
    assert!(fixture.store.means("app:1", &theirs.id) && !fixture.store.means(theirs.id.hex(), &all[0].id));
    let index = all[0].index.clone().unwrap().digest.to_string();
    assert_eq!(fixture.store.get(&index).unwrap().id, all[0].id);

    // Saved as a whole, or in part; loaded as a whole, or in part.
    let whole = fixture.save(&["app:1"]).await.unwrap();
    let copy = Fixture::new();
    copy.load(whole.clone()).await.unwrap();
    assert_eq!(copy.store.get("app:1").unwrap().index, all[0].index);
    assert_eq!(content_for(&copy, "app:1", &other), "theirs");
    let part = kit::Collect::default();
    fixture.store.save(&["app:1".to_owned()], vec![other.clone()], part.clone()).await.unwrap();
    let part = part.0.lock().unwrap().clone();
    for (archive, wanted) in [(part, vec![]), (whole, vec![other.clone()])] {
        let copy = Fixture::new();
        copy.store.load(std::io::Cursor::new(archive), wanted, Sink::none()).await.unwrap();
        assert_eq!(copy.store.get("app:1").unwrap().platform(), other);
        assert_eq!(copy.read("app:1", "etc/motd"), "theirs");
    }

    // One platform goes alone, the rest with the last name.
    let removed = fixture.store.remove_platforms("app:1", vec![other.clone()], false, vec![]).await.unwrap();
    assert!(removed.contains(&Removed::Deleted(theirs.id.clone())), "{removed:?}");
    assert_eq!(fixture.store.get_for("app:1", Some(&other)).unwrap().id, all[0].id);
    let listed = fixture.store.manifests(&fixture.store.get("app:1").unwrap()).unwrap();
    assert_eq!(listed.iter().filter(|one| one.available).count(), 1);
    fixture.store.remove("app:1", false, false, vec![]).await.unwrap();
    fixture.store.remove("other", false, false, vec![]).await.unwrap();
    assert_eq!(fixture.remains(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_name_goes_with_all_its_platforms() {
    let (host, other) = architectures();
    let layers = [layer("ours"), layer("theirs")];
    let images = [(host.as_str(), &layers[0][..]), (other.architecture.as_str(), &layers[1][..])];
    let layout = Layout::platforms("docker.io/library/app:1", &images);
    let fixture = Fixture::new();
    fixture.load(layout.archive()).await.unwrap();
    let theirs = fixture.store.get_for("app:1", Some(&other)).unwrap().id;
    let running = Use { image: theirs.clone(), container: "c".repeat(64), running: true };
    let pruned = fixture.store.prune(true, |_| true, vec![running]).await.unwrap();
    assert_eq!(pruned.removed, [], "a container uses another platform's");
    // A name that moves takes all platforms' images with it.
    fixture.load(docker_archive("app:1", &[&layer("new")])).await.unwrap();
    assert!(!fixture.store.means("app:1", &theirs));
    fixture.load(layout.archive()).await.unwrap();
    assert!(fixture.store.means("app:1", &theirs));
    fixture.store.remove("app:1", false, false, vec![]).await.unwrap();
    fixture.store.prune(true, |_| true, vec![]).await.unwrap();
    assert_eq!(fixture.remains(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn both_formats_of_one_archive_are_the_same_image() {
    let source = Fixture::new();
    source.load(docker_archive("app:1", &[&layer("x")])).await.unwrap();
    let saved = source.save(&["app:1"]).await.unwrap();
    // Without the layout's mark only Docker's manifest.json is left to go by.
    let at = saved.windows(10).position(|window| window == b"oci-layout").unwrap();
    let mut docker_only = saved.clone();
    docker_only[at..at + 10].copy_from_slice(b"oci-l4y0ut");
    let sum = checksum(&docker_only[..512]);
    docker_only[148..156].copy_from_slice(&sum);
    let target = Fixture::new();
    assert_eq!(target.load(docker_only).await.unwrap(), ["Loaded image: app:1"]);
    assert_eq!(target.store.get("app:1").unwrap().id, source.store.get("app:1").unwrap().id);
}

/// The checksum of a tar header, its own field counting as blanks.
fn checksum(header: &[u8]) -> [u8; 8] {
    let bytes =
        header.iter().enumerate().map(|(index, byte)| if (148..156).contains(&index) { b' ' } else { *byte });
    let sum: u32 = bytes.map(u32::from).sum();
    format!("{sum:06o}\0 ").into_bytes().try_into().unwrap()
}

/// Loads what must be refused; the message. Nothing may be left of it.
async fn refused(fixture: &Fixture, what: &str, bytes: Vec<u8>) -> String {
    match fixture.load(bytes).await {
        Ok(loaded) => panic!("{what}: accepted as {loaded:?}"),
        Err(Error::Invalid(text) | Error::NotSupported(text)) => {
            assert_eq!(fixture.remains(), Vec::<std::path::PathBuf>::new(), "{what} left something");
            text
        }
        Err(error) => panic!("{what}: {error:?} is not the archive's fault"),
    }
}

#[tokio::test]
async fn refuses_hostile_archives() {
    let fixture = Fixture::with(Settings {
        limits: Limits { max_bytes: 1 << 20, max_entries: 100 },
        ..Settings::default()
    });
    let good = layer("x");
    let layout = || Layout::new(None, &[&good], gzip);

    let mut absent = layout();
    absent.files.remove(1);
    let text = refused(&fixture, "absent layer", absent.archive()).await;
    assert!(text.contains("layer sha256:") && text.contains("missing"), "{text}");

    let mut wrong = layout();
    wrong.files[1].1 = gzip(b"something else");
    assert!(
        refused(&fixture, "wrong digest", wrong.archive()).await.contains("verification failed for digest")
    );

    let whole = layout().archive();
    for cut in [600, 1500, whole.len() / 2] {
        refused(&fixture, "truncated", whole[..cut].to_vec()).await;
    }
    refused(&fixture, "truncated gzip", gzip(&whole)[..whole.len() / 20].to_vec()).await;
    refused(&fixture, "truncated layer", Layout::new(None, &[&good[..700]], gzip).archive()).await;

    let bomb = archive(&[("zeros", &vec![0; 2 << 20])]);
    assert!(refused(&fixture, "bomb", Layout::new(None, &[&bomb], gzip).archive()).await.contains("limit"));
    let outside = archive(&[("x -> /etc", b""), ("x/passwd", b"root::0:0")]);
    let text = fixture.load(Layout::new(Some("out:1"), &[&outside], gzip).archive()).await;
    assert!(!std::fs::read_to_string("/etc/passwd").unwrap().starts_with("root::0:0"), "{text:?}");
    if text.is_ok() {
        fixture.store.remove("out:1", true, false, vec![]).await.unwrap();
    }

    assert!(refused(&fixture, "no archive", b"hello".repeat(200)).await.contains("tar"));
    refused(&fixture, "nothing", Vec::new()).await;
    refused(&fixture, "no documents", archive(&[("readme", b"x")])).await;
    refused(&fixture, "the beginning of bzip2", b"BZh91AY&SY".to_vec()).await;
}

#[tokio::test]
async fn refuses_hostile_documents() {
    let fixture = Fixture::new();
    let good = layer("x");
    let docker = |manifest: serde_json::Value, more: &[(&str, &[u8])]| {
        let config = kit::config(&[&good]).to_string();
        let manifest = manifest.to_string();
        let mut files: Vec<(&str, &[u8])> =
            vec![("c", config.as_bytes()), ("l", &good), ("manifest.json", manifest.as_bytes())];
        files.extend(more);
        archive(&files)
    };
    let image =
        |config: &str, layers: &[&str]| json!([{"Config": config, "RepoTags": ["a:1"], "Layers": layers}]);

    for (what, manifest) in [
        ("path outside", image("../../../etc/passwd", &["l"])),
        ("absolute path", image("/etc/passwd", &["l"])),
        ("absent configuration", image("nope", &["l"])),
        ("too few layers", image("c", &[])),
        ("too many layers", image("c", &["l", "l"])),
        ("no images", json!([])),
        ("another type", json!({"a": 1})),
        ("bad tag", json!([{"Config": "c", "RepoTags": ["UPPER"], "Layers": ["l"]}])),
        ("configuration that is a layer", image("l", &["l"])),
        ("cycle", image("c", &["loop"])),
    ] {
        refused(&fixture, what, docker(manifest, &[("loop -> pool", b""), ("pool -> loop", b"")])).await;
    }
    refused(&fixture, "another layer", docker(image("c", &["other"]), &[("other", &layer("y"))])).await;
    let text = refused(&fixture, "huge manifest", archive(&[("manifest.json", &vec![b' '; 5 << 20])])).await;
    assert!(text.contains("4194304 bytes"), "{text}");

    let mut both = Layout::new(None, &[&good], gzip);
    let manifest: serde_json::Value = serde_json::from_slice(&both.files[3].1).unwrap();
    let mut ambiguous = manifest.clone();
    ambiguous["manifests"] = json!([]);
    let descriptor =
        both.blob("application/vnd.oci.image.manifest.v1+json", ambiguous.to_string().into_bytes());
    both.index(descriptor, None);
    refused(&fixture, "manifest and index at once", both.archive()).await;

    let mut deep = Layout::new(None, &[&good], gzip);
    let mut inner = json!({"mediaType": "", "digest": Digest::sha256(&deep.files[3].1), "size": 1});
    for _ in 0..10 {
        inner["platform"] = json!({"os": "linux", "architecture": hull_oci::Platform::host().architecture});
        let index = json!({"schemaVersion": 2, "manifests": [inner]}).to_string().into_bytes();
        inner = deep.blob("application/vnd.oci.image.index.v1+json", index);
    }
    deep.index(inner, None);
    assert!(refused(&fixture, "index in index", deep.archive()).await.contains("index within index"));
}

#[test]
fn damaged_archives_are_refused_or_harmless() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = Fixture::new();
    let content = layer("some content");
    let good =
        [docker_archive("app:1", &[&content]), Layout::new(Some("app:1"), &[&content], gzip).archive()];
    let damage = (
        0..2_usize,
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        any::<prop::sample::Index>(),
    );
    proptest!(ProptestConfig::with_cases(300), |((which, flips, cut) in damage)| {
        let mut bytes = good[which].clone();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 8);
        if runtime.block_on(fixture.load(bytes)).is_ok() {
            let pruned = runtime.block_on(fixture.store.prune(true, |_| true, vec![]));
            prop_assert!(pruned.is_ok());
        }
        prop_assert_eq!(fixture.remains(), Vec::<std::path::PathBuf>::new());
    });
}

#[tokio::test]
async fn imports_a_root_file_system() {
    let fixture = Fixture::new();
    let content = layer("imported");
    let import = || Import {
        reference: Some(Reference::parse("fs").unwrap()),
        changes: vec!["CMD [\"/bin/sh\"]".to_owned(), "ENV A=b".to_owned()],
        source: "-".to_owned(),
        ..Import::default()
    };
    for bytes in [content.clone(), gzip(&content), zstd::encode_all(&content[..], 1).unwrap()] {
        let id = fixture.store.import(import(), std::io::Cursor::new(bytes)).await.unwrap();
        let image = fixture.store.get("fs:latest").unwrap();
        assert_eq!((image.id, image.config.config.env[0].as_str()), (id, "A=b"));
        assert_eq!(fixture.read("fs", "etc/motd"), "imported");
    }
    assert_eq!(fixture.store.history("fs", None).unwrap()[0].comment, "Imported from -");
    fixture.store.prune(true, |_| true, vec![]).await.unwrap();
    for bytes in [content[..700].to_vec(), b"no archive at all, but long enough to be one".repeat(20)] {
        let refused = fixture.store.import(import(), std::io::Cursor::new(bytes)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let bad = Import { changes: vec!["RUN x".to_owned()], ..import() };
    assert!(fixture.store.import(bad, std::io::Cursor::new(content)).await.is_err());
    assert_eq!(fixture.remains(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn commits_what_a_container_changed() {
    let fixture = Fixture::new();
    fixture.load(docker_archive("app:1", &[&layer("one")])).await.unwrap();
    let base = fixture.store.get("app:1").unwrap();
    let mounts = fixture.snapshotter.prepare("box", &base.chain_ids).unwrap();
    let commit = |reference: Option<&str>| Commit {
        parent: Some(base.id.clone()),
        mounts: mounts.clone(),
        config: base.config.config.clone(),
        changes: vec!["LABEL a=b".to_owned()],
        reference: reference.map(|name| Reference::parse(name).unwrap()),
        author: "me".to_owned(),
        comment: "why".to_owned(),
        container: "c".repeat(64),
        created_by: "sh".to_owned(),
        container_config: json!({"Cmd": ["sh"]}),
    };
    fixture.store.commit(commit(Some("same"))).await.unwrap();
    assert_eq!(fixture.store.get("same").unwrap().chain_ids, base.chain_ids, "no change, no layer");

    std::fs::create_dir_all(mounts.upper.join("etc")).unwrap();
    std::fs::write(mounts.upper.join("etc/motd"), "two").unwrap();
    let id = fixture.store.commit(commit(Some("app:2"))).await.unwrap();
    let image = fixture.store.by_id(&id).unwrap();
    assert_eq!((image.parent.as_ref(), image.layers.len()), (Some(&base.id), 2));
    assert_eq!(fixture.read("app:2", "etc/motd"), "two");
    assert_eq!(image.config.extra["container_config"]["Cmd"][0], "sh");

    // Saved with the image below it, it is still known what it was committed on.
    let (both, alone) =
        (fixture.save(&["app:1", "app:2"]).await.unwrap(), fixture.save(&["app:2"]).await.unwrap());
    for (archive, parent) in [(both, Some(&base.id)), (alone, None)] {
        let copy = Fixture::new();
        copy.load(archive).await.unwrap();
        assert_eq!(copy.store.get("app:2").unwrap().parent.as_ref(), parent);
    }
    let history = fixture.store.history("app:2", None).unwrap();
    assert_eq!((history[0].comment.as_str(), history[0].tags[0].as_str()), ("why", "app:2"));
    assert_eq!((history[1].id.as_ref(), history[1].tags[0].as_str()), (Some(&base.id), "app:1"));
    assert_eq!(image.config.config.labels.as_ref().unwrap()["a"], "b");

    let child = fixture.store.remove(base.id.short(), false, false, vec![]).await.unwrap_err();
    assert!(child.to_string().ends_with("(cannot be forced) - image has dependent child images"), "{child}");
    fixture.snapshotter.remove("box").unwrap();
}

#[tokio::test]
async fn removes_as_docker_does() {
    let fixture = Fixture::new();
    fixture.load(docker_archive("app:1", &[&layer("one")])).await.unwrap();
    let image = fixture.store.get("app:1").unwrap();
    let used =
        |running| vec![Use { image: image.id.clone(), container: "abcdefabcdefabcdef".to_owned(), running }];
    let error = fixture.store.remove("app:1", false, false, used(false)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to remove repository reference \"app:1\" (must force) - container abcdefabcdef is using \
             its referenced image {}",
            image.id.short()
        )
    );
    let error = fixture.store.remove(image.id.short(), true, false, used(true)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("(cannot be forced) - image is being used by running container abcdefabcdef")
    );

    fixture.store.tag("app:1", &Reference::parse("app:2").unwrap()).await.unwrap();
    let untagged = |name: &str| Removed::Untagged {
        reference: name.to_owned(),
        image: image.id.clone(),
        labels: Some(BTreeMap::new()),
    };
    assert_eq!(fixture.store.remove("app:2", false, false, used(false)).await.unwrap(), [untagged("app:2")]);
    fixture.store.tag("app:1", &Reference::parse("other:2").unwrap()).await.unwrap();
    let error = fixture.store.remove(image.id.short(), false, false, vec![]).await.unwrap_err();
    assert!(error.to_string().ends_with("(must be forced) - image is referenced in multiple repositories"));
    fixture.store.remove("other:2", false, false, vec![]).await.unwrap();

    let mounts = fixture.snapshotter.prepare("box", &image.chain_ids).unwrap();
    let removed = fixture.store.remove("app", true, false, vec![]).await;
    assert!(matches!(removed, Err(Error::NotFound(_))), "app:latest never was");
    let removed = fixture.store.remove("app:1", true, false, used(false)).await.unwrap();
    assert_eq!(
        removed,
        [untagged("app:1"), Removed::Deleted(image.id.clone())],
        "the container keeps the layer"
    );
    assert!(mounts.lower[0].join("etc/motd").exists());
    fixture.snapshotter.remove("box").unwrap();
    // What the container kept goes with the next prune, which removes no image.
    assert_eq!(fixture.store.prune(false, |_| true, vec![]).await.unwrap().reclaimed, 0);
    assert_eq!(fixture.remains(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn prunes_what_nobody_uses() {
    let fixture = Fixture::new();
    fixture.load(docker_archive("app:1", &[&layer("one")])).await.unwrap();
    let first = fixture.store.get("app:1").unwrap();
    fixture.load(docker_archive("app:1", &[&layer("two")])).await.unwrap();
    assert!(fixture.store.by_id(&first.id).unwrap().is_dangling(), "the name moved");
    let fixture = fixture.reopen();
    let pruned = fixture.store.prune(false, |_| true, vec![]).await.unwrap();
    assert_eq!(
        pruned.removed,
        [Removed::Deleted(first.id.clone()), Removed::DeletedLayer(first.chain_ids[0].clone())]
    );
    let second = fixture.store.get("app:1").unwrap();
    let uses = vec![Use { image: second.id, container: "c".repeat(64), running: false }];
    assert_eq!(fixture.store.prune(true, |_| true, uses).await.unwrap().removed, []);
    let size = fixture.store.get("app:1").unwrap().size;
    let pruned = fixture.store.prune(true, |_| true, vec![]).await.unwrap();
    assert_eq!(pruned.removed.len(), 3);
    assert_eq!(pruned.reclaimed, size, "as much as is shown of it");
    assert_eq!(fixture.store.list(true).unwrap().len(), 0);
}

#[tokio::test]
async fn a_restart_finds_images_and_sweeps_the_rest() {
    let fixture = Fixture::new();
    fixture.load(docker_archive("app:1", &[&layer("one")])).await.unwrap();
    fixture.load(docker_archive("torn:1", &[&layer("two")])).await.unwrap();
    let (app, torn) = (fixture.store.get("app:1").unwrap(), fixture.store.get("torn:1").unwrap());
    let images = fixture.directory.path().join("images");
    let blob = |digest: &Digest| images.join("blobs/sha256").join(digest.hex());
    std::fs::write(images.join("ingest/7"), "half a blob").unwrap();
    std::fs::write(blob(&Digest::sha256(b"lost")), "lost").unwrap();
    let stray = layer("stray");
    fixture.snapshotter.apply(&Digest::sha256(&stray), &stray[..], &Limits::default()).unwrap();
    // As after a crash of the machine: an unpacked layer is gone, and of another image the packed one is cut.
    fixture.snapshotter.remove_layer(&app.chain_ids[0]).unwrap();
    std::fs::write(blob(&torn.layers[0].digest), "cut").unwrap();

    let fixture = fixture.reopen();
    assert_eq!(fixture.read("app:1", "etc/motd"), "one");
    assert!(matches!(fixture.store.get("torn:1"), Err(Error::NotFound(_))));
    // Manifest, configuration, layer packed and unpacked.
    assert_eq!(fixture.remains().len(), 4, "{:?}", fixture.remains());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&images).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_name_may_not_be_a_digest_or_nonsense() {
    let fixture = Fixture::new();
    fixture.load(docker_archive("app:1", &[&layer("one")])).await.unwrap();
    let digest = Reference::parse("app").unwrap().with_digest(Digest::sha256(b"x"));
    assert!(matches!(fixture.store.tag("app:1", &digest).await, Err(Error::Invalid(_))));
    let text = |name: &str| fixture.store.get(name).unwrap_err().to_string();
    assert_eq!(text("nope"), "No such image: nope:latest");
    assert_eq!(text("deadbeef"), "No such image: deadbeef:latest");
    assert_eq!(text("UPPER"), "invalid reference format: repository name (library/UPPER) must be lowercase");
    assert_eq!(text(""), "invalid reference format");
    let id = Digest::sha256(b"nope").to_string();
    assert_eq!(text(&id), format!("No such image: {id}"));
}

#[test]
fn the_default_configuration_is_empty() {
    assert_eq!(serde_json::to_string(&Config::default()).unwrap(), r#"{"Env":[]}"#);
}

#[tokio::test]
async fn an_archive_of_before_docker_1_10_becomes_images_of_today() {
    let fixture = Fixture::new();
    let (base, top) = ("b".repeat(64), "a".repeat(64));
    let json_of = |id: &str, parent: &str, command: &str| {
        json!({"id": id, "parent": parent, "created": "2013-06-13T14:03:50Z", "docker_version": "0.4.0", "Size": 7,
            "container_config": {"Cmd": ["sh", "-c", command]}, "config": {"Cmd": ["cat"], "Env": null}})
        .to_string()
    };
    let (base_json, top_json) = (json_of(&base, "", "one"), json_of(&top, &base, "two"));
    let (below, repositories) = (layer("one"), json!({"old": {"1": top, "latest": top}}).to_string());
    let paths =
        [&base, &top].map(|id| [format!("{id}/json"), format!("{id}/layer.tar"), format!("{id}/VERSION")]);
    // The upper layer is an archive of nothing, and shorter than any archive is.
    let files: Vec<(&str, &[u8])> = vec![
        (&paths[1][0], top_json.as_bytes()),
        (&paths[1][1], b""),
        (&paths[1][2], b"1.0"),
        (&paths[0][0], base_json.as_bytes()),
        (&paths[0][1], &below),
        (&paths[0][2], b"1.0"),
        ("repositories", repositories.as_bytes()),
    ];
    let loaded = fixture.load(archive(&files)).await.unwrap();
    assert_eq!(loaded, ["Loaded image: old:1", "Loaded image: old:latest"]);
    let image = fixture.store.get("old:1").unwrap();
    assert_eq!(image.platform(), Platform::host());
    assert_eq!(image.config.config.cmd.as_deref(), Some(&["cat".to_owned()][..]));
    assert_eq!(image.created().to_string(), "2013-06-13T14:03:50Z");
    let steps: Vec<_> = image.config.history.iter().map(|step| step.created_by.as_str()).collect();
    assert_eq!(steps, ["sh -c one", "sh -c two"]);
    assert!(!image.config.extra.contains_key("id") && image.config.extra.contains_key("container_config"));
    let parent = fixture.store.by_id(image.parent.as_ref().unwrap()).unwrap();
    assert_eq!(fixture.read(parent.id.hex(), "etc/motd"), "one");
    assert_eq!((parent.parent, parent.layers.len()), (None, 1));

    // Nothing is kept of what is not whole.
    let fixture = Fixture::new();
    let refused = |files: Vec<(&'static str, String)>| {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        fixture.load(archive(&files))
    };
    let names = |id: &str| ("repositories", json!({"old": {"1": id}}).to_string());
    let x = |parent: &str| ("x/json", json_of("x", parent, ""));
    for (files, why) in [
        (vec![names("x")], "invalid archive: it names 0 images"),
        (vec![x(""), names("x")], "x/layer.tar is missing"),
        (vec![x("y"), names("x")], "y/json is missing"),
        (vec![x("x"), names("x")], "x is its own ancestor"),
        (vec![x(""), ("x/layer.tar", String::new()), names("z")], "invalid target ID: z"),
        (vec![("x/json", "[]".to_owned()), names("x")], "invalid x/json"),
    ] {
        let error = refused(files).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(fixture.store.list(true).unwrap().is_empty());
}
