//! Telling the service manager how far we are: sd_notify(3), without its library.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The daemon serves.
pub(crate) fn ready() {
    tell("READY=1");
}

/// The daemon is about to end.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// Sends `state` if there is somebody to tell. A service manager that does not listen is not our failure.
fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let _ = match path.to_str().and_then(|path| path.strip_prefix('@')) {
        Some(name) => SocketAddr::from_abstract_name(name)
            .and_then(|address| socket.send_to_addr(state.as_bytes(), &address)),
        None => socket.send_to(state.as_bytes(), path),
    };
}
