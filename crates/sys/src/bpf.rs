//! Programs of version 2 cgroups: bpf(2).
//!
//! The kernel asks every program attached to a cgroup and to its ancestors before a process of theirs does something;
//! one "no" is enough. A program is attached for as long as the cgroup lives (device programs, which containers keep
//! when nobody of ours is there), or by a [`Link`], for as long as that is open. The structures are those of
//! `linux/bpf.h`, up to the fields in use.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::error::{Context, Result};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_CGROUP_INET4_BIND: u32 = 8;
const BPF_CGROUP_INET6_BIND: u32 = 9;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;

/// More programs than any cgroup of ours has; the kernel's own bound is 64.
const MAX_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// What a program is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// May this device node be opened or made? (`struct bpf_cgroup_dev_ctx`)
    Device,
    /// May a socket be bound to this IPv4 address? (`struct bpf_sock_addr`)
    BindIpv4,
    /// May a socket be bound to this IPv6 address? (`struct bpf_sock_addr`)
    BindIpv6,
}

impl Question {
    /// The type of the program, the type of its attachment, and its name.
    fn types(self) -> (u32, u32, [u8; 16]) {
        match self {
            Self::Device => (BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, *b"hull_devices\0\0\0\0"),
            Self::BindIpv4 => {
                (BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_BIND, *b"hull_ports4\0\0\0\0\0")
            }
            Self::BindIpv6 => {
                (BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_BIND, *b"hull_ports6\0\0\0\0\0")
            }
        }
    }
}

/// One instruction in the kernel's layout (RFC 9669): opcode, destination and source register, offset, immediate.
pub fn instruction(op: u8, dst: u8, src: u8, offset: i16, immediate: u32) -> u64 {
    let registers = dst | (src << 4);
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = immediate.to_ne_bytes();
    u64::from_ne_bytes([op, registers, o0, o1, i0, i1, i2, i3])
}

/// Checks and loads a program; the descriptor keeps it alive.
pub fn load(question: Question, instructions: &[u64]) -> Result<OwnedFd> {
    let (prog_type, expected_attach_type, prog_name) = question.types();
    let mut attr = Load {
        prog_type,
        insn_cnt: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        insns: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        prog_name,
        expected_attach_type,
        ..Load::default()
    };
    // SAFETY: `insns` points to `insn_cnt` instructions and `license` to a C string, both alive for the call.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attr) }.op("bpf(PROG_LOAD)")?;
    // SAFETY: the kernel has just returned this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A program that is attached to a cgroup until this is dropped, whatever becomes of the process.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Attaches a program of `question` beside what is attached to the cgroup already.
    pub fn attach(question: Question, cgroup: impl AsFd, program: impl AsFd) -> Result<Self> {
        let (_, attach_type, _) = question.types();
        let (prog_fd, target_fd) = (number(&program), number(&cgroup));
        let mut attr = LinkCreate { prog_fd, target_fd, attach_type, flags: 0 };
        // SAFETY: the structure holds no pointers.
        let fd = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }.op("bpf(LINK_CREATE)")?;
        // SAFETY: the kernel has just returned this descriptor to us, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Puts another program in the place of the one attached; there is no moment without one.
    pub fn replace(&self, program: impl AsFd) -> Result<()> {
        let (link_fd, new_prog_fd) = (number(&self.0), number(&program));
        let mut attr = LinkUpdate { link_fd, new_prog_fd, ..LinkUpdate::default() };
        // SAFETY: the structure holds no pointers.
        unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.op("bpf(LINK_UPDATE)")?;
        Ok(())
    }
}

/// Attaches `program` to the cgroup and detaches what was attached to it before.
///
/// In between both hold, so that there is no moment without a policy.
pub fn replace_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let target_fd = number(&cgroup);
    let earlier = attached(target_fd)?;
    let mut attr = Attach {
        target_fd,
        attach_bpf_fd: number(&program),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the structure holds no pointers.
    unsafe { bpf(BPF_PROG_ATTACH, &mut attr) }.op("bpf(PROG_ATTACH)")?;
    earlier.into_iter().try_for_each(|id| detach(target_fd, id))
}

/// How many device programs are attached to the cgroup itself.
pub fn device_programs(cgroup: impl AsFd) -> Result<usize> {
    Ok(attached(number(&cgroup))?.len())
}

fn attached(target_fd: u32) -> Result<Vec<u32>> {
    let mut ids = vec![0_u32; MAX_PROGRAMS];
    let mut attr = Query {
        target_fd,
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    // SAFETY: `prog_ids` points to `prog_cnt` numbers, alive for the call and written by nobody else.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }.op("bpf(PROG_QUERY)")?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

fn detach(target_fd: u32, prog_id: u32) -> Result<()> {
    let mut by_id = ById { prog_id, ..ById::default() };
    // SAFETY: the structure holds no pointers.
    let fd = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id) }.op("bpf(PROG_GET_FD_BY_ID)")?;
    // SAFETY: the kernel has just returned this descriptor to us, and nobody else knows it.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut attr = Attach {
        target_fd,
        attach_bpf_fd: number(&program),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
    };
    // SAFETY: the structure holds no pointers.
    unsafe { bpf(BPF_PROG_DETACH, &mut attr) }.op("bpf(PROG_DETACH)")?;
    Ok(())
}

fn number(fd: &impl AsFd) -> u32 {
    // A descriptor that is open is not negative.
    fd.as_fd().as_raw_fd().unsigned_abs()
}

/// bpf(2) with `attr`, a prefix of the kernel's union for `command`.
///
/// # Safety
/// Every pointer in `attr` must be valid for what `command` does with it.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> std::io::Result<libc::c_int> {
    // SAFETY: `attr` is ours and as long as we say; the caller vouches for the pointers in it.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    match answer {
        -1 => Err(std::io::Error::last_os_error()),
        fd => Ok(fd as libc::c_int),
    }
}
