//! `hull top`.

use crate::command::{NoFlags, Operands, command};
use crate::complain::{DONE, Outcome};
use crate::output;
use crate::session::Session;
use hull_api::wire::container::TopResponse;
use std::fmt::Write as _;

command! {
    names: ["container top", "top"], about: "Show a container's processes",
    usage: "CONTAINER [ps OPTIONS]", operands: Operands::AtLeast(1), flags: NoFlags, flags_first: true
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let options = Some(operands[1..].join(" ")).filter(|options| !options.is_empty());
    let call = client.get(["containers", &operands[0], "top"]).query_if("ps_args", options.as_deref());
    let top: TopResponse = call.read().await?;
    output::text(&columns(&top))?;
    Ok(DONE)
}

/// Columns twenty wide.
fn columns(top: &TopResponse) -> String {
    let mut text = String::new();
    let mut widths = vec![20; top.titles.len()];
    for row in top.processes.iter().chain([&top.titles]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 3);
        }
    }
    for row in [&top.titles].into_iter().chain(&top.processes) {
        for (at, cell) in row.iter().enumerate() {
            match widths.get(at).filter(|_| at + 1 < row.len()) {
                Some(width) => _ = write!(text, "{cell:<width$}"),
                None => text.push_str(cell),
            }
        }
        text.push('\n');
    }
    text
}
