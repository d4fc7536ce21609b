//! Which devices a request means: by driver, or by what they can do.

use super::{Edits, Registry, nvidia};
use crate::model::DeviceRequest;
use crate::{Error, Result};

/// Drivers of graphics processors: their kind of device, and what they can do beside "gpu" and their own name.
const DRIVERS: [(&str, &str, &[&str]); 2] = [
    ("nvidia", "nvidia.com/gpu", &["compute", "compat32", "graphics", "utility", "video", "display"]),
    ("amd", "amd.com/gpu", &[]),
];

/// What a container gets for a request.
pub(super) fn edits(request: &DeviceRequest, registry: &Registry) -> Result<Vec<Edits>> {
    match (names(request, registry), nvidia::hook().zip(by_hook(request))) {
        (Err(_), Some((hook, able))) if !sets_both(request) => Ok(vec![nvidia::edits(request, &hook, able)]),
        (names, _) => registry.edits(&names?),
    }
}

/// Whether NVIDIA's hook can have been meant: the capabilities of its driver.
fn by_hook(request: &DeviceRequest) -> Option<&'static [&'static str]> {
    let (name, _, more) = DRIVERS[0];
    let wanted = request.driver.is_empty() || request.driver == name;
    let able = wanted && request.capabilities.iter().flatten().any(|needed| all_of(needed, name, more));
    able.then_some(more)
}

fn all_of(needed: &[String], name: &str, more: &[&str]) -> bool {
    needed.iter().all(|one| one == "gpu" || one == name || more.contains(&one.as_str()))
}

fn sets_both(request: &DeviceRequest) -> bool {
    request.count != 0 && request.device_ids.as_ref().is_some_and(|ids| !ids.is_empty())
}

/// The full names of the devices.
fn names(request: &DeviceRequest, registry: &Registry) -> Result<Vec<String>> {
    let ids = request.device_ids.as_deref().unwrap_or_default();
    if request.driver == "cdi" {
        if request.count != 0 {
            return Err(Error::invalid("unexpected count in CDI device request"));
        }
        if request.options.iter().flatten().next().is_some() {
            return Err(Error::invalid("unexpected options in CDI device request"));
        }
        return Ok(ids.to_vec());
    }
    let able = |(name, kind, more): &&(&str, &str, &[&str])| {
        let wanted = request.driver.is_empty() || request.driver == *name;
        let there = registry.devices.keys().any(|device| device.split('=').next() == Some(*kind));
        wanted && there && request.capabilities.iter().flatten().any(|needed| all_of(needed, name, more))
    };
    let Some((_, kind, _)) = DRIVERS.iter().find(able) else {
        return Err(Error::invalid(format!(
            "could not select device driver \"{}\" with capabilities: {}",
            request.driver,
            shown(request.capabilities.as_deref().unwrap_or_default())
        )));
    };
    if sets_both(request) {
        return Err(Error::invalid("cannot set both Count and DeviceIDs on device request"));
    }
    let named = |id: &dyn std::fmt::Display| format!("{kind}={id}");
    Ok(match request.count {
        0 => ids.iter().map(|id| named(id)).collect(),
        count if count < 0 => vec![named(&"all")],
        count => (0..count).map(|number| named(&number)).collect(),
    })
}

/// As Go prints lists of lists.
fn shown(capabilities: &[Vec<String>]) -> String {
    let inner: Vec<_> = capabilities.iter().map(|words| format!("[{}]", words.join(" "))).collect();
    format!("[{}]", inner.join(" "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn gpus(count: i64, ids: &[&str]) -> DeviceRequest {
        DeviceRequest {
            count,
            device_ids: Some(ids.iter().map(|id| (*id).to_owned()).collect()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        }
    }

    #[test]
    fn nobody_drives_what_is_not_there() {
        let error = names(&gpus(-1, &[]), &Registry::default()).unwrap_err();
        assert_eq!(error.message, "could not select device driver \"\" with capabilities: [[gpu]]");
    }

    #[test]
    fn gpus_are_devices_of_their_vendors() {
        let mut registry = Registry::default();
        let file = super::super::Specification {
            kind: "nvidia.com/gpu".into(),
            devices: Vec::new(),
            container_edits: Default::default(),
        };
        registry.devices.insert("nvidia.com/gpu=all".into(), (Arc::new(file), 0));
        let names = |request: DeviceRequest| super::names(&request, &registry);
        assert_eq!(names(gpus(-1, &[])).unwrap(), ["nvidia.com/gpu=all"]);
        assert_eq!(names(gpus(2, &[])).unwrap(), ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]);
        assert_eq!(names(gpus(0, &["GPU-5"])).unwrap(), ["nvidia.com/gpu=GPU-5"]);
        assert!(names(gpus(1, &["GPU-5"])).is_err());
        let odd = DeviceRequest { capabilities: Some(vec![vec!["tpu".into()]]), ..gpus(1, &[]) };
        assert!(names(odd).unwrap_err().message.ends_with("with capabilities: [[tpu]]"));
    }
}
