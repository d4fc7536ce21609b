//! Sizes and times as people read them, in Docker's words.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// "4 seconds", "About an hour", "2 weeks".
pub(crate) fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    // Hours are rounded, the smaller units cut.
    let hours = (seconds + HOUR / 2).div_euclid(HOUR);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "About a minute".to_owned(),
        _ if seconds < HOUR => format!("{} minutes", seconds / MINUTE),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / HOUR / 24 / 365),
    }
}

/// "3 minutes ago", of Unix seconds; "N/A" of what has no time.
pub(crate) fn ago(unix: i64) -> String {
    if unix == 0 {
        return "N/A".to_owned();
    }
    format!("{} ago", duration(Timestamp::now().as_second() - unix))
}

/// "2006-01-02 15:04:05 -0700 MST" in the user's time zone, as Go prints a time.
pub(crate) fn local_time(unix: i64) -> String {
    Timestamp::from_second(unix)
        .map(|time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string())
        .unwrap_or_default()
}

/// RFC 3339 in the user's time zone, to the second.
pub(crate) fn local_rfc3339(unix: i64) -> String {
    Timestamp::from_second(unix)
        .map(|time| {
            let text = time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
            text.strip_suffix("+00:00").map(|utc| format!("{utc}Z")).unwrap_or(text)
        })
        .unwrap_or_default()
}

/// Nanoseconds since the epoch as RFC 3339 with nine decimals, in the user's time zone.
pub(crate) fn local_nanos(nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanos))
        .map(|time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string())
        .map(|text| text.strip_suffix("+00:00").map(|utc| format!("{utc}Z")).unwrap_or(text))
        .unwrap_or_default()
}

/// Decimal units, this many significant digits: "4.28MB".
pub(crate) fn size(bytes: i64, digits: usize) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], digits)
}

/// Binary units: "1.5GiB".
pub(crate) fn binary_size(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"], 4)
}

fn scaled(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Go's `%.{digits}g` of numbers below 10000.
fn significant(value: f64, digits: usize) -> String {
    let whole = value.abs().max(1.0).log10().floor() as usize + 1;
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    // Rounding may have made it one digit longer: Go then writes an exponent.
    if text.trim_start_matches('-').split('.').next().map_or(0, str::len) > digits {
        let exponent = whole.max(digits);
        return format!("{}e+{exponent:02}", (value / 10f64.powi(exponent as i32)).round());
    }
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The first twelve digits of an id, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// At most this many characters, the last of them "…".
pub(crate) fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers() {
        let day = 24 * 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (3600 + 1800, "2 hours"),
            (47 * 3600, "47 hours"),
            (2 * day, "2 days"),
            (13 * day, "13 days"),
            (14 * day, "2 weeks"),
            (59 * day, "8 weeks"),
            (60 * day, "2 months"),
            (729 * day, "24 months"),
            (730 * day, "2 years"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (5, "5B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (4_277_910, "4.28MB"),
            (72_800_000, "72.8MB"),
            (133_000_000, "133MB"),
            (999_900_000, "1e+03MB"),
        ] {
            assert_eq!(size(bytes, 3), text, "{bytes}");
        }
        assert_eq!(binary_size(1024 * 1024 * 3 / 2), "1.5MiB");
        assert_eq!(binary_size(1023), "1023B");
    }

    #[test]
    fn ids_and_commands_are_cut() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("short"), "short");
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abcd", 4), "abcd");
    }
}
