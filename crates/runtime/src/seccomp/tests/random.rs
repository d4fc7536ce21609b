//! Policies made of bytes, and libseccomp's opinion on them. Also for `fuzz`, which brings its own bytes.

use hull_oci::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::oracle;
use super::simulator::{Call, run};

/// System calls with their numbers on x86_64 and x86; their arguments are compared by value, and both compilers have
/// known them for long.
const CALLS: [(&str, u32, u32); 12] = [
    ("read", 0, 3),
    ("write", 1, 4),
    ("close", 3, 6),
    ("ioctl", 16, 54),
    ("dup", 32, 41),
    ("getpid", 39, 20),
    ("kill", 62, 37),
    ("chmod", 90, 15),
    ("personality", 135, 136),
    ("prctl", 157, 172),
    ("unshare", 272, 310),
    ("seccomp", 317, 354),
];

const ENOSYS: u32 = 0x0005_0026;
const ACTIONS: [&str; 6] = ["ALLOW", "ERRNO", "TRAP", "LOG", "KILL_PROCESS", "TRACE"];
const COMPARISONS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

/// Values at which a comparison in halves of 32 bits may go wrong.
const VALUES: [u64; 12] = [
    0,
    1,
    2,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x1234_5678_9abc_def0,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Choices, one byte each; when there are no bytes left it is always the first.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first) % count
            }
            None => 0,
        }
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A policy of any shape. Each call has one answer, under any of some conditions: which of two answers wins where both
/// hold, the specification does not say.
#[allow(dead_code, reason = "the fuzzer asks libseccomp alone")]
pub(super) fn policy(bytes: &[u8]) -> LinuxSeccomp {
    make(bytes, false)
}

/// A policy with one rule for a call. Of several with inequalities libseccomp does not always make what they say (2.5.4:
/// with `a <= 0x80000000` and `a < 2^64 - 1` it refuses a = 0xffffffff).
pub(super) fn plain_policy(bytes: &[u8]) -> LinuxSeccomp {
    make(bytes, true)
}

fn make(bytes: &[u8], is_plain: bool) -> LinuxSeccomp {
    let mut choices = Choices(bytes);
    let action = |choices: &mut Choices<'_>| format!("SCMP_ACT_{}", choices.of(&ACTIONS));
    let default = action(&mut choices);
    let mut rules: Vec<Value> = Vec::new();
    for (name, ..) in CALLS {
        let answer = action(&mut choices);
        let errno = 1 + choices.below(100);
        for _ in 0..choices.below(if is_plain { 2 } else { 4 }) {
            let args: Vec<Value> =
                (0..choices.below(4)).map(|index| condition(&mut choices, index)).collect();
            let mut rule = json!({ "names": [name], "action": answer, "args": args });
            if matches!(answer.as_str(), "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE") {
                rule["errnoRet"] = json!(errno);
            }
            rules.push(rule);
        }
    }
    let architectures: &[&str] = match choices.below(3) {
        0 => &["SCMP_ARCH_X86_64"],
        1 => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        _ => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    };
    let policy = json!({ "defaultAction": default, "architectures": architectures, "syscalls": rules });
    serde_json::from_value(policy).expect("the policy is one of the specification's")
}

fn condition(choices: &mut Choices<'_>, index: usize) -> Value {
    let operator = choices.of(&COMPARISONS);
    let (value, other) = (choices.of(&VALUES), choices.of(&VALUES));
    match operator {
        "MASKED_EQ" => {
            json!({ "index": index, "op": "SCMP_CMP_MASKED_EQ", "value": value, "valueTwo": other & value })
        }
        operator => json!({ "index": index, "op": format!("SCMP_CMP_{operator}"), "value": value }),
    }
}

/// Asks libseccomp about each call.
pub(super) fn agree(policy: &LinuxSeccomp, ours: &[u8]) {
    let theirs = oracle::compile(policy);
    let default = policy.default_action().as_u32(policy.default_errno_ret());
    ask(|call| match (run(ours, call).0, run(&theirs, call).0) {
        // For calls that the policy's author cannot have known, libseccomp has only the default.
        (ENOSYS, theirs) if theirs == default => {}
        (ours, theirs) => assert_eq!(ours, theirs, "{call:x?} of {policy:?}"),
    });
}

/// Each call on each architecture, with each value in each of the first three arguments.
pub(super) fn ask(mut about: impl FnMut(&Call)) {
    for (_, wide, narrow) in CALLS {
        for (arch, number) in [(0xc000_003e, wide), (0x4000_0003, narrow), (0xc000_003e, wide | 0x4000_0000)]
        {
            for (at, value) in VALUES.iter().enumerate() {
                let near = VALUES[(at + 5) % VALUES.len()];
                let shapes = [[*value; 3], [*value, near, 0], [near, *value, *value], [0, near, *value]];
                for [a, b, c] in shapes {
                    about(&Call { number, arch, args: [a, b, c, 0, 0, 0] });
                }
            }
        }
    }
}
