//! `daemon.json`: its keys, and what of it is also said by a flag.

use std::collections::BTreeMap;
use std::path::Path;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, Value};

use super::{Settings, command, foreign, refusal};

/// Keys whose values are maps themselves. All other maps only group keys, as `proxies` does.
const MAPS: &[&str] =
    &["builder", "default-network-opts", "default-ulimits", "features", "log-opts", "runtimes"];

/// Keys that the file and a flag may both have: they are put together.
const SHARED: &[&str] = &["runtimes"];

/// The name of `host-gateway-ips` when it was one.
const OLD_GATEWAY: &str = "host-gateway-ip";

/// What a file says.
pub(super) struct File {
    pub(super) settings: Settings,
    /// Of keys without an effect.
    pub(super) warnings: Vec<String>,
}

/// Reads the file; there may be none, unless it was asked for.
pub(super) fn read(path: &Path, must_exist: bool, matches: &ArgMatches) -> Result<Option<File>, String> {
    let failed =
        |why: String| format!("unable to configure the Docker daemon with file {}: {why}", path.display());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(why) => return Err(failed(format!("open {}: {}", path.display(), plain(&why)))),
    };
    parse(text.trim_start_matches('\u{feff}'), matches).map(Some).map_err(failed)
}

fn plain(why: &std::io::Error) -> String {
    let text = why.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn parse(text: &str, matches: &ArgMatches) -> Result<File, String> {
    let invalid = |why: String| format!("invalid JSON: {why}");
    let keys = match text.trim() {
        "" => Map::new(),
        text => match crate::parse::json_word(text).map_err(invalid)? {
            Value::Object(keys) => keys,
            Value::Null => Map::new(),
            other => return Err(invalid(format!("{} is no map of settings", shown(&other)))),
        },
    };
    let mut keys = flat(keys);
    let flags = flags();
    let is_known = |key: &str| {
        key == OLD_GATEWAY
            || flags.contains_key(key)
            || foreign::KEYS_ONLY.iter().any(|(known, _)| *known == key)
    };
    let unknown: Vec<&str> = keys.keys().map(String::as_str).filter(|key| !is_known(key)).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        ));
    }
    let conflicts: Vec<String> =
        keys.iter().filter_map(|(key, value)| conflict(key, value, flags.get(key)?, matches)).collect();
    if !conflicts.is_empty() {
        return Err(format!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            conflicts.join(", ")
        ));
    }
    let warnings = take_foreign(&mut keys)?;
    // As for dockerd: an empty text is no value.
    keys.retain(|_, value| *value != Value::String(String::new()));
    gateways(&mut keys);
    let settings = serde_json::from_value(Value::Object(keys)).map_err(|why| invalid(why.to_string()))?;
    Ok(File { settings, warnings })
}

/// The keys, those of groups among them.
fn flat(keys: Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    for (key, value) in keys {
        match value {
            Value::Object(group) if !MAPS.contains(&key.as_str()) => all.extend(group),
            value => drop(all.insert(key, value)),
        }
    }
    all
}

/// Every flag's clap id, by the key that it has in the file.
fn flags() -> BTreeMap<String, String> {
    let command = command();
    let named = command
        .get_arguments()
        .filter_map(|arg| Some((foreign::key_of(arg.get_long()?).to_owned(), arg.get_id().to_string())));
    named.filter(|(key, _)| !matches!(key.as_str(), "config-file" | "validate" | "print")).collect()
}

fn conflict(key: &str, value: &Value, flag: &str, matches: &ArgMatches) -> Option<String> {
    if matches.value_source(flag) != Some(ValueSource::CommandLine) || SHARED.contains(&key) {
        return None;
    }
    let values: Vec<String> =
        matches.get_raw(flag)?.map(|value| value.to_string_lossy().into_owned()).collect();
    let flag = match value {
        Value::Array(_) => format!("[{}]", values.join(" ")),
        Value::Object(_) => format!("map[{}]", values.join(" ").replace('=', ":")),
        _ => values.join(" "),
    };
    let (flag, file) = match key {
        "http-proxy" | "https-proxy" => {
            (crate::options::masked(&flag), crate::options::masked(&shown(value)))
        }
        _ => (flag, shown(value)),
    };
    Some(format!("{key}: (from flag: {flag}, from file: {file})"))
}

/// The older key takes one address, the newer a list.
fn gateways(keys: &mut Map<String, Value>) {
    if let Some(one) = keys.remove(OLD_GATEWAY)
        && !keys.contains_key("host-gateway-ips")
    {
        keys.insert("host-gateway-ips".to_owned(), Value::Array(vec![one]));
    }
}

/// A value as Go prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key}:{}", shown(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// Takes the keys out that mean nothing here, and returns what is to be said of them.
fn take_foreign(keys: &mut Map<String, Value>) -> Result<Vec<String>, String> {
    for (flag, _) in foreign::REFUSED {
        let key = foreign::key_of(flag);
        let asks = keys.remove(key).is_some_and(|value| match value {
            Value::Bool(wanted) => wanted,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            other => !other.is_null(),
        });
        if asks {
            return Err(refusal(key));
        }
    }
    let flags = foreign::WITHOUT_MEANING.iter().map(|(flag, _, why)| (foreign::key_of(flag), *why));
    let all = flags.chain(foreign::KEYS_ONLY.iter().copied());
    let found = all.filter_map(|(key, why)| {
        let value = keys.remove(key)?;
        // What is switched off is not missed.
        (value != Value::Bool(false)).then(|| format!("{key} has no effect: {why}"))
    });
    Ok(found.collect())
}
