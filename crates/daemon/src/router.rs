//! The table of routes, and how a path finds its row.
//!
//! A pattern is made of segments: a word stands for itself, `{name}` for one segment, `{name...}` for one or more
//! (image names have slashes). Rows are tried in order, so the more special one stands first.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use hull_api::version::ApiVersion;
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
}

/// A row: `route!(GET "/containers/json" => containers::list)`.
macro_rules! route {
    ($method:ident $pattern:literal => $handler:path) => {
        $crate::router::Route {
            method: http::Method::$method,
            pattern: $pattern,
            handler: |daemon, call| Box::pin($handler(daemon, call)),
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
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    table
        .iter()
        .filter(|route| route.method == method || (*method == Method::HEAD && route.method == Method::GET))
        .find_map(|route| Some((route, matches(route.pattern, &segments)?)))
}

fn matches(pattern: &'static str, segments: &[&str]) -> Option<HashMap<&'static str, String>> {
    let wanted: Vec<&'static str> = pattern.trim_matches('/').split('/').collect();
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
                let text = percent_decode_str(&head.join("/")).decode_utf8().ok()?.into_owned();
                params.insert(name.trim_end_matches("..."), text).is_none().then_some(())?;
            }
            None if head[0] != *want => return None,
            None => {}
        }
        rest = tail;
    }
    (rest.is_empty() && params.values().all(|value| !value.is_empty())).then_some(params)
}

/// Splits `/v1.43/containers/json` into the version and the rest. A path without a version speaks the newest.
pub(crate) fn split_version(path: &str) -> (Option<ApiVersion>, &str) {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        Some((version.parse().ok()?, &rest[version.len()..]))
    });
    match versioned {
        Some((version, rest)) => (Some(version), rest),
        None => (None, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
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
        assert_eq!((version.map(|v| v.to_string()), rest), (Some("1.43".to_owned()), "/containers/json"));
        assert_eq!(split_version("/volumes").1, "/volumes");
        assert_eq!(split_version("/_ping").1, "/_ping");
    }
}
