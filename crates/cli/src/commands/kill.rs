//! `hull kill`.

use crate::command::{Operands, command};
use crate::complain::{Outcome, for_each};
use crate::session::Session;

command! {
    names: ["container kill", "kill"], about: "Send a signal to running containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Signal to send; KILL if none is given
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    for_each(&operands, async |name| {
        client
            .post(["containers", &name, "kill"])
            .query_if("signal", flags.signal.as_deref())
            .status()
            .await?;
        Ok(())
    })
    .await
}
