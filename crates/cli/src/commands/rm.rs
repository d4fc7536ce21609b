//! `hull rm`.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::session::Session;

command! {
    names: ["container rm", "container remove", "rm"], about: "Remove containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Kill it first if it runs
    #[arg(short, long)]
    force: bool,
    /// Remove the link of this name
    #[arg(short, long)]
    link: bool,
    /// Remove its anonymous volumes, too
    #[arg(short, long)]
    volumes: bool,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let mut failed = Vec::new();
    for name in &operands {
        let call = client.delete(["containers", name.trim_matches('/')]);
        let call = call.flag("force", flags.force).flag("link", flags.link).flag("v", flags.volumes);
        match call.status().await {
            Ok(_) => output::line(name)?,
            // To force is to be content with its absence.
            Err(error) if flags.force && error.is_not_found() => output::warn(&error.to_string()),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() { Ok(DONE) } else { Err(Complaint::new(failed.join("\n"))) }
}
