//! A host, a client outside and containers, all of them network namespaces of the test's own.
#![allow(dead_code, reason = "every test file uses its part of the world")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

pub(crate) mod six;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hull_network::{Config, Endpoint, EndpointRequest, Networks, PortBinding, Protocol, Sandbox};
use hull_sys::netlink::{CREATE, DUMP, EXCLUSIVE, Family, Message, Socket, attributes};
use hull_sys::netns;
use rusqlite::Connection;

/// The host's address on the wire to the client.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The client's.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

const PATIENCE: Duration = Duration::from_millis(400);

/// The host (the calling thread) and a client on a wire.
pub(crate) struct World {
    pub(crate) client: OwnedFd,
    pub(crate) db: Arc<Mutex<Connection>>,
}

/// Runs a test on a host of its own.
pub(crate) fn on_a_host(test: impl FnOnce(World) + Send) {
    let (namespace, ()) = netns::create(|| {
        set_up("lo");
        // As it is on a host that is no router; a new namespace has what this machine has.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let (client, ()) = netns::create(|| ()).unwrap();
        wire(&client);
        let db = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        test(World { client, db });
    })
    .unwrap();
    drop(namespace);
}

/// Runs a test on a host whose bridged frames do not pass the IP firewall, and on one whose frames do.
pub(crate) fn on_both_kinds_of_host(test: impl Fn(World) + Send + Sync) {
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    on_a_host(|world| {
        // Without br_netfilter there is no switch, and nothing to switch off.
        let _ = std::fs::write(switch, "0");
        test(world);
    });
    if std::path::Path::new(switch).exists() {
        on_a_host(|world| {
            std::fs::write(switch, "1").unwrap();
            test(world);
        });
    }
}

impl World {
    /// The networks as the daemon opens them.
    pub(crate) fn open(&self) -> Networks {
        self.open_with(Config::default())
    }

    pub(crate) fn open_with(&self, config: Config) -> Networks {
        Networks::open(Arc::clone(&self.db), config).unwrap()
    }

    /// Gives the client a way to the containers' addresses, as a neighbour on the link can.
    pub(crate) fn client_routes(&self, destination: [u8; 4], prefix: u8) {
        netns::within(self.client.as_fd(), || route("wire1", destination, prefix, HOST)).unwrap();
    }
}

/// A container's sandbox and its endpoint.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) sandbox: Sandbox,
    pub(crate) endpoint: Endpoint,
}

impl Container {
    pub(crate) fn new(networks: &Networks, name: &str, network: &str, ports: &[PortBinding]) -> Self {
        let sandbox = networks.sandbox().unwrap();
        let endpoint = networks.connect(sandbox.as_fd(), request(name, network, ports)).unwrap();
        Self { id: id(name), sandbox, endpoint }
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.endpoint.address.expect("an IPv4 address").addr()
    }
}

pub(crate) fn id(name: &str) -> String {
    format!("{name:0>64}")
}

pub(crate) fn request(name: &str, network: &str, ports: &[PortBinding]) -> EndpointRequest {
    EndpointRequest {
        container: id(name),
        name: name.to_owned(),
        network: network.to_owned(),
        ports: ports.to_vec(),
        publishes: [true; 2],
        ..EndpointRequest::default()
    }
}

pub(crate) fn publish(protocol: Protocol, host: u16, container: u16) -> PortBinding {
    publish_range(protocol, host..=host, container..=container)
}

/// Ports of the host, one each for ports of the container.
pub(crate) fn publish_range(
    protocol: Protocol,
    host: RangeInclusive<u16>,
    container: RangeInclusive<u16>,
) -> PortBinding {
    PortBinding { container_ports: container, protocol, host_ip: None, host_ports: Some(host) }
}

/// Answers every TCP connection with the address of the one who asks.
pub(crate) fn serve_tcp(namespace: BorrowedFd<'_>, port: u16) {
    let listener =
        netns::within(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let text = stream.peer_addr().unwrap().ip().to_string();
            let _ = stream.write_all(text.as_bytes());
        }
    });
}

/// Answers every datagram with the address of the one who asks.
pub(crate) fn serve_udp(namespace: BorrowedFd<'_>, port: u16) {
    let socket =
        netns::within(namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
        }
    });
}

/// Asks over TCP from inside a namespace; `None`: no connection.
pub(crate) fn ask_tcp(namespace: BorrowedFd<'_>, ip: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
    netns::within(namespace, || ask_tcp_here(ip, port)).unwrap()
}

/// Asks over TCP from the calling thread's namespace.
pub(crate) fn ask_tcp_here(ip: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
    let address = SocketAddr::V4(SocketAddrV4::new(ip, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.parse().ok()
}

/// Asks over UDP from inside a namespace; `None`: no answer.
pub(crate) fn ask_udp(namespace: BorrowedFd<'_>, ip: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
    netns::within(namespace, || ask_udp_here(ip, port)).unwrap()
}

/// Asks over UDP from the calling thread's namespace.
pub(crate) fn ask_udp_here(ip: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    ask_by(&socket, SocketAddr::from((ip, port)), PATIENCE)
}

/// Asks who the socket is to somebody else.
fn ask_by<A: FromStr>(socket: &UdpSocket, whom: SocketAddr, patience: Duration) -> Option<A> {
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.connect(whom).ok()?;
    socket.send(b"who am I").ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()?.parse().ok()
}

/// The names of the links of the calling thread's namespace.
pub(crate) fn links() -> Vec<String> {
    let question = Message::new(18, DUMP, "list links", "").fixed(&[0; 16]);
    let answers = Socket::open(Family::Route).unwrap().ask(question).unwrap();
    let name = |body: &[u8]| attributes(&body[16..]).find(|a| a.kind == 3).map(|a| a.text());
    answers.iter().filter_map(|answer| name(&answer.body)).collect()
}

/// Waits until the host has no veth of a container any more: the kernel removes them a moment after their namespace.
pub(crate) fn wait_for_no_container_links() {
    wait_for_no_container_links_but(0);
}

/// Waits until the host has no more veths of containers than these.
pub(crate) fn wait_for_no_container_links_but(number: usize) {
    let gone = || links().iter().filter(|name| name.starts_with("veth")).count() <= number;
    assert!(eventually(gone), "links are left: {:?}", links());
}

/// Whether it comes to be so within some seconds.
pub(crate) fn eventually(is_so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > Duration::from_secs(20) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// How many elements a set of the table has; `None` without the table.
pub(crate) fn elements(set: &str) -> Option<usize> {
    let mut question = Message::new(10 << 8 | 13, DUMP, "list set", set).fixed(&[2, 0, 0, 0]);
    question.put_str(1, "hull").put_str(2, set);
    let answers = Socket::open(Family::Netfilter).unwrap().ask(question).ok()?;
    let lists = answers.iter().flat_map(|answer| attributes(&answer.body[4..]).filter(|a| a.kind == 3));
    Some(lists.map(|list| attributes(list.payload).count()).sum())
}

/// How many rules the table has.
pub(crate) fn rules() -> usize {
    let mut question = Message::new(10 << 8 | 7, DUMP, "list rules", "").fixed(&[2, 0, 0, 0]);
    question.put_str(1, "hull");
    Socket::open(Family::Netfilter).unwrap().ask(question).unwrap().len()
}

/// What `nft flush ruleset` does to our table.
pub(crate) fn flush_table() {
    let bracket = |kind| Message::new(kind, 0, "transaction", "").fixed(&[0, 0, 0, 10]);
    let mut delete = Message::new(10 << 8 | 2, 0, "delete table", "hull").fixed(&[2, 0, 0, 0]);
    delete.put_str(1, "hull");
    let batch = vec![bracket(0x10), delete, bracket(0x11)];
    Socket::open(Family::Netfilter).unwrap().request(batch).unwrap();
}

/// Removes a link of the calling thread's namespace.
pub(crate) fn remove_link(name: &str) {
    let mut message = Message::new(17, 0, "remove link", name).fixed(&[0; 16]);
    message.put_str(3, name);
    Socket::open(Family::Route).unwrap().request(vec![message]).unwrap();
}

/// The wire: `wire0` at the host, `wire1` at the client.
fn wire(client: &OwnedFd) {
    pair("wire0", "wire1", client);
    address("wire0", HOST, 24);
    set_up("wire0");
    netns::within(client.as_fd(), || {
        address("wire1", CLIENT, 24);
        set_up("wire1");
    })
    .unwrap();
    // To ask for a link is to have the kernel notice its carrier.
    index("wire0");
}

fn pair(here: &str, there: &str, namespace: &OwnedFd) {
    let mut create = Message::new(16, CREATE | EXCLUSIVE, "create wire", here).fixed(&[0; 16]);
    create.put_str(3, here).nest(18, |info| {
        info.put_str(1, "veth").nest(2, |data| {
            data.nest(1, |peer| {
                let namespace = u32::try_from(namespace.as_raw_fd()).unwrap();
                peer.put_bytes(&[0; 16]).put_str(3, there).put(28, &namespace.to_ne_bytes());
            });
        });
    });
    Socket::open(Family::Route).unwrap().request(vec![create]).unwrap();
}

pub(crate) fn set_up(name: &str) {
    let mut header = [0; 16];
    (header[8], header[12]) = (1, 1);
    let mut message = Message::new(19, 0, "set link up", name).fixed(&header);
    message.put_str(3, name);
    Socket::open(Family::Route).unwrap().request(vec![message]).unwrap();
}

pub(crate) fn address(name: &str, ip: Ipv4Addr, prefix: u8) {
    let mut header = [2, prefix, 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index(name).to_ne_bytes());
    let mut message = Message::new(20, CREATE, "add address", name).fixed(&header);
    message.put(2, &ip.octets()).put(1, &ip.octets());
    Socket::open(Family::Route).unwrap().request(vec![message]).unwrap();
}

pub(crate) fn route(name: &str, destination: [u8; 4], prefix: u8, gateway: Ipv4Addr) {
    let header = [2, prefix, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    let mut message = Message::new(24, CREATE, "add route", name).fixed(&header);
    message.put(1, &destination).put(5, &gateway.octets()).put(4, &index(name).to_ne_bytes());
    Socket::open(Family::Route).unwrap().request(vec![message]).unwrap();
}

pub(crate) fn index(name: &str) -> u32 {
    let mut question = Message::new(18, 0, "find link", name).fixed(&[0; 16]);
    question.put_str(3, name);
    let answers = Socket::open(Family::Route).unwrap().ask(question).unwrap();
    u32::from_ne_bytes(answers[0].body[4..8].try_into().unwrap())
}

/// Another wire of the host: `wire9` with 203.0.113.1, to `eth9` with 203.0.113.2 in the namespace.
pub(crate) fn second_wire(namespace: &OwnedFd) {
    pair("wire9", "eth9", namespace);
    address("wire9", [203, 0, 113, 1].into(), 24);
    set_up("wire9");
    netns::within(namespace.as_fd(), || {
        address("eth9", [203, 0, 113, 2].into(), 24);
        set_up("eth9");
    })
    .unwrap();
    index("wire9");
}

/// Gives a link of the calling thread's namespace another name.
pub(crate) fn rename_link(name: &str, to: &str) {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index(name).to_ne_bytes());
    let mut message = Message::new(19, 0, "rename link", name).fixed(&header);
    message.put_str(3, to);
    Socket::open(Family::Route).unwrap().request(vec![message]).unwrap();
}
