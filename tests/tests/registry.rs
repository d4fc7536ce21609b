//! Pushing to a real registry and pulling from it, through both clients.

use hull_testkit::{Daemon, Registry};

#[test]
fn an_image_goes_out_and_comes_back() {
    let daemon = Daemon::with_busybox();
    let _registry = Registry::start(&daemon);
    let name = "127.0.0.1:5000/team/box:1";
    daemon.hull(["tag", "busybox", name]).ok();
    daemon.hull(["push", name]).says("1: digest: sha256:");
    daemon.hull(["rmi", name, "busybox"]).says("Deleted: sha256:");
    let pulled = daemon.hull(["pull", name]);
    pulled.says("Pull complete").says("Status: Downloaded newer image for 127.0.0.1:5000/team/box:1");
    daemon.hull(["pull", name]).says("Status: Image is up to date for");
    assert_eq!(daemon.hull(["run", "--rm", name, "echo", "back again"]).ok(), "back again");
    daemon.hull(["pull", "127.0.0.1:5000/team/box:2"]).complains("not found").fails(1);
}

#[test]
fn dockers_client_pushes_and_a_run_pulls() {
    let daemon = Daemon::with_busybox();
    let _registry = Registry::start(&daemon);
    let name = "127.0.0.1:5000/box";
    daemon.docker(["tag", "busybox", name]).ok();
    daemon.docker(["push", name]).says("latest: digest: sha256:");
    daemon.docker(["rmi", name, "busybox"]).ok();
    let run = daemon.docker(["run", "--rm", name, "echo", "pulled and run"]);
    assert_eq!(run.ok(), "pulled and run");
    run.complains("Unable to find image '127.0.0.1:5000/box:latest' locally");
    daemon.hull(["rmi", name]).ok();
    let run = daemon.hull(["run", "--rm", name, "echo", "by hull, too"]);
    assert_eq!(run.ok(), "by hull, too");
}

#[test]
fn a_registry_is_asked_without_pulling() {
    let daemon = Daemon::with_busybox();
    let _registry = Registry::start(&daemon);
    let name = "127.0.0.1:5000/team/box:1";
    daemon.hull(["tag", "busybox", name]).ok();
    daemon.hull(["push", name]).ok();
    let image = daemon.api("GET", &format!("/images/{name}/json?manifests=1"), None).json();
    let found = daemon.api("GET", &format!("/distribution/{name}/json"), None);
    assert_eq!(found.status, 200, "{}", found.message());
    let found = found.json();
    assert_eq!(found["Descriptor"]["digest"], image["Descriptor"]["digest"]);
    assert_eq!(found["Descriptor"]["size"], image["Descriptor"]["size"]);
    assert_eq!(found["Platforms"][0]["architecture"], image["Architecture"]);
    assert_eq!(image["Identity"]["Pull"][0]["Repository"], "127.0.0.1:5000/team/box");
    let absent = daemon.api("GET", "/distribution/127.0.0.1:5000/team/box:2/json", None);
    assert_eq!((absent.status, absent.message().as_str()), (404, "manifest unknown: manifest unknown"));
    daemon.docker(["manifest", "inspect", "--insecure", name]).says("schemaVersion").ok();
    // This registry cannot be searched.
    assert_ne!(daemon.api("GET", "/images/search?term=127.0.0.1:5000/box", None).status, 200);
}

#[test]
fn all_tags_are_pulled_in_one() {
    let daemon = Daemon::with_busybox();
    let _registry = Registry::start(&daemon);
    for tag in ["1", "2"] {
        let name = format!("127.0.0.1:5000/many:{tag}");
        daemon.hull(["tag", "busybox", &name]).ok();
        daemon.hull(["push", &name]).ok();
        daemon.hull(["rmi", &name]).ok();
    }
    let pull = |query: &str| {
        let answer = daemon.send("POST", &format!("/images/create?fromImage={query}"), &[], b"");
        String::from_utf8(answer.body).expect("text")
    };
    let all = pull("127.0.0.1:5000/many");
    assert_eq!(all.matches("Pulling from many").count(), 2, "{all}");
    assert_eq!(all.matches("Status: ").count(), 1, "{all}");
    assert!(all.contains("Status: Downloaded newer image for 127.0.0.1:5000/many\""), "{all}");
    let image = daemon.api("GET", "/images/127.0.0.1:5000/many:1/json", None).json();
    let digest = image["RepoDigests"][0].as_str().expect("a digest").to_owned();
    assert!(pull(&digest).contains(&format!("\"id\":\"{digest}\"")), "the digest is told with its name");
}
