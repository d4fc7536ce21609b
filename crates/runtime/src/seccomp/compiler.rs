//! From a sorted policy to BPF.
//!
//! The program looks at the architecture, then finds the call's number by bisection of the ranges that share
//! a verdict: about seven comparisons for hundreds of calls. These paths use only what the kernel can evaluate
//! in advance (loads of number and architecture, jumps, returns), so that since Linux 5.11 an allowed call
//! costs one bit test and no instruction at all.

use hull_oci::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};

use super::assembler::{Assembler, Label, Test};
use super::policy::{Policy, Rule, Verdict};

/// Offsets in `struct seccomp_data`: `{ int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The program for `policy`, in the kernel's layout.
pub(super) fn compile(policy: &Policy) -> Vec<u8> {
    let mut assembler = Assembler::default();
    let mut next = assembler.answer(policy.foreign);
    for table in policy.tables.iter().rev() {
        let search = search(&mut assembler, policy.default, &table.ranges);
        let search = assembler.load(NUMBER, search);
        next = assembler.branch(Test::Equal, table.audit, search, next);
    }
    let entry = assembler.load(ARCHITECTURE, next);
    assembler.finish(entry)
}

/// Finds the range of the number in the accumulator by bisection.
fn search(assembler: &mut Assembler, default: u32, ranges: &[(u32, Verdict)]) -> Label {
    match ranges {
        [] => assembler.answer(default),
        [(_, verdict)] => decide(assembler, default, verdict),
        ranges => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let above = search(assembler, default, high);
            let below = search(assembler, default, low);
            assembler.branch(Test::GreaterOrEqual, high[0].0, above, below)
        }
    }
}

fn decide(assembler: &mut Assembler, default: u32, verdict: &Verdict) -> Label {
    match verdict {
        Verdict::Answer(answer) => assembler.answer(*answer),
        Verdict::Rules(rules) => rules.iter().rev().fold(assembler.answer(default), |next, rule| {
            let holds = assembler.answer(rule.answer);
            let conditions = rule.conditions.iter().rev();
            conditions.fold(holds, |holds, arg| condition(assembler, &Argument::of(rule, arg), holds, next))
        }),
    }
}

/// What is compared, in halves; the upper ones decide, unless they are equal.
struct Argument {
    operator: Operator,
    value: u64,
    second: u64,
    /// Offsets of the halves; a narrow argument has no upper one.
    lower: u32,
    upper: Option<u32>,
}

impl Argument {
    fn of(rule: &Rule, arg: &LinuxSeccompArg) -> Self {
        // Every supported architecture stores the lower half first.
        let lower = ARGUMENTS + 8 * arg.index() as u32;
        let upper = rule.wide.then_some(lower + 4);
        Self { operator: arg.op(), value: arg.value(), second: arg.value_two().unwrap_or(0), lower, upper }
    }
}

fn condition(assembler: &mut Assembler, arg: &Argument, yes: Label, no: Label) -> Label {
    match arg.operator {
        Operator::ScmpCmpEq => masked_equal(assembler, arg, (u64::MAX, arg.value), yes, no),
        Operator::ScmpCmpNe => masked_equal(assembler, arg, (u64::MAX, arg.value), no, yes),
        Operator::ScmpCmpMaskedEq => masked_equal(assembler, arg, (arg.value, arg.second), yes, no),
        Operator::ScmpCmpGt => ordered(assembler, arg, Test::Greater, yes, no),
        Operator::ScmpCmpGe => ordered(assembler, arg, Test::GreaterOrEqual, yes, no),
        Operator::ScmpCmpLe => ordered(assembler, arg, Test::Greater, no, yes),
        Operator::ScmpCmpLt => ordered(assembler, arg, Test::GreaterOrEqual, no, yes),
    }
}

fn ordered(assembler: &mut Assembler, arg: &Argument, test: Test, yes: Label, no: Label) -> Label {
    let (upper, lower) = halves(arg.value);
    let label = assembler.branch(test, lower, yes, no);
    let label = assembler.load(arg.lower, label);
    let Some(at) = arg.upper else { return label };
    let label = assembler.branch(Test::Equal, upper, label, no);
    let label = assembler.branch(Test::Greater, upper, yes, label);
    assembler.load(at, label)
}

/// `argument & mask == value`; bits of `value` outside of the mask do not count.
fn masked_equal(
    assembler: &mut Assembler,
    arg: &Argument,
    (mask, value): (u64, u64),
    yes: Label,
    no: Label,
) -> Label {
    let ((mask_upper, mask_lower), (upper, lower)) = (halves(mask), halves(value & mask));
    let label = half_equal(assembler, arg.lower, (mask_lower, lower), yes, no);
    match arg.upper {
        Some(at) => half_equal(assembler, at, (mask_upper, upper), label, no),
        None => label,
    }
}

fn half_equal(assembler: &mut Assembler, at: u32, (mask, value): (u32, u32), yes: Label, no: Label) -> Label {
    if mask == 0 {
        return yes;
    }
    let mut label = assembler.branch(Test::Equal, value, yes, no);
    if mask != u32::MAX {
        label = assembler.and(mask, label);
    }
    assembler.load(at, label)
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}
