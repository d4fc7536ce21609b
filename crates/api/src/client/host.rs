//! Addresses of daemons: `unix:///run/hull/hull.sock`, `tcp://127.0.0.1:2375`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// A name or address, and a port.
    Tcp {
        /// Without brackets, if it is an IPv6 address.
        name: String,
        /// 2375 if none is given.
        port: u16,
    },
}

/// A text that is no address of a daemon, or one that is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// No address at all.
    #[error("unable to parse docker host `{0}`")]
    Syntax(String),
    /// Another transport.
    #[error("{0}: connecting by {1} is not supported yet")]
    Transport(String, &'static str),
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let syntax = || InvalidHost::Syntax(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(syntax)?;
        match scheme {
            "unix" if !rest.is_empty() => Ok(Host::Unix(PathBuf::from(rest))),
            "tcp" | "http" => tcp(rest.trim_end_matches('/')).ok_or_else(syntax),
            "https" => Err(InvalidHost::Transport(text.to_owned(), "TLS")),
            "ssh" => Err(InvalidHost::Transport(text.to_owned(), "ssh")),
            "npipe" | "fd" => Err(InvalidHost::Transport(text.to_owned(), "this protocol")),
            _ => Err(syntax()),
        }
    }
}

/// `name`, `name:port`, `[v6]`, `[v6]:port`, `:port`.
fn tcp(text: &str) -> Option<Host> {
    let (name, port) = match text.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => match text.split_once(':') {
            Some((name, _)) => (name, &text[name.len()..]),
            None => (text, ""),
        },
    };
    let port = match port {
        "" => 2375,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    let name = if name.is_empty() { "127.0.0.1" } else { name };
    Some(Host::Tcp { name: name.to_owned(), port })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "unix://{}", path.display()),
            Host::Tcp { name, port } if name.contains(':') => write!(f, "tcp://[{name}]:{port}"),
            Host::Tcp { name, port } => write!(f, "tcp://{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, shown) in [
            ("unix:///run/hull/hull.sock", "unix:///run/hull/hull.sock"),
            ("tcp://10.0.0.1:2376", "tcp://10.0.0.1:2376"),
            ("tcp://localhost", "tcp://localhost:2375"),
            ("tcp://:99", "tcp://127.0.0.1:99"),
            ("http://[::1]:80/", "tcp://[::1]:80"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "/run/x.sock", "unix://", "tcp://a:b", "tcp://[::1", "ftp://x"] {
            assert_eq!(text.parse::<Host>(), Err(InvalidHost::Syntax(text.to_owned())), "{text}");
        }
        assert!(matches!("ssh://root@host".parse::<Host>(), Err(InvalidHost::Transport(_, "ssh"))));
    }
}
