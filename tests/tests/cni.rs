//! Networks that plugins of the Container Network Interface make: those of Debian's containernetworking-plugins, and one
//! of the test's own that writes down what it is asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::{Value, json};

const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];
const DEBIAN: &str = "/usr/lib/cni";

/// Configurations and what plugins keep, in the daemon's directory.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new(daemon: &Daemon) -> Self {
        let directory = daemon.dir().join("cni");
        std::fs::create_dir_all(directory.join("bin")).expect("a directory");
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Writes a configuration with these plugins; the option that names it.
    fn configure(&self, name: &str, plugins: &[Value]) -> String {
        let list = json!({ "cniVersion": "0.4.0", "name": name, "plugins": plugins });
        let path = self.directory.join(format!("{name}.conflist"));
        std::fs::write(&path, list.to_string()).expect("write");
        format!("config={}", path.display())
    }

    /// A plugin that writes its commands into a file and passes on what it was given.
    fn scribe(&self) {
        let program = self.directory.join("bin/scribe");
        let script = format!(
            "#!/bin/sh\ninput=$(cat)\necho \"$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME ${{CNI_NETNS:-gone}} $input\" >>{}\n\
             [ ! -e {} ] || {{ echo '{{\"code\": 7, \"msg\": \"the scribe is ill\"}}'; exit 1; }}\n\
             echo \"$input\" | sed 's/.*\"prevResult\":\\(.*\\),\"type\".*/\\1/'\n",
            self.path("log"),
            self.path("ill"),
        );
        std::fs::write(&program, script).expect("write");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn commands(&self) -> Vec<String> {
        self.log().iter().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    }

    /// A bridge with addresses of its own.
    fn bridge(&self) -> Value {
        json!({
            "type": "bridge", "bridge": "cni0", "isDefaultGateway": true,
            "dns": { "nameservers": ["10.88.0.1"] },
            "ipam": {
                "type": "host-local", "dataDir": self.path("leases"),
                "ranges": [[{ "subnet": "10.88.0.0/24" }]]
            }
        })
    }

    fn leases(&self) -> usize {
        let found = std::fs::read_dir(self.directory.join("leases/lan")).into_iter().flatten().flatten();
        found.filter(|entry| entry.file_name().to_string_lossy().starts_with("10.")).count()
    }
}

fn create(daemon: &Daemon, name: &str, options: &[&str]) {
    let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
    daemon.hull([&["network", "create", "-d", "cni"], &options[..], &[name]].concat()).ok();
}

fn of(daemon: &Daemon, name: &str, field: &str) -> String {
    let template = format!("{{{{range .NetworkSettings.Networks}}}}{{{{{field}}}}}{{{{end}}}}");
    daemon.hull(["inspect", "-f", &template, name]).ok().to_owned()
}

#[test]
fn plugins_make_what_containers_have() {
    let mut daemon = Daemon::with_busybox();
    let place = Place::new(&daemon);
    place.scribe();
    let config = place.configure("lan", &[place.bridge(), json!({ "type": "scribe" })]);
    let plugins = format!("plugins={DEBIAN}:{}", place.path("bin"));
    create(&daemon, "lan", &[&config, &plugins]);
    // The network has what it was made with.
    std::fs::remove_file(config.trim_start_matches("config=")).expect("remove");
    let run =
        |name: &str| daemon.hull([&["run", "-d", "--name", name, "--network", "lan"], &SLEEP[..]].concat());
    run("one").ok();
    run("two").ok();
    assert_eq!(of(&daemon, "one", ".IPAddress"), "10.88.0.2");
    assert_eq!(of(&daemon, "one", ".IPPrefixLen"), "24");
    assert_eq!(of(&daemon, "one", ".Gateway"), "10.88.0.1");
    let mac = of(&daemon, "one", ".MacAddress");
    daemon.hull(["exec", "one", "ip", "addr", "show", "eth0"]).says("10.88.0.2/24").says(&mac);
    daemon.hull(["exec", "one", "ip", "route"]).says("default via 10.88.0.1 dev eth0");
    let ping =
        |daemon: &Daemon| daemon.hull(["exec", "one", "ping", "-c", "1", "-w", "5", "two"]).ok().to_owned();
    assert!(ping(&daemon).contains("10.88.0.3"), "names are known here, too");
    let network = daemon.hull(["network", "inspect", "lan"]).json();
    assert_eq!(network[0]["Driver"], "cni");
    let id = daemon.hull(["inspect", "-f", "{{.Id}}", "one"]).ok().to_owned();
    assert!(place.log()[0].starts_with(&format!("ADD {id} eth0 /proc/")), "{:#?}", place.log());
    assert!(place.log()[0].contains("\"prevResult\""), "the second plugin gets the first one's result");

    daemon.kill9();
    daemon.restart();
    assert_eq!(place.commands(), ["ADD", "ADD", "CHECK", "CHECK"]);
    ping(&daemon);
    assert_eq!(place.leases(), 2);
    daemon.hull(["network", "disconnect", "lan", "two"]).ok();
    assert!(!daemon.hull(["exec", "two", "ls", "/sys/class/net"]).ok().contains("eth0"));
    assert_eq!((place.leases(), place.commands().pop().as_deref()), (1, Some("DEL")));
    daemon.hull(["network", "connect", "lan", "two"]).ok();
    daemon.hull(["network", "rm", "lan"]).complains("has active endpoints").fails(1);
    daemon.hull(["rm", "-f", "one", "two"]).ok();
    assert_eq!(place.leases(), 0);
    daemon.hull(["network", "rm", "lan"]).ok();
    let _ = std::process::Command::new("ip").args(["link", "del", "cni0"]).status();
}

#[test]
fn what_plugins_made_is_taken_down_after_a_crash() {
    let mut daemon = Daemon::with_busybox();
    let place = Place::new(&daemon);
    place.scribe();
    let config = place.configure("lan", &[place.bridge(), json!({ "type": "scribe" })]);
    let plugins = format!("plugins={DEBIAN}:{}", place.path("bin"));
    create(&daemon, "lan", &[&config, &plugins]);
    let run = ["run", "-d", "--name", "one", "--network", "lan"];
    daemon.hull([&run[..], &SLEEP].concat()).ok();
    daemon.crash_everything();
    daemon.restart();
    assert_eq!(place.leases(), 0, "{:#?}", place.log());
    assert!(place.log().iter().any(|line| line.starts_with("DEL") && line.contains(" gone ")));

    // One that fails is undone by all of them, and told in libcni's words.
    std::fs::write(place.path("ill"), "").expect("write");
    let failed = daemon.hull(["start", "one"]);
    failed.complains("plugin type=\"scribe\" failed (add): the scribe is ill").fails(1);
    // The ill one refuses DEL as well: it is asked again at the next start.
    std::fs::remove_file(place.path("ill")).expect("remove");
    daemon.kill9();
    daemon.restart();
    assert_eq!(place.leases(), 0);
    daemon.hull(["start", "one"]).ok();
    daemon.hull(["rm", "-f", "one"]).ok();
    daemon.hull(["network", "rm", "lan"]).ok();
    let _ = std::process::Command::new("ip").args(["link", "del", "cni0"]).status();
}

fn fetch(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut text = String::new();
    let asked = stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut text)).is_ok() && text.contains("inside")
}

#[test]
fn ports_are_published_by_plugins_that_can() {
    let mut daemon = Daemon::with_busybox();
    let place = Place::new(&daemon);
    place.scribe();
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let config = place.configure("lan", &[place.bridge(), portmap, json!({ "type": "scribe" })]);
    create(&daemon, "lan", &[&config, &format!("plugins={DEBIAN}:{}", place.path("bin"))]);
    let serve = "mkdir /www; echo inside >/www/hello; exec httpd -f -p 80 -h /www";
    let run = |name: &str, ports: &str| {
        let start = ["run", "-d", "--name", name, "--network", "lan", "-p", ports];
        daemon.hull([&start[..], &["busybox", "sh", "-c", serve]].concat())
    };
    run("web", "18091:80").ok();
    assert_eq!(daemon.hull(["port", "web", "80"]).ok(), "0.0.0.0:18091", "it has no IPv6");
    assert!(eventually(PATIENCE, || fetch("127.0.0.1:18091")), "from the host");
    let from = |network: &str, address: &str| {
        let url = format!("http://{address}/hello");
        daemon.hull(["run", "--rm", "--network", network, "busybox", "wget", "-q", "-O", "-", &url])
    };
    assert_eq!(from("lan", "10.88.0.1:18091").ok(), "inside", "from a neighbour");
    let gateway = daemon.hull(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"]);
    assert_eq!(from("bridge", &format!("{}:18091", gateway.ok())).ok(), "inside", "from another network");
    // Nobody else gets the port, and who names an address gets that one.
    run("late", "18091:80").complains("port is already allocated").fails(125);
    daemon.hull(["rm", "-f", "late"]).ok();
    assert!(TcpListener::bind("0.0.0.0:18091").is_err());
    run("six", "[::1]:18092:80").complains("the network has no IPv6").fails(125);
    assert!(TcpListener::bind("[::1]:18092").is_ok(), "free again");
    daemon.hull(["rm", "-f", "six"]).ok();
    run("range", "127.0.0.1:18100-18102:80-82").ok();
    assert!(eventually(PATIENCE, || fetch("127.0.0.1:18100")));
    assert_eq!(daemon.hull(["port", "range"]).lines().len(), 3);
    daemon.hull(["rm", "-f", "range"]).ok();
    assert!(!fetch("127.0.0.1:18100"));

    daemon.kill9();
    daemon.restart();
    assert!(fetch("127.0.0.1:18091"), "the plugins' rules stand");
    assert!(TcpListener::bind("0.0.0.0:18091").is_err(), "and the port is held again");
    daemon.hull(["network", "disconnect", "lan", "web"]).ok();
    assert!(!fetch("127.0.0.1:18091"));
    assert!(TcpListener::bind("0.0.0.0:18091").is_ok());
    let asked = place.log();
    let last = asked.last().expect("a command");
    assert!(last.starts_with("DEL"), "{last}");
    daemon.hull(["rm", "-f", "web"]).ok();
    daemon.hull(["network", "rm", "lan"]).ok();
    let _ = std::process::Command::new("ip").args(["link", "del", "cni0"]).status();
}

#[test]
fn wishes_that_no_plugin_meets_are_refused() {
    let daemon = Daemon::with_busybox();
    let place = Place::new(&daemon);
    let refused = |options: &[&str], text: &str| {
        let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        let create = daemon.hull([&["network", "create", "-d", "cni"], &options[..], &["lan"]].concat());
        create.complains(text).fails(1);
    };
    refused(&[], "a network of cni needs a configuration");
    refused(&["config=/nowhere"], "read CNI configuration /nowhere");
    refused(&["config=nosuch"], "no CNI configuration in /etc/cni/net.d has the name \"nosuch\"");
    let config = place.configure("lan", &[json!({ "type": "nosuch" })]);
    refused(&[&config], "failed to find plugin \"nosuch\" in path \"/usr/lib/cni:/opt/cni/bin\"");
    assert!(Path::new(DEBIAN).join("bridge").exists(), "tests need containernetworking-plugins");
    let config = place.configure("lan", &[place.bridge()]);
    create(&daemon, "lan", &[&config]);
    let run = ["run", "--rm", "--network", "lan", "--ip", "10.88.0.9", "busybox", "true"];
    daemon.hull(run).complains("no plugin of network lan has the capability \"ips\"").fails(125);
    let run = ["run", "--rm", "--network", "lan", "-p", "18093:80", "busybox", "true"];
    daemon.hull(run).complains("no plugin of network lan has the capability \"portMappings\"").fails(125);
    assert!(TcpListener::bind("0.0.0.0:18093").is_ok());
    assert_eq!(place.leases(), 0);
    daemon.hull(["network", "rm", "lan"]).ok();
}
