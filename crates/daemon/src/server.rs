//! From a connection to a handler and back: version, route, call, answer, headers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, StatusCode, Uri, header};
use hull_api::version::{ApiVersion, MAX, MIN};
use hull_engine::{Error, Kind};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use crate::Daemon;
use crate::bare::Bare;
use crate::call::{Call, Outcome, Reply, RequestBody, refusal, refusal_with};
use crate::listen::{Accepted, Listener};
use crate::router::{self, Route};
use crate::routes;

/// Time a client may take to send its headers.
const HEADER_TIME: Duration = Duration::from_secs(60);
/// Pause after a failed accept(2): no file descriptors left, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `stop` changes.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: Listener, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok(accepted) => {
                tokio::spawn(converse(daemon.clone(), accepted, stop.clone()));
            }
            Err(why) => {
                tracing::error!("accept a connection: {why}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(daemon: Arc<Daemon>, accepted: Accepted, mut stop: watch::Receiver<bool>) {
    let connection = match accepted.establish().await {
        Ok(connection) => connection,
        Err(why) => return tracing::debug!("TLS handshake: {why}"),
    };
    let connection = match tokio::time::timeout(HEADER_TIME, Bare::read(connection)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(why)) => return tracing::debug!("connection: {why}"),
        Err(_) => return tracing::debug!("connection: no request in {HEADER_TIME:?}"),
    };
    let service = service_fn(move |request| answer(daemon.clone(), request));
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .half_close(true)
        // As Docker writes them: scripts compare without folding case.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    tokio::pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        _ = stop.changed() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(why) = ended {
        tracing::debug!("connection: {why}");
    }
}

async fn answer(daemon: Arc<Daemon>, request: Request<Incoming>) -> io::Result<Reply> {
    let started = Instant::now();
    daemon.rest.note();
    let watched = daemon.clone();
    let parent = daemon.traces.is_some().then(|| request.headers().get("traceparent").cloned()).flatten();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let head = method == http::Method::HEAD;
    let (mut reply, pattern) = dispatch(daemon, request).await;
    if head {
        *reply.body_mut() = crate::call::full("");
    }
    let took = started.elapsed();
    watched.metrics.note(&method, pattern, reply.status(), took);
    if let Some(traces) = &watched.traces {
        traces.note(parent.as_ref(), &method, pattern, &path, reply.status(), took);
    }
    tracing::debug!(%method, path, status = reply.status().as_u16(), ?took, "request");
    Ok(reply)
}

/// The answer, and the pattern of the route that gave it.
async fn dispatch(daemon: Arc<Daemon>, request: Request<Incoming>) -> (Reply, &'static str) {
    if let Some(moved) = moved(request.uri()) {
        return (moved, "");
    }
    let path = request.uri().path().to_owned();
    let (asked, path) = router::split_version(&path);
    let found = router::find(routes::TABLE, request.method(), path);
    let options = *request.method() == http::Method::OPTIONS;
    // No route answers this one, so none of what they all say is in it: neither a version nor who is there.
    if found.is_none() && !options {
        drop(RequestBody::from(request.into_body()));
        return (refusal_with(StatusCode::NOT_FOUND, "page not found"), "");
    }
    let version = asked.map_or(MAX, ApiVersion::of_path);
    let experimental = daemon.settings().experimental;
    let refused = refuse_version(version, asked.unwrap_or_default());
    let (mut reply, pattern) = match (refused, found) {
        (Some(refused), _) => (refused, ""),
        (None, Some((route, params))) => {
            (routed(route, params, daemon, request, version).await, route.pattern)
        }
        (None, None) => (http::Response::new(crate::call::full("")), ""),
    };
    stamp(&mut reply, experimental);
    (reply, pattern)
}

/// The answer of a route.
async fn routed(
    route: &Route,
    params: HashMap<&'static str, String>,
    daemon: Arc<Daemon>,
    request: Request<Incoming>,
    version: ApiVersion,
) -> Reply {
    let outcome = match Call::new(request, version, params) {
        Ok(call) => handle(route, daemon, call).await,
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        tracing::debug!(route = route.pattern, kind = ?error.kind, "{}", error.message);
        refusal(&error)
    })
}

/// What changes something runs to its end, whether its client stays or not: nobody has a use for half of a stop. What
/// only reads ends with the client.
async fn handle(route: &Route, daemon: Arc<Daemon>, call: Call) -> Outcome {
    let work = (route.handler)(daemon, call);
    if route.method == http::Method::GET || route.method == http::Method::HEAD {
        return work.await;
    }
    let unfinished = |why| Error::new(Kind::System, format!("{} was not finished: {why}", route.pattern));
    tokio::spawn(work).await.unwrap_or_else(|why| Err(unfinished(why)))
}

/// Where a path with empty or dotted segments leads.
fn moved(uri: &Uri) -> Option<Reply> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{}{query}", router::clean(uri.path())?)).ok()?;
    let mut reply = http::Response::new(crate::call::full(""));
    *reply.status_mut() = StatusCode::MOVED_PERMANENTLY;
    reply.headers_mut().insert(header::LOCATION, location);
    Some(reply)
}

/// What a client hears that asks for a version which is not spoken. Clients of versions that old expect plain text.
fn refuse_version(version: ApiVersion, asked: &str) -> Option<Reply> {
    if version < MIN {
        let message = format!(
            "client version {asked} is too old. Minimum supported API version is {MIN}, please upgrade your client to \
             a newer version\n"
        );
        let mut reply = http::Response::new(crate::call::full(message));
        *reply.status_mut() = StatusCode::BAD_REQUEST;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        reply.headers_mut().insert(header::CONTENT_TYPE, text);
        reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        return Some(reply);
    }
    let message = format!("client version {asked} is too new. Maximum supported API version is {MAX}");
    (version > MAX).then(|| refusal_with(StatusCode::BAD_REQUEST, &message))
}

/// The headers that every answer of a Docker daemon's route carries.
fn stamp(reply: &mut Reply, experimental: bool) {
    let headers = reply.headers_mut();
    if let Ok(version) = HeaderValue::from_str(&MAX.to_string()) {
        headers.insert("Api-Version", version);
    }
    let experimental = HeaderValue::from_static(if experimental { "true" } else { "false" });
    headers.insert("Docker-Experimental", experimental);
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(
        "Server",
        HeaderValue::from_static(concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
}
