//! A process's terminal: one of the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};

use hull_sys::root::Root;
use hull_sys::{Context, Result, mount, pty};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::plan::refused;

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS_MAGIC: i32 = 0x1cd1;

/// Makes a terminal. What `/dev/pts` is, the container decides; that it is a devpts is checked on the descriptor.
pub(super) fn open(root: &Root, rows: u16, cols: u16) -> Result<pty::Pair> {
    let devpts = root.open_dir("/dev/pts")?;
    if mount::fs_magic(&devpts)? != DEVPTS_MAGIC {
        return Err(refused("open a terminal in", "/dev/pts".as_ref(), Errno::NOTTY));
    }
    let pair = pty::open(&devpts)?;
    if (rows, cols) != (0, 0) {
        pty::resize(&pair.slave, rows, cols)?;
    }
    Ok(pair)
}

/// Shows the terminal as `/dev/console`. The mount is made of the descriptor, not of the name `/dev/pts/0`, which
/// somebody could have exchanged (CVE-2025-52565).
pub(super) fn bind(root: &Root, slave: &OwnedFd) -> Result<()> {
    let console = "/dev/console";
    match root.create_file(console, 0o666) {
        Err(error) if error.is(Errno::EXIST) => {}
        made => drop(made?),
    }
    let place = root.open_at(console, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
    let copy = mount::open_tree_clone(slave.as_fd(), "", false)?;
    mount::move_to(copy.as_fd(), place.as_fd())
}

/// Makes the terminal the controlling one of a new session.
pub(super) fn control(slave: &OwnedFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(slave).op("set the controlling terminal")
}
