//! How much the container may use.

use hull_api::wire::host::{HostConfig, ThrottleDevice, Ulimit, WeightDevice};

use super::some;
use crate::values::{devices, numbers};

/// How much the container may use.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ResourceFlags {
    /// Relative weight of block I/O, 10 to 1000; 0 is the default
    #[arg(long, value_name = "uint16", default_value = "0", hide_default_value = true)]
    blkio_weight: u16,
    /// Relative weight of one block device
    #[arg(long, value_name = "list", value_parser = devices::weight)]
    blkio_weight_device: Vec<WeightDevice>,
    /// Microseconds of a scheduler period
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    cpu_period: Option<i64>,
    /// Microseconds of CPU time in a scheduler period
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    cpu_quota: Option<i64>,
    /// Microseconds of a real-time period
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    cpu_rt_period: Option<i64>,
    /// Microseconds of real-time CPU time in a period
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    cpu_rt_runtime: Option<i64>,
    /// Relative weight of CPU time
    #[arg(short, long, value_name = "int", value_parser = numbers::integer)]
    cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = numbers::nano_cpus)]
    cpus: Option<i64>,
    /// CPUs to run on (0-3, 0,1)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    cpuset_cpus: String,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    cpuset_mems: String,
    /// Most bytes a second read from a device
    #[arg(long, value_name = "list", value_parser = devices::bytes_rate)]
    device_read_bps: Vec<ThrottleDevice>,
    /// Most reads a second from a device
    #[arg(long, value_name = "list", value_parser = devices::operations_rate)]
    device_read_iops: Vec<ThrottleDevice>,
    /// Most bytes a second written to a device
    #[arg(long, value_name = "list", value_parser = devices::bytes_rate)]
    device_write_bps: Vec<ThrottleDevice>,
    /// Most writes a second to a device
    #[arg(long, value_name = "list", value_parser = devices::operations_rate)]
    device_write_iops: Vec<ThrottleDevice>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = numbers::bytes)]
    memory: Option<i64>,
    /// Memory that is left under pressure
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together; -1 is no limit
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes_or_unlimited)]
    memory_swap: Option<i64>,
    /// Swappiness of memory, 0 to 100
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    memory_swappiness: Option<i64>,
    /// Never kill for lack of memory
    #[arg(long)]
    oom_kill_disable: bool,
    /// Most bytes a second from each of its networks (10mb), or bits (10mbit)
    #[arg(long, value_name = "rate", value_parser = numbers::rate)]
    network_rate_in: Option<i64>,
    /// Most bytes a second to each of its networks (10mb), or bits (10mbit)
    #[arg(long, value_name = "rate", value_parser = numbers::rate)]
    network_rate_out: Option<i64>,
    /// How readily the kernel kills it, -1000 to 1000
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    oom_score_adj: Option<i64>,
    /// Limit of processes; -1 is no limit
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes)]
    shm_size: Option<i64>,
    /// Resource limits of processes
    #[arg(long, value_name = "ulimit", value_parser = numbers::ulimit)]
    ulimit: Vec<Ulimit>,
}

impl ResourceFlags {
    pub(super) fn apply(&self, host: &mut HostConfig) {
        let flags = self.clone();
        host.blkio_weight = flags.blkio_weight;
        host.blkio_weight_device = some(flags.blkio_weight_device);
        host.blkio_device_read_bps = some(flags.device_read_bps);
        host.blkio_device_read_iops = some(flags.device_read_iops);
        host.blkio_device_write_bps = some(flags.device_write_bps);
        host.blkio_device_write_iops = some(flags.device_write_iops);
        host.cpu_period = flags.cpu_period.unwrap_or(0);
        host.cpu_quota = flags.cpu_quota.unwrap_or(0);
        host.cpu_realtime_period = flags.cpu_rt_period.unwrap_or(0);
        host.cpu_realtime_runtime = flags.cpu_rt_runtime.unwrap_or(0);
        host.cpu_shares = flags.cpu_shares.unwrap_or(0);
        host.nano_cpus = flags.cpus.unwrap_or(0);
        host.cpuset_cpus = flags.cpuset_cpus;
        host.cpuset_mems = flags.cpuset_mems;
        host.memory = flags.memory.unwrap_or(0);
        host.memory_reservation = flags.memory_reservation.unwrap_or(0);
        host.memory_swap = flags.memory_swap.unwrap_or(0);
        host.memory_swappiness = flags.memory_swappiness.filter(|&swappiness| swappiness != -1);
        host.network_rate_in = flags.network_rate_in.unwrap_or(0);
        host.network_rate_out = flags.network_rate_out.unwrap_or(0);
        host.oom_kill_disable = Some(flags.oom_kill_disable);
        host.oom_score_adj = flags.oom_score_adj.unwrap_or(0);
        host.pids_limit = flags.pids_limit;
        host.shm_size = flags.shm_size.unwrap_or(0);
        host.ulimits = some(flags.ulimit);
    }
}
