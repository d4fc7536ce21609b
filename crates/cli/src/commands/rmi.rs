//! `hull rmi`.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::session::Session;
use hull_api::wire::image::ImageDeleteItem;

command! {
    names: ["image rm", "image remove", "rmi"], about: "Remove images",
    usage: "[OPTIONS] IMAGE [IMAGE...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Remove it although a stopped container or another name needs it
    #[arg(short, long)]
    force: bool,
    /// Keep parents that have no name
    #[arg(long)]
    no_prune: bool,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let mut failed = Vec::new();
    let mut all_missing = true;
    for name in &operands {
        let call = client.delete(["images", name]).flag("force", flags.force).flag("noprune", flags.no_prune);
        match call.read::<Vec<ImageDeleteItem>>().await.map_err(Complaint::from) {
            Ok(removed) => removed.iter().try_for_each(|item| output::line(&line(item)))?,
            Err(complaint) => {
                all_missing &= complaint.not_found;
                failed.push(complaint.text);
            }
        }
    }
    let text = failed.join("\n");
    match failed.is_empty() {
        true => Ok(DONE),
        // To force is to be content with its absence.
        false if flags.force && all_missing => {
            output::warn(&text);
            Ok(DONE)
        }
        false => Err(Complaint::new(text)),
    }
}

/// What happened to one name or image.
pub(crate) fn line(item: &ImageDeleteItem) -> String {
    match item.deleted.as_str() {
        "" => format!("Untagged: {}", item.untagged),
        id => format!("Deleted: {id}"),
    }
}
