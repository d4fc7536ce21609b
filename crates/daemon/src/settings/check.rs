//! Values that make no sense, in dockerd's words.

use std::collections::BTreeMap;

use super::Settings;

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
    if let Some(host) = settings.hosts.iter().find(|host| !is_host(host)) {
        return Err(format!("invalid bind address format: {host}"));
    }
    Ok(())
}

fn is_host(host: &str) -> bool {
    matches!(host.split_once("://"), Some(("unix" | "tcp" | "fd", _)))
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
