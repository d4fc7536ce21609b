//! `hull unpause`.

use crate::command::{NoFlags, Operands, command};
use crate::complain::{Outcome, for_each};
use crate::session::Session;

command! {
    names: ["container unpause", "unpause"], about: "Let suspended containers go on",
    usage: "CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    for_each(&operands, async |name| {
        client.post(["containers", &name, "unpause"]).status().await?;
        Ok(())
    })
    .await
}
