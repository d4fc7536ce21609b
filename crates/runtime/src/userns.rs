//! The maps of user namespaces: user_namespaces(7).

use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Command;

use hull_oci::runtime::{LinuxIdMapping, Spec};
use hull_sys::clone::{self, Clone, Namespace, Namespaces, Side};
use hull_sys::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::channel::Channel;

/// The maps of users and of groups.
pub(crate) type Maps<'a> = (&'a [LinuxIdMapping], &'a [LinuxIdMapping]);

/// Writes the maps of the namespace that process `pid` was born into. Who may not does so for himself alone (a single
/// id, without supplementary groups), or by newuidmap(1) and newgidmap(1), which know what he may have.
pub(crate) fn write_maps(pid: i32, (users, groups): Maps<'_>) -> Result<()> {
    let privileged = rustix::process::geteuid().is_root();
    let itself =
        |maps: &[LinuxIdMapping], id: u32| matches!(maps, [one] if one.size() == 1 && one.host_id() == id);
    let own_user = itself(users, rustix::process::geteuid().as_raw());
    let own_group = itself(groups, rustix::process::getegid().as_raw());
    if privileged || own_user {
        write(pid, "uid_map", &text(users))?;
    } else {
        by_helper("newuidmap", pid, users)?;
    }
    if !privileged && own_group {
        // Who could drop a group could get at what is denied to it.
        write(pid, "setgroups", "deny")?;
    }
    if privileged || own_group {
        write(pid, "gid_map", &text(groups))
    } else {
        by_helper("newgidmap", pid, groups)
    }
}

/// A user namespace with these maps, which no process is in.
pub(crate) fn with_maps(maps: Maps<'_>) -> Result<OwnedFd> {
    let (ours, theirs) = Channel::pair()?;
    let what = Clone { namespaces: Namespaces::from_iter([Namespace::User]), ..Clone::default() };
    let child = match clone::clone(&what)? {
        Side::Parent(child) => child,
        Side::Child => {
            drop(ours);
            // Killed, or told by the end of the line that the parent is gone.
            let _ = theirs.receive();
            clone::exit_now(0)
        }
    };
    let pid = child.pid.as_raw_nonzero().get();
    let made = write_maps(pid, maps).and_then(|()| open(pid));
    // It waits for its end and cannot refuse it.
    let _ = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
    let ended =
        rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(child.pid), WaitIdOptions::EXITED));
    ended.op("waitid")?;
    made
}

/// The user and group of the host that a container's root is by the maps of its specification.
pub fn root(spec: &Spec) -> Option<(u32, u32)> {
    let linux = spec.linux().as_ref()?;
    let root = |maps: &Option<Vec<LinuxIdMapping>>| {
        maps.iter().flatten().find(|map| map.container_id() == 0).map(LinuxIdMapping::host_id)
    };
    Some((root(linux.uid_mappings())?, root(linux.gid_mappings())?))
}

fn open(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)
}

fn text(maps: &[LinuxIdMapping]) -> String {
    let mut text = String::new();
    for map in maps {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {}", map.container_id(), map.host_id(), map.size());
    }
    text
}

fn by_helper(program: &'static str, pid: i32, maps: &[LinuxIdMapping]) -> Result<()> {
    let numbers = maps.iter().flat_map(|map| [map.container_id(), map.host_id(), map.size()]);
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
    let output = command.output().on("run", program)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Error::new(program, said, Errno::PERM))
}

fn write(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    let mut file = File::options().write(true).open(&path).on("open", &path)?;
    // In one piece, as the kernel wants it.
    std::io::Write::write_all(&mut file, text.as_bytes()).on("write", format!("{path}: {}", text.trim_end()))
}
