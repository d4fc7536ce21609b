//! Links between containers (`--link`): names in a user's network, an order of starts on the default bridge, and a way
//! to the other where that keeps its containers apart.

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};

#[test]
fn in_a_users_network_a_link_waits_for_whom_it_means() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    let flags = ["run", "-d", "--name", "web", "--network", "blue", "--link", "db:store"];
    daemon.docker(flags.into_iter().chain(["busybox", "sleep", "1000"])).ok();
    daemon.docker(["exec", "web", "nslookup", "store"]).fails(1);
    daemon.docker(["run", "-d", "--name", "db", "--network", "blue", "busybox", "sleep", "1000"]).ok();
    assert!(eventually(PATIENCE, || daemon.docker(["exec", "web", "nslookup", "store"]).code == 0));
    assert_eq!(daemon.docker(["inspect", "-f", "{{.HostConfig.Links}}", "web"]).ok(), "[]");
}

#[test]
fn a_link_of_a_network_is_known_as_long_as_it_means_somebody_there() {
    let daemon = Daemon::with_busybox();
    let sleep = ["busybox", "sleep", "1000"];
    for network in ["blue", "red"] {
        daemon.docker(["network", "create", network]).ok();
    }
    daemon.docker([&["run", "-d", "--name", "db", "--network", "blue"], &sleep[..]].concat()).ok();
    let flags = ["run", "-d", "--name", "web", "--network", "blue", "--link", "db:bluestore"];
    daemon.docker([&flags[..], &sleep[..]].concat()).ok();
    daemon.docker(["network", "connect", "red", "db"]).ok();
    daemon.docker(["network", "connect", "--link", "db:redstore", "red", "web"]).ok();
    let address = |network: &str| {
        let format = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
        daemon.docker(["inspect", "-f", &format, "db"]).ok().trim().to_owned()
    };
    let pinged = |name: &str| {
        let said = daemon.docker(["exec", "web", "ping", "-c", "1", "-W", "2", name]);
        said.stdout.split(['(', ')']).nth(1).filter(|_| said.code == 0).map(str::to_owned)
    };
    assert_eq!(pinged("bluestore"), Some(address("blue")));
    assert_eq!(pinged("redstore"), Some(address("red")), "in its own network");
    daemon.docker(["network", "disconnect", "blue", "db"]).ok();
    assert_eq!(pinged("bluestore"), None);
    assert_eq!(pinged("redstore"), Some(address("red")));
    assert_eq!(pinged("db"), Some(address("red")));
    daemon.docker(["network", "connect", "blue", "db"]).ok();
    assert_eq!(pinged("bluestore"), Some(address("blue")));
}

#[test]
fn on_the_default_bridge_a_link_wants_whom_it_means_to_run() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["run", "--link", "db", "busybox", "true"]).complains("could not get container for db");
    daemon.docker(["create", "--name", "db", "busybox", "sleep", "1000"]).ok();
    daemon.docker(["create", "--name", "web", "--link", "db:store", "busybox", "true"]).ok();
    let start = daemon.api("POST", "/containers/web/start", None);
    let text = "Cannot link to a non running container: /db AS /web/store";
    assert_eq!((start.status, start.message().as_str()), (409, text));
    daemon.docker(["start", "db"]).ok();
    daemon.docker(["start", "-a", "web"]).ok();
}

#[test]
fn a_link_leaves_the_default_bridge_for_nobody() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["network", "create", "blue"]).ok();
    daemon.docker(["run", "-d", "--name", "db", "--network", "blue", "busybox", "sleep", "1000"]).ok();
    let web = daemon.docker(["run", "--name", "web", "--link", "db", "busybox", "true"]);
    web.complains("Cannot link to /db, as it does not belong to the default network").fails(125);
    daemon.docker(["rm", "-f", "db", "web"]).ok();
    daemon.docker(["network", "rm", "blue"]).ok();
}

fn apart() -> Daemon {
    let daemon = Daemon::start_with(&["--icc=false"]);
    let archive = hull_testkit::images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    daemon
}

const SERVE: &str =
    "mkdir /www; echo hello >/www/index.html; httpd -p 81 -h /www; exec httpd -f -p 80 -h /www";

#[test]
fn containers_that_are_kept_apart_meet_by_links() {
    let mut daemon = apart();
    let serve = |daemon: &Daemon, name: &str| {
        let flags = ["run", "-d", "--name", name, "--expose", "80", "busybox", "sh", "-c", SERVE];
        daemon.docker(flags).ok();
    };
    let sleep = ["busybox", "sleep", "1000"];
    let address = |daemon: &Daemon, name: &str| {
        daemon
            .docker(["inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", name])
            .ok()
            .to_owned()
    };
    let reaches = |daemon: &Daemon, from: &str, to: &str| {
        let url = format!("http://{to}/");
        daemon.docker(["exec", from, "timeout", "2", "wget", "-q", "-O", "-", &url]).stdout == "hello\n"
    };
    serve(&daemon, "db");
    daemon.docker([&["run", "-d", "--name", "web", "--link", "db:store"], &sleep[..]].concat()).ok();
    daemon.docker([&["run", "-d", "--name", "other"], &sleep[..]].concat()).ok();
    assert!(eventually(PATIENCE, || reaches(&daemon, "web", "store")));
    assert!(!reaches(&daemon, "web", "store:81"), "only what it exposes");
    assert!(!reaches(&daemon, "other", &address(&daemon, "db")), "only who links");

    // What is linked to comes back with another address.
    let old = address(&daemon, "db");
    daemon.docker(["stop", "-t", "0", "db"]).ok();
    serve(&daemon, "squatter");
    daemon.docker(["start", "db"]).ok();
    assert_eq!((address(&daemon, "squatter"), address(&daemon, "db") == old), (old.clone(), false));
    assert!(eventually(PATIENCE, || reaches(&daemon, "web", "store")));
    assert!(!reaches(&daemon, "web", &old));

    daemon.restart();
    assert!(reaches(&daemon, "web", "store"));
    daemon.kill9();
    daemon.restart();
    assert!(reaches(&daemon, "web", "store"));

    // Who links comes back; and ends.
    daemon.docker(["restart", "-t", "0", "web"]).ok();
    assert!(reaches(&daemon, "web", "store"));
    let (web, db) = (address(&daemon, "web"), address(&daemon, "db"));
    daemon.docker(["rm", "-f", "web"]).ok();
    daemon.docker([&["run", "-d", "--name", "heir"], &sleep[..]].concat()).ok();
    assert_eq!(address(&daemon, "heir"), web);
    assert!(!reaches(&daemon, "heir", &db), "the address alone is no link");

    // A link that is removed.
    daemon.docker([&["run", "-d", "--name", "late", "--link", "db:store"], &sleep[..]].concat()).ok();
    assert!(reaches(&daemon, "late", &db));
    daemon.docker(["rm", "--link", "late/store"]).ok();
    assert!(!reaches(&daemon, "late", &db));
}

#[test]
fn a_link_to_who_uses_anothers_network_is_one_to_that() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["run", "-d", "--name", "owner", "busybox", "sleep", "1000"]).ok();
    let shared = ["run", "-d", "--name", "guest", "--net", "container:owner", "busybox", "sleep", "1000"];
    daemon.docker(shared).ok();
    let hosts = daemon.docker(["run", "--rm", "--link", "guest:friend", "busybox", "cat", "/etc/hosts"]);
    let format = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    let address = daemon.docker(["inspect", "-f", format, "owner"]).ok().trim().to_owned();
    assert!(
        hosts.ok().lines().any(|line| line.starts_with(&address) && line.contains("friend")),
        "{hosts:?}"
    );
}
