//! `hull update`.

use crate::command::{Operands, command};
use crate::complain::{Outcome, for_each};
use crate::output;
use crate::session::Session;
use crate::values::numbers;
use hull_api::wire::host::{RestartPolicy, UpdateRequest, UpdateResponse};

command! {
    names: ["container update", "update"], about: "Change the limits of containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
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
    /// When to start it again: no, always, unless-stopped, on-failure[:count]
    #[arg(long, value_name = "string", value_parser = numbers::restart_policy)]
    restart: Option<RestartPolicy>,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let request = UpdateRequest {
        cpu_shares: flags.cpu_shares.unwrap_or(0),
        memory: flags.memory.unwrap_or(0),
        nano_cpus: flags.cpus.unwrap_or(0),
        cgroup_parent: String::new(),
        blkio_weight: flags.blkio_weight,
        cpu_period: flags.cpu_period.unwrap_or(0),
        cpu_quota: flags.cpu_quota.unwrap_or(0),
        cpu_realtime_period: flags.cpu_rt_period.unwrap_or(0),
        cpu_realtime_runtime: flags.cpu_rt_runtime.unwrap_or(0),
        cpuset_cpus: flags.cpuset_cpus,
        cpuset_mems: flags.cpuset_mems,
        memory_reservation: flags.memory_reservation.unwrap_or(0),
        memory_swap: flags.memory_swap.unwrap_or(0),
        network_rate_in: flags.network_rate_in.unwrap_or(0),
        network_rate_out: flags.network_rate_out.unwrap_or(0),
        pids_limit: flags.pids_limit,
        restart_policy: flags.restart.unwrap_or_default(),
    };
    let client = session.connect().await?;
    for_each(&operands, async |name| {
        let answer: UpdateResponse =
            client.post(["containers", &name, "update"]).json(&request).read().await?;
        answer.warnings.iter().flatten().for_each(|warning| output::warn(&format!("WARNING: {warning}")));
        Ok(())
    })
    .await
}
