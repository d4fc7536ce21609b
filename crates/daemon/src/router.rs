//! The table of routes, and how a path finds its row.
//!
//! A pattern is made of segments: a word stands for itself, `{name}` for one segment, `{name...}` for one or more
//! (image names have slashes; at the end of a path the name may be missing). Rows are tried in order, so the more
//! special one stands first. All of it is as in Docker's router: a path has its very slashes, and HEAD is a method of
//! its own.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::Daemon;
use crate::call::{Call, Outcome};

/// A handler on its way.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// What a route calls.
pub(crate) type Handler = fn(Arc<Daemon>, Call) -> Pending;

/// One row of the table.
pub(crate) struct Route {
    /// The method it answers.
    pub(crate) method: Method,
    /// Its pattern, without the version.
    pub(crate) pattern: &'static str,
    /// Who answers.
    pub(crate) handler: Handler,
    /// The same by name, for the table of what is served.
    #[cfg_attr(not(test), expect(dead_code, reason = "only documentation is made of it"))]
    pub(crate) served_by: &'static str,
}

/// A row: `route!(GET "/containers/json" => containers::list)`.
macro_rules! route {
    ($method:ident $pattern:literal => $handler:path) => {
        $crate::router::Route {
            method: http::Method::$method,
            pattern: $pattern,
            handler: |daemon, call| Box::pin($handler(daemon, call)),
            served_by: stringify!($handler),
        }
    };
}
pub(crate) use route;

/// The row of `table` that answers `method` on `path`, and the parameters it found there.
pub(crate) fn find<'t>(
    table: &'t [Route],
    method: &Method,
    path: &str,
) -> Option<(&'t Route, HashMap<&'static str, String>)> {
    let segments: Vec<&str> = path.split('/').collect();
    let rows = table.iter().filter(|route| route.method == method);
    rows.filter_map(|route| Some((route, matches(route.pattern, &segments)?))).next()
}

fn matches(pattern: &'static str, segments: &[&str]) -> Option<HashMap<&'static str, String>> {
    let wanted: Vec<&'static str> = pattern.split('/').collect();
    let mut params = HashMap::new();
    let mut rest = segments;
    for (index, want) in wanted.iter().enumerate() {
        let parameter = want.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let taken = match parameter {
            Some(name) if name.ends_with("...") => (rest.len() + index + 1).checked_sub(wanted.len())?,
            _ => 1,
        };
        if taken == 0 || taken > rest.len() {
            return None;
        }
        let (head, tail) = rest.split_at(taken);
        match parameter {
            Some(name) => {
                let (key, many) = (name.trim_end_matches("..."), name.ends_with("..."));
                let text = percent_decode_str(&head.join("/")).decode_utf8().ok()?.into_owned();
                (many || !text.is_empty()).then_some(())?;
                params.insert(key, text).is_none().then_some(())?;
            }
            None if head[0] != *want => return None,
            None => {}
        }
        rest = tail;
    }
    rest.is_empty().then_some(params)
}

/// Splits `/v1.43/containers/json` into the version and the rest. A path without a version speaks the newest.
pub(crate) fn split_version(path: &str) -> (Option<&str>, &str) {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        is_version.then(|| (version, &rest[version.len()..]))
    });
    match versioned {
        Some((version, rest)) => (Some(version), rest),
        None => (None, path),
    }
}

/// The path without empty, `.` and `..` segments, where it has such: clients are sent there.
pub(crate) fn clean(path: &str) -> Option<String> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    let odd = |(at, segment): (usize, &&str)| match *segment {
        "" => at != last,
        "." | ".." => true,
        _ => false,
    };
    if path.starts_with('/') && !segments.iter().enumerate().any(odd) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            word => kept.push(word),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{slash}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
        let segments: Vec<&str> = path.split('/').collect();
        let mut found: Vec<_> = matches(pattern, &segments)?.into_iter().collect();
        found.sort();
        Some(found)
    }

    #[test]
    fn a_name_may_have_slashes() {
        let found = params("/images/{name...}/json", "/images/localhost:5000/a/b:1/json");
        assert_eq!(found, Some(vec![("name", "localhost:5000/a/b:1".to_owned())]));
        assert_eq!(params("/images/{name...}/json", "/images/json"), None);
        assert_eq!(params("/images/{name...}", "/images/a/b"), Some(vec![("name", "a/b".to_owned())]));
    }

    #[test]
    fn a_parameter_is_one_segment_and_not_empty() {
        assert_eq!(params("/containers/{id}/json", "/containers/a/b/json"), None);
        assert_eq!(params("/containers/{id}/json", "/containers//json"), None);
        assert_eq!(
            params("/containers/{id}/json", "/containers/a%20b/json"),
            Some(vec![("id", "a b".into())])
        );
    }

    #[test]
    fn the_version_is_split_off() {
        let (version, rest) = split_version("/v1.43/containers/json");
        assert_eq!((version, rest), (Some("1.43"), "/containers/json"));
        assert_eq!(split_version("/v1/info"), (Some("1"), "/info"));
        for path in ["/volumes", "/_ping", "/v/info", "/v1.x/info", "/v1.43"] {
            assert_eq!(split_version(path), (None, path));
        }
    }

    #[test]
    fn a_slash_counts() {
        assert_eq!(params("/info", "/info/"), None);
        assert_eq!(params("/networks/{id...}", "/networks/"), Some(vec![("id", String::new())]));
        assert_eq!(params("/networks/{id}", "/networks/"), None);
    }

    #[test]
    fn odd_paths_are_cleaned() {
        for path in ["/info", "/info/", "/", "/a/b.c/..d"] {
            assert_eq!(clean(path), None, "{path}");
        }
        for (path, cleaned) in [
            ("//info", "/info"),
            ("/v1.43//info", "/v1.43/info"),
            ("/a/./b/../c/", "/a/c/"),
            ("/../../etc", "/etc"),
            ("/..", "/"),
            ("*", "/*"),
        ] {
            assert_eq!(clean(path).as_deref(), Some(cleaned), "{path}");
        }
    }
}
