//! Limits, as the cgroup takes them.

use hull_oci::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder,
    LinuxWeightDevice, LinuxWeightDeviceBuilder,
};

use super::built;
use crate::Result;
use crate::model::Resources;

/// Microseconds of a period for `--cpus`.
const PERIOD: u64 = 100_000;

/// Block devices by the numbers of their paths, and what is asked for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Throttles {
    /// Weights: major, minor, weight.
    pub(crate) weights: Vec<(i64, i64, u16)>,
    /// Bytes read per second: major, minor, rate.
    pub(crate) read_bps: Vec<(i64, i64, u64)>,
    /// Bytes written per second.
    pub(crate) write_bps: Vec<(i64, i64, u64)>,
    /// Reads per second.
    pub(crate) read_iops: Vec<(i64, i64, u64)>,
    /// Writes per second.
    pub(crate) write_iops: Vec<(i64, i64, u64)>,
}

/// The limits of a container.
pub(crate) fn of(
    wanted: &Resources,
    throttles: &Throttles,
    devices: Vec<LinuxDeviceCgroup>,
) -> Result<LinuxResources> {
    let mut resources =
        LinuxResourcesBuilder::default().devices(devices).memory(memory(wanted)).cpu(cpu(wanted));
    if let Some(block_io) = block_io(wanted, throttles)? {
        resources = resources.block_io(block_io);
    }
    if let Some(limit) = wanted.pids_limit {
        let limit = if limit > 0 { limit } else { -1 };
        resources = resources.pids(built(LinuxPidsBuilder::default().limit(limit).build())?);
    }
    built(resources.build())
}

fn positive(value: i64) -> Option<i64> {
    Some(value).filter(|value| *value > 0)
}

fn memory(wanted: &Resources) -> LinuxMemory {
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(positive(wanted.memory))
        .set_reservation(positive(wanted.memory_reservation))
        .set_swap(Some(wanted.memory_swap).filter(|swap| *swap != 0))
        .set_kernel_tcp(positive(wanted.kernel_memory_tcp))
        .set_swappiness(wanted.memory_swappiness.and_then(|value| u64::try_from(value).ok()))
        .set_disable_oom_killer(wanted.oom_kill_disable.filter(|disabled| *disabled));
    memory
}

fn cpu(wanted: &Resources) -> LinuxCpu {
    let mut cpu = LinuxCpu::default();
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    cpu.set_shares(unsigned(wanted.cpu_shares))
        .set_realtime_period(unsigned(wanted.cpu_realtime_period))
        .set_realtime_runtime(positive(wanted.cpu_realtime_runtime))
        .set_cpus(Some(wanted.cpuset_cpus.clone()).filter(|set| !set.is_empty()))
        .set_mems(Some(wanted.cpuset_mems.clone()).filter(|set| !set.is_empty()));
    if wanted.nano_cpus > 0 {
        let quota = i128::from(wanted.nano_cpus) * i128::from(PERIOD) / 1_000_000_000;
        cpu.set_period(Some(PERIOD)).set_quota(i64::try_from(quota).ok());
    } else {
        cpu.set_period(unsigned(wanted.cpu_period))
            .set_quota(Some(wanted.cpu_quota).filter(|quota| *quota != 0));
    }
    cpu
}

fn block_io(wanted: &Resources, throttles: &Throttles) -> Result<Option<LinuxBlockIo>> {
    let mut block_io = LinuxBlockIoBuilder::default()
        .weight_device(throttles.weights.iter().map(weight).collect::<Result<Vec<_>>>()?)
        .throttle_read_bps_device(rates(&throttles.read_bps)?)
        .throttle_write_bps_device(rates(&throttles.write_bps)?)
        .throttle_read_iops_device(rates(&throttles.read_iops)?)
        .throttle_write_iops_device(rates(&throttles.write_iops)?);
    if wanted.blkio_weight > 0 {
        block_io = block_io.weight(wanted.blkio_weight);
    }
    let nothing = wanted.blkio_weight == 0
        && throttles.weights.is_empty()
        && [&throttles.read_bps, &throttles.write_bps, &throttles.read_iops, &throttles.write_iops]
            .iter()
            .all(|rates| rates.is_empty());
    if nothing { Ok(None) } else { built(block_io.build()).map(Some) }
}

fn weight(&(major, minor, weight): &(i64, i64, u16)) -> Result<LinuxWeightDevice> {
    built(LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(weight).build())
}

fn rates(rates: &[(i64, i64, u64)]) -> Result<Vec<LinuxThrottleDevice>> {
    let build = |&(major, minor, rate): &(i64, i64, u64)| {
        built(LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate).build())
    };
    rates.iter().map(build).collect()
}
