//! Which device nodes the processes of a cgroup may open and make.
//!
//! The rules of the specification are an ordered list of "allow" and "deny". They are folded into a
//! [`Policy`] first: a default and its exceptions, which is what version 1 can hold. Version 2 has no
//! files for devices but asks a program attached to the cgroup; the same policy is compiled to one.
//! So the two versions mean the same. What a policy cannot hold is refused, never approximated.

mod program;

use std::path::Path;

use hull_oci::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use hull_sys::{Context, bpf};
use rustix::fs::{Mode, OFlags, open};

use crate::Cgroup;
use crate::error::{Error, Result};
use crate::file;
use crate::hierarchy::Dialect;

/// What a process may do with a device: bits of `r`, `w`, `m` (mknod).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access(u8);

impl Access {
    const READ: u8 = 1;
    const WRITE: u8 = 2;
    const MKNOD: u8 = 4;
    const ALL: Self = Self(Self::READ | Self::WRITE | Self::MKNOD);

    fn parse(text: &str) -> Result<Self> {
        text.chars().try_fold(Self(0), |Self(bits), letter| match letter {
            'r' => Ok(Self(bits | Self::READ)),
            'w' => Ok(Self(bits | Self::WRITE)),
            'm' => Ok(Self(bits | Self::MKNOD)),
            _ => Err(Error::Invalid(format!("device access {text:?} is not made of r, w and m"))),
        })
    }

    fn text(self) -> String {
        [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MKNOD, 'm')]
            .iter()
            .filter_map(|(bit, letter)| (self.0 & bit != 0).then_some(*letter))
            .collect()
    }
}

/// The two kinds of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Char,
}

/// A set of devices; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Devices {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
}

impl Devices {
    /// Whether every device of `other` is one of these.
    fn contain(&self, other: &Self) -> bool {
        let covers = |mine: Option<u32>, theirs| mine.is_none() || mine == theirs;
        self.kind == other.kind && covers(self.major, other.major) && covers(self.minor, other.minor)
    }

    /// Whether some device is of both.
    fn meet(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }

    fn text(&self) -> String {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        format!("{kind} {}:{}", number(self.major), number(self.minor))
    }
}

/// A default, and the devices for which the opposite holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Policy {
    allow: bool,
    exceptions: Vec<(Devices, Access)>,
}

/// Nodes that every container has in its /dev, and its pseudo terminals: allowed whatever the rules say,
/// as the specification requires these nodes to work. Majors and minors: `admin-guide/devices.txt`.
const STANDARD: [(u32, Option<u32>); 8] = [
    (1, Some(3)), // null
    (1, Some(5)), // zero
    (1, Some(7)), // full
    (1, Some(8)), // random
    (1, Some(9)), // urandom
    (5, Some(0)), // tty
    (5, Some(2)), // ptmx
    (136, None),  // pts/*
];

impl Policy {
    /// Folds rules, given in order of application, over "deny all".
    fn from_rules(rules: &[LinuxDeviceCgroup]) -> Result<Self> {
        let mut policy = Self { allow: false, exceptions: Vec::new() };
        for rule in rules {
            policy.add(rule)?;
        }
        if !policy.allow {
            for (major, minor) in STANDARD {
                policy.except(Devices { kind: Kind::Char, major: Some(major), minor }, Access::ALL);
            }
        }
        Ok(policy)
    }

    fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<()> {
        let access = rule.access().as_deref().map_or(Ok(Access::ALL), Access::parse)?;
        let (major, minor) = (number(rule.major())?, number(rule.minor())?);
        let kinds: &[Kind] = match rule.typ() {
            None | Some(LinuxDeviceType::A) => &[Kind::Block, Kind::Char],
            Some(LinuxDeviceType::B) => &[Kind::Block],
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => &[Kind::Char],
            Some(LinuxDeviceType::P) => return Err(Error::Invalid("a fifo needs no device rule".to_owned())),
        };
        if kinds.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
            *self = Self { allow: rule.allow(), exceptions: Vec::new() };
            return Ok(());
        }
        for kind in kinds {
            let devices = Devices { kind: *kind, major, minor };
            match rule.allow() == self.allow {
                true => self.unexcept(devices, access)?,
                false => self.except(devices, access),
            }
        }
        Ok(())
    }

    /// For `devices`, the opposite of the default holds from now on.
    fn except(&mut self, devices: Devices, access: Access) {
        match self.exceptions.iter_mut().find(|(known, _)| *known == devices) {
            Some((_, known)) => known.0 |= access.0,
            None => self.exceptions.push((devices, access)),
        }
    }

    /// For `devices`, the default holds again. Part of a wider exception cannot be taken back.
    fn unexcept(&mut self, devices: Devices, access: Access) -> Result<()> {
        let held = |(known, bits): &&(Devices, Access)| known.meet(&devices) && bits.0 & access.0 != 0;
        if let Some((wider, _)) =
            self.exceptions.iter().filter(held).find(|(known, _)| !devices.contain(known))
        {
            return Err(Error::Unsupported(format!(
                "device rule for {} takes back only part of the earlier one for {}",
                devices.text(),
                wider.text()
            )));
        }
        for (known, bits) in &mut self.exceptions {
            if devices.contain(known) {
                bits.0 &= !access.0;
            }
        }
        self.exceptions.retain(|(_, bits)| bits.0 != 0);
        Ok(())
    }
}

pub(crate) fn apply(cgroup: &Cgroup, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let policy = Policy::from_rules(rules)?;
    match cgroup.controller("devices") {
        Some(place) if place.hierarchy.dialect() == Dialect::V1 => write_v1(&place.dir, &policy),
        _ => attach_v2(cgroup, &policy),
    }
}

fn write_v1(dir: &Path, policy: &Policy) -> Result<()> {
    let (default, exception) = match policy.allow {
        true => ("devices.allow", "devices.deny"),
        false => ("devices.deny", "devices.allow"),
    };
    file::write(dir, default, "a")?;
    let lines =
        policy.exceptions.iter().map(|(devices, access)| format!("{} {}", devices.text(), access.text()));
    file::write_lines(dir, exception, lines)
}

fn attach_v2(cgroup: &Cgroup, policy: &Policy) -> Result<()> {
    if policy.allow && policy.exceptions.is_empty() {
        return Ok(());
    }
    let place = cgroup
        .unified()
        .ok_or_else(|| Error::Unsupported("this host has no devices controller for cgroups".to_owned()))?;
    let dir = open(&place.dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).on("open", &place.dir)?;
    let program = bpf::load(bpf::Question::Device, &program::compile(policy))?;
    Ok(bpf::replace_device_program(&dir, &program)?)
}

/// A device number of a rule; absent and negative are "any".
fn number(value: Option<i64>) -> Result<Option<u32>> {
    match value {
        None => Ok(None),
        Some(value) if value < 0 => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_| Error::Invalid(format!("device number {value} is out of range"))),
    }
}

#[cfg(test)]
mod tests;
