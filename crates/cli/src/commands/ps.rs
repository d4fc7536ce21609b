//! `hull ps`.

use crate::command::{Operands, command};
use crate::complain::{DONE, Outcome};
use crate::human;
use crate::output;
use crate::session::Session;
use crate::table::{Listing, Row};
use crate::values::{numbers, pairs};
use hull_api::wire::container::{ContainerSummary, Port};
use std::collections::BTreeMap;
use std::net::IpAddr;

command! {
    names: ["container ls", "container list", "container ps", "ps"], about: "List containers",
    usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show all, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Show those that match
    #[arg(short, long, value_name = "filter", value_parser = pairs::filter)]
    filter: Vec<(String, String)>,
    /// Show by 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show the last n created, running or not
    #[arg(short = 'n', long, value_name = "int", value_parser = numbers::integer, default_value = "-1")]
    last: i64,
    /// Show the last created, running or not
    #[arg(short, long)]
    latest: bool,
    /// Cut nothing off
    #[arg(long)]
    no_trunc: bool,
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Show sizes
    #[arg(short, long)]
    size: bool,
}

const TITLES: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let limit = if flags.latest && flags.last == -1 { 1 } else { flags.last };
    let asks_size = flags.size || flags.format.as_ref().is_some_and(|format| format.contains(".Size"));
    let call = client.get(["containers", "json"]).flag("all", flags.all).flag("size", asks_size);
    let call = call.query_if("limit", (limit > 0).then(|| limit.to_string()).as_deref());
    let filters = pairs::filters(&flags.filter);
    let call = call.query_if("filters", (!filters.is_empty()).then(|| filters.to_json()).as_deref());
    let containers: Vec<ContainerSummary> = call.read().await?;
    if flags.quiet && flags.format.is_none() {
        for container in &containers {
            output::line(shown_id(&container.id, flags.no_trunc))?;
        }
        return Ok(DONE);
    }
    let mut table =
        "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}".to_owned();
    if flags.size {
        table.push_str("\t{{.Size}}");
    }
    let rows = containers.iter().map(|container| row(container, flags.no_trunc)).collect();
    Listing { titles: TITLES, table: &table }.show(flags.format.as_deref(), rows)?;
    Ok(DONE)
}

fn shown_id(id: &str, whole: bool) -> &str {
    if whole { id } else { human::short_id(id) }
}

fn row(container: &ContainerSummary, whole: bool) -> Row {
    let cut = |text: &str, length| if whole { text.to_owned() } else { human::ellipsis(text, length) };
    let names: Vec<&str> = container.names.iter().map(|name| name.trim_start_matches('/')).collect();
    // A name with another slash is a link's.
    let own = names.iter().filter(|name| whole || !name.contains('/')).copied().collect::<Vec<_>>().join(",");
    let mounts = container.mounts.iter().map(|mount| match mount.name.as_str() {
        "" => cut(&mount.source, 15),
        name => cut(name, 15),
    });
    let volumes = container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let networks: Vec<&str> = container.network_settings.networks.keys().map(String::as_str).collect();
    Row::new()
        .with("ID", shown_id(&container.id, whole))
        .with("Names", own)
        .with("Image", image(&container.image, whole))
        .with("Command", cut_command(&container.command, whole))
        .with("CreatedAt", human::local_time(container.created))
        .with("RunningFor", human::ago(container.created))
        .with("Ports", ports(&container.ports))
        .with("State", container.state.as_str())
        .with("Status", container.status.as_str())
        .with("Size", size(container))
        .with("Mounts", mounts.collect::<Vec<_>>().join(","))
        .with("LocalVolumes", volumes.to_string())
        .with("Networks", networks.join(","))
        .without("Platform")
        .with_labels(container.labels.iter())
}

fn cut_command(command: &str, whole: bool) -> String {
    let shown = if whole { command.to_owned() } else { human::ellipsis(command, 20) };
    crate::json::Json::from(shown.as_str()).compact()
}

fn image(name: &str, whole: bool) -> String {
    match name {
        "" => "<no image>".to_owned(),
        name if !whole && name.starts_with("sha256:") => human::short_id(name).to_owned(),
        // The digest beside a tag is only in the way.
        name if !whole => match name.split_once('@') {
            Some((tagged, _)) if tagged.rsplit('/').next().is_some_and(|last| last.contains(':')) => {
                tagged.to_owned()
            }
            _ => name.to_owned(),
        },
        name => name.to_owned(),
    }
}

fn size(container: &ContainerSummary) -> String {
    let own = human::size(container.size_rw.unwrap_or(0), 3);
    match container.size_root_fs.unwrap_or(0) {
        0 => own,
        all => format!("{own} (virtual {})", human::size(all, 3)),
    }
}

/// "0.0.0.0:8080->80/tcp, 443/tcp", ports in a row joined: "80-82/tcp".
fn ports(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by_key(|port| {
        (
            port.private_port,
            port.ip.parse::<IpAddr>().ok().map(|ip| ip.is_ipv6()),
            port.ip.clone(),
            port.public_port,
            port.kind.clone(),
        )
    });
    let mut groups: BTreeMap<(bool, String, String), Vec<Run>> = BTreeMap::new();
    let mut moved = Vec::new();
    for port in sorted {
        let (inside, outside) = (port.private_port, port.public_port);
        if outside != 0 && inside != outside {
            moved.push(format!("{}->{inside}/{}", outer(port), port.kind));
            continue;
        }
        let key = (port.ip.contains(':'), port.ip.clone(), port.kind.clone());
        let runs = groups.entry(key).or_default();
        match runs.last_mut() {
            Some(run) if run.last + 1 == inside && run.published == (outside != 0) => run.last = inside,
            _ => runs.push(Run { first: inside, last: inside, published: outside != 0 }),
        }
    }
    let mut shown: Vec<(u16, String)> = Vec::new();
    for ((is_v6, ip, kind), runs) in groups {
        for run in runs {
            let range = if run.first == run.last {
                run.first.to_string()
            } else {
                format!("{}-{}", run.first, run.last)
            };
            let ip = if is_v6 { format!("[{ip}]") } else { ip.clone() };
            let text = if run.published {
                format!("{ip}:{range}->{range}/{kind}")
            } else {
                format!("{range}/{kind}")
            };
            shown.push((run.first, text));
        }
    }
    shown.sort_by_key(|(first, _)| *first);
    shown.into_iter().map(|(_, text)| text).chain(moved).collect::<Vec<_>>().join(", ")
}

/// Ports in a row, published under their own numbers or not at all.
struct Run {
    first: u16,
    last: u16,
    published: bool,
}

fn outer(port: &Port) -> String {
    match port.ip.as_str() {
        ip if ip.contains(':') => format!("[{ip}]:{}", port.public_port),
        ip => format!("{ip}:{}", port.public_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16) -> Port {
        Port { ip: ip.to_owned(), private_port, public_port, kind: "tcp".to_owned() }
    }

    #[test]
    fn ports_in_a_row_are_joined() {
        let list = [port("", 81, 0), port("", 80, 0), port("", 83, 0)];
        assert_eq!(ports(&list), "80-81/tcp, 83/tcp");
        let list = [port("0.0.0.0", 80, 8080), port("::", 80, 8080), port("", 443, 0)];
        assert_eq!(ports(&list), "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
        let list = [port("0.0.0.0", 80, 80), port("0.0.0.0", 81, 81)];
        assert_eq!(ports(&list), "0.0.0.0:80-81->80-81/tcp");
    }

    #[test]
    fn images_and_commands_are_cut() {
        assert_eq!(image("", false), "<no image>");
        assert_eq!(image("sha256:0123456789abcdef", false), "0123456789ab");
        assert_eq!(image("a/b:1@sha256:00", false), "a/b:1");
        assert_eq!(image("a/b:1@sha256:00", true), "a/b:1@sha256:00");
        assert_eq!(cut_command("sh -c \"sleep 1000000\"", false), "\"sh -c \\\"sleep 100000…\"");
    }
}
