//! Requests to the daemon's socket as they stand on the wire, for what no client would send.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

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
    let mut stream = UnixStream::connect(socket)?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: hull\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("not HTTP: {:?}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Response { status: status.unwrap(), head, body: answer[end + 4..].to_vec() })
}
