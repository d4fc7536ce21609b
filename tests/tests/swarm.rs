//! What Docker has and Hull has not: swarms, managed plugins, builds. Said as Docker says it.

use hull_testkit::Daemon;

const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
                          connect this node to swarm and try again.";
const JSON: &str = "Content-Type: application/json";

#[test]
fn a_daemon_outside_of_a_swarm() {
    let daemon = Daemon::start();
    for (method, path) in [
        ("GET", "/swarm"),
        ("GET", "/swarm/unlockkey"),
        ("POST", "/swarm/unlock"),
        ("POST", "/swarm/update?version=1"),
        ("GET", "/nodes"),
        ("GET", "/nodes/x"),
        ("DELETE", "/nodes/x"),
        ("POST", "/nodes/x/update?version=1"),
        ("GET", "/services"),
        ("GET", "/services?filters=%7B%22name%22:%5B%22x%22%5D%7D"),
        ("POST", "/services/create"),
        ("GET", "/services/x"),
        ("DELETE", "/services/x"),
        ("POST", "/services/x/update?version=1"),
        ("GET", "/services/x/logs?stdout=1"),
        ("GET", "/tasks"),
        ("GET", "/tasks/x"),
        ("GET", "/tasks/x/logs?stderr=1"),
        ("GET", "/secrets"),
        ("POST", "/secrets/create"),
        ("GET", "/secrets/x"),
        ("DELETE", "/secrets/x"),
        ("POST", "/secrets/x/update?version=1"),
        ("GET", "/configs"),
        ("POST", "/configs/create"),
        ("GET", "/configs/x"),
        ("DELETE", "/configs/x"),
        ("POST", "/configs/x/update?version=1"),
    ] {
        let body: &[u8] = if method == "POST" { b"{}" } else { b"" };
        let answer = daemon.send(method, path, &[JSON], body);
        assert_eq!((answer.status, answer.message().as_str()), (503, NO_MANAGER), "{method} {path}");
    }
    let leave = daemon.send("POST", "/swarm/leave", &[], b"");
    assert_eq!((leave.status, leave.message().as_str()), (503, "This node is not part of a swarm"));
}

#[test]
fn what_is_wrong_is_said_first() {
    let daemon = Daemon::start();
    for (method, path, body, status, message) in [
        ("POST", "/services/create", "{x", 400, "invalid JSON: invalid character 'x' looking for"),
        (
            "POST",
            "/services/x/update",
            "{}",
            400,
            "invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        ("POST", "/secrets/x/update?version=-1", "{}", 400, "invalid secret version"),
        ("GET", "/nodes?filters=x", "", 400, "invalid filter"),
        ("GET", "/services?status=maybe", "", 400, "invalid value for status: maybe"),
        ("GET", "/services/x/logs", "", 400, "Bad parameters: you must choose at least one stream"),
        (
            "POST",
            "/swarm/update?version=1&rotateWorkerToken=x",
            "{}",
            400,
            "invalid value for rotateWorkerToken: x",
        ),
        ("POST", "/swarm/join", "{}", 400, "at least 1 RemoteAddr is required to join"),
        ("POST", "/swarm/join", "{\"RemoteAddrs\":[\"a:1\"]}", 501, "swarm mode is not supported"),
        ("POST", "/swarm/init", "{}", 501, "swarm mode is not supported"),
        ("PUT", "/volumes/x?version=1", "{}", 503, "volume update only valid for cluster volumes"),
    ] {
        let answer = daemon.send(method, path, &[JSON], body.as_bytes());
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.message());
        assert!(answer.message().starts_with(message), "{method} {path}: {}", answer.message());
    }
}

#[test]
fn dockers_client_understands() {
    let daemon = Daemon::start();
    daemon.docker(["service", "ls"]).complains(NO_MANAGER).fails(1);
    daemon.docker(["swarm", "init"]).complains("swarm mode is not supported").fails(1);
    daemon.docker(["swarm", "leave"]).complains("This node is not part of a swarm").fails(1);
    daemon.docker(["plugin", "ls", "-q"]).ok();
    daemon.docker(["plugin", "inspect", "x"]).complains("plugin \"x\" not found").fails(1);
    daemon
        .docker(["plugin", "install", "--grant-all-permissions", "x"])
        .complains("managed plugins are not")
        .fails(1);
    daemon.docker(["builder", "prune", "-f"]).says("0B").ok();
}

#[test]
fn no_managed_plugin_is_installed() {
    let daemon = Daemon::start();
    let list = daemon.send("GET", "/plugins", &[], b"");
    assert_eq!((list.status, list.body.as_slice()), (200, b"[]\n".as_slice()));
    for (method, path, status, message) in [
        ("GET", "/plugins?filters=%7B%22x%22:%5B%5D%7D", 400, "invalid filter 'x'"),
        ("GET", "/plugins/a/b:1/json", 404, "plugin \"a/b:1\" not found"),
        ("POST", "/plugins/a/enable?timeout=0", 404, "plugin \"a\" not found"),
        ("POST", "/plugins/a/enable", 400, "strconv.Atoi: parsing \"\": invalid syntax"),
        ("POST", "/plugins/a/disable", 404, "plugin \"a\" not found"),
        ("POST", "/plugins/a/push", 404, "plugin \"a\" not found"),
        ("POST", "/plugins/a/set", 404, "plugin \"a\" not found"),
        ("POST", "/plugins/a/upgrade?remote=a", 404, "plugin \"a\" not found"),
        ("DELETE", "/plugins/a", 404, "plugin \"a\" not found"),
        (
            "POST",
            "/plugins/pull?remote=A",
            400,
            "invalid reference format: repository name (library/A) must be lowercase",
        ),
        (
            "POST",
            "/plugins/pull?remote=a",
            501,
            "managed plugins are not supported: volume plugins are found by their sockets",
        ),
        (
            "GET",
            "/plugins/privileges?remote=a",
            501,
            "managed plugins are not supported: volume plugins are found by their sockets",
        ),
    ] {
        let answer = daemon.send(method, path, &[], b"");
        assert_eq!((answer.status, answer.message().as_str()), (status, message), "{method} {path}");
    }
}

#[test]
fn builds_are_not_there_yet() {
    let daemon = Daemon::with_busybox();
    for path in ["/build", "/session", "/grpc", "/build/cancel?id=x"] {
        let answer = daemon.send("POST", path, &[], b"");
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (501, "building images is not supported yet"),
            "{path}"
        );
    }
    let attestations = daemon.send("GET", "/images/busybox/attestations", &[], b"");
    assert_eq!(attestations.status, 501);
    assert_eq!(daemon.send("GET", "/images/nosuch/attestations", &[], b"").status, 404);
    let pruned = daemon.send("POST", "/build/prune?all=1&reserved-space=5", &[], b"").json();
    assert_eq!(pruned, serde_json::json!({"CachesDeleted": null, "SpaceReclaimed": 0}));
    let wrong = daemon.send("POST", "/build/prune?reserved-space=5GB", &[], b"");
    assert!(
        wrong.message().starts_with("reserved-space is in bytes and expects an integer, got 5GB"),
        "{wrong:?}"
    );
}
