//! What `/containers/{id}/stats` streams: one object a second.

use super::{wire, zero};
use std::collections::BTreeMap;

wire! { snake_case
    /// One sample, with the one before it.
    pub struct Stats {
        name: String,
        id: String,
        /// "linux"; since version 1.52.
        #[serde(skip_serializing_if = "zero")]
        os_type: String,
        /// RFC 3339 with nanoseconds.
        read: String,
        preread: String,
        pids_stats: PidsStats,
        blkio_stats: BlkioStats,
        num_procs: u32,
        storage_stats: super::Empty,
        cpu_stats: CpuStats,
        precpu_stats: CpuStats,
        memory_stats: MemoryStats,
        #[serde(skip_serializing_if = "zero")]
        networks: BTreeMap<String, NetworkStats>,
    }
}

wire! { snake_case
    /// Processes and threads.
    pub struct PidsStats {
        #[serde(skip_serializing_if = "zero")]
        current: u64,
        #[serde(skip_serializing_if = "zero")]
        limit: u64,
    }
}

wire! { snake_case
    /// Block devices.
    pub struct BlkioStats {
        io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
        io_serviced_recursive: Option<Vec<BlkioEntry>>,
        io_queue_recursive: Option<Vec<BlkioEntry>>,
        io_service_time_recursive: Option<Vec<BlkioEntry>>,
        io_wait_time_recursive: Option<Vec<BlkioEntry>>,
        io_merged_recursive: Option<Vec<BlkioEntry>>,
        io_time_recursive: Option<Vec<BlkioEntry>>,
        sectors_recursive: Option<Vec<BlkioEntry>>,
    }
}

wire! { snake_case
    /// One counter of one device.
    pub struct BlkioEntry {
        major: u64,
        minor: u64,
        op: String,
        value: u64,
    }
}

wire! { snake_case
    /// CPU time.
    pub struct CpuStats {
        cpu_usage: CpuUsage,
        /// The machine's CPU time, nanoseconds.
        #[serde(skip_serializing_if = "zero")]
        system_cpu_usage: u64,
        #[serde(skip_serializing_if = "zero")]
        online_cpus: u32,
        throttling_data: ThrottlingData,
    }
}

wire! { snake_case
    /// The container's CPU time, nanoseconds.
    pub struct CpuUsage {
        total_usage: u64,
        #[serde(skip_serializing_if = "zero")]
        percpu_usage: Vec<u64>,
        usage_in_kernelmode: u64,
        usage_in_usermode: u64,
    }
}

wire! { snake_case
    /// How often the CPU limit bit.
    pub struct ThrottlingData {
        periods: u64,
        throttled_periods: u64,
        /// Nanoseconds.
        throttled_time: u64,
    }
}

wire! { snake_case
    /// Memory, bytes.
    pub struct MemoryStats {
        #[serde(skip_serializing_if = "zero")]
        usage: u64,
        #[serde(skip_serializing_if = "zero")]
        max_usage: u64,
        /// The kernel's memory.stat.
        #[serde(skip_serializing_if = "zero")]
        stats: BTreeMap<String, u64>,
        #[serde(skip_serializing_if = "zero")]
        failcnt: u64,
        #[serde(skip_serializing_if = "zero")]
        limit: u64,
    }
}

wire! { snake_case
    /// One interface's counters.
    pub struct NetworkStats {
        rx_bytes: u64,
        rx_packets: u64,
        rx_errors: u64,
        rx_dropped: u64,
        tx_bytes: u64,
        tx_packets: u64,
        tx_errors: u64,
        tx_dropped: u64,
        /// Hull's own: the most bytes a second that it may receive.
        #[serde(skip_serializing_if = "zero")]
        rx_rate: u64,
        /// The most bytes a second that it may send.
        #[serde(skip_serializing_if = "zero")]
        tx_rate: u64,
    }
}
