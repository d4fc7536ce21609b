//! One supervisor per container.
//!
//! The daemon is never the parent of a container. `hull-shim` is: it holds the container's pipes or
//! terminal, writes its log, knows its exit status and outlives the daemon. This library is the two
//! sides' common language ([`protocol`]) and the daemon's side of it ([`client`]); both are
//! synchronous and know no runtime, so that an async engine wraps the sockets in whatever it uses.

pub mod client;
pub mod entry;
pub mod log;
pub mod protocol;
