//! Errors, sorted by what the caller can do.

use std::io;

use rustix::io::Errno;

/// The outcome of an operation on layers.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on layers failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive (or a name given by the user) is malformed or hostile; trying again will not help.
    #[error("{0}")]
    Invalid(String),
    /// There is no such layer or snapshot.
    #[error("{0}")]
    NotFound(String),
    /// The layer is below a container.
    #[error("{0}")]
    InUse(String),
    /// There is such a snapshot already, or something of another kind is in the way.
    #[error("{0}")]
    Conflict(String),
    /// The system refused: a full disk, a missing permission, an error of the source that was being read.
    #[error(transparent)]
    System(#[from] hull_sys::Error),
}

impl Error {
    /// An archive that is not to be unpacked.
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }

    /// A failed read of the archive. Sources report their own trouble (a wrong checksum of the compressed
    /// stream, say) as errors without an `errno`: that is the archive's fault, not the system's.
    pub(crate) fn reading(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(_) => Self::System(hull_sys::Error::new("read", "archive", error)),
            None => Self::Invalid(format!("read archive: {error}")),
        }
    }

    /// A failed write of an archive.
    pub(crate) fn writing(error: io::Error) -> Self {
        Self::System(hull_sys::Error::new("write", "archive", error))
    }
}

/// What the archive says cannot be done on a file system: the archive's fault, not the system's.
pub(crate) fn blame_archive(error: hull_sys::Error, path: &std::path::Path) -> Error {
    let theirs = [
        Errno::NAMETOOLONG,
        Errno::LOOP,
        Errno::NOTDIR,
        Errno::EXIST,
        Errno::NOENT,
        Errno::XDEV,
        Errno::INVAL,
        Errno::ISDIR,
        Errno::MLINK,
    ];
    if theirs.iter().any(|errno| error.is(*errno)) {
        let reason = io::Error::from_raw_os_error(error.errno);
        return Error::Invalid(format!("unpack {}: {}: {reason}", path.display(), error.op));
    }
    Error::System(error)
}
