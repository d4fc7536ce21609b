//! `hull logout`.

use crate::command::{NoFlags, Operands, command};
use crate::complain::{DONE, Outcome};
use crate::credentials;
use crate::output;
use crate::session::Session;

command! {
    names: ["logout"], about: "Forget the credentials for a registry",
    usage: "[SERVER]", operands: Operands::AtMost(1), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let registry = operands.first().map_or("docker.io", String::as_str);
    credentials::forget(&session.settings, registry)?;
    output::line(&format!("Removing login credentials for {}", credentials::key(registry)))?;
    Ok(DONE)
}
