//! The limits of a container in the words of systemd.resource-control(5), for what it has words. The rest is set in the
//! cgroup alone, where systemd does not look.

use hull_oci::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources};

use super::wire::{Property, Value};
use crate::error::Result;
use crate::hierarchy::{Hierarchies, Version};
use crate::limits::{cpu, io};

/// The properties of a scope with these limits.
pub(super) fn of(resources: &LinuxResources) -> Result<Vec<Property>> {
    let v2 = Hierarchies::of_host()?.version() == Version::V2;
    Ok(in_version(resources, v2))
}

pub(super) fn in_version(resources: &LinuxResources, v2: bool) -> Vec<Property> {
    let mut properties = Vec::new();
    properties.extend(resources.memory().iter().flat_map(|memory| self::memory(memory, v2)));
    properties.extend(resources.cpu().iter().flat_map(|cpu| self::cpu(cpu, v2)));
    if let Some(limit) =
        resources.pids().as_ref().map(hull_oci::runtime::LinuxPids::limit).filter(|n| *n != 0)
    {
        properties.push(("TasksMax", number(limit)));
    }
    let weight = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight > 0);
    properties.extend(weight.map(|weight| match v2 {
        true => ("IOWeight", Value::Number(io::weight(weight))),
        false => ("BlockIOWeight", Value::Number(u64::from(weight))),
    }));
    properties.extend(resources.devices().iter().flat_map(|rules| devices(rules)));
    properties
}

/// Less than nothing is "no limit", which systemd writes as the largest number.
fn number(value: i64) -> Value {
    Value::Number(u64::try_from(value).unwrap_or(u64::MAX))
}

fn memory(memory: &LinuxMemory, v2: bool) -> Vec<Property> {
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    let limit = given(memory.limit());
    let mut properties = Vec::new();
    properties.extend(limit.map(|limit| (if v2 { "MemoryMax" } else { "MemoryLimit" }, number(limit))));
    if v2 {
        properties.extend(given(memory.reservation()).map(|low| ("MemoryLow", number(low))));
        let swap = match (given(memory.swap()), limit) {
            (Some(swap), Some(limit)) if swap > 0 && limit > 0 => Some((swap - limit).max(0)),
            (Some(swap), _) if swap < 0 => Some(-1),
            _ => None,
        };
        properties.extend(swap.map(|swap| ("MemorySwapMax", number(swap))));
    }
    properties
}

fn cpu(cpu: &LinuxCpu, v2: bool) -> Vec<Property> {
    let mut properties = Vec::new();
    let shares = cpu.shares().filter(|shares| *shares > 0);
    properties.extend(shares.map(|shares| match v2 {
        true => ("CPUWeight", Value::Number(cpu::weight(shares))),
        false => ("CPUShares", Value::Number(shares)),
    }));
    let period = cpu.period().filter(|period| *period > 0);
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        let per_second = u64::try_from(quota).map_or(u64::MAX, |quota| per_second(quota, period));
        properties.push(("CPUQuotaPerSecUSec", Value::Number(per_second)));
    }
    properties.extend(period.map(|period| ("CPUQuotaPeriodUSec", Value::Number(period))));
    if v2 {
        let set = |list: &Option<String>| list.as_deref().filter(|list| !list.is_empty()).map(mask);
        properties.extend(set(cpu.cpus()).map(|mask| ("AllowedCPUs", Value::Bytes(mask))));
        properties.extend(set(cpu.mems()).map(|mask| ("AllowedMemoryNodes", Value::Bytes(mask))));
    }
    properties
}

/// Microseconds of a second, to a hundredth of a processor: systemd rounds down, and a quota must not shrink by that.
fn per_second(quota: u64, period: Option<u64>) -> u64 {
    let exact = quota.saturating_mul(1_000_000) / period.unwrap_or(cpu::DEFAULT_PERIOD);
    exact.div_ceil(10_000).saturating_mul(10_000)
}

/// A list like `0-2,8` as bits, the lowest first.
fn mask(list: &str) -> Vec<u8> {
    let mut bits = Vec::new();
    for number in crate::details::numbers(list) {
        let (byte, bit) = (usize::from(number / 8), number % 8);
        if bits.len() <= byte {
            bits.resize(byte + 1, 0);
        }
        bits[byte] |= 1 << bit;
    }
    bits
}

/// Only what the rules allow. systemd has no word for a denial, so with one behind an allowance nothing is said, and
/// the rules are in the cgroup alone.
fn devices(rules: &[LinuxDeviceCgroup]) -> Vec<Property> {
    let all = |rule: &LinuxDeviceCgroup| {
        matches!(rule.typ(), None | Some(LinuxDeviceType::A))
            && [rule.major(), rule.minor()].iter().all(|number| number.is_none_or(|number| number < 0))
    };
    // A rule for everything makes those before it void.
    let last = rules.iter().rposition(all);
    let rest = &rules[last.map_or(0, |at| at + 1)..];
    let open = last.is_some_and(|at| rules[at].allow());
    if open || rest.iter().any(|rule| !rule.allow()) {
        return Vec::new();
    }
    let standard =
        ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2"].map(|node| (format!("/dev/char/{node}"), "rwm"));
    let pairs = standard.into_iter().chain([("char-pts".to_owned(), "rwm")]);
    let mut pairs: Vec<_> = pairs.map(|(node, access)| (node, access.to_owned())).collect();
    pairs.extend(rest.iter().filter_map(device));
    vec![("DevicePolicy", Value::Text("strict".to_owned())), ("DeviceAllow", Value::Pairs(pairs))]
}

fn device(rule: &LinuxDeviceCgroup) -> Option<(String, String)> {
    let kind = match rule.typ()? {
        LinuxDeviceType::B => "block",
        LinuxDeviceType::C | LinuxDeviceType::U => "char",
        _ => return None,
    };
    let number = |value: Option<i64>| value.filter(|value| *value >= 0);
    let node = match (number(rule.major()), number(rule.minor())) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{}", group(kind, major)?),
        (None, _) => format!("{kind}-*"),
    };
    Some((node, rule.access().clone().unwrap_or_else(|| "rwm".to_owned())))
}

/// The name of a major number in /proc/devices.
fn group(kind: &str, major: i64) -> Option<String> {
    let text = std::fs::read_to_string("/proc/devices").ok()?;
    let header = if kind == "block" { "Block devices:" } else { "Character devices:" };
    let lines = text.lines().skip_while(|line| *line != header).skip(1).take_while(|line| !line.is_empty());
    let numbered = |line: &str| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then(|| name.to_owned())
    };
    lines.filter_map(numbered).next()
}
