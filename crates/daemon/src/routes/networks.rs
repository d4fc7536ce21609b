//! `/networks`.

use std::sync::Arc;

use http::StatusCode;
use hull_api::filters::Filters;
use hull_api::version::ApiVersion;
use hull_api::wire::network::{
    NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
    NetworkPruneResponse,
};
use hull_engine::Error;
use hull_engine::model::go_bool;
use hull_network::Network;

use crate::Daemon;
use crate::call::{Call, Outcome, invalid, json, no_content, spoken, status};
use crate::{parse, render};

/// The filters of the list.
const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

pub(super) async fn list(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::filters(call.query(), FILTERS)?;
    let dangling = dangling(&filters)?;
    if let Some(other) = filters.values("type").find(|kind| !["builtin", "custom"].contains(kind)) {
        return Err(invalid(format!("invalid filter: 'type'='{other}'")));
    }
    let wanted = |network: &Network| {
        let kind = if network.predefined() { "builtin" } else { "custom" };
        let unused = network.endpoints.is_empty() && !network.predefined();
        dangling.is_none_or(|dangling| dangling == unused)
            && filters.matches("driver", network.driver.name())
            && filters.matches("type", kind)
            && filters.matches("scope", "local")
            && filters.matches_labels("label", &network.labels)
            && filters.any("name", |part| network.name.contains(part))
            && filters.any("id", |part| network.id.contains(part))
    };
    let networks = daemon.engine.networks()?;
    let shown = networks.iter().filter(|network| wanted(network));
    // Who is connected is told by inspect, and was told here by the oldest versions.
    let shown = shown.map(|network| {
        let mut shown = render::network(network, !call.since(28));
        shown.containers = shown.containers.filter(|_| !call.since(52));
        shown
    });
    spoken(call.version, shown.collect::<Vec<_>>())
}

/// Other than volumes and images, networks have messages of their own for this filter.
fn dangling(filters: &Filters) -> Result<Option<bool>, Error> {
    match filters.values("dangling").collect::<Vec<_>>()[..] {
        [] => Ok(None),
        ["1" | "true"] => Ok(Some(true)),
        ["0" | "false"] => Ok(Some(false)),
        [_] => Err(invalid(
            r#"invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")"#,
        )),
        _ => Err(invalid(r#"got more than one value for filter key "dangling""#)),
    }
}

pub(super) async fn inspect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    if let Some(word) = call.query().get("verbose").filter(|word| go_bool(word).is_none()) {
        let why = format!("strconv.ParseBool: parsing {word:?}: invalid syntax");
        return Err(invalid(format!("invalid value for verbose: {word}: {why}")));
    }
    match call.query().get("scope") {
        None | Some("local") => {
            spoken(call.version, render::network(&daemon.engine.network(call.param("id"))?, true))
        }
        Some(_) => Err(Error::not_found(format!("network {} not found", call.param("id")))),
    }
}

pub(super) async fn create(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let version = call.version;
    let mut body: NetworkCreateRequest = call.json_or_default().await?;
    if version < ApiVersion::v1(47) {
        // It came with that version.
        body.enable_ipv4 = None;
    }
    let id = daemon
        .engine
        .network_create(parse::network_request(body, &daemon.settings().default_network_opts)?)
        .await?;
    json(StatusCode::CREATED, &NetworkCreateResponse { id, warning: String::new() })
}

pub(super) async fn remove(daemon: Arc<Daemon>, call: Call) -> Outcome {
    daemon.engine.network_remove(call.param("id")).await?;
    no_content()
}

pub(super) async fn connect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let network = call.param("id").to_owned();
    let is_new = call.since(52);
    let body: NetworkConnectRequest = call.json_or_default().await?;
    let wanted = body.endpoint_config.unwrap_or_default();
    if is_new {
        parse::check_mac(&wanted.mac_address)?;
    }
    let settings = parse::endpoint(wanted)?;
    daemon.engine.network_connect(&network, &body.container, settings).await?;
    status(StatusCode::OK)
}

pub(super) async fn disconnect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let network = call.param("id").to_owned();
    let body: NetworkDisconnectRequest = call.json_or_default().await?;
    daemon.engine.network_disconnect(&network, &body.container, body.force).await?;
    status(StatusCode::OK)
}

pub(super) async fn prune(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::filters(call.query(), &["label", "label!", "until"])?;
    let until = parse::single_until(&filters)?;
    let pruned = daemon
        .engine
        .networks_prune(move |network: &Network| {
            let created = jiff::Timestamp::try_from(network.created).ok();
            filters.matches_labels("label", &network.labels)
                && (!filters.has("label!") || !filters.matches_labels("label!", &network.labels))
                && until.is_none_or(|until| created.is_some_and(|created| created < until))
        })
        .await?;
    let steps: Vec<_> = pruned.removed.iter().map(|name| (name.clone(), "deleted")).collect();
    let report =
        NetworkPruneResponse { networks_deleted: Some(pruned.removed).filter(|list| !list.is_empty()) };
    call.pruned(&report, steps)
}
