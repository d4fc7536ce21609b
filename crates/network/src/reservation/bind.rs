//! A port of the host, bound.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::Protocol;

/// A socket that nobody else can bind beside; `None` where the kernel has no such protocol.
pub(super) fn bind(protocol: Protocol, ip: IpAddr, port: u16) -> Result<Option<OwnedFd>, Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = match rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => return Ok(None),
        socket => socket?,
    };
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    let address = SocketAddr::new(ip, port);
    match rustix::net::bind(&socket, &address) {
        // Closed connections (TIME_WAIT) may be all that is in the way. A listener may share the port with them, and
        // still with no other listener.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, 0)?;
        }
        result => result?,
    }
    Ok(Some(socket))
}
