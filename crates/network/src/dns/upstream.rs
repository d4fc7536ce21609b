//! The servers that know everything else.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::networks::lock;

const DOMAIN: u16 = 53;

/// A server, and from where it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// From the host's namespace: it is on the host's own loopback. All others are asked from the container's, whose
    /// routes and rules (a VPN of its own) hold for its questions, too.
    pub(crate) from_host: bool,
}

impl Server {
    /// A server that the user has named.
    pub(crate) fn chosen(address: IpAddr) -> Self {
        Self { address: SocketAddr::new(address, DOMAIN), from_host: false }
    }

    fn of_host(address: IpAddr) -> Self {
        Self { address: SocketAddr::new(address, DOMAIN), from_host: address.is_loopback() }
    }
}

/// The host's resolv.conf(5), as it is now.
#[derive(Debug)]
pub(crate) struct HostServers {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    stamp: Option<Stamp>,
    servers: Vec<Server>,
    generation: u64,
}

/// Changes with the file: device, inode, size, time of its change.
type Stamp = (u64, u64, u64, i64, i64);

impl HostServers {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: Mutex::default() }
    }

    /// The servers, and a number that changes with the file.
    pub(crate) fn now(&self) -> (Vec<Server>, u64) {
        let stamp = fs::metadata(&self.path)
            .ok()
            .map(|meta| (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        let mut seen = lock(&self.seen);
        if stamp.is_none() || seen.stamp != stamp {
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            let servers = parse(&text);
            if servers != seen.servers {
                seen.generation += 1;
            }
            (seen.stamp, seen.servers) = (stamp, servers);
        }
        (seen.servers.clone(), seen.generation)
    }
}

fn parse(text: &str) -> Vec<Server> {
    let words = text.lines().map(|line| line.split_ascii_whitespace());
    let servers = words.filter_map(|mut words| match (words.next(), words.next()) {
        (Some("nameserver"), Some(address)) => address.parse().ok(),
        _ => None,
    });
    servers.map(Server::of_host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let servers = HostServers::new(&path);
        assert_eq!(servers.now(), (vec![], 0));
        fs::write(&path, "# stub\nnameserver 127.0.0.53\noptions edns0\n").unwrap();
        let (found, first) = servers.now();
        assert_eq!(found[0].address, "127.0.0.53:53".parse().unwrap());
        assert!(found[0].from_host);
        fs::write(dir.path().join("new"), "nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver x\n")
            .unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        let (found, second) = servers.now();
        assert_eq!(found.iter().map(|server| server.from_host).collect::<Vec<_>>(), [false, false]);
        assert_ne!(first, second);
        fs::remove_file(&path).unwrap();
        assert_eq!(servers.now().0, []);
    }
}
