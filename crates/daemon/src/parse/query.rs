//! What stands in query strings and headers: signals, times, filters, sizes, platforms, credentials.

use std::time::Duration;

use http::{HeaderMap, header};
use hull_api::filters::Filters;
use hull_api::wire::image as wire;
use hull_api::wire::system::AuthConfig;
use hull_engine::{Error, model};
use hull_oci::{Platform, Signal};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::call::{Query, invalid};

/// A signal by name or number; absent is none.
pub(crate) fn signal(query: &Query) -> Result<Option<Signal>, Error> {
    let parsed = query.get("signal").map(Signal::parse).transpose();
    parsed.map_err(|why| invalid(why.to_string()))
}

/// The `filters` of a list, which knows only `names`.
pub(crate) fn filters(query: &Query, names: &[&str]) -> Result<Filters, Error> {
    let filters = any_filters(query)?;
    filters.accept(names).map_err(|why| invalid(why.to_string()))?;
    Ok(filters)
}

/// The parameter `filters` with whatever names it has.
pub(crate) fn any_filters(query: &Query) -> Result<Filters, Error> {
    Filters::parse(query.get("filters").unwrap_or("")).map_err(|why| invalid(why.to_string()))
}

/// A time: seconds since the epoch with up to nine decimals, or RFC 3339. Absent and zero are none.
pub(crate) fn timestamp(query: &Query, key: &str) -> Result<Option<Timestamp>, Error> {
    match query.get(key) {
        None | Some("0") => Ok(None),
        Some(text) => {
            let wrong =
                || invalid(format!("strconv.ParseInt: parsing {:?}: invalid syntax", not_a_number(text)));
            moment(text).map(Some).ok_or_else(wrong)
        }
    }
}

/// The part of a wrong time that Docker names: the seconds, or their decimals.
fn not_a_number(text: &str) -> &str {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if seconds.parse::<i64>().is_ok() { fraction } else { seconds }
}

/// One point in time, in either form.
fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What is finer than a nanosecond is cut off.
    let nanos = format!("{fraction:0<9}");
    Timestamp::new(seconds.parse().ok()?, nanos[..9].parse().ok()?).ok()
}

/// A duration of Go: `1h30m`, `300ms`. Used by the `until` filter.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        total += number
            * match &rest[digits..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok()).flatten()
}

/// The earliest point in time that the filter `until` names: durations back from now, or times.
pub(crate) fn until(filters: &Filters) -> Result<Option<Timestamp>, Error> {
    let point = |text: &str| {
        let now = Timestamp::now();
        let span = match text.strip_prefix('-') {
            Some(ahead) => duration(ahead).and_then(|span| now.checked_add(span).ok()),
            None => duration(text).and_then(|span| now.checked_sub(span).ok()),
        };
        let parsed = span.or_else(|| date(text)).or_else(|| moment(text));
        parsed.ok_or_else(|| invalid(format!("failed to parse value as time or duration: {text:?}")))
    };
    let points = filters.values("until").map(point).collect::<Result<Vec<_>, _>>()?;
    Ok(points.into_iter().min())
}

/// A date, with as much of a time as is said, in this machine's zone or another: `2026-01-31`, `2026-01-31T12:30+01:00`.
fn date(text: &str) -> Option<Timestamp> {
    let has_offset = text.contains('+') || text.matches('-').count() == 3;
    let (civil, zone) = match text.rfind(['+', '-']).filter(|_| has_offset) {
        Some(at) => text.split_at(at),
        None => text.strip_suffix(['Z', 'z']).map_or((text, ""), |civil| (civil, "Z")),
    };
    let (day, time) = civil.split_once('T').unwrap_or((civil, "00"));
    let time = format!("{time}{}", [":00:00", ":00", ""].get(time.matches(':').count())?);
    match zone {
        "" => {
            let civil: DateTime = format!("{day}T{time}").parse().ok()?;
            Some(civil.to_zoned(TimeZone::system()).ok()?.timestamp())
        }
        zone => format!("{day}T{time}{zone}").parse().ok(),
    }
}

/// The same for a prune, which takes only one.
pub(crate) fn single_until(filters: &Filters) -> Result<Option<Timestamp>, Error> {
    match filters.values("until").count() {
        0 | 1 => until(filters),
        _ => Err(invalid("more than one until filter specified")),
    }
}

/// How many lines from the end: "all", "", or a number; Docker takes everything else for "all", too.
pub(crate) fn tail(query: &Query) -> model::Tail {
    let lines = query.get("tail").and_then(|text| text.parse().ok());
    lines.map_or(model::Tail::All, model::Tail::Lines)
}

/// The platform of a query: `linux/arm64`, or the JSON object of newer clients.
pub(crate) fn platform(query: &Query) -> Result<Option<Platform>, Error> {
    match query.get("platform") {
        None => Ok(None),
        Some(text) if text.starts_with('{') => oci_platform(query, "platform"),
        Some(text) => Platform::parse(text).map(Some).map_err(|why| invalid(why.to_string())),
    }
}

/// The first value of `key`, which is a platform as OCI writes it in JSON.
pub(crate) fn oci_platform(query: &Query, key: &str) -> Result<Option<Platform>, Error> {
    query.get(key).filter(|text| !text.is_empty()).map(read_platform).transpose()
}

/// All of them.
pub(crate) fn oci_platforms(query: &Query, key: &str) -> Result<Vec<Platform>, Error> {
    query.all(key).map(read_platform).collect()
}

fn read_platform(text: &str) -> Result<Platform, Error> {
    let fields: Option<wire::Platform> = super::json::word(text)
        .and_then(|word| serde_json::from_value(word).map_err(|why| why.to_string()))
        .map_err(|why| invalid(format!("failed to parse platform: {why}")))?;
    let fields = fields.unwrap_or_default();
    let more = !fields.variant.is_empty() || !fields.os_version.is_empty() || !fields.os_features.is_empty();
    match (fields.os.is_empty(), fields.architecture.is_empty()) {
        (true, true) if more => {
            Err(invalid("optional platform fields provided, but OS and Architecture are missing"))
        }
        (false, false) => {
            let variant = Some(fields.variant.as_str()).filter(|variant| !variant.is_empty());
            Ok(Platform::new(&fields.os, &fields.architecture, variant))
        }
        _ => Err(invalid("both OS and Architecture must be provided")),
    }
}

/// The credentials of the `X-Registry-Auth` header. As Docker does, what cannot be read counts as none.
pub(crate) fn registry_auth(headers: &HeaderMap) -> hull_image::Auth {
    let given = headers.get("X-Registry-Auth").and_then(|value| value.to_str().ok()).unwrap_or("");
    credentials(AuthConfig::from_header(given).unwrap_or_default(), headers)
}

/// Credentials as the image store takes them, with the client's name for itself.
pub(crate) fn credentials(given: AuthConfig, headers: &HeaderMap) -> hull_image::Auth {
    let client = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    hull_image::Auth {
        username: given.username,
        password: given.password,
        identity_token: given.identitytoken,
        registry_token: given.registrytoken,
        client: client.to_owned(),
    }
}

/// Rows and columns of a resize.
pub(crate) fn window_size(query: &Query) -> Result<(u16, u16), Error> {
    let cells = |key: &str, what: &str| {
        let text = query.get(key).unwrap_or("");
        cells(text).map_err(|why| invalid(format!("invalid resize {what} {text:?}: {why}")))
    };
    Ok((cells("h", "height")?, cells("w", "width")?))
}

/// What the kernel takes of a number of 32 bits; otherwise what Go says of it.
fn cells(text: &str) -> Result<u16, &'static str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    let number: u32 = text.parse().map_err(|_| "value out of range")?;
    let [.., high, low] = number.to_be_bytes();
    Ok(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_terminals_are_numbers() {
        assert_eq!(cells("80"), Ok(80));
        assert_eq!(cells("4294967295"), Ok(u16::MAX));
        assert_eq!(cells("4294967296"), Err("value out of range"));
        assert_eq!(cells("-1"), Err("value out of range"));
        for wrong in ["", "+1", "foo", "-"] {
            assert_eq!(cells(wrong), Err("invalid syntax"), "{wrong}");
        }
    }

    #[test]
    fn times_come_in_two_forms() {
        let exact = moment("1700000000.000000001").expect("seconds and nanoseconds");
        assert_eq!(exact.as_nanosecond(), 1_700_000_000_000_000_001);
        assert_eq!(moment("1700000000.5").expect("half").as_millisecond(), 1_700_000_000_500);
        assert_eq!(moment("2023-11-14T22:13:20Z"), moment("1700000000"));
        assert_eq!(moment("1.1234567890123"), moment("1.123456789"));
        assert_eq!(moment("yesterday"), None);
        assert_eq!(moment("1.x"), None);
        assert_eq!((not_a_number("30s"), not_a_number("x.1"), not_a_number("1.x")), ("30s", "x", "x"));
    }

    #[test]
    fn dates_may_be_short() {
        let utc = |text: &str| date(text).map(|time| time.to_string());
        assert_eq!(utc("2026-01-31Z").as_deref(), Some("2026-01-31T00:00:00Z"));
        assert_eq!(utc("2026-01-31T12+01:00").as_deref(), Some("2026-01-31T11:00:00Z"));
        assert_eq!(utc("2026-01-31T12:30-02:00").as_deref(), Some("2026-01-31T14:30:00Z"));
        assert_eq!(utc("2026-01-31T12:30:01.5z").as_deref(), Some("2026-01-31T12:30:01.5Z"));
        let here = |text: &str| text.parse::<DateTime>().ok()?.to_zoned(TimeZone::system()).ok();
        for (short, long) in
            [("2026-01-31", "2026-01-31T00:00:00"), ("2026-01-31T12:30", "2026-01-31T12:30:00")]
        {
            assert_eq!(date(short), here(long).map(|time| time.timestamp()), "{short}");
        }
        for wrong in ["", "2026", "2026-13-01", "2026-01-31T", "2026-01-31T25", "1700000000", "1h"] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn platforms_are_refused_in_gos_words() {
        let said = |text: &str| read_platform(text).unwrap_err().message;
        let within = |why: &str| format!("failed to parse platform: {why}");
        assert_eq!(said(""), within("unexpected end of JSON input"));
        assert_eq!(said("{"), within("unexpected end of JSON input"));
        assert_eq!(said("linux/amd64"), within("invalid character 'l' looking for beginning of value"));
        assert_eq!(said("{}x"), within("invalid character 'x' after top-level value"));
        assert_eq!(said("null"), "both OS and Architecture must be provided");
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(duration("10"), None);
        assert_eq!(duration(""), None);
        assert_eq!(duration("h"), None);
    }
}
