//! The swarm family, as a Docker daemon answers that is in no swarm: the request is read, what is wrong with it is
//! said, and then that there is no swarm. To make or join one is what Hull does not do.

use std::sync::Arc;

use hull_api::filters::Filters;
use hull_engine::model::go_bool;
use hull_engine::{Error, Kind};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Daemon;
use crate::call::{Call, Outcome, invalid};

pub(super) fn no_manager() -> Error {
    Error::new(
        Kind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
         to swarm and try again.",
    )
}

fn no_swarm() -> Error {
    Error::not_implemented(
        "swarm mode is not supported: this daemon runs containers of one host and cannot be a node of a swarm",
    )
}

/// What asks for one object, or for all without choosing.
pub(super) async fn ask(_: Arc<Daemon>, _: Call) -> Outcome {
    Err(no_manager())
}

/// A list with filters.
pub(super) async fn list(_: Arc<Daemon>, call: Call) -> Outcome {
    Filters::parse(call.query().get("filters").unwrap_or("")).map_err(|why| invalid(why.to_string()))?;
    if call.since(41) {
        boolean(&call, "status")?;
    }
    Err(no_manager())
}

pub(super) async fn inspect_service(_: Arc<Daemon>, call: Call) -> Outcome {
    boolean(&call, "insertDefaults")?;
    Err(no_manager())
}

pub(super) async fn logs(_: Arc<Daemon>, call: Call) -> Outcome {
    match call.query().flag("stdout") || call.query().flag("stderr") {
        true => Err(no_manager()),
        false => Err(invalid("Bad parameters: you must choose at least one stream")),
    }
}

pub(super) async fn create(_: Arc<Daemon>, call: Call) -> Outcome {
    body(call).await?;
    Err(no_manager())
}

/// The update of `{kind}`, which names the version it changes.
async fn update(call: Call, kind: &str) -> Outcome {
    let asked = call.query().get("version").unwrap_or("").to_owned();
    body(call).await?;
    let is_number = !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit());
    match (asked.parse::<u64>(), kind) {
        (Ok(_), _) if is_number => Err(no_manager()),
        (_, "secret" | "config") => Err(invalid(format!("invalid {kind} version"))),
        _ => {
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            Err(invalid(format!(
                "invalid {kind} version '{asked}': strconv.ParseUint: parsing {asked:?}: {why}"
            )))
        }
    }
}

pub(super) async fn update_service(_: Arc<Daemon>, call: Call) -> Outcome {
    update(call, "service").await
}

pub(super) async fn update_node(_: Arc<Daemon>, call: Call) -> Outcome {
    update(call, "node").await
}

pub(super) async fn update_secret(_: Arc<Daemon>, call: Call) -> Outcome {
    update(call, "secret").await
}

pub(super) async fn update_config(_: Arc<Daemon>, call: Call) -> Outcome {
    update(call, "config").await
}

pub(super) async fn update_swarm(_: Arc<Daemon>, call: Call) -> Outcome {
    let flags = ["rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"];
    let wrong = flags.iter().find_map(|flag| boolean(&call, flag).err());
    match (update(call, "swarm").await, wrong) {
        (Err(no), Some(why)) if no.kind == Kind::Unavailable => Err(why),
        (outcome, _) => outcome,
    }
}

pub(super) async fn init(_: Arc<Daemon>, call: Call) -> Outcome {
    body(call).await?;
    Err(no_swarm())
}

pub(super) async fn join(_: Arc<Daemon>, call: Call) -> Outcome {
    #[derive(Default, Deserialize)]
    struct Join {
        #[serde(rename = "RemoteAddrs", default)]
        remote: Option<Vec<String>>,
    }
    match call.json_or_default::<Join>().await?.remote.unwrap_or_default().is_empty() {
        true => Err(invalid("at least 1 RemoteAddr is required to join")),
        false => Err(no_swarm()),
    }
}

pub(super) async fn leave(_: Arc<Daemon>, _: Call) -> Outcome {
    Err(Error::new(Kind::Unavailable, "This node is not part of a swarm"))
}

/// Only volumes of a cluster can be updated.
pub(super) async fn update_volume(_: Arc<Daemon>, _: Call) -> Outcome {
    let text = "volume update only valid for cluster volumes, but swarm is unavailable";
    Err(Error::new(Kind::Unavailable, text))
}

/// The body of a request: some object.
async fn body(call: Call) -> Result<Map<String, Value>, Error> {
    call.json_or_default().await
}

/// A query that Go reads as a boolean.
fn boolean(call: &Call, key: &str) -> Result<(), Error> {
    match call.query().get(key) {
        Some(other) if go_bool(other).is_none() => Err(invalid(format!("invalid value for {key}: {other}"))),
        _ => Ok(()),
    }
}
