//! What a command failed with.

use std::fmt;
use std::path::Path;

use hull_runtime::Failure;

/// The outcome of a command or a part of one.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A message for the user, and the status that the command ends with.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    code: u8,
}

impl Error {
    /// A failure in doing what was asked.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// The same failure, of a command that ends with another status.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// A failed operation on a file.
    pub(crate) fn file(op: &str, path: impl AsRef<Path>, error: impl Into<std::io::Error>) -> Self {
        let error: std::io::Error = error.into();
        Self::new(format!("{op} {}: {error}", path.as_ref().display()))
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<hull_sys::Error> for Error {
    fn from(error: hull_sys::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<hull_cgroup::Error> for Error {
    fn from(error: hull_cgroup::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.to_string())
    }
}

impl From<hull_runtime::criu::Error> for Error {
    fn from(error: hull_runtime::criu::Error) -> Self {
        Self::new(error.to_string())
    }
}
