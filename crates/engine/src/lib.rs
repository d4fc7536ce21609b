//! The engine: the only owner of the state of containers.
//!
//! [`Engine`] is asked by typed requests ([`model`]) and answers with snapshots, streams and [`Error`]s whose
//! texts are those that Docker's users know. It knows nothing of HTTP or JSON.
//!
//! A container's life is written in the files named after its steps: `create`, `start`, `monitor`, `stop`,
//! `remove`. The pure translation of a container's record into an OCI runtime specification is `spec`. What
//! the engine must not forget is in `store`; what it finds of it after a crash is brought together with the
//! kernel by `reconcile`.

mod archive;
mod attach;
mod cdi;
mod checkpoint;
mod containers;
mod create;
mod engine;
mod error;
mod events;
mod exec;
mod health;
mod hosts;
mod identity;
mod images;
mod launch;
mod links;
mod logs;
mod machine;
mod measure;
pub mod model;
mod moment;
mod monitor;
mod name_server;
mod names;
mod networks;
mod pace;
mod pause;
mod places;
mod propagation;
mod reconcile;
mod remove;
mod rename;
mod resolv_conf;
mod runtimes;
mod seccomp;
mod sources;
mod spec;
mod start;
mod stop;
mod store;
mod supervisor;
mod top;
mod userns;
mod volumes;
mod wait;

pub use attach::{AttachInput, AttachOutput, Attachment};
pub use engine::{Engine, Options};
pub use error::{Error, Kind, Result};
pub use events::{Event, EventKind, EventStream, Events, Past};
pub use hull_image::Import as ImageImport;
pub use hull_runtime::features as runtime_features;
pub use hull_snapshot::{Change, ChangeKind};
pub use images::CommitRequest;
pub use logs::LogStream;
pub use measure::{InterfaceStats, StatsSample};
pub use places::Places;
pub use runtimes::{BUILT_IN as BUILT_IN_RUNTIMES, Runtime, Runtimes};
pub use userns::{Range as IdRange, Remap};
pub use wait::Waiter;
