//! What is not there: said clearly, as a daemon without it says it.

use std::sync::Arc;

use hull_api::wire::image::BuildPruneResponse;
use hull_engine::{Error, Kind};

use crate::Daemon;
use crate::call::{Call, Outcome, ok};

fn not_yet(what: &str) -> Outcome {
    Err(Error::not_implemented(format!("{what} is not supported yet")))
}

pub(super) async fn build(_: Arc<Daemon>, _: Call) -> Outcome {
    not_yet("building images")
}

/// Without builds there is no cache, so all of it is pruned: `docker system prune` asks.
pub(super) async fn no_build_cache(_: Arc<Daemon>, _: Call) -> Outcome {
    ok(&BuildPruneResponse::default())
}

pub(super) async fn search(_: Arc<Daemon>, _: Call) -> Outcome {
    not_yet("searching registries")
}

pub(super) async fn attestations(_: Arc<Daemon>, _: Call) -> Outcome {
    not_yet("reading attestations")
}

pub(super) async fn distribution(_: Arc<Daemon>, _: Call) -> Outcome {
    not_yet("inspecting images in a registry")
}

pub(super) async fn swarm(_: Arc<Daemon>, _: Call) -> Outcome {
    Err(Error::not_implemented("swarm mode is not supported"))
}

/// The answer of a daemon that is not in a swarm.
pub(super) async fn no_swarm(_: Arc<Daemon>, _: Call) -> Outcome {
    no_swarm_here()
}

/// The same, of a route that is for others, too.
pub(super) fn no_swarm_here() -> Outcome {
    Err(Error::new(
        Kind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
         to swarm and try again.",
    ))
}

pub(super) async fn no_plugins(_: Arc<Daemon>, _: Call) -> Outcome {
    ok::<[(); 0]>(&[])
}

pub(super) async fn no_plugin(_: Arc<Daemon>, call: Call) -> Outcome {
    Err(Error::not_found(format!("plugin \"{}\" not found", call.param("name"))))
}
