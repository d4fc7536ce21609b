//! The two directions of an attachment, as tokio's streams.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hull_shim::protocol::{Header, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::{DetachKeys, Frames};
use crate::LogStream;

/// Bytes read at once where frames are looked at.
const CHUNK: usize = 64 * 1024;

/// Told an exec session's exit code; `None` if its supervisor died.
pub(crate) type OnExit = Box<dyn FnOnce(Option<i32>) + Send + Sync>;

/// Over when the end may be told.
pub(crate) type Told = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Told that a client has left by its keys.
pub(crate) type OnLeft = Box<dyn FnOnce() + Send + Sync>;

/// The output of an attachment: a [`tokio::io::AsyncRead`].
pub struct AttachOutput {
    source: Source,
    /// `None` passes the supervisor's frames on as they are, without looking.
    frames: Option<Frames>,
    first: Option<LogStream>,
    ready: Vec<u8>,
    given: usize,
    detached: Option<oneshot::Receiver<()>>,
    has_left: bool,
    on_exit: Option<OnExit>,
    /// What the end waits for.
    until: Option<Told>,
}

enum Source {
    Waiting(oneshot::Receiver<(OwnedReadHalf, Vec<u8>)>),
    Open(OwnedReadHalf),
    Ended,
}

impl AttachOutput {
    fn new(source: Source, frames: Option<Frames>) -> Self {
        Self {
            source,
            frames,
            first: None,
            ready: Vec::new(),
            given: 0,
            detached: None,
            has_left: false,
            on_exit: None,
            until: None,
        }
    }

    /// Who sees the end is to find the container as it is then: the end waits.
    pub(super) fn ends_after(&mut self, until: Told) {
        self.until = Some(until);
    }

    pub(super) fn ended() -> Self {
        Self::new(Source::Ended, None)
    }

    /// An output of our own: one text, and the end.
    pub(crate) fn said(text: &str, tty: bool) -> Self {
        let mut this = Self::ended();
        if !tty {
            let header = Header { stream: Stream::Stdout, length: text.len() };
            this.ready.extend_from_slice(&header.encode());
        }
        this.ready.extend_from_slice(text.as_bytes());
        this
    }

    pub(super) fn waiting(half: oneshot::Receiver<(OwnedReadHalf, Vec<u8>)>, tty: bool) -> Self {
        Self::new(Source::Waiting(half), tty.then(|| Frames::new(true)))
    }

    pub(super) fn open(half: OwnedReadHalf, ahead: Vec<u8>, tty: bool) -> Self {
        let mut this = Self::new(Source::Open(half), tty.then(|| Frames::new(true)));
        this.take_in(&ahead);
        this
    }

    /// The output of an exec session; `on_exit` is called once, before the end is seen here.
    pub(crate) fn exec(half: OwnedReadHalf, ahead: &[u8], tty: bool, on_exit: OnExit) -> Self {
        let mut this = Self::new(Source::Open(half), Some(Frames::new(tty)));
        this.on_exit = Some(on_exit);
        this.take_in(ahead);
        this
    }

    pub(super) fn put_first(&mut self, log: LogStream) {
        self.first = Some(log);
    }

    fn take_in(&mut self, bytes: &[u8]) {
        match &mut self.frames {
            None => self.ready.extend_from_slice(bytes),
            Some(frames) => {
                if let Some(code) = frames.feed(bytes, &mut self.ready) {
                    self.report(Some(code));
                }
            }
        }
    }

    fn report(&mut self, code: Option<i32>) {
        if let Some(on_exit) = self.on_exit.take() {
            on_exit(code);
        }
    }

    fn end(&mut self) {
        self.source = Source::Ended;
        self.report(None);
    }

    /// Reads to the end without keeping anything, so that an exec session's exit code becomes known.
    pub(crate) async fn drain(mut self) {
        let mut chunk = vec![0; CHUNK];
        while matches!(self.read(&mut chunk).await, Ok(1..)) {}
    }

    fn poll_source(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.source {
            Source::Ended => Poll::Ready(Ok(())),
            Source::Waiting(half) => {
                match ready!(Pin::new(half).poll(cx)) {
                    Ok((half, ahead)) => {
                        self.source = Source::Open(half);
                        self.take_in(&ahead);
                    }
                    Err(_) => {
                        // It never ran.
                        self.until = None;
                        self.end();
                    }
                }
                Poll::Ready(Ok(()))
            }
            Source::Open(half) if self.frames.is_none() => {
                let before = buf.filled().len();
                ready!(Pin::new(half).poll_read(cx, buf))?;
                if buf.filled().len() == before {
                    self.end();
                }
                Poll::Ready(Ok(()))
            }
            Source::Open(half) => {
                let mut chunk = [MaybeUninit::uninit(); CHUNK];
                let mut chunk = ReadBuf::uninit(&mut chunk);
                match ready!(Pin::new(half).poll_read(cx, &mut chunk)) {
                    Ok(()) if !chunk.filled().is_empty() => self.take_in(chunk.filled()),
                    _ => self.end(),
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.ready[self.given..];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        self.given += count;
        if self.given == self.ready.len() {
            self.ready.clear();
            self.given = 0;
        }
        count > 0
    }

    fn is_detached(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(detached) = &mut self.detached
            && let Poll::Ready(said) = Pin::new(detached).poll(cx)
        {
            self.has_left = said.is_ok();
            self.detached = None;
        }
        self.has_left
    }
}

impl AsyncRead for AttachOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            if self.give(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some(log) = &mut self.first {
                match ready!(log.poll_next(cx)) {
                    Some(chunk) => self.ready = chunk?,
                    None => self.first = None,
                }
                continue;
            }
            if self.is_detached(cx) {
                return Poll::Ready(Ok(()));
            }
            if matches!(self.source, Source::Ended) {
                if let Some(until) = &mut self.until {
                    ready!(until.as_mut().poll(cx));
                    self.until = None;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_source(cx, buf))?;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Drop for AttachOutput {
    /// The client of an exec session left: somebody still has to hear its exit code.
    fn drop(&mut self) {
        if self.on_exit.is_none() || matches!(self.source, Source::Ended) {
            return;
        }
        let mut orphan = Self::new(std::mem::replace(&mut self.source, Source::Ended), self.frames.take());
        orphan.on_exit = self.on_exit.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(orphan.drain());
        }
    }
}

/// The input of an attachment: a [`tokio::io::AsyncWrite`].
pub struct AttachInput {
    target: Target,
    /// Typed, but not written yet.
    pending: Vec<u8>,
    keys: Option<DetachKeys>,
    detach: Option<oneshot::Sender<()>>,
    left: Option<OnLeft>,
}

enum Target {
    Waiting(oneshot::Receiver<OwnedWriteHalf>),
    Open(OwnedWriteHalf),
    Closed,
}

impl AttachInput {
    fn new(target: Target) -> Self {
        Self { target, pending: Vec::new(), keys: None, detach: None, left: None }
    }

    pub(crate) fn closed() -> Self {
        Self::new(Target::Closed)
    }

    pub(super) fn waiting(half: oneshot::Receiver<OwnedWriteHalf>) -> Self {
        Self::new(Target::Waiting(half))
    }

    pub(crate) fn open(half: OwnedWriteHalf) -> Self {
        Self::new(Target::Open(half))
    }

    fn poll_target(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut OwnedWriteHalf>> {
        if let Target::Waiting(half) = &mut self.target {
            self.target = ready!(Pin::new(half).poll(cx)).map_or(Target::Closed, Target::Open);
        }
        Poll::Ready(match &mut self.target {
            Target::Open(half) => Ok(half),
            Target::Waiting(_) | Target::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        })
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let written = match self.poll_target(cx) {
                Poll::Ready(Ok(half)) => Pin::new(half).poll_write(cx, &pending),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
            self.pending = pending;
            self.pending.drain(..ready!(written)?);
        }
        Poll::Ready(Ok(()))
    }

    fn leave(&mut self) {
        self.target = Target::Closed;
        self.pending.clear();
        if let Some(left) = self.left.take() {
            left();
        }
        if let Some(detach) = self.detach.take() {
            // The output is gone already if nobody receives this.
            let _ = detach.send(());
        }
    }
}

impl AsyncWrite for AttachInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(keys) = &mut this.keys else {
            let half = ready!(this.poll_target(cx))?;
            return Pin::new(half).poll_write(cx, bytes);
        };
        if !this.pending.is_empty() {
            ready!(this.poll_pending(cx))?;
            return self.poll_write(cx, bytes);
        }
        if keys.feed(bytes, &mut this.pending) {
            this.leave();
        } else if let Poll::Ready(Err(error)) = this.poll_pending(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_pending(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        match ready!(self.poll_target(cx)) {
            Ok(half) => Pin::new(half).poll_shutdown(cx),
            Err(_) => Poll::Ready(Ok(())),
        }
    }
}

/// Lets `keys` end both directions; then `left` is told.
pub(crate) fn detach_by(keys: DetachKeys, left: OnLeft, input: &mut AttachInput, output: &mut AttachOutput) {
    let (sender, receiver) = oneshot::channel();
    (input.keys, input.detach, input.left) = (Some(keys), Some(sender), Some(left));
    output.detached = Some(receiver);
}
