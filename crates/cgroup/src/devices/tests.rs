//! Policies against rules, and programs against policies.

use super::program::op;
use super::*;
use hull_oci::runtime::LinuxDeviceCgroupBuilder;

/// `+c 1:3 rw` or `-a *:* rwm`.
fn rule(text: &str) -> LinuxDeviceCgroup {
    let allow = text.starts_with('+');
    let mut words = text[1..].split(' ');
    let typ = match words.next().unwrap() {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        _ => LinuxDeviceType::C,
    };
    let (major, minor) = words.next().unwrap().split_once(':').unwrap();
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).typ(typ).access(words.next().unwrap());
    if let Ok(major) = major.parse::<i64>() {
        rule = rule.major(major);
    }
    if let Ok(minor) = minor.parse::<i64>() {
        rule = rule.minor(minor);
    }
    rule.build().unwrap()
}

fn policy(rules: &[&str]) -> Result<Policy> {
    Policy::from_rules(&rules.iter().map(|text| rule(text)).collect::<Vec<_>>())
}

/// Runs a device program as the kernel would; `access` in the kernel's bits.
fn run(program: &[u64], kind: u64, access: u64, major: u64, minor: u64) -> bool {
    let context = [kind | access << 16, major, minor];
    let mut registers = [0_u64; 11];
    let mut at = 0_usize;
    loop {
        let [op, regs, o0, o1, i0, i1, i2, i3] = program[at].to_ne_bytes();
        let (dst, src) = (usize::from(regs & 15), usize::from(regs >> 4));
        let offset = i16::from_ne_bytes([o0, o1]);
        let immediate = u64::from(u32::from_ne_bytes([i0, i1, i2, i3]));
        at += 1;
        let mut jump = false;
        match op {
            op::LOAD_WORD => registers[dst] = context[usize::try_from(offset).unwrap() / 4],
            op::MOVE => registers[dst] = registers[src],
            op::MOVE_IMM => registers[dst] = immediate,
            op::AND_IMM => registers[dst] &= immediate,
            op::SHIFT_RIGHT_IMM => registers[dst] >>= immediate,
            op::JUMP_NE_IMM => jump = registers[dst] != immediate,
            op::JUMP_EQ_IMM => jump = registers[dst] == immediate,
            op::EXIT => return registers[0] == 1,
            _ => panic!("unknown opcode {op:#x}"),
        }
        if jump {
            at = at.checked_add_signed(isize::from(offset)).unwrap();
        }
    }
}

/// The policy's own answer, straight from its definition.
fn allows(policy: &Policy, kind: Kind, access: u8, major: u32, minor: u32) -> bool {
    let device = Devices { kind, major: Some(major), minor: Some(minor) };
    let hit = policy.exceptions.iter().any(|(devices, bits)| {
        devices.contain(&device) && if policy.allow { bits.0 & access != 0 } else { access & !bits.0 == 0 }
    });
    policy.allow != hit
}

#[test]
fn the_program_answers_as_the_policy() {
    let policies: [&[&str]; 5] = [
        &[],
        &["+a *:* rwm"],
        &["-a *:* rwm", "+c *:* m", "+b *:* m", "+c 10:200 rwm", "+c 1:3 r"],
        &["+a *:* rwm", "-b 8:* w", "-c 1:3 rw"],
        &["+a *:0 r"],
    ];
    for rules in policies {
        let policy = policy(rules).unwrap();
        let program = program::compile(&policy);
        for (kind, number) in [(Kind::Block, 1), (Kind::Char, 2)] {
            for access in 1..8_u8 {
                for (major, minor) in [(1, 3), (8, 0), (8, 1), (10, 200), (136, 7), (5, 2), (4_000_000, 0)] {
                    let wanted = u64::from(access & 4 != 0)
                        | u64::from(access & 1 != 0) << 1
                        | u64::from(access & 2 != 0) << 2;
                    let got = run(&program, number, wanted, u64::from(major), u64::from(minor));
                    let expected = allows(&policy, kind, access, major, minor);
                    assert_eq!(got, expected, "{rules:?} {kind:?} {access} {major}:{minor}");
                }
            }
        }
    }
}

#[test]
fn no_rules_deny_all_but_the_standard_nodes() {
    let policy = policy(&[]).unwrap();
    assert!(allows(&policy, Kind::Char, Access::ALL.0, 1, 3));
    assert!(allows(&policy, Kind::Char, Access::ALL.0, 136, 4));
    assert!(!allows(&policy, Kind::Block, Access::READ, 8, 0));
    assert!(!allows(&policy, Kind::Char, Access::READ, 1, 1));
}

#[test]
fn later_rules_win() {
    let policy = policy(&["+a *:* rwm", "-a *:* rwm", "+b 8:0 rwm", "-b 8:* wm"]).unwrap();
    assert!(allows(&policy, Kind::Block, Access::READ, 8, 0));
    assert!(!allows(&policy, Kind::Block, Access::WRITE, 8, 0));
}

#[test]
fn part_of_a_wider_rule_is_refused_not_ignored() {
    let refused = policy(&["-a *:* rwm", "+b *:* rwm", "-b 8:0 w"]);
    assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
}

#[test]
fn bad_rules_are_refused() {
    assert!(matches!(policy(&["+c 1:3 rx"]), Err(Error::Invalid(_))));
    assert!(matches!(policy(&["+c 99999999999:3 r"]), Err(Error::Invalid(_))));
}
