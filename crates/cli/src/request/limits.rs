//! The limits that a container gets, and that `update` changes.

use hull_api::wire::host::{HostConfig, UpdateRequest};

use crate::values::numbers;

/// The limits of a container. What is not said is zero for the daemon: no limit, or the one that is there.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LimitFlags {
    /// Relative weight of block I/O, 10 to 1000; 0 is the default
    #[arg(long, value_name = "uint16", default_value = "0", hide_default_value = true)]
    blkio_weight: u16,
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
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = numbers::bytes)]
    memory: Option<i64>,
    /// Memory that is left under pressure
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together; -1 is no limit
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes_or_unlimited)]
    memory_swap: Option<i64>,
    /// Most bytes a second from each of its networks (10mb), or bits (10mbit); -1 is no limit
    #[arg(long, value_name = "rate", value_parser = numbers::rate_or_unlimited, allow_hyphen_values = true)]
    network_rate_in: Option<i64>,
    /// Most bytes a second to each of its networks (10mb), or bits (10mbit); -1 is no limit
    #[arg(long, value_name = "rate", value_parser = numbers::rate_or_unlimited, allow_hyphen_values = true)]
    network_rate_out: Option<i64>,
    /// Limit of processes; -1 is no limit
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    pids_limit: Option<i64>,
}

/// Fills in the fields that a new container's request and an update's have in common.
macro_rules! fill {
    ($flags:expr, $into:expr) => {
        let (flags, into) = ($flags.clone(), $into);
        into.blkio_weight = flags.blkio_weight;
        into.cpu_period = flags.cpu_period.unwrap_or(0);
        into.cpu_quota = flags.cpu_quota.unwrap_or(0);
        into.cpu_realtime_period = flags.cpu_rt_period.unwrap_or(0);
        into.cpu_realtime_runtime = flags.cpu_rt_runtime.unwrap_or(0);
        into.cpu_shares = flags.cpu_shares.unwrap_or(0);
        into.nano_cpus = flags.cpus.unwrap_or(0);
        into.cpuset_cpus = flags.cpuset_cpus;
        into.cpuset_mems = flags.cpuset_mems;
        into.memory = flags.memory.unwrap_or(0);
        into.memory_reservation = flags.memory_reservation.unwrap_or(0);
        into.memory_swap = flags.memory_swap.unwrap_or(0);
        into.network_rate_in = flags.network_rate_in.unwrap_or(0);
        into.network_rate_out = flags.network_rate_out.unwrap_or(0);
        into.pids_limit = flags.pids_limit;
    };
}

impl LimitFlags {
    pub(super) fn apply(&self, host: &mut HostConfig) {
        fill!(self, host);
    }

    /// The request that changes them.
    pub(crate) fn update(&self) -> UpdateRequest {
        let mut request = UpdateRequest::default();
        fill!(self, &mut request);
        request
    }
}
