//! On x86, `socketcall` and `ipc` are many calls in one: their first argument selects which.
//!
//! A rule for `socket` must hold for both ways of making a socket, or a denial could be walked around.
//! The selected call's own arguments lie in memory, where no filter can look, so a rule with conditions
//! reaches through here only if it denies.

use hull_oci::runtime::LinuxSeccompArg;

use super::policy::masked;

/// The calls behind `socketcall`, from 1: `linux/net.h`.
const SOCKETCALL: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// The calls behind `ipc`: `linux/ipc.h`.
const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// The call that `name` also goes by, and the condition that selects it there.
pub(super) fn selector(name: &str) -> Option<(&'static str, LinuxSeccompArg)> {
    if let Some(at) = SOCKETCALL.iter().position(|call| *call == name) {
        return Some(("socketcall", masked(0, u64::from(u32::MAX), at as u64 + 1)));
    }
    // The upper half of ipc's selector is a version, which the kernel takes off.
    let (_, selector) = IPC.iter().find(|(call, _)| *call == name)?;
    Some(("ipc", masked(0, 0xffff, *selector)))
}
