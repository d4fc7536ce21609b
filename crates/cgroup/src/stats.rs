//! What the processes of a cgroup have used, in the units that Docker's API reports.

use std::path::Path;

use crate::Cgroup;
use crate::error::Result;
use crate::file::{number, pair, pairs, read};
use crate::hierarchy::{Dialect, Place};

/// Everything a cgroup accounts for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory and swap.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Total.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Total of each processor; empty on version 2, which does not account it.
    pub per_cpu: Vec<u64>,
    /// Enforcement periods with a quota that have passed.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// In use, page cache included.
    pub usage: u64,
    /// The most that was ever in use, where the kernel records it.
    pub max_usage: Option<u64>,
    /// The limit; `None` is unlimited.
    pub limit: Option<u64>,
    /// Swap in use.
    pub swap: u64,
    /// How often the limit was met.
    pub failures: u64,
    /// Every counter of `memory.stat`.
    pub counters: Vec<(String, u64)>,
}

impl Memory {
    /// One counter of `memory.stat`.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// Tasks: processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pids {
    /// Alive now.
    pub current: u64,
    /// The limit; `None` is unlimited.
    pub limit: Option<u64>,
}

/// Block devices. Operations are named `read`, `write`, and where the kernel tells them also
/// `sync`, `async`, `discard`, `total`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blkio {
    /// Bytes transferred, per device and operation.
    pub bytes: Vec<Device>,
    /// Requests made, per device and operation.
    pub requests: Vec<Device>,
}

/// One counter of one block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// The operation, in lower case.
    pub operation: String,
    /// The count.
    pub value: u64,
}

/// Nanoseconds of one tick of `cpuacct.stat`: USER_HZ is 100 on every architecture.
const TICK: u64 = 10_000_000;

pub(crate) fn of(cgroup: &Cgroup) -> Result<Stats> {
    let at = |controller| cgroup.controller(controller);
    Ok(Stats {
        cpu: cpu(at("cpu"), at("cpuacct")),
        memory: at("memory").map(memory).unwrap_or_default(),
        pids: at("pids").map(pids).unwrap_or_default(),
        blkio: at("blkio").or_else(|| at("io")).map(blkio).unwrap_or_default(),
    })
}

pub(crate) fn oom_kills(cgroup: &Cgroup) -> u64 {
    let Some(place) = cgroup.controller("memory") else { return 0 };
    let file = match place.hierarchy.dialect() {
        Dialect::V1 => "memory.oom_control",
        Dialect::V2 => "memory.events",
    };
    pair(&place.dir, file, "oom_kill").unwrap_or(0)
}

fn cpu(cpu: Option<Place>, acct: Option<Place>) -> Cpu {
    let mut stats = Cpu::default();
    let Some(place) = cpu else { return stats };
    for (key, value) in pairs(&place.dir, "cpu.stat") {
        match key.as_str() {
            "usage_usec" => stats.total = value * 1000,
            "user_usec" => stats.user = value * 1000,
            "system_usec" => stats.system = value * 1000,
            "nr_periods" => stats.periods = value,
            "nr_throttled" => stats.throttled_periods = value,
            "throttled_usec" => stats.throttled = value * 1000,
            "throttled_time" => stats.throttled = value,
            _ => {}
        }
    }
    if let Some(acct) = acct.filter(|acct| acct.hierarchy.dialect() == Dialect::V1) {
        stats.total = number(&acct.dir, "cpuacct.usage").unwrap_or(0);
        stats.user = pair(&acct.dir, "cpuacct.stat", "user").unwrap_or(0) * TICK;
        stats.system = pair(&acct.dir, "cpuacct.stat", "system").unwrap_or(0) * TICK;
        let per_cpu = crate::file::words(&acct.dir, "cpuacct.usage_percpu").unwrap_or_default();
        stats.per_cpu = per_cpu.iter().filter_map(|word| word.parse().ok()).collect();
    }
    stats
}

fn memory(Place { hierarchy, dir }: Place) -> Memory {
    let counters = pairs(&dir, "memory.stat");
    match hierarchy.dialect() {
        Dialect::V1 => {
            let usage = number(&dir, "memory.usage_in_bytes").unwrap_or(0);
            // The kernel's "unlimited" is the largest page-aligned i64; page sizes differ.
            let unlimited = i64::MAX as u64 - (1 << 20);
            Memory {
                usage,
                max_usage: number(&dir, "memory.max_usage_in_bytes"),
                limit: number(&dir, "memory.limit_in_bytes").filter(|limit| *limit < unlimited),
                swap: number(&dir, "memory.memsw.usage_in_bytes")
                    .map_or(0, |both| both.saturating_sub(usage)),
                failures: number(&dir, "memory.failcnt").unwrap_or(0),
                counters,
            }
        }
        Dialect::V2 => Memory {
            usage: number(&dir, "memory.current").unwrap_or(0),
            max_usage: number(&dir, "memory.peak"),
            limit: number(&dir, "memory.max"),
            swap: number(&dir, "memory.swap.current").unwrap_or(0),
            failures: pair(&dir, "memory.events", "max").unwrap_or(0),
            counters,
        },
    }
}

fn pids(place: Place) -> Pids {
    Pids { current: number(&place.dir, "pids.current").unwrap_or(0), limit: number(&place.dir, "pids.max") }
}

fn blkio(Place { hierarchy, dir }: Place) -> Blkio {
    match hierarchy.dialect() {
        Dialect::V1 => {
            Blkio { bytes: v1_devices(&dir, "io_service_bytes"), requests: v1_devices(&dir, "io_serviced") }
        }
        Dialect::V2 => v2_devices(&read(&dir, "io.stat").unwrap_or_default()),
    }
}

/// Version 1: the counter of the scheduler in use, or of the throttle layer, which always counts.
fn v1_devices(dir: &Path, counter: &str) -> Vec<Device> {
    ["blkio.bfq", "blkio", "blkio.throttle"]
        .iter()
        .filter_map(|family| read(dir, &format!("{family}.{counter}_recursive")).ok())
        .map(|text| v1_lines(&text))
        .find(|devices| !devices.is_empty())
        .unwrap_or_default()
}

/// Lines of the form `8:0 Read 4096`; the last, `Total 4096`, belongs to no device.
fn v1_lines(text: &str) -> Vec<Device> {
    let device = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = numbers(words.next()?)?;
        let operation = words.next()?.to_ascii_lowercase();
        Some(Device { major, minor, operation, value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(device).collect()
}

/// Lines of the form `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn v2_devices(text: &str) -> Blkio {
    let mut blkio = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(numbers) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, operation) = match key {
                "rbytes" => (&mut blkio.bytes, "read"),
                "wbytes" => (&mut blkio.bytes, "write"),
                "rios" => (&mut blkio.requests, "read"),
                "wios" => (&mut blkio.requests, "write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(Device { major, minor, operation: operation.to_owned(), value });
        }
    }
    blkio
}

fn numbers(device: &str) -> Option<(u64, u64)> {
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(operation: &str, value: u64) -> Device {
        Device { major: 8, minor: 16, operation: operation.to_owned(), value }
    }

    #[test]
    fn reads_the_lines_of_version_1() {
        let lines = v1_lines("8:16 Read 4096\n8:16 Write 12\nTotal 4108\n");
        assert_eq!(lines, [device("read", 4096), device("write", 12)]);
    }

    #[test]
    fn reads_the_lines_of_version_2() {
        let blkio = v2_devices("8:16 rbytes=4096 wbytes=0 rios=1 wios=2 dbytes=9 dios=9\n7:0 \n");
        assert_eq!(blkio.bytes, [device("read", 4096), device("write", 0)]);
        assert_eq!(blkio.requests, [device("read", 1), device("write", 2)]);
    }
}
