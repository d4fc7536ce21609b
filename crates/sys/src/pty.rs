//! Pseudoterminals: pts(4), ioctl_tty(2).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::{Context, Result};

/// The two ends of a new terminal, both close-on-exec.
#[derive(Debug)]
pub struct Pair {
    /// The supervisor's end.
    pub master: OwnedFd,
    /// The program's end: a terminal.
    pub slave: OwnedFd,
}

/// Makes a terminal in the devpts instance whose root is `devpts` ("/dev/pts" of a container).
///
/// The slave comes from the master itself (TIOCGPTPEER), not from a path that somebody could have exchanged.
/// Neither end becomes the caller's controlling terminal.
pub fn open(devpts: impl AsFd) -> Result<Pair> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = rustix::fs::openat(devpts, "ptmx", flags, Mode::empty()).on("open", "ptmx")?;
    rustix::pty::unlockpt(&master).op("unlock terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).op("open terminal")?;
    Ok(Pair { master, slave })
}

/// Sets the size in characters (either end will do); the foreground process group gets SIGWINCH.
pub fn resize(terminal: impl AsFd, rows: u16, cols: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).op("resize terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_one_end_is_read_at_the_other() {
        let devpts = rustix::fs::open("/dev/pts", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let pair = open(devpts.expect("/dev/pts")).expect("a terminal");
        rustix::io::write(&pair.slave, b"out").expect("write");
        let mut buffer = [0; 8];
        let count = rustix::io::read(&pair.master, &mut buffer[..]).expect("read");
        assert_eq!(&buffer[..count], b"out");
        resize(&pair.master, 33, 44).expect("resize");
        let size = rustix::termios::tcgetwinsize(&pair.slave).expect("size");
        assert_eq!((size.ws_row, size.ws_col), (33, 44));
    }
}
