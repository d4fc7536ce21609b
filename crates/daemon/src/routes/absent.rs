//! What is not there yet, said clearly. What Docker refuses of such a request, it refuses, too.

use std::sync::Arc;

use hull_api::wire::image::BuildPruneResponse;
use hull_engine::Error;

use crate::Daemon;
use crate::call::{Call, Outcome, invalid};
use crate::parse;

fn not_yet(what: &str) -> Outcome {
    Err(Error::not_implemented(format!("{what} is not supported yet")))
}

pub(super) async fn build(_: Arc<Daemon>, call: Call) -> Outcome {
    match call.query().get("version") {
        None | Some("1" | "2") => not_yet("building images"),
        Some(other) => Err(invalid(format!("invalid version {other:?}"))),
    }
}

pub(super) async fn cancel_build(_: Arc<Daemon>, call: Call) -> Outcome {
    match call.query().get("id") {
        None => Err(invalid("build ID not provided")),
        Some(_) => not_yet("building images"),
    }
}

/// A session or the gRPC of a builder, which the connection is taken over for.
pub(super) async fn build_session(_: Arc<Daemon>, _: Call) -> Outcome {
    not_yet("building images")
}

/// The filters of the build cache.
const CACHE_FILTERS: &[&str] =
    &["until", "id", "parent", "type", "description", "inuse", "shared", "private"];

/// Without builds there is no cache, so all of it is pruned: `docker system prune` asks.
pub(super) async fn no_build_cache(_: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    parse::filters(query, CACHE_FILTERS)?;
    for key in ["reserved-space", "max-used-space", "min-free-space", "keep-storage"] {
        query.number::<i64>(key).map_err(|why| {
            let given = query.get(key).unwrap_or("");
            invalid(format!("{key} is in bytes and expects an integer, got {given}: {}", why.message))
        })?;
    }
    call.pruned(&BuildPruneResponse::default(), [])
}

/// Images are kept for their platform, without the statements beside them in an index.
pub(super) async fn attestations(daemon: Arc<Daemon>, call: Call) -> Outcome {
    if call.query().all("platform").count() > 1 {
        return Err(invalid("only one platform value is currently supported"));
    }
    parse::oci_platform(call.query(), "platform")?;
    daemon.engine.images().get(call.param("name"))?;
    not_yet("reading attestations")
}
