//! `hull checkpoint`: create, list and remove.

use crate::command::{Operands, command};
use crate::complain::{DONE, Outcome};
use crate::output;
use crate::session::Session;
use crate::table::{Listing, Row};
use hull_api::wire::container::{CheckpointCreateRequest, CheckpointSummary};

#[derive(Debug, clap::Args)]
struct Directory {
    /// Another directory for checkpoints than the container's own
    #[arg(long, value_name = "string")]
    checkpoint_dir: Option<String>,
}

/// `hull checkpoint create`.
pub(crate) mod create {
    use super::*;

    command! {
        names: ["checkpoint create"], about: "Save the processes of a container",
        usage: "[OPTIONS] CONTAINER CHECKPOINT", operands: Operands::Exactly(2), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        #[command(flatten)]
        directory: Directory,
        /// Let the container run on
        #[arg(long)]
        leave_running: bool,
    }

    async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
        let request = CheckpointCreateRequest {
            checkpoint_id: operands[1].clone(),
            checkpoint_dir: flags.directory.checkpoint_dir.unwrap_or_default(),
            exit: !flags.leave_running,
        };
        let client = session.connect().await?;
        client.post(["containers", &operands[0], "checkpoints"]).json(&request).status().await?;
        output::line(&request.checkpoint_id)?;
        Ok(DONE)
    }
}

/// `hull checkpoint ls`.
pub(crate) mod ls {
    use super::*;

    command! {
        names: ["checkpoint ls", "checkpoint list"], about: "List the checkpoints of a container",
        usage: "[OPTIONS] CONTAINER", operands: Operands::Exactly(1), flags: Directory
    }

    const TITLES: &[(&str, &str)] = &[("Name", "CHECKPOINT NAME")];

    async fn run(flags: Directory, operands: Vec<String>, session: Session) -> Outcome {
        let client = session.connect().await?;
        let call = client.get(["containers", &operands[0], "checkpoints"]);
        let call = call.query_if("dir", flags.checkpoint_dir.as_deref());
        let all: Option<Vec<CheckpointSummary>> = call.read().await?;
        let rows = all.iter().flatten().map(|one| Row::new().with("Name", one.name.as_str())).collect();
        Listing { titles: TITLES, table: "{{.Name}}" }.show(None, rows)?;
        Ok(DONE)
    }
}

/// `hull checkpoint rm`.
pub(crate) mod rm {
    use super::*;

    command! {
        names: ["checkpoint rm", "checkpoint remove"], about: "Remove a checkpoint",
        usage: "[OPTIONS] CONTAINER CHECKPOINT", operands: Operands::Exactly(2), flags: Directory
    }

    async fn run(flags: Directory, operands: Vec<String>, session: Session) -> Outcome {
        let client = session.connect().await?;
        let call = client.delete(["containers", &operands[0], "checkpoints", &operands[1]]);
        call.query_if("dir", flags.checkpoint_dir.as_deref()).status().await?;
        Ok(DONE)
    }
}
