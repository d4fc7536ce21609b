//! What a host can limit, for `info` and for warnings about what it cannot.

use std::path::Path;

use crate::error::Result;
use crate::hierarchy::{Dialect, Hierarchies, Hierarchy, Version};

/// Which limits this host can enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// The kind of host.
    pub version: Version,
    /// `memory.limit`.
    pub memory: bool,
    /// `memory.swap`.
    pub swap: bool,
    /// `memory.swappiness` (version 1 only).
    pub swappiness: bool,
    /// `memory.disableOOMKiller` (version 1 only).
    pub oom_kill_disable: bool,
    /// `cpu.shares`.
    pub cpu_shares: bool,
    /// `cpu.quota` and `cpu.period`.
    pub cpu_quota: bool,
    /// `cpu.cpus` and `cpu.mems`.
    pub cpuset: bool,
    /// `pids.limit`.
    pub pids: bool,
    /// `cpu.realtimePeriod` and `cpu.realtimeRuntime` (version 1 only).
    pub cpu_realtime: bool,
    /// `blockIO.weight`.
    pub io_weight: bool,
    /// `blockIO.weightDevice`.
    pub io_weight_device: bool,
    /// `blockIO.throttle*`.
    pub io_throttle: bool,
    /// A freezer.
    pub freezer: bool,
}

/// What this host can limit.
pub fn support() -> Result<Support> {
    let host = Hierarchies::of_host()?;
    let at = |name: &str| host.with(name).map(|h| (h.dialect(), h.mount()));
    // The files of a version 2 root cgroup are not those of its children, so there the controller decides.
    let offers = |name: &str, v1_file: &str| match at(name) {
        Some((Dialect::V1, mount)) => mount.join(v1_file).exists(),
        Some((Dialect::V2, _)) => true,
        None => false,
    };
    let only_v1 =
        |name: &str, file: &str| matches!(at(name), Some((Dialect::V1, mount)) if mount.join(file).exists());
    let v2 = host.iter().any(|h| h.dialect() == Dialect::V2);
    Ok(Support {
        version: host.version(),
        memory: at("memory").is_some(),
        swap: offers("memory", "memory.memsw.limit_in_bytes") && Path::new("/proc/swaps").exists(),
        swappiness: only_v1("memory", "memory.swappiness"),
        oom_kill_disable: only_v1("memory", "memory.oom_control"),
        cpu_shares: offers("cpu", "cpu.shares"),
        cpu_quota: offers("cpu", "cpu.cfs_quota_us"),
        cpuset: at("cpuset").is_some(),
        pids: at("pids").is_some(),
        io_weight: offers("blkio", "blkio.weight")
            || offers("blkio", "blkio.bfq.weight")
            || at("io").is_some(),
        cpu_realtime: only_v1("cpu", "cpu.rt_period_us"),
        io_weight_device: offers("blkio", "blkio.weight_device")
            || offers("blkio", "blkio.bfq.weight_device")
            || at("io").is_some(),
        io_throttle: offers("blkio", "blkio.throttle.read_bps_device") || at("io").is_some(),
        freezer: v2 || at("freezer").is_some(),
    })
}

/// Where version 2 is mounted, be it alone or beside version 1.
pub fn unified_mount() -> Option<&'static Path> {
    let host = Hierarchies::of_host().ok()?;
    host.iter().find(|h| h.dialect() == Dialect::V2).map(Hierarchy::mount)
}
