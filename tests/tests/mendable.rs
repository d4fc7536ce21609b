//! What a caller can mend is never told as a failure of the daemon: another container that does not run, a port or an
//! address that somebody has, a value that the kernel does not take.

use hull_testkit::Daemon;
use serde_json::{Value, json};

fn answer(daemon: &Daemon, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
    let answer = daemon.api(method, path, body);
    (answer.status, answer.message())
}

/// Makes a container of that host configuration; what its start is answered with.
fn start(daemon: &Daemon, name: &str, host: &Value) -> (u16, String) {
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host});
    let made = answer(daemon, "POST", &format!("/containers/create?name={name}"), Some(&body));
    assert_eq!(made.0, 201, "{}", made.1);
    answer(daemon, "POST", &format!("/containers/{name}/start"), None)
}

#[test]
fn another_container_in_a_wrong_state_is_a_conflict() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "db", "busybox", "sleep", "1000"]).ok();
    let linked = start(&daemon, "web", &json!({"Links": ["db:store"]}));
    assert_eq!(linked, (409, "Cannot link to a non running container: /db AS /web/store".to_owned()));
    let joined = start(&daemon, "guest", &json!({"NetworkMode": "container:db"}));
    let text = "cannot join network namespace of a non running container: container db is created";
    assert_eq!(joined, (409, text.to_owned()));
    let absent = start(&daemon, "lonely", &json!({"NetworkMode": "container:nobody"}));
    let text = "joining network namespace of container: No such container: nobody";
    assert_eq!(absent, (409, text.to_owned()), "404 would be the container that is to start");
    let own = start(&daemon, "own", &json!({"NetworkMode": "container:own"}));
    assert_eq!(own, (400, "cannot join own network namespace".to_owned()));

    daemon.hull(["create", "--name", "peer", "--pid", "container:db", "busybox", "true"]).ok();
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", "db"]).ok().to_owned();
    daemon.hull(["rm", "db"]).ok();
    let gone = answer(&daemon, "POST", "/containers/peer/start", None);
    assert_eq!(gone, (400, format!("failed to join PID namespace: No such container: {id}")));
    let gone = answer(&daemon, "POST", "/containers/web/start", None);
    assert_eq!(gone, (409, format!("No such container: {id}")));
}

#[test]
fn what_somebody_else_has_is_a_conflict() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "first", "-p", "18080:80", "busybox", "sleep", "1000"]).ok();
    let ports = json!({"PortBindings": {"80/tcp": [{"HostPort": "18080"}]}});
    let (status, text) = start(&daemon, "second", &ports);
    assert_eq!(status, 409);
    assert!(text.ends_with("Bind for 0.0.0.0:18080 failed: port is already allocated"), "{text}");

    daemon.hull(["network", "create", "--subnet", "10.77.0.0/30", "tiny"]).ok();
    daemon.hull(["run", "-d", "--name", "only", "--network", "tiny", "busybox", "sleep", "1000"]).ok();
    let (status, text) = start(&daemon, "late", &json!({"NetworkMode": "tiny"}));
    assert_eq!(status, 409);
    assert!(text.contains("no available IPv4 addresses on this network's address pools: tiny"), "{text}");
    daemon.hull(["rm", "-f", "only", "late"]).ok();
    daemon.hull(["network", "rm", "tiny"]).ok();
}

#[test]
fn what_the_kernel_does_not_take_is_a_mistake_of_the_request() {
    let daemon = Daemon::with_busybox();
    let create = |body: Value| answer(&daemon, "POST", "/networks/create", Some(&body));
    for mtu in ["10", "70000", "99999999"] {
        let (status, text) =
            create(json!({"Name": "wide", "Options": {"com.docker.network.driver.mtu": mtu}}));
        assert_eq!(status, 400, "{text}");
    }
    for (driver, option, value) in [
        ("macvlan", "parent", "nosuch0.5"),
        ("macvlan", "parent", "a-name-that-is-too-long-for-a-link"),
        ("macvlan", "macvlan_mode", "sideways"),
        ("ipvlan", "ipvlan_flag", "x"),
        ("bridge", "com.docker.network.bridge.gateway_mode_ipv4", "isolated"),
    ] {
        let mut body = json!({"Name": "wrong", "Driver": driver});
        body["Options"][option] = value.into();
        let (status, text) = create(body);
        assert_eq!(status, 400, "{option}={value}: {text}");
    }
    for subnet in ["ff00::/8", "::/0"] {
        let body = json!({"Name": "six", "EnableIPv6": true, "IPAM": {"Config": [{"Subnet": subnet}]}});
        let (status, text) = create(body);
        assert_eq!(status, 400, "{subnet}: {text}");
    }
    assert_eq!(daemon.hull(["network", "ls", "-q"]).lines().len(), 3, "nothing is left of them");

    assert_eq!(create(json!({"Name": "net"})).0, 201);
    for (number, endpoint) in [
        json!({"MacAddress": "00:00:00:00:00:00"}),
        json!({"DriverOpts": {"com.docker.network.endpoint.ifname": "all"}}),
        json!({"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.bogus=1"}}),
        json!({"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.tag=x"}}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = json!({"Image": "busybox", "HostConfig": {"NetworkMode": "net"}});
        body["NetworkingConfig"]["EndpointsConfig"]["net"] = endpoint.clone();
        let path = format!("/containers/create?name=e{number}");
        assert_eq!(answer(&daemon, "POST", &path, Some(&body)).0, 201, "{endpoint}");
        let (status, text) = answer(&daemon, "POST", &format!("/containers/e{number}/start"), None);
        assert_eq!(status, 400, "{endpoint}: {text}");
    }
    for switch in ["net.ipv4.bogus", "net.ipv4.ip_forward"] {
        let mut host = json!({"NetworkMode": "net"});
        host["Sysctls"][switch] = "x".into();
        let (status, text) = start(&daemon, &switch.replace('.', "-"), &host);
        assert_eq!(status, 400, "{text}");
    }
    let (status, text) = start(&daemon, "device", &json!({"Devices": [{"PathOnHost": "/no/such/device"}]}));
    assert!(text.starts_with("error gathering device information while adding custom device"), "{text}");
    assert_eq!(status, 400);
    daemon.hull(["network", "rm", "net"]).ok();
}

#[test]
fn arguments_of_ps_without_process_ids_are_a_mistake_of_the_request() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let top = answer(&daemon, "GET", "/containers/box/top?ps_args=-o%20comm", None);
    assert_eq!(top, (400, "Couldn't find PID field in ps output".to_owned()));
}

#[test]
fn a_path_on_the_host_that_cannot_be_made_is_a_bad_request() {
    let daemon = Daemon::with_busybox();
    let (status, text) = start(&daemon, "box", &json!({"Binds": ["/proc/nothing/here:/here"]}));
    let expected =
        "error while creating mount source path '/proc/nothing/here': mkdir: no such file or directory";
    assert_eq!(status, 400, "{text}");
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_log_or_a_volume_that_leads_nowhere_is_a_bad_request() {
    let daemon = Daemon::with_busybox();
    let options = json!({"syslog-address": "tcp://127.0.0.1:1"});
    let (status, text) =
        start(&daemon, "logged", &json!({"LogConfig": {"Type": "syslog", "Config": options}}));
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("failed to initialize logging driver"), "{text}");
    let options = json!({"type": "none", "o": "bind", "device": "/nowhere/at/all"});
    let volume = json!({"Name": "lost", "Driver": "local", "DriverOpts": options});
    assert_eq!(answer(&daemon, "POST", "/volumes/create", Some(&volume)).0, 201);
    let (status, text) = start(
        &daemon,
        "mounted",
        &json!({"Mounts": [
            {"Type": "volume", "Source": "lost", "Target": "/lost", "VolumeOptions": {"NoCopy": true}}
        ]}),
    );
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("failed to mount local volume"), "{text}");
}
