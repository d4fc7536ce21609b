//! What the tests of the whole engine stand on: namespaces of a test's own, a daemon that is hermetic, images made
//! on the spot, and the check that nothing is left behind.
//!
//! `cargo xtask test` gives each test a process and namespaces already and looks after it from outside;
//! `cargo test` works, too: then [`namespaces::enter`] makes them for the test's thread, from which all
//! children inherit them. Nothing here is faked: daemon, supervisors, runtime and kernel are the real ones.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does: by panicking")]

pub mod certificates;
pub mod daemon;
pub mod dockerd;
pub mod http;
pub mod images;
pub mod leaks;
pub mod namespaces;
pub mod output;
pub mod registry;
pub mod steps;
pub mod world;

pub use daemon::Daemon;
pub use dockerd::Dockerd;
pub use output::{Output, Running};
pub use registry::Registry;
