//! From the wire to the engine: strings become types here, once. What cannot be one is the caller's mistake, in
//! the words of Docker.

mod container;
mod create;
mod fields;
mod host;
mod json;
mod mount;
mod network;
mod query;

pub(crate) use container::{config as container_config, exec_config, wire_config};
pub(crate) use create::{create_body, create_request};
pub(crate) use host::{console_size, port_bindings, update, wire_binding, wire_config as wire_host_config};
pub(crate) use json::{document, value, word as json_word};
pub(crate) use mount::wire_point as wire_mount_point;
pub(crate) use network::{check_mac, endpoint, network_request};
pub(crate) use query::{
    any_filters, credentials, filters, oci_platform, oci_platforms, platform, registry_auth, signal,
    single_until, tail, timestamp, until, window_size,
};
