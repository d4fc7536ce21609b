//! `/containers`, one container at a time.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use hull_api::version::ApiVersion;
use hull_api::wire::container::{
    ContainerCreateResponse, ContainerPruneResponse, FilesystemChange, TopResponse, WaitError, WaitResponse,
};
use hull_api::wire::host::{UpdateRequest, UpdateResponse};
use hull_engine::Error;
use hull_engine::model::{AttachOptions, Created, LogOptions, WaitCondition};
use hull_oci::Signal;

use crate::Daemon;
use crate::call::{Call, Outcome, invalid, json, no_content, ok, spoken, status, streamed};
use crate::websocket::Handshake;
use crate::{parse, render, streams};

pub(super) async fn create(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let name = call.query().get("name").map(str::to_owned);
    let version = call.version;
    // It came with version 1.41.
    let platform = if call.since(41) { parse::platform(call.query()) } else { Ok(None) };
    // Read whatever the query says: a client that still sends would lose the answer.
    let body = parse::create_body(&call.document().await?)?;
    let (request, more) = parse::create_request(name.as_deref(), platform?, body, version)?;
    let Created { id, mut warnings } = daemon.engine.create(request).await?;
    warnings.extend(more);
    json(StatusCode::CREATED, &ContainerCreateResponse { id, warnings })
}

pub(super) async fn inspect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let version = call.version;
    let container = daemon.engine.container(call.param("id"))?;
    let size = match call.query().flag("size") {
        true => Some(daemon.engine.container_size(&container.id).await?),
        false => None,
    };
    let mut inspected = render::inspect(&container, daemon.engine.places(&container).as_ref(), size);
    inspected.host_config.links = daemon.engine.links(&container);
    spoken(version, inspected)
}

pub(super) async fn start(daemon: Arc<Daemon>, call: Call) -> Outcome {
    // What older clients sent here means nothing any more; `{}` and `null` are nothing.
    if call.body_length().is_none_or(|bytes| bytes > 7) {
        return Err(invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    let checkpoint = call.query().get("checkpoint").filter(|checkpoint| !checkpoint.is_empty());
    if checkpoint.is_some() && !daemon.settings().experimental {
        return Err(invalid("checkpoint is only supported in experimental mode"));
    }
    let directory = call.query().get("checkpoint-dir").unwrap_or("");
    daemon.engine.start_from(call.param("id"), checkpoint, directory).await?;
    no_content()
}

/// The signal to end `id` with, which older versions did not have. Docker looks for the container first.
fn stop_signal(daemon: &Daemon, call: &Call, doing: &str) -> Result<Option<Signal>, Error> {
    if !call.since(42) {
        return Ok(None);
    }
    let id = call.param("id");
    daemon.engine.container(id)?;
    parse::signal(call.query()).map_err(|error| error.within(format!("{doing} {id}")))
}

pub(super) async fn stop(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let timeout = call.query().number("t")?;
    let signal = stop_signal(&daemon, &call, "cannot stop container:")?;
    daemon.engine.stop(call.param("id"), timeout, signal).await?;
    no_content()
}

pub(super) async fn restart(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let timeout = call.query().number("t")?;
    let signal = stop_signal(&daemon, &call, "Cannot restart container")?;
    daemon.engine.restart(call.param("id"), timeout, signal).await?;
    no_content()
}

/// What Docker says of a number that is no signal.
fn unsupported(call: &Call) -> Option<Error> {
    let number: i32 = call.query().get("signal")?.parse().ok()?;
    (number != 0).then(|| invalid(format!("the linux daemon does not support signal {number}")))
}

pub(super) async fn kill(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let name = call.param("id");
    let killed = match parse::signal(call.query()).map_err(|error| unsupported(&call).unwrap_or(error)) {
        Ok(signal) => daemon.engine.kill(name, signal).await,
        Err(error) => Err(error),
    };
    killed.map_err(|error| error.within(format!("cannot kill container: {name}")))?;
    no_content()
}

pub(super) async fn pause(daemon: Arc<Daemon>, call: Call) -> Outcome {
    daemon.engine.pause(call.param("id")).await?;
    no_content()
}

pub(super) async fn unpause(daemon: Arc<Daemon>, call: Call) -> Outcome {
    daemon.engine.unpause(call.param("id")).await?;
    no_content()
}

pub(super) async fn rename(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let name = call.query().get("name").unwrap_or("").trim_start_matches('/').to_owned();
    daemon.engine.rename(call.param("id"), &name).await?;
    no_content()
}

pub(super) async fn resize(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let (rows, cols) = parse::window_size(call.query())?;
    daemon.engine.resize(call.param("id"), rows, cols).await?;
    status(StatusCode::OK)
}

pub(super) async fn update(daemon: Arc<Daemon>, call: Call) -> Outcome {
    const PIDS_SINCE: ApiVersion = ApiVersion { major: 1, minor: 40 };
    let (id, version) = (call.param("id").to_owned(), call.version);
    let mut body: UpdateRequest = call.json_or_default().await?;
    body.pids_limit = body.pids_limit.filter(|_| version >= PIDS_SINCE);
    let warnings = daemon.engine.update(&id, parse::update(body)?).await?;
    ok(&UpdateResponse { warnings: Some(warnings).filter(|list| !list.is_empty()) })
}

pub(super) async fn remove(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    if query.flag("link") {
        daemon.engine.remove_link(call.param("id")).await?;
        return no_content();
    }
    daemon.engine.remove(call.param("id"), query.flag("force"), query.flag("v")).await?;
    no_content()
}

pub(super) async fn prune(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::filters(call.query(), &["label", "label!", "until"])?;
    let until = parse::single_until(&filters)?;
    let pruned = daemon
        .engine
        .containers_prune(move |container| {
            let labels = &container.config.labels;
            filters.matches_labels("label", labels)
                && (!filters.has("label!") || !filters.matches_labels("label!", labels))
                && until.is_none_or(|until| container.created < until)
        })
        .await?;
    let steps: Vec<_> = pruned.removed.iter().map(|name| (name.clone(), "deleted")).collect();
    let report = ContainerPruneResponse {
        containers_deleted: Some(pruned.removed).filter(|list| !list.is_empty()),
        space_reclaimed: pruned.space_reclaimed,
    };
    call.pruned(&report, steps)
}

pub(super) async fn top(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let top = daemon.engine.top(call.param("id"), call.query().get("ps_args").unwrap_or("")).await?;
    ok(&TopResponse { processes: top.processes, titles: top.titles })
}

pub(super) async fn changes(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let changes = daemon.engine.changes(call.param("id")).await?;
    let shown = changes.into_iter().map(|change| FilesystemChange {
        kind: match change.kind {
            hull_engine::ChangeKind::Modified => 0,
            hull_engine::ChangeKind::Added => 1,
            hull_engine::ChangeKind::Deleted => 2,
        },
        path: change.path.to_string_lossy().into_owned(),
    });
    // Nothing is `null`, as in Docker.
    ok(&Some(shown.collect::<Vec<_>>()).filter(|changes| !changes.is_empty()))
}

pub(super) async fn export(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let archive = daemon.engine.export(call.param("id")).await?;
    Ok(streamed("application/octet-stream", streams::chunks(archive)))
}

pub(super) async fn logs(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    let options = LogOptions {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        since: parse::timestamp(query, "since")?,
        until: parse::timestamp(query, "until")?,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tail: parse::tail(query),
        follow: query.flag("follow"),
    };
    if !options.stdout && !options.stderr {
        return Err(invalid("Bad parameters: you must choose at least one stream"));
    }
    let log = daemon.engine.logs(call.param("id"), options).await?;
    let kind = streams::media_type(log.tty, call.version);
    let chunks = stream::unfold(log, async |mut log| {
        let chunk = log.next().await?;
        Some((chunk.map(Bytes::from), log))
    });
    Ok(streamed(kind, chunks))
}

pub(super) async fn attach(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        detach_keys: query.get("detachKeys").map(str::to_owned),
    };
    match daemon.engine.attach(call.param("id"), options).await {
        Ok(attachment) => Ok(streams::hijack(call.upgrade, call.version, attachment)),
        Err(why) => Ok(streams::refusal(&why)),
    }
}

/// The same for browsers. Before version 1.42 of the API it had all three streams, whatever was asked for.
pub(super) async fn attach_websocket(daemon: Arc<Daemon>, call: Call) -> Outcome {
    const CHOICE_SINCE: ApiVersion = ApiVersion { major: 1, minor: 42 };
    let query = call.query();
    let wants = |stream| call.version < CHOICE_SINCE || query.flag(stream);
    let options = AttachOptions {
        stdin: wants("stdin"),
        stdout: wants("stdout"),
        stderr: wants("stderr"),
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        detach_keys: query.get("detachKeys").map(str::to_owned),
    };
    let name = call.param("id").to_owned();
    daemon.engine.container(&name)?;
    let handshake = Handshake::read(&call.headers, call.upgrade)?;
    Ok(handshake.attach(daemon.engine.attach(&name, options).await?))
}

/// Answers with its headers at once, and with the body when the container has ended: a client that has the headers
/// knows that it will not miss the exit.
pub(super) async fn wait(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let condition = match call.query().get("condition").filter(|_| call.since(30)) {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => return Err(invalid(format!("invalid condition: {other:?}"))),
    };
    let waiter = daemon.engine.wait(call.param("id"), condition)?;
    let answer = async move {
        match waiter.wait().await {
            Ok(exit) => WaitResponse {
                error: Some(exit.error)
                    .filter(|message| !message.is_empty())
                    .map(|message| WaitError { message }),
                status_code: i64::from(exit.code),
            },
            Err(why) => WaitResponse { error: Some(WaitError { message: why.message }), status_code: -1 },
        }
    };
    if !call.since(30) {
        // Nothing was told before the end then.
        return ok(&answer.await);
    }
    let body = stream::once(async move {
        let mut bytes = serde_json::to_vec(&answer.await)?;
        bytes.push(b'\n');
        Ok(Bytes::from(bytes))
    });
    Ok(streamed("application/json", body))
}

/// Since this version prunes and lists have today's defaults.
pub(super) const V1_42: ApiVersion = ApiVersion { major: 1, minor: 42 };
