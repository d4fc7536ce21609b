//! One failed system call: what was being done, to which object, and why it failed.

use std::fmt;
use std::path::Path;

/// The outcome of a system call.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed system call: the operation, its object and the `errno` of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What was being done, in the words of the man page ("mount", "openat2").
    pub op: &'static str,
    /// The object it was done to: a path, a name, a pid. Empty where there is none.
    pub object: String,
    /// The kernel's answer, as in errno(3); 0 where the operation and its object say it all.
    pub errno: i32,
}

impl Error {
    /// A failure of `op` on `object`.
    pub fn new(op: &'static str, object: impl Into<String>, errno: impl Into<Errno>) -> Self {
        Self { op, object: object.into(), errno: errno.into().0 }
    }

    /// Whether the kernel answered with this error.
    pub fn is(&self, errno: rustix::io::Errno) -> bool {
        self.errno == errno.raw_os_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, object, errno } = self;
        let space = if object.is_empty() { "" } else { " " };
        match errno {
            0 => write!(f, "{op}{space}{object}"),
            _ => write!(f, "{op}{space}{object}: {}", std::io::Error::from_raw_os_error(*errno)),
        }
    }
}

impl std::error::Error for Error {}

/// An `errno` from any of the places that hand one out.
#[derive(Debug, Clone, Copy)]
pub struct Errno(pub i32);

impl From<i32> for Errno {
    fn from(raw: i32) -> Self {
        Self(raw)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// Adds the operation and its object to a bare `errno`.
pub trait Context<T> {
    /// Names the operation; the object is empty.
    fn op(self, op: &'static str) -> Result<T>;
    /// Names the operation and the path it was done to.
    fn on(self, op: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<Errno>> Context<T> for std::result::Result<T, E> {
    fn op(self, op: &'static str) -> Result<T> {
        self.map_err(|errno| Error::new(op, "", errno))
    }

    fn on(self, op: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|errno| Error::new(op, path.as_ref().to_string_lossy(), errno))
    }
}
