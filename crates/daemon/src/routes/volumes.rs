//! `/volumes`.

use std::sync::Arc;

use http::StatusCode;
use hull_api::filters::Filters;
use hull_api::wire::volume::{VolumeCreateRequest, VolumeList, VolumePruneResponse};
use hull_engine::Error;
use hull_engine::model::{Volume, VolumeRequest, go_bool};

use super::containers::V1_42;
use crate::Daemon;
use crate::call::{Call, Outcome, invalid, json, no_content, ok};
use crate::{parse, render};

pub(super) async fn list(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::any_filters(call.query())
        .map_err(|why| invalid(format!("error reading volume filters: {}", why.message)))?;
    filters.accept(&["dangling", "driver", "label", "name"]).map_err(|why| invalid(why.to_string()))?;
    let dangling = filters.flag("dangling").map_err(|why| invalid(why.to_string()))?;
    let references = daemon.engine.volume_references();
    let wanted = |volume: &Volume| {
        dangling.is_none_or(|dangling| dangling != references.contains_key(&volume.name))
            && filters.matches("driver", &volume.driver)
            && filters.matches_labels("label", &volume.labels.clone().unwrap_or_default())
            && named(&filters, &volume.name)
    };
    let (mut volumes, warnings) = daemon.engine.volumes().await;
    volumes.retain(wanted);
    let volumes = volumes.iter().map(|volume| render::volume(volume, None)).collect();
    ok(&VolumeList { volumes, warnings: Some(warnings).filter(|warnings| !warnings.is_empty()) })
}

/// A name matches as a whole, or a pattern in any part of it.
fn named(filters: &Filters, name: &str) -> bool {
    filters.any("name", |part| {
        part == name || regex_lite::Regex::new(part).is_ok_and(|pattern| pattern.is_match(name))
    })
}

pub(super) async fn create(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let swarm = call.version >= V1_42;
    let body: VolumeCreateRequest = call.json_or_default().await?;
    if swarm && body.cluster_volume_spec.is_some() {
        return Err(super::swarm::no_manager());
    }
    let request = VolumeRequest {
        name: body.name,
        driver: body.driver,
        labels: body.labels,
        options: body.driver_opts,
    };
    let volume = daemon.engine.volume_create(request).await?;
    json(StatusCode::CREATED, &render::volume(&volume, None))
}

pub(super) async fn inspect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    ok(&render::volume(&daemon.engine.volume(call.param("name")).await?, None))
}

pub(super) async fn remove(daemon: Arc<Daemon>, call: Call) -> Outcome {
    daemon.engine.volume_remove(call.param("name"), call.query().flag("force")).await?;
    no_content()
}

pub(super) async fn prune(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::filters(call.query(), &["all", "label", "label!"])?;
    // Before 1.42, named volumes were pruned, too.
    let all = everything(&filters)? || call.version < V1_42;
    let pruned = daemon
        .engine
        .volumes_prune(all, move |volume| {
            let labels = volume.labels.clone().unwrap_or_default();
            filters.matches_labels("label", &labels)
                && (!filters.has("label!") || !filters.matches_labels("label!", &labels))
        })
        .await?;
    let steps: Vec<_> = pruned.removed.iter().map(|name| (name.clone(), "deleted")).collect();
    let report = VolumePruneResponse {
        volumes_deleted: Some(pruned.removed),
        space_reclaimed: pruned.space_reclaimed,
    };
    call.pruned(&report, steps)
}

/// The filter `all`: one word of Go's for yes or no.
fn everything(filters: &Filters) -> Result<bool, Error> {
    let values: Vec<&str> = filters.values("all").collect();
    match values[..] {
        [] => Ok(false),
        [word] => go_bool(word).ok_or_else(|| {
            invalid(format!("invalid filter 'all': strconv.ParseBool: parsing {word:?}: invalid syntax"))
        }),
        _ => Err(invalid(format!("invalid filter 'all=[{}]': only one value is expected", values.join(" ")))),
    }
}
