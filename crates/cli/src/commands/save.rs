//! `hull save`.

use crate::command::{Operands, command};
use crate::commands::load::{check_target, store};
use crate::complain::{DONE, Outcome};
use crate::session::Session;

command! {
    names: ["image save", "save"], about: "Write images to an archive (to STDOUT if no file is named)",
    usage: "[OPTIONS] IMAGE [IMAGE...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Write to this file in place of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<String>,
    /// Only these platforms
    #[arg(long, value_name = "stringSlice")]
    platform: Vec<String>,
}

const REFUSAL: &str = "cowardly refusing to save to a terminal. Use the -o flag or redirect";

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    check_target(flags.output.as_deref(), REFUSAL)?;
    let client = session.connect().await?;
    let mut call = client.get(["images", "get"]);
    for name in &operands {
        call = call.query("names", name);
    }
    for platform in &flags.platform {
        call = call.query("platform", &crate::commands::platform_json(platform)?);
    }
    store(call.send().await?, flags.output.as_deref(), REFUSAL).await?;
    Ok(DONE)
}
