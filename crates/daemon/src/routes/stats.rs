//! `GET /containers/{id}/stats`: one sample, or one a second until the client leaves.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use hull_api::version::ApiVersion;
use hull_engine::StatsSample;

use crate::Daemon;
use crate::call::{Call, Outcome, invalid, streamed};
use crate::render;

/// Where a stream of samples stands.
struct Sampling {
    daemon: Arc<Daemon>,
    id: String,
    version: ApiVersion,
    before: Option<Arc<StatsSample>>,
    /// What is sent next, if it is known already.
    next: Option<Arc<StatsSample>>,
    once: bool,
    done: bool,
}

pub(super) async fn stats(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let container = daemon.engine.container(call.param("id"))?;
    let query = call.query();
    let (once, one_shot) = (!query.flag_or("stream", true), call.since(41) && query.flag("one-shot"));
    if one_shot && !once {
        return Err(invalid("cannot have stream=true and one-shot=true"));
    }
    let first = Arc::new(daemon.engine.stats(&container.id).await?);
    // A single sample comes with a difference, for which the client waits; unless there is nothing to wait for.
    let waits = once && !one_shot && first.read.is_some();
    let (before, next) = if waits { (Some(first), None) } else { (None, Some(first)) };
    let (id, version) = (container.id.clone(), call.version);
    let state = Sampling { daemon, id, version, before, next, once, done: false };
    let samples = stream::unfold(state, |mut state| async move {
        if state.done {
            return None;
        }
        state.done = state.once;
        let line = state.line().await?;
        Some((Ok(Bytes::from(line)), state))
    });
    Ok(streamed("application/json", samples))
}

impl Sampling {
    /// The next line; none when the container is gone.
    async fn line(&mut self) -> Option<Vec<u8>> {
        let now = match self.next.take() {
            Some(now) => now,
            None => self.daemon.engine.next_stats(&self.id).await.ok()?,
        };
        let container = self.daemon.engine.container(&self.id).ok()?;
        let stats = render::stats(&container, self.before.as_deref(), &now, self.version);
        let mut line = serde_json::to_vec(&stats).ok()?;
        line.push(b'\n');
        self.before = Some(now);
        Some(line)
    }
}
