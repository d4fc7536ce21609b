//! `GET /events`: the past that is still known, then what comes, until the client leaves or `until` is there.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use hull_api::filters::Filters;
use hull_api::version::ApiVersion;
use hull_api::wire::versions::Versioned;
use hull_engine::{Event, EventKind, EventStream};
use jiff::Timestamp;

use crate::Daemon;
use crate::call::{Call, Outcome, streamed};
use crate::{parse, render};

/// The filters of events.
const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

struct Telling {
    past: VecDeque<Event>,
    coming: EventStream,
    until: Option<Timestamp>,
    filters: Filters,
    version: ApiVersion,
}

pub(super) async fn stream(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    let filters = parse::filters(query, FILTERS)?;
    let (since, until) = (parse::timestamp(query, "since")?, parse::timestamp(query, "until")?);
    let (past, coming) = daemon.engine.events().subscribe();
    // Without `since`, a listener wants the future alone; with `until` alone, the past up to it.
    let wanted = |event: &Event| match since {
        Some(since) => event.time >= since,
        None => until.is_some(),
    };
    let past = past.into_iter().filter(wanted).collect();
    let telling = Telling { past, coming, until, filters, version: call.version };
    Ok(streamed("application/json", stream::unfold(telling, next_line)))
}

async fn next_line(mut telling: Telling) -> Option<(std::io::Result<Bytes>, Telling)> {
    loop {
        let event = next_event(&mut telling).await?;
        if !matches(&telling.filters, &event) {
            continue;
        }
        let mut event = render::event(&event);
        event.speak(telling.version);
        let mut line = serde_json::to_vec(&event).ok()?;
        line.push(b'\n');
        return Some((Ok(Bytes::from(line)), telling));
    }
}

async fn next_event(telling: &mut Telling) -> Option<Event> {
    let event = match (telling.past.pop_front(), telling.until) {
        (Some(event), _) => event,
        (None, None) => telling.coming.next().await?,
        (None, Some(until)) => {
            let left = until.duration_since(Timestamp::now()).try_into().unwrap_or_default();
            tokio::time::timeout(left, telling.coming.next()).await.ok()??
        }
    };
    (telling.until.is_none_or(|until| event.time <= until)).then_some(event)
}

/// Whether a listener with these filters wants the event. An object matches by id, by the beginning of its id, and
/// by name.
fn matches(filters: &Filters, event: &Event) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    let object = |key: &str, kind: EventKind| {
        let mut wanted = filters.values(key).peekable();
        wanted.peek().is_none()
            || wanted.any(|name| {
                let is_it = event.id == name || event.id.starts_with(name) || attribute("name") == name;
                let is_on_it = key == "container" && attribute("container") == name;
                (event.kind == kind && is_it) || is_on_it
            })
    };
    let action = event.action.split(':').next().unwrap_or("");
    (filters.matches("event", action) || filters.matches("event", &event.action))
        && filters.matches("type", event.kind.name())
        && filters.matches("scope", "local")
        && filters.matches_labels("label", &event.attributes)
        && object("container", EventKind::Container)
        && object("volume", EventKind::Volume)
        && object("network", EventKind::Network)
        && object("daemon", EventKind::Daemon)
        && image(filters, event)
        && ["config", "node", "plugin", "secret", "service"].iter().all(|key| !filters.has(key))
}

/// An image matches by name with or without its tag, for its containers, too.
fn image(filters: &Filters, event: &Event) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    let named = match event.kind {
        EventKind::Image => [event.id.as_str(), attribute("name")],
        _ => [attribute("image"), ""],
    };
    let bare = |name: &str| match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
        _ => name.to_owned(),
    };
    let mut wanted = filters.values("image").peekable();
    wanted.peek().is_none()
        || wanted
            .any(|image| named.iter().any(|name| !name.is_empty() && (*name == image || bare(name) == image)))
}
