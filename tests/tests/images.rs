//! Images: in and out of archives, named, listed, removed.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;

use hull_testkit::images::{self, Image, directory, file, pack};
use hull_testkit::{Daemon, Output};
use serde_json::json;

fn load(daemon: &Daemon, archive: &[u8]) -> Output {
    let path = daemon.dir().join("archive.tar");
    fs::write(&path, archive).unwrap();
    let output = daemon.hull(["load", "-i", path.to_str().unwrap()]);
    fs::remove_file(path).unwrap();
    output
}

/// The id of an image in full.
fn id(daemon: &Daemon, name: &str) -> String {
    daemon.hull(["image", "inspect", "-f", "{{.Id}}", name]).ok().to_owned()
}

#[test]
fn both_kinds_of_archives_are_loaded() {
    let daemon = Daemon::start();
    let image = Image::busybox();
    load(&daemon, &image.docker_archive("one:1")).says("Loaded image: one:1").ok();
    load(&daemon, &image.oci_archive("two:2")).says("Loaded image: two:2").ok();
    assert_eq!(id(&daemon, "one:1"), image.id().to_string());
    assert_eq!(id(&daemon, "one:1"), id(&daemon, "two:2"));
    let names = daemon.hull(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut names = names.lines();
    names.sort_unstable();
    assert_eq!(names, ["one:1", "two:2"]);
}

#[test]
fn what_is_saved_is_loaded_again() {
    let daemon = Daemon::start();
    let image =
        Image::busybox().layer(pack(&[(directory("data", 0o755), b""), (file("data/x", 0o600), b"x")]));
    load(&daemon, &image.docker_archive("saved:1")).ok();
    let archive = daemon.dir().join("saved.tar");
    daemon.hull(["save", "-o", archive.to_str().unwrap(), "saved:1"]).ok();
    daemon.hull(["rmi", "saved:1"]).says("Untagged: saved:1").ok();
    assert_eq!(daemon.hull(["images", "-q"]).ok(), "");
    let saved = fs::read(&archive).unwrap();
    load(&daemon, &saved).says("Loaded image: saved:1").ok();
    assert_eq!(id(&daemon, "saved:1"), image.id().to_string());
    // By a whole id there are no names.
    daemon.hull(["save", "-o", archive.to_str().unwrap(), &image.id().to_string()]).ok();
    daemon.hull(["rmi", "saved:1"]).says("Untagged: saved:1").ok();
    load(&daemon, &fs::read(&archive).unwrap()).says("Loaded image ID: sha256:").ok();
    assert_eq!(id(&daemon, &image.id().to_string()), image.id().to_string());
    fs::remove_file(archive).unwrap();
}

#[test]
fn a_repository_is_saved_with_all_its_tags() {
    let daemon = Daemon::start();
    let image = Image::of(vec![pack(&[(file("x", 0o600), b"x")])]);
    load(&daemon, &image.docker_archive("many:1")).ok();
    daemon.hull(["tag", "many:1", "many:2"]).ok();
    let archive = daemon.dir().join("saved.tar");
    daemon.hull(["save", "-o", archive.to_str().unwrap(), "many"]).ok();
    daemon.hull(["rmi", "many:1", "many:2"]).ok();
    load(&daemon, &fs::read(&archive).unwrap()).says("Loaded image: many:1").says("Loaded image: many:2");
    let absent = daemon.hull(["save", "-o", archive.to_str().unwrap(), "few"]);
    absent.complains("No such image: few").fails(1);
    fs::remove_file(archive).unwrap();
}

#[test]
fn names_come_and_go() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["tag", "busybox", "other/name:tag"]).ok();
    assert_eq!(id(&daemon, "busybox"), id(&daemon, "other/name:tag"));
    daemon.hull(["rmi", "busybox"]).says("Untagged: busybox:latest").ok();
    daemon.hull(["image", "inspect", "busybox"]).complains("No such image: busybox").fails(1);
    daemon.hull(["rmi", "other/name:tag"]).says("Deleted: sha256:").ok();
    daemon.hull(["rmi", "other/name:tag"]).complains("No such image: other/name:tag").fails(1);
    daemon.hull(["tag", "busybox", "x"]).complains("No such image: busybox:latest").fails(1);
}

#[test]
fn layers_are_gone_with_their_last_image() {
    let daemon = Daemon::with_busybox();
    let layers = || fs::read_dir(daemon.data_root().join("snapshots/layers")).unwrap().count();
    let upper = pack(&[(file("extra", 0o644), b"extra")]);
    load(&daemon, &Image::busybox().layer(upper).docker_archive("more:1")).ok();
    assert_eq!(layers(), 2);
    daemon.hull(["rmi", "more:1"]).ok();
    assert_eq!(layers(), 1);
    daemon.hull(["rmi", "busybox"]).ok();
    assert_eq!(layers(), 0);
}

#[test]
fn an_image_in_use_stays() {
    let daemon = Daemon::with_busybox();
    let container = daemon.hull(["create", "--name", "user", "busybox", "true"]).ok().to_owned();
    let output = daemon.hull(["rmi", "busybox"]);
    output.complains("conflict: unable to remove repository reference").complains(&container[..12]).fails(1);
    daemon.hull(["rm", "user"]).ok();
    daemon.hull(["rmi", "busybox"]).ok();
}

#[test]
fn hostile_archives_leave_nothing() {
    let daemon = Daemon::start();
    let outside = daemon.dir().join("canary");
    fs::write(&outside, "alive").unwrap();
    let up = format!("{}{}", "../".repeat(20), outside.strip_prefix("/").unwrap().display());
    let evil = pack(&[(file(&up, 0o644), b"dead")]);
    let link = pack(&[
        (images::symlink("out", daemon.dir().to_str().unwrap()), b""),
        (file("out/canary", 0o644), b"dead"),
    ]);
    let whole = Image::busybox().docker_archive("cut:1");
    for archive in [
        Image::of(vec![evil]).docker_archive("evil:1"),
        Image::of(vec![link]).oci_archive("evil:2"),
        whole[..whole.len() / 2].to_vec(),
        b"this is not an archive".repeat(100),
    ] {
        let output = load(&daemon, &archive);
        assert_ne!(output.code, 0, "{output:#?}");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "alive");
        assert_eq!(daemon.hull(["images", "-aq"]).ok(), "");
        for below in ["snapshots/layers", "snapshots/unfinished", "images/blobs/sha256"] {
            let left: Vec<_> = fs::read_dir(daemon.data_root().join(below)).unwrap().collect();
            assert!(left.is_empty(), "{below}: {left:?}");
        }
    }
}

#[test]
fn a_layer_of_everything_is_seen_inside() {
    let daemon = Daemon::start();
    let top = pack(&[
        (file("bin/.wh.vi", 0), b""),
        (directory("etc", 0o755), b""),
        (file("etc/.wh..wh..opq", 0), b""),
        (file("etc/only", 0o4755), b"only"),
    ]);
    let image = Image::busybox()
        .layer(top)
        .set("Cmd", json!(["sh", "-c", "ls /etc; stat -c %a /etc/only; ls /bin/vi"]));
    load(&daemon, &image.docker_archive("layered:1")).ok();
    let output = daemon.hull(["run", "--rm", "--network", "none", "layered:1"]);
    output.says("only\n").says("4755").complains("/bin/vi: No such file");
    assert!(!output.stdout.contains("passwd"), "{output:#?}");
}

#[test]
fn a_root_file_system_is_imported_and_exported() {
    let daemon = Daemon::start();
    let tar = daemon.dir().join("root.tar");
    fs::write(&tar, images::busybox_layer()).unwrap();
    let imported =
        daemon.hull(["import", "-c", "CMD [\"cat\", \"/note\"]", tar.to_str().unwrap(), "imported:1"]);
    assert!(imported.ok().starts_with("sha256:"), "{imported:#?}");
    daemon.hull(["create", "--name", "box", "imported:1"]).ok();
    let exported = daemon.dir().join("exported.tar");
    daemon.hull(["export", "-o", exported.to_str().unwrap(), "box"]).ok();
    let list = std::process::Command::new("tar").arg("-tf").arg(&exported).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for name in ["bin/busybox", "etc/passwd", "tmp/"] {
        assert!(list.lines().any(|line| line == name), "no {name} in {list}");
    }
    fs::remove_file(tar).unwrap();
    fs::remove_file(exported).unwrap();
}

#[test]
fn a_container_becomes_an_image() {
    let daemon = Daemon::with_busybox();
    let script = "echo written >/root/note; rm /etc/group";
    daemon.hull(["run", "--network", "none", "--name", "author", "busybox", "sh", "-c", script]).ok();
    let diff = daemon.hull(["diff", "author"]);
    diff.says("C /etc\n").says("D /etc/group\n").says("C /root\n").says("A /root/note").ok();
    let committed = daemon.hull(["commit", "-m", "a note", "-a", "somebody", "author", "noted:1"]);
    assert!(committed.ok().starts_with("sha256:"), "{committed:#?}");
    daemon.hull(["rm", "author"]).ok();
    let output = daemon.hull([
        "run",
        "--rm",
        "--network",
        "none",
        "noted:1",
        "sh",
        "-c",
        "cat /root/note; ls /etc/group",
    ]);
    output.says("written").complains("/etc/group: No such file");
    let history = daemon.hull(["history", "--format", "{{.Comment}}", "noted:1"]);
    assert_eq!(history.lines()[0], "a note");
    // What the container was told stays, beside what containers of the image are told.
    let inspect = |version: &str| daemon.api("GET", &format!("/{version}/images/noted:1/json"), None).json();
    assert_eq!(inspect("v1.44")["ContainerConfig"]["Cmd"], json!(["sh", "-c", script]));
    assert_eq!(inspect("v1.45")["ContainerConfig"], json!(null));
}

#[test]
fn what_was_made_to_mount_on_is_no_change() {
    let daemon = Daemon::start();
    let busybox = fs::read(images::busybox_program()).unwrap();
    let bare = pack(&[(directory("bin", 0o755), b""), (file("bin/busybox", 0o755), &busybox)]);
    load(&daemon, &Image::of(vec![bare]).docker_archive("bare:1")).ok();
    let run = ["run", "--name", "author", "-v", "/data", "bare:1", "busybox", "touch", "/made"];
    daemon.hull(run).ok();
    assert_eq!(daemon.hull(["diff", "author"]).lines(), ["A /data", "A /made"]);
    daemon.hull(["commit", "author", "bare:2"]).ok();
    daemon.hull(["run", "--rm", "bare:2", "busybox", "test", "-e", "/made"]).ok();
    // Through an archive, where mounts do not show.
    daemon.hull(["create", "--name", "reader", "bare:2", "true"]).ok();
    let archive = daemon.dir().join("root.tar");
    daemon.hull(["export", "-o", archive.to_str().unwrap(), "reader"]).ok();
    let listed = std::process::Command::new("tar").arg("-tf").arg(&archive).output().unwrap();
    let mut names: Vec<_> = std::str::from_utf8(&listed.stdout).unwrap().lines().collect();
    names.sort_unstable();
    // What it has beside the image's files is what every container has from its creation on.
    let image = ["bin/", "bin/busybox", "data/", "made"];
    let furniture = [
        ".dockerenv",
        "dev/",
        "dev/console",
        "dev/pts/",
        "dev/shm/",
        "etc/",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
        "proc/",
        "sys/",
    ];
    let mut expected = [image.as_slice(), &furniture].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
    fs::remove_file(archive).unwrap();
}

#[test]
fn an_archive_is_imported_from_where_it_stands() {
    let daemon = Daemon::start();
    let root = pack(&[(file("note", 0o644), b"from afar")]);
    fs::create_dir(daemon.dir().join("www")).unwrap();
    fs::write(daemon.dir().join("www/root.tar"), root).unwrap();
    let www = daemon.dir().join("www");
    let mut server = std::process::Command::new("busybox")
        .args(["httpd", "-f", "-p", "127.0.0.1:18055", "-h", www.to_str().unwrap()])
        .spawn()
        .unwrap();
    let up = || std::net::TcpStream::connect("127.0.0.1:18055").is_ok();
    assert!(hull_testkit::output::eventually(hull_testkit::output::PATIENCE, up));
    let import = daemon.docker(["import", "http://127.0.0.1:18055/root.tar", "afar:1"]);
    let absent = daemon.api("POST", "/images/create?fromSrc=127.0.0.1:18055/nosuch", None);
    server.kill().unwrap();
    server.wait().unwrap();
    import.says("sha256:").ok();
    assert_eq!(absent.status, 404, "{}", absent.message());
    let refused = daemon.api("POST", "/images/create?fromSrc=127.0.0.1:18055/root.tar", None);
    assert!(refused.message().contains("connection refused"), "{}", refused.message());
    let other = daemon.api("POST", "/images/create?fromSrc=file:///etc/passwd", None);
    assert_eq!(other.status, 400, "{}", other.message());
    assert_eq!(daemon.hull(["images", "-q"]).lines().len(), 1);
    fs::remove_dir_all(www).unwrap();
}

/// The names of the images that a list with these filters shows.
fn listed(daemon: &Daemon, query: &str, filters: &serde_json::Value) -> Vec<String> {
    let escaped: String = filters.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    let list = daemon.api("GET", &format!("/images/json?filters={escaped}&{query}"), None);
    assert_eq!(list.status, 200, "{filters}: {}", list.message());
    let list = list.json();
    let images = list.as_array().unwrap().iter();
    let mut names: Vec<_> =
        images.map(|image| image["RepoTags"][0].as_str().unwrap_or("-").to_owned()).collect();
    names.sort_unstable();
    names
}

#[test]
fn images_of_one_second_are_told_apart() {
    let daemon = Daemon::start();
    for number in 1..=5 {
        let layer = pack(&[(file("x", 0o600), &[number])]);
        let created = format!("2020-01-01T00:00:00.00{number}Z");
        load(&daemon, &Image::of(vec![layer]).created(&created).docker_archive(&format!("i{number}:1"))).ok();
    }
    let between = json!({"since": ["i1:1"], "before": ["i5:1"]});
    assert_eq!(listed(&daemon, "", &between), ["i2:1", "i3:1", "i4:1"]);
    let until = json!({"since": ["i1:1"], "until": ["2020-01-01T00:00:00.003Z", "2020-01-01T00:00:00.004Z"]});
    assert_eq!(listed(&daemon, "", &until), ["i2:1"]);
}

#[test]
fn images_are_listed_by_every_filter() {
    let daemon = Daemon::start();
    let at = |name: &str, label: &str, created: &str| {
        let layer = pack(&[(file("x", 0o600), created.as_bytes())]);
        let image = Image::of(vec![layer]).set("Labels", json!({"name": label})).created(created);
        load(&daemon, &image.docker_archive(&format!("{name}:1"))).ok();
        image
    };
    at("old", "a", "2020-01-01T00:00:00Z");
    let middle = at("team/middle", "b", "2021-01-01T00:00:00Z");
    at("young", "b", "2022-01-01T00:00:00Z");
    at("nameless", "a", "2019-01-01T00:00:00Z");
    at("nameless", "c", "2019-02-01T00:00:00Z");
    for (query, filters, names) in [
        ("", json!({}), "- nameless:1 old:1 team/middle:1 young:1"),
        ("", json!({"dangling": ["true"]}), "-"),
        ("", json!({"dangling": ["0"]}), "nameless:1 old:1 team/middle:1 young:1"),
        ("", json!({"label": ["name=b"]}), "team/middle:1 young:1"),
        ("", json!({"label": ["name"], "label!": ["name=b"]}), "- nameless:1 old:1"),
        ("", json!({"before": ["team/middle:1"]}), "- nameless:1 old:1"),
        ("", json!({"since": [middle.id().to_string()]}), "young:1"),
        ("", json!({"until": ["2020-06-01T00:00:00Z"]}), "- nameless:1 old:1"),
        ("", json!({"until": ["1h"]}), "- nameless:1 old:1 team/middle:1 young:1"),
        ("", json!({"reference": ["old"]}), "old:1"),
        ("", json!({"reference": ["*"]}), "nameless:1 old:1 young:1"),
        ("", json!({"reference": ["*/*"]}), "team/middle:1"),
        ("", json!({"reference": ["young:1", "old:2"]}), "young:1"),
    ] {
        assert_eq!(listed(&daemon, query, &filters).join(" "), names, "{filters}");
    }
    let old = daemon.api("GET", "/v1.40/images/json?filter=young", None).json();
    assert_eq!(old.as_array().map(Vec::len), Some(1), "the filter of old clients");
    for (path, status, message) in [
        ("filters=%7B%22before%22:%5B%22nosuch%22%5D%7D", 404, "No such image: nosuch:latest"),
        ("filters=%7B%22frob%22:%5B%22x%22%5D%7D", 400, "invalid filter 'frob'"),
        ("identity=1", 400, "conflicting options: identity requires manifests=1"),
    ] {
        let refused = daemon.api("GET", &format!("/images/json?{path}"), None);
        assert_eq!((refused.status, refused.message().as_str()), (status, message));
    }
}

/// The machine's, as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[test]
fn an_image_tells_of_its_manifest_and_platform() {
    let daemon = Daemon::with_busybox();
    let container = daemon.hull(["create", "busybox"]).ok().to_owned();
    let list = daemon.api("GET", "/images/json?manifests=1&shared-size=1", None).json();
    let manifest = &list[0]["Manifests"][0];
    assert_eq!(manifest["Kind"], "image");
    assert_eq!(manifest["ID"], list[0]["Descriptor"]["digest"]);
    assert_eq!(manifest["ImageData"]["Containers"], json!([container]));
    assert_eq!(manifest["ImageData"]["Size"]["Unpacked"], list[0]["Size"]);
    assert_eq!((&list[0]["Containers"], &list[0]["SharedSize"]), (&json!(1), &json!(0)));
    let asked = |path: &str| {
        let answer = daemon.api("GET", path, None);
        (answer.status, answer.message())
    };
    let here = format!("%7B%22os%22:%22linux%22,%22architecture%22:%22{}%22%7D", architecture());
    let elsewhere = "%7B%22os%22:%22linux%22,%22architecture%22:%22s390x%22%7D";
    let absent = format!(
        "image with reference busybox was found but its platform (linux/{}) does not match the specified platform (linux/s390x)",
        architecture()
    );
    for path in ["/images/busybox/json", "/images/busybox/history", "/images/busybox/get"] {
        assert_eq!(asked(&format!("{path}?platform={here}")).0, 200, "{path}");
        assert_eq!(asked(&format!("{path}?platform={elsewhere}")), (404, absent.clone()), "{path}");
        let half = asked(&format!("{path}?platform=%7B%22os%22:%22linux%22%7D"));
        assert_eq!(half, (400, "both OS and Architecture must be provided".to_owned()), "{path}");
    }
    let both = asked(&format!("/images/busybox/json?manifests=1&platform={here}"));
    assert_eq!(
        both,
        (400, "conflicting options: manifests and platform options cannot both be set".to_owned())
    );
    let removed = daemon.api("DELETE", &format!("/images/busybox?platforms={elsewhere}"), None);
    assert_eq!((removed.status, removed.message()), (404, absent));
}

#[test]
fn a_name_has_images_for_several_platforms() {
    let daemon = Daemon::start();
    let ours = Image::busybox();
    let theirs = Image::busybox().layer(pack(&[(file("theirs", 0o644), b"x")])).architecture("s390x");
    load(&daemon, &Image::index_archive("app:1", &[ours.clone(), theirs.clone()]))
        .says("Loaded image: app:1")
        .ok();
    let other = "%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22s390x%22%7D";
    let get = |path: &str| daemon.api("GET", path, None);
    let create = |query: &str, body: serde_json::Value| {
        daemon.api("POST", &format!("/containers/create?{query}"), Some(&body))
    };

    let shown = get("/images/app:1/json?manifests=1").json();
    assert_eq!(shown["Id"], ours.id().to_string());
    let (index, host) = (shown["Descriptor"].clone(), shown["Architecture"].clone());
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let shown = get(&format!("/images/app:1/json?platform={other}")).json();
    assert_eq!((&shown["Id"], &shown["Architecture"]), (&json!(theirs.id().to_string()), &json!("s390x")));
    assert_eq!(shown["Descriptor"], json!(null), "it was not asked for");
    assert_eq!(get(&format!("/images/app:1/history?platform={other}")).json().as_array().unwrap().len(), 2);

    let body = json!({"Image": "app:1", "Cmd": ["true"]});
    let made = create("name=box&platform=linux/s390x", body.clone());
    assert_eq!(made.status, 201, "{}", made.message());
    assert_eq!(create("platform=linux/riscv64", body).status, 404);
    let absent =
        get("/images/app:1/json?platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22riscv64%22%7D");
    let text =
        "image with reference app:1 was found but does not provide the specified platform (linux/riscv64)";
    assert_eq!((absent.status, absent.message().as_str()), (404, text));
    let listed = get("/containers/json?all=1").json();
    assert_eq!(
        (&listed[0]["Image"], &listed[0]["ImageID"]),
        (&json!("app:1"), &json!(theirs.id().to_string()))
    );

    let images = get("/images/json?manifests=1").json();
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    assert_eq!(images[0]["Descriptor"], index);
    let of = |manifest: &serde_json::Value| {
        let data = &manifest["ImageData"];
        let users = data["Containers"].as_array().unwrap().len();
        (data["Platform"]["architecture"].clone(), manifest["Available"].clone(), users)
    };
    let manifests = images[0]["Manifests"].as_array().unwrap();
    let shown: Vec<_> = manifests.iter().map(of).collect();
    assert_eq!(shown, [(host, json!(true), 0), (json!("s390x"), json!(true), 1)]);

    let refused = daemon.api("DELETE", &format!("/images/app:1?platforms={other}"), None);
    assert_eq!(refused.status, 409, "{}", refused.message());
    daemon.hull(["rm", "box"]).ok();
    let removed = daemon.api("DELETE", &format!("/images/app:1?platforms={other}"), None).json();
    assert_eq!(removed[0], json!({"Deleted": theirs.id().to_string()}), "{removed}");
    let refused = get(&format!("/images/app:1/json?platform={other}"));
    let text = format!(
        "image with reference app:1 was found but its platform (linux/{}) does not match the specified platform (linux/s390x)",
        architecture()
    );
    assert_eq!((refused.status, refused.message()), (404, text));
    let manifests = get("/images/app:1/json?manifests=1").json()["Manifests"].clone();
    assert_eq!((&manifests[0]["Available"], &manifests[1]["Available"]), (&json!(true), &json!(false)));
    assert_eq!(daemon.hull(["run", "--rm", "app:1", "echo", "still"]).ok(), "still");
    daemon.hull(["rmi", "app:1"]).ok();
    assert_eq!(daemon.hull(["images", "-aq"]).ok(), "");
}

#[test]
fn of_an_image_in_use_the_last_name_stays() {
    let daemon = Daemon::with_busybox();
    for name in ["busybox:h", "busybox:a", "elsewhere/box:1"] {
        daemon.hull(["tag", "busybox", name]).ok();
    }
    daemon.hull(["create", "--name", "user", "busybox", "true"]).ok();
    let prune = || daemon.api("POST", "/images/prune?filters=%7B%22dangling%22:%5B%22false%22%5D%7D", None);
    let untagged =
        json!([{"Untagged": "elsewhere/box:1"}, {"Untagged": "busybox:a"}, {"Untagged": "busybox:h"}]);
    let pruned = prune().json();
    assert_eq!((&pruned["ImagesDeleted"], &pruned["SpaceReclaimed"]), (&untagged, &json!(0)));
    assert_eq!(prune().json()["ImagesDeleted"], json!(null));
    daemon.hull(["rm", "user"]).ok();
    assert_eq!(prune().json()["ImagesDeleted"][0], json!({"Untagged": "busybox:latest"}));
    assert_eq!(daemon.hull(["images", "-aq"]).ok(), "");
}

#[test]
fn a_mounted_image_keeps_its_name() {
    let daemon = Daemon::with_busybox();
    load(&daemon, &Image::of(vec![pack(&[(file("note", 0o644), b"here")])]).docker_archive("data:1")).ok();
    let mount = ["run", "-d", "--name", "user", "--mount", "type=image,src=data:1,dst=/data", "busybox"];
    daemon.hull(mount.iter().chain(&["sleep", "1000"])).ok();
    let text = "conflict: unable to remove repository reference \"data:1\" (must force) - container";
    daemon.hull(["rmi", "data:1"]).complains(text).fails(1);
    daemon.hull(["rmi", "-f", "data:1"]).ok();
    assert_eq!(daemon.hull(["exec", "user", "cat", "/data/note"]).ok(), "here");
}

#[test]
fn what_keeps_an_image_is_said() {
    let daemon = Daemon::with_busybox();
    let image = id(&daemon, "busybox");
    let short = &image["sha256:".len()..][..12];
    let container = daemon.hull(["run", "-d", "--name", "user", "busybox", "sleep", "1000"]).ok().to_owned();
    let user = &container[..12];
    let remove = |query: &str| {
        let answer = daemon.api("DELETE", &format!("/images/{image}{query}"), None);
        (answer.status, answer.message())
    };
    let running = format!(
        "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {user}"
    );
    assert_eq!(remove(""), (409, running.clone()));
    assert_eq!(remove("?force=1"), (409, running));
    daemon.hull(["kill", "user"]).ok();
    daemon.hull(["wait", "user"]).ok();
    let stopped = format!(
        "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {user}"
    );
    assert_eq!(remove(""), (409, stopped));
    daemon.hull(["rm", "user"]).ok();
    daemon.hull(["tag", "busybox", "elsewhere/box:1"]).ok();
    let many = format!(
        "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    );
    assert_eq!(remove(""), (409, many));
    assert_eq!(remove("?force=1").0, 200);
    assert_eq!(remove(""), (404, format!("No such image: {image}")));
    assert_eq!(daemon.api("DELETE", "/images/%20", None).message(), "image name cannot be blank");
}

#[test]
fn names_that_are_none_are_refused() {
    let daemon = Daemon::with_busybox();
    for (method, path, status, message) in [
        (
            "POST",
            "/images/busybox/tag?repo=UP",
            400,
            "invalid reference format: repository name (library/UP) must be lowercase",
        ),
        ("POST", "/images/busybox/tag?repo=a&tag=:", 400, "invalid tag format"),
        ("POST", "/images/busybox/tag", 400, "invalid reference format"),
        (
            "POST",
            "/images/busybox/tag?repo=sha256",
            400,
            "refusing to create an ambiguous tag using digest algorithm as name",
        ),
        ("POST", "/images/nosuch/tag?repo=a", 404, "No such image: nosuch:latest"),
        ("POST", "/images/create?fromImage=a%20b", 400, "invalid reference format"),
        ("POST", "/images/create?fromImage=scratch", 403, "'scratch' is a reserved name"),
        (
            "POST",
            "/images/create?fromImage=a&platform=a/b/c/d",
            400,
            "\"a/b/c/d\": cannot parse platform specifier: invalid argument",
        ),
        (
            "POST",
            "/images/create?fromSrc=-&platform=%2F",
            400,
            "\"\" is an invalid OS component of \"/\": OSAndVersion specifier component must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument",
        ),
        ("POST", "/images/create?fromSrc=-&platform=macos/arm64", 400, "operating system is not supported"),
        ("POST", "/images/a%2F%2Fb/push", 400, "invalid reference format"),
        ("GET", "/images/get", 400, "no images to save"),
        ("GET", "/images/get?names=nosuch", 404, "No such image: nosuch:latest"),
        ("GET", "/images/nosuch/history", 404, "No such image: nosuch:latest"),
        (
            "GET",
            "/distribution/UP/json",
            400,
            "invalid reference format: repository name (library/UP) must be lowercase",
        ),
        ("GET", "/images/search?term=x&limit=101", 400, "limit 101 is outside the range of [1, 100]"),
        (
            "GET",
            "/images/search?term=x&limit=x",
            400,
            "invalid limit specified: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
    ] {
        let answer = daemon.api(method, path, None);
        assert_eq!((answer.status, answer.message().as_str()), (status, message), "{method} {path}");
    }
}

/// An image of one file, imported under a name, with instructions.
fn import(daemon: &Daemon, name: &str, changes: &str) -> hull_testkit::http::Response {
    let (repository, tag) = name.split_once(':').unwrap();
    let changes: String = changes.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}&changes={changes}");
    daemon.send(
        "POST",
        &path,
        &["Content-Type: application/x-tar"],
        &pack(&[(file("name", 0o600), name.as_bytes())]),
    )
}

#[test]
fn instructions_of_an_import_stand_in_lines() {
    let daemon = Daemon::start();
    assert_eq!(import(&daemon, "lines:1", "ENV A=b C=d\n# a remark\nLABEL x=y").status, 200);
    let config = daemon.api("GET", "/images/lines:1/json", None).json()["Config"].clone();
    assert_eq!((&config["Env"], &config["Labels"]), (&json!(["A=b", "C=d"]), &json!({"x": "y"})));
    let refused = import(&daemon, "lines:2", "USER a\nSHELL [\"/x\"]");
    assert_eq!(refused.message(), "SHELL is not a valid change command");
}

#[test]
fn until_takes_dates() {
    let daemon = Daemon::start();
    import(&daemon, "old:1", "LABEL a=b");
    assert_eq!(listed(&daemon, "", &json!({"until": ["2100-01-01"]})).len(), 1);
    assert_eq!(listed(&daemon, "", &json!({"until": ["2000-01-31T12:30"]})).len(), 0);
    let path = "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%2C%22until%22%3A%5B%222000-01-01%22%5D%7D";
    let pruned = daemon.api("POST", path, None);
    assert_eq!((pruned.status, &pruned.json()["ImagesDeleted"]), (200, &serde_json::Value::Null));
}

#[test]
fn archives_name_images_in_full_and_of_this_system() {
    let daemon = Daemon::start();
    let load = |archive: &[u8], query: &str| {
        let answer = daemon.send("POST", &format!("/images/load{query}"), &[], archive);
        String::from_utf8(answer.body).unwrap()
    };
    let post = |image: &Image, name: &str, query: &str| load(&image.docker_archive(name), query);
    let image = Image::busybox();
    assert!(post(&image, "bare", "").contains(r#""error":"invalid tag \"bare\"""#));
    let manifest = br#"[{"Config":"c.json","RepoTags":["other:1"],"Layers":[]}]"#;
    let config = br#"{"os":"windows","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let other = pack(&[(file("manifest.json", 0o600), manifest), (file("c.json", 0o600), config)]);
    assert!(load(&other, "").contains(r#""error":"cannot load windows image on linux""#));
    assert_eq!(daemon.hull(["images", "-q"]).ok(), "");
    assert!(post(&image, "full:1", "?quiet=0&platform=").contains("Loading layer"));
    let again = post(&image, "full:1", "?quiet=0");
    assert!(!again.contains("Loading layer") && again.contains("Loaded image: full:1"), "{again}");
    let renamed = post(&Image::busybox().set("author", json!("x")), "full:1", "");
    assert_eq!(renamed.lines().count(), 2, "{renamed}");
}

#[test]
fn disk_usage_shows_what_lists_show() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "box", "busybox", "true"]).ok();
    daemon.hull(["commit", "box", "made:1"]).ok();
    daemon.hull(["rmi", "-f", "busybox"]).ok();
    daemon.hull(["tag", "made:1", "busybox"]).ok();
    let usage = daemon.api("GET", "/v1.51/system/df", None).json();
    let names: Vec<_> =
        usage["Images"].as_array().unwrap().iter().map(|image| image["RepoTags"].clone()).collect();
    assert_eq!(names, [json!(["busybox:latest", "made:1"])], "not what is only below another");
    let list = daemon.api("GET", "/containers/json?all=1", None).json();
    assert_eq!(usage["Containers"][0]["Image"], list[0]["Image"]);
    assert!(list[0]["Image"].as_str().unwrap().starts_with("sha256:"), "the name means another image");
    let part = daemon.api("GET", "/v1.51/system/df?type=volume", None).json();
    let whole =
        json!({"BuildCache": null, "Containers": null, "Images": null, "LayersSize": 0, "Volumes": []});
    assert_eq!(part, whole);
}
