//! What stands in flags, turned into what the API wants. Errors are Docker's words.

pub(crate) mod devices;
pub(crate) mod environment;
pub(crate) mod mounts;
pub(crate) mod networks;
pub(crate) mod numbers;
pub(crate) mod pairs;
pub(crate) mod ports;
pub(crate) mod security;
pub(crate) mod times;
