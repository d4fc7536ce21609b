//! An asynchronous client of the Engine API, light enough for a command that lives two milliseconds: HTTP/1.1 on a
//! unix or TCP socket, no TLS, no resolver of its own, connections kept while they are idle.
//!
//! ```no_run
//! # async fn example() -> Result<(), hull_api::client::Error> {
//! use hull_api::client::Client;
//! use hull_api::wire::container::ContainerSummary;
//!
//! let client = Client::new("unix:///run/hull/hull.sock".parse()?);
//! let running: Vec<ContainerSummary> = client.get(["containers", "json"]).query("limit", "10").read().await?;
//! # Ok(()) }
//! ```

mod answer;
mod call;
mod connection;
mod host;

pub use answer::{Body, Hijacked, Messages};
pub use call::Call;
pub use connection::Stream;
pub use host::{Host, InvalidHost};
pub use http::HeaderMap as Headers;

use crate::version::{self, ApiVersion};
use connection::Sender;
use http::{Method, StatusCode};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a call has no answer, or not the one wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No daemon answers at this address.
    #[error("{}", unreachable(host, source))]
    Unreachable {
        /// The address.
        host: Host,
        /// What connecting said.
        source: io::Error,
    },
    /// The daemon refused.
    #[error("Error response from daemon: {message}")]
    Refused {
        /// The status of its answer, 400 or more.
        status: StatusCode,
        /// Its own words.
        message: String,
    },
    /// The connection broke, or was not HTTP.
    #[error("error during connect: {0}")]
    Broken(#[from] hyper::Error),
    /// Reading or writing a hijacked connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The answer is not of the shape that the API promises.
    #[error("read the daemon's answer to {path}: {source}")]
    Malformed {
        /// Which call.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The address of the daemon is none.
    #[error(transparent)]
    Host(#[from] InvalidHost),
    /// The call itself cannot be written as HTTP.
    #[error("{0}")]
    Request(#[from] http::Error),
}

impl Error {
    /// The status, if the daemon refused.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the daemon said that the thing is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }
}

/// What a user reads if nothing answers.
fn unreachable(host: &Host, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("permission denied while trying to connect to the hull daemon socket at {host}: {source}")
        }
        _ => format!("Cannot connect to the Hull daemon at {host}. Is the hull daemon running?"),
    }
}

/// One daemon, spoken to.
#[derive(Debug)]
pub struct Client {
    host: Host,
    version: ApiVersion,
    idle: Mutex<Vec<Sender>>,
}

impl Client {
    /// A client that speaks the newest version. Nothing is connected yet.
    pub fn new(host: Host) -> Self {
        Client { host, version: version::MAX, idle: Mutex::default() }
    }

    /// The daemon's address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The version that calls are made in.
    pub fn version(&self) -> ApiVersion {
        self.version
    }

    /// Speaks this version from now on.
    pub fn set_version(&mut self, version: ApiVersion) {
        self.version = version;
    }

    /// Opens a connection ahead of the first call, which will use it.
    pub async fn open(&self) -> Result<(), Error> {
        let sender = connection::connect(&self.host).await?;
        self.keep(sender);
        Ok(())
    }

    /// Asks the daemon which version it speaks, and steps down to it if it is older.
    pub async fn negotiate(&mut self) -> Result<ApiVersion, Error> {
        if let Some(theirs) = self.ping().await? {
            self.version = self.version.min(theirs);
        }
        Ok(self.version)
    }

    /// Whether the daemon answers, and its newest version if it tells.
    pub async fn ping(&self) -> Result<Option<ApiVersion>, Error> {
        let headers = Call::unversioned(self, Method::HEAD, "/_ping").headers().await?;
        let header = headers.get("api-version").and_then(|value| value.to_str().ok());
        Ok(header.and_then(|value| value.parse().ok()))
    }

    /// Starts a GET of the path with these segments.
    pub fn get<const N: usize>(&self, path: [&str; N]) -> Call<'_> {
        Call::new(self, Method::GET, &path)
    }

    /// Starts a HEAD.
    pub fn head<const N: usize>(&self, path: [&str; N]) -> Call<'_> {
        Call::new(self, Method::HEAD, &path)
    }

    /// Starts a POST.
    pub fn post<const N: usize>(&self, path: [&str; N]) -> Call<'_> {
        Call::new(self, Method::POST, &path)
    }

    /// Starts a PUT.
    pub fn put<const N: usize>(&self, path: [&str; N]) -> Call<'_> {
        Call::new(self, Method::PUT, &path)
    }

    /// Starts a DELETE.
    pub fn delete<const N: usize>(&self, path: [&str; N]) -> Call<'_> {
        Call::new(self, Method::DELETE, &path)
    }

    /// A connection that is ready for a request: an idle one, or a new one.
    async fn connection(&self) -> Result<Sender, Error> {
        loop {
            let Some(mut idle) = self.idle().pop() else { break };
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        connection::connect(&self.host).await
    }

    /// Takes a connection back whose answer was read to its end.
    fn keep(&self, sender: Sender) {
        if !sender.is_closed() {
            self.idle().push(sender);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sender>> {
        // A list of connections is whole whatever a panicking holder did.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
