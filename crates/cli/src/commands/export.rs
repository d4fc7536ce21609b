//! `hull export`.

use crate::command::{Operands, command};
use crate::commands::load::{check_target, store};
use crate::complain::{DONE, Outcome};
use crate::session::Session;

command! {
    names: ["container export", "export"], about: "Write a container's file system to an archive",
    usage: "[OPTIONS] CONTAINER", operands: Operands::Exactly(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Write to this file in place of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<String>,
}

const REFUSAL: &str = "cowardly refusing to save to a terminal. Use the -o flag or redirect";

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    check_target(flags.output.as_deref(), REFUSAL)?;
    let client = session.connect().await?;
    let body = client.get(["containers", &operands[0], "export"]).send().await?;
    store(body, flags.output.as_deref(), REFUSAL).await?;
    Ok(DONE)
}
