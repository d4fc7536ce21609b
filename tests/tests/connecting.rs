//! Connecting containers with networks and disconnecting them: what is refused and how, and what a network's record says.

use hull_testkit::Daemon;
use serde_json::{Value, json};

fn ask(daemon: &Daemon, path: &str, body: &Value) -> (u16, String) {
    let answer = daemon.api("POST", path, Some(body));
    (answer.status, answer.message())
}

fn connect(daemon: &Daemon, network: &str, container: &str) -> (u16, String) {
    ask(daemon, &format!("/networks/{network}/connect"), &json!({"Container": container}))
}

fn disconnect(daemon: &Daemon, network: &str, container: &str, force: bool) -> (u16, String) {
    let body = json!({"Container": container, "Force": force});
    ask(daemon, &format!("/networks/{network}/disconnect"), &body)
}

fn run(daemon: &Daemon, name: &str, network: &str) -> String {
    let flags = ["run", "-d", "--name", name, "--network", network, "busybox", "sleep", "1000"];
    daemon.docker(flags).ok().to_owned()
}

#[test]
fn networks_that_are_none_are_refused_in_dockers_words() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["network", "create", "blue"]).ok();
    for (name, network) in [("host", "host"), ("plain", "blue"), ("guest", "container:plain")] {
        run(&daemon, name, network);
    }
    let shares = "container sharing network namespace with another container or host cannot be connected to any other \
                  network";
    let created = "cannot connect container to host network - container must be created in host network mode";
    let alone =
        "container cannot be connected to multiple networks with one of the networks in private (none) mode";
    for (network, container, text) in [
        ("blue", "host", shares),
        ("bridge", "guest", shares),
        ("host", "guest", shares),
        ("host", "plain", created),
        ("none", "plain", alone),
    ] {
        assert_eq!(connect(&daemon, network, container), (400, text.to_owned()), "{network} {container}");
    }
    let alias = json!({"Container": "plain", "EndpointConfig": {"Aliases": ["web"]}});
    let connected = json!({"Container": "host", "EndpointConfig": {"Aliases": ["web"]}});
    for (network, body) in [("none", alias), ("host", connected)] {
        let (status, text) = ask(&daemon, &format!("/networks/{network}/connect"), &body);
        assert_eq!(status, 400);
        assert!(text.ends_with("alias is supported only for containers in user defined networks"), "{text}");
    }
    let mapped =
        json!({"Container": "plain", "EndpointConfig": {"IPAMConfig": {"IPv6Address": "::ffff:10.0.0.1"}}});
    let (status, text) = ask(&daemon, "/networks/blue/connect", &mapped);
    assert_eq!(status, 400);
    assert!(text.ends_with("invalid IPv6 address: ::ffff:10.0.0.1"), "{text}");
    let exists = "endpoint with name host already exists in network host";
    assert_eq!(connect(&daemon, "host", "host"), (403, exists.to_owned()));
    let text = "cannot disconnect container from host network - container was created in host network mode";
    assert_eq!(disconnect(&daemon, "host", "host", true), (400, text.to_owned()));
    let id = daemon.docker(["inspect", "-f", "{{.Id}}", "plain"]).ok().to_owned();
    let text = format!("container {id} is not connected to network bridge");
    assert_eq!(disconnect(&daemon, "bridge", "plain", false), (403, text));
    let gone = disconnect(&daemon, "nosuch", "plain", false);
    assert_eq!(gone, (404, "network nosuch not found".to_owned()));
    assert_eq!(disconnect(&daemon, "nosuch", "plain", true).0, 403);
    daemon.docker(["stop", "-t", "0", "plain"]).ok();
    let text = format!("container {id} is not connected to the network bridge");
    assert_eq!(disconnect(&daemon, "bridge", "plain", false), (403, text));
    let absent = disconnect(&daemon, "blue", "nobody", true);
    assert_eq!(absent, (404, "endpoint nobody not found".to_owned()));
    daemon.docker(["rm", "-f", "host", "guest", "plain"]).ok();
    daemon.docker(["network", "rm", "blue"]).ok();
}

#[test]
fn who_leaves_no_network_may_join_others() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["network", "create", "--subnet", "10.63.0.0/24", "blue"]).ok();
    run(&daemon, "box", "none");
    assert_eq!(connect(&daemon, "blue", "box").0, 400);
    assert_eq!(disconnect(&daemon, "none", "box", false).0, 200);
    assert_eq!(connect(&daemon, "blue", "box").0, 200);
    let addresses = || daemon.docker(["exec", "box", "ip", "-o", "-4", "addr"]).ok().to_owned();
    assert!(addresses().contains("10.63.0.2/24"), "{}", addresses());
    daemon.docker(["restart", "-t", "0", "box"]).ok();
    assert!(addresses().contains("10.63.0.2/24"), "{}", addresses());
    daemon.docker(["rm", "-f", "box"]).ok();
    daemon.docker(["network", "rm", "blue"]).ok();
}

#[test]
fn a_network_that_has_gone_is_left_by_its_name() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["network", "create", "blue"]).ok();
    run(&daemon, "box", "blue");
    daemon.docker(["stop", "-t", "0", "box"]).ok();
    daemon.docker(["network", "rm", "blue"]).ok();
    daemon.docker(["start", "box"]).complains("network blue not found").fails(1);
    daemon.docker(["network", "disconnect", "-f", "blue", "box"]).ok();
    assert_eq!(daemon.docker(["inspect", "-f", "{{json .NetworkSettings.Networks}}", "box"]).ok(), "{}");
    daemon.docker(["network", "disconnect", "-f", "blue", "box"]).fails(1);
    daemon.docker(["start", "box"]).ok();
}

#[test]
fn subnets_of_a_family_that_is_off_are_shown() {
    let mut daemon = Daemon::start();
    let create = |daemon: &Daemon, body: Value| {
        let made = ask(daemon, "/networks/create", &body);
        assert_eq!(made.0, 201, "{}", made.1);
        daemon.docker(["network", "inspect", "-f", "{{json .IPAM.Config}}", "net"]).json()
    };
    let six = json!({"Subnet": "fd64::/64", "Gateway": "fd64::5"});
    let four = json!({"Subnet": "10.64.0.0/24"});
    let shown = create(&daemon, json!({"Name": "net", "IPAM": {"Config": [six, four]}}));
    assert_eq!(shown, json!([four, six]));
    daemon.restart();
    let again = daemon.docker(["network", "inspect", "-f", "{{json .IPAM.Config}}", "net"]).json();
    assert_eq!(again, shown);
    let enabled = "{{.EnableIPv4}} {{.EnableIPv6}}";
    assert_eq!(daemon.docker(["network", "inspect", "-f", enabled, "net"]).ok(), "true false");
    daemon.docker(["network", "rm", "net"]).ok();

    let shown = create(&daemon, json!({"Name": "net", "IPAM": {"Config": [six, six]}}));
    let (both, pooled) = (json!([six, six]), &shown[2]);
    assert_eq!(json!([shown[0], shown[1]]), both);
    assert!(pooled["Gateway"].as_str().is_some_and(|gateway| gateway.ends_with(".1")), "{pooled}");
    daemon.docker(["network", "rm", "net"]).ok();

    let body = json!({"Name": "net", "EnableIPv4": false, "EnableIPv6": true, "IPAM": {"Config": [four]}});
    let shown = create(&daemon, body);
    assert_eq!(shown[0], four);
    assert!(shown[1]["Subnet"].as_str().is_some_and(|subnet| subnet.ends_with("::/64")), "{shown}");
    daemon.docker(["network", "rm", "net"]).ok();
}

#[test]
fn addresses_that_cannot_be_had_are_refused_in_dockers_words() {
    let daemon = Daemon::start();
    let create = |ipam: Value| ask(&daemon, "/networks/create", &json!({"Name": "net", "IPAM": ipam}));
    let pool = |config: Value| create(json!({"Config": [config]}));
    let v4 = "10.65.0.0/24";
    for (config, status, text) in [
        (
            json!({"Subnet": v4, "Gateway": "10.65.0.0"}),
            403,
            "failed to allocate gateway (10.65.0.0): Address already in use",
        ),
        (
            json!({"Subnet": v4, "AuxiliaryAddresses": {"a": "10.65.0.1"}}),
            403,
            "failed to allocate secondary ip address (a:10.65.0.1): Address already in use",
        ),
        (
            json!({"Subnet": v4, "AuxiliaryAddresses": {"a": "10.65.0.255"}}),
            403,
            "failed to allocate secondary ip address (a:10.65.0.255): Address already in use",
        ),
        (
            json!({"Subnet": v4, "Gateway": "fd00::1"}),
            400,
            "invalid network config:\ninvalid gateway fd00::1: parent subnet is an IPv4 block",
        ),
        (
            json!({"Subnet": "fd65::/64", "Gateway": "10.65.0.1"}),
            400,
            "invalid network config:\ninvalid gateway 10.65.0.1: parent subnet is an IPv6 block",
        ),
        (
            json!({"Subnet": v4, "IPRange": "fd00::/80"}),
            400,
            "invalid network config:\ninvalid ip-range fd00::/80: parent subnet is an IPv4 block",
        ),
    ] {
        assert_eq!(pool(config), (status, text.to_owned()));
    }
    assert_eq!(create(json!({"Driver": "null"})), (400, "ipv4 pool is empty".to_owned()));
    let named = create(json!({"Driver": "null", "Config": [{"Subnet": v4}]}));
    assert_eq!(named, (400, "null ipam driver does not handle specific address pool requests".to_owned()));
    assert_eq!(create(json!({"Driver": "frob"})), (404, "plugin \"frob\" not found".to_owned()));
    for (option, value, text) in [
        ("nmsgs", "x", "value for option com.docker.network.advertise_addr_nmsgs \"x\" must be an integer"),
        ("nmsgs", "4", "com.docker.network.advertise_addr_nmsgs must be in the range 0 to 3"),
        ("ms", "99", "com.docker.network.advertise_addr_ms must be in the range 100 to 2000"),
        (
            "ms",
            "x",
            "value for option com.docker.network.advertise_addr_ms \"x\" must be integer milliseconds",
        ),
    ] {
        let mut body = json!({"Name": "net"});
        body["Options"][format!("com.docker.network.advertise_addr_{option}")] = value.into();
        assert_eq!(ask(&daemon, "/networks/create", &body), (400, text.to_owned()));
    }
    let none = ask(&daemon, "/networks/create", &json!({"Name": "net", "Driver": "none"}));
    assert_eq!(none, (404, "plugin \"none\" not found".to_owned()));
}

#[test]
fn servers_of_names_and_links_are_judged_at_the_start() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["network", "create", "blue"]).ok();
    let start = |host: Value, endpoint: Value| {
        let mut body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host});
        if !endpoint.is_null() {
            body["NetworkingConfig"]["EndpointsConfig"]["blue"] = endpoint;
        }
        let made = ask(&daemon, "/containers/create?name=box", &body);
        assert_eq!(made.0, 201, "{}", made.1);
        let started = ask(&daemon, "/containers/box/start", &json!({}));
        daemon.docker(["rm", "-f", "box"]).ok();
        started
    };
    let text = "bad nameserver address bad: ParseAddr(\"bad\"): unable to parse IP";
    for mode in ["bridge", "host", "none"] {
        let started = start(json!({"Dns": ["9.9.9.9", "bad"], "NetworkMode": mode}), Value::Null);
        assert_eq!(started, (400, text.to_owned()), "{mode}");
    }
    assert_eq!(start(json!({"Dns": ["fe80::1%eth0"]}), Value::Null).0, 204);
    let prefix = "failed to set up container networking: ";
    for (link, text) in [("a:b:c", "bad format for links: a:b:c"), ("", "empty string specified for links")] {
        let started = start(json!({"NetworkMode": "blue"}), json!({"Links": [link]}));
        assert_eq!(started, (400, format!("{prefix}{text}")));
    }
    daemon.docker(["network", "rm", "blue"]).ok();
}

#[test]
fn addresses_of_the_link_alone_are_had_beside_others() {
    let daemon = Daemon::with_busybox();
    daemon.docker(["network", "create", "blue"]).ok();
    let run = |ip: &str| {
        let flags = ["run", "--rm", "--network", "blue", "--link-local-ip", ip, "busybox"];
        daemon.docker([&flags[..], &["ip", "-o", "addr", "show", "eth0"]].concat())
    };
    run("169.254.9.9").says("inet 169.254.9.9/16 ").says("/16 brd 172.");
    run("10.1.1.1").complains("invalid link local IP address: 10.1.1.1").fails(125);
    daemon.docker(["network", "rm", "blue"]).ok();
}

#[test]
fn a_network_says_how_its_interfaces_are_called() {
    let daemon = Daemon::with_busybox();
    let option = "com.docker.network.container_iface_prefix=lan";
    daemon.docker(["network", "create", "-o", option, "lan"]).ok();
    daemon.docker(["network", "create", "blue"]).ok();
    let show = ["busybox", "ls", "/sys/class/net"];
    let run = |flags: &[&str]| daemon.docker([&["run", "--rm"], flags, &show].concat()).ok().to_owned();
    assert_eq!(run(&["--network", "lan"]), "lan0\nlo");
    assert_eq!(run(&["--network", "lan", "--network", "blue"]), "eth0\nlan0\nlo");
    daemon.docker(["network", "rm", "lan", "blue"]).ok();
}
