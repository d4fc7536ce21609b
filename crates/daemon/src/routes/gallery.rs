//! `GET /images/json`: the list with its filters.

use std::sync::Arc;

use hull_api::filters::Filters;
use hull_engine::Error;
use hull_image::Image;
use jiff::Timestamp;

use super::images::users;
use crate::Daemon;
use crate::call::{Call, Outcome, invalid, spoken};
use crate::{parse, render};

/// The filters of the list.
const FILTERS: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];

pub(super) async fn images(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    let mut filters = parse::filters(query, FILTERS)?;
    // What `reference` was before there were filters.
    if let Some(pattern) = query.get("filter").filter(|_| !call.since(41) && !filters.has("reference")) {
        filters.add("reference", pattern);
    }
    let shared_size = call.since(42) && query.flag("shared-size");
    let with_manifests = call.since(47) && query.flag("manifests");
    let with_identity = call.since(54) && query.flag("identity");
    if with_identity && !with_manifests {
        return Err(invalid("conflicting options: identity requires manifests=1"));
    }
    let images = chosen(&daemon, &filters, query.flag("all"))?;
    let users = users(&daemon);
    let summary = |image: &Image| {
        let count = users.get(&image.id.to_string()).map_or(0, Vec::len);
        let shared = shared_size.then(|| daemon.engine.images().shared_size(image).unwrap_or(0));
        let mut summary = render::image_summary(image, count, shared);
        if !call.since(51) {
            // Nobody counted them in lists then.
            summary.containers = -1;
        }
        if with_manifests {
            let listed = daemon.engine.images().manifests(image)?;
            summary.descriptor = Some(render::image_target(image));
            summary.manifests = Some(render::manifests(&listed, &users, with_identity));
        }
        Ok(summary)
    };
    spoken(call.version, images.iter().map(summary).collect::<Result<Vec<_>, Error>>()?)
}

/// The images that the filters leave.
fn chosen(daemon: &Daemon, filters: &Filters, all: bool) -> Result<Vec<Image>, Error> {
    let dangling = filters.flag("dangling").map_err(|why| invalid(why.to_string()))?;
    let created = |key: &str| -> Result<Option<Timestamp>, Error> {
        let image = filters.values(key).last().map(|name| daemon.engine.images().get(name)).transpose()?;
        Ok(image.map(|image| image.created()))
    };
    let (before, since, until) = (created("before")?, created("since")?, parse::until(filters)?);
    let wanted = |image: &Image| {
        let labels = image.config.config.labels.clone().unwrap_or_default();
        dangling.is_none_or(|dangling| dangling == image.is_dangling())
            && before.is_none_or(|moment| image.created() < moment)
            && since.is_none_or(|moment| image.created() > moment)
            && until.is_none_or(|moment| image.created() < moment)
            && filters.matches_labels("label", &labels)
            && (!filters.has("label!") || !filters.matches_labels("label!", &labels))
    };
    let mut images = daemon.engine.images().list(all)?;
    images.retain(wanted);
    if filters.has("reference") {
        images.retain_mut(|image| only_references(image, filters));
    }
    Ok(images)
}

/// Leaves the names that match one of the patterns; whether any is left.
fn only_references(image: &mut Image, filters: &Filters) -> bool {
    let matches = |name: &String| filters.values("reference").any(|pattern| matches_reference(pattern, name));
    image.repo_tags.retain(matches);
    image.repo_digests.retain(matches);
    !image.repo_tags.is_empty() || !image.repo_digests.is_empty()
}

/// A pattern with `*`, `?` and `[…]`, of the whole name or of the name without its tag; a star stops at a slash.
fn matches_reference(pattern: &str, name: &str) -> bool {
    let bare = match name.rsplit_once('@').or_else(|| name.rsplit_once(':')) {
        Some((bare, rest)) if !rest.contains('/') => bare,
        _ => name,
    };
    glob(pattern.as_bytes(), name.as_bytes()) || glob(pattern.as_bytes(), bare.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            let reach = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=reach).any(|skip| glob(rest, &text[skip..]))
        }
        (Some((b'?', rest)), Some((byte, tail))) => *byte != b'/' && glob(rest, tail),
        (Some((b'[', rest)), Some((byte, tail))) => match rest.iter().position(|c| *c == b']') {
            Some(end) => class(&rest[..end], *byte) && glob(&rest[end + 1..], tail),
            None => false,
        },
        (Some((wanted, rest)), Some((byte, tail))) => wanted == byte && glob(rest, tail),
        _ => false,
    }
}

/// Whether a byte is in a class like `a-z^0`.
fn class(class: &[u8], byte: u8) -> bool {
    let (negated, class) = match class.split_first() {
        Some((b'^', rest)) => (true, rest),
        _ => (false, class),
    };
    let ranges = class.windows(3).any(|w| w[1] == b'-' && (w[0]..=w[2]).contains(&byte));
    negated != (ranges || class.contains(&byte))
}
