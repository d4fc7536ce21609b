//! What happened: a ring of the latest events and a stream of the coming ones.
//!
//! Only this module holds events; every other one calls [`Events::emit`]. Nothing survives a restart,
//! as with Docker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::broadcast;

/// How many past events can be asked for; Docker keeps as many.
const HISTORY: usize = 256;
/// How far a listener may fall behind before it loses events.
const BACKLOG: usize = 1024;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// What sort of object.
    pub kind: EventKind,
    /// What happened: "start", "die", "exec_create: sh".
    pub action: String,
    /// Id of the object (name, for a volume).
    pub id: String,
    /// What else is known: labels, image, name, exit code.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

/// The source of events.
pub struct Events {
    history: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { history: Mutex::new(VecDeque::with_capacity(HISTORY)), sender: broadcast::channel(BACKLOG).0 }
    }

    /// Records an event and tells every listener.
    pub fn emit(
        &self,
        kind: EventKind,
        action: impl Into<String>,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Event { kind, action: action.into(), id: id.into(), attributes, time: Timestamp::now() };
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(event.clone());
        // Sent under the lock, so that a new listener sees each event exactly once. Nobody listening is fine.
        let _ = self.sender.send(event);
    }

    /// The past events that are still known, oldest first, and the stream of those that follow them.
    pub fn subscribe(&self) -> (Vec<Event>, EventStream) {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        (history.iter().cloned().collect(), EventStream(self.sender.subscribe()))
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}

/// The events to come, in order.
pub struct EventStream(broadcast::Receiver<Event>);

impl EventStream {
    /// The next event; `None` when the engine is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
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

    #[tokio::test]
    async fn a_listener_sees_the_past_once_and_then_the_future() {
        let events = Events::new();
        events.emit(EventKind::Container, "create", "a", BTreeMap::new());
        let (past, mut stream) = events.subscribe();
        events.emit(EventKind::Container, "start", "a", BTreeMap::new());
        assert_eq!(past.iter().map(|event| event.action.as_str()).collect::<Vec<_>>(), ["create"]);
        assert_eq!(stream.next().await.unwrap().action, "start");
    }

    #[test]
    fn the_past_is_bounded() {
        let events = Events::new();
        for index in 0..HISTORY + 5 {
            events.emit(EventKind::Daemon, index.to_string(), "", BTreeMap::new());
        }
        let (past, _stream) = events.subscribe();
        assert_eq!(past.len(), HISTORY);
        assert_eq!(past[0].action, "5");
    }
}
