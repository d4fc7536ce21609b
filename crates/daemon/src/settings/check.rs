//! Values that make no sense, in dockerd's words.

use std::collections::BTreeMap;

use super::{Runtime, Settings};

pub(super) fn settings(settings: &Settings) -> Result<(), String> {
    if let Some(level) = &settings.log_level {
        let known = ["panic", "fatal", "error", "warn", "info", "debug", "trace"];
        if !known.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("invalid logging level: {level}"));
        }
    }
    if let Some(format) = settings.log_format.as_deref().filter(|format| !["text", "json"].contains(format)) {
        return Err(format!("invalid log format: {format}"));
    }
    labels(&settings.labels)?;
    let numbers = [
        ("default MTU", settings.mtu),
        ("max concurrent downloads", settings.max_concurrent_downloads),
        ("max concurrent uploads", settings.max_concurrent_uploads),
        ("max download attempts", settings.max_download_attempts),
    ];
    for (name, value) in numbers {
        if let Some(value) = value.filter(|value| *value < 0) {
            return Err(format!("invalid {name}: {value}"));
        }
    }
    for address in &settings.dns {
        if address.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("{address} is not an ip address"));
        }
    }
    if let Some(domain) = settings.dns_search.iter().find(|domain| !is_domain(domain)) {
        return Err(format!("{domain} is not a valid domain"));
    }
    settings.registry_mirrors.iter().try_for_each(|mirror| self::mirror(mirror))?;
    crate::options::shm_size(settings)?;
    crate::options::network(settings)?;
    for (name, runtime) in &settings.runtimes {
        self::runtime(name, runtime)?;
    }
    crate::options::runtimes(settings).check()?;
    modes(settings)?;
    if let Some(mark) = settings.bridge_accept_fwmark.as_deref().filter(|mark| !mark.is_empty()) {
        mark.parse::<hull_network::Mark>().map(drop)?;
    }
    Ok(())
}

/// Whether it is a name of DNS, or the dot that switches searching off.
fn is_domain(text: &str) -> bool {
    let text = text.trim();
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let has_letter = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    text == "." || (has_letter && text.strip_suffix('.').unwrap_or(text).split('.').all(is_label))
}

/// The address of a mirror: where it is and nothing else.
fn mirror(text: &str) -> Result<(), String> {
    const HINT: &str = "must use either 'https://' or 'http://'";
    let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()) else {
        return Err(format!("invalid mirror: no scheme specified for {text:?}: {HINT}"));
    };
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(format!("invalid mirror: unsupported scheme {scheme:?} in {text:?}: {HINT}"));
    }
    if rest.contains(['?', '#']) {
        return Err(format!("invalid mirror: query or fragment at end of the URI {text:?}"));
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if let Some((user, host)) = authority.rsplit_once('@') {
        let user = user.split(':').next().unwrap_or_default();
        let shown = format!("{scheme}://{user}:xxxxx@{host}{path}");
        return Err(format!("invalid mirror: username/password not allowed in URI {shown:?}"));
    }
    Ok(())
}

fn runtime(name: &str, runtime: &Runtime) -> Result<(), String> {
    match (runtime.path.as_os_str().is_empty(), runtime.runtime_type.is_empty()) {
        (true, true) => Err(format!("runtime {name}: either a runtimeType or a path must be configured")),
        (false, false) => {
            Err(format!("runtime {name}: cannot configure both path and runtimeType for the same runtime"))
        }
        (true, false) => Err(format!(
            "runtime {name}: runtimeType {} is a containerd shim, and there is no containerd behind hulld (hint: \
             name the path of an OCI runtime)",
            runtime.runtime_type
        )),
        (false, true) if runtime.options.is_some() => {
            Err(format!("runtime {name}: options cannot be used with a path runtime"))
        }
        (false, true) => Ok(()),
    }
}

/// What containers get that say nothing.
fn modes(settings: &Settings) -> Result<(), String> {
    const HINT: &str = r#"use "shareable" or "private""#;
    match settings.default_ipc_mode.as_deref() {
        None | Some("private" | "shareable") => {}
        Some(mode @ ("host" | "none")) => {
            return Err(format!(r#"IPC mode "{mode}" is not supported as default value; {HINT}"#));
        }
        Some(mode) if mode.starts_with("container:") => {
            return Err(format!(r#"IPC mode "{mode}" is not supported as default value; {HINT}"#));
        }
        Some(mode) => return Err(format!("default IPC mode setting ({mode}) is invalid; {HINT}")),
    }
    match settings.default_cgroupns_mode.as_deref() {
        None | Some("private" | "host") => Ok(()),
        Some(mode) => {
            Err(format!(r#"default cgroup namespace mode ({mode}) is invalid; use "host" or "private""#))
        }
    }
}

fn labels(labels: &[String]) -> Result<(), String> {
    let mut all = BTreeMap::new();
    for label in labels {
        let Some((key, value)) = label.split_once('=') else {
            return Err(format!("bad attribute format: {label}"));
        };
        if let Some(other) = all.insert(key, value).filter(|other| *other != value) {
            return Err(format!("conflict labels for {key}={value} and {key}={other}"));
        }
    }
    Ok(())
}
