//! Values of options as Go reads them, with Go's words for what it does not.

use std::time::Duration;

use crate::model::go_bool;
use crate::{Error, Result};

/// `strconv.ParseBool`.
pub(super) fn flag(text: &str) -> Result<bool> {
    go_bool(text).ok_or_else(|| syntax("ParseBool", text))
}

/// `strconv.Atoi`.
pub(super) fn integer(text: &str) -> Result<i64> {
    text.parse().map_err(|_| syntax("Atoi", text))
}

fn syntax(function: &str, text: &str) -> Error {
    Error::invalid(format!("strconv.{function}: parsing {text:?}: invalid syntax"))
}

/// Bytes of "10m", "1.5GB": powers of 1000.
pub(super) fn decimal_size(text: &str) -> Result<u64> {
    size(text, 1000.0)
}

/// Bytes of "10m", "1.5GiB": powers of 1024.
pub(super) fn memory_size(text: &str) -> Result<u64> {
    size(text, 1024.0)
}

fn size(text: &str, base: f64) -> Result<u64> {
    let invalid = || Error::invalid(format!("invalid size: '{text}'"));
    let end = text.rfind(|letter: char| letter.is_ascii_digit() || letter == '.').ok_or_else(invalid)? + 1;
    let (number, unit) = text.split_at(end);
    let number: f64 = number.trim_end().parse().map_err(|_| invalid())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    Some(number * base.powi(power)).filter(|size| *size >= 0.0).map(|size| size as u64).ok_or_else(invalid)
}

/// `time.ParseDuration`: "1.5s", "1m30s", "200ms".
pub(super) fn duration(text: &str) -> Result<Duration> {
    let invalid = || Error::invalid(format!("time: invalid duration {text:?}"));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0.0;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let digits =
            digits.ok_or_else(|| Error::invalid(format!("time: missing unit in duration {text:?}")))?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let end = rest[digits..]
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .map_or(rest.len(), |end| digits + end);
        total += number
            * match &rest[digits..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                unit => {
                    return Err(Error::invalid(format!("time: unknown unit {unit:?} in duration {text:?}")));
                }
            };
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| invalid())
}

/// `proto://rest`, for the networks that logs go over.
pub(super) fn transport(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    ["tcp", "tcp+tls", "udp", "unix", "unixgram"].contains(&scheme).then_some((scheme, rest))
}

/// Host and port of "host:port" or "[v6]:port".
pub(super) fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    (bracketed || !host.contains(':')).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_gos() {
        assert_eq!(decimal_size("10m").unwrap(), 10_000_000);
        assert_eq!(decimal_size("1.5 kB").unwrap(), 1_500);
        assert_eq!(memory_size("4MiB").unwrap(), 4 << 20);
        assert_eq!(memory_size("512").unwrap(), 512);
        for wrong in ["", "m", "10x", "-1", "1,5"] {
            assert_eq!(decimal_size(wrong).unwrap_err().message, format!("invalid size: '{wrong}'"));
        }
    }

    #[test]
    fn other_values_are_gos() {
        assert_eq!(flag("yes").unwrap_err().message, r#"strconv.ParseBool: parsing "yes": invalid syntax"#);
        assert_eq!(duration("1m30.5s").unwrap(), Duration::from_millis(90_500));
        assert_eq!(duration("5").unwrap_err().message, r#"time: missing unit in duration "5""#);
        assert_eq!(duration("5x").unwrap_err().message, r#"time: unknown unit "x" in duration "5x""#);
        assert_eq!(host_and_port("[::1]:5"), Some(("[::1]", "5")));
        assert_eq!(host_and_port("::1"), None);
        assert_eq!(transport("http://x"), None);
    }
}
