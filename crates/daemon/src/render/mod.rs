//! From the engine to the wire: what Docker's clients are shown.

mod container;
mod event;
mod image;
mod network;
mod stats;
mod subnets;
mod summary;
mod usage;
mod volume;

pub(crate) use container::{inspect, ports};
pub(crate) use event::event;
pub(crate) use image::{history, image_inspect, image_summary, image_target, manifests, progress, removed};
pub(crate) use network::network;
pub(crate) use stats::stats;
pub(crate) use summary::{ImageNames, summary};
pub(crate) use usage::{container_usage, image_usage, volume_usage};
pub(crate) use volume::volume;

use jiff::Timestamp;

/// Go's zero time: never.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with nanoseconds, trailing zeros left out as Go leaves them out.
pub(crate) fn time(moment: Timestamp) -> String {
    moment.to_string()
}

/// The same; absent is Go's zero time.
pub(crate) fn time_or_never(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| NEVER.to_owned(), time)
}
