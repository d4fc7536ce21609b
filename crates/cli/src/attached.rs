//! Being attached to a container or an exec: input goes in, output comes out, the terminal's size and signals follow.

use crate::complain::Complaint;
use crate::outlet::Outlet;
use crate::terminal::{self, DetachKeys, RawMode};
use hull_api::client::{Client, Hijacked};
use hull_api::stream::{Decoder, Stream, UnknownStream};
use std::io::{self, Read};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Bytes read from a connection at once, and from stdin.
const CHUNK: usize = 256 << 10;
/// Payload that is worth a write of its own.
const LARGE: usize = 8 << 10;
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
    /// `None` drops what is for there.
    stdout: Option<Outlet>,
    stderr: Option<Outlet>,
    /// Payload on its way to one of them.
    gathered: Vec<u8>,
    /// What the daemon says went wrong in the middle of the stream.
    failure: Vec<u8>,
}

impl Sink {
    /// A sink for a container that has a terminal or not.
    pub(crate) fn new(tty: bool, stdout: bool, stderr: bool) -> Self {
        Self::onto(tty, (tty || stdout).then(Outlet::stdout), stderr.then(Outlet::stderr))
    }

    fn onto(tty: bool, stdout: Option<Outlet>, stderr: Option<Outlet>) -> Self {
        let decoder = (!tty).then(Decoder::default);
        Sink { decoder, stdout, stderr, gathered: Vec::new(), failure: Vec::new() }
    }

    /// Writes output on, as it came: a prompt without a line end is output, too.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Complaint> {
        let Some(decoder) = &mut self.decoder else {
            return write(self.stdout.as_mut(), bytes).await;
        };
        let mut last = Stream::Stdout;
        let unknown = |reason: UnknownStream| Complaint::new(reason.to_string());
        while let Some((stream, piece)) = decoder.next(&mut bytes).map_err(unknown)? {
            if stream == Stream::System {
                self.failure.extend_from_slice(piece);
                continue;
            }
            let large = piece.len() >= LARGE;
            if large || stream != last || self.gathered.len() >= CHUNK {
                write(outlet(last, &mut self.stdout, &mut self.stderr), &self.gathered).await?;
                self.gathered.clear();
                last = stream;
            }
            match large {
                true => write(outlet(last, &mut self.stdout, &mut self.stderr), piece).await?,
                false => self.gathered.extend_from_slice(piece),
            }
        }
        write(outlet(last, &mut self.stdout, &mut self.stderr), &self.gathered).await?;
        self.gathered.clear();
        Ok(())
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
}

fn outlet<'a>(
    stream: Stream,
    stdout: &'a mut Option<Outlet>,
    stderr: &'a mut Option<Outlet>,
) -> Option<&'a mut Outlet> {
    if stream == Stream::Stderr { stderr.as_mut() } else { stdout.as_mut() }
}

async fn write(outlet: Option<&mut Outlet>, bytes: &[u8]) -> Result<(), Complaint> {
    match outlet {
        Some(outlet) => Ok(outlet.write(bytes).await?),
        None => Ok(()),
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
    use std::os::fd::AsFd;

    /// An outlet, and what to read from that was written to it.
    fn pipe() -> (Outlet, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let writer: &'static io::PipeWriter = Box::leak(Box::new(writer));
        (Outlet::new(writer.as_fd()), reader)
    }

    fn block_on<T>(what: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
    }

    fn exactly(mut reader: io::PipeReader, length: usize) -> Vec<u8> {
        let mut found = vec![0; length];
        reader.read_exact(&mut found).unwrap();
        found
    }

    fn frames(payloads: &[(Stream, &[u8])]) -> Vec<u8> {
        let frame =
            |(stream, payload): &(Stream, &[u8])| [&header(*stream, payload.len() as u32), *payload].concat();
        payloads.iter().flat_map(frame).collect()
    }

    #[test]
    fn output_is_taken_apart_however_it_comes() {
        let large = vec![b'l'; LARGE];
        let input = frames(&[
            (Stream::Stdout, b"a"),
            (Stream::Stdout, b"b"),
            (Stream::Stderr, b"c"),
            (Stream::Stdout, &large),
            (Stream::Stderr, b""),
            (Stream::System, b"d"),
            (Stream::Stderr, b"e"),
        ]);
        for size in [1, 7, 8, 9, 100, LARGE, input.len()] {
            let ((stdout, out), (stderr, errors)) = (pipe(), pipe());
            let mut sink = Sink::onto(false, Some(stdout), Some(stderr));
            block_on(async {
                for piece in input.chunks(size) {
                    sink.write(piece).await.unwrap();
                }
            });
            assert_eq!(exactly(out, 2 + LARGE), [b"ab", &large[..]].concat(), "{size}");
            assert_eq!(exactly(errors, 2), b"ce");
            assert_eq!(sink.finish().unwrap_err().text, "error from daemon in stream: d");
        }
    }

    #[test]
    fn a_stream_that_is_not_wanted_is_dropped() {
        let input = frames(&[(Stream::Stdout, b"x"), (Stream::Stderr, b"y")]);
        let (stderr, errors) = pipe();
        let mut sink = Sink::onto(false, None, Some(stderr));
        block_on(sink.write(&input)).unwrap();
        assert_eq!(exactly(errors, 1), b"y");
    }

    #[test]
    fn a_terminals_output_has_no_frames() {
        let input = frames(&[(Stream::Stdout, b"x")]);
        let (stdout, out) = pipe();
        let mut sink = Sink::onto(true, Some(stdout), None);
        block_on(sink.write(&input)).unwrap();
        assert_eq!(exactly(out, input.len()), input);
    }
}
