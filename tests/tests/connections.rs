//! What becomes of a connection after the answer, as it stands on the wire: for clients that do it their own way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use hull_testkit::Daemon;
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
    stream.shutdown(std::net::Shutdown::Write).expect("shut down");
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
