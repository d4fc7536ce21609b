//! `GET /events`: the past that is still known, then what comes, until the client leaves or `until` is there.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header;
use hull_api::filters::Filters;
use hull_api::version::ApiVersion;
use hull_api::wire::versions::Versioned;
use hull_engine::{Error, Event, EventKind, EventStream};
use jiff::Timestamp;

use crate::Daemon;
use crate::call::{Call, Outcome, invalid, streamed};
use crate::{parse, render};

/// Objects that are meant by the beginning of their id or name.
const OBJECTS: [&str; 9] =
    ["container", "plugin", "volume", "network", "daemon", "node", "service", "secret", "config"];
/// Actions with details behind a colon: one of these names among the wanted ones, and all are beginnings.
const BEGINNINGS: [&str; 3] = ["health_status", "exec_create", "exec_start"];

/// Bytes of the past that are sent at once.
const TOGETHER: usize = 64 << 10;

struct Telling {
    past: VecDeque<Event>,
    coming: EventStream,
    until: Option<Timestamp>,
    filters: Filters,
    version: ApiVersion,
    /// The media type of the stream.
    form: &'static str,
}

pub(super) async fn stream(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    let filters = parse::any_filters(query)?;
    let (since, until) = (moment(&call, "since")?, moment(&call, "until")?);
    if let (Some(first), Some(last)) = (since, until)
        && last < first
    {
        let text = |name: &str| query.get(name).unwrap_or_default().to_owned();
        return Err(invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            text("since"),
            text("until")
        )));
    }
    let (past, coming) = daemon.engine.events().subscribe();
    let accept = call.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let form = form(accept.unwrap_or_default());
    let mut telling = Telling { past: VecDeque::new(), coming, until, filters, version: call.version, form };
    // Without `since`, a listener wants the future alone; with `until` alone, the past up to it.
    if (since.is_some() || until.is_some())
        && let Ok(past) = past
    {
        let wanted = telling.filters.clone();
        let is_past = move |event: &Event| until.is_none_or(|until| event.time <= until);
        let read =
            move || past.since(since).take_while(is_past).filter(|event| matches(&wanted, event)).collect();
        telling.past = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    }
    Ok(streamed(telling.form, stream::unfold(telling, next_lines)))
}

/// What a sequence of documents is called when the client does not choose. It is none of JSON, strictly.
const PLAIN: &str = "application/json";
/// One that begins each document with a separator (RFC 7464).
const SEQUENCE: &str = "application/json-seq";
/// What a client may choose from, and what it gets first if it takes anything.
const FORMS: [&str; 3] = ["application/jsonl", "application/x-ndjson", SEQUENCE];

/// The form that an `Accept` header asks for: what it names before what it takes as well, then what it wants most.
fn form(accept: &str) -> &'static str {
    let rank = |form: &str| {
        let ranks = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let precision = match parts.next()?.to_ascii_lowercase().as_str() {
                "*/*" => 0,
                "application/*" => 1,
                name if name == form => 2,
                _ => return None,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(Some(1.0), |text| text.parse::<f32>().ok())?;
            (quality > 0.0).then_some((precision, (quality * 1000.0) as u16))
        });
        ranks.max()
    };
    // Of equals the first one, which comes last here.
    let ranked = FORMS.iter().rev().filter_map(|form| Some((rank(form)?, *form)));
    ranked.max_by_key(|(rank, _)| *rank).map_or(PLAIN, |(_, form)| form)
}

/// A moment; 0 is one, too.
fn moment(call: &Call, name: &str) -> Result<Option<Timestamp>, Error> {
    match call.query().get(name) {
        Some("0") => Ok(Some(Timestamp::UNIX_EPOCH)),
        _ => parse::timestamp(call.query(), name),
    }
}

async fn next_lines(mut telling: Telling) -> Option<(std::io::Result<Bytes>, Telling)> {
    if !telling.past.is_empty() {
        let mut lines = Vec::new();
        while lines.len() < TOGETHER
            && let Some(event) = telling.past.pop_front()
        {
            lines.extend_from_slice(&telling.line(&event)?);
        }
        return Some((Ok(lines.into()), telling));
    }
    loop {
        let event = match telling.until {
            None => telling.coming.next().await?,
            Some(until) => {
                let left = until.duration_since(Timestamp::now()).try_into().unwrap_or_default();
                tokio::time::timeout(left, telling.coming.next()).await.ok()??
            }
        };
        if matches(&telling.filters, &event) {
            let line = telling.line(&event)?;
            return Some((Ok(line), telling));
        }
    }
}

impl Telling {
    /// The event as it is sent; `None` if it is too young.
    fn line(&self, event: &Event) -> Option<Bytes> {
        if self.until.is_some_and(|until| event.time > until) {
            return None;
        }
        let mut event = render::event(event);
        event.speak(self.version);
        let mut line = Vec::new();
        if self.form == SEQUENCE {
            line.push(0x1e);
        }
        serde_json::to_writer(&mut line, &event).ok()?;
        line.push(b'\n');
        Some(Bytes::from(line))
    }
}

/// Whether a listener with these filters wants the event.
fn matches(filters: &Filters, event: &Event) -> bool {
    let name = event.attributes.get("name").map_or("", String::as_str);
    let is_object = |key: &&str| begins(filters, key, &event.id) || begins(filters, key, name);
    let by_beginning = filters.values("event").any(|wanted| BEGINNINGS.contains(&wanted));
    let action = match by_beginning {
        true => begins(filters, "event", &event.action),
        false => filters.matches("event", &event.action),
    };
    action
        && filters.matches("type", event.kind.name())
        && filters.matches("scope", "local")
        && filters.matches_labels("label", &event.attributes)
        && OBJECTS.iter().all(is_object)
        && image(filters, event, name)
}

/// Whether the filter is absent, or names the text or its beginning.
fn begins(filters: &Filters, key: &str, text: &str) -> bool {
    let mut wanted = filters.values(key).peekable();
    wanted.peek().is_none() || wanted.any(|wanted| text.starts_with(wanted))
}

/// An image matches by id or name, with or without its tag, and with it what happens to its containers.
fn image(filters: &Filters, event: &Event, name: &str) -> bool {
    let named = match event.kind {
        EventKind::Image => name,
        _ => event.attributes.get("image").map_or("", String::as_str),
    };
    // As people write it: without the tag and the default registry.
    let bare = |name: &str| {
        let name = name.split('@').next().unwrap_or_default();
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
            _ => name.to_owned(),
        }
    };
    [event.id.as_str(), named]
        .iter()
        .any(|name| filters.matches("image", name) || filters.matches("image", &bare(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (action, id) = (action.to_owned(), id.to_owned());
        Event { time: Timestamp::UNIX_EPOCH, kind, action, id, attributes: attributes.collect() }
    }

    fn wanted(filters: &str, event: &Event) -> bool {
        matches(&Filters::parse(filters).expect("filters"), event)
    }

    #[test]
    fn clients_choose_the_form() {
        for (accept, chosen) in [
            ("", PLAIN),
            ("text/html", PLAIN),
            ("application/json", PLAIN),
            ("*/*", "application/jsonl"),
            ("application/json-seq", SEQUENCE),
            ("Application/X-NDJSON; charset=utf-8", "application/x-ndjson"),
            ("application/jsonl;q=0.5, application/json-seq", SEQUENCE),
            ("*/*, application/x-ndjson", "application/x-ndjson"),
            ("application/json-seq;q=0", PLAIN),
            ("application/json-seq, application/x-ndjson", "application/x-ndjson"),
        ] {
            assert_eq!(form(accept), chosen, "{accept}");
        }
    }

    #[test]
    fn objects_are_meant_by_beginnings() {
        let attributes = [("name", "web-1"), ("image", "docker.io/library/nginx:1.2"), ("tier", "front")];
        let start = event(EventKind::Container, "start", "abcdef", &attributes);
        for yes in [
            r#"{}"#,
            r#"{"container":["abc"]}"#,
            r#"{"container":["web"]}"#,
            r#"{"container":["x","web-1"]}"#,
            r#"{"image":["nginx"]}"#,
            r#"{"image":["docker.io/library/nginx:1.2"]}"#,
            r#"{"event":["start"],"type":["container"],"scope":["local"]}"#,
            r#"{"label":["tier=front"]}"#,
            r#"{"frob":["ignored"]}"#,
        ] {
            assert!(wanted(yes, &start), "{yes}");
        }
        for no in [
            r#"{"container":["eb"]}"#,
            r#"{"image":["ngin"]}"#,
            r#"{"event":["star"]}"#,
            r#"{"type":["image"]}"#,
            r#"{"scope":["swarm"]}"#,
            r#"{"node":["n"]}"#,
            r#"{"label":["tier=back"]}"#,
        ] {
            assert!(!wanted(no, &start), "{no}");
        }
    }

    #[test]
    fn actions_with_details_are_meant_by_their_names() {
        let exec = event(EventKind::Container, "exec_create: sh -c true", "a", &[]);
        assert!(wanted(r#"{"event":["exec_create"]}"#, &exec));
        assert!(wanted(r#"{"event":["exec_create: sh -c true"]}"#, &exec));
        assert!(!wanted(r#"{"event":["exec_start"]}"#, &exec));
        let health = event(EventKind::Container, "health_status: healthy", "a", &[]);
        assert!(wanted(r#"{"event":["health_status"]}"#, &health));
        assert!(wanted(r#"{"event":["health_status: healthy"]}"#, &health));
        assert!(!wanted(r#"{"event":["health_status: unhealthy"]}"#, &health));
        assert!(!wanted(r#"{"event":["health"]}"#, &health));
    }
}
