//! Images.

use std::collections::BTreeMap;

use hull_api::wire::container::{ContainerConfig, HealthConfig};
use hull_api::wire::image as wire;
use hull_api::wire::progress::{Detail, Message};
use hull_api::wire::{Empty, Set, StrSlice};
use hull_engine::Places;
use hull_image::{Config, HistoryEntry, Image, ImageConfig, Listed, ManifestKind, Progress, Removed};
use hull_oci::{Platform, Reference};
use serde::Deserialize;

use super::NEVER;
use super::container::{graph_driver, signed};

/// `GET /images/{name}/json`, with all that any version has of it. The descriptor is only for those
/// who ask for manifests: an image's id is the digest of its configuration, and others take a descriptor's for it.
pub(crate) fn image_inspect(image: &Image, places: Option<&Places>) -> wire::ImageInspect {
    let config = &image.config;
    // As in Docker, the remark is the last step's where the image has none of its own.
    let comment = match config.comment.as_str() {
        "" => config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        own => own.to_owned(),
    };
    wire::ImageInspect {
        id: image.id.to_string(),
        identity: identity(image),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        parent: Some(image.parent.as_ref().map(ToString::to_string).unwrap_or_default()),
        comment: Some(comment),
        created: Some(config.created.clone().unwrap_or_default()),
        container: Some(config.container.clone()).filter(|id| !id.is_empty()),
        container_config: Some(Box::new(container_config(config))),
        docker_version: Some(config.docker_version.clone()),
        author: Some(config.author.clone()),
        config: Some(image_config(&config.config)),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        size: signed(image.size),
        virtual_size: Some(signed(image.size)).filter(|size| *size != 0),
        graph_driver: graph_driver(None, places),
        root_fs: wire::RootFs {
            kind: config.rootfs.kind.clone(),
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: wire::ImageMetadata {
            last_tag_time: image.last_tagged.clone().unwrap_or_else(|| NEVER.to_owned()),
        },
        ..wire::ImageInspect::default()
    }
}

/// The configuration of the container that was committed; one without content where the image tells of none.
fn container_config(config: &ImageConfig) -> ContainerConfig {
    let kept = config.extra.get("container_config");
    kept.and_then(|kept| ContainerConfig::deserialize(kept).ok()).unwrap_or_default()
}

fn image_config(config: &Config) -> wire::ImageConfig {
    let set = |keys: Vec<&String>| -> Set { keys.into_iter().map(|key| (key.clone(), Empty {})).collect() };
    let some = |words: Vec<String>| Some(words).filter(|words| !words.is_empty());
    let volumes = set(config.volumes.iter().flat_map(|volumes| volumes.keys()).collect());
    wire::ImageConfig {
        of_containers: Some(wire::EmptyContainerConfig::default()),
        user: Some(config.user.clone()),
        exposed_ports: set(config.exposed_ports.iter().flat_map(|ports| ports.keys()).collect()),
        env: Some(some(config.env.clone())),
        entrypoint: Some(config.entrypoint.clone().and_then(some).map(StrSlice)),
        cmd: Some(config.cmd.clone().and_then(some).map(StrSlice)),
        volumes: Some(Some(volumes).filter(|volumes| !volumes.is_empty())),
        working_dir: Some(config.working_dir.clone()),
        labels: Some(config.labels.clone().filter(|labels| !labels.is_empty())),
        stop_signal: config.stop_signal.clone(),
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck.as_ref().map(|check| HealthConfig {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        on_build: Some(config.on_build.clone().and_then(some)),
        shell: StrSlice(config.shell.clone().unwrap_or_default()),
    }
}

fn descriptor(target: &hull_image::Descriptor) -> wire::Descriptor {
    wire::Descriptor {
        media_type: target.media_type.clone(),
        digest: target.digest.to_string(),
        size: signed(target.size),
        annotations: target.annotations.clone(),
        platform: target.platform.as_ref().map(|fields| wire::Platform {
            architecture: fields.architecture.clone(),
            os: fields.os.clone(),
            variant: fields.variant.clone(),
            ..wire::Platform::default()
        }),
        ..wire::Descriptor::default()
    }
}

fn platform(platform: &Platform) -> wire::Platform {
    wire::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        ..wire::Platform::default()
    }
}

/// What an image's names mean: its manifest, or the index that has it.
pub(crate) fn image_target(image: &Image) -> wire::Descriptor {
    descriptor(image.index.as_ref().unwrap_or(&image.target))
}

/// Where the image was pulled from, or pushed to: only registries give digests as names.
fn identity(image: &Image) -> Option<wire::Identity> {
    let repositories = image.repo_digests.iter().filter_map(|name| name.split_once('@'));
    let pull: Vec<_> = repositories
        .filter_map(|(name, _)| Reference::parse(name).ok())
        .map(|name| wire::PullIdentity { repository: name.name() })
        .collect();
    (!pull.is_empty()).then_some(wire::Identity { pull })
}

/// The manifests of an image's names. `users` are the containers' ids by image.
pub(crate) fn manifests(
    listed: &[Listed],
    users: &BTreeMap<String, Vec<String>>,
    with_identity: bool,
) -> Vec<wire::ManifestSummary> {
    let summary = |one: &Listed| {
        let image = one.image.as_ref();
        let layers =
            |image: &Image| image.config_size + image.layers.iter().map(|layer| layer.size).sum::<u64>();
        let content = if one.available { one.descriptor.size + image.map_or(0, layers) } else { 0 };
        let is = |kind| one.kind == kind;
        wire::ManifestSummary {
            id: one.descriptor.digest.to_string(),
            descriptor: descriptor(&one.descriptor),
            available: one.available,
            size: wire::ManifestSize {
                content: signed(content),
                total: signed(content + image.map_or(0, |image| image.size)),
            },
            kind: match one.kind {
                ManifestKind::Image => "image",
                ManifestKind::Attestation => "attestation",
                ManifestKind::Unknown => "unknown",
            }
            .to_owned(),
            image_data: is(ManifestKind::Image).then(|| wire::ManifestImage {
                platform: match (image, &one.descriptor.platform) {
                    (Some(image), _) => platform(&image.platform()),
                    (None, Some(fields)) => platform(&fields.normal()),
                    (None, None) => wire::Platform::default(),
                },
                identity: image.and_then(identity).filter(|_| with_identity),
                size: wire::UnpackedSize { unpacked: signed(image.map_or(0, |image| image.size)) },
                containers: image
                    .and_then(|image| users.get(&image.id.to_string()))
                    .cloned()
                    .unwrap_or_default(),
            }),
            attestation_data: is(ManifestKind::Attestation).then(|| wire::ManifestAttestation {
                of: one.descriptor.attests().unwrap_or_default().to_owned(),
            }),
        }
    };
    listed.iter().map(summary).collect()
}

/// One line of `GET /images/json`; shared bytes that were not counted are -1.
pub(crate) fn image_summary(image: &Image, containers: usize, shared: Option<u64>) -> wire::ImageSummary {
    wire::ImageSummary {
        containers: i64::try_from(containers).unwrap_or(i64::MAX),
        created: image.created_unix(),
        id: image.id.to_string(),
        labels: image.config.config.labels.clone(),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_digests: image.repo_digests.clone(),
        repo_tags: image.repo_tags.clone(),
        shared_size: shared.map_or(-1, signed),
        size: signed(image.size),
        virtual_size: Some(signed(image.size)).filter(|size| *size != 0),
        ..wire::ImageSummary::default()
    }
}

/// One line of `GET /images/{name}/history`.
pub(crate) fn history(entry: &HistoryEntry) -> wire::HistoryItem {
    wire::HistoryItem {
        comment: entry.comment.clone(),
        created: entry.created,
        created_by: entry.created_by.clone(),
        id: entry.id.as_ref().map_or_else(|| "<missing>".to_owned(), ToString::to_string),
        size: signed(entry.size),
        tags: Some(entry.tags.clone()).filter(|tags| !tags.is_empty()),
    }
}

/// One line of what a removal did. Layers are deleted by their chain ids, as Docker shows them.
pub(crate) fn removed(removed: &Removed) -> wire::ImageDeleteItem {
    match removed {
        Removed::Untagged { reference, .. } => {
            wire::ImageDeleteItem { untagged: reference.clone(), ..wire::ImageDeleteItem::default() }
        }
        Removed::Deleted(id) | Removed::DeletedLayer(id) => {
            wire::ImageDeleteItem { deleted: id.to_string(), ..wire::ImageDeleteItem::default() }
        }
    }
}

/// One message of a pull, a push or a load.
pub(crate) fn progress(progress: &Progress) -> Message {
    let detail = |detail: hull_image::Detail| Detail {
        current: signed(detail.current),
        total: signed(detail.total),
        ..Detail::default()
    };
    let aux = progress.pushed.as_ref().map(|pushed| {
        serde_json::json!({ "Tag": pushed.tag, "Digest": pushed.digest.to_string(), "Size": pushed.size })
    });
    Message {
        status: progress.status.to_string(),
        progress: progress.detail.map(bar).unwrap_or_default(),
        progress_detail: progress.detail.map(detail).or_else(|| aux.as_ref().map(|_| Detail::default())),
        id: progress.id.clone().unwrap_or_default(),
        aux,
        ..Message::default()
    }
}

/// The bar that old clients show as it is: `[====>   ]  3.1MB/12MB`.
fn bar(detail: hull_image::Detail) -> String {
    const WIDTH: u64 = 50;
    if detail.current == 0 && detail.total == 0 {
        return String::new();
    }
    if detail.total == 0 {
        return format!("{:>8}", size(detail.current));
    }
    let done = (detail.current.min(detail.total) * WIDTH / detail.total) as usize;
    let rest = (WIDTH as usize).saturating_sub(done);
    let numbers = match detail.current > detail.total {
        true => format!("{:>8}", size(detail.current)),
        false => format!("{:>8}/{}", size(detail.current), size(detail.total)),
    };
    format!("[{}>{}] {numbers}", "=".repeat(done), " ".repeat(rest))
}

/// Bytes for people, in thousands, with four digits: `3.146MB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let whole = (value as u64).to_string().len();
    let text = format!("{value:.*}", 4usize.saturating_sub(whole));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_drawn_as_docker_draws_it() {
        let drawn = |current, total| bar(hull_image::Detail { current, total });
        assert_eq!(drawn(0, 0), "");
        assert_eq!(drawn(1_500_000, 0), "   1.5MB");
        let half = format!("[{}>{}]     512B/1.024kB", "=".repeat(25), " ".repeat(25));
        assert_eq!(drawn(512, 1024), half);
        assert_eq!(drawn(10, 10), format!("[{}>]      10B/10B", "=".repeat(50)));
        assert_eq!(drawn(512, 4), format!("[{}>]     512B", "=".repeat(50)));
    }
}
