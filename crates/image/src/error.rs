//! Errors sorted by what the caller can do about them; the texts are those that Docker's users know.

use hull_oci::{Digest, Reference};

/// The outcome of an image operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed image operation. Display is the whole message for the user, causes included.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image, tag or remote repository does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request or the data (an archive, a manifest) is wrong and will never succeed.
    #[error("{0}")]
    Invalid(String),
    /// The image is in use, or in the way.
    #[error("{0}")]
    Conflict(String),
    /// Credentials are missing or wrong.
    #[error("{0}")]
    Unauthorized(String),
    /// A registry does not answer, or not sensibly; a retry may help.
    #[error("{0}")]
    Unavailable(String),
    /// Hull cannot do this yet.
    #[error("{0}")]
    NotSupported(String),
    /// The machine failed us.
    #[error("{0}")]
    System(String),
}

impl Error {
    /// No image of that name or id is in the store.
    pub(crate) fn no_such_image(name: &str) -> Self {
        let name = match Reference::parse(name) {
            Ok(reference) => reference.with_default_tag().familiar(),
            Err(_) => name.to_owned(),
        };
        Self::NotFound(format!("No such image: {name}"))
    }

    /// Content that is not what its digest says; `what` is "manifest", "filesystem layer", …
    pub(crate) fn wrong_digest(what: &str, expected: &Digest, found: &Digest) -> Self {
        Self::Invalid(format!("{what} verification failed for digest {expected}: its content is {found}"))
    }

    /// Puts what was being done before the cause.
    pub(crate) fn within(self, operation: &str) -> Self {
        let add = |cause: String| format!("{operation}: {cause}");
        match self {
            Self::NotFound(cause) => Self::NotFound(add(cause)),
            Self::Invalid(cause) => Self::Invalid(add(cause)),
            Self::Conflict(cause) => Self::Conflict(add(cause)),
            Self::Unauthorized(cause) => Self::Unauthorized(add(cause)),
            Self::Unavailable(cause) => Self::Unavailable(add(cause)),
            Self::NotSupported(cause) => Self::NotSupported(add(cause)),
            Self::System(cause) => Self::System(add(cause)),
        }
    }
}

impl From<hull_oci::ReferenceError> for Error {
    fn from(error: hull_oci::ReferenceError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Names the operation and its object on an I/O error, which names neither.
pub(crate) trait Context<T> {
    /// `operation object: cause`.
    fn on(self, operation: &str, object: impl AsRef<std::path::Path>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn on(self, operation: &str, object: impl AsRef<std::path::Path>) -> Result<T> {
        self.map_err(|error| {
            let cause = error.into();
            Error::System(format!("{operation} {}: {cause}", object.as_ref().display()))
        })
    }
}
