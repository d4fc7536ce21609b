//! Where output goes: files, and destinations that the test plays itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hull_testkit::output::eventually;
use hull_testkit::{Daemon, Output, certificates};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a shell script in a container of that driver.
fn run(daemon: &Daemon, driver: &str, options: &[&str], script: &str) -> Output {
    let flags = options.iter().flat_map(|option| ["--log-opt", option]);
    let end = ["--name", "box", "busybox", "sh", "-c", script];
    daemon.hull(["run", "--log-driver", driver].into_iter().chain(flags).chain(end))
}

fn seconds_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64()
}

/// A socket for datagrams, and its address.
fn datagrams() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let address = socket.local_addr().expect("address").to_string();
    (socket, address)
}

fn datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 16];
    let count = socket.recv(&mut buffer).expect("a datagram");
    buffer.truncate(count);
    buffer
}

/// A listener whose connections are read to one heap.
struct Collector {
    address: String,
    heap: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("bind"))
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("address").to_string();
        let heap: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Arc::clone(&heap);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let to = Arc::clone(&to);
                std::thread::spawn(move || collect(stream, &to));
            }
        });
        Self { address, heap }
    }

    fn bytes(&self) -> Vec<u8> {
        self.heap.lock().expect("lock").clone()
    }

    fn wait_for(&self, is_there: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let there = eventually(PATIENCE, || is_there(&self.bytes()));
        assert!(there, "{:?}", String::from_utf8_lossy(&self.bytes()));
        self.bytes()
    }
}

fn collect(mut stream: TcpStream, to: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 1 << 16];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        to.lock().expect("lock").extend_from_slice(&buffer[..count]);
    }
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn the_local_driver_is_read_as_json_file_is() {
    let daemon = Daemon::with_busybox();
    // Two pipes have no order among themselves but the clock's.
    run(&daemon, "local", &[], "echo one; echo two >&2; sleep 0.3; printf three").ok();
    let logs = daemon.hull(["logs", "box"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\nthree", "two\n"));
    assert_eq!(daemon.hull(["logs", "--tail", "1", "box"]).stdout, "three");
    let path = daemon.hull(["inspect", "-f", "{{.LogPath}}{{.HostConfig.LogConfig.Type}}", "box"]);
    assert_eq!(path.ok(), "local", "its file is nobody's business");
    daemon.hull(["rm", "box"]).ok();
    let long = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo after";
    run(&daemon, "local", &[], long).ok();
    assert_eq!(daemon.hull(["logs", "box"]).stdout, format!("{}\nafter\n", "x".repeat(40_000)));
}

#[test]
fn old_files_are_packed_and_still_read() {
    for driver in ["local", "json-file"] {
        let daemon = Daemon::with_busybox();
        let options = ["max-size=20k", "max-file=4", "compress=true"];
        // So slowly that each file is packed before the next one is full.
        let script = "i=0; while [ $i -lt 1000 ]; do echo line $i of the log; i=$((i+1)); \
                      [ $((i % 100)) -gt 0 ] || sleep 0.1; done";
        run(&daemon, driver, &options, script).ok();
        let directory = daemon.data_root().join("containers");
        let packed = || {
            let files = fs::read_dir(&directory).expect("list").flatten();
            let files = files.flat_map(|one| fs::read_dir(one.path()).expect("list").flatten());
            files.filter(|file| file.path().extension().is_some_and(|end| end == "gz")).count()
        };
        assert!(eventually(PATIENCE, || packed() >= 2), "{driver}: {}", packed());
        let logs = daemon.hull(["logs", "box"]).stdout;
        let all: String = (0..1000).map(|number| format!("line {number} of the log\n")).collect();
        assert!(all.ends_with(&logs) && logs.len() > 10_000, "{driver}: {} bytes", logs.len());
        let tail = daemon.hull(["logs", "--tail", "600", "box"]).stdout;
        assert!(all.ends_with(&tail) && tail.lines().count() == 600, "{driver}: {}", tail.lines().count());
    }
}

#[test]
fn a_follower_misses_nothing_while_files_are_rotated_and_packed() {
    let daemon = Daemon::with_busybox();
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done";
    let options = ["max-size=100k", "max-file=20", "compress=true"];
    let flags = options.iter().flat_map(|option| ["--log-opt", option]);
    daemon
        .hull(["create", "--name", "box"].into_iter().chain(flags).chain(["busybox", "sh", "-c", script]))
        .ok();
    daemon.hull(["start", "box"]).ok();
    let followed = daemon.hull(["logs", "-f", "box"]).stdout;
    let expected: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    assert!(followed == expected, "{} lines", followed.lines().count());
}

#[test]
fn syslog_over_udp_in_every_form() {
    let daemon = Daemon::with_busybox();
    let (socket, address) = datagrams();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (format, head) in [
        ("", "<30>MMM dd hh:mm:ss me[pid]: "),
        ("rfc3164", "<30>MMM dd hh:mm:ss HOST me[pid]: "),
        ("rfc5424", "<30>1 T HOST me pid me - "),
        ("rfc5424micro", "<30>1 T HOST me pid me - "),
    ] {
        let (address, form) = (format!("syslog-address=udp://{address}"), format!("syslog-format={format}"));
        let options = [address.as_str(), form.as_str(), "tag=me"];
        run(&daemon, "syslog", &options, "echo to out; echo; sleep 0.1; echo to err >&2").ok();
        let message = String::from_utf8(datagram(&socket)).expect("text");
        let words = |text: &str| text.split(' ').count();
        assert!(message.starts_with("<30>") && message.ends_with(" to out\n"), "{format}: {message}");
        assert_eq!(words(&message), words(head) + 1, "{format}: {message}");
        assert_eq!(message.contains(&format!(" {host} ")), head.contains("HOST"), "{format}: {message}");
        assert_eq!(
            message.contains('.') && format.ends_with("micro"),
            format.ends_with("micro"),
            "{message}"
        );
        let error = String::from_utf8(datagram(&socket)).expect("text");
        assert!(error.starts_with("<27>") && error.ends_with(" to err\n"), "{format}: {error}");
        daemon.hull(["rm", "box"]).ok();
    }
}

#[test]
fn syslog_over_streams_and_unix_sockets_and_what_is_kept_here() {
    let daemon = Daemon::with_busybox();
    let collector = Collector::start();
    let address = format!("syslog-address=tcp://{}", collector.address);
    run(&daemon, "syslog", &[&address, "syslog-facility=local3", "tag={{.Name}}"], "echo one; echo two").ok();
    let text = String::from_utf8(collector.wait_for(|bytes| lines(bytes) == 2)).expect("text");
    assert!(text.starts_with("<158>") && text.contains(" box[") && text.contains("]: two\n"), "{text}");
    assert_eq!(daemon.hull(["logs", "box"]).stdout, "one\ntwo\n", "a copy is read here");
    daemon.hull(["rm", "box"]).ok();

    let path = daemon.dir().join("syslog");
    let socket = UnixDatagram::bind(&path).expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let address = format!("syslog-address=unixgram://{}", path.display());
    run(&daemon, "syslog", &[&address, "cache-disabled=true"], "echo three").ok();
    let mut buffer = [0; 1024];
    let count = socket.recv(&mut buffer).expect("a datagram");
    assert!(buffer[..count].ends_with(b": three\n"));
    daemon.hull(["logs", "box"]).complains("configured logging driver does not support reading");
}

/// OpenSSL's server: what it receives is in the file `received`.
struct TlsServer(std::process::Child, String);

impl TlsServer {
    fn start(directory: &Path, more: &[&str]) -> Self {
        let unused = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
        let address = unused.to_string();
        let received = fs::File::create(directory.join("received")).expect("file");
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_server",
            "-quiet",
            "-accept",
            &address,
            "-cert",
            "server.crt",
            "-key",
            "server.key",
        ]);
        // It sends what it is told, and never ends as long as nobody tells it the end.
        openssl.args(more).current_dir(directory).stdin(std::process::Stdio::piped()).stdout(received);
        let child = openssl.stderr(std::process::Stdio::null()).spawn().expect("openssl");
        // Not by a connection: it would count as one.
        let port = format!(":{:04X} ", unused.port());
        let listens = || fs::read_to_string("/proc/net/tcp").is_ok_and(|table| table.contains(&port));
        assert!(eventually(PATIENCE, listens), "openssl s_server listens");
        Self(child, address)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn syslog_over_tls() {
    let mut daemon = Daemon::with_busybox();
    let home = tempfile::tempdir().expect("directory");
    certificates::make(home.path());
    let option = |name: &str, file: &str| format!("syslog-tls-{name}={}", home.path().join(file).display());
    let server =
        TlsServer::start(home.path(), &["-Verify", "1", "-verify_return_error", "-CAfile", "ca.crt"]);
    let address = format!("syslog-address=tcp+tls://{}", server.1);
    let own = [option("cert", "client.crt"), option("key", "client.key")];
    let received = || fs::read_to_string(home.path().join("received")).unwrap_or_default();

    // The daemon has no part in it: half of it is said while there is none.
    let script = "echo first; sleep 2; echo last";
    let flags = ["run", "-d", "--name", "box", "--log-driver", "syslog", "--log-opt", "tag=me"];
    let options = [&address, &option("ca-cert", "ca.crt"), &own[0], &own[1]].map(String::clone);
    let options: Vec<_> = options.iter().flat_map(|option| ["--log-opt", option]).collect();
    daemon.hull(flags.into_iter().chain(options).chain(["busybox", "sh", "-c", script])).ok();
    assert!(eventually(PATIENCE, || received().contains("first\n")), "{}", received());
    daemon.kill9();
    assert!(eventually(PATIENCE, || received().contains("last\n")), "{}", received());
    let said = received();
    assert!(said.lines().all(|line| line.contains(" me[")) && said.lines().count() == 2, "{said}");
    daemon.restart();
    daemon.hull(["rm", "-f", "box"]).ok();
    drop(server);

    let refused = |options: &[&str], why: &str| {
        let failed = "failed to initialize logging driver: ";
        // Clients take a file that is not there for the program.
        let code = if why.contains("no such file") { 127 } else { 125 };
        run(&daemon, "syslog", options, "true").complains(&format!("{failed}{why}")).fails(code);
        daemon.hull(["rm", "box"]).ok();
    };
    let server = TlsServer::start(home.path(), &[]);
    let address = format!("syslog-address=tcp+tls://{}", server.1);
    let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    refused(&[&address, &option("ca-cert", "stranger.crt")], unknown);
    refused(&[&address], unknown);
    let missing = home.path().join("nothing");
    let missing = missing.display();
    refused(
        &[&address, &option("ca-cert", "nothing")],
        &format!("could not read CA certificate \"{missing}\": open {missing}: no such file or directory"),
    );
    run(&daemon, "syslog", &[&address, "syslog-tls-skip-verify=true"], "echo trusting").ok();
    assert!(eventually(PATIENCE, || received().contains("trusting\n")), "{}", received());
    daemon.hull(["rm", "box"]).ok();
    let away = server.1.clone();
    drop(server);
    refused(&[&address], &format!("dial tcp {away}: connect: connection refused"));
}

#[test]
fn a_logger_that_is_killed_is_replaced() {
    let daemon = Daemon::with_busybox();
    let collector = Collector::start();
    let address = format!("syslog-address=tcp://{}", collector.address);
    let script = "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.05; done";
    let flags = ["run", "-d", "--name", "box", "--log-driver", "syslog", "--log-opt", &address];
    daemon.hull(flags.into_iter().chain(["busybox", "sh", "-c", script])).ok();
    let children =
        |pid: i32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let is_logger =
        |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"hull-log\0");
    let logger = || {
        let all: Vec<_> = daemon.processes().iter().map(|process| children(process.pid)).collect();
        all.iter().flat_map(|pids| pids.split_whitespace()).filter_map(|pid| pid.parse().ok()).find(is_logger)
    };
    for line in [30, 60] {
        let said = format!(": {line}\n");
        collector.wait_for(|bytes| String::from_utf8_lossy(bytes).contains(&said));
        let pid = rustix::process::Pid::from_raw(logger().expect("a logger")).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    }
    let all = collector.wait_for(|bytes| bytes.ends_with(b": 99\n"));
    let text = String::from_utf8_lossy(&all).into_owned();
    let numbers: Vec<usize> =
        text.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse().ok()).collect();
    assert!(numbers.is_sorted_by(|one, other| one < other), "in order and once: {numbers:?}");
    assert!(numbers.len() >= 96, "what it had taken is lost, no more: {numbers:?}");
    assert_eq!(daemon.hull(["logs", "box"]).lines().len(), 100);
}

#[test]
fn a_destination_that_is_away_fails_the_start() {
    let daemon = Daemon::with_busybox();
    let unused = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let refused = format!("dial tcp {unused}: connect: connection refused");
    let failed = "failed to create task for container: failed to initialize logging driver: ";
    for (driver, option, why) in [
        ("syslog", format!("syslog-address=tcp://{unused}"), refused.clone()),
        ("fluentd", format!("fluentd-address={unused}"), refused.clone()),
        (
            "gelf",
            format!("gelf-address=tcp://{unused}"),
            format!("gelf: cannot connect to GELF endpoint: {unused} {refused}"),
        ),
        ("syslog", "syslog-address=udp://nowhere.invalid:1".into(), "no such host".into()),
    ] {
        run(&daemon, driver, &[&option], "true").complains(failed).complains(&why).fails(125);
        assert_eq!(daemon.hull(["inspect", "-f", "{{.State.Status}}", "box"]).ok(), "created");
        daemon.hull(["rm", "box"]).ok();
    }
    if !Path::new("/run/systemd/journal/socket").exists() {
        run(&daemon, "journald", &[], "true").complains("journald is not enabled on this host").fails(125);
    }
    daemon
        .hull(["create", "--log-driver", "frob", "busybox"])
        .complains("error looking up logging plugin frob: plugin \"frob\" not found");
}

fn unpack(kind: &str, bytes: &[u8]) -> Value {
    let mut program = match kind {
        "gzip" => Command::new("gzip"),
        _ => Command::new("python3"),
    };
    let arguments: &[&str] = match kind {
        "gzip" => &["-dc"],
        _ => &["-c", "import sys,zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))"],
    };
    let program = program.args(arguments).stdin(std::process::Stdio::piped());
    let mut child = program.stdout(std::process::Stdio::piped()).spawn().expect("an unpacker");
    child.stdin.take().expect("stdin").write_all(bytes).expect("write");
    let output = child.wait_with_output().expect("output");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn gelf_is_packed_and_cut_for_udp() {
    let daemon = Daemon::with_busybox();
    let (socket, address) = datagrams();
    let address = format!("gelf-address=udp://{address}");
    for kind in ["gzip", "zlib", "none"] {
        let kind_option = format!("gelf-compression-type={kind}");
        run(&daemon, "gelf", &[&address, &kind_option, "env=COLOR"], "echo; echo hello >&2").ok();
        let bytes = datagram(&socket);
        let message = match kind {
            "none" => serde_json::from_slice(&bytes).expect("JSON"),
            kind => unpack(kind, &bytes),
        };
        assert_eq!((&message["version"], &message["short_message"]), (&json!("1.1"), &json!("hello")));
        assert_eq!((&message["level"], &message["_container_name"]), (&json!(3), &json!("box")));
        assert_eq!(message["_command"], "sh -c echo; echo hello >&2");
        assert!(message["timestamp"].as_f64().is_some_and(|time| time > 1.7e9), "{message}");
        daemon.hull(["rm", "box"]).ok();
    }
    let long = "x".repeat(10_000);
    run(&daemon, "gelf", &[&address, "gelf-compression-type=none"], &format!("echo {long}")).ok();
    let mut pieces = BTreeMap::new();
    loop {
        let piece = datagram(&socket);
        assert!(piece.len() <= 1420 && piece.starts_with(&[0x1e, 0x0f]), "{} bytes", piece.len());
        let count = usize::from(piece[11]);
        pieces.insert(piece[10], piece[12..].to_vec());
        if pieces.len() == count {
            break;
        }
    }
    let whole: Vec<u8> = pieces.into_values().flatten().collect();
    let message: Value = serde_json::from_slice(&whole).expect("JSON");
    assert_eq!(message["short_message"], long);
}

#[test]
fn gelf_over_tcp_outlives_an_outage() {
    let daemon = Daemon::with_busybox();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let option = format!("gelf-address=tcp://{address}");
    let script = "while read line; do echo $line; done";
    let mut command = daemon.spawn_hull([
        "run",
        "-i",
        "--log-driver",
        "gelf",
        "--log-opt",
        &option,
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let (mut first, _) = listener.accept().expect("a connection");
    command.write(b"one\n");
    let mut message = vec![0; 4096];
    let count = first.read(&mut message).expect("a message");
    assert!(message[..count].ends_with(b"\0"), "each message ends with a zero");
    drop((first, listener));
    std::thread::sleep(Duration::from_millis(200));
    let again = Collector::on(TcpListener::bind(address).expect("bind again"));
    command.write(b"two\n");
    let second = again.wait_for(|bytes| bytes.ends_with(b"\0"));
    let message: Value = serde_json::from_slice(&second[..second.len() - 1]).expect("JSON");
    assert_eq!(message["short_message"], "two");
    command.close_stdin();
    command.finish().ok();
}

/// MessagePack as JSON: `[value, …]` of all that stands there; an extension is the list of its bytes.
fn unpack_messages(mut bytes: &[u8]) -> Vec<Value> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        match unpack_message(&mut bytes) {
            Some(message) => all.push(message),
            None => break,
        }
    }
    all
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn unpack_message(bytes: &mut &[u8]) -> Option<Value> {
    let head = take(bytes, 1)?[0];
    let mut number =
        |count: usize| Some(take(bytes, count)?.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)));
    let text = |bytes: &mut &[u8], count: u64| {
        let text = take(bytes, count as usize)?;
        Some(json!(String::from_utf8_lossy(text)))
    };
    match head {
        0x80..=0x8f => {
            let mut map = serde_json::Map::new();
            for _ in 0..head & 15 {
                let name = unpack_message(bytes)?.as_str()?.to_owned();
                map.insert(name, unpack_message(bytes)?);
            }
            Some(Value::Object(map))
        }
        0x90..=0x9f => (0..head & 15).map(|_| unpack_message(bytes)).collect::<Option<_>>().map(Value::Array),
        0xa0..=0xbf => text(bytes, u64::from(head & 31)),
        0xd9 => number(1).and_then(|count| text(bytes, count)),
        0xda => number(2).and_then(|count| text(bytes, count)),
        0xd3 => number(8).map(|number| json!(number)),
        0xd7 => take(bytes, 9).map(|bytes| json!(bytes)),
        other => panic!("{other:#x} is not expected"),
    }
}

#[test]
fn fluentd_gets_events() {
    let daemon = Daemon::with_busybox();
    let collector = Collector::start();
    let address = format!("fluentd-address={}", collector.address);
    let long = "head -c 20000 /dev/zero | tr '\\0' x; echo";
    run(&daemon, "fluentd", &[&address, "tag=docker.{{.Name}}"], &format!("echo one; {long}")).ok();
    let events = || unpack_messages(&collector.bytes());
    assert!(eventually(PATIENCE, || events().len() == 3), "{:?}", events());
    let events = events();
    assert_eq!((&events[0][0], &events[0][2]["log"]), (&json!("docker.box"), &json!("one")));
    assert_eq!(
        (&events[0][2]["container_name"], &events[0][2]["source"]),
        (&json!("/box"), &json!("stdout"))
    );
    assert!(events[0][1].as_u64().is_some_and(|time| time > 1_700_000_000), "{}", events[0][1]);
    let pieces = ["partial_message", "partial_ordinal", "partial_last"];
    let of = |event: &Value| pieces.map(|name| event[2][name].as_str().unwrap_or("").to_owned());
    assert_eq!(of(&events[1]), ["true", "1", "false"]);
    assert_eq!(of(&events[2]), ["true", "2", "true"]);
    assert_eq!(events[1][2]["partial_id"], events[2][2]["partial_id"]);
    daemon.hull(["rm", "box"]).ok();
    run(&daemon, "fluentd", &[&address, "fluentd-sub-second-precision=1"], "echo fine").ok();
    let events = || unpack_messages(&collector.bytes());
    assert!(eventually(PATIENCE, || events().len() == 4));
    assert_eq!(events()[3][1].as_array().map(Vec::len), Some(9), "type and eight bytes");
}

#[test]
fn fluentd_is_waited_for_in_an_outage_and_later_where_that_was_asked() {
    let daemon = Daemon::with_busybox();
    let unused = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let address = format!("fluentd-address={unused}");
    let options =
        ["--log-opt", &address, "--log-opt", "fluentd-async=1", "--log-opt", "fluentd-retry-wait=50ms"];
    let script = "echo early; read x; echo late";
    let end = ["busybox", "sh", "-c", script];
    let run = ["run", "-i", "--log-driver", "fluentd"].into_iter().chain(options).chain(end);
    let mut client = daemon.spawn_hull(run);
    client.wait_for("early");
    let collector = Collector::on(TcpListener::bind(unused).expect("bind"));
    let events = || unpack_messages(&collector.bytes());
    assert!(eventually(PATIENCE, || events().len() == 1), "it arrives when there is somebody");
    client.write(b"\n");
    client.finish().ok();
    assert!(eventually(PATIENCE, || events().len() == 2));
    assert_eq!((&events()[0][2]["log"], &events()[1][2]["log"]), (&json!("early"), &json!("late")));
}

#[test]
fn a_slow_destination_holds_the_container_up_or_loses_output() {
    let daemon = Daemon::with_busybox();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = format!("syslog-address=tcp://{}", listener.local_addr().expect("address"));
    let much = "yes 0123456789012345678901234567890123456789 | head -n 400000; echo end";
    let flags = |options: &[&str]| -> Vec<String> {
        let options = [&["cache-disabled=1", &address], options].concat();
        options.iter().flat_map(|option| ["--log-opt".to_owned(), (*option).to_owned()]).collect()
    };
    let start = |name: &str, options: &[&str]| {
        let head = ["run", "-d", "--name", name, "--log-driver", "syslog"].map(str::to_owned);
        let end = ["busybox", "sh", "-c", much].map(str::to_owned);
        daemon.hull(head.into_iter().chain(flags(options)).chain(end)).ok();
        listener.accept().expect("a connection").0
    };
    let status = |name: &str| daemon.hull(["inspect", "-f", "{{.State.Status}}", name]).ok().to_owned();

    let mut stream = start("waits", &[]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(status("waits"), "running", "nobody reads");
    let begin = Instant::now();
    assert!(daemon.hull(["exec", "waits", "true"]).ok().is_empty());
    assert!(seconds_since(begin) < 5.0, "only its output waits");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("read");
    assert_eq!(lines(&all), 400_001, "and nothing is lost");
    assert!(eventually(PATIENCE, || status("waits") == "exited"));

    let mut stream = start("loses", &["mode=non-blocking", "max-buffer-size=1m"]);
    assert!(eventually(PATIENCE, || status("loses") == "exited"), "it does not wait");
    let mut some = Vec::new();
    stream.read_to_end(&mut some).expect("read");
    let count = lines(&some);
    assert!((10_000..400_000).contains(&count), "{count} lines");
    assert!(some.ends_with(b"\n"), "whole messages are dropped");
    assert!(eventually(PATIENCE, || daemon.log().contains("bytes of output were not logged")));
}

#[test]
fn destinations_are_served_while_the_daemon_is_away() {
    let mut daemon = Daemon::with_busybox();
    let collector = Collector::start();
    let address = format!("syslog-address=tcp://{}", collector.address);
    let script = "i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); sleep 0.05; done";
    let flags = ["run", "-d", "--name", "box", "--log-driver", "syslog", "--log-opt", &address];
    daemon.hull(flags.into_iter().chain(["busybox", "sh", "-c", script])).ok();
    daemon.kill9();
    let all = collector.wait_for(|bytes| lines(bytes) == 30);
    assert!(all.ends_with(b": 29\n"));
    daemon.restart();
    assert_eq!(daemon.hull(["logs", "box"]).lines().len(), 30);
}

/// The fields of a record of the journal.
fn fields(mut record: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut fields = BTreeMap::new();
    while let Some(end) = record.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&record[..end]).into_owned();
        record = &record[end + 1..];
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.as_bytes().to_vec()),
            None => {
                let (length, rest) = record.split_first_chunk::<8>().expect("a length");
                let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
                record = &rest[1..];
                (line, value.to_vec())
            }
        };
        fields.insert(name, value);
    }
    fields
}

#[test]
fn the_journal_gets_records_in_datagrams_or_in_memory() {
    let daemon = Daemon::with_busybox();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "journal", "/run"]).status().expect("mount");
    assert!(mounted.success());
    fs::create_dir_all("/run/systemd/journal").expect("mkdir");
    let socket = UnixDatagram::bind("/run/systemd/journal/socket").expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    run(&daemon, "journald", &["tag=me", "labels=my-label"], "echo out; echo err >&2").ok();
    let record = || {
        let mut buffer = vec![0; 1 << 20];
        let count = socket.recv(&mut buffer).expect("a record");
        fields(&buffer[..count])
    };
    let text = |fields: &BTreeMap<String, Vec<u8>>, name: &str| {
        String::from_utf8_lossy(fields.get(name).map_or(&b""[..], Vec::as_slice)).into_owned()
    };
    let first = record();
    assert_eq!(["MESSAGE", "PRIORITY", "CONTAINER_NAME"].map(|name| text(&first, name)), ["out", "6", "box"]);
    assert_eq!(["CONTAINER_TAG", "SYSLOG_IDENTIFIER"].map(|name| text(&first, name)), ["me", "me"]);
    assert_eq!((text(&first, "CONTAINER_ID").len(), text(&first, "CONTAINER_ID_FULL").len()), (12, 64));
    assert_eq!(text(&first, "IMAGE_NAME"), "busybox");
    let second = record();
    assert_eq!(["MESSAGE", "PRIORITY"].map(|name| text(&second, name)), ["err", "3"]);
    assert_eq!(daemon.hull(["logs", "box"]).stdout, "out\n");

    // More than a datagram takes.
    let big = "x\n".repeat(300_000);
    let config = json!({ "Image": "busybox", "Cmd": ["echo", "big"], "Labels": { "big": big },
        "HostConfig": { "LogConfig": { "Type": "journald", "Config": { "labels": "big" } } } });
    let made = daemon.api("POST", "/containers/create?name=big", Some(&config));
    assert_eq!(made.status, 201, "{}", made.message());
    daemon.hull(["start", "-a", "big"]).ok();
    let mut nothing = [0; 16];
    let (count, files) = hull_sys::scm::receive(&socket, &mut nothing).expect("a record");
    assert_eq!((count, files.len()), (0, 1));
    let file = fs::File::from(files.into_iter().next().expect("a file"));
    let mut content = vec![0; file.metadata().expect("metadata").len() as usize];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut content, 0).expect("read");
    let record = fields(&content);
    assert_eq!((text(&record, "MESSAGE").as_str(), record["BIG"].len()), ("big", big.len()));
    // It goes when the socket does.
    assert!(Command::new("umount").args(["-l", "/run"]).status().expect("umount").success());
}

#[test]
fn the_drivers_that_are_listed_are_the_ones_that_are_accepted() {
    let daemon = Daemon::with_busybox();
    let info = daemon.api("GET", "/info", None).json();
    let listed: Vec<&str> =
        info["Plugins"]["Log"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(listed, ["fluentd", "gelf", "journald", "json-file", "local", "syslog"]);
    for driver in listed {
        let options =
            if driver == "gelf" { json!({ "gelf-address": "udp://127.0.0.1:1" }) } else { json!({}) };
        let config = json!({ "Image": "busybox", "HostConfig": { "LogConfig": { "Type": driver, "Config": options } } });
        let made = daemon.api("POST", "/containers/create", Some(&config));
        assert_eq!(made.status, 201, "{driver}: {}", made.message());
    }
    let unknown = json!({ "Image": "busybox", "HostConfig": { "LogConfig": { "Type": "nothing" } } });
    let refused = daemon.api("POST", "/containers/create", Some(&unknown));
    assert_ne!(refused.status, 201);
}

#[test]
fn the_log_is_complete_when_the_end_is_told() {
    let daemon = Daemon::with_busybox();
    for driver in ["json-file", "local"] {
        for round in 0..10 {
            let log = format!("--log-driver={driver}");
            let script = "seq 1 2000; printf unended";
            let id = daemon.hull(["run", "-d", &log, "busybox", "sh", "-c", script]).ok().to_owned();
            daemon.hull(["wait", &id]).ok();
            let text = daemon.hull(["logs", &id]).stdout;
            assert!(text.ends_with("\n2000\nunended"), "{driver}, round {round}: {:?}", text.len());
            daemon.hull(["rm", &id]).ok();
        }
    }
}
