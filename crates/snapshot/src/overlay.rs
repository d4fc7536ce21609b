//! How deletions are written: in archives as the OCI image specification says ("Whiteouts", inherited from
//! AUFS), on disk as overlayfs does (kernel documentation, filesystems/overlayfs, "whiteouts and opaque
//! directories").

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use hull_sys::xattr;
use rustix::fs::{FileType, Stat};

/// In an archive: the prefix of a name that is deleted.
const PREFIX: &[u8] = b".wh.";

/// In an archive: the prefix of AUFS's own files, which are of no meaning to anybody else.
const META: &[u8] = b".wh..wh.";

/// In an archive: the file that says that its directory hides what the layers below have there.
pub(crate) const OPAQUE_MARK: &str = ".wh..wh..opq";

/// On disk: the attribute of such a directory, with the value `y`.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// On disk: the attributes that control overlayfs. They never enter from an archive and never leave to one.
const CONTROL: &[u8] = b"trusted.overlay.";

/// What the last component of a path in a layer archive stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A file like any other.
    None,
    /// The directory is opaque.
    Opaque,
    /// This name is deleted.
    Deleted(OsString),
    /// To be skipped.
    Meta,
    /// A whiteout of nothing, or of a name that would lead elsewhere.
    Invalid,
}

/// Reads the last component of a path in a layer archive.
pub(crate) fn mark(name: &OsStr) -> Mark {
    let name = name.as_bytes();
    if name == OPAQUE_MARK.as_bytes() {
        return Mark::Opaque;
    }
    if name.starts_with(META) {
        return Mark::Meta;
    }
    match name.strip_prefix(PREFIX) {
        None => Mark::None,
        Some(b"" | b"." | b"..") => Mark::Invalid,
        Some(deleted) => Mark::Deleted(OsString::from_vec(deleted.to_vec())),
    }
}

/// The name that says in an archive that `name` is deleted.
pub(crate) fn whiteout_name(name: &OsStr) -> OsString {
    OsString::from_vec([PREFIX, name.as_bytes()].concat())
}

/// Whether a file on disk stands for a deleted name.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether a directory on disk hides what is below it.
pub(crate) fn is_opaque(dir: impl AsFd) -> hull_sys::Result<bool> {
    Ok(xattr::get(dir, OsStr::new(OPAQUE))?.as_deref() == Some(b"y"))
}

/// Whether an attribute of a file belongs into archives, and may come from one.
///
/// Labels of security modules describe this host, not the file; of `security.` only the capabilities travel.
pub(crate) fn travels(attribute: &OsStr) -> bool {
    let name = attribute.as_bytes();
    let namespaces: [&[u8]; 3] = [b"user.", b"trusted.", b"system.posix_acl_"];
    !name.starts_with(CONTROL)
        && (name == b"security.capability" || namespaces.iter().any(|space| name.starts_with(space)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read() {
        let read = |name: &str| mark(OsStr::new(name));
        assert_eq!(read("file"), Mark::None);
        assert_eq!(read(".wh"), Mark::None);
        assert_eq!(read(".wh.file"), Mark::Deleted("file".into()));
        assert_eq!(read(".wh..hidden"), Mark::Deleted(".hidden".into()));
        assert_eq!(read(".wh..wh..opq"), Mark::Opaque);
        assert_eq!(read(".wh..wh.plnk"), Mark::Meta);
        assert_eq!(read(".wh."), Mark::Invalid);
        assert_eq!(read(".wh.."), Mark::Invalid);
        assert_eq!(read(".wh..."), Mark::Invalid);
    }

    #[test]
    fn control_attributes_do_not_travel() {
        let travel = |name: &str| travels(OsStr::new(name));
        assert!(travel("user.x") && travel("security.capability") && travel("trusted.x"));
        assert!(!travel("trusted.overlay.redirect") && !travel("trusted.overlay.opaque"));
        assert!(!travel("security.selinux") && !travel("system.nfs4_acl"));
    }
}
