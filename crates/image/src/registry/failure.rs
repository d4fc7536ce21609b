//! What went wrong with a registry, and how Docker tells its users.

use std::error::Error as _;

use hull_oci::Reference;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use crate::error::Error;

/// The most of an error's text that is read.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

/// The most of a text that is no error's of the protocol which users are shown.
const SHOWN_BODY: usize = 256;

/// A request without a usable answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The registry answered, with no.
    Refused(Refusal),
    /// No answer came, or half of one.
    Unreachable(String),
    /// It is our side: a full disk, a wrong digest.
    Local(Error),
}

/// The registry's no.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// As the protocol has it, `MANIFEST_UNKNOWN`; empty if the registry gave none.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
    /// `Get "https://…"`, where the message needs it.
    request: String,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<Item>,
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Local(error)
    }
}

impl Refusal {
    /// Reads an error's body, in the protocol's form or in that of token servers.
    pub(super) fn new(method: &str, url: &Url, status: StatusCode, body: &[u8]) -> Self {
        let request = request(method, url);
        let known: Option<Body> = serde_json::from_slice(body).ok();
        let (errors, details) = known.map(|known| (known.errors, known.details)).unwrap_or_default();
        if let Some(Item { code, message }) = errors.into_iter().next() {
            return Self { status, code, message, request };
        }
        let message = match status {
            _ if !details.is_empty() => details,
            StatusCode::UNAUTHORIZED => "authentication required".to_owned(),
            _ if body.is_empty() => format!("unexpected status from the registry: {status}"),
            _ => {
                let start = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BODY)]);
                format!("error parsing HTTP {} response body: no error in it: {start:?}", status.as_u16())
            }
        };
        Self { status, code: String::new(), message, request }
    }

    /// What a 401's challenge says, for it says more than the body.
    pub(super) fn challenged(method: &str, url: &Url, error: &str) -> Option<Self> {
        let (code, message) = match error {
            "insufficient_scope" => ("DENIED", "requested access to the resource is denied"),
            "invalid_token" => ("UNAUTHORIZED", "authentication required"),
            _ => return None,
        };
        let (code, message) = (code.to_owned(), message.to_owned());
        Some(Self { status: StatusCode::UNAUTHORIZED, code, message, request: request(method, url) })
    }

    /// Docker's words for the whole.
    fn text(&self) -> String {
        if !self.code.is_empty() {
            return format!("{}: {}", self.code.to_lowercase().replace('_', " "), self.message);
        }
        match (self.status, self.message.as_str()) {
            (StatusCode::UNAUTHORIZED, "") => format!("{}: no basic auth credentials", self.request),
            (StatusCode::UNAUTHORIZED, message) => format!("{}: unauthorized: {message}", self.request),
            (_, message) => format!("{}: {message}", self.request),
        }
    }

    fn is(&self, code: &str) -> bool {
        self.code == code
    }
}

impl Failure {
    /// A credential that the registry asks for and nobody gave.
    pub(super) fn no_credentials(method: &str, url: &Url) -> Self {
        let request = request(method, url);
        let status = StatusCode::UNAUTHORIZED;
        Self::Refused(Refusal { status, code: String::new(), message: String::new(), request })
    }

    /// A request that broke, in Go's words where users know them.
    pub(super) fn broken(method: &str, url: &Url, error: &reqwest::Error) -> Self {
        Self::Unreachable(format!("{}: {}", request(method, url), cause(url, error)))
    }

    /// Whether trying again may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(refusal) => {
                refusal.status.is_server_error() || refusal.status == StatusCode::REQUEST_TIMEOUT
            }
            Self::Local(_) => false,
        }
    }

    /// Whether another host, or the same without TLS, may have an answer.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// The answer to who wanted to pull `name`.
    pub(crate) fn on_pull(self, name: &Reference) -> Error {
        let Self::Refused(refusal) = self else { return self.into_error() };
        let text = refusal.text();
        let plain = refusal.status == StatusCode::NOT_FOUND && refusal.code.is_empty();
        if refusal.is("DENIED") {
            let repository = name.familiar_name();
            return Error::NotFound(format!(
                "pull access denied for {repository}, repository does not exist or may require 'docker login': {text}"
            ));
        }
        if refusal.is("MANIFEST_UNKNOWN") {
            return Error::NotFound(format!("manifest for {} not found: {text}", name.familiar()));
        }
        if plain {
            let text = "manifest unknown: manifest unknown";
            return Error::NotFound(format!("manifest for {} not found: {text}", name.familiar()));
        }
        if refusal.is("NAME_UNKNOWN") {
            return Error::NotFound(format!("repository {} not found: {text}", name.familiar_name()));
        }
        Self::Refused(refusal).into_error()
    }

    /// The answer to who wanted anything else.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Local(error) => error,
            Self::Unreachable(text) => Error::Unavailable(text),
            Self::Refused(refusal) => {
                let text = refusal.text();
                match refusal.status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Unauthorized(text),
                    StatusCode::NOT_FOUND => Error::NotFound(text),
                    status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                        Error::Unavailable(text)
                    }
                    _ => Error::Invalid(text),
                }
            }
        }
    }
}

/// Go's `Get "url"`. Queries of redirected URLs are signed, so secret.
fn request(method: &str, url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let (first, rest) = method.split_at(1.min(method.len()));
    format!("{first}{} \"{url}\"", rest.to_lowercase())
}

/// The innermost cause; errors of libraries only wrap it.
fn cause(url: &Url, error: &reqwest::Error) -> String {
    let mut chain: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        chain.push(source.to_string());
        next = source.source();
    }
    let address =
        format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let last = chain.last().cloned().unwrap_or_else(|| error.to_string());
    let says = |text: &str| chain.iter().any(|cause| cause.contains(text));
    match () {
        () if says("Connection refused") => format!("dial tcp {address}: connect: connection refused"),
        () if says("failed to lookup address") => {
            format!("dial tcp: lookup {}: no such host", url.host_str().unwrap_or_default())
        }
        () if says("UnknownIssuer") => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        () if says("InvalidContentType") => "http: server gave HTTP response to HTTPS client".to_owned(),
        () if error.is_connect() && error.is_timeout() => format!("dial tcp {address}: i/o timeout"),
        () if error.is_timeout() => "net/http: request canceled (Client.Timeout exceeded)".to_owned(),
        () => last,
    }
}
