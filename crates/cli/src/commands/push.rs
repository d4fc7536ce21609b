//! `hull push`.

use crate::command::{Operands, command};
use crate::commands::pull::{auth, parse};
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::progress::{self, Screen};
use crate::session::Session;

command! {
    names: ["image push", "push"], about: "Upload an image to a registry",
    usage: "[OPTIONS] NAME[:TAG]", operands: Operands::Exactly(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Upload all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Platform of the image, if it has several
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    platform: String,
    /// Show nothing but the name
    #[arg(short, long)]
    quiet: bool,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let mut reference = parse(&operands[0])?;
    match (flags.all_tags, reference.tag().is_some()) {
        (true, true) => return Err(Complaint::new("tag can't be used with --all-tags/-a")),
        (false, false) => {
            reference = reference.with_default_tag();
            if !flags.quiet {
                output::line("Using default tag: latest")?;
            }
        }
        _ => {}
    }
    let client = session.connect().await?;
    let name = reference.familiar_name();
    let call =
        client.post(["images", &name, "push"]).query_if("tag", reference.tag().filter(|_| !flags.all_tags));
    let platform = Some(flags.platform).filter(|platform| !platform.is_empty());
    let call = call.query_if("platform", platform.as_deref());
    let call = call.header("x-registry-auth", &auth(&session, &reference)?.to_header());
    let screen = if flags.quiet { Screen::Nowhere } else { Screen::Stdout };
    progress::show(call.messages().await?, screen).await?;
    if flags.quiet {
        output::line(&reference.to_string())?;
    }
    Ok(DONE)
}
