//! A kept HTTP/1.1 connection to an engine's socket: as little client as can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Nothing that is measured takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    pub(super) fn open(socket: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).map_err(|why| format!("{}: {why}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|why| why.to_string())?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one request; the body of a successful answer.
    pub(super) fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).map_err(|why| why.to_string())?;
        self.answer().map_err(|why| format!("{method} {path}: {why}"))
    }

    fn answer(&mut self) -> Result<String, String> {
        let status = self.line()?;
        let code: u16 =
            status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP answer")?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let header = self.line()?.to_ascii_lowercase();
            match header.split_once(':') {
                None => break,
                Some(("content-length", value)) => length = value.trim().parse().map_err(|_| "bad length")?,
                Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
                Some(_) => {}
            }
        }
        let body = if chunked { self.chunks()? } else { self.exactly(length)? };
        let body = String::from_utf8_lossy(&body).into_owned();
        if (200..400).contains(&code) { Ok(body) } else { Err(format!("{code} {body}")) }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).map_err(|_| "bad chunk")?;
            body.extend(self.exactly(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).map_err(|why| why.to_string())?;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(|why| why.to_string())?;
        Ok(line.trim_end().to_owned())
    }
}
