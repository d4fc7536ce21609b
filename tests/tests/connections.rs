//! What becomes of a connection after the answer, as it stands on the wire: for clients that do it their own way.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};
use serde_json::json;

/// Sends a request and reads the answer's head; what comes after it stays in the connection.
fn ask(daemon: &Daemon, request: &str) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("connect");
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).expect("send");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).expect("utf-8"))
}

/// A frame of the multiplexed stream.
fn frame(stream: u8, text: &str) -> Vec<u8> {
    [&[stream, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
}

fn all(mut stream: UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("read");
    rest
}

const SCRIPT: &str = "read line; echo got $line; echo done >&2";

#[test]
fn a_connection_is_taken_over_without_asking() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["create", "-i", "--name", "box", "busybox", "sh", "-c", SCRIPT]).ok();
    let attach = "POST /v1.24/containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\nHost: x\n\n";
    let (mut stream, head) = ask(&daemon, attach);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let lower = head.to_lowercase();
    assert!(lower.contains("content-type: application/vnd.docker.raw-stream"), "{head}");
    assert!(!lower.contains("upgrade") && !lower.contains("transfer-encoding"), "{head}");
    daemon.hull(["start", "box"]).ok();
    stream.write_all(b"a line\n").expect("send");
    let output = all(stream);
    let expected = [frame(1, "got a line\n"), frame(2, "done\n")];
    assert!(output == expected.concat() || output == [&expected[1][..], &expected[0]].concat(), "{output:?}");
    let refused = ask(&daemon, &attach.replace("box", "nosuch")).1;
    assert!(refused.starts_with("HTTP/1.1 404 Not Found\r\n"), "{refused}");
}

#[test]
fn a_session_too_with_input_right_after_the_request() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let wish = json!({ "AttachStdin": true, "AttachStdout": true, "Cmd": ["cat"] });
    let session = daemon.api("POST", "/containers/box/exec", Some(&wish)).json();
    let id = session["Id"].as_str().expect("an id");
    let head = format!("POST /exec/{id}/start HTTP/1.1\nHost: x\nContent-Type: application/json\n");
    let (stream, head) = ask(&daemon, &format!("{head}Content-Length: 2\n\n{{}}at once"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    stream.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(all(stream), frame(1, "at once"));
}

#[test]
fn a_browser_attaches_by_websocket() {
    let daemon = Daemon::with_busybox();
    daemon
        .hull(["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", "read line; echo got $line"])
        .ok();
    let path = "/containers/box/attach/ws?stream=1&stdin=1&stdout=1";
    // The key and its answer are the example of RFC 6455, 1.3.
    let (mut stream, head) = ask(
        &daemon,
        &format!(
            "GET {path} HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n"
        ),
    );
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    // A final text message, masked by zeros.
    stream.write_all(&[&[0x81, 0x80 | 7, 0, 0, 0, 0][..], b"a line\n"].concat()).expect("send");
    let answer = all(stream);
    let message = [&[0x82, 11][..], b"got a line\n"].concat();
    assert!(answer.starts_with(&message), "{answer:?}");
    assert_eq!(answer.get(message.len()), Some(&0x88), "then it is closed: {answer:?}");
    let refused = daemon.api("GET", path, None);
    assert_eq!(refused.status, 400, "{}", refused.message());
}

#[test]
fn a_silent_client_is_asked_whether_it_is_still_there() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().expect("address");
    let daemon = Daemon::start_with(&["-H", &unused.to_string()]);
    let _silent = std::net::TcpStream::connect(unused).expect("connect");
    // proc(5): the local address, the state ESTABLISHED, and the timer that keeps alive.
    let local = format!(":{:04X}", unused.port());
    let is_asked = || {
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", daemon.pid())).expect("connections");
        table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .any(|fields| fields[1].ends_with(&local) && fields[3] == "01" && fields[5].starts_with("02:"))
    };
    assert!(eventually(PATIENCE, is_asked));
}

#[test]
fn what_was_begun_is_finished_without_its_client() {
    let daemon = Daemon::with_busybox();
    let deaf = ["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.05; done"];
    daemon.hull(["run", "-d", "--name", "box", "busybox"].into_iter().chain(deaf)).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["logs", "box"]).stdout.contains("ready")));
    let status = || daemon.api("GET", "/containers/box/json", None).json()["State"]["Status"].clone();
    let begin = |request: &str| {
        let mut stream = UnixStream::connect(daemon.socket()).expect("connect");
        stream.write_all(format!("POST {request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("send");
        // Long enough to be begun, and too short to be done.
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    begin("/containers/box/stop?t=1");
    assert_eq!(status(), "running");
    assert!(eventually(PATIENCE, || status() == "exited"));
    daemon.hull(["start", "box"]).ok();
    let started = || daemon.api("GET", "/containers/box/json", None).json()["State"]["StartedAt"].clone();
    let before = started();
    begin("/containers/box/restart?t=1");
    assert!(eventually(PATIENCE, || started() != before && status() == "running"));
}

#[test]
fn who_sends_no_more_is_answered() {
    let daemon = Daemon::with_busybox();
    let half = |request: &str, body: &str| {
        let mut stream = UnixStream::connect(daemon.socket()).expect("connect");
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
        let length = body.len();
        write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").expect("send");
        stream.shutdown(Shutdown::Write).expect("shut down");
        String::from_utf8(all(stream)).expect("utf-8")
    };
    let wish = json!({ "Image": "busybox", "Cmd": ["sleep", "0.5"] }).to_string();
    let created = half("POST /containers/create?name=box", &wish);
    assert!(created.starts_with("HTTP/1.1 201 "), "{created}");
    let started = half("POST /containers/box/start", "");
    assert!(started.starts_with("HTTP/1.1 204 "), "{started}");
    let waited = half("POST /containers/box/wait", "");
    assert!(waited.contains(r#"{"StatusCode":0}"#), "{waited}");
}

#[test]
fn a_conversation_ends_with_the_input_that_stays_open_for_others() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "-i", "--name", "box", "busybox", "cat"]).ok();
    let attach = |query: &str| {
        let path = format!("/containers/box/attach?{query}");
        ask(&daemon, &format!("POST {path} HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: tcp\n\n"))
    };
    let (mut stream, _) = attach("stream=1&stdin=1&stdout=1&stderr=1");
    stream.write_all(b"hello\n").expect("send");
    let mut echo = vec![0; 14];
    stream.read_exact(&mut echo).expect("an echo");
    assert_eq!(echo, frame(1, "hello\n"));
    stream.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(all(stream), b"", "the client has left");
    assert_eq!(daemon.api("GET", "/containers/box/json", None).json()["State"]["Running"], true);
    let (only_reads, _) = attach("stream=1&stdout=1");
    only_reads.shutdown(Shutdown::Write).expect("shut down");
    let (mut writes, _) = attach("stream=1&stdin=1");
    writes.write_all(b"again\n").expect("send");
    let mut echo = vec![0; 14];
    (&only_reads).read_exact(&mut echo).expect("an echo");
    assert_eq!(echo, frame(1, "again\n"));
    assert_eq!(all(attach("stream=1").0), b"", "no stream, no conversation");
    let (refused, head) = attach("stream=1&stdout=1&detachKeys=ctrl-zz");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(all(refused), b"Invalid detach keys (ctrl-zz) provided\r\n");
    daemon.hull(["pause", "box"]).ok();
    let paused = all(attach("stream=1&stdout=1").0);
    assert_eq!(paused, b"container box is paused, unpause the container before attach\r\n");
}

#[test]
fn a_client_that_is_gone_is_noticed_without_output() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["create", "-i", "--name", "later", "busybox", "cat"]).ok();
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("its descriptors").count();
    let before = descriptors();
    let upgrade = |path: &str, more: &str| {
        let (stream, head) =
            ask(&daemon, &format!("{path} HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: {more}\n\n"));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    };
    let attach = |box_: &str, query| {
        upgrade(&format!("POST /containers/{box_}/attach?stream=1&stdout=1{query}"), "tcp")
    };
    let websocket = "websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let clients = [
        attach("box", ""),
        attach("box", ""),
        attach("later", "&stdin=1"),
        upgrade("GET /containers/box/attach/ws?stream=1&stdout=1", websocket),
    ];
    // Who only sends no more is still there.
    clients[1].shutdown(Shutdown::Write).expect("shut down");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(descriptors() >= before + 2 * clients.len() - 1, "{before} and then {}", descriptors());
    drop(clients);
    let mut now = 0;
    let left = eventually(PATIENCE, || {
        now = descriptors();
        now <= before
    });
    assert!(left, "{before} and then {now}");
}
