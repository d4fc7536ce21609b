//! `GET /containers/json`: the list with its filters.

use std::sync::Arc;

use hull_api::filters::Filters;
use hull_engine::Error;
use hull_engine::model::{Container, Port, Status};
use hull_oci::Digest;
use regex_lite::Regex;

use crate::Daemon;
use crate::call::{Call, Outcome, invalid, ok};
use crate::{parse, render};

/// The filters of the list.
const FILTERS: &[&str] = &[
    "ancestor",
    "annotation",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

pub(super) async fn containers(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    let filters = parse::filters(query, FILTERS)?;
    let limit: Option<i64> = query.number("limit")?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    // A filter on what is stopped, or a limit, asks for all.
    let all = query.flag("all") || limit.is_some() || filters.has("status") || filters.has("exited");
    let chosen = Choice::new(&daemon, &filters, all)?;
    let wanted = daemon.engine.containers().into_iter().filter(|container| chosen.wants(container));
    let (mut list, mut link_names) = (Vec::new(), daemon.engine.link_names());
    for container in wanted.take(limit.unwrap_or(usize::MAX)) {
        let size = match query.flag("size") {
            true => daemon.engine.container_size(&container.id).await.ok(),
            false => None,
        };
        let mut summary = render::summary(&container, size);
        summary.names.extend(link_names.remove(&container.id).unwrap_or_default());
        list.push(summary);
    }
    ok(&list)
}

/// The filters, read once.
struct Choice<'f> {
    filters: &'f Filters,
    all: bool,
    names: Vec<Regex>,
    ids: Vec<Regex>,
    exited: Vec<i32>,
    before: Option<Arc<Container>>,
    since: Option<Arc<Container>>,
    ancestors: Vec<Ancestor>,
    networks: Vec<String>,
    publish: Vec<(Port, Port)>,
    expose: Vec<(Port, Port)>,
}

impl<'f> Choice<'f> {
    fn new(daemon: &Daemon, filters: &'f Filters, all: bool) -> Result<Self, Error> {
        let regexes = |key: &str| -> Result<Vec<Regex>, Error> {
            let parse =
                |text| Regex::new(text).map_err(|why| invalid(format!("invalid filter '{key}': {why}")));
            filters.values(key).map(parse).collect()
        };
        let other = |key: &str| -> Result<Option<Arc<Container>>, Error> {
            filters.values(key).last().map(|name| daemon.engine.container(name)).transpose()
        };
        check(filters, "status", |value| STATUSES.contains(&value))?;
        check(filters, "health", |value| ["none", "starting", "healthy", "unhealthy"].contains(&value))?;
        check(filters, "exited", |value| value.parse::<i32>().is_ok())?;
        Ok(Self {
            filters,
            all,
            names: regexes("name")?,
            ids: regexes("id")?,
            exited: filters.values("exited").filter_map(|code| code.parse().ok()).collect(),
            before: other("before")?,
            since: other("since")?,
            ancestors: filters.values("ancestor").map(|name| Ancestor::find(daemon, name)).collect(),
            networks: filters.values("network").map(|name| daemon.engine.network_id(name)).collect(),
            publish: ports(filters, "publish")?,
            expose: ports(filters, "expose")?,
        })
    }

    fn wants(&self, container: &Container) -> bool {
        let running = container.state.status.is_running() || container.state.status == Status::Restarting;
        (running || self.all)
            && self.by_name(container)
            && self.by_state(container)
            && self.by_age(container)
            && self.by_network(container)
            && self.filters.matches_labels("label", &container.config.labels)
            && self.filters.matches_labels("annotation", &container.host.annotations)
            && (self.ancestors.is_empty() || self.by_ancestor(container))
            && (!self.filters.has("volume") || self.by_volume(container))
            && self.filters.matches("is-task", "false")
    }

    fn by_name(&self, container: &Container) -> bool {
        let slashed = format!("/{}", container.name);
        let name = |regex: &Regex| regex.is_match(&slashed) || regex.is_match(&container.name);
        (self.names.is_empty() || self.names.iter().any(name))
            && (self.ids.is_empty() || self.ids.iter().any(|regex| regex.is_match(&container.id)))
    }

    fn by_state(&self, container: &Container) -> bool {
        let state = &container.state;
        let exited = state.status == Status::Exited || state.status == Status::Created;
        let health = match &state.health {
            Some(health) if container.has_healthcheck() => health.status.name(),
            _ => "none",
        };
        self.filters.matches("status", state.status.name())
            && self.filters.matches("health", health)
            && (self.exited.is_empty()
                || exited && self.exited.contains(&state.exit_code) && state.ever_started)
    }

    fn by_age(&self, container: &Container) -> bool {
        self.before.as_ref().is_none_or(|other| container.created < other.created)
            && self.since.as_ref().is_none_or(|other| container.created > other.created)
    }

    fn by_network(&self, container: &Container) -> bool {
        let joined = container.network.networks.iter();
        let on = |name: &str, id: &str| self.networks.iter().any(|wanted| wanted == name || wanted == id);
        let within = |(low, high): &(Port, Port), port: &Port| {
            port.protocol == low.protocol && (low.number..=high.number).contains(&port.number)
        };
        let published = container.network.ports.iter().filter(|(_, bindings)| bindings.is_some());
        let exposed = container.network.ports.keys().chain(&container.config.exposed_ports);
        (self.networks.is_empty() || joined.clone().any(|(name, on_it)| on(name, &on_it.network_id)))
            && (self.publish.is_empty()
                || published.clone().any(|(port, _)| self.publish.iter().any(|range| within(range, port))))
            && (self.expose.is_empty()
                || exposed.clone().any(|port| self.expose.iter().any(|range| within(range, port))))
    }

    fn by_ancestor(&self, container: &Container) -> bool {
        self.ancestors.iter().any(|ancestor| ancestor.is_of(container))
    }

    fn by_volume(&self, container: &Container) -> bool {
        self.filters.values("volume").any(|wanted| {
            container.mounts.iter().any(|mount| mount.name == wanted || mount.destination == wanted)
        })
    }
}

/// Every state that a container can be listed by.
const STATUSES: &[&str] = &["created", "restarting", "running", "removing", "paused", "exited", "dead"];

fn check(filters: &Filters, key: &str, allowed: impl Fn(&str) -> bool) -> Result<(), Error> {
    match filters.values(key).find(|value| !allowed(value)) {
        Some(value) => Err(invalid(format!("invalid filter '{key}={value}'"))),
        None => Ok(()),
    }
}

/// An image whose containers are asked for.
struct Ancestor {
    /// Its id; the name that was given if no image has it.
    id: String,
    /// Its layers, as chain ids: the last one stands for all of them.
    layers: Vec<Digest>,
}

impl Ancestor {
    fn find(daemon: &Daemon, name: &str) -> Self {
        match daemon.engine.images().get(name) {
            Ok(image) => Self { id: image.id.to_string(), layers: image.chain_ids.to_vec() },
            Err(_) => Self { id: name.to_owned(), layers: Vec::new() },
        }
    }

    /// Whether a container is of the image, or of one that has the same layers and more on top.
    fn is_of(&self, container: &Container) -> bool {
        let built_on = || match self.layers.len() {
            0 => false,
            count => container.layers.len() > count && container.layers.get(count - 1) == self.layers.last(),
        };
        self.id == container.image_id || self.id == container.config.image || built_on()
    }
}

/// `80`, `80/tcp` or `8000-9000/udp`.
fn ports(filters: &Filters, key: &str) -> Result<Vec<(Port, Port)>, Error> {
    let parse = |text: &str| -> Result<(Port, Port), Error> {
        let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (low, high) = numbers.split_once('-').unwrap_or((numbers, numbers));
        Ok((format!("{low}/{protocol}").parse()?, format!("{high}/{protocol}").parse()?))
    };
    filters.values(key).map(parse).collect()
}
