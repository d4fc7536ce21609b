//! Traffic class and interface priorities: version 1 only, where they are controllers.

use hull_oci::runtime::LinuxNetwork;

use super::Setting;
use crate::error::{Error, Result};
use crate::hierarchy::Dialect;

pub(super) fn class(dialect: Dialect, network: &LinuxNetwork) -> Result<Vec<Setting>> {
    let settings: Vec<_> = network.class_id().iter().map(|id| Setting::new("net_cls.classid", id)).collect();
    only_v1(dialect, settings)
}

pub(super) fn priorities(dialect: Dialect, network: &LinuxNetwork) -> Result<Vec<Setting>> {
    let line = |p: &hull_oci::runtime::LinuxInterfacePriority| format!("{} {}", p.name(), p.priority());
    let settings: Vec<_> =
        network.priorities().iter().flatten().map(|p| Setting::new("net_prio.ifpriomap", line(p))).collect();
    only_v1(dialect, settings)
}

fn only_v1(dialect: Dialect, settings: Vec<Setting>) -> Result<Vec<Setting>> {
    match (dialect, settings.first()) {
        (Dialect::V2, Some(setting)) => {
            Err(Error::Unsupported(format!("cgroup version 2 has no {}", setting.file)))
        }
        _ => Ok(settings),
    }
}
