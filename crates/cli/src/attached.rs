//! Being attached to a container or an exec: input goes in, output comes out, the terminal's size and signals follow.

use crate::complain::Complaint;
use crate::terminal::{self, DetachKeys, RawMode};
use hull_api::client::{Client, Hijacked};
use hull_api::stream::{Decoder, Stream};
use std::io::{self, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Bytes read from a connection at once, and from stdin.
const CHUNK: usize = 128 << 10;
const TYPED: usize = 32 << 10;

/// How a connection is used.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    /// Whether our stdin is the container's.
    pub(crate) stdin: bool,
    /// Whether its output goes to our stdout.
    pub(crate) stdout: bool,
    /// Whether its errors go to our stderr.
    pub(crate) stderr: bool,
    /// Whether it has a terminal: then its output is not framed.
    pub(crate) tty: bool,
    /// What detaches.
    pub(crate) keys: DetachKeys,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side closed it.
    Closed,
    /// The user detached.
    Detached,
}

/// What has a terminal: a container or an exec, by its path in the API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resizable<'a> {
    /// "containers" or "exec".
    pub(crate) kind: &'a str,
    /// Its id.
    pub(crate) id: &'a str,
}

/// Moves bytes both ways until the other side closes or the user detaches. The local terminal is raw meanwhile,
/// if the container has one.
pub(crate) async fn pump(mut connection: Hijacked, attachment: Attachment) -> Result<Ended, Complaint> {
    use io::IsTerminal as _;
    let _raw = match attachment.tty && attachment.stdin && io::stdin().is_terminal() {
        true => Some(RawMode::enter()?),
        false => None,
    };
    let early = std::mem::take(&mut connection.early);
    let (reader, writer) = tokio::io::split(connection.stream);
    let input = std::pin::pin!(send_input(writer, &attachment));
    let output = std::pin::pin!(receive_output(reader, &early, &attachment));
    tokio::select! {
        () = input => Ok(Ended::Detached),
        received = output => received.map(|()| Ended::Closed),
    }
}

/// Sends stdin until the user detaches. Its end closes that half of the connection and no more.
async fn send_input(mut writer: impl AsyncWrite + Unpin, attachment: &Attachment) {
    if attachment.stdin {
        let mut keys = attachment.keys.clone();
        let mut typed = stdin();
        while let Some(bytes) = typed.recv().await {
            let (bytes, detached) = match attachment.tty {
                true => keys.filter(&bytes),
                false => (bytes, false),
            };
            // A container that no longer reads is no error: its output says what happened.
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
            if detached {
                return;
            }
        }
        let _ = writer.shutdown().await;
    }
    std::future::pending().await
}

/// Reads stdin on a thread of its own, which ends with the process: a read of a terminal cannot be taken back.
fn stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; TYPED];
        loop {
            match io::stdin().read(&mut buffer) {
                Ok(0) => break,
                Ok(length) if sender.blocking_send(buffer[..length].to_vec()).is_err() => break,
                Ok(_) => {}
                Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
    receiver
}

async fn receive_output(
    mut reader: impl AsyncRead + Unpin,
    early: &[u8],
    attachment: &Attachment,
) -> Result<(), Complaint> {
    let mut sink = Sink::new(attachment.tty, attachment.stdout, attachment.stderr);
    sink.write(early).await?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return sink.finish(),
            Ok(length) => sink.write(&buffer[..length]).await?,
            // The daemon may reset a connection whose input it did not read to the end.
            Err(reason) if reason.kind() == io::ErrorKind::ConnectionReset => return sink.finish(),
            Err(reason) => return Err(reason.into()),
        }
    }
}

/// Where a container's output goes: apart into stdout and stderr, or as it is if it has a terminal.
pub(crate) struct Sink {
    decoder: Option<Decoder>,
    stdout: bool,
    stderr: bool,
    /// What the daemon says went wrong in the middle of the stream.
    failure: Vec<u8>,
}

impl Sink {
    /// A sink for a container that has a terminal or not.
    pub(crate) fn new(tty: bool, stdout: bool, stderr: bool) -> Self {
        Sink { decoder: (!tty).then(Decoder::default), stdout, stderr, failure: Vec::new() }
    }

    /// Writes output on. Writing blocks as long as our own reader does, so it happens beside this thread, which
    /// has signals to follow.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Complaint> {
        let pieces = self.apart(bytes)?;
        if pieces.is_empty() {
            return Ok(());
        }
        let written = tokio::task::spawn_blocking(move || pieces.iter().try_for_each(put)).await;
        Ok(written.map_err(io::Error::other)??)
    }

    /// What the daemon complained about, if it did.
    pub(crate) fn finish(self) -> Result<(), Complaint> {
        match self.failure.is_empty() {
            true => Ok(()),
            false => Err(Complaint::new(format!(
                "error from daemon in stream: {}",
                String::from_utf8_lossy(&self.failure).trim_end()
            ))),
        }
    }

    /// The payload, neighbours of the same stream put together.
    fn apart(&mut self, bytes: &[u8]) -> Result<Vec<(Stream, Vec<u8>)>, Complaint> {
        let mut pieces: Vec<(Stream, Vec<u8>)> = Vec::new();
        let Some(decoder) = &mut self.decoder else {
            return Ok(if bytes.is_empty() { pieces } else { vec![(Stream::Stdout, bytes.to_vec())] });
        };
        let (stdout, stderr, failure) = (self.stdout, self.stderr, &mut self.failure);
        let sink = |stream, piece: &[u8]| match stream {
            Stream::System => failure.extend_from_slice(piece),
            Stream::Stdout if !stdout => {}
            Stream::Stderr if !stderr => {}
            stream => match pieces.last_mut() {
                Some((last, bytes)) if *last == stream => bytes.extend_from_slice(piece),
                _ => pieces.push((stream, piece.to_vec())),
            },
        };
        decoder.decode(bytes, sink).map_err(|reason| Complaint::new(reason.to_string()))?;
        Ok(pieces)
    }
}

fn put((stream, bytes): &(Stream, Vec<u8>)) -> io::Result<()> {
    match stream {
        Stream::Stderr => io::stderr().lock().write_all(bytes),
        _ => {
            // Written as it came: a prompt without a line end is output, too.
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
    }
}

/// Tells the daemon the terminal's size, now and whenever it changes. Never ends.
pub(crate) async fn follow_size(client: &Client, target: Resizable<'_>) {
    // Before the size is read: a change between the two would never be seen.
    let changes = signal(SignalKind::window_change());
    resize(client, target, 0).await;
    if let Ok(mut changes) = changes {
        while changes.recv().await.is_some() {
            resize(client, target, 0).await;
        }
    }
    std::future::pending().await
}

/// Makes what runs there draw itself anew: it only does so for a size that changes.
pub(crate) async fn redraw(client: &Client, target: Resizable<'_>) {
    resize(client, target, 1).await;
}

async fn resize(client: &Client, target: Resizable<'_>, more: u16) {
    if let Some((rows, columns)) = terminal::size() {
        let (rows, columns) = (rows.saturating_add(more), columns.saturating_add(more));
        let call = client.post([target.kind, target.id, "resize"]);
        // A container that just ended has no terminal to resize.
        let _ = call.query("h", &rows.to_string()).query("w", &columns.to_string()).status().await;
    }
}

/// Signals that are for the container when we are attached to it.
const PROXIED: [(i32, &str); 8] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
];

/// Catches signals from now on, so that none is lost before [`forward_signals`].
pub(crate) fn catch_signals() -> io::Result<mpsc::Receiver<&'static str>> {
    let (sender, receiver) = mpsc::channel(32);
    for (number, name) in PROXIED {
        let mut caught = signal(SignalKind::from_raw(number))?;
        let sender = sender.clone();
        tokio::spawn(
            async move { while caught.recv().await.is_some() && sender.send(name).await.is_ok() {} },
        );
    }
    Ok(receiver)
}

/// Sends what was caught to the container. Never ends.
pub(crate) async fn forward_signals(client: &Client, id: &str, caught: &mut mpsc::Receiver<&'static str>) {
    while let Some(name) = caught.recv().await {
        // A container that just ended takes no signal.
        let _ = client.post(["containers", id, "kill"]).query("signal", name).status().await;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_api::stream::header;

    #[test]
    fn output_is_taken_apart_and_joined() {
        let mut sink = Sink::new(false, true, true);
        let mut input = Vec::new();
        for (stream, text) in
            [(Stream::Stdout, "a"), (Stream::Stdout, "b"), (Stream::Stderr, "c"), (Stream::System, "d")]
        {
            input.extend(header(stream, 1));
            input.extend(text.as_bytes());
        }
        let pieces = sink.apart(&input).unwrap();
        assert_eq!(pieces, [(Stream::Stdout, b"ab".to_vec()), (Stream::Stderr, b"c".to_vec())]);
        assert_eq!(sink.finish().unwrap_err().text, "error from daemon in stream: d");
    }

    #[test]
    fn a_stream_that_is_not_wanted_is_dropped() {
        let mut sink = Sink::new(false, false, true);
        let mut input = header(Stream::Stdout, 1).to_vec();
        input.push(b'x');
        assert!(sink.apart(&input).unwrap().is_empty());
        assert_eq!(Sink::new(true, true, true).apart(&input).unwrap(), [(Stream::Stdout, input)]);
    }
}
