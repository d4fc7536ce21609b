//! Registries: the client of OCI's distribution protocol.
//!
//! - [`hosts`]: which addresses serve a name, and how far each is trusted;
//! - [`tls`]: authorities and client certificates of a host;
//! - [`auth`]: challenges and tokens;
//! - [`Session`]: requests about one repository on one host, with what it takes to be allowed to;
//! - [`Failure`]: what a registry said instead of an answer.
//!
//! A session's credentials go to its own host, and to the token server that this host names, and to nobody else:
//! not along redirects, not to mirrors, and not in the clear unless the host is configured as insecure
//! (CVE-2020-15157, CVE-2019-10214).

mod auth;
mod failure;
mod hosts;
mod session;
mod tls;
mod upload;

pub(crate) use failure::Failure;
pub(crate) use hosts::{Host, domain};
pub(crate) use session::{Session, Target};
pub use tls::Trust;
