//! `hull import`.

use crate::command::{Operands, command};
use crate::commands::load::{chunks, open, standard_input};
use crate::commands::pull::parse;
use crate::complain::{DONE, Outcome};
use crate::progress::{self, Screen};
use crate::session::Session;

command! {
    names: ["image import", "import"], about: "Make an image of an archive of a file system",
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]", operands: Operands::Between(1, 2), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Comment of the image
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Platform of the image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let source = operands[0].as_str();
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let reference = operands.get(1).map(|name| parse(name)).transpose()?;
    let body = match source {
        "-" => Some(standard_input()?),
        _ if is_url => None,
        path => Some(open(path).await?),
    };
    let client = session.connect().await?;
    let call = client.post(["images", "create"]).query("fromSrc", if is_url { source } else { "-" });
    let mut call = match &reference {
        Some(reference) => call.query("repo", &reference.familiar_name()).query_if("tag", reference.tag()),
        None => call,
    };
    for change in &flags.change {
        call = call.query("changes", change);
    }
    call = call.query_if("message", flags.message.as_deref()).query_if("platform", flags.platform.as_deref());
    if let Some(body) = body {
        call = call.stream("text/plain", chunks(body));
    }
    progress::show(call.messages().await?, Screen::Stdout).await?;
    Ok(DONE)
}
