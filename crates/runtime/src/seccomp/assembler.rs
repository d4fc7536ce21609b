//! Classic BPF, written backwards: what is jumped to exists before the jump, so every distance is known.

use hull_sys::seccomp::INSTRUCTION;

/// Where an instruction stands, counted from the program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A comparison of the accumulator with a constant, `linux/bpf_common.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Test {
    Equal = 0x15,
    Greater = 0x25,
    GreaterOrEqual = 0x35,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

/// How far a conditional jump may reach: 255, less what a way station beside it takes.
const REACH: usize = 250;

struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

/// A program in the making.
#[derive(Default)]
pub(super) struct Assembler {
    backwards: Vec<Instruction>,
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    /// Ends with `answer`. One instruction serves all that can reach it.
    pub(super) fn answer(&mut self, answer: u32) -> Label {
        let known = self.returns.iter().rev().find(|(value, label)| *value == answer && self.reaches(*label));
        if let Some((_, label)) = known {
            return *label;
        }
        let label = self.push(RETURN, 0, 0, answer);
        self.returns.push((answer, label));
        label
    }

    /// Loads the 32 bits at `offset` of `struct seccomp_data`, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.stand_before(next);
        self.push(LOAD, 0, 0, offset)
    }

    /// Keeps the bits of `mask`, then goes on at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.stand_before(next);
        self.push(AND, 0, 0, mask)
    }

    /// Goes on at `yes` or at `no`.
    pub(super) fn branch(&mut self, test: Test, value: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes);
        let no = self.near(no);
        let distance = |label: Label| u8::try_from(self.backwards.len() - label.0 - 1).unwrap_or(u8::MAX);
        let (yes, no) = (distance(yes), distance(no));
        self.push(test as u16, yes, no, value)
    }

    /// The program, starting at `entry`, in the kernel's layout.
    pub(super) fn finish(mut self, entry: Label) -> Vec<u8> {
        self.stand_before(entry);
        let mut bytes = Vec::with_capacity(self.backwards.len() * INSTRUCTION);
        for Instruction { code, yes, no, value } in self.backwards.iter().rev() {
            bytes.extend(code.to_ne_bytes());
            bytes.extend([*yes, *no]);
            bytes.extend(value.to_ne_bytes());
        }
        bytes
    }

    fn reaches(&self, label: Label) -> bool {
        self.backwards.len() - label.0 <= REACH
    }

    /// A place within reach that leads to `label`.
    fn near(&mut self, label: Label) -> Label {
        if self.reaches(label) { label } else { self.jump(label) }
    }

    /// Makes what is written next run on into `label`.
    fn stand_before(&mut self, label: Label) {
        if label.0 + 1 != self.backwards.len() {
            self.jump(label);
        }
    }

    fn jump(&mut self, label: Label) -> Label {
        let distance = u32::try_from(self.backwards.len() - label.0 - 1).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    fn push(&mut self, code: u16, yes: u8, no: u8, value: u32) -> Label {
        self.backwards.push(Instruction { code, yes, no, value });
        Label(self.backwards.len() - 1)
    }
}
