//! Device nodes, and which devices may be opened.

use std::path::PathBuf;

use hull_oci::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::{Error, Result};

/// A device of the host, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// Path in the container.
    pub(crate) path: PathBuf,
    /// Whether it is a block device.
    pub(crate) block: bool,
    /// Its numbers.
    pub(crate) major: i64,
    /// Its numbers.
    pub(crate) minor: i64,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Its owner.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
    /// "rwm" or fewer.
    pub(crate) access: String,
}

/// What a container may have of the host's devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Devices {
    /// With a node.
    pub(crate) nodes: Vec<HostDevice>,
    /// By rule alone: "c 1:3 mr".
    pub(crate) rules: Vec<String>,
}

/// What everyone may: make any node (without opening it), and open what every container has.
const STANDARD: [(char, Option<i64>, Option<i64>, &str); 10] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"), // null
    ('c', Some(1), Some(5), "rwm"), // zero
    ('c', Some(1), Some(7), "rwm"), // full
    ('c', Some(1), Some(8), "rwm"), // random
    ('c', Some(1), Some(9), "rwm"), // urandom
    ('c', Some(5), Some(0), "rwm"), // tty
    ('c', Some(5), Some(2), "rwm"), // ptmx
    ('c', Some(136), None, "rwm"),  // pts
];

impl Devices {
    /// The nodes to be made and the rules of the device cgroup.
    pub(super) fn into_parts(self, privileged: bool) -> (Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>) {
        let nodes = self.nodes.iter().filter_map(node).collect();
        if privileged {
            return (nodes, vec![everything(true)]);
        }
        let standard =
            STANDARD.iter().filter_map(|&(kind, major, minor, access)| rule(kind, major, minor, access));
        let own = self.nodes.iter().filter_map(|device| {
            let kind = if device.block { 'b' } else { 'c' };
            rule(kind, Some(device.major), Some(device.minor), &device.access)
        });
        let given = self.rules.iter().filter_map(|text| parse_rule(text));
        let rules = std::iter::once(everything(false)).chain(standard).chain(own).chain(given).collect();
        (nodes, rules)
    }
}

fn everything(allow: bool) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_access(Some("rwm".to_owned()));
    rule
}

fn node(device: &HostDevice) -> Option<LinuxDevice> {
    LinuxDeviceBuilder::default()
        .path(device.path.clone())
        .typ(if device.block { LinuxDeviceType::B } else { LinuxDeviceType::C })
        .major(device.major)
        .minor(device.minor)
        .file_mode(device.mode)
        .uid(device.uid)
        .gid(device.gid)
        .build()
        .ok()
}

fn rule(kind: char, major: Option<i64>, minor: Option<i64>, access: &str) -> Option<LinuxDeviceCgroup> {
    let kind = match kind {
        'c' => LinuxDeviceType::C,
        'b' => LinuxDeviceType::B,
        'a' => LinuxDeviceType::A,
        _ => return None,
    };
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).access(access).build().ok()?;
    rule.set_major(major).set_minor(minor);
    Some(rule)
}

/// Checks a `--device-cgroup-rule`.
pub(crate) fn check_rule(text: &str) -> Result<()> {
    match parse_rule(text) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!("invalid device cgroup rule format: '{text}'"))),
    }
}

/// Reads "c 1:3 mr", "a *:* rwm".
fn parse_rule(text: &str) -> Option<LinuxDeviceCgroup> {
    let mut words = text.split_ascii_whitespace();
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    let known = !access.is_empty() && access.chars().all(|letter| "rwm".contains(letter));
    let kind = Some(kind).filter(|kind| kind.len() == 1)?.chars().next()?;
    if words.next().is_some() || !known {
        return None;
    }
    rule(kind, number(major)?, number(minor)?, access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule = parse_rule("c 42:* rw").unwrap();
        assert_eq!((rule.major(), rule.minor(), rule.access().as_deref()), (Some(42), None, Some("rw")));
        for text in ["", "c 1:3", "d 1:3 r", "c 1 r", "c 1:3 x", "c 1:x r", "c 1:3 r r", "cc 1:3 r"] {
            assert!(parse_rule(text).is_none(), "{text}");
        }
    }

    #[test]
    fn everything_is_denied_first() {
        let (_, rules) = Devices::default().into_parts(false);
        assert!(!rules[0].allow());
        assert!(rules[1..].iter().all(LinuxDeviceCgroup::allow));
        let (_, rules) = Devices::default().into_parts(true);
        assert!(rules.len() == 1 && rules[0].allow());
    }
}
