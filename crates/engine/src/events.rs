//! What happened: a journal of the past and a stream of the coming events.
//!
//! Only this module holds events; every other one calls [`Events::emit`]. The past is on disk alone, in two files that take
//! turns ([`journal`]): it survives restarts and crashes of the daemon, up to a torn last line, and costs no memory.

mod journal;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use journal::Journal;
pub use journal::Past;

/// How far a listener may fall behind before it loses events.
const BACKLOG: usize = 4096;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The daemon itself.
    Daemon,
}

impl EventKind {
    /// The name of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
        }
    }
}

/// Something happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What sort of object.
    pub kind: EventKind,
    /// What happened: "start", "die", "exec_create: sh".
    pub action: String,
    /// Id of the object (name, for a volume).
    pub id: String,
    /// What else is known: labels, image, name, exit code.
    pub attributes: BTreeMap<String, String>,
}

/// The source of events.
pub struct Events {
    journal: Mutex<Journal>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Events {
    /// Goes on with the journal of that name. Without one, events are told and not kept.
    pub(crate) fn open(path: PathBuf) -> Self {
        Self { journal: Mutex::new(Journal::open(path)), sender: broadcast::channel(BACKLOG).0 }
    }

    /// Records an event and tells every listener.
    pub fn emit(
        &self,
        kind: EventKind,
        action: impl Into<String>,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event { time: Timestamp::now(), kind, action: action.into(), id: id.into(), attributes };
        journal.write(&event);
        // Sent under the lock, so that a new listener sees each event exactly once. Nobody listening is fine.
        let _ = self.sender.send(Arc::new(event));
    }

    /// The past that is still known, and the stream of the events that follow it.
    pub fn subscribe(&self) -> (io::Result<Past>, EventStream) {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        (journal.past(), EventStream(self.sender.subscribe()))
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}

/// The events to come, in order.
pub struct EventStream(broadcast::Receiver<Arc<Event>>);

impl EventStream {
    /// The next event; `None` when the engine is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(events: &Events, since: Option<Timestamp>) -> Vec<String> {
        let (past, _stream) = events.subscribe();
        past.unwrap().since(since).map(|event| event.action).collect()
    }

    #[tokio::test]
    async fn a_listener_sees_the_past_once_and_then_the_future() {
        let directory = tempfile::tempdir().unwrap();
        let events = Events::open(directory.path().join("events"));
        events.emit(EventKind::Container, "create", "a", BTreeMap::new());
        let (past, mut stream) = events.subscribe();
        events.emit(EventKind::Container, "start", "a", BTreeMap::new());
        let past: Vec<_> = past.unwrap().since(None).map(|event| event.action).collect();
        assert_eq!(past, ["create"]);
        assert_eq!(stream.next().await.unwrap().action, "start");
    }

    #[test]
    fn the_past_survives_a_restart_and_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let attributes = BTreeMap::from([("name".to_owned(), "line\nbreak".to_owned())]);
        Events::open(path.clone()).emit(EventKind::Volume, "create", "v", attributes.clone());
        let torn = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&torn[..], &torn[..torn.len() / 2]].concat()).unwrap();
        let events = Events::open(path);
        events.emit(EventKind::Volume, "destroy", "v", attributes.clone());
        assert_eq!(past(&events, None), ["create", "destroy"]);
        let (past, _stream) = events.subscribe();
        assert!(past.unwrap().since(None).all(|event| event.attributes == attributes));
    }

    #[test]
    fn the_past_is_bounded_and_read_from_any_moment() {
        let directory = tempfile::tempdir().unwrap();
        let events = Events::open(directory.path().join("events"));
        let attributes = BTreeMap::from([("filler".to_owned(), "x".repeat(1000))]);
        for index in 0..3000 {
            events.emit(EventKind::Daemon, index.to_string(), "", attributes.clone());
        }
        let kept = past(&events, None);
        assert!((500..2500).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.last().map(String::as_str), Some("2999"));
        let (all, _stream) = events.subscribe();
        let times: Vec<_> = all.unwrap().since(None).map(|event| event.time).collect();
        assert!(times.is_sorted());
        let late = past(&events, Some(times[times.len() - 10]));
        assert!((10..20).contains(&late.len()), "{}", late.len());
    }

    #[test]
    fn without_a_disk_events_are_still_told() {
        let events = Events::open("/proc/nowhere/events".into());
        events.emit(EventKind::Daemon, "reload", "", BTreeMap::new());
        let (past, mut stream) = events.subscribe();
        assert!(past.is_err());
        events.emit(EventKind::Daemon, "again", "", BTreeMap::new());
        assert!(stream.0.try_recv().is_ok());
    }
}
