//! Sizes, CPUs and other numbers.

use hull_api::wire::host::{RestartPolicy, Ulimit};

/// "512", "64m", "1.5gb", "2GiB": bytes, in binary units.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[number.len()..].trim_start_matches(' ').to_ascii_lowercase();
    let power = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 0,
        "k" | "ki" => 1,
        "m" | "mi" => 2,
        "g" | "gi" => 3,
        "t" | "ti" => 4,
        "p" | "pi" => 5,
        _ => return Err(invalid()),
    };
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && number.bytes().filter(|&b| b == b'.').count() <= 1;
    if !is_number {
        return Err(invalid());
    }
    if let (Ok(whole), factor) = (number.parse::<i64>(), 1i64 << (10 * power)) {
        return whole.checked_mul(factor).ok_or_else(invalid);
    }
    let value = number.parse::<f64>().map_err(|_| invalid())? * 1024f64.powi(power);
    if value < i64::MAX as f64 { Ok(value as i64) } else { Err(invalid()) }
}

/// As [`bytes`], or -1 for no limit.
pub(crate) fn bytes_or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// "10mbit", or [`bytes`]: bytes a second.
pub(crate) fn rate(text: &str) -> Result<i64, String> {
    let lower = text.to_ascii_lowercase();
    let bits = lower.strip_suffix("bit").map(|number| {
        let (number, factor) = match number.as_bytes().last() {
            Some(b'k') => (&number[..number.len() - 1], 1e3),
            Some(b'm') => (&number[..number.len() - 1], 1e6),
            Some(b'g') => (&number[..number.len() - 1], 1e9),
            _ => (number, 1.0),
        };
        number.parse().map(|number: f64| number * factor / 8.0).ok().filter(|rate| (1.0..1e15).contains(rate))
    });
    let found = match bits {
        Some(rate) => rate.map(|rate| rate as i64),
        None => bytes(text).ok().filter(|rate| *rate > 0),
    };
    found
        .ok_or_else(|| format!("invalid rate: '{text}': bytes a second (512k, 10mb) or bits (10mbit, 1gbit)"))
}

/// As [`rate`], or -1 for no limit.
pub(crate) fn rate_or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { rate(text) }
}

/// A whole number, in the words of Go's parser.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
}

/// Permission bits in octal.
pub(crate) fn umask(text: &str) -> Result<u32, String> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777);
    bits.ok_or_else(|| format!("invalid umask: {text}: 0 to 0777 in octal"))
}

/// A number of CPUs as billionths: "1.5", "1/3".
pub(crate) fn nano_cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let (digits, divisor) = match text.split_once('/') {
        Some((over, under)) => (over, under.parse::<i128>().ok().filter(|&n| n > 0).ok_or_else(invalid)?),
        None => (text, 1),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.trim_start_matches('-').is_empty() || fraction.len() > 18 {
        return Err(invalid());
    }
    let number: i128 = all.parse().map_err(|_| invalid())?;
    let scale = 10i128.pow(fraction.len() as u32).checked_mul(divisor).ok_or_else(invalid)?;
    let nanos = number.checked_mul(1_000_000_000).ok_or_else(invalid)?;
    if nanos % scale != 0 {
        return Err("value is too precise".to_owned());
    }
    i64::try_from(nanos / scale).map_err(|_| invalid())
}

/// "no", "always", "unless-stopped", "on-failure[:count]". The daemon knows which names there are.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    if name.is_empty() && count.is_some() {
        return Err("invalid restart policy format: no policy provided before colon".to_owned());
    }
    let count = count.map(str::parse).transpose();
    let count = count.map_err(|_| "invalid restart policy format: maximum retry count must be an integer")?;
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count: count.unwrap_or(0) })
}

const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// "nofile=1024", "nofile=1024:2048"; -1 is no limit.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    if hard.contains(':') {
        return Err(format!(
            "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        ));
    }
    let (soft, hard) = (integer(soft)?, integer(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("10 kb", 10 << 10),
            ("32B", 32),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "abc", "-1", "1x", "1.2.3", "m", "9999999999999g", "1mm", ".5m"] {
            assert_eq!(bytes(text), Err(format!("invalid size: '{text}'")));
        }
        assert_eq!(bytes_or_unlimited("-1"), Ok(-1));
    }

    #[test]
    fn cpus() {
        for (text, nanos) in [
            ("1", 1_000_000_000),
            ("0.5", 500_000_000),
            ("1/2", 500_000_000),
            (".1", 100_000_000),
            ("-1", -1_000_000_000),
        ] {
            assert_eq!(nano_cpus(text), Ok(nanos), "{text}");
        }
        for text in ["", "x", "1/0", "1/x", "-", "1.2.3"] {
            assert_eq!(nano_cpus(text), Err(format!("failed to parse {text} as a rational number")));
        }
        assert_eq!(nano_cpus("0.0000000001"), Err("value is too precise".to_owned()));
    }

    #[test]
    fn restart_policies() {
        let policy = restart_policy("on-failure:3").unwrap();
        assert_eq!((policy.name.as_str(), policy.maximum_retry_count), ("on-failure", 3));
        assert_eq!(restart_policy("always").unwrap().name, "always");
        assert!(restart_policy("on-failure:x").unwrap_err().contains("must be an integer"));
        assert!(restart_policy(":3").unwrap_err().contains("no policy provided"));
    }

    #[test]
    fn ulimits() {
        assert_eq!(ulimit("nofile=10:20").unwrap(), Ulimit { name: "nofile".to_owned(), soft: 10, hard: 20 });
        assert_eq!(ulimit("core=-1").unwrap().hard, -1);
        for (text, reason) in [
            ("nofile", "invalid ulimit argument: nofile"),
            ("foo=1", "invalid ulimit type: foo"),
            ("nofile=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
            (
                "nofile=1:2:3",
                "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
            ),
        ] {
            assert_eq!(ulimit(text).unwrap_err(), reason);
        }
    }
}
