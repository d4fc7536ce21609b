//! The session keyring: session-keyring(7), keyctl(2).

use std::ffi::CStr;

use crate::{Context, Result};

/// `KEYCTL_JOIN_SESSION_KEYRING` and `KEYCTL_SETPERM` of `linux/keyctl.h`.
const JOIN_SESSION: libc::c_int = 1;
const SET_PERMISSIONS: libc::c_int = 5;

/// All for who has it; view, read, link and search for its user: without "search" nobody else joins it by name.
const PERMISSIONS: libc::c_ulong = 0x3f1b_0000;

/// Leaves the caller's session keyring for the one of that name, which is made if there is none. `ENOSYS`: the kernel
/// has no keys.
pub fn join_session(name: &CStr) -> Result<()> {
    let object = name.to_string_lossy();
    // SAFETY: the kernel reads a string that ends with a zero, which `CStr` is.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION, name.as_ptr()) };
    if serial < 0 {
        return Err(std::io::Error::last_os_error()).on("join session keyring", &*object);
    }
    // SAFETY: numbers only.
    let changed = unsafe { libc::syscall(libc::SYS_keyctl, SET_PERMISSIONS, serial, PERMISSIONS) };
    match changed {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).on("set permissions of keyring", &*object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> i64 {
        // `KEYCTL_GET_KEYRING_ID` (0) of the session keyring (-3), which is not to be made.
        // SAFETY: numbers only.
        unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 0) }
    }

    /// Keyrings belong to threads: each thread here stands for a process.
    #[test]
    fn a_keyring_is_joined_by_its_name() {
        let name = c"hull-test-keyring";
        let before = session();
        join_session(name).unwrap();
        let ours = session();
        assert_ne!(ours, before);
        std::thread::spawn(move || {
            join_session(c"hull-test-another").unwrap();
            assert_ne!(session(), ours);
            join_session(name).unwrap();
            assert_eq!(session(), ours);
        })
        .join()
        .unwrap();
    }
}
