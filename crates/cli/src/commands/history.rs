//! `hull history`.

use crate::command::{Operands, command};
use crate::complain::{DONE, Outcome};
use crate::human;
use crate::output;
use crate::session::Session;
use crate::table::{Listing, Row};
use hull_api::wire::image::HistoryItem;

command! {
    names: ["image history", "history"], about: "Show how an image was made",
    usage: "[OPTIONS] IMAGE", operands: Operands::Exactly(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show by 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show sizes and dates for people
    #[arg(short = 'H', long, value_name = "bool", default_value = "true", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = crate::command::switch)]
    human: bool,
    /// Cut nothing off
    #[arg(long)]
    no_trunc: bool,
    /// Platform of the image, if it has several
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
}

const TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let call =
        client.get(["images", &operands[0], "history"]).query_if("platform", flags.platform.as_deref());
    let items: Vec<HistoryItem> = call.read().await?;
    if flags.quiet && flags.format.is_none() {
        for item in &items {
            output::line(if flags.no_trunc { &item.id } else { human::short_id(&item.id) })?;
        }
        return Ok(DONE);
    }
    let table = match flags.human {
        true => "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        false => "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    };
    let rows = items.iter().map(|item| row(item, &flags)).collect();
    Listing { titles: TITLES, table }.show(flags.format.as_deref(), rows)?;
    Ok(DONE)
}

fn row(item: &HistoryItem, flags: &Flags) -> Row {
    let by = item.created_by.replace('\t', " ");
    let size = if flags.human { human::size(item.size, 3) } else { item.size.to_string() };
    Row::new()
        .with("ID", if flags.no_trunc { item.id.as_str() } else { human::short_id(&item.id) })
        .with("CreatedSince", human::ago(item.created))
        .with("CreatedAt", human::local_rfc3339(item.created))
        .with("CreatedBy", if flags.no_trunc { by } else { human::ellipsis(&by, 45) })
        .with("Size", size)
        .with("Comment", item.comment.as_str())
}
