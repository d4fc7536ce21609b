//! Networks from the outside and from the inside.

use std::io::{Read, Write};
use std::net::TcpStream;

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::{Value, json};

fn fetch(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

const SERVE: &str = "mkdir /www; echo hello from inside >/www/hello; exec httpd -f -p 80 -h /www";

#[test]
fn networks_are_made_from_configurations() {
    let mut daemon = Daemon::with_busybox();
    let create = |daemon: &Daemon, body: Value| {
        let answer = daemon.api("POST", "/networks/create", Some(&body));
        (answer.status, answer.json()["message"].as_str().unwrap_or_default().to_owned())
    };
    let network = |daemon: &Daemon, name: &str| daemon.api("GET", &format!("/networks/{name}"), None).json();
    let flags = ["--subnet", "10.9.0.0/24", "--ip-range", "10.9.0.128/25", "--label", "a=b", "plan"];
    let mtu = ["-o", "com.docker.network.driver.mtu=1400"];
    daemon.hull([&["network", "create", "--config-only"][..], &mtu, &flags].concat()).ok();
    let plan = network(&daemon, "plan");
    assert_eq!(
        (&plan["ConfigOnly"], &plan["Driver"], &plan["Scope"]),
        (&json!(true), &json!("null"), &json!("local"))
    );
    let pool = json!([{"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25"}]);
    assert_eq!(plan["IPAM"]["Config"], pool);

    let from = |more: Value| {
        let mut body = json!({"Name": "made", "ConfigFrom": {"Network": "plan"}});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        create(&daemon, body)
    };
    let own =
        "user specified configurations are not supported if the network depends on a configuration network";
    for wish in [
        json!({"IPAM": {"Config": [{"Subnet": "10.8.0.0/24"}]}}),
        json!({"Labels": {"x": "y"}}),
        json!({"EnableIPv6": true}),
    ] {
        assert_eq!(from(wish), (403, own.to_owned()));
    }
    assert_eq!(from(json!({"Options": {"x": "y"}})).0, 403);
    assert_eq!(from(json!({"ConfigOnly": true})).0, 403);
    for name in ["nobody", "bridge"] {
        let missing = format!("configuration network {name:?} does not exist");
        assert_eq!(from(json!({"ConfigFrom": {"Network": name}})), (404, missing));
    }
    assert_eq!(create(&daemon, json!({"Name": "other", "ConfigOnly": true, "Internal": true})).0, 403);

    daemon.hull(["network", "create", "--config-from", "plan", "made"]).ok();
    daemon.restart();
    let made = network(&daemon, "made");
    assert_eq!((&made["ConfigFrom"]["Network"], &made["Driver"]), (&json!("plan"), &json!("bridge")));
    assert_eq!((&made["Labels"], &made["Options"]), (&plan["Labels"], &plan["Options"]));
    let run = ["run", "--rm", "--network", "made", "busybox", "ip", "addr", "show", "eth0"];
    let shown = daemon.hull(run);
    assert!(shown.ok().contains("inet 10.9.0.128/24") && shown.stdout.contains("mtu 1400"), "{shown:?}");
    daemon
        .hull(["run", "--rm", "--network", "plan", "busybox", "true"])
        .complains("cannot create endpoint on configuration-only network")
        .fails(125);
    daemon.hull(["network", "rm", "plan"]).complains("configuration network \"plan\" is in use").fails(1);
    daemon.hull(["network", "prune", "-f"]).ok();
    assert_eq!(
        daemon.hull(["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"]).ok(),
        "plan"
    );
    daemon.hull(["network", "rm", "plan"]).ok();
}

#[test]
fn a_published_port_is_served() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "web", "-p", "18081:80", "busybox", "sh", "-c", SERVE]).ok();
    assert!(eventually(PATIENCE, || fetch("127.0.0.1:18081")
        .is_some_and(|text| text.contains("hello from inside"))));
    assert_eq!(daemon.hull(["port", "web", "80"]).lines()[0], "0.0.0.0:18081");
    let address = daemon
        .hull(["inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web"])
        .ok()
        .to_owned();
    assert!(fetch(&format!("{address}:80")).is_some(), "the host reaches the container by its address");
    let other = ["run", "--rm", "busybox", "wget", "-q", "-O", "-", &format!("http://{address}/hello")];
    assert_eq!(daemon.hull(other).ok(), "hello from inside");
    daemon.hull(["rm", "-f", "web"]).ok();
    assert!(fetch("127.0.0.1:18081").is_none(), "the port is closed again");
}

#[test]
fn a_random_port_and_a_taken_one() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "one", "-p", "80", "busybox", "sh", "-c", SERVE]).ok();
    let port =
        daemon.hull(["port", "one", "80/tcp"]).lines()[0].rsplit(':').next().expect("a port").to_owned();
    assert!(eventually(PATIENCE, || fetch(&format!("127.0.0.1:{port}")).is_some()));
    let taken =
        daemon.hull(["run", "-d", "--name", "two", "-p", &format!("{port}:80"), "busybox", "sleep", "9"]);
    taken.complains("port is already allocated").fails(125);
    let holder = std::net::TcpListener::bind("0.0.0.0:18082").expect("a port of another program");
    let held = daemon.hull(["run", "--rm", "-p", "18082:80", "busybox", "true"]);
    held.complains("address already in use").fails(125);
    drop(holder);
}

#[test]
fn the_modes_are_what_they_say() {
    let daemon = Daemon::with_busybox();
    let links = |mode: &str| {
        daemon
            .hull(["run", "--rm", "--network", mode, "busybox", "ls", "/sys/class/net"])
            .ok()
            .replace('\n', " ")
    };
    assert_eq!(links("none"), "lo");
    assert_eq!(links("bridge"), "eth0 lo");
    assert!(links("host").contains("hull0"), "the host's own links: {}", links("host"));
    daemon.hull(["run", "-d", "--name", "owner", "busybox", "sleep", "1000"]).ok();
    let address =
        |name: &str| daemon.hull(["exec", name, "ip", "-4", "-o", "addr", "show", "eth0"]).ok().to_owned();
    daemon
        .hull(["run", "-d", "--name", "guest", "--network", "container:owner", "busybox", "sleep", "1000"])
        .ok();
    assert_eq!(address("owner"), address("guest"));
}

#[test]
fn names_are_resolved_by_files() {
    let daemon = Daemon::with_busybox();
    let output = daemon.hull([
        "run",
        "--rm",
        "--hostname",
        "me",
        "--add-host",
        "db:10.1.2.3",
        "--dns",
        "9.9.9.9",
        "busybox",
        "cat",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/hostname",
    ]);
    output.says("10.1.2.3\tdb").says("\tme").says("nameserver 9.9.9.9").says("127.0.0.1\tlocalhost");
}

#[test]
fn user_defined_bridges_are_apart() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "--subnet", "10.77.0.0/24", "blue"]).ok();
    daemon
        .hull([
            "run",
            "-d",
            "--name",
            "in-blue",
            "--network",
            "blue",
            "--ip",
            "10.77.0.9",
            "busybox",
            "sh",
            "-c",
            SERVE,
        ])
        .ok();
    let from = |network: &str| {
        let url = "http://10.77.0.9/hello";
        let script = format!("timeout 3 wget -q -O - {url}; exit $?");
        let fetch = ["run", "--rm", "--network", network, "busybox", "sh", "-c", &script];
        daemon.hull(fetch)
    };
    assert!(eventually(PATIENCE, || from("blue").code == 0), "{:#?}", from("blue"));
    assert_ne!(from("bridge").code, 0, "another network's containers do not reach it");
    daemon.hull(["network", "rm", "blue"]).complains("has active endpoints").fails(1);
    daemon.hull(["rm", "-f", "in-blue"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn linked_containers_know_each_other() {
    let daemon = Daemon::with_busybox();
    let db = ["run", "-d", "--name", "db", "--expose", "5432", "-e", "USER=me", "busybox", "sleep", "1000"];
    daemon.hull(db).ok();
    let address_of = |name: &str| {
        let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        daemon.hull(["inspect", "-f", template, name]).ok().to_owned()
    };
    let address = address_of("db");
    let web = ["run", "-d", "--name", "web", "--link", "db:store", "busybox", "sleep", "1000"];
    daemon.hull(web).ok();
    assert_eq!(daemon.hull(["inspect", "-f", "{{.HostConfig.Links}}", "web"]).ok(), "[/db:/web/store]");
    let seen =
        daemon.hull(["exec", "web", "sh", "-c", "cat /etc/hosts; cat /proc/1/environ | tr '\\0' '\\n'"]);
    seen.says(&format!("{address}\tstore ")).says(" db\n");
    seen.says(&format!("STORE_PORT_5432_TCP_ADDR={address}\n")).says("STORE_NAME=/web/store\n");
    seen.says("STORE_ENV_USER=me\n");
    daemon.hull(["exec", "web", "ping", "-c", "1", "-w", "5", "store"]).ok();

    daemon.hull(["stop", "-t", "0", "web", "db"]).ok();
    daemon
        .hull(["start", "web"])
        .complains("Cannot link to a non running container: /db AS /web/store")
        .fails(1);
    daemon.hull(["start", "db"]).ok();
    daemon.hull(["start", "web"]).ok();
    // Its old address is another's meanwhile.
    daemon.hull(["stop", "-t", "0", "db"]).ok();
    let old = address_of("web");
    daemon.hull(["run", "-d", "--name", "third", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["start", "db"]).ok();
    let hosts = daemon.hull(["exec", "web", "cat", "/etc/hosts"]);
    hosts.says(&format!("{}\tstore ", address_of("db")));
    assert_ne!(old, address_of("db"));

    daemon.hull(["network", "create", "blue"]).ok();
    daemon.hull(["run", "-d", "--name", "blue-db", "--network", "blue", "busybox", "sleep", "1000"]).ok();
    let flags = ["--network", "blue", "--link", "blue-db:store", "busybox", "nslookup", "store"];
    let found = daemon.hull([&["run", "--rm"], &flags[..]].concat());
    found.says(&format!("Address: {}\n", address_of("blue-db")));
    let absent = daemon.hull(["create", "--link", "nosuch:x", "busybox"]);
    absent.complains("could not get container for nosuch").fails(1);
    daemon.hull(["rm", "-f", "blue-db"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn a_start_without_its_network_leaves_no_supervisor() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "gone"]).ok();
    daemon.hull(["create", "--name", "box", "--network", "gone", "busybox", "true"]).ok();
    daemon.hull(["network", "rm", "gone"]).ok();
    for _ in 0..10 {
        daemon.hull(["start", "box"]).complains("network gone not found");
        let left = std::fs::read_dir(daemon.exec_root().join("shim")).expect("its directory");
        assert_eq!(left.count(), 0, "the process was made beside the network, and ended with it");
    }
}

#[test]
fn options_of_an_endpoint_hold_while_the_container_runs() {
    let daemon = Daemon::with_busybox();
    for network in ["blue", "red"] {
        daemon.hull(["network", "create", "--ipv6", network]).ok();
    }
    daemon.hull(["run", "-d", "--name", "box", "--network", "blue", "busybox", "sleep", "1000"]).ok();
    let inside = |command: &[&str]| daemon.hull([&["exec", "box"], command].concat()).ok().to_owned();
    let gateway = |network: &str, field: &str| {
        let template = format!("{{{{.NetworkSettings.Networks.{network}.{field}}}}}");
        daemon.hull(["inspect", "-f", &template, "box"]).ok().to_owned()
    };
    let leads_by = |network: &str, interface: &str| {
        for (family, field) in [("-4", "Gateway"), ("-6", "IPv6Gateway")] {
            let routes = inside(&["ip", family, "route"]);
            let defaults: Vec<_> = routes.lines().filter(|line| line.starts_with("default")).collect();
            assert_eq!(defaults.len(), 1, "{routes}");
            let wanted = format!("default via {} dev {interface}", gateway(network, field));
            assert!(defaults[0].starts_with(&wanted), "{wanted}: {routes}");
        }
    };
    leads_by("blue", "eth0");
    let options = [
        "--gw-priority=7",
        "--driver-opt=com.docker.network.endpoint.ifname=lan7",
        "--driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1",
    ];
    daemon.hull([&["network", "connect"], &options[..], &["red", "box"]].concat()).ok();
    leads_by("red", "lan7");
    assert_eq!(inside(&["cat", "/proc/sys/net/ipv4/conf/lan7/log_martians"]), "1");
    let wrong =
        ["network", "connect", "--driver-opt=com.docker.network.endpoint.ifname=a/b", "bridge", "box"];
    daemon.hull(wrong).complains("invalid interface name").fails(1);
    daemon.hull(["network", "disconnect", "red", "box"]).ok();
    leads_by("blue", "eth0");
    daemon.hull(["network", "connect", "red", "box"]).ok();
    leads_by("blue", "eth0");
    daemon.hull(["network", "disconnect", "blue", "box"]).ok();
    leads_by("red", "eth1");
    daemon.hull(["rm", "-f", "box"]).ok();
    daemon.hull(["network", "rm", "blue", "red"]).ok();
}

#[test]
fn a_name_server_is_asked_after_the_last_network_with_names() {
    let mut daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    daemon.hull(["run", "-d", "--name", "box", "--network", "blue", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["network", "connect", "bridge", "box"]).ok();
    daemon.hull(["network", "disconnect", "blue", "box"]).ok();
    let asks = |daemon: &Daemon| daemon.hull(["exec", "box", "nslookup", "host.docker.internal"]).code == 0;
    assert!(asks(&daemon));
    daemon.kill9();
    daemon.restart();
    assert!(asks(&daemon), "its /etc/resolv.conf still names 127.0.0.11");
    daemon.hull(["rm", "-f", "box"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn an_endpoint_has_options_of_its_own() {
    let daemon = Daemon::with_busybox();
    for network in ["blue", "red"] {
        daemon.hull(["network", "create", network]).ok();
    }
    let prefix = "driver-opt=com.docker.network.endpoint";
    let options =
        format!("name=blue,{prefix}.ifname=lan7,{prefix}.sysctls=net.ipv4.conf.IFNAME.log_martians=1");
    let run = ["run", "-d", "--name", "box", "--network", &options, "--network", "name=red,gw-priority=5"];
    daemon.hull([&run[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let inside = |command: &[&str]| daemon.hull([&["exec", "box"], command].concat()).ok().to_owned();
    assert_eq!(
        inside(&["ls", "/sys/class/net"]).split_whitespace().collect::<Vec<_>>(),
        ["eth0", "lan7", "lo"]
    );
    assert_eq!(inside(&["cat", "/proc/sys/net/ipv4/conf/lan7/log_martians"]), "1");
    let routes = inside(&["ip", "route"]);
    assert!(routes.contains("default via") && routes.contains("dev eth0"), "{routes}");
    let gateway =
        daemon.hull(["inspect", "-f", "{{.NetworkSettings.Networks.red.Gateway}}", "box"]).ok().to_owned();
    assert!(routes.contains(&format!("default via {gateway} dev eth0")), "the higher priority: {routes}");
    for (name, value) in [("ifname", "a/b"), ("sysctls", "net.ipv4.ip_forward=0")] {
        let wrong = format!("name=blue,{prefix}.{name}={value}");
        let run = ["run", "--rm", "--network", &wrong, "busybox", "true"];
        daemon.hull(run).complains("invalid").fails(125);
    }
    daemon.hull(["rm", "-f", "box"]).ok();
    daemon.hull(["network", "rm", "blue", "red"]).ok();
}

#[test]
fn options_of_the_address_management_are_shown_as_they_were_given() {
    let mut daemon = Daemon::start();
    let create = |body: serde_json::Value| {
        let answer = daemon.api("POST", "/networks/create", Some(&body));
        assert_eq!(answer.status, 201, "{answer:?}");
    };
    create(json!({ "Name": "silent" }));
    create(json!({ "Name": "empty", "IPAM": { "Driver": "default", "Options": {} } }));
    create(json!({ "Name": "named", "IPAM": { "Options": { "some": "option" } } }));
    daemon.hull(["network", "create", "hull"]).ok();
    daemon.docker(["network", "create", "docker"]).ok();
    daemon.kill9();
    daemon.restart();
    for (name, wanted) in [
        ("silent", json!(null)),
        ("empty", json!({})),
        ("named", json!({ "some": "option" })),
        ("hull", json!({})),
        ("docker", json!({})),
        ("bridge", json!(null)),
        ("none", json!(null)),
    ] {
        let network = daemon.api("GET", &format!("/networks/{name}"), None).json();
        assert_eq!(network["IPAM"]["Options"], wanted, "{name}");
    }
    daemon.hull(["network", "rm", "silent", "empty", "named", "hull", "docker"]).ok();
}

#[test]
fn a_subnet_may_be_any_of_a_length() {
    let daemon = Daemon::start_with(&["--default-address-pool", "base=10.201.0.0/16,size=24"]);
    let create = |flags: &[&str], name: &str| daemon.hull([&["network", "create"], flags, &[name]].concat());
    create(&["--subnet", "0.0.0.0/26"], "small").ok();
    create(&["--subnet", "0.0.0.0/26"], "other").ok();
    let subnet = |name: &str| {
        let template = "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}";
        daemon.hull(["network", "inspect", "-f", template, name]).ok().to_owned()
    };
    assert_eq!(subnet("small"), "10.201.1.0/26 10.201.1.1", "behind the default bridge's");
    assert_eq!(subnet("other"), "10.201.1.64/26 10.201.1.65");
    create(&["--subnet", "0.0.0.0/8"], "vast").complains("fully subnetted").fails(1);
    daemon.hull(["network", "rm", "small", "other"]).ok();
}

#[test]
fn without_a_default_bridge_containers_have_no_network() {
    let daemon = Daemon::start_with(&["--bridge=none"]);
    let archive = hull_testkit::images::busybox(daemon.dir()).expect("an archive");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    for flags in [&[][..], &["--network", "bridge"]] {
        let run = [&["run", "--rm"], flags, &["busybox", "ls", "/sys/class/net"]].concat();
        assert_eq!(daemon.hull(run).ok(), "lo");
    }
}

#[test]
fn connections_that_cannot_be_are_refused_also_of_containers_that_do_not_run() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["network", "create", "blue"]).ok();
    daemon.hull(["create", "--name", "box", "--network", "blue", "busybox", "sleep", "1000"]).ok();
    for _ in 0..2 {
        let connect = |flags: &[&str]| daemon.hull([&["network", "connect"], flags, &["box"]].concat());
        connect(&["host"]).complains("container must be created in host network mode").fails(1);
        connect(&["none"]).complains("one of the networks in private (none) mode").fails(1);
        connect(&["--ip", "1.2.3.4", "bridge"]).complains("supported on user defined networks only").fails(1);
        daemon.hull(["start", "box"]).ok();
    }
    daemon.hull(["rm", "-f", "box"]).ok();
    daemon.hull(["network", "rm", "blue"]).ok();
}

#[test]
fn lists_tell_only_the_oldest_clients_who_is_connected() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let bridge = |version: &str| {
        let filters = "%7B%22name%22%3A%5B%22bridge%22%5D%7D";
        let listed = daemon.api("GET", &format!("/v{version}/networks?filters={filters}"), None).json();
        listed[0].clone()
    };
    assert_eq!(bridge("1.27")["Containers"].as_object().map(|containers| containers.len()), Some(1));
    assert_eq!(bridge("1.28")["Containers"], json!({}));
    assert_eq!(bridge("1.51")["Containers"], json!({}));
    assert_eq!(bridge("1.52").get("Containers"), None);
    assert!(["1.27", "1.52"].iter().all(|version| bridge(version).get("Status").is_none()));
}

#[test]
fn wrong_networks_are_refused_in_dockers_words() {
    let daemon = Daemon::start();
    let refused = |body: Value| daemon.api("POST", "/networks/create", Some(&body)).message();
    let range = |range: &str| {
        let pool = json!({"Subnet": "10.1.0.0/24", "IPRange": range});
        refused(json!({"Name": "n", "IPAM": {"Config": [pool]}}))
    };
    let within = |why: &str| format!("invalid network config:\ninvalid ip-range {why}");
    let big = within("10.1.0.0/16: CIDR block is bigger than its parent subnet 10.1.0.0/24");
    assert_eq!(range("10.1.0.0/16"), big);
    assert_eq!(range("10.1.0.5/25"), within("10.1.0.5/25: it should be 10.1.0.0/25"));
    let from = json!({"Name": "n", "ConfigFrom": {"Network": "nope"}, "Options": {"a": "b"}});
    let options =
        "network driver options are not supported if the network depends on a configuration network";
    assert_eq!(refused(from), options);
    let verbose = daemon.api("GET", "/networks/host?verbose=x", None).message();
    assert_eq!(verbose, "invalid value for verbose: x: strconv.ParseBool: parsing \"x\": invalid syntax");
    let host = daemon.api("GET", "/networks/host", None).json();
    assert_eq!(host["IPAM"]["Config"], Value::Null);
    let all = daemon.api("GET", "/networks?filters=%7B%22id%22%3A%5B%5D%7D", None).json();
    assert_eq!(all.as_array().map(Vec::len), Some(3), "a filter without values filters nothing");
}
