//! `hull port rm`.

use super::request;
use crate::command::{NoFlags, Operands, command};
use crate::complain::{DONE, Outcome};
use crate::session::Session;

command! {
    names: ["port rm"], about: "Take published ports of a container back, also while it runs",
    usage: "CONTAINER [[IP:]HOST_PORT:]PORT[/PROTO]...", operands: Operands::AtLeast(2), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let request = request(&operands[1..])?;
    let client = session.connect().await?;
    client.delete(["containers", operands[0].trim_matches('/'), "ports"]).json(&request).status().await?;
    Ok(DONE)
}
