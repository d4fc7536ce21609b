//! Managed plugins, as a daemon answers that has none installed. To install one is what Hull does not do: volume
//! plugins are programs of the host, found by their sockets.

use std::sync::Arc;

use hull_engine::Error;
use hull_oci::Reference;
use serde_json::Value;

use crate::Daemon;
use crate::call::{Call, Outcome, invalid, ok};
use crate::parse;

fn not_found(call: &Call) -> Error {
    Error::not_found(format!("plugin {:?} not found", call.param("name")))
}

fn not_supported() -> Error {
    Error::not_implemented("managed plugins are not supported: volume plugins are found by their sockets")
}

pub(super) async fn list(_: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::filters(call.query(), &["capability", "enabled"])?;
    filters.flag("enabled").map_err(|why| invalid(why.to_string()))?;
    ok::<[(); 0]>(&[])
}

/// What asks for one plugin, or does something with it.
pub(super) async fn one(_: Arc<Daemon>, call: Call) -> Outcome {
    Err(not_found(&call))
}

pub(super) async fn enable(_: Arc<Daemon>, call: Call) -> Outcome {
    let seconds = call.query().get("timeout").unwrap_or("");
    match seconds.parse::<i64>() {
        Ok(_) => Err(not_found(&call)),
        Err(_) => Err(invalid(format!("strconv.Atoi: parsing {seconds:?}: invalid syntax"))),
    }
}

pub(super) async fn set(_: Arc<Daemon>, call: Call) -> Outcome {
    let refusal = not_found(&call);
    call.json_or_default::<Vec<String>>().await?;
    Err(refusal)
}

pub(super) async fn upgrade(_: Arc<Daemon>, call: Call) -> Outcome {
    let (refusal, remote) = (not_found(&call), remote(&call));
    call.json_or_default::<Vec<Value>>().await?;
    remote?;
    Err(refusal)
}

pub(super) async fn privileges(_: Arc<Daemon>, call: Call) -> Outcome {
    remote(&call)?;
    Err(not_supported())
}

pub(super) async fn pull(_: Arc<Daemon>, call: Call) -> Outcome {
    let remote = remote(&call);
    call.json_or_default::<Vec<Value>>().await?;
    remote?;
    Err(not_supported())
}

pub(super) async fn create(_: Arc<Daemon>, call: Call) -> Outcome {
    Reference::parse(call.query().get("name").unwrap_or("")).map_err(|why| invalid(why.to_string()))?;
    Err(not_supported())
}

fn remote(call: &Call) -> Result<Reference, Error> {
    Reference::parse(call.query().get("remote").unwrap_or("")).map_err(|why| invalid(why.to_string()))
}
