//! Where to listen, in the short forms that dockerd takes, too: `0.0.0.0:2375` for `tcp://0.0.0.0:2375`, `tcp://` and
//! nothing at all for the usual places.

use crate::listen::DEFAULT_HOST;

/// Who listens on TCP and does not say where.
const HOST: &str = "localhost";
const PORT: &str = "2375";
/// Nothing at all, with TLS.
const DEFAULT_TLS_HOST: &str = "tcp://localhost:2376";

/// Each place once, and in full.
pub(super) fn in_full(hosts: &[String], tls: bool) -> Result<Vec<String>, String> {
    let mut all: Vec<String> = Vec::new();
    for host in hosts {
        let host = one(host.trim(), tls)?;
        if !all.contains(&host) {
            all.push(host);
        }
    }
    Ok(all)
}

fn one(host: &str, tls: bool) -> Result<String, String> {
    let invalid = |why: String| Err(format!("invalid bind address ({host}): {why}"));
    match host.split_once("://") {
        None if host.is_empty() => Ok(if tls { DEFAULT_TLS_HOST } else { DEFAULT_HOST }.to_owned()),
        None => tcp(host).or_else(invalid),
        Some(("tcp", address)) => tcp(address).or_else(invalid),
        Some(("unix", "")) => Ok(DEFAULT_HOST.to_owned()),
        Some(("unix", path)) if path.contains("://") => invalid(format!("invalid unix address: {path}")),
        Some(("unix" | "fd", _)) => Ok(host.to_owned()),
        Some((other, _)) => invalid(format!("unsupported proto '{other}'")),
    }
}

fn tcp(address: &str) -> Result<String, String> {
    let address = address.strip_suffix('/').unwrap_or(address);
    if address.contains('/') {
        return Err("should not contain a path element".to_owned());
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (address, ""),
    };
    let port = if port.is_empty() { PORT } else { port };
    if !port.parse::<u16>().is_ok_and(|number| number > 0) {
        return Err(format!("invalid port: {port}"));
    }
    let host = if host.is_empty() { HOST } else { host };
    Ok(format!("tcp://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_places() {
        let full = |host: &str| in_full(&[host.to_owned()], false);
        for (host, place) in [
            ("", DEFAULT_HOST),
            (" unix:// ", DEFAULT_HOST),
            ("unix:///a.sock", "unix:///a.sock"),
            ("fd://", "fd://"),
            ("0.0.0.0:23756", "tcp://0.0.0.0:23756"),
            (":7", "tcp://localhost:7"),
            ("here", "tcp://here:2375"),
            ("tcp://", "tcp://localhost:2375"),
            ("tcp://[::1]:8", "tcp://[::1]:8"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
        ] {
            assert_eq!(full(host), Ok(vec![place.to_owned()]), "{host}");
        }
        assert_eq!(in_full(&[String::new()], true), Ok(vec![DEFAULT_TLS_HOST.to_owned()]));
        let twice = ["unix:///a", "localhost:2375", "unix:///a", "tcp://"].map(str::to_owned);
        assert_eq!(
            in_full(&twice, false),
            Ok(vec!["unix:///a".to_owned(), "tcp://localhost:2375".to_owned()])
        );
        for (host, why) in [
            ("udp://x:1", "invalid bind address (udp://x:1): unsupported proto 'udp'"),
            ("tcp://x:y", "invalid bind address (tcp://x:y): invalid port: y"),
            ("tcp://x:0", "invalid bind address (tcp://x:0): invalid port: 0"),
            ("tcp://x:1/y", "invalid bind address (tcp://x:1/y): should not contain a path element"),
            ("unix://unix:///a", "invalid bind address (unix://unix:///a): invalid unix address: unix:///a"),
        ] {
            assert_eq!(full(host), Err(why.to_owned()));
        }
    }
}
