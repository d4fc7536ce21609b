//! `--log-driver` and `--log-opt`.

use std::collections::BTreeMap;
use std::path::Path;

use hull_shim::protocol::{self, JsonFile};
use regex_lite::Regex;

use crate::model::{Container, LogConfig};
use crate::{Error, Result};

/// What Docker knows in a tag, as `{{.Name}}`.
const TAG_FIELDS: [&str; 7] = ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName"];

/// What the supervisor is told about the log.
pub(crate) fn config(wanted: &LogConfig, path: &Path) -> Result<protocol::LogConfig> {
    match wanted.driver.as_str() {
        "none" => return Ok(protocol::LogConfig::None),
        "" | "json-file" | "local" => {}
        driver => {
            return Err(Error::invalid(format!("logger: no log driver named '{driver}' is registered")));
        }
    }
    let mut file = JsonFile::bounded(path.to_owned());
    let invalid = |name: &str, value: &str| Error::invalid(format!("invalid value for {name}: {value:?}"));
    let mut files = None;
    for (name, value) in &wanted.options {
        match name.as_str() {
            "max-size" if value == "-1" => file.max_size = None,
            "max-size" => {
                file.max_size = Some(size(value).ok_or_else(|| invalid(name, value))?);
                // Docker keeps one file unless told otherwise.
                files = files.or(Some(1));
            }
            "max-file" => {
                files =
                    Some(value.parse().ok().filter(|count| *count > 0).ok_or_else(|| invalid(name, value))?);
            }
            // How output is buffered and old files are packed is the supervisor's own business.
            "mode" | "max-buffer-size" | "compress" => {}
            // What is told of the container itself: see `attributes`.
            "labels" | "env" => {}
            "labels-regex" | "env-regex" => drop(regex(value)?),
            "tag" => drop(tag(value, |field| TAG_FIELDS.contains(&field).then(String::new))?),
            _ => {
                return Err(Error::invalid(format!(
                    "unknown log opt '{name}' for {} log driver",
                    wanted.driver
                )));
            }
        }
    }
    file.max_file = files.unwrap_or(file.max_file);
    Ok(protocol::LogConfig::JsonFile(file))
}

/// A container's log.
pub(super) fn of(container: &Container) -> Result<protocol::LogConfig> {
    let mut log = config(&container.host.log_config, &container.log_path)?;
    if let protocol::LogConfig::JsonFile(file) = &mut log {
        file.attrs = attributes(container)?;
    }
    Ok(log)
}

/// What each line of the log tells of its container, as the log options say: labels, environment, tag.
fn attributes(container: &Container) -> Result<BTreeMap<String, String>> {
    let options = &container.host.log_config.options;
    let variables: BTreeMap<_, _> =
        container.config.env.iter().filter_map(|variable| variable.split_once('=')).collect();
    let labels: BTreeMap<_, _> =
        container.config.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut attributes = BTreeMap::new();
    for (option, source) in [("labels", &labels), ("env", &variables)] {
        let listed = options.get(option).map(String::as_str).unwrap_or_default();
        let pattern = options.get(&format!("{option}-regex")).map(|text| regex(text)).transpose()?;
        let matches = |name: &str| pattern.as_ref().is_some_and(|pattern| pattern.is_match(name));
        for (name, value) in source {
            if listed.split(',').any(|wanted| wanted == *name) || matches(name) {
                attributes.insert((*name).to_owned(), (*value).to_owned());
            }
        }
    }
    if let Some(text) = options.get("tag").filter(|text| !text.is_empty()) {
        attributes.insert("tag".to_owned(), tag(text, |field| field_of(container, field))?);
    }
    Ok(attributes)
}

fn regex(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|why| Error::invalid(format!("invalid regular expression {text:?}: {why}")))
}

/// Fills a tag: text with fields as `{{.Name}}`.
fn tag(text: &str, field: impl Fn(&str) -> Option<String>) -> Result<String> {
    let invalid = || Error::invalid(format!("invalid log tag template {text:?}"));
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or_else(invalid)?;
        let name = name.trim().strip_prefix('.').ok_or_else(invalid)?;
        filled.push_str(before);
        filled.push_str(&field(name).ok_or_else(invalid)?);
        rest = after;
    }
    Ok(filled + rest)
}

/// One of [`TAG_FIELDS`].
fn field_of(container: &Container, field: &str) -> Option<String> {
    let image = container.image_id.strip_prefix("sha256:").unwrap_or(&container.image_id);
    Some(match field {
        "ID" => container.short_id().to_owned(),
        "FullID" => container.id.clone(),
        "Name" => container.name.clone(),
        "ImageID" => image.get(..12).unwrap_or(image).to_owned(),
        "ImageFullID" => container.image_id.clone(),
        "ImageName" => container.config.image.clone(),
        "DaemonName" => "hull".to_owned(),
        _ => return None,
    })
}

/// Bytes of "10m", "1.5g", "4096": powers of 1024.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.trim_end_matches('b').trim_end_matches('i');
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let factor = match unit {
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    let number: f64 = text[..text.len() - unit.len()].parse().ok()?;
    Some((number * factor as f64) as u64).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[(&str, &str)]) -> Result<JsonFile> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let wanted = LogConfig { driver: "json-file".into(), options: options.collect() };
        match config(&wanted, Path::new("/x.log"))? {
            protocol::LogConfig::JsonFile(file) => Ok(file),
            protocol::LogConfig::None => Err(Error::system("no file")),
        }
    }

    #[test]
    fn logs_are_bounded_unless_told_otherwise() {
        let file = parsed(&[]).unwrap();
        assert!(file.max_size.is_some() && file.max_file > 1);
        assert_eq!(parsed(&[("max-size", "-1")]).unwrap().max_size, None);
    }

    #[test]
    fn options_are_read_in_any_order() {
        let file = parsed(&[("max-file", "3"), ("max-size", "1.5k")]).unwrap();
        assert_eq!((file.max_size, file.max_file), (Some(1536), 3));
        assert_eq!(parsed(&[("max-size", "10MB")]).unwrap().max_file, 1);
    }

    #[test]
    fn lines_tell_of_their_container() {
        let mut container = crate::model::fixture();
        container.config.env = vec!["COLOR=red".into(), "SIZE=1".into(), "OTHER=x".into()];
        container.config.labels = [("tier".to_owned(), "front".to_owned())].into();
        container.host.log_config.options = [
            ("env", "COLOR,ABSENT"),
            ("env-regex", "^SI"),
            ("labels", "tier"),
            ("tag", "{{.Name}}/{{ .ID }}!"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let found = attributes(&container).unwrap();
        let pairs: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let tag = ("tag", "quiet_cook/0123456789ab!");
        assert_eq!(pairs, [("COLOR", "red"), ("SIZE", "1"), tag, ("tier", "front")]);
        assert!(TAG_FIELDS.iter().all(|field| field_of(&container, field).is_some()));
    }

    #[test]
    fn wrong_options_are_refused() {
        let wrong = [("tag", "{{.Frob}}"), ("tag", "{{.ID"), ("env-regex", "(")];
        for option in [("max-size", "big"), ("max-file", "0"), ("frob", "1")].into_iter().chain(wrong) {
            assert!(parsed(&[option]).is_err(), "{option:?}");
        }
    }
}
