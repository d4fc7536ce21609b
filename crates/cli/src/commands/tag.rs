//! `hull tag`.

use crate::command::{NoFlags, Operands, command};
use crate::commands::pull::parse;
use crate::complain::{Complaint, DONE, Outcome};
use crate::session::Session;

command! {
    names: ["image tag", "tag"], about: "Give an image another name",
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", operands: Operands::Exactly(2), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let target = parse(&operands[1]).map_err(|complaint| {
        Complaint::new(format!(
            "Error parsing reference: {:?} is not a valid repository/tag: {}",
            operands[1], complaint.text
        ))
    })?;
    if target.digest().is_some() {
        return Err(Complaint::new("refusing to create a tag with a digest reference"));
    }
    let target = target.with_default_tag();
    let client = session.connect().await?;
    let call = client.post(["images", &operands[0], "tag"]).query("repo", &target.familiar_name());
    call.query_if("tag", target.tag()).status().await?;
    Ok(DONE)
}
