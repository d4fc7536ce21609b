//! A policy of the OCI specification, sorted by architecture and number: what the compiler works from.

use std::collections::BTreeMap;

use hull_oci::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
    LinuxSyscall,
};

use super::{Error, multiplex, syscalls};

/// An architecture whose calls can be filtered. x32 is a flavour of x86_64: the kernel reports the same
/// architecture for both, and a bit in the number tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    X86,
    X32,
    Aarch64,
}

/// Marks a system call number as one of x32.
const X32_BIT: u32 = 0x4000_0000;
/// The errno of "there is no such call".
const ENOSYS: u32 = 38;
const KILL_PROCESS: u32 = 0x8000_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;
const RETURN_LOG: u32 = 0x7ffc_0000;
const RETURN_ALLOW: u32 = 0x7fff_0000;

impl Architecture {
    /// The one this program runs on.
    pub(super) fn native() -> Self {
        match std::env::consts::ARCH {
            "aarch64" => Self::Aarch64,
            _ => Self::X86_64,
        }
    }

    fn of(arch: Arch) -> Option<Self> {
        match arch {
            Arch::ScmpArchNative => Some(Self::native()),
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchX32 => Some(Self::X32),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`: what the kernel puts into `seccomp_data.arch`.
    fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Whether arguments have 64 bits.
    fn wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    fn number(self, name: &str) -> Option<u32> {
        let number = syscalls::number(self, name)?;
        Some(if self == Self::X32 { number | X32_BIT } else { number })
    }
}

/// What happens with a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Always this answer (`SECCOMP_RET_*`).
    Answer(u32),
    /// The first rule that holds, or else the policy's default.
    Rules(Vec<Rule>),
}

/// An answer under conditions, all of which must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<LinuxSeccompArg>,
    /// Whether arguments have 64 bits; of the others only the lower half is compared.
    pub(super) wide: bool,
    pub(super) answer: u32,
}

/// All calls under one value of `seccomp_data.arch`: ranges of numbers, each up to the next one's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) audit: u32,
    pub(super) ranges: Vec<(u32, Verdict)>,
}

/// A whole policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) default: u32,
    /// What calls of an architecture without a table get.
    pub(super) foreign: u32,
    /// The native architecture first.
    pub(super) tables: Vec<Table>,
}

impl Policy {
    pub(super) fn new(spec: &LinuxSeccomp) -> Result<Self, Error> {
        let default = answer(spec.default_action(), spec.default_errno_ret())?;
        let rules = spec.syscalls().as_deref().unwrap_or_default();
        let mut architectures = vec![Architecture::native()];
        // One that this machine's kernel cannot report needs no table: without one, its calls are refused.
        for arch in spec.architectures().iter().flatten().filter_map(|arch| Architecture::of(*arch)) {
            if !architectures.contains(&arch) {
                architectures.push(arch);
            }
        }
        let x32 = architectures.contains(&Architecture::X32);
        let unknown = if permits(spec.default_action()) { default } else { RETURN_ERRNO | ENOSYS };
        let outline = Outline { default, unknown, foreign: KILL_PROCESS };
        let tables = architectures.iter().filter(|arch| **arch != Architecture::X32);
        let tables = tables.map(|arch| Table::new(*arch, x32, &outline, rules)).collect::<Result<_, _>>()?;
        Ok(Self { default, foreign: outline.foreign, tables })
    }
}

impl Policy {
    /// Whether a call of the native architecture is made whatever its arguments are.
    pub(super) fn permits(&self, name: &str) -> bool {
        let Some(number) = Architecture::native().number(name) else { return false };
        let ranges = self.tables.first().map(|table| table.ranges.as_slice()).unwrap_or_default();
        let verdict = ranges.iter().rev().find(|(start, _)| *start <= number);
        matches!(verdict, Some((_, Verdict::Answer(RETURN_ALLOW | RETURN_LOG))))
    }
}

/// The answers for calls that no rule names.
struct Outline {
    default: u32,
    /// For numbers above all that the policy names: calls that its author cannot have known. A C library
    /// tries a new call first and falls back on "no such call", but not on "not permitted".
    unknown: u32,
    foreign: u32,
}

impl Table {
    fn new(arch: Architecture, x32: bool, outline: &Outline, rules: &[LinuxSyscall]) -> Result<Self, Error> {
        let mut named = Named::default();
        let highest = named.add(arch, outline.default, rules)?;
        let mut background = vec![(0, outline.default)];
        background.extend(highest.map(|highest| (highest + 1, outline.unknown)));
        if arch == Architecture::X86_64 {
            match x32 {
                false => background.push((X32_BIT, outline.foreign)),
                true => {
                    background.push((X32_BIT, outline.default));
                    let highest = named.add(Architecture::X32, outline.default, rules)?;
                    background.extend(highest.map(|highest| (highest + 1, outline.unknown)));
                }
            }
            // -1 is no call: a tracer asks with it for none to be made.
            background.push((u32::MAX, outline.default));
        }
        Ok(Self { audit: arch.audit(), ranges: named.over(&background) })
    }
}

/// The calls that rules name, by number.
#[derive(Default)]
struct Named(BTreeMap<u32, Verdict>);

impl Named {
    /// Adds the rules for one architecture; the highest number that was named.
    fn add(
        &mut self,
        arch: Architecture,
        default: u32,
        rules: &[LinuxSyscall],
    ) -> Result<Option<u32>, Error> {
        let mut highest = None;
        for rule in rules {
            let answer = answer(rule.action(), rule.errno_ret())?;
            let alternatives = alternatives(rule.args().as_deref().unwrap_or_default())?;
            for name in rule.names() {
                let number = arch.number(name);
                highest = highest.max(number);
                // A rule that says what holds anyhow must not take part in "the first one that holds".
                if answer == default {
                    continue;
                }
                for conditions in &alternatives {
                    if let Some(number) = number {
                        self.insert(
                            number,
                            Rule { conditions: conditions.clone(), wide: arch.wide(), answer },
                        );
                    }
                    if arch == Architecture::X86 && (conditions.is_empty() || !permits(rule.action())) {
                        multiplex::selector(name)
                            .and_then(|(call, selector)| Some((arch.number(call)?, selector)))
                            .into_iter()
                            .for_each(|(number, selector)| {
                                self.insert(number, Rule { conditions: vec![selector], wide: false, answer });
                            });
                    }
                }
            }
        }
        Ok(highest)
    }

    /// An unconditional rule beats conditional ones, and the first of several stands.
    fn insert(&mut self, number: u32, rule: Rule) {
        let verdict = self.0.entry(number).or_insert_with(|| Verdict::Rules(Vec::new()));
        match verdict {
            Verdict::Answer(_) => {}
            verdict if rule.conditions.is_empty() => *verdict = Verdict::Answer(rule.answer),
            Verdict::Rules(rules) => rules.push(rule),
        }
    }

    /// Lays the named calls over the background: ranges from 0 up, neighbours with one verdict joined.
    fn over(&self, background: &[(u32, u32)]) -> Vec<(u32, Verdict)> {
        let mut starts: Vec<u32> = background.iter().map(|(start, _)| *start).collect();
        starts.extend(self.0.keys().flat_map(|number| [Some(*number), number.checked_add(1)]).flatten());
        starts.sort_unstable();
        starts.dedup();
        let mut ranges: Vec<(u32, Verdict)> = Vec::new();
        for start in starts {
            let below = || background.iter().rev().find(|(from, _)| *from <= start);
            let verdict = match self.0.get(&start) {
                Some(verdict) => verdict.clone(),
                None => Verdict::Answer(below().map_or(KILL_PROCESS, |(_, answer)| *answer)),
            };
            if ranges.last().is_none_or(|(_, last)| *last != verdict) {
                ranges.push((start, verdict));
            }
        }
        ranges
    }
}

/// The condition lists of one entry, each of which alone is enough. As in the other runtimes, conditions on
/// different arguments must hold together, but an entry that names an argument twice means "either".
fn alternatives(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<LinuxSeccompArg>>, Error> {
    if let Some(arg) = args.iter().find(|arg| arg.index() > 5) {
        return Err(Error::Argument(arg.index()));
    }
    let twice = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
    Ok(match twice {
        true => args.iter().map(|arg| vec![*arg]).collect(),
        false => vec![args.to_vec()],
    })
}

/// The kernel's number for an action, with the errno in its lower half.
fn answer(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, Error> {
    match errno {
        Some(errno) if errno > 0xffff => Err(Error::Errno(errno)),
        errno => Ok(action.as_u32(errno)),
    }
}

/// Whether the call is made after all. A tracer is trusted to know new calls by itself.
fn permits(action: LinuxSeccompAction) -> bool {
    use LinuxSeccompAction as Action;
    matches!(action, Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace)
}

/// `argument & mask == value`.
pub(super) fn masked(index: usize, mask: u64, value: u64) -> LinuxSeccompArg {
    let condition = LinuxSeccompArgBuilder::default().index(index).value(mask).value_two(value);
    let condition = condition.op(LinuxSeccompOperator::ScmpCmpMaskedEq);
    condition.build().expect("every field has a default")
}
