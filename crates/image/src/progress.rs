//! What long operations tell while they run, in the words of Docker's clients.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hull_oci::Digest;

/// Between two lines about how far something is.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// One line of progress; the fields are those of Docker's JSON message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The object: a layer's short id, a tag; the line replaces the earlier one of that id.
    pub id: Option<String>,
    /// `Downloading`, `Pull complete`, `Digest: sha256:…`.
    pub status: Cow<'static, str>,
    /// How far, where that is known; Docker sends an empty detail for steps without numbers.
    pub detail: Option<Detail>,
    /// What was pushed, the last message of a push.
    pub pushed: Option<Pushed>,
}

/// Bytes done, of all bytes (0 = unknown).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detail {
    /// Bytes done.
    pub current: u64,
    /// Bytes in all, 0 where unknown.
    pub total: u64,
}

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag.
    pub tag: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

impl Progress {
    /// A message about the whole operation.
    pub fn message(status: impl Into<Cow<'static, str>>) -> Self {
        Self { status: status.into(), ..Self::default() }
    }

    /// A step of one object.
    pub(crate) fn step(id: &str, status: &'static str) -> Self {
        let detail = Some(Detail::default());
        Self { id: Some(id.to_owned()), status: status.into(), detail, pushed: None }
    }

    /// How far a step of one object is.
    pub(crate) fn bytes(id: &str, status: &'static str, current: u64, total: u64) -> Self {
        let detail = Some(Detail { current, total });
        Self { id: Some(id.to_owned()), status: status.into(), detail, pushed: None }
    }
}

/// Where progress goes. Called from several threads; must not block.
#[derive(Clone)]
pub struct Sink(Arc<dyn Fn(Progress) + Send + Sync>);

impl Sink {
    /// Sends progress to `receiver`.
    pub fn new(receiver: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receiver))
    }

    /// Tells nobody.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Hands it on.
    pub fn send(&self, progress: Progress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
