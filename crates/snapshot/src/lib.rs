//! Layers on disk: image layers are unpacked here, containers get their writable layer here, and what they
//! changed is packed again here.
//!
//! - [`Snapshotter`] keeps the directories: one per layer, named by its chain id, and one per container.
//! - [`Mounts`] is the overlay of a container, mounted by file descriptor and never on the host.
//! - [`Quotas`] bounds what is written to a directory.
//! - [`diff`] and [`changes`] say what a container changed; [`export`] and [`archive`] pack a tree;
//!   [`extract`] and [`copy_up`] fill one.
//!
//! Inside, a file is a [`node::Node`]: archives ([`tar::Reader`]) and directories ([`walk`]) are where nodes come
//! from, archives ([`tar::Writer`]) and directories ([`plant`]) are where they go. Both ends treat what they
//! read as hostile: every path is resolved by [`hull_sys::root::Root`], every length is bounded.

mod changes;
mod copy;
mod diff;
mod error;
mod furniture;
mod limits;
mod mounts;
mod node;
mod overlay;
mod plant;
mod quota;
mod reaper;
mod settle;
mod snapshotter;
mod stubs;
pub mod tar;
mod unpack;
mod walk;

pub use changes::{Change, ChangeKind, changes};
pub use copy::copy_up;
pub use diff::{archive, diff, export};
pub use error::{Error, Result};
pub use hull_sys::root::Time;
pub use limits::Limits;
pub use mounts::Mounts;
pub use node::{Kind, Node};
pub use quota::Quotas;
pub use reaper::Reaper;
pub use snapshotter::{Applied, Snapshotter, Usage};
pub use unpack::{Extraction, extract};
