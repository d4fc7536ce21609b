//! One connection to a daemon.

use super::call::RequestBody;
use super::{Error, Host};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Sends requests on one connection.
pub(super) type Sender = http1::SendRequest<RequestBody>;

/// Opens a connection. A task of its own moves its bytes; it ends with the last answer.
pub(super) async fn connect(host: &Host) -> Result<Sender, Error> {
    let stream = match host {
        Host::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        Host::Tcp { name, port } => TcpStream::connect((name.as_str(), *port)).await.map(Stream::Tcp),
    }
    .map_err(|source| Error::Unreachable { host: host.clone(), source })?;
    if let Stream::Tcp(tcp) = &stream {
        tcp.set_nodelay(true)?;
    }
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong in it is told to whoever waits for an answer.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

/// The bytes of a connection. Shutting it down closes only the writing half.
#[derive(Debug)]
pub enum Stream {
    /// A unix socket.
    Unix(UnixStream),
    /// A TCP socket.
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
