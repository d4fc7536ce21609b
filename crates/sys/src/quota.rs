//! Project quotas: quotactl(2) by descriptor, ioctl_xfs_fsgetxattr(2), linux/dqblk_xfs.h.
//!
//! A file system mounted with `prjquota` counts blocks by the project that files belong to, and bounds them. A new file
//! belongs to its directory's project where the directory says so. The calls are the same for xfs and ext4.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::error::{Context, Result};

const PROJECTS: u32 = 2;
const LIMITS_OF: u32 = 0x5803;
const SET_LIMITS: u32 = 0x5804;
const STATE: u32 = 0x5805;
/// Counted and enforced.
const ENFORCED: u16 = 1 << 4 | 1 << 5;
const SOFT_AND_HARD_BLOCKS: u16 = 1 << 2 | 1 << 3;
const OF_A_PROJECT: i8 = 2;
/// What limits are counted in.
const BLOCK: u64 = 512;

const GET_ATTRIBUTES: libc::c_ulong = 0x801c_581f;
const SET_ATTRIBUTES: libc::c_ulong = 0x401c_5820;
const INHERITED: u32 = 0x200;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct fs_disk_quota`, with those that are not in use as `rest`.
#[repr(C)]
#[derive(Default)]
struct Limits {
    version: i8,
    kind: i8,
    fields: u16,
    id: u32,
    hard_blocks: u64,
    soft_blocks: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    blocks: u64,
    inodes: u64,
    rest: [u64; 7],
}

/// `struct fs_quota_stat`, likewise.
#[repr(C)]
#[derive(Default)]
struct State {
    version: i8,
    flags: u16,
    rest: [u64; 9],
}

/// Whether the file system of `file` bounds projects. One that cannot tell does not.
pub fn is_enforced(file: impl AsFd) -> bool {
    let mut state = State::default();
    // SAFETY: this command writes one `struct fs_quota_stat`.
    unsafe { control(file, STATE, 0, &mut state) }.is_ok() && state.flags & ENFORCED == ENFORCED
}

/// Whether anything is known of the project: it has files, or limits.
pub fn is_used(file: impl AsFd, project: u32) -> Result<bool> {
    let mut limits = Limits::default();
    // SAFETY: this command writes one `struct fs_disk_quota`.
    match unsafe { control(file, LIMITS_OF, project, &mut limits) } {
        Err(Errno::NOENT) => Ok(false),
        got => {
            got.op("quotactl")?;
            Ok([limits.blocks, limits.inodes, limits.hard_blocks].iter().any(|number| *number > 0))
        }
    }
}

/// Lets the files of the project take up to `bytes` (rounded down to 512); 0: as much as there is.
pub fn set_limit(file: impl AsFd, project: u32, bytes: u64) -> Result<()> {
    let blocks = bytes / BLOCK;
    let mut limits = Limits {
        version: 1,
        kind: OF_A_PROJECT,
        fields: SOFT_AND_HARD_BLOCKS,
        id: project,
        hard_blocks: blocks,
        soft_blocks: blocks,
        ..Limits::default()
    };
    // SAFETY: this command reads one `struct fs_disk_quota`.
    unsafe { control(file, SET_LIMITS, project, &mut limits) }.op("quotactl")
}

/// The project that an open file or directory belongs to; 0: none.
pub fn project(file: impl AsFd) -> Result<u32> {
    Ok(attributes(file)?.project)
}

/// Makes a directory, and all that is made in it from now on, a part of the project.
pub fn set_project(directory: impl AsFd, project: u32) -> Result<()> {
    let mut attributes = attributes(&directory)?;
    attributes.project = project;
    attributes.flags |= INHERITED;
    // SAFETY: the kernel reads one `struct fsxattr` from there.
    let done =
        unsafe { libc::ioctl(directory.as_fd().as_raw_fd(), SET_ATTRIBUTES as _, &raw const attributes) };
    if done < 0 { Err(std::io::Error::last_os_error()).op("set project") } else { Ok(()) }
}

fn attributes(file: impl AsFd) -> Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes one `struct fsxattr` there.
    let done = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), GET_ATTRIBUTES as _, &raw mut attributes) };
    if done < 0 { Err(std::io::Error::last_os_error()).op("get project") } else { Ok(attributes) }
}

/// Asks for one thing, by quotactl_fd(2): no path of a block device is needed. It exists since Linux 5.14.
///
/// # Safety
/// `T` must be the structure that `command` reads or writes.
unsafe fn control<T>(
    file: impl AsFd,
    command: u32,
    project: u32,
    data: &mut T,
) -> std::result::Result<(), Errno> {
    let (fd, command) = (file.as_fd().as_raw_fd(), command << 8 | PROJECTS);
    // SAFETY: `data` is alive for the call and nobody else's; the caller vouches for its kind.
    let done =
        unsafe { libc::syscall(libc::SYS_quotactl_fd, fd, command, project, std::ptr::from_mut(data)) };
    match done {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!(size_of::<Limits>(), 112);
        assert_eq!(size_of::<State>(), 80);
    }

    #[test]
    fn proc_has_no_projects() {
        let proc = std::fs::File::open("/proc").expect("/proc");
        assert!(!is_enforced(&proc));
        assert!(project(&proc).is_err());
    }
}
