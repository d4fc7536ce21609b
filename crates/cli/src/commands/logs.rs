//! `hull logs`.

use crate::attached::Sink;
use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::session::Session;
use crate::values::times;
use hull_api::wire::container::ContainerInspect;

command! {
    names: ["container logs", "logs"], about: "Show what a container wrote",
    usage: "[OPTIONS] CONTAINER", operands: Operands::Exactly(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show what the log driver knows of each line beside it
    #[arg(long)]
    details: bool,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// From this time on: 2013-01-02T13:23:37Z, or 42m for that long ago
    #[arg(long, value_name = "string", value_parser = times::point)]
    since: Option<String>,
    /// Lines from the end of the log
    #[arg(short = 'n', long, value_name = "string", default_value = "all")]
    tail: String,
    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Up to this time: 2013-01-02T13:23:37Z, or 42m for that long ago
    #[arg(long, value_name = "string", value_parser = times::point)]
    until: Option<String>,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let container: ContainerInspect = client.get(["containers", &operands[0], "json"]).read().await?;
    let call = client.get(["containers", &container.id, "logs"]).flag("stdout", true).flag("stderr", true);
    let call = call.query_if("since", flags.since.as_deref()).query_if("until", flags.until.as_deref());
    let call =
        call.query("tail", &flags.tail).flag("follow", flags.follow).flag("timestamps", flags.timestamps);
    let mut body = call.flag("details", flags.details).send().await?;
    let mut sink = Sink::new(container.config.tty, true, true);
    while let Some(chunk) = body.chunk().await? {
        sink.write(&chunk).await?;
    }
    sink.finish().map_err(|complaint: Complaint| complaint).map(|()| DONE)
}
