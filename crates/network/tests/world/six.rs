//! The same world by IPv6.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;
use std::time::Duration;

use hull_network::{NetworkRequest, Pool6Request};
use hull_sys::netns;

use super::{Container, World};

pub(crate) const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub(crate) const PATIENCE: Duration = Duration::from_millis(600);

pub(crate) fn dual(name: &str, subnet: &str) -> NetworkRequest {
    let pool = Pool6Request { subnet: Some(subnet.parse().unwrap()), ..Pool6Request::default() };
    NetworkRequest { name: name.to_owned(), ipv6: Some(pool), ..NetworkRequest::default() }
}

pub(crate) fn ip(arguments: &str) {
    assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
}

/// IPv6 on the wire to the client, and the client's way to the containers.
pub(crate) fn wire6(world: &World) {
    ip("addr add 2001:db8::1/64 dev wire0 nodad");
    netns::within(world.client.as_fd(), || {
        ip("link set lo up");
        ip("addr add 2001:db8::2/64 dev wire1 nodad");
        ip("route add fd00::/8 via 2001:db8::1");
    })
    .unwrap();
}

pub(crate) fn serve6(namespace: BorrowedFd<'_>, port: u16) {
    let (tcp, udp) = netns::within(namespace, || {
        (TcpListener::bind(("::", port)).unwrap(), UdpSocket::bind(("::", port)).unwrap())
    })
    .unwrap();
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let _ = stream.write_all(stream.peer_addr().unwrap().ip().to_string().as_bytes());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(from.ip().to_string().as_bytes(), from);
        }
    });
}

pub(crate) fn ask6_here(ip: Ipv6Addr, port: u16) -> [Option<IpAddr>; 2] {
    let tcp = || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((ip, port)), PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.parse().ok()
    };
    let udp = || {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        super::ask_by(&socket, SocketAddr::from((ip, port)), PATIENCE)
    };
    [tcp(), udp()]
}

pub(crate) fn ask6(namespace: BorrowedFd<'_>, ip: Ipv6Addr, port: u16) -> [Option<IpAddr>; 2] {
    netns::within(namespace, || ask6_here(ip, port)).unwrap()
}

pub(crate) fn six(container: &Container) -> Ipv6Addr {
    container.endpoint.address6.unwrap().addr()
}

/// Answers by IPv6 and leaves IPv4 to somebody else.
pub(crate) fn serve6_only(namespace: BorrowedFd<'_>, port: u16) {
    let listener = netns::within(namespace, || {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET6, rustix::net::SocketType::STREAM, None)
                .unwrap();
        rustix::net::sockopt::set_ipv6_v6only(&socket, true).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).unwrap();
        rustix::net::listen(&socket, 16).unwrap();
        TcpListener::from(socket)
    })
    .unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(stream.peer_addr().unwrap().ip().to_string().as_bytes());
        }
    });
}
