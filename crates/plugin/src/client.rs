//! One question to a plugin and its answer: `POST /Kind.Method` with JSON both ways.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::ClientBuilder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::discovery::{Address, Tls};
use crate::{Error, Result};

/// The version of the protocol, as the header that plugins look at.
const ACCEPT: &str = "application/vnd.docker.plugins.v1.2+json";
/// A plugin that does not answer is tried so long, as by Docker: after one, two, four and eight seconds.
const GIVE_UP: Duration = Duration::from_secs(30);
/// One that is not there at all gets less than from Docker: most names that nobody knows are mistakes.
pub(crate) const APPEARS_WITHIN: Duration = Duration::from_secs(5);
/// The most that is read of an answer, in bytes.
const LARGEST_ANSWER: usize = 8 << 20;

/// Whether a plugin that is not there or cannot be reached is tried again: it may just be starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Never.
    None,
    /// With growing pauses, for a quarter of a minute.
    Some,
}

/// The pauses between tries, each twice as long as the one before.
pub(crate) struct Pauses {
    begun: Instant,
    next: Duration,
    /// No pause may end later.
    limit: Duration,
}

impl Pauses {
    pub(crate) fn within(limit: Duration) -> Self {
        Self { begun: Instant::now(), next: Duration::from_secs(1), limit }
    }

    /// Waits before another try; `false` at once if there is to be none.
    pub(crate) async fn wait(&mut self, why: &Error) -> bool {
        if self.begun.elapsed() + self.next >= self.limit {
            return false;
        }
        tracing::warn!("plugin: {why}; trying again in {:?}", self.next);
        tokio::time::sleep(self.next).await;
        self.next *= 2;
        true
    }
}

/// A way to one plugin.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    address: Address,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    #[serde(default)]
    err: String,
}

impl Client {
    pub(crate) fn new(address: Address) -> Result<Self> {
        // The library wants to be able to speak TLS, even where nobody asks for it; who was first is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let none = std::iter::empty();
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1);
        let builder = match &address {
            Address::Unix(path) => builder.tls_certs_only(none).unix_socket(path.as_path()),
            Address::Tcp(_) => builder.tls_certs_only(none),
            Address::Tls(_, tls) => veiled(builder, tls)?,
        };
        let http = builder.build().map_err(|why| Error::Unusable(why.to_string()))?;
        Ok(Self { http, address })
    }

    /// Asks once, or until the plugin can be reached. `within` bounds each try.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        question: &(impl Serialize + Sync),
        within: Duration,
        patience: Patience,
    ) -> Result<T> {
        let mut pauses = Pauses::within(GIVE_UP);
        loop {
            match self.ask(method, question, within).await {
                Err(why @ Error::Unreachable(_)) if patience == Patience::Some => {
                    if !pauses.wait(&why).await {
                        return Err(why);
                    }
                }
                answered => return answered,
            }
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        question: &(impl Serialize + Sync),
        within: Duration,
    ) -> Result<T> {
        let (scheme, host) = match &self.address {
            Address::Unix(_) => ("http", "plugin"),
            Address::Tcp(host) => ("http", host.as_str()),
            Address::Tls(host, _) => ("https", host.as_str()),
        };
        let mut body = serde_json::to_vec(question).map_err(|why| Error::Unusable(why.to_string()))?;
        if body == b"null" {
            body.clear();
        }
        let request = self.http.post(format!("{scheme}://{host}/{method}")).header("Accept", ACCEPT);
        let unreachable = |why: reqwest::Error| self.unreachable(method, &why);
        let answer = request.timeout(within).body(body).send().await.map_err(unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        if bytes.len() > LARGEST_ANSWER {
            return Err(Error::Refused(format!("{method}: the answer is too long")));
        }
        let refusal =
            serde_json::from_slice::<Refusal>(&bytes).map(|refusal| refusal.err).unwrap_or_default();
        match (status.is_success(), refusal.as_str()) {
            (true, "") => serde_json::from_slice(content(&bytes))
                .map_err(|why| Error::Refused(format!("{method}: error reading plugin resp: {why}"))),
            (true, why) => Err(Error::Refused(why.to_owned())),
            (false, "") => {
                Err(Error::Refused(format!("{method}: {}", String::from_utf8_lossy(&bytes).trim_end())))
            }
            (false, why) => Err(Error::Refused(format!("{method}: {why}"))),
        }
    }

    /// In the words of Docker's client: the question, the address, the cause.
    fn unreachable(&self, method: &str, why: &reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = why;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let address = match &self.address {
            Address::Unix(path) => format!("dial unix {}", path.display()),
            Address::Tcp(host) | Address::Tls(host, _) => format!("dial tcp {host}"),
        };
        Error::Unreachable(format!("Post \"http://plugin/{method}\": {address}: {cause}"))
    }
}

/// Go's encoders write `null` for an answer that has nothing to say.
fn content(answer: &[u8]) -> &[u8] {
    match answer.trim_ascii() {
        b"null" => b"{}",
        answer => answer,
    }
}

/// With the trust and the identity of `tls`.
fn veiled(builder: ClientBuilder, tls: &Tls) -> Result<ClientBuilder> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|why| Error::Unusable(format!("read TLS file {}: {why}", path.display())))
    };
    let unusable =
        |path: &Path, why: reqwest::Error| Error::Unusable(format!("use TLS file {}: {why}", path.display()));
    let mut builder = builder.tls_danger_accept_invalid_certs(tls.trusts_anybody);
    if !tls.authorities.as_os_str().is_empty() {
        let bundle = reqwest::Certificate::from_pem_bundle(&read(&tls.authorities)?)
            .map_err(|why| unusable(&tls.authorities, why))?;
        builder = builder.tls_certs_only(bundle);
    }
    if !tls.certificate.as_os_str().is_empty() {
        let pair = [read(&tls.certificate)?, read(&tls.key)?].join(&b'\n');
        let identity = reqwest::Identity::from_pem(&pair).map_err(|why| unusable(&tls.certificate, why))?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}
