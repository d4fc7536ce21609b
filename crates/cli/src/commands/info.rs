//! `hull info`.

use crate::command::{Operands, command};
use crate::commands::inspect::unparsed;
use crate::complain::{Complaint, DONE, Outcome};
use crate::format::{Document, Format};
use crate::human;
use crate::json::Json;
use crate::output;
use crate::session::Session;
use hull_api::wire::system::Info;
use std::fmt::{Display, Write as _};

command! {
    names: ["system info", "info"], about: "Show the state of the engine",
    usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show by 'json' or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
}

async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
    let format = flags.format.filter(|format| !format.is_empty());
    if format.is_none() {
        let version = env!("CARGO_PKG_VERSION");
        output::text(&format!(
            "Client:\n Version:    {version}\n Context:    default\n Debug Mode: false\n\nServer:\n"
        ))?;
    }
    let client = session.connect().await?;
    let server: Json = client.get(["info"]).read().await?;
    if let Some(format) = format {
        let text = Format::new(&format).and_then(|format| format.render(&document(server)));
        output::line(&text.map_err(|reason| unparsed(&reason))?)?;
        return Ok(DONE);
    }
    let info: Info = serde_json::from_str(&server.compact())
        .map_err(|reason| Complaint::new(format!("read the daemon's information: {reason}")))?;
    output::text(&lines(&info))?;
    info.warnings.iter().flatten().for_each(|warning| output::warn(warning));
    Ok(DONE)
}

/// The daemon's answer, and beside it what Docker's client adds of its own.
fn document(server: Json) -> Document {
    let Json::Object(mut members) = server else { return Document::new(&server) };
    let client = vec![
        ("Debug".to_owned(), Json::Bool(false)),
        ("Version".to_owned(), Json::from(env!("CARGO_PKG_VERSION"))),
        ("Context".to_owned(), Json::from("default")),
    ];
    members.push(("ClientInfo".to_owned(), Json::Object(client)));
    Document::new(&Json::Object(members))
}

/// Lines of "name: value", indented.
struct Lines(String);

impl Lines {
    fn add(&mut self, indent: usize, name: &str, value: impl Display) {
        let line = format!("{}{name}: {value}", " ".repeat(indent));
        _ = writeln!(self.0, "{}", line.trim_end());
    }
}

fn lines(info: &Info) -> String {
    let mut lines = Lines(String::new());
    lines.add(1, "Containers", info.containers);
    lines.add(2, "Running", info.containers_running);
    lines.add(2, "Paused", info.containers_paused);
    lines.add(2, "Stopped", info.containers_stopped);
    lines.add(1, "Images", info.images);
    lines.add(1, "Server Version", &info.server_version);
    lines.add(1, "Storage Driver", &info.driver);
    for (name, value) in &info.driver_status {
        lines.add(2, name, value);
    }
    lines.add(1, "Logging Driver", &info.logging_driver);
    lines.add(1, "Cgroup Driver", &info.cgroup_driver);
    lines.add(1, "Cgroup Version", &info.cgroup_version);
    lines.add(1, "Plugins", "");
    for (name, plugins) in
        [("Volume", &info.plugins.volume), ("Network", &info.plugins.network), ("Log", &info.plugins.log)]
    {
        lines.add(2, name, plugins.join(" "));
    }
    lines.add(1, "Swarm", &info.swarm.local_node_state);
    lines.add(1, "Runtimes", info.runtimes.keys().cloned().collect::<Vec<_>>().join(" "));
    lines.add(1, "Default Runtime", &info.default_runtime);
    lines.add(1, "Init Binary", &info.init_binary);
    for (name, commit) in [
        ("containerd version", &info.containerd_commit),
        ("runc version", &info.runc_commit),
        ("init version", &info.init_commit),
    ] {
        if !commit.id.is_empty() {
            lines.add(1, name, &commit.id);
        }
    }
    security(&mut lines, &info.security_options);
    machine(&mut lines, info);
    lines.0
}

/// "name=seccomp,profile=builtin" as a name and its options below it.
fn security(lines: &mut Lines, options: &[String]) {
    if options.is_empty() {
        return;
    }
    lines.add(1, "Security Options", "");
    for option in options {
        for field in option.split(',') {
            match field.split_once('=') {
                Some(("name", name)) => _ = writeln!(lines.0, "  {name}"),
                Some(("profile", profile)) => lines.add(3, "Profile", profile),
                Some((name, value)) => lines.add(3, name, value),
                None => {}
            }
        }
    }
}

fn machine(lines: &mut Lines, info: &Info) {
    lines.add(1, "Kernel Version", &info.kernel_version);
    lines.add(1, "Operating System", &info.operating_system);
    lines.add(1, "OSType", &info.os_type);
    lines.add(1, "Architecture", &info.architecture);
    lines.add(1, "CPUs", info.n_cpu);
    lines.add(1, "Total Memory", human::binary_size(info.mem_total.max(0) as u64));
    lines.add(1, "Name", &info.name);
    lines.add(1, "ID", &info.id);
    lines.add(1, "Docker Root Dir", &info.docker_root_dir);
    lines.add(1, "Debug Mode", info.debug);
    if info.debug {
        lines.add(2, "File Descriptors", info.n_fd);
        lines.add(2, "Goroutines", info.n_goroutines);
        lines.add(2, "System Time", &info.system_time);
        lines.add(2, "EventsListeners", info.n_events_listener);
    }
    for (name, proxy) in
        [("HTTP Proxy", &info.http_proxy), ("HTTPS Proxy", &info.https_proxy), ("No Proxy", &info.no_proxy)]
    {
        if !proxy.is_empty() {
            lines.add(1, name, proxy);
        }
    }
    if !info.labels.is_empty() {
        lines.add(1, "Labels", "");
        info.labels.iter().for_each(|label| _ = writeln!(lines.0, "  {label}"));
    }
    lines.add(1, "Experimental", info.experimental_build);
    let registries = &info.registry_config;
    lines.add(1, "Insecure Registries", "");
    let insecure = registries.index_configs.values().filter(|index| !index.secure).map(|index| &index.name);
    insecure.chain(&registries.insecure_registry_cidrs).for_each(|name| _ = writeln!(lines.0, "  {name}"));
    if let Some(mirrors) = registries.mirrors.as_ref().filter(|mirrors| !mirrors.is_empty()) {
        lines.add(1, "Registry Mirrors", "");
        mirrors.iter().for_each(|mirror| _ = writeln!(lines.0, "  {mirror}"));
    }
    lines.add(1, "Live Restore Enabled", info.live_restore_enabled);
}
