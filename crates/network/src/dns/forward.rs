//! Asking a server, over UDP or TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use hull_sys::netns;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::message::{self, Query};
use super::upstream::Server;

/// How long one server may take; a resolver library waits 5 s for all of them.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest datagram that servers send.
const LONGEST_DATAGRAM: usize = 4096;

/// How a question came, and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// The first useful answer of the servers, in their order; a refusal only if all refuse, `None` if none answers.
pub(crate) async fn ask(
    query: &Query<'_>,
    servers: &[Server],
    container: BorrowedFd<'_>,
    transport: Transport,
) -> Option<Vec<u8>> {
    let mut refusal = None;
    for server in servers {
        let namespace = (!server.from_host).then_some(container);
        let exchange = async {
            match transport {
                Transport::Udp => by_udp(query, server.address, namespace).await,
                Transport::Tcp => by_tcp(query, server.address, namespace).await,
            }
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) if is_useful(&answer) => return Some(answer),
            Ok(Ok(answer)) => refusal = Some(answer),
            Ok(Err(error)) => tracing::debug!("ask {}: {error}", server.address),
            Err(_) => tracing::debug!("ask {}: no answer", server.address),
        }
    }
    refusal
}

fn is_useful(answer: &[u8]) -> bool {
    ![message::SERVER_FAILURE, message::REFUSED, message::NOT_IMPLEMENTED].contains(&message::code(answer))
}

/// The number and the port of each question are random: who guesses answers has to guess both.
async fn by_udp(
    query: &Query<'_>,
    server: SocketAddr,
    namespace: Option<BorrowedFd<'_>>,
) -> io::Result<Vec<u8>> {
    let socket = inside(namespace, || {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;
    let socket = UdpSocket::from_std(socket)?;
    let (id, question) = with_random_id(query)?;
    socket.send(&question).await?;
    let mut answer = vec![0; LONGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut answer).await?;
        if query.is_answered_by(id, &answer[..length]) {
            answer.truncate(length);
            message::set_id(&mut answer, message::id(query.bytes));
            return Ok(answer);
        }
    }
}

async fn by_tcp(
    query: &Query<'_>,
    server: SocketAddr,
    namespace: Option<BorrowedFd<'_>>,
) -> io::Result<Vec<u8>> {
    let socket = inside(namespace, || match server {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    })?;
    let mut stream = socket.connect(server).await?;
    let (id, question) = with_random_id(query)?;
    write_message(&mut stream, &question).await?;
    let mut answer = read_message(&mut stream).await?;
    if !query.is_answered_by(id, &answer) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question"));
    }
    message::set_id(&mut answer, message::id(query.bytes));
    Ok(answer)
}

/// Makes a socket in a namespace; `None` is the host's.
fn inside<T: Send>(
    namespace: Option<BorrowedFd<'_>>,
    make: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    match namespace {
        Some(namespace) => netns::within(namespace, make).map_err(io::Error::other)?,
        None => make(),
    }
}

fn with_random_id(query: &Query<'_>) -> io::Result<(u16, Vec<u8>)> {
    let id = u16::from_be_bytes(crate::networks::random::<2>().map_err(io::Error::other)?);
    let mut question = query.bytes.to_vec();
    message::set_id(&mut question, id);
    Ok((id, question))
}

/// Writes a message behind its length (RFC 1035, 4.2.2).
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes).await
}

/// Reads a message behind its length.
pub(crate) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
