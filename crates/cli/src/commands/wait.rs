//! `hull wait`.

use crate::command::{NoFlags, Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::session::Session;
use hull_api::wire::container::WaitResponse;

command! {
    names: ["container wait", "wait"], about: "Wait until containers end, and print their exit statuses",
    usage: "CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let mut failed = Vec::new();
    for name in &operands {
        match client.post(["containers", name, "wait"]).read::<WaitResponse>().await {
            Ok(WaitResponse { error: Some(error), .. }) if !error.message.is_empty() => {
                failed.push(error.message)
            }
            Ok(answer) => output::line(&answer.status_code.to_string())?,
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() { Ok(DONE) } else { Err(Complaint::new(failed.join("\n"))) }
}
