//! `/exec`: further programs in running containers.

use std::sync::Arc;

use base64::Engine as _;
use http::StatusCode;
use hull_api::wire::IdResponse;
use hull_api::wire::exec::{ExecCreateRequest, ExecInspect, ExecProcess, ExecStartRequest};
use hull_engine::model::ExecStart;

use crate::Daemon;
use crate::call::{Call, Outcome, json, ok, status};
use crate::{parse, streams};

/// Since this minor version of the API a session is made with a size of its terminal.
const SIZE_SINCE: u16 = 42;

pub(super) async fn create(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let (name, has_size) = (call.param("id").to_owned(), call.since(SIZE_SINCE));
    let mut body: ExecCreateRequest = call.json_or_default().await?;
    body.console_size = body.console_size.filter(|_| has_size);
    let id = daemon.engine.exec_create(&name, parse::exec_config(body)?).await?;
    json(StatusCode::CREATED, &IdResponse { id })
}

pub(super) async fn start(daemon: Arc<Daemon>, mut call: Call) -> Outcome {
    let (id, version, upgrade) = (call.param("id").to_owned(), call.version, call.upgrade.take());
    let has_size = call.since(SIZE_SINCE);
    let body: ExecStartRequest = call.json_or_default().await?;
    let start = ExecStart {
        detach: body.detach,
        tty: body.tty,
        console_size: body.console_size.filter(|_| has_size).map(parse::console_size),
    };
    match daemon.engine.exec_start(&id, start).await? {
        Some(attachment) => Ok(streams::hijack(upgrade, version, attachment)),
        None => status(StatusCode::OK),
    }
}

pub(super) async fn resize(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let (rows, cols) = parse::window_size(call.query())?;
    daemon.engine.exec_resize(call.param("id"), rows, cols).await?;
    status(StatusCode::OK)
}

pub(super) async fn inspect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let session = daemon.engine.exec_inspect(call.param("id"))?;
    let config = session.config;
    let (entrypoint, arguments) = match config.cmd.split_first() {
        Some((program, arguments)) => (program.clone(), arguments.to_vec()),
        None => Default::default(),
    };
    ok(&ExecInspect {
        id: session.id,
        running: session.running,
        exit_code: session.exit_code.map(i64::from),
        process_config: ExecProcess {
            tty: config.tty,
            entrypoint,
            arguments,
            privileged: Some(config.privileged),
            user: config.user,
        },
        open_stdin: config.attach_stdin,
        open_stderr: config.attach_stderr,
        open_stdout: config.attach_stdout,
        // Docker says so from its second last look at it to its last.
        can_remove: false,
        container_id: session.container_id,
        detach_keys: base64::engine::general_purpose::STANDARD.encode(session.detach_keys),
        pid: i64::from(session.pid),
    })
}
