//! The sockets hulld listens on: unix with mode 0660 and a group, tcp, tcp with TLS, and those that systemd hands
//! over (sd_listen_fds(3)).

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, chown};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Where hulld listens when nobody says otherwise.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/hull/hull.sock";

/// Silence of a client behind TCP until it is asked, and between questions.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Bytes on their way to a client.
const SEND_BUFFER: usize = 1 << 20;

/// A listening socket. A unix socket that we made is removed with it.
pub(crate) enum Listener {
    /// A unix socket.
    Unix {
        /// The socket.
        listener: UnixListener,
        /// Removes it in the end.
        _unlink: Option<Unlink>,
    },
    /// A TCP socket.
    Tcp(TcpListener),
    /// A TCP socket behind TLS.
    Tls(TcpListener, TlsAcceptor),
}

/// Removes the socket's file when the listener goes.
pub(crate) struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What was connected.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// The socket.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Whether the socket is a local one.
    fn is_local(&self) -> bool {
        false
    }
}

impl Connection for UnixStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl Connection for TcpStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Connection for TlsStream<TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

/// The other end of a connection, to be asked about while the connection is in use.
pub(crate) struct Peer {
    socket: OwnedFd,
    is_local: bool,
}

impl Peer {
    /// The one of that connection.
    pub(crate) fn of(connection: &dyn Connection) -> io::Result<Self> {
        let socket = connection.socket().try_clone_to_owned()?;
        Ok(Self { socket, is_local: connection.is_local() })
    }

    /// How much of all that was sent it has yet to read. Of TCP nobody can say: its kernel acknowledges what its
    /// program has not read.
    pub(crate) fn unread(&self) -> Option<usize> {
        self.is_local.then(|| hull_sys::socket::unread(&self.socket).ok()).flatten()
    }

    /// Whether it neither sends nor reads any more. Of TCP that is known when it has refused something.
    pub(crate) fn has_left(&self) -> bool {
        hung_up(self.socket.as_fd())
    }
}

/// Whether the other end of a local connection, which sends no more, still reads.
pub(crate) fn still_reads(connection: &dyn Connection) -> bool {
    connection.is_local() && !hung_up(connection.socket())
}

fn hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    let over = PollFlags::HUP | PollFlags::ERR;
    poll(&mut polled, Some(&Timespec::default())).is_err() || polled[0].revents().intersects(over)
}

/// A connection that was accepted; a TLS handshake may still be owed, by its own task.
pub(crate) enum Accepted {
    /// Ready to be read.
    Plain(Box<dyn Connection>),
    /// Its handshake comes first.
    Tls(Box<tokio_rustls::Accept<TcpStream>>),
}

impl Accepted {
    /// Finishes the handshake where there is one.
    pub(crate) async fn establish(self) -> io::Result<Box<dyn Connection>> {
        match self {
            Self::Plain(connection) => Ok(connection),
            Self::Tls(handshake) => Ok(Box::new(handshake.await?)),
        }
    }
}

impl Listener {
    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix { listener, .. } => Ok(Accepted::Plain(Box::new(roomy(listener.accept().await?.0)))),
            Self::Tcp(listener) => Ok(Accepted::Plain(Box::new(prompt(listener.accept().await?.0)))),
            Self::Tls(listener, acceptor) => {
                let stream = prompt(listener.accept().await?.0);
                Ok(Accepted::Tls(Box::new(acceptor.accept(stream))))
            }
        }
    }
}

/// Lets it hold much output at once, so that both sides take few turns. An idle one costs nothing more.
fn roomy(stream: UnixStream) -> UnixStream {
    // Beyond the system's limit it needs a privilege; without it things are only slower.
    let _ = sockopt::set_socket_send_buffer_size_force(&stream, SEND_BUFFER);
    stream
}

/// Sends at once, and asks a silent client now and then whether it is still there, as Go's servers do: one that is cut off
/// says nothing.
fn prompt(stream: TcpStream) -> TcpStream {
    // Lost, they are an optimisation and a client that stays longer; no errors.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE);
    let _ = sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE);
    let _ = sockopt::set_socket_keepalive(&stream, true);
    stream
}

/// Opens what `host` names: `unix://`, `tcp://`, `fd://`.
///
/// # Errors
/// A message that names the host and the reason.
pub(crate) async fn open(
    host: &str,
    group: Option<&str>,
    acceptor: Option<&TlsAcceptor>,
) -> Result<Vec<Listener>, String> {
    let failed = |why: String| format!("failed to load listener for {host}: {why}");
    match host.split_once("://") {
        Some(("unix", path)) => Ok(vec![unix(Path::new(path), group).map_err(failed)?]),
        Some(("tcp", address)) => {
            let listener = TcpListener::bind(address).await.map_err(|why| failed(why.to_string()))?;
            Ok(vec![match acceptor {
                Some(acceptor) => Listener::Tls(listener, acceptor.clone()),
                None => Listener::Tcp(listener),
            }])
        }
        Some(("fd", _)) => inherited().map_err(failed),
        _ => Err(failed("wanted unix://path, tcp://host:port or fd://".to_owned())),
    }
}

fn unix(path: &Path, group: Option<&str>) -> Result<Listener, String> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|why| format!("create {}: {why}", directory.display()))?;
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(|why| why.to_string())?;
    let unlink = Unlink(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(|why| why.to_string())?;
    if let Some(gid) = gid_of(group)? {
        chown(path, None, Some(gid)).map_err(|why| why.to_string())?;
    }
    Ok(Listener::Unix { listener, _unlink: Some(unlink) })
}

/// A socket that nobody listens on any more is removed; one that answers is another daemon's.
fn remove_stale(path: &Path) -> Result<(), String> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(format!("{} is there and is not a socket", path.display()));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err("another daemon answers there".to_owned());
    }
    fs::remove_file(path).map_err(|why| why.to_string())
}

/// The id of the group that may use the socket. The default group need not exist.
fn gid_of(group: Option<&str>) -> Result<Option<Gid>, String> {
    let name = group.unwrap_or("hull");
    if let Ok(gid) = name.parse() {
        return Ok(Some(Gid::from_raw(gid)));
    }
    let table = fs::read_to_string("/etc/group").unwrap_or_default();
    let gid = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    match (gid, group) {
        (Some(gid), _) => Ok(Some(Gid::from_raw(gid))),
        (None, None) => Ok(None),
        (None, Some(name)) => Err(format!("group {name} not found")),
    }
}

/// The sockets that systemd opened for us, in its order.
fn inherited() -> Result<Vec<Listener>, String> {
    let listeners: Result<Vec<Listener>, String> =
        hull_sys::activation::listen_fds().into_iter().map(adopt).collect();
    match listeners {
        Ok(listeners) if listeners.is_empty() => {
            Err("no sockets found via socket activation: make sure the service was started by systemd"
                .to_owned())
        }
        other => other,
    }
}

fn adopt(fd: OwnedFd) -> Result<Listener, String> {
    let family = rustix::net::getsockname(&fd).map_err(|why| why.to_string())?.address_family();
    let text = |why: io::Error| why.to_string();
    if family == rustix::net::AddressFamily::UNIX {
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true).map_err(text)?;
        let listener = UnixListener::from_std(listener).map_err(text)?;
        return Ok(Listener::Unix { listener, _unlink: None });
    }
    let listener = std::net::TcpListener::from(fd);
    listener.set_nonblocking(true).map_err(text)?;
    Ok(Listener::Tcp(TcpListener::from_std(listener).map_err(text)?))
}
