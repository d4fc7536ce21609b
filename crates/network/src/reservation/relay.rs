//! Ports of the host's IPv6 addresses that lead to containers without IPv6, and those of ::1.
//!
//! No translation leads from one family to the other, and none from ::1 to elsewhere, so the daemon takes what comes and sends it on to the container,
//! as dockerd's userland proxy does: by the very sockets that reserve the ports. While there is no daemon, these ports
//! are closed; all others pass through the firewall's maps, and need nobody.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};

use crate::Protocol;

/// How many connections may wait to be taken.
const BACKLOG: i32 = 128;
/// The longest datagram there is.
const LONGEST_DATAGRAM: usize = 65_535;
/// After such a silence answers to a client's datagrams are not waited for any more.
const SILENCE: Duration = Duration::from_secs(90);
/// Clients over UDP whose answers are waited for at one port.
const CLIENTS: usize = 256;
/// How long an end is waited for at the most; it takes as long as a task needs to be called.
const ENDING: Duration = Duration::from_secs(1);
/// How long it waits when there is no descriptor left for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// A port that is relayed until this is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    task: JoinHandle<()>,
}

impl Relay {
    /// Takes what comes by a socket that is bound to a port, to this address of a container.
    pub(super) fn start(
        runtime: &Handle,
        protocol: Protocol,
        socket: OwnedFd,
        to: SocketAddr,
    ) -> io::Result<Self> {
        let _within = runtime.enter();
        let task = match protocol {
            Protocol::Tcp => {
                // What is left of ended connections (TIME_WAIT) must not keep the port from the next daemon: they inherit this.
                rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::listen(&socket, BACKLOG)?;
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                runtime.spawn(take_connections(TcpListener::from_std(listener)?, to))
            }
            Protocol::Udp => {
                let socket = std::net::UdpSocket::from(socket);
                socket.set_nonblocking(true)?;
                runtime.spawn(take_datagrams(UdpSocket::from_std(socket)?, to))
            }
            Protocol::Sctp => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { task })
    }
}

impl Drop for Relay {
    /// Its socket is closed when this returns: the port may be wanted at once.
    fn drop(&mut self) {
        self.task.abort();
        let begin = Instant::now();
        while !self.task.is_finished() && begin.elapsed() < ENDING {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

async fn take_connections(listener: TcpListener, to: SocketAddr) {
    // They end with the port.
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(open.spawn(pass(client, to))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = open.join_next() => {}
        }
    }
}

async fn pass(mut client: TcpStream, to: SocketAddr) {
    // Whoever is not there is told by the connection's end.
    if let Ok(mut container) = TcpStream::connect(to).await {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut container).await;
    }
}

async fn take_datagrams(socket: UdpSocket, to: SocketAddr) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    // In this task, so that nothing has the socket when it has ended.
    let mut answers = FuturesUnordered::new();
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, client)) = received else { continue };
                let way = match clients.get(&client) {
                    Some(way) => Arc::clone(way),
                    None if clients.len() >= CLIENTS => continue,
                    None => match way_to(to).await {
                        Ok(way) => {
                            answers.push(answer(Arc::clone(&way), &socket, client));
                            Arc::clone(clients.entry(client).or_insert(way))
                        }
                        Err(_) => continue,
                    },
                };
                // What is lost is lost, as everywhere on the way.
                let _ = way.send(&buffer[..length]).await;
            }
            Some(client) = answers.next() => drop(clients.remove(&client)),
        }
    }
}

async fn way_to(to: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let own: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let way = UdpSocket::bind((own, 0)).await?;
    way.connect(to).await?;
    Ok(Arc::new(way))
}

/// Passes answers on until there are none for a while; returns whose they were.
async fn answer(way: Arc<UdpSocket>, socket: &UdpSocket, client: SocketAddr) -> SocketAddr {
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    while let Ok(received) = tokio::time::timeout(SILENCE, way.recv(&mut buffer)).await {
        // Nobody listens there now; who asks again may find somebody.
        let Ok(length) = received else { continue };
        let _ = socket.send_to(&buffer[..length], client).await;
    }
    client
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_comes_is_passed_on_both_ways_until_the_end() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let container = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = container.local_addr().unwrap();
        let socket = std::net::TcpListener::bind("[::1]:0").unwrap();
        let port = socket.local_addr().unwrap();
        let relay = Relay::start(runtime.handle(), Protocol::Tcp, socket.into(), to).unwrap();
        let mut client = std::net::TcpStream::connect(port).unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let (mut server, _) = container.accept().unwrap();
        let (mut asked, mut answered) = (String::new(), String::new());
        server.read_to_string(&mut asked).unwrap();
        server.write_all(b"answer").unwrap();
        drop(server);
        client.read_to_string(&mut answered).unwrap();
        assert_eq!((asked.as_str(), answered.as_str()), ("question", "answer"));
        drop(relay);
        std::net::TcpStream::connect(port).unwrap_err();
    }

    #[test]
    fn each_client_gets_the_answers_to_its_datagrams() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let container = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = container.local_addr().unwrap();
        let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let port = socket.local_addr().unwrap();
        let relay = Relay::start(runtime.handle(), Protocol::Udp, socket.into(), to).unwrap();
        let clients = [(); 2].map(|()| std::net::UdpSocket::bind("[::1]:0").unwrap());
        for (client, text) in clients.iter().zip(["one", "two"]) {
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client.send_to(text.as_bytes(), port).unwrap();
        }
        let mut buffer = [0; 16];
        for _ in 0..2 {
            let (length, from) = container.recv_from(&mut buffer).unwrap();
            container.send_to(&buffer[..length], from).unwrap();
        }
        for (client, text) in clients.iter().zip(["one", "two"]) {
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (text.as_bytes(), port));
        }
        drop(relay);
        std::net::UdpSocket::bind(port).unwrap();
    }
}
