//! `hull pause`.

use crate::command::{NoFlags, Operands, command};
use crate::complain::{Outcome, for_each};
use crate::session::Session;

command! {
    names: ["container pause", "pause"], about: "Suspend all processes of containers",
    usage: "CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    for_each(&operands, async |name| {
        client.post(["containers", &name, "pause"]).status().await?;
        Ok(())
    })
    .await
}
