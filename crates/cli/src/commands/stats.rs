//! `hull stats`.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::human;
use crate::output;
use crate::session::Session;
use crate::table::{Listing, Row};
use hull_api::client::Client;
use hull_api::wire::container::ContainerSummary;
use hull_api::wire::stats::{CpuStats, MemoryStats, Stats};
use std::io::IsTerminal as _;
use std::time::Duration;

command! {
    names: ["container stats", "stats"], about: "Show what containers use",
    usage: "[OPTIONS] [CONTAINER...]", operands: Operands::AtLeast(0), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Show by 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show one sample and end
    #[arg(long)]
    no_stream: bool,
    /// Cut nothing off
    #[arg(long)]
    no_trunc: bool,
}

const TITLES: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let clears = !flags.no_stream && std::io::stdout().is_terminal();
    loop {
        let names = match operands.is_empty() {
            true => listed(&client, flags.all).await?,
            false => operands.clone(),
        };
        let mut rows = Vec::new();
        for sample in futures_util::future::join_all(names.iter().map(|name| sample(&client, name))).await {
            match sample {
                Ok((name, stats)) => rows.push(row(&name, &stats, flags.no_trunc)),
                // One that was listed may be gone by now; one that was named must be there.
                Err(complaint) if operands.is_empty() && complaint.not_found => {}
                Err(complaint) => return Err(complaint),
            }
        }
        if clears {
            output::text("\x1b[H\x1b[J")?;
        }
        Listing { titles: TITLES, table: TABLE }.show(flags.format.as_deref(), rows)?;
        if flags.no_stream {
            return Ok(DONE);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn listed(client: &Client, all: bool) -> Result<Vec<String>, Complaint> {
    let containers: Vec<ContainerSummary> =
        client.get(["containers", "json"]).flag("all", all).read().await?;
    Ok(containers.into_iter().map(|container| container.id).collect())
}

/// One sample with the one before it, which the daemon takes a second earlier.
async fn sample(client: &Client, name: &str) -> Result<(String, Stats), Complaint> {
    let stats = client.get(["containers", name, "stats"]).query("stream", "0").read().await?;
    Ok((name.to_owned(), stats))
}

fn row(asked: &str, stats: &Stats, whole: bool) -> Row {
    let (used, limit) = (memory_used(&stats.memory_stats), stats.memory_stats.limit);
    let share = if limit == 0 { 0.0 } else { used as f64 / limit as f64 * 100.0 };
    let (received, sent) =
        stats.networks.values().fold((0, 0), |(rx, tx), n| (rx + n.rx_bytes, tx + n.tx_bytes));
    let (mut read, mut written) = (0, 0);
    for entry in stats.blkio_stats.io_service_bytes_recursive.iter().flatten() {
        match entry.op.as_bytes().first() {
            Some(b'r' | b'R') => read += entry.value,
            Some(b'w' | b'W') => written += entry.value,
            _ => {}
        }
    }
    let pair =
        |one: u64, other: u64| format!("{} / {}", human::size(one as i64, 3), human::size(other as i64, 3));
    Row::new()
        .with("Container", asked)
        .with("ID", if whole { stats.id.as_str() } else { human::short_id(&stats.id) })
        .with("Name", stats.name.trim_start_matches('/'))
        .with("CPUPerc", format!("{:.2}%", cpu_percent(&stats.precpu_stats, &stats.cpu_stats)))
        .with("MemUsage", format!("{} / {}", human::binary_size(used), human::binary_size(limit)))
        .with("MemPerc", format!("{share:.2}%"))
        .with("NetIO", pair(received, sent))
        .with("BlockIO", pair(read, written))
        .with("PIDs", stats.pids_stats.current.to_string())
}

/// The container's share of the machine's time between two samples, a CPU being 100.
fn cpu_percent(before: &CpuStats, now: &CpuStats) -> f64 {
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let all = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        online => f64::from(online),
    };
    if used > 0.0 && all > 0.0 { used / all * cpus * 100.0 } else { 0.0 }
}

/// Memory without what the kernel would give back at once.
fn memory_used(memory: &MemoryStats) -> u64 {
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|name| memory.stats.get(*name));
    let cache = cache.copied().filter(|&cache| cache < memory.usage).unwrap_or(0);
    memory.usage - cache
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_cpu_and_memory() {
        let mut before = CpuStats::default();
        before.cpu_usage.total_usage = 100;
        before.system_cpu_usage = 1000;
        let mut now = before.clone();
        now.cpu_usage.total_usage = 200;
        now.system_cpu_usage = 1400;
        now.online_cpus = 2;
        assert_eq!(cpu_percent(&before, &now), 50.0);
        assert_eq!(cpu_percent(&now, &before), 0.0);
        let stats = [("inactive_file".to_owned(), 30)].into();
        assert_eq!(memory_used(&MemoryStats { usage: 100, stats, ..MemoryStats::default() }), 70);
    }
}
