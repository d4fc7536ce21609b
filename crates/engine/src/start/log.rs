//! `--log-driver` and `--log-opt`.
//!
//! As in Docker, names of options (and what a driver's own check looks at) are refused when a container is created; what
//! else is wrong with a value is told when it is started.

mod attributes;
mod fluentd;
mod gelf;
mod syslog;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hull_shim::protocol::{self, Destination, LogFile, LogFormat, RemoteLog};

use crate::model::{Container, LogConfig};
use crate::{Engine, Error, Result};
use attributes::{of_container, tag};
use values::{decimal_size, flag, integer, memory_size};

/// The options of a driver.
type Options = BTreeMap<String, String>;

/// The drivers, without "none", which is the absence of one.
const DRIVERS: [&str; 6] = ["fluentd", "gelf", "journald", "json-file", "local", "syslog"];
/// What every driver takes.
const COMMON: [&str; 6] =
    ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
/// What drivers take that tell of the container.
const TELLING: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
/// What files take.
const FILES: [&str; 3] = ["max-size", "max-file", "compress"];
/// Bytes that wait in non-blocking mode, unless told otherwise.
const BUFFER: u64 = 1_000_000;

impl Engine {
    /// The names of the log drivers that containers may have.
    pub fn log_drivers(&self) -> &'static [&'static str] {
        &DRIVERS
    }
}

/// Docker's check of a new container's options.
pub(crate) fn check(wanted: &LogConfig) -> Result<()> {
    let options = &wanted.options;
    let driver = wanted.driver.as_str();
    if driver == "none" {
        return Ok(());
    }
    check_mode(options)?;
    if let Some(text) = options.get("cache-disabled").filter(|text| !text.is_empty()) {
        flag(text).map_err(|_| Error::invalid(format!("invalid value for option cache-disabled: {text}")))?;
    }
    match driver {
        "json-file" => known(options, &[&FILES, &TELLING], |name| {
            format!("unknown log opt '{name}' for json-file log driver")
        }),
        "local" => known(options, &[&FILES], |name| format!("unknown log opt '{name}' for log driver local")),
        "journald" => {
            known(options, &[&TELLING], |name| format!("unknown log opt '{name}' for journald log driver"))
        }
        "syslog" => syslog::check(options),
        "gelf" => gelf::check(options),
        "fluentd" => fluentd::check(options),
        other => Err(Error::invalid(format!(
            "error looking up logging plugin {other}: plugin \"{other}\" not found"
        ))),
    }
}

fn check_mode(options: &Options) -> Result<()> {
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    let Some(size) = options.get("max-buffer-size") else { return Ok(()) };
    if mode != "non-blocking" {
        return Err(Error::invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ));
    }
    memory_size(size)
        .map(drop)
        .map_err(|error| Error::invalid(format!("error parsing option max-buffer-size: {error}")))
}

/// Refuses options that are in none of the lists.
fn known(options: &Options, lists: &[&[&str]], unknown: impl Fn(&str) -> String) -> Result<()> {
    let is_known = |name: &str| COMMON.contains(&name) || lists.iter().any(|list| list.contains(&name));
    match options.keys().find(|name| !is_known(name)) {
        Some(name) => Err(Error::invalid(unknown(name))),
        None => Ok(()),
    }
}

/// What a container's supervisor is told about the log; `tls` is the program that loggers speak TLS by.
pub(super) fn of(container: &Container, tls: &Path) -> Result<protocol::LogConfig> {
    configure(container, tls).map_err(|error| not_initialized(&error.message))
}

/// A log that could not be begun, in Docker's words. Another driver or other options would do: it is the caller's to mend.
pub(crate) fn not_initialized(why: &str) -> Error {
    Error::invalid(format!("failed to create task for container: failed to initialize logging driver: {why}"))
}

fn configure(container: &Container, tls: &Path) -> Result<protocol::LogConfig> {
    let options = &container.host.log_config.options;
    let file = || container.log_file().map(|(path, _)| path).unwrap_or_default();
    let destination = match container.host.log_config.driver.as_str() {
        "none" => return Ok(protocol::LogConfig::default()),
        "local" => return Ok(local(file(), options, "")?.into()),
        "journald" => journald(container)?,
        "syslog" => Destination::Syslog(syslog::config(container, tls)?),
        "gelf" => Destination::Gelf(gelf::config(container)?),
        "fluentd" => Destination::Fluentd(fluentd::config(container)?),
        _ => return Ok(json_file(container, file())?.into()),
    };
    let cache = container.log_file().map(|(path, _)| local(path, options, "cache-")).transpose()?;
    let max_buffer = max_buffer(options, &destination)?;
    Ok(protocol::LogConfig { file: cache, remote: Some(RemoteLog { destination, max_buffer, waits: false }) })
}

/// How much may wait for a slow destination.
fn max_buffer(options: &Options, destination: &Destination) -> Result<Option<u64>> {
    if options.get("mode").is_some_and(|mode| mode == "non-blocking") {
        return match options.get("max-buffer-size") {
            Some(size) => memory_size(size).map(Some),
            None => Ok(Some(BUFFER)),
        };
    }
    match destination {
        Destination::Fluentd(fluentd) if fluentd.connects_later => fluentd::max_buffer(options).map(Some),
        _ => Ok(None),
    }
}

/// Docker's `json-file`; bounded, where Docker's is not, unless told otherwise.
fn json_file(container: &Container, path: PathBuf) -> Result<LogFile> {
    let options = &container.host.log_config.options;
    let mut file = LogFile::bounded(path);
    if let Some(size) = options.get("max-size") {
        // Docker keeps one file unless told otherwise.
        file.max_file = 1;
        file.max_size = match size.as_str() {
            "-1" => None,
            size => Some(decimal_size(size)?).filter(|size| *size > 0),
        };
        if file.max_size.is_none() && size != "-1" {
            return Err(Error::invalid("max-size must be a positive number"));
        }
    }
    if let Some(count) = options.get("max-file") {
        file.max_file = u32::try_from(integer(count)?)
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| Error::invalid("max-file cannot be less than 1"))?;
    }
    file.compress = options.get("compress").map(|text| flag(text)).transpose()?.unwrap_or(false);
    if file.compress && (file.max_file == 1 || file.max_size.is_none()) {
        return Err(Error::invalid(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ));
    }
    file.attrs = of_container(container, str::to_owned)?;
    let tag = tag(container, "")?;
    if !tag.is_empty() {
        file.attrs.insert("tag".to_owned(), tag);
    }
    Ok(file)
}

/// Docker's `local`; its options have `prefix` before their names where it is the cache of another driver.
fn local(path: PathBuf, options: &Options, prefix: &str) -> Result<LogFile> {
    let option = |name: &str| options.get(&format!("{prefix}{name}"));
    let invalid = |name: &str, value: &str, why: &Error| {
        Error::invalid(format!("invalid value for {name}: {value}: {why}"))
    };
    let mut file = LogFile { format: LogFormat::Entries, compress: true, ..LogFile::bounded(path) };
    if let Some(size) = option("max-size") {
        let bytes = decimal_size(size).map_err(|why| invalid("max-size", size, &why))?;
        file.max_size = Some(bytes).filter(|bytes| *bytes > 0);
    }
    if let Some(text) = option("max-file") {
        let count = integer(text).map_err(|why| invalid("max-file", text, &why))?;
        let count =
            u32::try_from(count).map_err(|_| Error::invalid("max file count cannot be less than 0"))?;
        file.max_file = count.max(1);
    }
    if let Some(text) = option("compress") {
        file.compress =
            flag(text).map_err(|why| Error::invalid(format!("error reading compress log option: {why}")))?;
    }
    if file.compress && file.max_file == 1 {
        return Err(Error::invalid("compression cannot be enabled when max file count is 1"));
    }
    Ok(file)
}

/// systemd's journal: the names that it knows of containers.
fn journald(container: &Container) -> Result<Destination> {
    let tag = tag(container, attributes::DEFAULT_TAG)?;
    let mut fields: Options = of_container(container, journal_name)?;
    for (name, value) in [
        ("CONTAINER_ID", container.short_id()),
        ("CONTAINER_ID_FULL", &container.id),
        ("CONTAINER_NAME", &container.name),
        ("CONTAINER_TAG", &tag),
        ("IMAGE_NAME", &container.config.image),
        ("SYSLOG_IDENTIFIER", &tag),
    ] {
        fields.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    fields.remove("");
    Ok(Destination::Journald { fields })
}

/// A name as the journal takes it: capital letters, digits and underscores, the first one no underscore.
fn journal_name(name: &str) -> String {
    let plain = |letter: char| match letter.to_ascii_uppercase() {
        letter @ ('A'..='Z' | '0'..='9') => letter,
        _ => '_',
    };
    name.chars().map(plain).collect::<String>().trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests;
