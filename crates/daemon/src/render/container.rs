//! `GET /containers/{id}/json`.

use std::path::Path;

use hull_api::wire::container as wire;
use hull_api::wire::network::{BridgeSettings, EndpointIpam, EndpointSettings, NetworkSettings};
use hull_engine::Places;
use hull_engine::model::{self, Container, Status};

use super::{time, time_or_never};
use crate::parse;

/// Everything about a container, as Docker names it. `size`: bytes of the writable layer, and with the image.
pub(crate) fn inspect(
    container: &Container,
    places: Option<&Places>,
    size: Option<(u64, u64)>,
) -> wire::ContainerInspect {
    // The files are there from the first start on.
    let begun = container.state.ever_started;
    let text = |path: &Path| if begun { path.to_string_lossy().into_owned() } else { String::new() };
    wire::ContainerInspect {
        id: container.id.clone(),
        created: time(container.created),
        path: container.path.clone(),
        args: container.args.clone(),
        state: state(&container.state, container.has_healthcheck()),
        image: container.image_id.clone(),
        resolv_conf_path: text(&container.resolv_conf_path),
        hostname_path: text(&container.hostname_path),
        hosts_path: text(&container.hosts_path),
        log_path: text(&container.log_path),
        app_armor_profile: container.apparmor_profile().unwrap_or_default().to_owned(),
        name: format!("/{}", container.name),
        restart_count: i64::from(container.restart_count),
        driver: "overlay2".to_owned(),
        platform: container.platform.clone(),
        exec_ids: Some(container.exec_ids.clone()).filter(|ids| !ids.is_empty()),
        host_config: parse::wire_host_config(&container.host),
        graph_driver: graph_driver(Some(&container.id), places),
        size_rw: size.map(|(writable, _)| signed(writable)),
        size_root_fs: size.map(|(_, all)| signed(all)),
        mounts: container.mounts.iter().map(parse::wire_mount_point).collect(),
        config: config(container),
        network_settings: networks(container),
        ..wire::ContainerInspect::default()
    }
}

/// `id`: the container's.
pub(super) fn graph_driver(id: Option<&str>, places: Option<&Places>) -> wire::GraphDriver {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let data = places.map(|places| {
        let lower: Vec<_> = places.lower.iter().map(|tree| path(tree)).collect();
        let named = [
            ("ID", id.map(str::to_owned)),
            ("LowerDir", (!lower.is_empty()).then(|| lower.join(":"))),
            ("MergedDir", places.merged.as_deref().map(path)),
            ("UpperDir", Some(path(&places.upper))),
            ("WorkDir", places.work.as_deref().map(path)),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    });
    wire::GraphDriver { data, name: "overlay2".to_owned() }
}

/// The configuration; older clients look there for the hardware address that somebody has chosen.
fn config(container: &Container) -> wire::ContainerConfig {
    let mut config = parse::wire_config(&container.config);
    let mode = match container.host.network_mode.as_str() {
        "" | "default" => "bridge",
        mode => mode,
    };
    if let Some(own) = container.network.networks.get(mode).filter(|_| config.mac_address.is_empty()) {
        config.mac_address.clone_from(&own.wanted_mac);
    }
    config
}

/// A count as Go's int64.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn state(state: &model::State, has_healthcheck: bool) -> wire::State {
    wire::State {
        status: state.status.name().to_owned(),
        running: state.status.is_running() || state.status == Status::Restarting,
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: i64::from(state.pid),
        exit_code: i64::from(state.exit_code),
        error: state.error.clone(),
        started_at: time_or_never(state.started_at),
        finished_at: time_or_never(state.finished_at),
        health: state.health.as_ref().filter(|_| has_healthcheck).map(health),
    }
}

fn health(health: &model::Health) -> wire::Health {
    let probe = |probe: &model::HealthProbe| wire::HealthProbe {
        start: time(probe.start),
        end: time(probe.end),
        exit_code: i64::from(probe.exit_code),
        output: probe.output.clone(),
    };
    wire::Health {
        status: health.status.name().to_owned(),
        failing_streak: i64::from(health.failing_streak),
        log: Some(health.log.iter().map(probe).collect()),
    }
}

/// The networks; older clients see the default bridge's fields once more.
fn networks(container: &Container) -> NetworkSettings {
    let settings = &container.network;
    let bridge = settings.networks.get("bridge").map(endpoint).unwrap_or_default();
    NetworkSettings {
        of_bridge: Some(BridgeSettings {
            endpoint_id: bridge.endpoint_id,
            gateway: bridge.gateway,
            global_ipv6_address: bridge.global_ipv6_address,
            global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
            ip_address: bridge.ip_address,
            ip_prefix_len: bridge.ip_prefix_len,
            ipv6_gateway: bridge.ipv6_gateway,
            mac_address: bridge.mac_address,
            ..BridgeSettings::default()
        }),
        sandbox_id: settings.sandbox_id.clone(),
        sandbox_key: settings.sandbox_key.clone(),
        ports: ports(settings),
        networks: settings.networks.iter().map(|(name, on)| (name.clone(), endpoint(on))).collect(),
    }
}

pub(crate) fn ports(settings: &model::NetworkSettings) -> hull_api::wire::network::PortMap {
    let published = settings.ports.iter().filter_map(|(ports, places)| Some((ports, places.as_deref()?)));
    let exposed = settings.ports.iter().filter(|(_, places)| places.is_none());
    let exposed = exposed.flat_map(|(ports, _)| ports.each()).map(|port| (port.to_string(), None));
    let published = model::by_port(published).into_iter();
    let published = published.map(|(port, places)| (port, places.iter().map(parse::wire_binding).collect()));
    exposed.chain(published.map(|(port, places)| (port.to_string(), Some(places)))).collect()
}

/// One endpoint.
pub(super) fn endpoint(on: &model::EndpointSettings) -> EndpointSettings {
    let text = |address: Option<String>| address.unwrap_or_default();
    EndpointSettings {
        ipam_config: on.ipam_given.then(|| EndpointIpam {
            ipv4_address: text(on.wanted_ipv4.map(|address| address.to_string())),
            ipv6_address: text(on.wanted_ipv6.map(|address| address.to_string())),
            link_local_ips: on.link_local_ips.iter().map(ToString::to_string).collect(),
        }),
        links: on.links.clone(),
        aliases: on.aliases.clone(),
        mac_address: on.mac_address.clone(),
        driver_opts: on.driver_opts.clone(),
        gw_priority: on.gw_priority,
        network_id: on.network_id.clone(),
        endpoint_id: on.endpoint_id.clone(),
        gateway: on.gateway.clone(),
        ip_address: on.ip_address.clone(),
        ip_prefix_len: i64::from(on.ip_prefix_len),
        ipv6_gateway: on.ipv6_gateway.clone(),
        global_ipv6_address: on.global_ipv6_address.clone(),
        global_ipv6_prefix_len: i64::from(on.global_ipv6_prefix_len),
        dns_names: on.dns_names.clone(),
    }
}
