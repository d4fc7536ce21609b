//! A socket to a destination.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hull_shim::log::{Address, Tls};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Outcome;

/// How long a host has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connected socket. What is sent whole is received whole, where the network has messages.
pub(super) enum Wire {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixStream),
    Unixgram(UnixDatagram),
    Tls(Tunnel),
}

/// A program that speaks TLS for us, and the socket to it.
pub(super) struct Tunnel {
    stream: UnixStream,
    program: Child,
}

impl Wire {
    pub(super) fn connect(address: &Address) -> Outcome<Self> {
        let Address { network, target, tls } = address;
        let failed = |error: &io::Error| format!("dial {network} {target}: connect: {}", reason(error));
        let made = match network.as_str() {
            "unix" => UnixStream::connect(target).map(Self::Unix),
            "unixgram" => UnixDatagram::unbound()
                .and_then(|socket| socket.connect(target).map(|()| Self::Unixgram(socket))),
            "udp" => udp(address)?,
            _ => match tls {
                Some(tls) => return Tunnel::open(target, tls).map(Self::Tls),
                None => tcp(address)?,
            },
        };
        made.map_err(|error| failed(&error))
    }

    /// Sends all of it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tls(tunnel) => tunnel.stream.write_all(bytes),
            Self::Udp(socket) => socket.send(bytes).map(drop),
            Self::Unixgram(socket) => socket.send(bytes).map(drop),
        }
    }

    /// Receives some bytes of a stream; 0 at its end.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(tunnel) => tunnel.stream.read(buffer),
            Self::Udp(_) | Self::Unixgram(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the other side has hung up: what is sent to it then is lost without an error.
    pub(super) fn is_over(&self) -> bool {
        let over = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut polls = [PollFd::from_borrowed_fd(self.fd(), PollFlags::RDHUP)];
        let streams = matches!(self, Self::Tcp(_) | Self::Unix(_) | Self::Tls(_));
        streams && poll(&mut polls, Some(&Timespec::default())).is_ok() && polls[0].revents().intersects(over)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Unixgram(socket) => socket.as_fd(),
            Self::Tls(tunnel) => tunnel.stream.as_fd(),
        }
    }
}

impl Tunnel {
    fn open(target: &str, tls: &Tls) -> Outcome<Self> {
        let failed = |error: io::Error| format!("execute {}: {}", tls.program.display(), reason(&error));
        let (stream, theirs) = UnixStream::pair().map_err(failed)?;
        let (own, key) = tls.identity.as_ref().map(|(own, key)| (own, key)).unzip();
        let files = [tls.authorities.as_ref(), own, key];
        let program = Command::new(&tls.program)
            .arg0(Tls::NAME)
            .arg(target)
            .args(files.map(|path| path.map_or(OsStr::new(""), |path| path.as_os_str())))
            .args(tls.skip_verify.then_some(Tls::SKIP))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let tunnel = Self { stream, program };
        let mut word = String::new();
        // Nothing follows that line, so nothing of what follows is swallowed.
        BufReader::new(&tunnel.stream).read_line(&mut word).map_err(failed)?;
        match word.strip_suffix('\n') {
            Some("") => Ok(tunnel),
            Some(why) => Err(why.to_owned()),
            None => Err(format!("{} has ended", Tls::NAME)),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // It passes on what it has, and ends; it dies with us if that takes too long.
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.program.wait();
    }
}

fn tcp(address: &Address) -> Outcome<io::Result<Wire>> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for one in resolve(address)? {
        match TcpStream::connect_timeout(&one, PATIENCE) {
            Ok(stream) => return Ok(Ok(Wire::Tcp(stream))),
            Err(error) => last = error,
        }
    }
    Ok(Err(last))
}

fn udp(address: &Address) -> Outcome<io::Result<Wire>> {
    let targets = resolve(address)?;
    let any = if targets[0].is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let connect = |socket: UdpSocket| socket.connect(&targets[..1]).map(|()| Wire::Udp(socket));
    Ok(UdpSocket::bind(any).and_then(connect))
}

/// At least one address.
fn resolve(address: &Address) -> Outcome<Vec<std::net::SocketAddr>> {
    let Address { network, target, .. } = address;
    let host = target.rsplit_once(':').map_or(target.as_str(), |(host, _)| host);
    let found = target.to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    match found.is_empty() {
        true => Err(format!("dial {network}: lookup {host}: no such host")),
        false => Ok(found),
    }
}

/// The kernel's answer in words, in lower case and without a number.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase(),
    }
}
