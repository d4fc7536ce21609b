//! The name server of one container.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

use super::cache::Cache;
use super::forward::{self, Transport};
use super::message::{self, Data, Query};
use super::names::Names;
use super::upstream::{HostServers, Server};
use super::{LinkedName, Listeners, NameSettings};
use crate::networks::lock;

/// Seconds for which an answer about a container holds: it may be gone soon.
const LIFETIME: u32 = 5;
/// The longest question that is read.
const LONGEST_QUESTION: usize = 4096;
/// Questions of one container that may be on their way to servers; further ones are refused.
const UNDERWAY: usize = 512;
/// Connections that one container may have open.
const CONNECTIONS: usize = 64;
/// After such a silence a connection is closed.
const IDLE: Duration = Duration::from_secs(10);
/// What the host is called in every container.
const HOST_NAMES: [&str; 3] = ["host.docker.internal", "host.hull.internal", "gateway.docker.internal"];

/// A name server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct NameServer {
    resolver: Arc<Resolver>,
    _closing: watch::Sender<()>,
}

/// What its tasks share.
#[derive(Debug)]
struct Resolver {
    container: String,
    namespace: OwnedFd,
    settings: Mutex<NameSettings>,
    names: Arc<Names>,
    host: Arc<HostServers>,
    cache: Mutex<Cache>,
    underway: Semaphore,
    connections: Arc<Semaphore>,
}

impl NameServer {
    /// Begins to serve. To be called within a runtime.
    pub(crate) fn start(
        container: &str,
        namespace: OwnedFd,
        listeners: Listeners,
        settings: NameSettings,
        names: Arc<Names>,
        host: Arc<HostServers>,
    ) -> io::Result<Self> {
        let (closing, closed) = watch::channel(());
        let resolver = Arc::new(Resolver {
            container: container.to_owned(),
            namespace,
            settings: Mutex::new(settings),
            names,
            host,
            cache: Mutex::default(),
            underway: Semaphore::new(UNDERWAY),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
        });
        let (udp, tcp) = (UdpSocket::from_std(listeners.udp)?, TcpListener::from_std(listeners.tcp)?);
        let server = Arc::clone(&resolver);
        let until = closed.clone();
        tokio::spawn(async move { until_closed(closed, server.serve_udp(Arc::new(udp), until)).await });
        let server = Arc::clone(&resolver);
        let (until, closed) = (closing.subscribe(), closing.subscribe());
        tokio::spawn(async move { until_closed(closed, server.serve_tcp(tcp, until)).await });
        Ok(Self { resolver, _closing: closing })
    }

    /// The container's network namespace.
    pub(crate) fn namespace(&self) -> io::Result<OwnedFd> {
        self.resolver.namespace.try_clone()
    }

    /// Other settings hold from now on.
    pub(crate) fn configure(&self, settings: NameSettings) {
        *lock(&self.resolver.settings) = settings;
        *lock(&self.resolver.cache) = Cache::default();
    }
}

/// Runs a task until the name server is dropped.
async fn until_closed(mut closed: watch::Receiver<()>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = closed.changed() => {}
        () = work => {}
    }
}

impl Resolver {
    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>, closed: watch::Receiver<()>) {
        loop {
            let (question, client) = match receive(&socket) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if socket.readable().await.is_err() {
                        return;
                    }
                    continue;
                }
                // What is to be told about an earlier answer: its client is gone.
                Err(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let Some(query) = Query::parse(&question) else { continue };
            if let Some(answer) = self.known(&query, query.limit()) {
                // A full buffer or a client that is gone: it asks again.
                let _ = socket.try_send_to(&answer, client);
                continue;
            }
            let (server, socket) = (Arc::clone(&self), Arc::clone(&socket));
            tokio::spawn(until_closed(closed.clone(), async move {
                let Some(query) = Query::parse(&question) else { return };
                let answer = server.forward(&query, Transport::Udp).await;
                let _ = socket.send_to(&answer, client).await;
            }));
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener, closed: watch::Receiver<()>) {
        loop {
            // Who comes when all are taken waits in the kernel's queue.
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = Arc::clone(&self);
                    tokio::spawn(until_closed(closed.clone(), async move {
                        // It ends with the client or with its silence.
                        let _ = server.serve_connection(stream).await;
                        drop(permit);
                    }));
                }
                // Out of descriptors, or the client has gone already.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let question = tokio::time::timeout(IDLE, forward::read_message(&mut stream)).await??;
            let Some(query) = Query::parse(&question) else { return Ok(()) };
            let answer = match self.known(&query, usize::from(u16::MAX)) {
                Some(answer) => answer,
                None => self.forward(&query, Transport::Tcp).await,
            };
            tokio::time::timeout(IDLE, forward::write_message(&mut stream, &answer)).await??;
        }
    }

    /// The answer to what is ours to know.
    fn known(&self, query: &Query<'_>, limit: usize) -> Option<Vec<u8>> {
        if !query.is_standard() {
            return None;
        }
        if query.kind == message::PTR {
            let address = message::reversed(&query.name)?;
            let name = self.names.name(&self.container, address)?;
            return Some(query.answer(message::NO_ERROR, &[Data::Name(name)], LIFETIME, limit));
        }
        let mut addresses = self.addresses(&query.name)?;
        addresses.retain(|address| match query.kind {
            message::A => address.is_ipv4(),
            message::AAAA => address.is_ipv6(),
            kind => kind == message::ANY,
        });
        if !addresses.is_empty() {
            // Clients take the first; each shall be first for some.
            let first = usize::from(message::id(query.bytes)) % addresses.len();
            addresses.rotate_left(first);
        }
        let answers: Vec<_> = addresses.into_iter().map(Data::Address).collect();
        Some(query.answer(message::NO_ERROR, &answers, LIFETIME, limit))
    }

    /// The addresses of a name that is ours: the container's links, then its networks, then the host.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let (links, hosts) = {
            let settings = lock(&self.settings);
            let links = settings.links.iter().filter(|link| link.name == name);
            (links.cloned().collect::<Vec<_>>(), settings.hosts.clone())
        };
        let linked =
            |link: &LinkedName| self.names.addresses(&self.container, link.network.as_deref(), &link.means);
        if let Some(found) = links.iter().find_map(linked) {
            return Some(found);
        }
        if let Some(found) = self.names.addresses(&self.container, None, name) {
            return Some(found);
        }
        let host = || match hosts.as_slice() {
            [] => self.names.gateways(&self.container),
            addresses => addresses.to_vec(),
        };
        HOST_NAMES.contains(&name).then(host).filter(|addresses| !addresses.is_empty())
    }

    /// The answer of a server, if the container may ask any.
    async fn forward(&self, query: &Query<'_>, transport: Transport) -> Vec<u8> {
        let NameSettings { servers: chosen, ndots, egress, alone, .. } = lock(&self.settings).clone();
        // Those that somebody has named may be neighbours; from its namespace nobody else is reached.
        if alone || chosen.is_empty() && !self.names.leads_outside(&self.container) {
            return query.refuse(message::SERVER_FAILURE);
        }
        if ndots && !query.name.contains('.') && [message::A, message::AAAA].contains(&query.kind) {
            // The user wants such names looked up in the search domains only.
            return query.refuse(message::NAME_ERROR);
        }
        let (mut servers, generation) = match chosen.is_empty() {
            true => self.host.now(),
            false => (chosen.into_iter().map(Server::chosen).collect(), 0),
        };
        if let Some(egress) = egress {
            servers.retain(|server| egress.allows(server.address.ip(), server.address.port()));
        }
        let fits = |answer: &Vec<u8>| transport == Transport::Tcp || answer.len() <= query.limit();
        let known = lock(&self.cache).find(query.bytes, generation, Instant::now());
        if let Some(answer) = known.filter(fits) {
            return answer;
        }
        let Ok(_permit) = self.underway.try_acquire() else { return query.refuse(message::REFUSED) };
        match forward::ask(query, &servers, self.namespace.as_fd(), transport).await {
            Some(answer) => {
                lock(&self.cache).keep(query.bytes, &answer, generation, Instant::now());
                answer
            }
            None => query.refuse(message::SERVER_FAILURE),
        }
    }
}

fn receive(socket: &UdpSocket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; LONGEST_QUESTION];
    let (length, client) = socket.try_recv_from(&mut buffer)?;
    Ok((buffer[..length].to_vec(), client))
}
