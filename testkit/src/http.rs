//! Requests to the daemon's socket as they stand on the wire, for what no client would send.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// A daemon that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header lines.
    pub head: String,
    /// The body, as it came.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The daemon's error message.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends one request and reads until the daemon closes. HTTP/1.0, so that the body comes in one piece.
///
/// # Errors
/// If there is no daemon, or it ends before it has answered.
///
/// # Panics
/// If the daemon does not answer in HTTP.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<Response> {
    let body = body.map(Value::to_string).unwrap_or_default();
    send(socket, method, path, &["Content-Type: application/json"], body.as_bytes())
}

/// The same with headers and a body of one's own, however odd.
///
/// # Errors
/// If there is no daemon, it ends before it has answered, or it says nothing for a minute.
///
/// # Panics
/// If the daemon does not answer in HTTP.
pub fn send(socket: &Path, method: &str, path: &str, headers: &[&str], body: &[u8]) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let headers: String = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: hull\r\n{headers}Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    // A daemon that has refused already does not read on.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("not HTTP: {:?}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Response { status: status.unwrap(), head, body: answer[end + 4..].to_vec() })
}
