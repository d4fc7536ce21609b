//! `hull commit`.

use crate::command::{Operands, command};
use crate::commands::pull::parse;
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::session::Session;
use hull_api::wire::IdResponse;

command! {
    names: ["container commit", "commit"], about: "Make an image of a container's changes",
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]", operands: Operands::Between(1, 2), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Author of the image
    #[arg(short, long, value_name = "string")]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Comment of the image
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Let the container run on meanwhile
    #[arg(long)]
    no_pause: bool,
    /// Suspend the container meanwhile
    #[arg(short, long, hide = true, default_value = "true", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = crate::command::switch)]
    pause: bool,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let reference = operands.get(1).map(|name| parse(name)).transpose()?;
    if reference.as_ref().is_some_and(|reference| reference.digest().is_some()) {
        return Err(Complaint::new("cannot commit to digest reference"));
    }
    let client = session.connect().await?;
    let mut call = client.post(["commit"]).query("container", &operands[0]);
    if let Some(reference) = reference.map(hull_oci::Reference::with_default_tag) {
        call = call.query("repo", &reference.familiar_name()).query_if("tag", reference.tag());
    }
    for change in &flags.change {
        call = call.query("changes", change);
    }
    let call = call.query_if("author", flags.author.as_deref()).query_if("comment", flags.message.as_deref());
    let pause = flags.pause && !flags.no_pause;
    let call = call.query("pause", if pause { "1" } else { "0" });
    let IdResponse { id } = call.json(&serde_json::json!({})).read().await?;
    output::line(&id)?;
    Ok(DONE)
}
