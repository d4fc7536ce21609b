//! `hull-tls`: speaks TLS for a logger, which has none. It is this program under another name, started by the logger
//! (see `hull_shim::log::Tls`), and knows nothing of the daemon, whose life and death it does not notice.
//!
//! ```text
//! (nothing) ──handshake──► Open ──end of the input──► (all is sent, ended)
//!     └──failed──► (says why, ended)  └──the other side hangs up──► (ended, which the logger sees)
//! ```

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hull_image::Trust;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection};

/// The name that this program goes by then.
const NAME: &str = "hull-tls";
/// How long a host has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this process was started as that.
pub(crate) fn is_asked_for(program: Option<&OsString>) -> bool {
    program.is_some_and(|name| name == NAME)
}

/// Passes on what standard input, a stream socket, says.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // Whoever gives us up is not waited for.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let Ok(fd) = rustix::stdio::stdin().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut input = UnixStream::from(fd);
    let opened = open(arguments);
    let word = opened.as_ref().err().map_or("", String::as_str);
    // If nobody reads it, nothing will come.
    let _ = input.write_all(format!("{}\n", word.replace('\n', " ")).as_bytes());
    match opened.map(|(tls, host)| pass_on(input, tls, host)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Reaches the target, or says why not in the words of Docker's library.
fn open(arguments: impl Iterator<Item = OsString>) -> Result<(ClientConnection, TcpStream), String> {
    let arguments: Vec<_> = arguments.collect();
    let [target, authorities, own, key, rest @ ..] = arguments.as_slice() else {
        return Err(format!("{NAME} is not for people"));
    };
    let target = target.to_string_lossy();
    let file = |path: &OsString| (!path.is_empty()).then(|| PathBuf::from(path));
    let authorities: Vec<_> = file(authorities).into_iter().collect();
    let trust = Trust {
        system: authorities.is_empty(),
        authorities,
        identity: file(own).zip(file(key)),
        anybody: rest.first().is_some_and(|word| word == "skip-verify"),
    };
    let config = trust.client().map_err(|why| why.to_string())?;
    let name = target.rsplit_once(':').map_or(&*target, |(name, _)| name).trim_matches(['[', ']']).to_owned();
    let mut host = connect(&target, &name)?;
    let server = ServerName::try_from(name).map_err(|why| format!("tls: {why}"))?;
    let mut tls = ClientConnection::new(Arc::new(config), server).map_err(|why| format!("tls: {why}"))?;
    host.set_read_timeout(Some(PATIENCE)).map_err(|why| why.to_string())?;
    while tls.is_handshaking() {
        tls.complete_io(&mut host).map_err(|why| refusal(&why))?;
    }
    host.set_read_timeout(None).map_err(|why| why.to_string())?;
    Ok((tls, host))
}

fn connect(target: &str, name: &str) -> Result<TcpStream, String> {
    let found = target.to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let mut last = format!("dial tcp: lookup {name}: no such host");
    for address in found {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(why) => last = format!("dial tcp {target}: connect: {}", reason(&why)),
        }
    }
    Err(last)
}

/// The kernel's answer in lower case and without a number.
fn reason(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "i/o timeout".to_owned(),
        _ => why.to_string().split(" (os error").next().unwrap_or_default().to_lowercase(),
    }
}

/// Why there was no handshake.
fn refusal(why: &io::Error) -> String {
    let tls = why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        // The second one has the name of one that is known, and not its key.
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned(),
        Some(rustls::Error::InvalidCertificate(other)) => {
            format!("tls: failed to verify certificate: x509: {other}")
        }
        Some(other) => format!("tls: {other}"),
        None => reason(why),
    }
}

/// Until one of both ends.
fn pass_on(mut input: UnixStream, mut tls: ClientConnection, mut host: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    let mut ended = false;
    while !ended {
        let (from_input, from_host) = wait(&input, &host)?;
        if from_host {
            ended = tls.read_tls(&mut host)? == 0;
            ended |= tls.process_new_packets().map_err(io::Error::other)?.peer_has_closed();
            // What the other side would say is nothing that anybody reads.
            while matches!(tls.reader().read(&mut buffer), Ok(1..)) {}
        }
        if from_input && !ended {
            match input.read(&mut buffer)? {
                0 => {
                    ended = true;
                    tls.send_close_notify();
                }
                count => tls.writer().write_all(&buffer[..count])?,
            }
        }
        while tls.wants_write() {
            tls.write_tls(&mut host)?;
        }
    }
    Ok(())
}

/// Waits until one of them has something to read, or its end.
fn wait(input: &UnixStream, host: &TcpStream) -> io::Result<(bool, bool)> {
    let mut both = [input.as_fd(), host.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    poll(&mut both, None)?;
    let [input, host] = both.map(|one| !one.revents().is_empty());
    Ok((input, host))
}
