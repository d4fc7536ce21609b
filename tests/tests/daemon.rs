//! The daemon's own business: its configuration and what is installed beside it.

use std::process::Command;

use hull_testkit::daemon::binary;
use hull_testkit::output::{PATIENCE, eventually};
use hull_testkit::{Daemon, certificates};
use rustix::process::{Pid, Signal};
use serde_json::json;

#[test]
fn a_hang_up_reloads_the_configuration() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("daemon.json");
    let write = |text: &str| std::fs::write(&file, text).expect("write");
    write(r#"{"labels": ["old=1"]}"#);
    let daemon = Daemon::start_with(&["--config-file", file.to_str().expect("utf-8")]);
    let hang_up = || {
        let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a process id");
        rustix::process::kill_process(pid, Signal::HUP).expect("kill");
    };
    let info = || daemon.api("GET", "/info", None).json();
    assert_eq!(info()["Labels"][0], "old=1");
    let events =
        daemon.spawn_hull(["events", "--format", "{{.Type}} {{.Action}} {{json .Actor.Attributes}}"]);
    assert!(eventually(PATIENCE, || info()["NEventsListener"] == 1));

    write(
        r#"{"labels": ["new=2"], "debug": true, "insecure-registries": ["lab:5000"], "mtu": 1400,
        "default-shm-size": "3M"}"#,
    );
    hang_up();
    events.wait_for("daemon reload ");
    let now = info();
    assert_eq!((&now["Labels"][0], &now["Debug"]), (&"new=2".into(), &true.into()));
    assert_eq!(now["RegistryConfig"]["IndexConfigs"]["lab:5000"]["Secure"], false);
    for told in [r#""debug":"true""#, r#""default-shm-size":"3145728""#, r#""default-ipc-mode":"private""#] {
        assert!(events.stdout().contains(told), "{}", events.stdout());
    }
    let created = daemon.api("POST", "/containers/create?name=new", Some(&json!({"Cmd": ["x"]})));
    assert_eq!(created.status, 201, "{}", created.message());
    let shown = daemon.api("GET", "/containers/new/json", None).json();
    assert_eq!(shown["HostConfig"]["ShmSize"], 3 << 20);
    assert!(eventually(PATIENCE, || daemon.log().contains("DEBUG")), "it logs more: {}", daemon.log());

    write(r#"{"labels": ["newer=3"], "no-such-key": 1}"#);
    hang_up();
    assert!(eventually(PATIENCE, || daemon.log().contains("the configuration stays as it was")));
    assert_eq!(info()["Labels"][0], "new=2", "a mistake changes nothing");
}

#[test]
fn the_manual_and_the_completions_are_of_its_own_flags() {
    let print = |what: &str| {
        let output = Command::new(binary("hulld")).args(["--print", what]).output().expect("hulld runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("utf-8")
    };
    let page = print("man");
    assert!(page.contains(".TH hulld 8") && page.contains("insecure\\-registry"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(print(shell).contains("insecure-registry"), "{shell}");
    }
}

/// What `hulld --validate` says: whether all is right, and its words.
fn validate(arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new(binary("hulld")).arg("--validate").args(arguments).output().expect("hulld runs");
    (output.status.success(), String::from_utf8(output.stderr).expect("utf-8").trim().to_owned())
}

#[test]
fn a_configuration_is_checked_in_dockers_words() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("daemon.json");
    let config = path.to_str().expect("utf-8");
    let check = |text: &str, more: &[&str]| {
        std::fs::write(&path, text).expect("write");
        validate(&[&["--config-file", config], more].concat())
    };
    assert_eq!(check(r#"{"live-restore": true, "debug": true}"#, &[]), (true, "configuration OK".to_owned()));
    let why = |text: &str, more: &[&str]| {
        let (right, said) = check(text, more);
        assert!(!right, "{said}");
        said.rsplit_once(&format!("{config}: ")).expect("it names the file").1.to_owned()
    };
    let unknown = "the following directives don't match any configuration option: colour";
    assert_eq!(why(r#"{"colour": "red"}"#, &[]), unknown);
    assert_eq!(
        why(r#"{"debug": true, "hosts": ["fd://"], "mtu": 1400}"#, &["-D", "-H", "unix:///x", "--mtu=1400"]),
        "the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, \
         from file: true), hosts: (from flag: [unix:///x], from file: [fd://]), mtu: (from flag: 1400, from file: 1400)"
    );
    let (right, said) = validate(&["--config-file", "/nowhere/daemon.json"]);
    assert!(!right && said.ends_with("open /nowhere/daemon.json: no such file or directory"), "{said}");
}

#[test]
fn what_has_no_meaning_is_said_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("daemon.json");
    std::fs::write(&file, r#"{"storage-driver": "overlay2", "log-format": "json"}"#).expect("write");
    let daemon =
        Daemon::start_with(&["--config-file", file.to_str().expect("utf-8"), "--userland-proxy-path=/x"]);
    let lines: Vec<serde_json::Value> =
        daemon.log().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    for flag in ["storage-driver has no effect", "--userland-proxy-path has no effect"] {
        let said = |line: &&serde_json::Value| line["level"] == "WARN" && line.to_string().contains(flag);
        assert_eq!(lines.iter().filter(said).count(), 1, "{flag}: {lines:?}");
    }
}

/// One request to an address, and all of its answer.
fn get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("connect");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

#[test]
fn metrics_have_dockers_names_and_true_figures() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
    let address = format!("127.0.0.1:{port}");
    let daemon = Daemon::start_with(&["--metrics-addr", &address]);
    let archive = hull_testkit::images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    let probe = ["--health-cmd", "false", "--health-interval", "100ms"];
    let run = ["run", "-d", "--name", "box"];
    daemon.hull([&run[..], &probe, &["busybox", "sleep", "1000"]].concat()).ok();
    daemon.hull(["create", "busybox"]).ok();
    daemon.hull(["start", "no-such-container"]).fails(1);
    let value = |name: &str| -> f64 {
        let text = get(&address, "/metrics");
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    assert_eq!(value(r#"engine_daemon_container_states_containers{state="running"}"#), 1.0);
    assert_eq!(value(r#"engine_daemon_container_states_containers{state="stopped"}"#), 1.0);
    assert_eq!(value(r#"engine_daemon_container_actions_seconds_count{action="create"}"#), 2.0);
    assert_eq!(value(r#"engine_daemon_container_actions_seconds_count{action="start"}"#), 1.0);
    assert!(value(r#"engine_daemon_container_actions_seconds_sum{action="start"}"#) > 0.0);
    assert!(value("engine_daemon_engine_cpus_cpus") >= 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    let before = value("engine_daemon_events_total");
    assert!(eventually(PATIENCE, || value("engine_daemon_health_checks_failed_total") >= 2.0));
    assert!(value("engine_daemon_health_checks_total") >= 2.0);
    daemon.hull(["kill", "box"]).ok();
    assert!(eventually(PATIENCE, || value("engine_daemon_events_total") >= before + 2.0));
    assert!(get(&address, "/metrics").contains("engine_daemon_engine_info{architecture="));
    assert!(get(&address, "/other").starts_with("HTTP/1.0 404"));
}

#[test]
fn requests_are_traced_when_somebody_wants_it() {
    use std::io::{Read, Write};
    // Before anything listens: the daemon is to reach it.
    hull_testkit::namespaces::enter();
    let collector = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let endpoint = format!("http://{}", collector.local_addr().expect("address"));
    let received = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let sink = std::sync::Arc::clone(&received);
    std::thread::spawn(move || {
        for mut stream in collector.incoming().flatten() {
            let mut buffer = [0; 64 << 10];
            let mut text = String::new();
            // One request; its end is the end of its JSON.
            while !text.ends_with("]}]}") {
                match stream.read(&mut buffer) {
                    Ok(length) if length > 0 => text += &String::from_utf8_lossy(&buffer[..length]),
                    _ => break,
                }
            }
            sink.lock().expect("sink").push_str(&text);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
        }
    });
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret"),
        ("OTEL_SERVICE_NAME", "the-hull"),
    ];
    let mut daemon = Daemon::start_in(&[], &variables);
    daemon.hull(["ps"]).ok();
    daemon.hull(["inspect", "no-such-container"]).fails(1);
    daemon.stop();
    let text = received.lock().expect("received").clone();
    for wanted in [
        "POST /v1/traces",
        "x-key: secret",
        r#""stringValue":"the-hull""#,
        r#""name":"GET /containers/json""#,
        r#""name":"GET /containers/{id}/json""#,
        r#""intValue":"404""#,
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn a_signal_writes_down_what_goes_on() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "--name", "waiting", "busybox"]).ok();
    let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, Signal::USR1).expect("kill");
    let written = || {
        let entries = std::fs::read_dir(daemon.exec_root()).expect("exec root").flatten();
        let mut dumps = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("state-"));
        dumps.find_map(|entry| std::fs::read_to_string(entry.path()).ok())
    };
    assert!(eventually(PATIENCE, || written().is_some_and(|text| text.contains(" waiting Created "))));
    assert_eq!(daemon.api("GET", "/_ping", None).status, 200);
}

#[test]
fn the_daemon_takes_descriptors_and_containers_keep_their_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let all = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(512), ..all }).expect("setrlimit");
    let daemon = Daemon::with_busybox();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let numbers: Vec<&str> = line.split_ascii_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "it has all that it may have");
    assert_eq!(daemon.hull(["run", "--rm", "busybox", "sh", "-c", "ulimit -n"]).ok(), "512");
    let named = ["run", "--rm", "--ulimit", "nofile=100", "busybox", "sh", "-c", "ulimit -n"];
    assert_eq!(daemon.hull(named).ok(), "100");
}

#[test]
fn what_containers_get_that_say_nothing() {
    let daemon = busybox_with(&[
        "--default-ipc-mode=shareable",
        "--default-cgroupns-mode=private",
        "--default-shm-size=32M",
        "--default-ulimit=nofile=100:200",
    ]);
    let script = "readlink /proc/self/ns/cgroup; df -k /dev/shm | tail -1; ulimit -n; ulimit -Hn";
    let output = daemon.hull(["run", "--name=plain", "busybox", "sh", "-c", script]);
    let lines: Vec<&str> = output.ok().lines().collect();
    let own = std::fs::read_link("/proc/self/ns/cgroup").expect("a namespace");
    assert_ne!(Some(lines[0]), own.to_str(), "it has a namespace of its own");
    assert!(lines[1].contains(" 32768 "), "{lines:?}");
    assert_eq!(lines[2..], ["100", "200"]);
    let host = daemon.api("GET", "/containers/plain/json", None).json()["HostConfig"].clone();
    assert_eq!((&host["IpcMode"], &host["CgroupnsMode"]), (&"shareable".into(), &"private".into()));
    // Who says something gets that.
    daemon.hull(["create", "--name=other", "--ipc=private", "--cgroupns=host", "busybox"]).ok();
    let host = daemon.api("GET", "/containers/other/json", None).json()["HostConfig"].clone();
    assert_eq!((&host["IpcMode"], &host["CgroupnsMode"]), (&"private".into(), &"host".into()));
}

#[test]
fn what_makes_no_sense_for_containers_is_refused() {
    let refused = |flags: &[&str]| {
        let (right, said) = validate(flags);
        assert!(!right, "{flags:?}: {said}");
        said
    };
    let hint = r#"use "shareable" or "private""#;
    assert!(
        refused(&["--default-ipc-mode=host"])
            .ends_with(&format!(r#"IPC mode "host" is not supported as default value; {hint}"#))
    );
    assert!(
        refused(&["--default-ipc-mode=x"])
            .ends_with(&format!("default IPC mode setting (x) is invalid; {hint}"))
    );
    let modes = r#"default cgroup namespace mode (x) is invalid; use "host" or "private""#;
    assert!(refused(&["--default-cgroupns-mode=x"]).ends_with(modes));
    assert!(refused(&["--add-runtime=runc=/x"]).ends_with("runtime name 'runc' is reserved"));
    assert!(refused(&["--add-runtime=x"]).contains("invalid runtime argument: x"));
    assert!(refused(&["--default-runtime=x"]).ends_with("specified default runtime 'x' does not exist"));
}

#[test]
fn registries_are_reached_by_the_proxy() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = format!("http://user:secret@{}", proxy.local_addr().expect("address"));
    let flags = [&format!("--https-proxy={address}"), "--no-proxy=direct.test"];
    let daemon = Daemon::start_in(&flags, &[("HTTPS_PROXY", "http://me:hidden@other.test")]);
    let told = "HTTPS_PROXY was http://xxxxx:xxxxx@other.test, and is http://xxxxx:xxxxx@127.0.0.1";
    assert!(daemon.log().contains(told) && !daemon.log().contains("hidden"), "{}", daemon.log());
    let asked = std::thread::spawn(move || {
        let (mut client, _) = proxy.accept().expect("a client");
        let mut line = [0; 64];
        let length = std::io::Read::read(&mut client, &mut line).expect("read");
        String::from_utf8_lossy(&line[..length]).into_owned()
    });
    // Who is excepted is looked for itself, and is not there.
    assert_ne!(daemon.hull(["pull", "direct.test/image"]).code, 0);
    assert!(!asked.is_finished());
    assert_ne!(daemon.hull(["pull", "registry.test/image"]).code, 0);
    assert!(asked.join().expect("the proxy").starts_with("CONNECT registry.test:443 "));
    let info = daemon.api("GET", "/info", None).json();
    assert!(info["HttpsProxy"].as_str().expect("text").starts_with("http://xxxxx:xxxxx@127.0.0.1:"));
    assert_eq!(info["NoProxy"], "direct.test");
}

#[test]
fn mirrors_are_told_of_as_directories() {
    let mirrors = ["--registry-mirror", "https://192.0.2.2", "--registry-mirror", "http://mirror.test:5000/"];
    let daemon = Daemon::start_with(&mirrors);
    let info = daemon.api("GET", "/info", None).json();
    let told = json!(["https://192.0.2.2/", "http://mirror.test:5000/"]);
    assert_eq!(info["RegistryConfig"]["Mirrors"], told);
    assert_eq!(info["RegistryConfig"]["IndexConfigs"]["docker.io"]["Mirrors"], told);
    assert!(info["NGoroutines"].as_i64() > Some(0), "{}", info["NGoroutines"]);
}

/// A daemon with flags and the image `busybox`.
fn busybox_with(flags: &[&str]) -> Daemon {
    let daemon = Daemon::start_with(flags);
    let archive = hull_testkit::images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    std::fs::remove_file(archive).expect("remove");
    daemon
}

#[test]
fn an_idle_daemon_gives_its_code_back() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--rm", "busybox", "true"]).ok();
    // What of its own code is in memory, in KiB (proc_pid_smaps(5)).
    let code = || -> u64 {
        let maps = std::fs::read_to_string(format!("/proc/{}/smaps", daemon.pid())).expect("the daemon runs");
        let from = maps.lines().position(|line| line.contains(" r-xp ") && line.ends_with("/hulld"));
        let lines = maps.lines().skip(from.expect("the daemon's code"));
        let line = lines.clone().find_map(|line| line.strip_prefix("Rss:")).expect("its size in memory");
        line.trim_end_matches("kB").trim().parse().expect("a number")
    };
    let busy = code();
    assert!(eventually(PATIENCE, || code() < busy / 3), "{busy} KiB were in use, {} KiB are left", code());
    daemon.hull(["run", "--rm", "busybox", "true"]).ok();
    assert!(code() > busy / 3, "and takes what it needs");
}

#[test]
fn info_warns_of_an_open_socket() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // In dockerd's short form, and twice, which is once.
    let daemon = Daemon::start_with(&["-H", &unused.to_string(), "-H", &format!("tcp://{unused}")]);
    let warnings = daemon.api("GET", "/info", None).json()["Warnings"].to_string();
    assert!(
        warnings.contains(&format!("API is accessible on http://{unused} without encryption.")),
        "{warnings}"
    );
    assert!(
        warnings.contains("Access to the remote API is equivalent to root access on the host"),
        "{warnings}"
    );
    let closed = Daemon::start();
    assert!(closed.api("GET", "/info", None).json()["Warnings"].is_null());
}

#[test]
fn tls_is_for_those_who_are_known_unless_somebody_says_no() {
    let home = tempfile::tempdir().expect("directory");
    certificates::make(home.path());
    let file = |flag: &str, name: &str| format!("--{flag}={}", home.path().join(name).display());
    let server = [file("tlscacert", "ca.crt"), file("tlscert", "server.crt"), file("tlskey", "server.key")];
    let known = [file("tlscacert", "ca.crt"), file("tlscert", "client.crt"), file("tlskey", "client.key")];
    let asks = |flags: &[&str], mine: &[String]| {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let host = format!("tcp://{unused}");
        let all: Vec<&str> =
            flags.iter().copied().chain(["-H", &host]).chain(server.iter().map(String::as_str)).collect();
        let daemon = Daemon::start_with(&all);
        let mine = mine.iter().map(String::as_str);
        let words = ["--tlsverify", "-H", &host].into_iter().chain(mine).chain(["version"]);
        daemon.docker(words).code == 0
    };
    let unknown = &known[..1];
    assert!(asks(&["--tls"], &known));
    assert!(!asks(&["--tls"], unknown), "everybody has root");
    assert!(!asks(&["--tlsverify"], unknown), "everybody has root");
    assert!(asks(&["--tlsverify=false"], unknown), "it is TLS, and for everybody");
}
