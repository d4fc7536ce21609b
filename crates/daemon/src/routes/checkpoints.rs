//! `/containers/{id}/checkpoints`, which as in Docker only a daemon in experimental mode has.

use std::sync::Arc;

use http::StatusCode;
use hull_api::wire::container::{CheckpointCreateRequest, CheckpointSummary};
use hull_engine::Error;
use hull_engine::model::CheckpointRequest;

use crate::Daemon;
use crate::call::{Call, Outcome, no_content, ok, status};

fn require_experimental(daemon: &Daemon) -> Result<(), Error> {
    match daemon.settings().experimental {
        true => Ok(()),
        false => Err(Error::not_implemented(
            "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order \
             to enable it.",
        )),
    }
}

pub(super) async fn create(daemon: Arc<Daemon>, call: Call) -> Outcome {
    require_experimental(&daemon)?;
    let name = call.param("id").to_owned();
    let body: CheckpointCreateRequest = call.json().await?;
    let request =
        CheckpointRequest { name: body.checkpoint_id, directory: body.checkpoint_dir, exit: body.exit };
    daemon.engine.checkpoint_create(&name, request).await?;
    status(StatusCode::CREATED)
}

pub(super) async fn list(daemon: Arc<Daemon>, call: Call) -> Outcome {
    require_experimental(&daemon)?;
    let directory = call.query().get("dir").unwrap_or("");
    let names = daemon.engine.checkpoints(call.param("id"), directory)?;
    let all: Vec<_> = names.into_iter().map(|name| CheckpointSummary { name }).collect();
    // None is `null`, as Go has it.
    ok(&Some(all).filter(|all| !all.is_empty()))
}

pub(super) async fn delete(daemon: Arc<Daemon>, call: Call) -> Outcome {
    require_experimental(&daemon)?;
    let directory = call.query().get("dir").unwrap_or("");
    daemon.engine.checkpoint_delete(call.param("id"), call.param("checkpoint"), directory).await?;
    no_content()
}
