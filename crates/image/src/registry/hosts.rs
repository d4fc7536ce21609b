//! Which hosts serve a repository, in the order in which they are asked, and how far each is trusted.

use std::net::IpAddr;

use hull_oci::Reference;
use reqwest::Url;

use crate::error::{Error, Result};
use crate::settings::Settings;

const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// One way to reach a registry.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// `https://host:port/`, or what the mirror's URL says.
    pub(crate) base: Url,
    /// The name below `certs_dir`.
    pub(crate) certs: String,
    /// Certificates are not checked, and credentials may go in the clear: the user said so.
    pub(crate) insecure: bool,
    /// It is asked on behalf of another registry, whose credentials it must not see.
    pub(crate) mirror: bool,
}

impl Host {
    /// Where to pull `name` from: mirrors first, for Docker Hub.
    pub(crate) async fn for_pull(settings: &Settings, name: &Reference) -> Result<Vec<Self>> {
        let mut hosts = Vec::new();
        if name.domain() == HUB {
            for mirror in &settings.mirrors {
                hosts.push(Self::mirror(settings, mirror).await?);
            }
        }
        hosts.extend(Self::for_push(settings, name.domain()).await?);
        Ok(hosts)
    }

    /// Where a registry itself is: by TLS, and for an insecure one also without.
    pub(crate) async fn for_push(settings: &Settings, domain: &str) -> Result<Vec<Self>> {
        let address = match domain {
            HUB => HUB_HOST,
            other => other,
        };
        let insecure = domain != HUB && is_insecure(settings, address).await;
        let host = |scheme: &str| {
            let base = parse(&format!("{scheme}://{address}/"))?;
            Ok::<_, Error>(Self { base, certs: domain.to_owned(), insecure, mirror: false })
        };
        match insecure {
            true => Ok(vec![host("https")?, host("http")?]),
            false => Ok(vec![host("https")?]),
        }
    }

    async fn mirror(settings: &Settings, url: &str) -> Result<Self> {
        let mut base = parse(url)?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let certs = authority(&base);
        let insecure = is_insecure(settings, &certs).await;
        Ok(Self { insecure, certs, mirror: true, base })
    }

    /// The host of any URL: nothing is known of it, and it gets no credentials.
    pub(crate) fn of_url(url: &Url) -> Self {
        Self { base: url.clone(), certs: authority(url), insecure: false, mirror: true }
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = host_of(&authority(&self.base)).to_owned();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The address of something of the API: `v2/…`.
    pub(crate) fn url(&self, path: &str) -> Result<Url> {
        self.base
            .join(path)
            .map_err(|error| Error::Invalid(format!("invalid registry URL {}{path}: {error}", self.base)))
    }
}

/// The domain in what users and their configuration call a registry, `https://index.docker.io/v1/` among it.
pub(crate) fn domain(registry: &str) -> &str {
    let bare = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    match bare.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | HUB_HOST => HUB,
        other => other,
    }
}

/// `host[:port]` of a URL.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn parse(url: &str) -> Result<Url> {
    let parsed =
        Url::parse(url).map_err(|error| Error::Invalid(format!("invalid registry URL {url:?}: {error}")))?;
    match parsed.scheme() {
        "http" | "https" if parsed.username().is_empty() && parsed.password().is_none() => Ok(parsed),
        _ => Err(Error::Invalid(format!("invalid registry URL {url:?}"))),
    }
}

/// By name as configured, or by address: the name's own, or what it resolves to. Loopback is always among them.
async fn is_insecure(settings: &Settings, address: &str) -> bool {
    let host = host_of(address);
    let named = |entry: &&String| entry.as_str() == address || (entry.as_str() == host);
    if host == "localhost" || settings.insecure_registries.iter().any(|entry| named(&entry)) {
        return true;
    }
    let networks: Vec<ipnet::IpNet> =
        settings.insecure_registries.iter().filter_map(|entry| entry.parse().ok()).collect();
    let listed = |ip: &IpAddr| ip.is_loopback() || networks.iter().any(|network| network.contains(ip));
    match host.parse::<IpAddr>() {
        Ok(ip) => listed(&ip),
        Err(_) => match tokio::net::lookup_host((host, 443)).await {
            Ok(mut found) => found.any(|address| listed(&address.ip())),
            Err(_) => false,
        },
    }
}

fn host_of(address: &str) -> &str {
    if let Some((ip, _)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return ip;
    }
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(insecure: &[&str], mirrors: &[&str]) -> Settings {
        let owned = |list: &[&str]| list.iter().map(|&entry| entry.to_owned()).collect();
        Settings { insecure_registries: owned(insecure), mirrors: owned(mirrors), ..Settings::default() }
    }

    async fn hosts(settings: &Settings, name: &str) -> Vec<String> {
        let name = Reference::parse(name).unwrap();
        let hosts = Host::for_pull(settings, &name).await.unwrap();
        hosts.iter().map(|host| host.base.to_string()).collect()
    }

    #[tokio::test]
    async fn plain_http_only_where_it_is_allowed() {
        let none = settings(&[], &[]);
        assert_eq!(hosts(&none, "busybox").await, ["https://registry-1.docker.io/"]);
        assert_eq!(hosts(&none, "192.0.2.1:5000/x").await, ["https://192.0.2.1:5000/"]);
        assert_eq!(hosts(&none, "localhost:5000/x").await.len(), 2);
        assert_eq!(hosts(&none, "127.3.2.1/x").await.len(), 2);
        // A name, other than an address, which is looked up.
        assert_eq!(hosts(&none, "127.1:5000/x").await.len(), 2);
        assert_eq!(hosts(&none, "[::1]:5000/x").await, ["https://[::1]:5000/", "http://[::1]:5000/"]);
        let some = settings(&["192.0.2.0/24", "lab:5000"], &["https://mirror.lab/hub"]);
        assert_eq!(hosts(&some, "192.0.2.1:5000/x").await.len(), 2);
        assert_eq!(hosts(&some, "lab:5000/x").await.len(), 2);
        assert_eq!(hosts(&some, "busybox").await[0], "https://mirror.lab/hub/");
        assert_eq!(hosts(&some, "other.invalid/x").await, ["https://other.invalid/"]);
    }
}
