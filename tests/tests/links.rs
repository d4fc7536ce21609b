//! Links between containers (`--link`): names in a user's network, an order of starts on the default bridge.

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
