//! `hull inspect`, and the `inspect` of each kind.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::format::{Document, Format};
use crate::json::Json;
use crate::output;
use crate::session::Session;
use hull_api::client::Client;

command! {
    names: ["inspect"], about: "Show everything about containers, images, networks, volumes",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show by 'json' or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Show the sizes of containers
    #[arg(short, long)]
    size: bool,
    /// Only things of this kind: container, image, network, volume
    #[arg(long = "type", value_name = "string")]
    kind: Option<String>,
}

/// The kinds of things, in the order in which a name is looked for.
const KINDS: [&str; 4] = ["container", "image", "network", "volume"];

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let kinds: Vec<&str> = match flags.kind.as_deref() {
        None => KINDS.to_vec(),
        Some(kind) if KINDS.contains(&kind) => vec![kind],
        Some("node" | "service" | "secret" | "plugin" | "task" | "config") => {
            return Err(Complaint::new("hull: this type is not supported yet"));
        }
        Some(kind) => {
            return Err(Complaint::new(format!(
                "unknown type: {kind:?}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
            )));
        }
    };
    inspect(&session, &kinds, &operands, flags.format.as_deref(), flags.size).await
}

/// Shows things of some kinds: all as one list, or each by a template. What is not found is told at the end.
pub(crate) async fn inspect(
    session: &Session,
    kinds: &[&str],
    names: &[String],
    format: Option<&str>,
    size: bool,
) -> Outcome {
    let format = format.filter(|format| !format.is_empty());
    let template = format.map(Format::new).transpose().map_err(|reason| unparsed(&reason))?;
    let client = session.connect().await?;
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        match look_up(&client, kinds, name, size).await {
            Ok(json) => found.push(json),
            Err(complaint) => failed.push(complaint.text),
        }
    }
    match template {
        None => output::line(&Json::List(found).pretty("    "))?,
        Some(template) => {
            for json in &found {
                match template.render(&Document::new(json)) {
                    Ok(text) => output::line(&text)?,
                    Err(reason) => failed.push(format!("template parsing error: {reason}")),
                }
            }
            if found.is_empty() {
                output::line("")?;
            }
        }
    }
    if failed.is_empty() { Ok(DONE) } else { Err(Complaint::new(failed.join("\n"))) }
}

/// A template that cannot be read.
pub(crate) fn unparsed(reason: &str) -> Complaint {
    Complaint::new(format!("template parsing error: {reason}")).with_status(64)
}

async fn look_up(client: &Client, kinds: &[&str], name: &str, size: bool) -> Result<Json, Complaint> {
    for kind in kinds {
        let call = match *kind {
            "container" => client.get(["containers", name, "json"]).flag("size", size),
            "image" => client.get(["images", name, "json"]),
            "network" => client.get(["networks", name]),
            _ => client.get(["volumes", name]),
        };
        match call.read::<Json>().await.map_err(Complaint::from) {
            Err(complaint) if complaint.not_found && kinds.len() > 1 => {}
            answer => return answer,
        }
    }
    Err(Complaint { not_found: true, ..Complaint::new(format!("Error: No such object: {name}")) })
}

/// An `inspect` of one kind.
macro_rules! of_kind {
    ($module:ident, $name:literal, $kind:literal, $about:literal, $usage:literal) => {
        /// The `inspect` of one kind.
        pub(crate) mod $module {
            use super::inspect;
            use crate::command::{Operands, command};
            use crate::complain::Outcome;
            use crate::session::Session;

            command! {
                names: [$name], about: $about, usage: $usage, operands: Operands::AtLeast(1), flags: Flags
            }

            #[derive(Debug, clap::Args)]
            struct Flags {
                /// Show by 'json' or a Go template
                #[arg(short, long, value_name = "string")]
                format: Option<String>,
                /// Show the sizes of containers
                #[arg(short, long)]
                size: bool,
            }

            async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
                inspect(&session, &[$kind], &operands, flags.format.as_deref(), flags.size).await
            }
        }
    };
}

of_kind!(
    container,
    "container inspect",
    "container",
    "Show everything about containers",
    "[OPTIONS] CONTAINER [CONTAINER...]"
);
of_kind!(image, "image inspect", "image", "Show everything about images", "[OPTIONS] IMAGE [IMAGE...]");
of_kind!(
    network,
    "network inspect",
    "network",
    "Show everything about networks",
    "[OPTIONS] NETWORK [NETWORK...]"
);
of_kind!(volume, "volume inspect", "volume", "Show everything about volumes", "[OPTIONS] VOLUME [VOLUME...]");
