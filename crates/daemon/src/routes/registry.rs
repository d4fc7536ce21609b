//! What registries know: `/distribution` and `/images/search`.

use std::sync::Arc;

use hull_api::wire::image::{Descriptor, DistributionInspect, Platform};
use hull_api::wire::registry::SearchResult;
use hull_oci::Reference;

use crate::Daemon;
use crate::call::{Call, Outcome, invalid, ok};
use crate::parse;

/// The manifest or index that a name stands for in its registry, and the platforms it is for.
pub(super) async fn inspect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let name = Reference::parse(call.param("name")).map_err(|why| invalid(why.to_string()))?;
    let auth = parse::registry_auth(&call.headers);
    let remote = daemon.engine.images().remote(&name, &auth).await?;
    let platforms = remote.platforms.into_iter().map(|fields| Platform {
        architecture: fields.architecture,
        os: fields.os,
        variant: fields.variant,
        ..Platform::default()
    });
    ok(&DistributionInspect {
        descriptor: Descriptor {
            media_type: remote.descriptor.media_type,
            digest: remote.descriptor.digest.to_string(),
            size: i64::try_from(remote.descriptor.size).unwrap_or(i64::MAX),
            ..Descriptor::default()
        },
        platforms: platforms.collect(),
    })
}

/// The most results, and how many there are without a limit.
const MOST: i64 = 100;
const USUAL: i64 = 25;

pub(super) async fn search(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    let limit = query
        .number::<i64>("limit")
        .map_err(|why| invalid(format!("invalid limit specified: {}", why.message)))?;
    let limit = limit.filter(|limit| *limit != 0).unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(invalid(format!("limit {limit} is outside the range of [1, {MOST}]")));
    }
    let filters = parse::filters(query, &["is-automated", "is-official", "stars"])?;
    let flag = |key: &str| filters.flag(key).map_err(|why| invalid(why.to_string()));
    let (automated, official) = (flag("is-automated")?, flag("is-official")?);
    if automated == Some(true) {
        // No registry tells of automated builds any more.
        return ok(&Vec::<SearchResult>::new());
    }
    let stars = filters.values("stars").map(|text| {
        let why =
            |_| format!("invalid filter 'stars={text}': strconv.Atoi: parsing {text:?}: invalid syntax");
        text.parse::<i64>().map_err(|error| invalid(why(error)))
    });
    let stars = stars.collect::<Result<Vec<_>, _>>()?.into_iter().max();
    let term = query.get("term").unwrap_or("");
    if term.contains("://") {
        let text = format!("invalid repository name: repository name ({term}) should not have a scheme");
        return Err(invalid(text));
    }
    let auth = parse::registry_auth(&call.headers);
    let found = daemon.engine.images().search(term, limit.unsigned_abs(), &auth).await?;
    let mut results: Vec<SearchResult> = serde_json::from_slice::<Found>(&found)
        .map_err(|why| {
            hull_engine::Error::new(hull_engine::Kind::Unavailable, format!("search {term}: {why}"))
        })?
        .results;
    results.retain(|result| {
        official.is_none_or(|official| result.is_official == official)
            && stars.is_none_or(|least| result.star_count >= least)
    });
    ok(&results)
}

#[derive(serde::Deserialize)]
struct Found {
    #[serde(default)]
    results: Vec<SearchResult>,
}
