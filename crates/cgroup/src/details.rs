//! What a cgroup accounts for beyond [`Stats`](crate::Stats): for who shows everything, not for who asks often.

use std::path::Path;

use crate::Cgroup;
use crate::file::{number, read, words};
use crate::hierarchy::{Dialect, Place};

/// One resource with its limit, in bytes; [`u64::MAX`] is the limit of who has none in version 2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// In use.
    pub usage: u64,
    /// The most that was ever in use; 0 where it is not recorded.
    pub max: u64,
    /// How often the limit was met.
    pub failures: u64,
    /// The limit.
    pub limit: u64,
}

/// Processors and memory nodes that may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpuset {
    /// Processors, by number.
    pub cpus: Vec<u16>,
    /// Memory nodes, by number.
    pub mems: Vec<u16>,
    /// The switches of version 1 by their names (`cpu_exclusive`, …).
    pub switches: Vec<(&'static str, i64)>,
}

/// All of it. What the host does not account is zero or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Memory.
    pub memory: Counter,
    /// Memory and swap together, also where the kernel counts them apart.
    pub swap: Counter,
    /// The kernel's own memory.
    pub kernel: Counter,
    /// Buffers of TCP; version 1 only.
    pub kernel_tcp: Counter,
    /// Time in user mode and in the kernel of each processor, in nanoseconds; version 1 only.
    pub per_cpu: Vec<(u64, u64)>,
    /// Processors and memory nodes.
    pub cpuset: Cpuset,
    /// Huge pages by their size (`2MB`).
    pub huge_pages: Vec<(String, Counter)>,
}

const SWITCHES: [&str; 9] = [
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
];

pub(crate) fn of(cgroup: &Cgroup) -> Details {
    let mut details = Details::default();
    if let Some(Place { hierarchy, dir }) = cgroup.controller("memory") {
        match hierarchy.dialect() {
            Dialect::V1 => memory_v1(&dir, &mut details),
            Dialect::V2 => memory_v2(&dir, &mut details),
        }
    }
    details.per_cpu = cgroup.controller("cpuacct").map(|place| per_cpu(&place.dir)).unwrap_or_default();
    details.cpuset = cgroup.controller("cpuset").map(cpuset).unwrap_or_default();
    details.huge_pages = cgroup.controller("hugetlb").map(|place| huge_pages(&place)).unwrap_or_default();
    details
}

fn memory_v1(dir: &Path, details: &mut Details) {
    let counter = |family: &str| Counter {
        usage: number(dir, &format!("{family}.usage_in_bytes")).unwrap_or(0),
        max: number(dir, &format!("{family}.max_usage_in_bytes")).unwrap_or(0),
        failures: number(dir, &format!("{family}.failcnt")).unwrap_or(0),
        limit: number(dir, &format!("{family}.limit_in_bytes")).unwrap_or(0),
    };
    details.memory = counter("memory");
    details.swap = counter("memory.memsw");
    details.kernel = counter("memory.kmem");
    details.kernel_tcp = counter("memory.kmem.tcp");
}

fn memory_v2(dir: &Path, details: &mut Details) {
    // A file that holds "max" is there and has no number.
    let limit = |file: &str| if dir.join(file).exists() { number(dir, file).unwrap_or(u64::MAX) } else { 0 };
    let current = |file: &str| number(dir, file).unwrap_or(0);
    let failures = |file: &str| crate::file::pair(dir, file, "max").unwrap_or(0);
    details.memory = Counter {
        usage: current("memory.current"),
        max: current("memory.peak"),
        failures: failures("memory.events"),
        limit: limit("memory.max"),
    };
    details.swap = Counter {
        usage: details.memory.usage + current("memory.swap.current"),
        max: 0,
        failures: failures("memory.swap.events"),
        limit: limit("memory.max").saturating_add(limit("memory.swap.max")),
    };
    details.kernel.usage = crate::file::pair(dir, "memory.stat", "kernel").unwrap_or(0);
}

/// Lines of the form `cpu user system` below a header.
fn per_cpu(dir: &Path) -> Vec<(u64, u64)> {
    let text = read(dir, "cpuacct.usage_all").unwrap_or_default();
    let line = |line: &str| {
        let mut numbers = line.split(' ').skip(1).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    text.lines().skip(1).filter_map(line).collect()
}

fn cpuset(Place { hierarchy, dir }: Place) -> Cpuset {
    let (cpus, mems, switches) = match hierarchy.dialect() {
        Dialect::V1 => ("cpuset.cpus", "cpuset.mems", &SWITCHES[..]),
        Dialect::V2 => ("cpuset.cpus.effective", "cpuset.mems.effective", &SWITCHES[..0]),
    };
    let list =
        |file| words(&dir, file).ok().and_then(|words| Some(numbers(words.first()?))).unwrap_or_default();
    let value = |name| read(&dir, &format!("cpuset.{name}")).ok()?.trim().parse().ok();
    Cpuset {
        cpus: list(cpus),
        mems: list(mems),
        switches: switches.iter().filter_map(|name| Some((*name, value(name)?))).collect(),
    }
}

/// The numbers of a list like `0-2,5`.
pub(crate) fn numbers(list: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

fn huge_pages(place: &Place) -> Vec<(String, Counter)> {
    let (usage, max, limit) = match place.hierarchy.dialect() {
        Dialect::V1 => ("usage_in_bytes", "max_usage_in_bytes", "limit_in_bytes"),
        Dialect::V2 => ("current", "peak", "max"),
    };
    let entries = std::fs::read_dir(&place.dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(usage)?.strip_suffix('.')?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    let mut sizes: Vec<String> = entries.filter_map(size).collect();
    sizes.sort();
    let counter = |size: String| {
        let value = |file: &str| number(&place.dir, &format!("hugetlb.{size}.{file}"));
        let failures = match place.hierarchy.dialect() {
            Dialect::V1 => value("failcnt"),
            Dialect::V2 => crate::file::pair(&place.dir, &format!("hugetlb.{size}.events"), "max"),
        };
        let counter = Counter {
            usage: value(usage).unwrap_or(0),
            max: value(max).unwrap_or(0),
            failures: failures.unwrap_or(0),
            limit: value(limit).unwrap_or(u64::MAX),
        };
        (size, counter)
    };
    sizes.into_iter().map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_numbers_and_ranges() {
        assert_eq!(numbers("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(numbers("7"), [7]);
        assert_eq!(numbers(""), Vec::<u16>::new());
    }
}
