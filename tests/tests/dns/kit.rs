//! A host with a resolver of its own, and a client of the name server inside a container.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hull_sys::netns;
use hull_testkit::Daemon;
use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, ResourceRecord, TYPE};

const SERVER: &str = "127.0.0.11:53";
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a resolver looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(20);

/// What the name server says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: RCODE,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) names: Vec<String>,
    pub(crate) truncated: bool,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let packet = Packet::parse(bytes).expect("a message");
        assert_eq!(packet.id(), 4242, "the answer to this question");
        let (mut addresses, mut names) = (Vec::new(), Vec::new());
        for record in &packet.answers {
            match &record.rdata {
                RData::A(a) => addresses.push(Ipv4Addr::from(a.address).into()),
                RData::AAAA(a) => addresses.push(std::net::Ipv6Addr::from(a.address).into()),
                RData::PTR(name) => names.push(name.0.to_string()),
                other => panic!("{other:?}"),
            }
        }
        let truncated = packet.has_flags(PacketFlag::TRUNCATION);
        Self { code: packet.rcode(), addresses, names, truncated }
    }

    /// The addresses without their order, which changes.
    pub(crate) fn sorted(&self) -> Vec<IpAddr> {
        self.addresses.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

pub(crate) fn pid_of(daemon: &Daemon, container: &str) -> String {
    daemon.hull(["inspect", "-f", "{{.State.Pid}}", container]).ok().to_owned()
}

/// The inodes of the name server's sockets in a container's namespace.
pub(crate) fn sockets_of(daemon: &Daemon, container: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{}/net/udp", pid_of(daemon, container))).expect("a table");
    let ours = table.lines().filter(|line| line.contains(" 0B00007F:"));
    ours.filter_map(|line| line.split_whitespace().nth(9).map(String::from)).collect()
}

/// Does something in a container's network.
pub(crate) fn inside<T: Send>(daemon: &Daemon, container: &str, act: impl FnOnce() -> T + Send) -> T {
    inside_of(&pid_of(daemon, container), act)
}

fn inside_of<T: Send>(pid: &str, act: impl FnOnce() -> T + Send) -> T {
    let namespace = fs::File::open(format!("/proc/{pid}/ns/net")).expect("a namespace");
    netns::within(namespace.as_fd(), act).expect("enter")
}

/// Asks the name server from inside a container, by datagram.
pub(crate) fn ask(daemon: &Daemon, container: &str, name: &str, kind: TYPE) -> Answer {
    ask_in(&pid_of(daemon, container), name, kind)
}

/// The same where nobody can tell the container's process id.
pub(crate) fn ask_in(pid: &str, name: &str, kind: TYPE) -> Answer {
    let question = question(name, kind);
    inside_of(pid, || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.connect(SERVER).expect("connect");
        socket.send(&question).expect("send");
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("an answer");
        Answer::parse(&buffer[..length])
    })
}

/// The same by a connection.
pub(crate) fn ask_by_tcp(daemon: &Daemon, container: &str, name: &str, kind: TYPE) -> Answer {
    let question = question(name, kind);
    inside(daemon, container, || {
        let mut stream = TcpStream::connect(SERVER).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write_message(&mut stream, &question);
        Answer::parse(&read_message(&mut stream).expect("an answer"))
    })
}

pub(crate) fn address_of(daemon: &Daemon, container: &str) -> IpAddr {
    let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    let addresses = daemon.hull(["inspect", "-f", template, container]).ok().to_owned();
    addresses.split_whitespace().next().expect("an address").parse().expect("an address")
}

pub(crate) fn resolv_conf(daemon: &Daemon, container: &str) -> String {
    daemon.hull(["exec", container, "cat", "/etc/resolv.conf"]).ok().to_owned() + "\n"
}

fn question(name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(4242);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new_unchecked(name), kind.into(), CLASS::IN.into(), false));
    if name.starts_with("edns.") {
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 1400, version: 0 });
    }
    packet.build_bytes_vec().expect("a question")
}

fn write_message(stream: &mut TcpStream, message: &[u8]) {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes).expect("write");
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// A resolver that knows a few names and remembers who asked for what, until it is dropped.
#[derive(Default)]
pub(crate) struct Host {
    resolver: Resolver,
    threads: Vec<JoinHandle<()>>,
    conf: Option<tempfile::NamedTempFile>,
}

#[derive(Clone, Default)]
struct Resolver {
    asked: Arc<Mutex<Vec<(String, IpAddr)>>>,
    closed: Arc<AtomicBool>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.resolver.closed.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Host {
    /// What `outside.example` has.
    pub(crate) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    /// How many addresses `big.example` has: too many for a datagram.
    pub(crate) const MANY: usize = 100;

    /// The resolver at an address of this host's loopback, with a resolv.conf that says so, as on a host with
    /// systemd-resolved. Only the test's own mount namespace sees that.
    pub(crate) fn with_stub(address: &str) -> Self {
        let conf = tempfile::Builder::new().prefix("resolv").tempfile().expect("a file");
        rustix::mount::mount_bind(conf.path(), "/etc/resolv.conf").expect("mount");
        let mut host = Self::stub(address);
        host.conf = Some(conf);
        host.names(address);
        host
    }

    /// Another resolver, which the same resolv.conf names from now on.
    pub(crate) fn moves_to(&self, address: &str) -> Self {
        let other = Self::stub(address);
        self.names(address);
        other
    }

    fn names(&self, address: &str) {
        let conf = self.conf.as_ref().expect("a resolv.conf");
        fs::write(conf.path(), format!("nameserver {address}\nsearch example\n")).expect("write");
    }

    /// The resolver at an address of the calling thread's namespace.
    pub(crate) fn stub(address: &str) -> Self {
        let resolver = Resolver::default();
        let udp = UdpSocket::bind(format!("{address}:53")).expect("a socket");
        let tcp = TcpListener::bind(format!("{address}:53")).expect("a socket");
        udp.set_read_timeout(Some(GLANCE)).expect("a timeout");
        tcp.set_nonblocking(true).expect("nonblocking");
        let (by_udp, by_tcp) = (resolver.clone(), resolver.clone());
        let threads = vec![
            std::thread::spawn(move || by_udp.serve_udp(&udp)),
            std::thread::spawn(move || by_tcp.serve_tcp(&tcp)),
        ];
        Self { resolver, threads, conf: None }
    }

    /// How often somebody asked for a name.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.resolver.asked.lock().expect("a lock").iter().filter(|(asked, _)| asked == name).count()
    }

    /// Who has asked.
    pub(crate) fn clients(&self) -> Vec<IpAddr> {
        let asked = self.resolver.asked.lock().expect("a lock");
        asked.iter().map(|(_, who)| *who).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Resolver {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while !self.is_closed() {
            let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
            let answer = self.answer(&buffer[..length], client, true);
            let _ = socket.send_to(&answer, client);
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        while !self.is_closed() {
            let Ok((mut stream, client)) = listener.accept() else {
                std::thread::sleep(GLANCE);
                continue;
            };
            stream.set_nonblocking(false).expect("blocking");
            while let Some(question) = read_message(&mut stream) {
                write_message(&mut stream, &self.answer(&question, client, false));
            }
        }
    }

    fn answer(&self, question: &[u8], client: SocketAddr, datagram: bool) -> Vec<u8> {
        let query = Packet::parse(question).expect("a question");
        let name = query.questions[0].qname.to_string();
        self.asked.lock().expect("a lock").push((name.clone(), client.ip()));
        let with_options = query.opt().is_some();
        let asked = query.questions.clone();
        let mut packet = query.into_reply();
        let count = match name.as_str() {
            "outside.example" => 1,
            "edns.example" if with_options => 1,
            "big.example" if datagram => {
                packet.set_flags(PacketFlag::TRUNCATION);
                0
            }
            "big.example" => Host::MANY,
            _ => {
                *packet.rcode_mut() = RCODE::NameError;
                0
            }
        };
        let IpAddr::V4(first) = Host::ADDRESS else { unreachable!() };
        for number in 0..count as u32 {
            let data = RData::A(simple_dns::rdata::A { address: u32::from(first) + number });
            packet.answers.push(ResourceRecord::new(asked[0].qname.clone(), CLASS::IN, 60, data));
        }
        packet.build_bytes_vec_compressed().expect("an answer")
    }
}
