//! The compiler against two oracles: the meaning of a policy, and libseccomp.

mod oracle;
mod random;
mod simulator;

use hull_oci::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};

use super::policy::{Architecture, Policy, Verdict};
use super::*;
use simulator::{Call, run};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;
const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

fn policy(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

fn verdict(program: &Program, arch: u32, number: u32, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    run(&program.filter, &Call { number, arch, args: all }).0
}

/// Every argument value that a comparison with `value` could get wrong.
fn around(value: u64) -> Vec<u64> {
    let upper = 1_u64 << 32;
    let near = [value, value.wrapping_add(1), value.wrapping_sub(1), !value];
    near.iter()
        .flat_map(|v| [*v, v.wrapping_add(upper), v.wrapping_sub(upper), v & 0xffff_ffff, *v << 32])
        .collect()
}

/// The calls worth asking about: every number that the policy names, its neighbours, the ends of the ranges.
fn calls(spec: &LinuxSeccomp) -> Vec<Call> {
    let rules = spec.syscalls().as_deref().unwrap_or_default();
    let args: Vec<&LinuxSeccompArg> = rules.iter().flat_map(|rule| rule.args().iter().flatten()).collect();
    let mut values = vec![0, 1, u64::MAX];
    values.extend(args.iter().flat_map(|arg| [arg.value(), arg.value_two().unwrap_or(0)]).flat_map(around));
    values.sort_unstable();
    values.dedup();
    let mut calls = Vec::new();
    for (arch, numbers) in
        [(X86_64, 0..520), (X86, 0..520), (X86_64, 0x4000_0000..0x4000_0300), (0xc000_00b7, 0..5)]
    {
        for number in numbers {
            for (at, value) in values.iter().enumerate() {
                // Each argument gets the value in question, the others its neighbours in the list.
                let args = std::array::from_fn(|index| values[(at + index * 7) % values.len()]);
                calls.push(Call { number, arch, args });
                calls.push(Call { number, arch, args: [*value; 6] });
            }
        }
    }
    calls.extend([0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX].map(|number| Call {
        number,
        arch: X86_64,
        args: [0; 6],
    }));
    calls
}

fn holds(arg: &LinuxSeccompArg, wide: bool, call: &Call) -> bool {
    let bits = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let (given, value) = (call.args[arg.index()] & bits, arg.value() & bits);
    match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => given != value,
        LinuxSeccompOperator::ScmpCmpLt => given < value,
        LinuxSeccompOperator::ScmpCmpLe => given <= value,
        LinuxSeccompOperator::ScmpCmpEq => given == value,
        LinuxSeccompOperator::ScmpCmpGe => given >= value,
        LinuxSeccompOperator::ScmpCmpGt => given > value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => given & value == arg.value_two().unwrap_or(0) & value,
    }
}

/// The answer by definition, without any program.
fn expected(policy: &Policy, call: &Call) -> u32 {
    let Some(table) = policy.tables.iter().find(|table| table.audit == call.arch) else {
        return policy.foreign;
    };
    let (_, verdict) = table.ranges.iter().rev().find(|(start, _)| *start <= call.number).unwrap();
    match verdict {
        Verdict::Answer(answer) => *answer,
        Verdict::Rules(rules) => rules
            .iter()
            .find(|rule| rule.conditions.iter().all(|arg| holds(arg, rule.wide, call)))
            .map_or(policy.default, |rule| rule.answer),
    }
}

/// Policies that between them use every action, comparison and shape.
fn policies() -> Vec<LinuxSeccomp> {
    let every_comparison = ["NE", "LT", "LE", "EQ", "GE", "GT"].map(|op| {
        format!(
            r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {{ "names": ["ioctl"], "action": "SCMP_ACT_KILL_PROCESS",
                   "args": [{{ "index": 1, "value": 21554, "op": "SCMP_CMP_{op}" }}] }},
                {{ "names": ["mmap"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
                   "args": [{{ "index": 5, "value": 1311768467463790320, "op": "SCMP_CMP_{op}" }},
                            {{ "index": 0, "value": 4294967296, "op": "SCMP_CMP_NE" }}] }} ] }}"#
        )
    });
    let mut policies: Vec<_> = every_comparison.iter().map(|json| policy(json)).collect();
    policies.push(policy(
        r#"{ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
            { "names": ["read", "write", "exit", "no_such_call"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["mseal"], "action": "SCMP_ACT_LOG" },
            { "names": ["kill"], "action": "SCMP_ACT_TRAP" },
            { "names": ["chmod"], "action": "SCMP_ACT_KILL_THREAD" },
            { "names": ["chown"], "action": "SCMP_ACT_TRACE", "errnoRet": 7 },
            { "names": ["open"], "action": "SCMP_ACT_ALLOW", "args": [
                { "index": 1, "value": 18446744069414584323, "valueTwo": 4294967297, "op": "SCMP_CMP_MASKED_EQ" } ] },
            { "names": ["dup2"], "action": "SCMP_ACT_ALLOW", "args": [
                { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }, { "index": 0, "value": 9, "op": "SCMP_CMP_EQ" } ] } ] }"#,
    ));
    policies.push(docker_default::<&str>(&[]));
    policies.push(docker_default(&["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]));
    policies
}

#[test]
fn programs_answer_as_their_policies() {
    for spec in policies() {
        let policy = Policy::new(&spec).unwrap();
        let program = compile(&spec).unwrap();
        for call in calls(&spec) {
            assert_eq!(run(&program.filter, &call).0, expected(&policy, &call), "{call:x?}");
        }
    }
}

/// Whether Debian 12's libseccomp (2.5.4) may not know the call: it is of the year 2022.
fn newer_than_the_oracle(call: &Call) -> bool {
    let number = call.number & !0x4000_0000;
    matches!(number, 335 | 336 | 449..512)
}

#[test]
fn programs_answer_as_libseccomps() {
    for spec in policies() {
        let program = compile(&spec).unwrap();
        let reference = oracle::compile(&spec);
        for call in calls(&spec).into_iter().filter(|call| !newer_than_the_oracle(call)) {
            let (ours, theirs) = (run(&program.filter, &call).0, run(&reference, &call).0);
            match ours {
                // For calls that the policy's author cannot have known, libseccomp has only the default.
                ENOSYS if theirs != ENOSYS => assert!(theirs == EPERM || theirs == EPERM + 12, "{call:x?}"),
                ours => assert_eq!(ours, theirs, "{call:x?}"),
            }
        }
    }
}

/// The seed is fixed; `fuzz` goes on from there.
#[test]
fn random_policies_answer_as_libseccomps() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    for _ in 0..100 {
        let bytes: Vec<u8> = (0..300).map(|_| next()).collect();
        let plain = random::plain_policy(&bytes);
        random::agree(&plain, &compile(&plain).unwrap().filter);
        let spec = random::policy(&bytes);
        let (policy, program) = (Policy::new(&spec).unwrap(), compile(&spec).unwrap());
        random::ask(|call| {
            assert_eq!(run(&program.filter, call).0, expected(&policy, call), "{call:x?} of {spec:?}")
        });
    }
}

#[test]
fn the_default_is_short_and_quick() {
    let program = compile(&docker_default::<&str>(&[])).unwrap();
    assert!(program.instructions() < 700, "{} instructions", program.instructions());
    for number in [libc::SYS_read, libc::SYS_openat, libc::SYS_futex, libc::SYS_close, libc::SYS_statx] {
        let call = Call {
            number: u32::try_from(number).unwrap(),
            arch: Policy::new(&docker_default::<&str>(&[])).unwrap().tables[0].audit,
            args: [0; 6],
        };
        let (answer, steps) = run(&program.filter, &call);
        assert_eq!(answer, ALLOW);
        assert!(steps <= 12, "{steps} instructions for call {number}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_default_refuses_what_breaks_out() {
    let plain = compile(&docker_default::<&str>(&[])).unwrap();
    let admin = compile(&docker_default(&["CAP_SYS_ADMIN"])).unwrap();
    let number = |name| syscalls::number(Architecture::X86_64, name).unwrap();
    let asked = |program, name, args: &[u64]| verdict(program, X86_64, number(name), args);
    for name in [
        "mount",
        "setns",
        "unshare",
        "bpf",
        "keyctl",
        "add_key",
        "init_module",
        "kexec_load",
        "swapon",
        "userfaultfd",
    ] {
        assert_eq!(asked(&plain, name, &[]), EPERM, "{name}");
    }
    for name in ["mount", "setns", "unshare", "bpf", "clone3"] {
        assert_eq!(asked(&admin, name, &[]), ALLOW, "{name}");
    }
    assert_eq!(asked(&plain, "clone3", &[]), ENOSYS);
    assert_eq!(asked(&plain, "clone", &[0x11]), ALLOW);
    assert_eq!(asked(&plain, "clone", &[0x1000_0011]), EPERM);
    assert_eq!(asked(&admin, "clone", &[0x1000_0011]), ALLOW);
    for (family, answer) in
        [(1, ALLOW), (2, ALLOW), (16, ALLOW), (38, EPERM), (40, EPERM), (0x1_0000_0028, EPERM), (44, ALLOW)]
    {
        assert_eq!(asked(&plain, "socket", &[family]), answer, "family {family}");
    }
    assert_eq!(asked(&plain, "personality", &[8]), ALLOW);
    assert_eq!(asked(&plain, "personality", &[0x4_0000]), EPERM);
    assert_eq!(verdict(&plain, X86_64, 9999, &[]), ENOSYS);
    assert_eq!(verdict(&plain, 0x1234, 0, &[]), KILL);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_denied_socket_is_denied_through_socketcall_too() {
    let spec = policy(
        r#"{ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 38, "op": "SCMP_CMP_EQ" }] },
            { "names": ["shmget"], "action": "SCMP_ACT_ERRNO" } ] }"#,
    );
    let program = compile(&spec).unwrap();
    let number = |name| syscalls::number(Architecture::X86, name).unwrap();
    assert_eq!(verdict(&program, X86, number("socketcall"), &[1]), EPERM);
    assert_eq!(verdict(&program, X86, number("socketcall"), &[2]), ALLOW);
    assert_eq!(verdict(&program, X86, number("ipc"), &[0x1_0017]), EPERM);
    assert_eq!(verdict(&program, X86, number("ipc"), &[24]), ALLOW);
}

#[test]
fn without_x32_its_numbers_kill() {
    let spec = policy(r#"{ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"] }"#);
    let program = compile(&spec).unwrap();
    assert_eq!(verdict(&program, X86_64, 0x4000_0001, &[]), KILL);
}

#[test]
fn programs_survive_json() {
    let program = compile(&docker_default::<&str>(&[])).unwrap();
    let json = serde_json::to_string(&program).unwrap();
    assert_eq!(serde_json::from_str::<Program>(&json).unwrap(), program);
    assert!(serde_json::from_str::<Program>(&json.replace("\"2000", "\"zz00")).is_err());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let argument = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_KILL",
        "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] }] }"#;
    assert_eq!(compile(&policy(argument)), Err(Error::Argument(6)));
    let errno = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 65536 }"#;
    assert_eq!(compile(&policy(errno)), Err(Error::Errno(65536)));
    let listener = r#"{ "defaultAction": "SCMP_ACT_NOTIFY" }"#;
    assert_eq!(compile(&policy(listener)), Err(Error::NoListener));
}

#[test]
fn the_kernel_obeys() {
    let program = compile(&docker_default::<&str>(&[])).unwrap();
    // A filter belongs to one thread: this one, which ends with the test.
    let thread = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        assert!(program.load().unwrap().is_none());
        let host = rustix::system::uname().nodename().to_owned();
        let refused = rustix::system::sethostname(host.as_bytes());
        (refused, std::fs::read_to_string("/proc/thread-self/status").unwrap())
    });
    let (refused, status) = thread.join().unwrap();
    assert_eq!(refused, Err(rustix::io::Errno::PERM));
    assert!(status.contains("Seccomp:\t2\n"), "{status}");
}
