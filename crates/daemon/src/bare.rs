//! Attach and exec as the first clients of Docker's API did it, and some still do: a request without `Upgrade`,
//! answered by 200, and the connection is a raw stream in both directions from then on.
//!
//! HTTP has no such thing, so neither has hyper. For it, such a request gets the header that is missing; in the
//! answer on its way out, 101 becomes 200 again. Only the first request of a connection is looked at: these clients
//! open one for each conversation.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::listen::{Connection, Peer, still_reads};

/// A longer head is left to hyper, which refuses it.
const MAX_HEAD: usize = 64 << 10;

const END: &[u8] = b"\r\n\r\n";

/// A connection whose first request's head has been read.
pub(crate) struct Bare {
    connection: Box<dyn Connection>,
    /// What was read and is yet to be handed on.
    ahead: Vec<u8>,
    /// The answer's head as far as it was written, while it is to be changed.
    answer: Option<Vec<u8>>,
    /// What was changed and is yet to be sent.
    changed: Vec<u8>,
    /// Whether a request is being answered or awaited: not yet a conversation.
    in_http: bool,
}

impl Bare {
    /// Reads the head of the first request.
    pub(crate) async fn read(mut connection: Box<dyn Connection>) -> io::Result<Self> {
        let mut ahead = Vec::with_capacity(1024);
        while find(&ahead, END).is_none() && ahead.len() < MAX_HEAD {
            if connection.read_buf(&mut ahead).await? == 0 {
                break;
            }
        }
        escape_target(&mut ahead);
        let asked = find(&ahead, END).and_then(|end| upgraded(&ahead, end));
        let answer = asked.is_some().then(Vec::new);
        Ok(Self { connection, ahead: asked.unwrap_or(ahead), answer, changed: Vec::new(), in_http: true })
    }

    /// The client, to be asked about.
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        Peer::of(&*self.connection)
    }

    /// From here on it is the raw stream, whose two directions end each for itself.
    pub(crate) fn into_raw(mut self) -> Self {
        self.in_http = false;
        self
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.changed.is_empty() {
            let sent = ready!(Pin::new(&mut self.connection).poll_write(context, &self.changed))?;
            self.changed.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Escapes what does not belong in a URL, but is sent all the same, as Go's servers take it: filters typed as JSON.
fn escape_target(request: &mut Vec<u8>) {
    let line = &request[..find(request, b"\r\n").unwrap_or(0)];
    let (Some(start), Some(end)) =
        (line.iter().position(|byte| *byte == b' '), line.iter().rposition(|byte| *byte == b' '))
    else {
        return;
    };
    let foreign = |byte: &u8| matches!(byte, b'"' | b'<' | b'>' | b'`');
    if line[start..end].iter().any(foreign) {
        let escaped: Vec<u8> = line[start..end]
            .iter()
            .flat_map(|byte| match foreign(byte) {
                true => format!("%{byte:02X}").into_bytes(),
                false => vec![*byte],
            })
            .collect();
        request.splice(start..end, escaped);
    }
}

/// The request with the header that is missing; none if it is another request, or has it.
fn upgraded(request: &[u8], end: usize) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(&request[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let target = lines.next()?.strip_prefix("POST ")?.strip_suffix(" HTTP/1.1")?;
    let path = target.split('?').next()?;
    let mut names = path.rsplit('/');
    let names = (names.next()?, names.next()?, names.next()?);
    let takes_over = matches!(names, ("attach", _, "containers") | ("start", _, "exec"));
    let has_it = lines.any(|line| line.get(..8).is_some_and(|name| name.eq_ignore_ascii_case("upgrade:")));
    (takes_over && !has_it)
        .then(|| [&request[..end], b"\r\nConnection: Upgrade\r\nUpgrade: tcp", &request[end..]].concat())
}

/// The answer as these clients expect it. One that refuses is as it should be.
fn downgraded(answer: &[u8]) -> Vec<u8> {
    let Some((head, rest)) = find(answer, END).map(|end| answer.split_at(end)) else {
        return answer.to_vec();
    };
    let text = String::from_utf8_lossy(head);
    if !text.starts_with("HTTP/1.1 101 ") {
        return answer.to_vec();
    }
    // Whatever the stream is: newer media types are for those who ask to upgrade.
    let mut lines = vec!["HTTP/1.1 200 OK", "Content-Type: application/vnd.docker.raw-stream"];
    lines.extend(text.split("\r\n").skip(1).filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !["connection", "upgrade", "content-type"].iter().any(|other| name.eq_ignore_ascii_case(other))
    }));
    [lines.join("\r\n").as_bytes(), rest].concat()
}

impl AsyncRead for Bare {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.connection).poll_read(context, buffer))?;
            // Who only sends no more gets the answer; who is gone ends what reads for him.
            if buffer.filled().len() == before && self.in_http && !still_reads(&*self.connection) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            return Poll::Ready(Ok(()));
        }
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..length]);
        self.ahead.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bare {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(mut answer) = self.answer.take() {
            answer.extend_from_slice(bytes);
            match find(&answer, END) {
                None => self.answer = Some(answer),
                Some(_) => self.changed = downgraded(&answer),
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_changed(context))?;
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_changed(context))?;
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_changed(context))?;
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.answer.is_none() && self.changed.is_empty() && self.connection.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.answer.is_some() || !self.changed.is_empty() {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(context, first.map_or(&[], |piece| piece));
        }
        Pin::new(&mut self.connection).poll_write_vectored(context, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(request: &str) -> Option<String> {
        let end = find(request.as_bytes(), END).unwrap();
        upgraded(request.as_bytes(), end).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_what_takes_a_connection_over_is_changed() {
        let attach = "POST /v1.24/containers/box/attach?stdin=1 HTTP/1.1\r\nHost: x";
        let changed = change(&format!("{attach}\r\n\r\ninput")).unwrap();
        assert_eq!(changed, format!("{attach}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\ninput"));
        assert!(change("POST /exec/1/start HTTP/1.1\r\nHost: x\r\n\r\n{}").is_some());
        assert_eq!(change(&format!("{attach}\r\nupgrade: tcp\r\n\r\n")), None);
        for other in [
            "POST /containers/box/start HTTP/1.1",
            "GET /containers/box/attach HTTP/1.1",
            "POST /containers/box/attach HTTP/1.0",
        ] {
            assert_eq!(change(&format!("{other}\r\n\r\n")), None, "{other}");
        }
    }

    #[test]
    fn the_answer_is_a_plain_success() {
        let answer =
            b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nContent-Type: a/b\r\nUpgrade: tcp\r\n\r\nout";
        let expected = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nout";
        assert_eq!(downgraded(answer), expected);
        let refusal = b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n{}";
        assert_eq!(downgraded(refusal), refusal);
    }

    #[test]
    fn json_in_a_url_is_escaped() {
        let mut request =
            b"GET /containers/json?filters={\"a\":[\"b>1\"]} HTTP/1.1\r\nHost: \"x\"\r\n\r\n".to_vec();
        escape_target(&mut request);
        let expected = "GET /containers/json?filters={%22a%22:[%22b%3E1%22]} HTTP/1.1\r\nHost: \"x\"\r\n\r\n";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
        for untouched in [&b"GET /info HTTP/1.1\r\n\r\n"[..], b"", b"\"\r\n\r\n"] {
            let mut request = untouched.to_vec();
            escape_target(&mut request);
            assert_eq!(request, untouched);
        }
    }
}
