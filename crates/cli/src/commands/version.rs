//! `hull version`.

use crate::command::{Operands, command};
use crate::commands::inspect::unparsed;
use crate::complain::{Complaint, DONE, Outcome};
use crate::format::{Document, Format};
use crate::json::Json;
use crate::output;
use crate::session::Session;
use hull_api::version::MAX;
use hull_api::wire::system::Version;
use std::fmt::Write as _;

command! {
    names: ["version"], about: "Show the versions of client and daemon",
    usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show by 'json' or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
}

async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
    let asked = async {
        let client = session.connect().await?;
        Ok::<_, Complaint>((client.version(), client.get(["version"]).read::<Json>().await?))
    };
    let (version, server, failed) = match asked.await {
        Ok((version, server)) => (version, server, None),
        Err(complaint) => (MAX, Json::Null, Some(complaint)),
    };
    let client = client(&version.to_string());
    if let Some(format) = flags.format.filter(|format| !format.is_empty()) {
        let document = Json::Object(vec![("Client".to_owned(), client), ("Server".to_owned(), server)]);
        let text = Format::new(&format).and_then(|format| format.render(&Document::new(&document)));
        output::line(&text.map_err(|reason| unparsed(&reason))?)?;
    } else {
        output::text(&client_lines(&client))?;
        if failed.is_none() {
            let server: Version = serde_json::from_str(&server.compact())
                .map_err(|reason| Complaint::new(format!("read the daemon's version: {reason}")))?;
            output::text(&server_lines(&server))?;
        }
    }
    match failed {
        Some(complaint) => Err(complaint),
        None => Ok(DONE),
    }
}

fn client(api: &str) -> Json {
    let members = [
        ("Version", env!("CARGO_PKG_VERSION")),
        ("ApiVersion", api),
        ("DefaultAPIVersion", &MAX.to_string()),
        ("GitCommit", option_env!("HULL_COMMIT").unwrap_or("")),
        ("GoVersion", ""),
        ("Os", std::env::consts::OS),
        ("Arch", architecture(std::env::consts::ARCH)),
        ("BuildTime", ""),
        ("Context", "default"),
    ];
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect())
}

/// Go's name of an architecture.
fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn client_lines(client: &Json) -> String {
    let text = |name: &str| match client.get(name) {
        Some(Json::String(text)) => text.clone(),
        _ => String::new(),
    };
    let mut lines = "Client:\n".to_owned();
    for (title, value) in [
        ("Version:", text("Version")),
        ("API version:", text("ApiVersion")),
        ("Git commit:", text("GitCommit")),
        ("OS/Arch:", format!("{}/{}", text("Os"), text("Arch"))),
        ("Context:", text("Context")),
    ] {
        let line = format!(" {title:<18} {value}");
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

fn server_lines(server: &Version) -> String {
    let platform =
        if server.platform.name.is_empty() { String::new() } else { format!(" {}", server.platform.name) };
    let mut lines = format!("\nServer:{platform}\n");
    for component in &server.components {
        _ = writeln!(lines, " {}:\n  {:<17} {}", component.name, "Version:", component.version);
        let detail = |name: &str| component.details.get(name).map_or("", String::as_str);
        if component.name != "Engine" {
            _ = writeln!(lines, "  {:<17} {}", "GitCommit:", detail("GitCommit"));
            continue;
        }
        for (title, value) in [
            (
                "API version:",
                format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion")),
            ),
            ("Git commit:", detail("GitCommit").to_owned()),
            ("Built:", detail("BuildTime").to_owned()),
            ("OS/Arch:", format!("{}/{}", detail("Os"), detail("Arch"))),
            ("Experimental:", detail("Experimental").to_owned()),
        ] {
            let line = format!("  {title:<17} {value}");
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
    }
    lines
}
