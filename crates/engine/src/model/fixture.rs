//! A container for tests.

use jiff::Timestamp;

use super::{Container, ContainerConfig, HostConfig, NetworkSettings, State};

/// A container that runs `true`.
pub(crate) fn fixture() -> Container {
    let id = "0123456789abcdef".repeat(4);
    Container {
        name: "quiet_cook".into(),
        created: Timestamp::UNIX_EPOCH,
        path: "true".into(),
        args: Vec::new(),
        image_id: String::new(),
        image_manifest: String::new(),
        platform: "linux".into(),
        layers: Vec::new(),
        config: ContainerConfig { hostname: id[..12].into(), image: "busybox".into(), ..Default::default() },
        host: HostConfig::default(),
        mounts: Vec::new(),
        network: NetworkSettings::default(),
        state: State::default(),
        restart_count: 0,
        directory: "/data/containers/x".into(),
        resolv_conf_path: "/data/containers/x/resolv.conf".into(),
        hostname_path: "/data/containers/x/hostname".into(),
        hosts_path: "/data/containers/x/hosts".into(),
        log_path: "/data/containers/x/json.log".into(),
        exec_ids: Vec::new(),
        id,
    }
}
