//! `hull update`.

use crate::command::{Operands, command};
use crate::complain::{Outcome, for_each};
use crate::output;
use crate::request::LimitFlags;
use crate::session::Session;
use crate::values::numbers;
use hull_api::wire::host::{RestartPolicy, UpdateRequest, UpdateResponse};

command! {
    names: ["container update", "update"], about: "Change the limits of containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    #[command(flatten)]
    limits: LimitFlags,
    /// When to start it again: no, always, unless-stopped, on-failure[:count]
    #[arg(long, value_name = "string", value_parser = numbers::restart_policy)]
    restart: Option<RestartPolicy>,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let request =
        UpdateRequest { restart_policy: flags.restart.unwrap_or_default(), ..flags.limits.update() };
    let client = session.connect().await?;
    for_each(&operands, async |name| {
        let answer: UpdateResponse =
            client.post(["containers", &name, "update"]).json(&request).read().await?;
        answer.warnings.iter().flatten().for_each(|warning| output::warn(&format!("WARNING: {warning}")));
        Ok(())
    })
    .await
}
