//! Shares, quota and sets of processors.

use hull_oci::runtime::LinuxCpu;

use super::Setting;
use crate::Cgroup;
use crate::error::{Error, Result};
use crate::file;
use crate::hierarchy::Dialect;

/// The period that a quota without one refers to, in microseconds.
pub(crate) const DEFAULT_PERIOD: u64 = 100_000;

/// The cpuset controller: the same two files in both versions.
pub(super) fn sets(cpu: &LinuxCpu) -> Vec<Setting> {
    let cpus = cpu.cpus().as_ref().map(|list| Setting::new("cpuset.cpus", list));
    let mems = cpu.mems().as_ref().map(|list| Setting::new("cpuset.mems", list));
    cpus.into_iter().chain(mems).filter(|setting| !setting.value.is_empty()).collect()
}

pub(super) fn settings(dialect: Dialect, cpu: &LinuxCpu) -> Result<Vec<Setting>> {
    match dialect {
        Dialect::V1 => Ok(v1(cpu)),
        Dialect::V2 => v2(cpu),
    }
}

/// Version 2 has quota and period in one file: what is not named is what is set.
pub(super) fn completed(cgroup: &Cgroup, cpu: &LinuxCpu) -> LinuxCpu {
    let mut cpu = cpu.clone();
    let place = cgroup.controller("cpu").filter(|place| place.hierarchy.dialect() == Dialect::V2);
    let words = place.and_then(|place| file::words(&place.dir, "cpu.max").ok()).unwrap_or_default();
    if let [quota, period] = words.as_slice() {
        if positive(cpu.period()).is_none() {
            cpu.set_period(period.parse().ok().filter(|_| cpu.quota().is_some_and(|quota| quota != 0)));
        } else if cpu.quota().is_none_or(|quota| quota == 0) {
            cpu.set_quota(quota.parse().ok());
        }
    }
    cpu
}

fn v1(cpu: &LinuxCpu) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut push = |file: &str, value: Option<i128>| settings.extend(value.map(|v| Setting::new(file, v)));
    push("cpu.shares", positive(cpu.shares()));
    push("cpu.cfs_period_us", positive(cpu.period()));
    push("cpu.cfs_quota_us", cpu.quota().filter(|quota| *quota != 0).map(i128::from));
    push("cpu.cfs_burst_us", cpu.burst().map(i128::from));
    push("cpu.rt_period_us", positive(cpu.realtime_period()));
    push("cpu.rt_runtime_us", cpu.realtime_runtime().filter(|runtime| *runtime != 0).map(i128::from));
    push("cpu.idle", cpu.idle().map(i128::from));
    settings
}

fn v2(cpu: &LinuxCpu) -> Result<Vec<Setting>> {
    if positive(cpu.realtime_period()).is_some() || cpu.realtime_runtime().is_some_and(|runtime| runtime != 0)
    {
        return Err(Error::Unsupported("cgroup version 2 has no realtime limits".to_owned()));
    }
    let mut settings = Vec::new();
    if let Some(idle) = cpu.idle() {
        settings.push(Setting::new("cpu.idle", idle));
    }
    // An idle group has no weight, and the kernel refuses to set one.
    if let Some(shares) = cpu.shares().filter(|shares| *shares > 0 && cpu.idle() != Some(1)) {
        settings.push(Setting::new("cpu.weight", weight(shares)));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    if quota.is_some() || cpu.period().is_some_and(|period| period > 0) {
        let quota = quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        let period = cpu.period().filter(|period| *period > 0).unwrap_or(DEFAULT_PERIOD);
        settings.push(Setting::new("cpu.max", format!("{quota} {period}")));
    }
    if let Some(burst) = cpu.burst() {
        settings.push(Setting::new("cpu.max.burst", burst));
    }
    Ok(settings)
}

fn positive(value: Option<u64>) -> Option<i128> {
    value.filter(|value| *value > 0).map(i128::from)
}

/// The weight (1 to 10000) of version 2 for the shares (2 to 262144) of version 1.
///
/// The kernel's defaults are 1024 shares and weight 100, the ends of the ranges belong together, and a
/// power through these three points lies between: 10^((l² + 125·l)/612 − 7/34) with l = log2(shares).
/// The line through the two ends alone, used earlier, gave a default container the weight 39. This is
/// the formula that the OCI runtimes agreed on in 2025 (opencontainers/cgroups, crun).
pub(crate) fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // The three points are exact in the reals; do not let rounding errors lift them by one.
    ((10_f64.powf(exponent) - 1e-9).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::texts;
    use hull_oci::runtime::LinuxCpuBuilder;

    #[test]
    fn shares_become_weights() {
        assert_eq!([0, 2, 1024, 262_144, u64::MAX].map(weight), [1, 1, 100, 10_000, 10_000]);
        assert!((2..262_144).step_by(97).all(|shares| weight(shares) <= weight(shares + 1)));
    }

    #[test]
    fn a_quota_is_two_files_or_one() {
        let cpu = LinuxCpuBuilder::default().quota(150_000).period(50_000_u64).build().unwrap();
        let v1 = settings(Dialect::V1, &cpu).unwrap();
        assert_eq!(texts(&v1), ["cpu.cfs_period_us=50000", "cpu.cfs_quota_us=150000"]);
        assert_eq!(texts(&settings(Dialect::V2, &cpu).unwrap()), ["cpu.max=150000 50000"]);
    }

    #[test]
    fn no_quota_is_max() {
        let v2 = |cpu: LinuxCpuBuilder| texts(&settings(Dialect::V2, &cpu.build().unwrap()).unwrap());
        assert_eq!(v2(LinuxCpuBuilder::default().quota(-1)), ["cpu.max=max 100000"]);
        assert_eq!(v2(LinuxCpuBuilder::default().quota(20_000)), ["cpu.max=20000 100000"]);
        assert_eq!(v2(LinuxCpuBuilder::default().quota(0)), Vec::<String>::new());
    }

    #[test]
    fn empty_sets_are_not_written() {
        let cpu = LinuxCpuBuilder::default().cpus("0-1").mems("").build().unwrap();
        assert_eq!(texts(&sets(&cpu)), ["cpuset.cpus=0-1"]);
    }
}
