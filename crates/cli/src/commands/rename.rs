//! `hull rename`.

use crate::command::{NoFlags, Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::session::Session;

command! {
    names: ["container rename", "rename"], about: "Give a container another name",
    usage: "CONTAINER NEW_NAME", operands: Operands::Exactly(2), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let (old, new) = (operands[0].trim(), operands[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Complaint::new("Error: Neither old nor new names may be empty"));
    }
    let client = session.connect().await?;
    match client.post(["containers", old, "rename"]).query("name", new).status().await {
        Ok(_) => Ok(DONE),
        Err(error) => Err(Complaint::new(format!("{error}\nError: failed to rename container named {old}"))),
    }
}
