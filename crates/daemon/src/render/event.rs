//! One event of `GET /events`.

use hull_api::wire::events as wire;
use hull_engine::{Event, EventKind};

/// An event; the old fields are repeated for containers and images, as Docker does.
pub(crate) fn event(event: &Event) -> wire::Event {
    let old = matches!(event.kind, EventKind::Container | EventKind::Image);
    let nanoseconds = i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX);
    let attribute = |name: &str| event.attributes.get(name).cloned().unwrap_or_default();
    wire::Event {
        status: if old { event.action.clone() } else { String::new() },
        id: if old { event.id.clone() } else { String::new() },
        from: if event.kind == EventKind::Container { attribute("image") } else { String::new() },
        kind: event.kind.name().to_owned(),
        action: event.action.clone(),
        actor: wire::Actor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.time.as_second(),
        time_nano: nanoseconds,
    }
}
