//! What can go wrong with networks, sorted by what the caller can do about it.

/// The outcome of an operation on networks.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal or a failure. The text is what a user of Docker knows, without a prefix of the engine's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such network or endpoint (404).
    #[error("{0}")]
    NotFound(String),
    /// The request itself makes no sense (400).
    #[error("{0}")]
    Invalid(String),
    /// The name is taken, or several networks match it (409).
    #[error("{0}")]
    Conflict(String),
    /// The state does not allow it: a predefined network, endpoints in use, a taken address (403).
    #[error("{0}")]
    Forbidden(String),
    /// Hull does not have it (501).
    #[error("{0}")]
    NotSupported(String),
    /// A port, an address or an interface is used up or held by somebody else (409).
    #[error("{0}")]
    Unavailable(String),
    /// Somebody else's program, to which the work was left, has failed (500).
    #[error("{0}")]
    Foreign(String),
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] hull_sys::Error),
    /// The database refused.
    #[error("network records: {0}")]
    Records(#[from] rusqlite::Error),
}

impl Error {
    pub(crate) fn no_network(name: &str) -> Self {
        Self::NotFound(format!("network {name} not found"))
    }

    /// The failure of publishing a port, with the endpoint it was wanted for.
    pub(crate) fn publishing(endpoint: &str, id: &str, cause: impl std::fmt::Display) -> Self {
        Self::Unavailable(format!(
            "driver failed programming external connectivity on endpoint {endpoint} ({id}): {cause}"
        ))
    }
}
