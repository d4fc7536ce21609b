//! Durations and points in time.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const UNITS: [(&str, i128); 8] = [
    // Longer names first: "ms" is not "m".
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Go's durations, in nanoseconds: "1h30m", "1.5s", "-2ms", "0".
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(length);
        let unit = UNITS.iter().find(|(name, _)| tail.starts_with(name));
        let Some((name, nanos)) = unit else {
            return Err(match tail.is_empty() {
                true => format!("time: missing unit in duration {text:?}"),
                false => invalid(),
            });
        };
        total += scaled(number, *nanos).ok_or_else(invalid)?;
        rest = &tail[name.len()..];
    }
    i64::try_from(sign * total).map_err(|_| invalid())
}

fn scaled(number: &str, nanos: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(18)];
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(whole * nanos + part * nanos / 10i128.pow(fraction.len() as u32))
}

/// A duration that a health check may have.
pub(crate) fn positive_duration(text: &str) -> Result<i64, String> {
    match duration(text)? {
        nanos if nanos < 0 => Err(format!("duration cannot be negative: {text}")),
        nanos => Ok(nanos),
    }
}

/// A point in time as `seconds.nanoseconds`: from Unix seconds, RFC 3339 whole or in part (in the user's time
/// zone), or a duration before now.
pub(crate) fn point(text: &str) -> Result<String, String> {
    if let Ok(nanos) = duration(text) {
        let time = Timestamp::now().checked_sub(SignedDuration::from_nanos(nanos));
        return time.map(unix).map_err(|reason| reason.to_string());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(unix(time));
    }
    let local = [text.to_owned(), format!("{text}:00"), format!("{text}:00:00"), format!("{text}T00:00:00")];
    let civil = local.iter().filter(|_| text.contains('-')).find_map(|text| text.parse::<DateTime>().ok());
    if let Some(time) = civil.and_then(|civil| civil.to_zoned(TimeZone::system()).ok()) {
        return Ok(unix(time.timestamp()));
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return Err(format!("failed to parse value as time or duration: {text:?}"));
    }
    Ok(if fraction.is_empty() { seconds.to_owned() } else { format!("{seconds}.{fraction:0<9}") })
}

fn unix(time: Timestamp) -> String {
    format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, nanos) in [
            ("0", 0),
            ("30s", 30_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("-2ms", -2_000_000),
            ("100us", 100_000),
            ("1m0.5s", 60_500_000_000),
        ] {
            assert_eq!(duration(text), Ok(nanos), "{text}");
        }
        assert_eq!(duration("10").unwrap_err(), "time: missing unit in duration \"10\"");
        for text in ["", "x", "1x", ".s", "1.2.3s", "99999999999999999999h", "9999999h"] {
            assert!(duration(text).unwrap_err().starts_with("time: invalid duration"), "{text}");
        }
        assert!(positive_duration("-1s").is_err());
    }

    #[test]
    fn points_in_time() {
        assert_eq!(point("1136073600").unwrap(), "1136073600");
        assert_eq!(point("1136073600.5").unwrap(), "1136073600.500000000");
        assert_eq!(point("2006-01-02T15:04:05Z").unwrap(), "1136214245.000000000");
        assert_eq!(point("2006-01-02T15:04:05.123+01:00").unwrap(), "1136210645.123000000");
        assert!(point("2006-01-02").is_ok() && point("2006-01-02T15:04").is_ok());
        let now = Timestamp::now().as_second();
        let ago: f64 = point("1h").unwrap().parse().unwrap();
        assert!((now as f64 - 3600.0 - ago).abs() < 5.0);
        assert!(point("yesterday").is_err());
    }
}
