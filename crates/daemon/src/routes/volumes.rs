//! `/volumes`.

use std::sync::Arc;

use http::StatusCode;
use hull_api::filters::Filters;
use hull_api::wire::volume::{VolumeCreateRequest, VolumeList, VolumePruneResponse};
use hull_engine::model::{Volume, VolumeRequest};

use super::containers::V1_42;
use crate::Daemon;
use crate::call::{Call, Outcome, invalid, json, no_content, ok};
use crate::{parse, render};

pub(super) async fn list(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::filters(call.query(), &["dangling", "driver", "label", "name"])?;
    let dangling = filters.flag("dangling").map_err(|why| invalid(why.to_string()))?;
    let wanted = |volume: &Volume| {
        dangling.is_none_or(|dangling| dangling == daemon.engine.volume_users(&volume.name).is_empty())
            && filters.matches("driver", &volume.driver)
            && filters.matches_labels("label", &volume.labels.clone().unwrap_or_default())
            && named(&filters, &volume.name)
    };
    let mut volumes = daemon.engine.volumes()?;
    volumes.retain(wanted);
    let volumes = volumes.iter().map(|volume| render::volume(volume, None)).collect();
    ok(&VolumeList { volumes, warnings: None })
}

/// A name matches by any part of it.
fn named(filters: &Filters, name: &str) -> bool {
    !filters.has("name") || filters.values("name").any(|part| name.contains(part))
}

pub(super) async fn create(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let body: VolumeCreateRequest = call.json_or_default().await?;
    let request = VolumeRequest {
        name: body.name,
        driver: body.driver,
        labels: Some(body.labels).filter(|labels| !labels.is_empty()),
        options: Some(body.driver_opts).filter(|options| !options.is_empty()),
    };
    let volume = daemon.engine.volume_create(request).await?;
    json(StatusCode::CREATED, &render::volume(&volume, None))
}

pub(super) async fn inspect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    ok(&render::volume(&daemon.engine.volume(call.param("name"))?, None))
}

pub(super) async fn remove(daemon: Arc<Daemon>, call: Call) -> Outcome {
    daemon.engine.volume_remove(call.param("name"), call.query().flag("force")).await?;
    no_content()
}

pub(super) async fn prune(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::filters(call.query(), &["all", "label", "label!"])?;
    let asked = filters.flag("all").map_err(|why| invalid(why.to_string()))?;
    // Before 1.42, named volumes were pruned, too.
    let all = asked.unwrap_or(false) || call.version < V1_42;
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
        volumes_deleted: Some(pruned.removed).filter(|list| !list.is_empty()),
        space_reclaimed: pruned.space_reclaimed,
    };
    call.pruned(&report, steps)
}
