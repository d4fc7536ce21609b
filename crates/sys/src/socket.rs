//! What the kernel knows of a socket: unix(7).

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd};

use crate::{Context, Result};

/// Bytes sent through a connected unix socket that its peer has not read yet, as the kernel accounts for them: more
/// than were sent, and 0 only when all are read.
///
/// # Errors
/// What `ioctl` fails with: `EINVAL` for a socket that listens, `ENOTTY` for what is no socket.
pub fn unread(socket: &impl AsFd) -> Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int, which lives until the call returns.
    match unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } {
        0 => Ok(usize::try_from(bytes).unwrap_or_default()),
        _ => Err(std::io::Error::last_os_error()).op("ioctl SIOCOUTQ"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_was_sent_is_unread_until_it_is_read() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        assert_eq!(unread(&here).unwrap(), 0);
        here.write_all(b"head").unwrap();
        assert!(unread(&here).unwrap() >= 4);
        there.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(unread(&here).unwrap(), 0);
        assert!(unread(&std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
