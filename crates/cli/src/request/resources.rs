//! How much the container may use.

use hull_api::wire::host::{HostConfig, ThrottleDevice, Ulimit, WeightDevice};

use super::limits::LimitFlags;
use super::some;
use crate::values::{devices, numbers};

/// How much the container may use.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ResourceFlags {
    #[command(flatten)]
    limits: LimitFlags,
    /// Relative weight of one block device
    #[arg(long, value_name = "list", value_parser = devices::weight)]
    blkio_weight_device: Vec<WeightDevice>,
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
    /// Swappiness of memory, 0 to 100
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    memory_swappiness: Option<i64>,
    /// Never kill for lack of memory
    #[arg(long)]
    oom_kill_disable: bool,
    /// How readily the kernel kills it, -1000 to 1000
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    oom_score_adj: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes)]
    shm_size: Option<i64>,
    /// Resource limits of processes
    #[arg(long, value_name = "ulimit", value_parser = numbers::ulimit)]
    ulimit: Vec<Ulimit>,
}

impl ResourceFlags {
    pub(super) fn apply(&self, host: &mut HostConfig) {
        self.limits.apply(host);
        let flags = self.clone();
        host.blkio_weight_device = some(flags.blkio_weight_device);
        host.blkio_device_read_bps = some(flags.device_read_bps);
        host.blkio_device_read_iops = some(flags.device_read_iops);
        host.blkio_device_write_bps = some(flags.device_write_bps);
        host.blkio_device_write_iops = some(flags.device_write_iops);
        host.memory_swappiness = flags.memory_swappiness.filter(|&swappiness| swappiness != -1);
        host.oom_kill_disable = Some(flags.oom_kill_disable);
        host.oom_score_adj = flags.oom_score_adj.unwrap_or(0);
        host.shm_size = flags.shm_size.unwrap_or(0);
        host.ulimits = some(flags.ulimit);
    }
}
