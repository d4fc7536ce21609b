//! What is served, as a document that cannot be out of date.

use std::fmt::Write as _;
use std::path::Path;

use hull_api::version::{MAX, MIN};

use super::TABLE;

const DOCUMENT: &str = "docs/api.md";

/// What the module that serves a route says of it.
fn answer(served_by: &str) -> &'static str {
    match served_by {
        "ports::add" | "ports::remove" => "served: of Hull's own, see below",
        "checkpoints::create" | "checkpoints::list" | "checkpoints::delete" => {
            "served in experimental mode, else 501"
        }
        "absent::no_build_cache" => "served: there is never a cache",
        "plugins::list" => "served: there is never one",
        "swarm::init" | "swarm::join" => "501: no swarms",
        "plugins::privileges" | "plugins::pull" | "plugins::create" => "501: no managed plugins",
        _ => match served_by.split("::").next() {
            Some("absent") => "501: not there yet",
            Some("swarm") => "503: not in a swarm",
            Some("plugins") => "404: no plugin installed",
            _ => "served",
        },
    }
}

/// What Docker has not.
const OWN: &str = r#"
## Of Hull's own

`POST /containers/{id}/ports` publishes further ports of a container, `DELETE /containers/{id}/ports` takes some back: at once if it runs,
and for its next starts. The body of both is `{"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}`, as
in the request for a container; to a removal an empty `HostIp` or `HostPort` means any, and an empty list everything of that port. The
answer is 200 with `{"Ports": {…}}`, as in the inspection of a container; 404 for what is not there or not published, 409
where the container's network mode publishes nothing, and with Docker's words for a port that is taken. Either all of a request happens
or nothing. The events are `port add` and `port remove`.
"#;

const OWN_FIELDS: &str = "
## Fields that Docker does not have

| where | field | what |
|---|---|---|
| `HostConfig` | `Egress` | what may leave the container: `[\"deny\", \"allow=CIDR[:port[-port]]\", ...]`; absent: everything |
| `HostConfig`, updates | `NetworkRateIn`, `NetworkRateOut` | bytes a second on each of its networks; -1 in an update: no limit |
| stats, in `networks` | `rx_rate`, `tx_rate` | these limits |
";

fn document() -> String {
    let mut text = format!(
        "# The API, endpoint by endpoint\n\nHull speaks versions {MIN} to {MAX} of the Docker Engine API. This table is made of the \
         daemon's routes; a test compares them\n(`HULL_WRITE_DOCS=1 cargo test -p hulld` writes it). Requests that are \
         wrong get 400 first, wherever Docker answers so. Which field an answer has\nin which version stands in \
         `crates/api/src/wire/versions.rs`.\n\n| method | path | answer |\n|---|---|---|\n"
    );
    let mut rows: Vec<_> = TABLE.iter().map(|route| (route.pattern, route.method.as_str(), route)).collect();
    rows.sort_by_key(|(pattern, method, _)| (*pattern, *method));
    for (pattern, method, route) in rows {
        let path = pattern.replace("...", "");
        writeln!(text, "| {method} | `{path}` | {} |", answer(route.served_by)).expect("a string takes all");
    }
    text + OWN_FIELDS + OWN
}

#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DOCUMENT);
    let text = document();
    if std::env::var_os("HULL_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("write the document");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{DOCUMENT} is not what the routes say: HULL_WRITE_DOCS=1 cargo test -p hulld");
}

#[test]
fn no_row_hides_another() {
    for (at, route) in TABLE.iter().enumerate() {
        let path = route.pattern.replace("{name...}", "a/b").replace("{id...}", "a").replace("{id}", "a");
        let (found, _) = crate::router::find(TABLE, &route.method, &path).expect("a row finds itself");
        assert!(
            std::ptr::eq(found, &raw const TABLE[at]),
            "{} {} goes to {}",
            route.method,
            route.pattern,
            found.pattern
        );
    }
}
