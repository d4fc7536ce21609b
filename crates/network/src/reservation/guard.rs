//! Long ranges of ports, kept from other programs: where a socket for each port would take a descriptor and four
//! kilobytes of the kernel's memory for each, the kernel asks two small programs before it binds anybody's socket.
//!
//! The programs are attached to the root of the version 2 cgroups and answer for one network namespace; whoever asks
//! for a port of a guarded range there is told that the address is in use. They are made anew when a range comes or
//! goes, and end with the daemon, as sockets do.
//!
//! Where this is not what sockets would do: a program that asks for *any* port may be given one of the range, `::` is
//! refused to a socket of IPv6 alone as well, and the kernel asks about TCP and UDP only.
//!
//! Source: `struct bpf_sock_addr` and the helpers of `linux/bpf.h`, bpf-helpers(7); encoding: RFC 9669.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hull_sys::bpf::{Link, Question, instruction, load};
use hull_sys::{Context, Result};
use rustix::fs::{Mode, OFlags};

use super::held::Place;

/// The guard of one network namespace.
#[derive(Debug)]
pub(super) struct Guard {
    /// The root of the cgroups.
    cgroup: PathBuf,
    /// The namespace's number.
    namespace: u64,
    /// Attached with the first range.
    links: Option<[Link; 2]>,
}

impl Guard {
    /// The calling thread's namespace, against all processes below `cgroup`; nothing is attached yet.
    pub(super) fn new(cgroup: &Path) -> Result<Self> {
        Ok(Self { cgroup: cgroup.to_owned(), namespace: hull_sys::netns::cookie()?, links: None })
    }

    /// Keeps these ranges from now on, and no others.
    ///
    /// # Errors
    /// What bpf(2) fails with: kernels before 5.18 lack what the programs need. What was kept before is kept.
    pub(super) fn keep(&mut self, places: &[Place]) -> Result<()> {
        if places.is_empty() {
            self.links = None;
            return Ok(());
        }
        let program = |question| load(question, &compile(question, self.namespace, places));
        let programs = [program(Question::BindIpv4)?, program(Question::BindIpv6)?];
        if let Some(links) = &self.links {
            return links.iter().zip(&programs).try_for_each(|(link, program)| link.replace(program));
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cgroup = rustix::fs::open(&self.cgroup, flags, Mode::empty()).on("open", &self.cgroup)?;
        let [ipv4, ipv6] = &programs;
        self.links = Some([
            Link::attach(Question::BindIpv4, &cgroup, ipv4)?,
            Link::attach(Question::BindIpv6, &cgroup, ipv6)?,
        ]);
        Ok(())
    }
}

/// Opcodes: class, operation and source of the few instructions used.
mod op {
    pub(super) const LOAD_WORD: u8 = 0x61; // dst = *(u32 *)(src + off)
    pub(super) const LOAD_LONG: u8 = 0x18; // dst = the immediates of this and the next instruction
    pub(super) const MOVE: u8 = 0xbf; // dst = src
    pub(super) const MOVE_IMM: u8 = 0xb7; // dst = imm
    pub(super) const OR: u8 = 0x4f; // dst |= src
    pub(super) const FROM_NETWORK: u8 = 0xdc; // dst = the lower imm bits of dst, from big endian
    pub(super) const JUMP_EQ: u8 = 0x1d; // if dst == src goto off
    pub(super) const JUMP_EQ_IMM: u8 = 0x16; // if (u32) dst == imm goto off
    pub(super) const JUMP_NE_IMM: u8 = 0x56; // if (u32) dst != imm goto off
    pub(super) const JUMP_GT_IMM: u8 = 0x26; // if (u32) dst > imm goto off
    pub(super) const JUMP_LT_IMM: u8 = 0xa6; // if (u32) dst < imm goto off
    pub(super) const CALL: u8 = 0x85; // r0 = helper imm (r1 to r5)
    pub(super) const EXIT: u8 = 0x95;
}

/// Helpers of the kernel: `bpf_get_netns_cookie`, `bpf_set_retval`.
const GET_NETNS_COOKIE: u32 = 122;
const SET_RETVAL: u32 = 187;

/// Fields of `struct bpf_sock_addr`; addresses and the port are in network order.
const USER_IP4: i16 = 4;
const USER_IP6: [i16; 4] = [8, 12, 16, 20];
const USER_PORT: i16 = 24;
const PROTOCOL: i16 = 36;

/// Registers, by what they hold. The first ones are lost with a call of a helper.
const ANSWER: u8 = 0;
const ARGUMENT: u8 = 1;
/// The wanted address, of which IPv4 has only the last word.
const WORDS: [u8; 4] = [1, 2, 3, 4];
/// 0 if any address is wanted.
const ADDRESS: u8 = 0;
/// 1 if the wanted address is one of IPv4.
const IS_IPV4: u8 = 5;
const CONTEXT: u8 = 6;
const PORT: u8 = 7;
const KIND: u8 = 8;
const NAMESPACE: u8 = 9;

/// The program that refuses these places to the sockets of one network namespace.
fn compile(question: Question, namespace: u64, places: &[Place]) -> Vec<u64> {
    let mut program = others_may(namespace);
    program.extend([
        instruction(op::LOAD_WORD, PORT, CONTEXT, USER_PORT, 0),
        instruction(op::FROM_NETWORK, PORT, 0, 0, 16),
        instruction(op::LOAD_WORD, KIND, CONTEXT, PROTOCOL, 0),
    ]);
    program.extend(if question == Question::BindIpv4 { ipv4_address() } else { ipv6_address() });
    program.extend(places.iter().flat_map(refusal));
    program.extend(allowed());
    program
}

/// Answers for every namespace but this one.
fn others_may(namespace: u64) -> Vec<u64> {
    let (low, high) = (namespace & u64::from(u32::MAX), namespace >> 32);
    let half = |half: u64| u32::try_from(half).unwrap_or_default();
    let mut program = vec![
        instruction(op::MOVE, CONTEXT, ARGUMENT, 0, 0),
        instruction(op::CALL, 0, 0, 0, GET_NETNS_COOKIE),
        instruction(op::LOAD_LONG, NAMESPACE, 0, 0, half(low)),
        instruction(0, 0, 0, 0, half(high)),
        instruction(op::JUMP_EQ, ANSWER, NAMESPACE, 2, 0),
    ];
    program.extend(allowed());
    program
}

fn allowed() -> [u64; 2] {
    [instruction(op::MOVE_IMM, ANSWER, 0, 0, 1), instruction(op::EXIT, 0, 0, 0, 0)]
}

fn ipv4_address() -> Vec<u64> {
    vec![
        instruction(op::LOAD_WORD, WORDS[3], CONTEXT, USER_IP4, 0),
        instruction(op::MOVE, ADDRESS, WORDS[3], 0, 0),
        instruction(op::MOVE_IMM, IS_IPV4, 0, 0, 1),
    ]
}

/// An address of IPv6 may be one of IPv4 in its clothes (`::ffff:a.b.c.d`).
fn ipv6_address() -> Vec<u64> {
    let mapped = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    let mut program: Vec<u64> = WORDS
        .iter()
        .zip(USER_IP6)
        .map(|(word, at)| instruction(op::LOAD_WORD, *word, CONTEXT, at, 0))
        .collect();
    program.extend([
        instruction(op::MOVE_IMM, IS_IPV4, 0, 0, 1),
        instruction(op::MOVE, ADDRESS, WORDS[3], 0, 0),
        instruction(op::JUMP_NE_IMM, WORDS[0], 0, 2, 0),
        instruction(op::JUMP_NE_IMM, WORDS[1], 0, 1, 0),
        instruction(op::JUMP_EQ_IMM, WORDS[2], 0, 4, mapped),
        instruction(op::MOVE_IMM, IS_IPV4, 0, 0, 0),
        instruction(op::OR, ADDRESS, WORDS[0], 0, 0),
        instruction(op::OR, ADDRESS, WORDS[1], 0, 0),
        instruction(op::OR, ADDRESS, WORDS[2], 0, 0),
    ]);
    program
}

/// Refuses what meets this place, else runs on behind it.
fn refusal(place: &Place) -> Vec<u64> {
    let in_use = rustix::io::Errno::ADDRINUSE.raw_os_error().wrapping_neg().cast_unsigned();
    let refuse = [
        instruction(op::MOVE_IMM, ARGUMENT, 0, 0, in_use),
        instruction(op::CALL, 0, 0, 0, SET_RETVAL),
        instruction(op::MOVE_IMM, ANSWER, 0, 0, 0),
        instruction(op::EXIT, 0, 0, 0, 0),
    ];
    let mut tests = vec![
        (op::JUMP_NE_IMM, KIND, u32::from(place.protocol.number()), To::Next),
        (op::JUMP_LT_IMM, PORT, u32::from(place.first), To::Next),
        (op::JUMP_GT_IMM, PORT, u32::from(place.last), To::Next),
    ];
    let any = (op::JUMP_EQ_IMM, ADDRESS, 0, To::Refusal);
    let family = (op::JUMP_NE_IMM, IS_IPV4, u32::from(place.ip.is_ipv4()), To::Next);
    // `::` takes what comes for IPv4 as well.
    tests.extend(if place.ip.is_ipv4() { [any, family] } else { [family, any] });
    if !place.ip.is_unspecified() {
        tests.extend(
            words(place.ip).into_iter().map(|(word, value)| (op::JUMP_NE_IMM, word, value, To::Next)),
        );
    }
    let count = tests.len();
    let jump = |(number, (op, register, value, to))| {
        let rest = count - number - 1;
        let distance = if to == To::Next { rest + refuse.len() } else { rest };
        // A block is short.
        instruction(op, register, 0, i16::try_from(distance).unwrap_or(i16::MAX), value)
    };
    tests.into_iter().enumerate().map(jump).chain(refuse).collect()
}

/// Where a test that strikes jumps to.
#[derive(PartialEq, Eq)]
enum To {
    /// It is none of this place.
    Next,
    Refusal,
}

/// The words of an address, with the registers that are compared with them.
fn words(ip: IpAddr) -> Vec<(u8, u32)> {
    let word = |(register, bytes): (&u8, &[u8])| {
        (*register, bytes.try_into().map(u32::from_ne_bytes).unwrap_or_default())
    };
    match ip {
        IpAddr::V4(ip) => vec![word((&WORDS[3], &ip.octets()))],
        IpAddr::V6(ip) => WORDS.iter().zip(ip.octets().chunks(4)).map(word).collect(),
    }
}
