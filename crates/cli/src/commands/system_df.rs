//! `hull system df`.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::human;
use crate::session::Session;
use crate::table::{Listing, Row};
use hull_api::wire::system::DiskUsage;

command! {
    names: ["system df"], about: "Show how much disk is used",
    usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show by 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Not supported yet
    #[arg(short, long)]
    verbose: bool,
}

const TITLES: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
    if flags.verbose {
        return Err(Complaint::new("hull: 'system df --verbose' is not supported yet"));
    }
    let client = session.connect().await?;
    let usage: DiskUsage = client.get(["system", "df"]).read().await?;
    let rows = lines(&usage).into_iter().map(row).collect();
    Listing { titles: TITLES, table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}" }
        .show(flags.format.as_deref(), rows)?;
    Ok(DONE)
}

/// The use of one kind of thing.
struct Line {
    kind: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
}

fn lines(usage: &DiskUsage) -> [Line; 4] {
    let images = usage.images.as_ref().and_then(Option::as_deref).unwrap_or_default();
    let containers = usage.containers.as_ref().and_then(Option::as_deref).unwrap_or_default();
    let volumes = usage.volumes.as_ref().and_then(Option::as_deref).unwrap_or_default();
    let cache = usage.build_cache.as_ref().and_then(Option::as_deref).unwrap_or_default();
    let layers = usage.layers_size.unwrap_or(0);
    // What images share is counted once, and stays as long as one of them does.
    let kept: i64 = images.iter().filter(|i| i.containers > 0).map(|i| i.size - i.shared_size.max(0)).sum();
    let runs = |state: &str| ["running", "paused", "restarting"].contains(&state);
    let size_of = |c: &hull_api::wire::container::ContainerSummary| c.size_rw.unwrap_or(0);
    let volume_size =
        |v: &hull_api::wire::volume::Volume| v.usage_data.as_ref().map_or(0, |data| data.size.max(0));
    let is_used =
        |v: &&hull_api::wire::volume::Volume| v.usage_data.as_ref().is_some_and(|data| data.ref_count > 0);
    [
        Line {
            kind: "Images",
            total: images.len(),
            active: images.iter().filter(|image| image.containers > 0).count(),
            size: layers,
            reclaimable: (layers - kept).max(0),
        },
        Line {
            kind: "Containers",
            total: containers.len(),
            active: containers.iter().filter(|container| runs(&container.state)).count(),
            size: containers.iter().map(size_of).sum(),
            reclaimable: containers.iter().filter(|container| !runs(&container.state)).map(size_of).sum(),
        },
        Line {
            kind: "Local Volumes",
            total: volumes.len(),
            active: volumes.iter().filter(is_used).count(),
            size: volumes.iter().map(volume_size).sum(),
            reclaimable: volumes.iter().filter(|volume| !is_used(volume)).map(volume_size).sum(),
        },
        Line {
            kind: "Build Cache",
            total: cache.len(),
            active: cache.iter().filter(|record| record.in_use).count(),
            size: cache.iter().map(|record| record.size).sum(),
            reclaimable: cache.iter().filter(|record| !record.in_use).map(|record| record.size).sum(),
        },
    ]
}

fn row(line: Line) -> Row {
    let reclaimable = human::size(line.reclaimable, 4);
    let share = match line.size {
        0 => String::new(),
        size => format!(" ({}%)", line.reclaimable * 100 / size),
    };
    Row::new()
        .with("Type", line.kind)
        .with("TotalCount", line.total.to_string())
        .with("Active", line.active.to_string())
        .with("Size", human::size(line.size, 4))
        .with("Reclaimable", if line.kind == "Build Cache" { reclaimable } else { reclaimable + &share })
}
