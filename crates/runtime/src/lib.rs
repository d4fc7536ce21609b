//! The OCI runtime: makes a container's first process, and further ones inside of it.
//!
//! A container's process goes through these states; only the caller moves it on:
//!
//! ```text
//! create() ──► Created ──start()──► Running ──► ended
//!    │            └─ dropped: killed, its cgroup removed
//!    └─ Failure: nothing is left
//! exec() ────────────────────────► Running
//! ```
//!
//! Nothing of this is kept anywhere but in the kernel: the process, its cgroup, and mounts that only its own
//! namespace knows. When the caller dies, a process that was created but not started ends by itself (it reads
//! the end of its [`Created`]), and one that runs goes on.
//!
//! Synchronous; the caller must have a single thread (clone3(2) copies only that). What the new process does is
//! one ordered list of named steps, in `init` for [`create`] and in [`exec`] for a process that joins.
//!
//! The caller's program is protected from what it starts (CVE-2019-5736). It is marked not dumpable before the first
//! clone, so that a process which shares a pid namespace with the new one cannot open its `/proc/PID/exe` before it has
//! become the container's own program. That program may be `/proc/self/exe` itself, though; so the caller should run
//! from [`hull_sys::clone::read_only_program`], as `hull-runtime` does.

mod birth;
mod channel;
pub mod config;
mod create;
pub mod criu;
mod exec;
mod failure;
mod features;
pub mod hooks;
mod init;
mod layers;
mod netdev;
mod notify;
mod options;
mod outside;
pub mod passwd;
mod plan;
pub mod rdt;
pub mod seccomp;
mod sources;
mod userns;

pub use create::{Common, Create, Created, Gate, Rootfs, Running, Stdio, create, make_cgroup, start};
pub use exec::{Exec, exec};
pub use failure::Failure;
pub use features::{SPEC_VERSION, features};
pub use init::mounts::new_filesystem;
pub use passwd::owner;
pub use sources::{Source, open as open_source};
pub use userns::root as mapped_root;
