//! `hull restart`.

use crate::command::{Operands, command};
use crate::complain::{Outcome, for_each};
use crate::session::Session;
use crate::values::numbers;

command! {
    names: ["container restart", "restart"], about: "Stop containers and start them again",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Signal to send in place of the container's own
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before it is killed; -1 waits for ever
    #[arg(short, long, visible_alias = "time", value_name = "int", value_parser = numbers::integer)]
    timeout: Option<i64>,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let seconds = flags.timeout.map(|seconds| seconds.to_string());
    for_each(&operands, async |name| {
        let call = client.post(["containers", &name, "restart"]);
        call.query_if("signal", flags.signal.as_deref()).query_if("t", seconds.as_deref()).status().await?;
        Ok(())
    })
    .await
}
