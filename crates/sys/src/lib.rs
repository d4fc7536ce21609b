//! System calls: the only crate that may say `unsafe`.
//!
//! Everything here is a thin, typed face over one kernel facility, named as the man pages name it.
//! What [`rustix`] already offers safely is used from there directly by the other crates; this crate
//! holds what it does not, and the error type that every system call of Hull is reported with.
#![allow(unsafe_code, reason = "this is the one crate that speaks to the kernel directly")]

mod error;
mod thread;

pub mod activation;
pub mod bpf;
pub mod caps;
pub mod clone;
pub mod keyring;
pub mod memory;
pub mod mntns;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod pty;
pub mod quota;
pub mod root;
pub mod scm;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod time;
pub mod trace;
pub mod xattr;

pub use error::{Context, Error, Result};
