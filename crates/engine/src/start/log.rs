//! `--log-driver` and `--log-opt`.

use std::path::Path;

use hull_shim::protocol::{self, JsonFile};

use crate::model::LogConfig;
use crate::{Error, Result};

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
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" => {
                return Err(Error::not_implemented(format!("log opt '{name}' is not supported yet")));
            }
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
    fn wrong_options_are_refused() {
        for option in [("max-size", "big"), ("max-file", "0"), ("frob", "1")] {
            assert!(parsed(&[option]).is_err(), "{option:?}");
        }
    }
}
