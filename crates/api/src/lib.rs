//! The Docker Engine API as data: wire types, filters, stream framing, and a client.
//!
//! This crate knows no engine. The daemon turns these types into the engine's own at its routes, once;
//! `hull` drives any daemon that speaks the API with [`client`].

pub mod client;
pub mod filters;
pub mod stream;
pub mod version;
pub mod wire;
