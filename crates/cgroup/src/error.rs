//! What can go wrong, sorted by what the caller can do about it.

/// The outcome of an operation on a cgroup.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on a cgroup failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The path or the limit makes no sense: ask for something else.
    #[error("{0}")]
    Invalid(String),
    /// This host cannot enforce that limit: run without it, or elsewhere.
    #[error("{0}")]
    Unsupported(String),
    /// There is no such cgroup.
    #[error("no cgroup {0}")]
    NotFound(String),
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] hull_sys::Error),
}
