//! `GET /containers/json`: the list with its filters.

use std::sync::Arc;

use hull_api::filters::Filters;
use hull_engine::model::{Container, HostPort, Port, Ports, Status};
use hull_engine::{Engine, Error};
use hull_oci::Digest;
use regex_lite::Regex;

use crate::Daemon;
use crate::call::{Call, List, Outcome, Query, invalid};
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
    // A filter by state, or a limit, asks for all.
    let all = query.flag("all") || limit.is_some() || filters.values("status").next().is_some();
    let containers = daemon.engine.containers();
    let mut link_names = Engine::link_names(&containers);
    let chosen = Choice::new(&daemon, query, &filters, &containers, all)?;
    let wanted = containers.into_iter().filter(|container| chosen.wants(container));
    let mut list = List::new(call.version);
    let mut images = render::ImageNames::new(&daemon);
    for container in wanted.take(limit.unwrap_or(usize::MAX)) {
        let size = match query.flag("size") {
            true => daemon.engine.container_size(&container.id).await.ok(),
            false => None,
        };
        let mut summary = render::summary(&container, size);
        summary.names.extend(link_names.remove(&container.id).unwrap_or_default());
        summary.image = images.name_of(&container);
        list.push(summary)?;
    }
    list.done()
}

/// The filters, read once.
struct Choice<'f> {
    filters: &'f Filters,
    all: bool,
    names: Vec<Regex>,
    /// Whole ids; none if nobody asked for one.
    ids: Option<Vec<String>>,
    task: Option<bool>,
    exited: Vec<i32>,
    before: Option<Arc<Container>>,
    since: Option<Arc<Container>>,
    ancestors: Vec<Ancestor>,
    networks: Vec<String>,
    publish: Vec<Ports>,
    expose: Vec<Ports>,
}

impl<'f> Choice<'f> {
    fn new(
        daemon: &Daemon,
        query: &Query,
        filters: &'f Filters,
        containers: &[Arc<Container>],
        all: bool,
    ) -> Result<Self, Error> {
        // What is no regular expression matches nothing but itself.
        let regex = |text: &str| {
            Regex::new(text).or_else(|_| Regex::new(&format!("^/?{}$", regex_lite::escape(text)))).ok()
        };
        let other = |key: &str| -> Result<Option<Arc<Container>>, Error> {
            // What was a parameter before there were filters still is one.
            let name = filters.values(key).last().or_else(|| query.get(key));
            name.map(|name| daemon.engine.container(name)).transpose()
        };
        check(filters, "status", "state", STATUSES)?;
        check(filters, "health", "health", HEALTHS)?;
        let exited = filters.values("exited").map(|code| {
            let wrong =
                || format!("invalid filter 'exited={code}': strconv.Atoi: parsing {code:?}: invalid syntax");
            code.parse().map_err(|_| invalid(wrong()))
        });
        let ids = filters.values("id").filter_map(|prefix| {
            let mut found = containers.iter().filter(|container| container.id.starts_with(prefix));
            found.next().filter(|_| found.next().is_none()).map(|container| container.id.clone())
        });
        Ok(Self {
            filters,
            all,
            names: filters.values("name").filter_map(regex).collect(),
            ids: filters.values("id").next().is_some().then(|| ids.collect()),
            task: filters.flag("is-task").map_err(|why| invalid(why.to_string()))?,
            exited: exited.collect::<Result<_, _>>()?,
            before: other("before")?,
            since: other("since")?,
            ancestors: filters.values("ancestor").map(|name| Ancestor::find(daemon, name)).collect(),
            networks: filters.values("network").map(str::to_owned).collect(),
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
            && self.task != Some(true)
    }

    fn by_name(&self, container: &Container) -> bool {
        let name = |regex: &Regex| {
            regex.is_match(&format!("/{}", container.name)) || regex.is_match(&container.name)
        };
        (self.names.is_empty() || self.names.iter().any(name))
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&container.id))
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
        let on = |name: &str, id: &str| {
            self.networks
                .iter()
                .any(|wanted| wanted == name || (!wanted.is_empty() && id.starts_with(wanted.as_str())))
        };
        let mut joined = container.network.networks.iter();
        (self.networks.is_empty() || joined.any(|(name, on_it)| on(name, &on_it.network_id)))
            && (self.publish.is_empty() && self.expose.is_empty() || self.by_port(container))
    }

    /// By a port of the host that leads to it, or by one of its own; either is enough.
    fn by_port(&self, container: &Container) -> bool {
        container.network.ports.iter().any(|(ports, places)| {
            let meets = |wanted: &Ports, first: u16, last: u16| {
                wanted.protocol == ports.protocol && wanted.first <= last && first <= wanted.last
            };
            let published = places.iter().flatten().filter_map(HostPort::range);
            self.expose.iter().any(|wanted| meets(wanted, ports.first, ports.last))
                || published
                    .into_iter()
                    .any(|(first, last)| self.publish.iter().any(|wanted| meets(wanted, first, last)))
        })
    }

    fn by_ancestor(&self, container: &Container) -> bool {
        self.ancestors.iter().any(|ancestor| ancestor.is_of(container))
    }

    fn by_volume(&self, container: &Container) -> bool {
        self.filters.values("volume").any(|wanted| {
            container.mounts.iter().any(|mount| {
                let source = if mount.name.is_empty() { &mount.source } else { &mount.name };
                source == wanted || mount.destination == wanted
            })
        })
    }
}

/// Every state that a container can be listed by, in Docker's order.
const STATUSES: &[&str] = &["created", "running", "paused", "restarting", "removing", "exited", "dead"];
/// And every health.
const HEALTHS: &[&str] = &["none", "starting", "healthy", "unhealthy"];

fn check(filters: &Filters, key: &str, what: &str, allowed: &[&str]) -> Result<(), Error> {
    let other = filters.values(key).find(|value| !allowed.contains(value));
    other.map_or(Ok(()), |value| {
        Err(invalid(format!(
            "invalid filter '{key}={value}': invalid value for {what} ({value}): must be one of {}",
            allowed.join(", ")
        )))
    })
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
fn ports(filters: &Filters, key: &str) -> Result<Vec<Ports>, Error> {
    let parse = |text: &str| -> Result<Ports, Error> {
        if text.contains(':') {
            return Err(invalid(format!("filter for '{key}' should not contain ':': {text}")));
        }
        let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (low, high) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let port = |number: &str| -> Result<Port, Error> {
            let parsed = format!("{number}/{protocol}").parse::<Port>();
            parsed.map_err(|why| invalid(format!("error while looking up for {key} {text}: {why}")))
        };
        match (port(low)?, port(high)?) {
            (low, high) if low.number <= high.number => {
                Ok(Ports { first: low.number, last: high.number, protocol: low.protocol })
            }
            _ => Err(invalid(format!(
                "error while looking up for {key} {text}: invalid range specified for port: {numbers}"
            ))),
        }
    };
    filters.values(key).map(parse).collect()
}
