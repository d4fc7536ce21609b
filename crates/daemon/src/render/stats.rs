//! One sample of `GET /containers/{id}/stats`.

use std::collections::BTreeMap;

use hull_api::version::ApiVersion;
use hull_api::wire::stats as wire;
use hull_engine::model::{Container, Resources};
use hull_engine::{InterfaceStats, StatsSample};

use super::time_or_never;

/// Since this version the operating system is told.
const WITH_SYSTEM: ApiVersion = ApiVersion { major: 1, minor: 52 };

/// A sample and the one before it: clients divide their differences. A container that does not run has zeros alone.
pub(crate) fn stats(
    container: &Container,
    before: Option<&StatsSample>,
    now: &StatsSample,
    version: ApiVersion,
) -> wire::Stats {
    let memory = &now.cgroup.memory;
    let nothing = wire::Stats {
        name: format!("/{}", container.name),
        id: container.id.clone(),
        os_type: if version < WITH_SYSTEM { String::new() } else { "linux".to_owned() },
        read: time_or_never(now.read),
        preread: time_or_never(before.and_then(|sample| sample.read)),
        ..wire::Stats::default()
    };
    if now.read.is_none() {
        return nothing;
    }
    // Without a limit, v2 says the largest number there is, and v1 nothing.
    let no_limit = if now.cgroup_v2 { u64::MAX } else { 0 };
    wire::Stats {
        pids_stats: wire::PidsStats {
            current: now.cgroup.pids.current,
            limit: now.cgroup.pids.limit.unwrap_or(no_limit),
        },
        blkio_stats: blkio(now),
        cpu_stats: cpu(now),
        precpu_stats: before.map(cpu).unwrap_or_default(),
        memory_stats: wire::MemoryStats {
            usage: memory.usage,
            max_usage: memory.max_usage.unwrap_or(0),
            stats: memory.counters.iter().cloned().collect::<BTreeMap<_, _>>(),
            failcnt: memory.failures,
            limit: memory.limit.unwrap_or_else(total_memory),
        },
        networks: now
            .networks
            .iter()
            .map(|(name, counters)| (name.clone(), interface(counters, &container.host.resources)))
            .collect(),
        ..nothing
    }
}

/// Without a limit, the machine's memory is the limit.
fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

fn cpu(sample: &StatsSample) -> wire::CpuStats {
    let cpu = &sample.cgroup.cpu;
    wire::CpuStats {
        cpu_usage: wire::CpuUsage {
            total_usage: cpu.total,
            percpu_usage: cpu.per_cpu.clone(),
            usage_in_kernelmode: cpu.system,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: sample.system_cpu,
        online_cpus: sample.online_cpus,
        throttling_data: wire::ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled,
        },
    }
}

fn blkio(sample: &StatsSample) -> wire::BlkioStats {
    macro_rules! entries {
        ($counters:expr) => {
            Some(
                $counters
                    .iter()
                    .map(|counter| wire::BlkioEntry {
                        major: counter.major,
                        minor: counter.minor,
                        op: counter.operation.clone(),
                        value: counter.value,
                    })
                    .collect(),
            )
        };
    }
    let bytes: Option<Vec<_>> = entries!(sample.cgroup.blkio.bytes);
    if sample.cgroup_v2 {
        let io_service_bytes_recursive = bytes.filter(|entries| !entries.is_empty());
        return wire::BlkioStats { io_service_bytes_recursive, ..wire::BlkioStats::default() };
    }
    wire::BlkioStats {
        io_service_bytes_recursive: bytes,
        io_serviced_recursive: entries!(sample.cgroup.blkio.requests),
        // The kernel's newer schedulers do not count these.
        io_queue_recursive: Some(Vec::new()),
        io_service_time_recursive: Some(Vec::new()),
        io_wait_time_recursive: Some(Vec::new()),
        io_merged_recursive: Some(Vec::new()),
        io_time_recursive: Some(Vec::new()),
        sectors_recursive: Some(Vec::new()),
    }
}

fn interface(counters: &InterfaceStats, limits: &Resources) -> wire::NetworkStats {
    let rate = |rate: i64| u64::try_from(rate).unwrap_or(0);
    wire::NetworkStats {
        rx_rate: rate(limits.network_rate_in),
        tx_rate: rate(limits.network_rate_out),
        rx_bytes: counters.rx_bytes,
        rx_packets: counters.rx_packets,
        rx_errors: counters.rx_errors,
        rx_dropped: counters.rx_dropped,
        tx_bytes: counters.tx_bytes,
        tx_packets: counters.tx_packets,
        tx_errors: counters.tx_errors,
        tx_dropped: counters.tx_dropped,
    }
}
