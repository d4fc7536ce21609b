//! The client against a daemon of a few lines on a unix socket.

use super::*;
use crate::wire::progress::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Answers each connection's requests with the given bytes in turn; hands out what was asked.
struct Daemon {
    directory: std::path::PathBuf,
    listener: UnixListener,
}

impl Daemon {
    fn listen(name: &str) -> (Self, Client) {
        let directory = std::env::temp_dir().join(format!("hull-api-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let socket = directory.join("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        (Daemon { directory, listener }, Client::new(Host::Unix(socket)))
    }

    async fn accept(&self) -> UnixStream {
        self.listener.accept().await.unwrap().0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

async fn head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    let kind = "Content-Type: application/json";
    format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn calls_are_written_and_connections_kept() {
    let (daemon, client) = Daemon::listen("kept");
    let served = tokio::spawn(async move {
        let mut stream = daemon.accept().await;
        let first = head(&mut stream).await;
        stream.write_all(&answer("200 OK", "[1,2]")).await.unwrap();
        let second = head(&mut stream).await;
        stream.write_all(&answer("404 Not Found", r#"{"message":"No such container: x"}"#)).await.unwrap();
        (first, second, daemon)
    });
    let call = client.get(["images", "library/a b", "json"]).query("f", "{\"a\":1}").flag("all", true);
    assert_eq!(call.read::<Vec<u8>>().await.unwrap(), [1, 2]);
    let error = client.delete(["containers", "x"]).status().await.unwrap_err();
    assert_eq!(error.to_string(), "Error response from daemon: No such container: x");
    assert_eq!(error.status(), Some(StatusCode::NOT_FOUND));

    let (first, second, _daemon) = served.await.unwrap();
    assert!(first.starts_with("GET /v1.56/images/library/a%20b/json?f=%7B%22a%22%3A1%7D&all=1 HTTP/1.1\r\n"));
    assert!(second.starts_with("DELETE /v1.56/containers/x HTTP/1.1\r\n"));
}

#[tokio::test]
async fn messages_come_one_by_one_however_they_are_cut() {
    let (daemon, client) = Daemon::listen("messages");
    let served = tokio::spawn(async move {
        let mut stream = daemon.accept().await;
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await.unwrap();
        for piece in ["{\"status\":\"a\"}\r\n{\"sta", "tus\":\"b\"}", "\n"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        daemon
    });
    let mut messages = client.post(["images", "create"]).messages::<Message>().await.unwrap();
    let mut seen = Vec::new();
    while let Some(message) = messages.next().await.unwrap() {
        seen.push(message.status);
    }
    assert_eq!(seen, ["a", "b"]);
    served.await.unwrap();
}

#[tokio::test]
async fn a_hijacked_connection_closes_by_halves_and_loses_nothing() {
    let (daemon, client) = Daemon::listen("hijack");
    let served = tokio::spawn(async move {
        let mut stream = daemon.accept().await;
        let asked = head(&mut stream).await;
        let switch = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly ";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let mut input = String::new();
        stream.read_to_string(&mut input).await.unwrap();
        stream.write_all(b"after the end of input").await.unwrap();
        (asked, input, daemon)
    });
    let mut hijacked = client.post(["containers", "x", "attach"]).hijack().await.unwrap();
    hijacked.stream.write_all(b"typed").await.unwrap();
    hijacked.stream.shutdown().await.unwrap();
    let mut output = hijacked.early.to_vec();
    hijacked.stream.read_to_end(&mut output).await.unwrap();
    assert_eq!(String::from_utf8(output).unwrap(), "early after the end of input");
    let (asked, input, _daemon) = served.await.unwrap();
    assert!(asked.to_ascii_lowercase().contains("upgrade: tcp"));
    assert_eq!(input, "typed");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let client = Client::new("unix:///nowhere/hull.sock".parse().unwrap());
    let error = client.get(["info"]).bytes().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Cannot connect to the Hull daemon at unix:///nowhere/hull.sock. Is the hull daemon running?"
    );
}
