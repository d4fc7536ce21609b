//! The options of `fluentd`.

use hull_shim::log::{Address, Fluentd};

use super::attributes::{DEFAULT_TAG, of_container, tag};
use super::values::{duration, flag, memory_size};
use super::{Options, TELLING, known};
use crate::model::Container;
use crate::{Error, Result};

const OPTIONS: [&str; 11] = [
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
];
const HOST: &str = "127.0.0.1";
const PORT: u16 = 24224;
/// Events that wait for a destination that is connected to later, unless told otherwise.
const BUFFER_LIMIT: u64 = 1 << 20;
/// What the limit of events is in bytes: what waits is counted in bytes here.
const EVENT: u64 = 64;
/// Milliseconds.
const RETRY_WAIT: u64 = 1000;
const MAX_RETRIES: u64 = i32::MAX as u64;

pub(super) fn check(options: &Options) -> Result<()> {
    known(options, &[&OPTIONS, &TELLING], |name| format!("unknown log opt '{name}' for fluentd log driver"))?;
    settings(options).map(drop)
}

pub(super) fn config(container: &Container) -> Result<Fluentd> {
    let mut record = of_container(container, str::to_owned)?;
    record.entry("container_id".into()).or_insert_with(|| container.id.clone());
    record.entry("container_name".into()).or_insert_with(|| format!("/{}", container.name));
    let settings = settings(&container.host.log_config.options)?;
    Ok(Fluentd { tag: tag(container, DEFAULT_TAG)?, record, ..settings })
}

/// Bytes that wait for a destination that is connected to later.
pub(super) fn max_buffer(options: &Options) -> Result<u64> {
    let events = match options.get("fluentd-buffer-limit").filter(|text| !text.is_empty()) {
        Some(text) => memory_size(text)?,
        None => BUFFER_LIMIT,
    };
    Ok(events.saturating_mul(EVENT))
}

/// All but what is told of the container.
fn settings(options: &Options) -> Result<Fluentd> {
    let given = |name: &str| options.get(name).filter(|text| !text.is_empty());
    let is_set = |name: &str| given(name).map_or(Ok(false), |text| flag(text));
    if given("fluentd-async").is_some() && given("fluentd-async-connect").is_some() {
        return Err(Error::invalid(
            "conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect",
        ));
    }
    max_buffer(options)?;
    for name in ["fluentd-async-reconnect-interval", "fluentd-read-timeout", "fluentd-write-timeout"] {
        given(name).map(|text| duration(text)).transpose()?;
    }
    let retry_wait = given("fluentd-retry-wait").map(|text| duration(text)).transpose()?;
    let max_retries = given("fluentd-max-retries").map(|text| {
        text.parse()
            .map_err(|_| Error::invalid(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")))
    });
    Ok(Fluentd {
        address: address(given("fluentd-address").map_or("", String::as_str))?,
        tag: String::new(),
        record: Options::new(),
        connects_later: is_set("fluentd-async")? || is_set("fluentd-async-connect")?,
        sub_second: is_set("fluentd-sub-second-precision")?,
        request_ack: is_set("fluentd-request-ack")?,
        retry_wait: retry_wait.map_or(RETRY_WAIT, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        max_retries: max_retries.transpose()?.unwrap_or(MAX_RETRIES),
    })
}

fn address(text: &str) -> Result<Address> {
    let invalid = |why: &str| Error::invalid(format!("invalid fluentd-address ({text}): {why}"));
    let (network, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match network {
        "unix" if rest.trim_start_matches('/').is_empty() => return Err(invalid("path is empty")),
        "unix" => return Ok(Address { network: "unix".into(), target: rest.to_owned(), tls: None }),
        "tcp" => {}
        other => return Err(invalid(&format!("unsupported scheme: '{other}'"))),
    }
    if rest.contains('/') {
        return Err(invalid("should not contain a path element"));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => (rest, ""),
    };
    let port = match port {
        "" => PORT,
        port => port.parse().map_err(|_| {
            invalid(&format!("invalid port: strconv.ParseUint: parsing {port:?}: invalid syntax"))
        })?,
    };
    let host = if host.is_empty() { HOST } else { host };
    Ok(Address { network: "tcp".into(), target: format!("{host}:{port}"), tls: None })
}
