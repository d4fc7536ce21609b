//! One line of `GET /containers/json`.

use std::collections::HashMap;
use std::time::Duration;

use hull_api::wire::container as wire;
use hull_engine::model::{Container, HealthStatus, Status, by_port};
use hull_oci::Digest;
use jiff::Timestamp;

use super::container::{endpoint, signed};
use crate::{Daemon, parse};

/// Bytes of the writable layer, and with the image.
pub(crate) type SizeOf = Option<(u64, u64)>;

/// A container in a list.
pub(crate) fn summary(container: &Container, size: SizeOf) -> wire::ContainerSummary {
    let networks = container.network.networks.iter();
    wire::ContainerSummary {
        id: container.id.clone(),
        names: vec![format!("/{}", container.name)],
        image: container.config.image.clone(),
        image_id: container.image_id.clone(),
        command: command(container),
        created: container.created.as_second(),
        ports: ports(container),
        size_rw: size.map(|(writable, _)| signed(writable)).filter(|bytes| *bytes != 0),
        size_root_fs: size.map(|(_, all)| signed(all)),
        labels: container.config.labels.clone(),
        state: container.state.status.name().to_owned(),
        status: status(container, Timestamp::now()),
        host_config: wire::SummaryHostConfig {
            network_mode: container.host.network_mode.clone(),
            annotations: container.host.annotations.clone(),
        },
        network_settings: wire::SummaryNetworkSettings {
            networks: networks.map(|(name, on)| (name.clone(), endpoint(on))).collect(),
        },
        mounts: container.mounts.iter().map(parse::wire_mount_point).collect(),
        health: Some(health_summary(container)),
        ..wire::ContainerSummary::default()
    }
}

/// What images' names mean now.
pub(crate) struct ImageNames<'d> {
    daemon: &'d Daemon,
    /// By id, then by name.
    known: HashMap<String, HashMap<String, bool>>,
}

impl<'d> ImageNames<'d> {
    pub(crate) fn new(daemon: &'d Daemon) -> Self {
        Self { daemon, known: HashMap::new() }
    }

    /// What a container's image is called: by its id, if the name it was made by means another one by now.
    pub(crate) fn name_of(&mut self, container: &Container) -> String {
        let (name, id) = (&container.config.image, &container.image_id);
        let means = || {
            let images = self.daemon.engine.images();
            Digest::parse(id).is_ok_and(|id| images.means(name, &id))
        };
        let still = match self.known.get(id).and_then(|names| names.get(name)) {
            Some(still) => *still,
            None => *self.known.entry(id.clone()).or_default().entry(name.clone()).or_insert_with(means),
        };
        if still { name.clone() } else { id.clone() }
    }
}

/// Program and arguments in one line; an argument with spaces is quoted.
fn command(container: &Container) -> String {
    let quoted = container.args.iter().map(|argument| match argument.contains(' ') {
        true => format!("'{argument}'"),
        false => argument.clone(),
    });
    std::iter::once(container.path.clone()).chain(quoted).collect::<Vec<_>>().join(" ")
}

fn ports(container: &Container) -> Vec<wire::Port> {
    let all = container.network.ports.iter();
    let all = by_port(all.map(|(ports, places)| (ports, places.as_deref().unwrap_or_default())));
    let mut list = Vec::new();
    for (port, places) in &all {
        let exposed = wire::Port {
            private_port: port.number,
            kind: port.protocol.name().to_owned(),
            ..wire::Port::default()
        };
        if places.is_empty() {
            list.push(exposed.clone());
        }
        list.extend(places.iter().map(|place| wire::Port {
            ip: place.host_ip.clone(),
            public_port: place.host_port.parse().unwrap_or(0),
            ..exposed.clone()
        }));
    }
    list
}

/// For people: "Up 2 minutes (healthy)", "Exited (0) 3 seconds ago".
fn status(container: &Container, now: Timestamp) -> String {
    let state = &container.state;
    let since = |moment: Option<Timestamp>| {
        let past = moment.map(|moment| now.duration_since(moment));
        human(past.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default())
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}{}", since(state.started_at), health(container)),
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
    }
}

fn health_summary(container: &Container) -> wire::SummaryHealth {
    let health = container.state.health.as_ref().filter(|_| container.has_healthcheck());
    wire::SummaryHealth {
        status: health.map_or("none", |health| health.status.name()).to_owned(),
        failing_streak: health.map_or(0, |health| i64::from(health.failing_streak)),
    }
}

fn health(container: &Container) -> &'static str {
    match container.state.health.as_ref().filter(|_| container.has_healthcheck()).map(|health| health.status)
    {
        None => "",
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
    }
}

/// A duration as Docker says it to people: one unit, rounded down, coarser the longer it is.
pub(crate) fn human(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers() {
        let said = |seconds| human(Duration::from_secs(seconds));
        assert_eq!(said(0), "Less than a second");
        assert_eq!(said(1), "1 second");
        assert_eq!(said(59), "59 seconds");
        assert_eq!(said(61), "About a minute");
        assert_eq!(said(3599), "59 minutes");
        assert_eq!(said(3600), "About an hour");
        assert_eq!(said(7200), "2 hours");
        assert_eq!(said(86400 * 3), "3 days");
        assert_eq!(said(86400 * 21), "3 weeks");
        assert_eq!(said(86400 * 90), "3 months");
        assert_eq!(said(86400 * 1000), "2 years");
    }
}
