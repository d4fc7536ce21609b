//! Disk usage by kind of object.

use std::sync::Arc;

use hull_api::wire::container::ContainerSummary;
use hull_api::wire::image::ImageSummary;
use hull_api::wire::system::Usage;
use hull_api::wire::volume::Volume;
use hull_engine::Error;
use hull_engine::model::{Container, DiskUsage};
use hull_image::Image;

use super::container::signed;
use super::{ImageNames, image_summary, summary, volume};
use crate::Daemon;

/// Images: in use by containers, running or not. What the others have alone can be freed.
pub(crate) fn image_usage(daemon: &Daemon, usage: &DiskUsage) -> Result<Usage<ImageSummary>, Error> {
    let (images, containers) = (daemon.engine.images().list(false)?, daemon.engine.containers());
    let users = |image: &Image| {
        let id = image.id.to_string();
        containers.iter().filter(|container| container.image_id == id).count()
    };
    let items = images.iter().map(|image| {
        let shared = daemon.engine.images().shared_size(image).unwrap_or(0);
        image_summary(image, users(image), Some(shared))
    });
    let items: Vec<ImageSummary> = items.collect();
    let active = items.iter().filter(|image| image.containers > 0);
    let total = signed(usage.layers_size);
    let used: i64 = active.clone().map(|image| image.size - image.shared_size).sum();
    Ok(Usage {
        active_count: count(active.count()),
        reclaimable: (total - used).max(0),
        total_count: count(items.len()),
        total_size: total,
        items,
    })
}

/// Containers: their writable layers. Those of what does not run can be freed.
pub(crate) fn container_usage(daemon: &Daemon, usage: &DiskUsage) -> Usage<ContainerSummary> {
    let containers = daemon.engine.containers();
    let mut images = ImageNames::new(daemon);
    let mut item = |container: &Arc<Container>| ContainerSummary {
        image: images.name_of(container),
        ..summary(container, usage.containers.get(&container.id).copied())
    };
    let items = containers.iter().map(&mut item).collect();
    let size = |container: &Container| usage.containers.get(&container.id).copied();
    let bytes = |container: &&Arc<Container>| size(container).map_or(0, |(writable, _)| signed(writable));
    let stopped = containers.iter().filter(|container| !container.state.status.is_running());
    Usage {
        active_count: count(containers.len() - stopped.clone().count()),
        reclaimable: stopped.map(|container| bytes(&container)).sum(),
        total_count: count(containers.len()),
        total_size: containers.iter().map(|container| bytes(&container)).sum(),
        items,
    }
}

/// Volumes: those that no container mounts can be freed.
pub(crate) fn volume_usage(usage: &DiskUsage) -> Usage<Volume> {
    let items: Vec<Volume> = usage.volumes.iter().map(|each| volume(&each.volume, Some(each))).collect();
    let bytes = |volume: &Volume| volume.usage_data.as_ref().map_or(0, |data| data.size.max(0));
    let users = |volume: &Volume| volume.usage_data.as_ref().map_or(0, |data| data.ref_count);
    Usage {
        active_count: count(items.iter().filter(|volume| users(volume) > 0).count()),
        reclaimable: items.iter().filter(|volume| users(volume) == 0).map(bytes).sum(),
        total_count: count(items.len()),
        total_size: items.iter().map(bytes).sum(),
        items,
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
