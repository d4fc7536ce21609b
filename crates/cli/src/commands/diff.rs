//! `hull diff`.

use crate::command::{NoFlags, Operands, command};
use crate::complain::{DONE, Outcome};
use crate::output;
use crate::session::Session;
use hull_api::wire::container::FilesystemChange;

command! {
    names: ["container diff", "diff"], about: "Show which files of a container changed",
    usage: "CONTAINER", operands: Operands::Exactly(1), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let changes: Option<Vec<FilesystemChange>> =
        client.get(["containers", &operands[0], "changes"]).read().await?;
    for change in changes.unwrap_or_default() {
        let kind = match change.kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        output::line(&format!("{kind} {}", change.path))?;
    }
    Ok(DONE)
}
