//! Errors sorted by what the caller can do about them; the text is what Docker's users know.

use std::fmt;

use rustix::io::Errno;

/// The outcome of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about a failure. The daemon maps each to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The named object does not exist.
    NotFound,
    /// The request itself is wrong and will never succeed.
    Invalid,
    /// The request is right, but not in the object's present state.
    Conflict,
    /// The object already is as asked for; nothing was done.
    NotModified,
    /// The operation is not allowed.
    Forbidden,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Something outside (a registry, a helper) does not answer now; a retry may help.
    Unavailable,
    /// Hull cannot do this yet.
    NotImplemented,
    /// The machine failed us.
    System,
}

/// A failed engine operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What the caller can do about it.
    pub kind: Kind,
    /// The message for the user, the causes included.
    pub message: String,
}

impl Error {
    /// An error of `kind` that reads `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The object's state forbids it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Hull cannot do this yet.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(Kind::NotImplemented, message)
    }

    /// The machine failed us.
    pub fn system(message: impl Into<String>) -> Self {
        Self::new(Kind::System, message)
    }

    /// The same error with `context` in front of its message.
    #[must_use]
    pub fn within(self, context: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{context}: {}", self.message) }
    }
}

/// What the system says of a failure, in the form that messages of Docker end with: lower case, without a number.
pub(crate) fn said(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<hull_sys::Error> for Error {
    fn from(error: hull_sys::Error) -> Self {
        Self::system(error.to_string())
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::system(format!("container database: {error}"))
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::system(format!("worker thread: {error}"))
    }
}

impl From<hull_image::Error> for Error {
    fn from(error: hull_image::Error) -> Self {
        use hull_image::Error as Image;
        let kind = match error {
            Image::NotFound(_) => Kind::NotFound,
            Image::Invalid(_) => Kind::Invalid,
            Image::Conflict(_) => Kind::Conflict,
            Image::Unauthorized(_) => Kind::Unauthorized,
            Image::Unavailable(_) => Kind::Unavailable,
            Image::NotSupported(_) => Kind::NotImplemented,
            Image::System(_) => Kind::System,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<hull_snapshot::Error> for Error {
    fn from(error: hull_snapshot::Error) -> Self {
        use hull_snapshot::Error as Snapshot;
        let kind = match error {
            Snapshot::Invalid(_) => Kind::Invalid,
            Snapshot::NotFound(_) => Kind::NotFound,
            Snapshot::InUse(_) | Snapshot::Conflict(_) => Kind::Conflict,
            Snapshot::System(_) => Kind::System,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<hull_cgroup::Error> for Error {
    fn from(error: hull_cgroup::Error) -> Self {
        use hull_cgroup::Error as Cgroup;
        let kind = match &error {
            // Limits that make no sense, also those of which only the kernel knows it.
            Cgroup::Invalid(_) => Kind::Invalid,
            Cgroup::System(why) if why.is(Errno::INVAL) => Kind::Invalid,
            Cgroup::Unsupported(_) | Cgroup::NotFound(_) | Cgroup::System(_) => Kind::System,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<hull_network::Error> for Error {
    fn from(error: hull_network::Error) -> Self {
        use hull_network::Error as Network;
        // What no link of the kernel can be or have, only the kernel knows.
        let wrong = [Errno::INVAL, Errno::RANGE, Errno::ADDRNOTAVAIL, Errno::NETUNREACH];
        let kind = match &error {
            Network::NotFound(_) => Kind::NotFound,
            Network::Invalid(_) => Kind::Invalid,
            // Whoever frees a port or an address can start it then.
            Network::Conflict(_) | Network::Unavailable(_) => Kind::Conflict,
            Network::Forbidden(_) => Kind::Forbidden,
            Network::NotSupported(_) => Kind::NotImplemented,
            Network::System(why) if wrong.iter().any(|errno| why.is(*errno)) => Kind::Invalid,
            Network::Foreign(_) | Network::System(_) | Network::Records(_) => Kind::System,
        };
        Self::new(kind, error.to_string())
    }
}
