//! A device policy as a program for the kernel's BPF machine (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! The kernel calls it with r1 pointing to `struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }`,
//! where `access_type` is the access in its upper and the kind in its lower half; it answers 1 for
//! "may" and 0 for "may not" in r0. Encoding: RFC 9669; constants: `linux/bpf.h`.

use hull_sys::bpf::instruction;

use super::{Access, Devices, Kind, Policy};

/// Opcodes: class, operation and source of the few instructions used.
pub(super) mod op {
    pub(in crate::devices) const LOAD_WORD: u8 = 0x61; // dst = *(u32 *)(src + off)
    pub(in crate::devices) const MOVE: u8 = 0xbf; // dst = src
    pub(in crate::devices) const MOVE_IMM: u8 = 0xb7; // dst = imm
    pub(in crate::devices) const AND_IMM: u8 = 0x57; // dst &= imm
    pub(in crate::devices) const SHIFT_RIGHT_IMM: u8 = 0x77; // dst >>= imm
    pub(in crate::devices) const JUMP_NE_IMM: u8 = 0x56; // if (u32) dst != imm goto off
    pub(in crate::devices) const JUMP_EQ_IMM: u8 = 0x16; // if (u32) dst == imm goto off
    pub(in crate::devices) const EXIT: u8 = 0x95;
}

/// Registers, by what they hold.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const WANTED: u8 = 6;

/// The program for `policy`.
pub(super) fn compile(policy: &Policy) -> Vec<u64> {
    let mut program = vec![
        instruction(op::LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(op::MOVE, ACCESS, KIND, 0, 0),
        instruction(op::AND_IMM, KIND, 0, 0, 0xffff),
        instruction(op::SHIFT_RIGHT_IMM, ACCESS, 0, 0, 16),
        instruction(op::LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(op::LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for (devices, access) in &policy.exceptions {
        program.extend(exception(policy.allow, devices, *access));
    }
    program.extend(answer(policy.allow));
    program
}

/// Answers the opposite of `default` if the request falls under this exception, else runs on behind it.
fn exception(default: bool, devices: &Devices, access: Access) -> Vec<u64> {
    let kind = match devices.kind {
        Kind::Block => 1,
        Kind::Char => 2,
    };
    let mut tests = vec![(op::JUMP_NE_IMM, KIND, kind)];
    tests.extend(devices.major.map(|major| (op::JUMP_NE_IMM, MAJOR, major)));
    tests.extend(devices.minor.map(|minor| (op::JUMP_NE_IMM, MINOR, minor)));
    // An allowance must cover all that is wanted; a denial strikes if it covers any of it.
    let (mask, miss) = match default {
        false => (!kernel_bits(access) & 0b111, op::JUMP_NE_IMM),
        true => (kernel_bits(access), op::JUMP_EQ_IMM),
    };
    // Behind a test come the tests after it, the two instructions of the mask, its test and the answer.
    let length = tests.len() + 3 + 2;
    let mut block = Vec::with_capacity(length);
    for (op, register, value) in tests {
        let skip = i16::try_from(length - block.len() - 1).unwrap_or(i16::MAX);
        block.push(instruction(op, register, 0, skip, value));
    }
    block.push(instruction(op::MOVE, WANTED, ACCESS, 0, 0));
    block.push(instruction(op::AND_IMM, WANTED, 0, 0, mask));
    block.push(instruction(miss, WANTED, 0, 2, 0));
    block.extend(answer(!default));
    block
}

fn answer(allow: bool) -> [u64; 2] {
    [instruction(op::MOVE_IMM, ANSWER, 0, 0, u32::from(allow)), instruction(op::EXIT, 0, 0, 0, 0)]
}

/// `BPF_DEVCG_ACC_MKNOD` is 1, `_READ` 2, `_WRITE` 4.
fn kernel_bits(Access(bits): Access) -> u32 {
    let bit = |mine: u8, kernel: u32| if bits & mine != 0 { kernel } else { 0 };
    bit(Access::MKNOD, 1) | bit(Access::READ, 2) | bit(Access::WRITE, 4)
}
