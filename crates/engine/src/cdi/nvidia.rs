//! NVIDIA's older way: a hook of its container toolkit finds the devices in the container's environment. Taken where there is
//! the hook and no CDI specification.

use std::path::PathBuf;

use super::{Edits, Hook};
use crate::model::DeviceRequest;

/// The program.
const HOOK: &str = "nvidia-container-runtime-hook";

/// Where the hook is: in the PATH.
pub(super) fn hook() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(HOOK)).find(|program| program.is_file())
}

/// What a container gets for a request. `able`: the capabilities of the driver.
pub(super) fn edits(request: &DeviceRequest, hook: &std::path::Path, able: &[&str]) -> Edits {
    let ids = request.device_ids.as_deref().unwrap_or_default();
    let visible = match request.count {
        _ if !ids.is_empty() => Some(ids.join(",")),
        0 => None,
        count if count < 0 => Some("all".to_owned()),
        count => Some((0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(",")),
    };
    let wanted = request.capabilities.iter().flatten().next().into_iter().flatten();
    let wanted: Vec<&str> = wanted.map(String::as_str).filter(|one| able.contains(one)).collect();
    let capabilities = (!wanted.is_empty()).then(|| wanted.join(","));
    let variable = |name: &str, value: Option<String>| value.map(|value| format!("{name}={value}"));
    let env =
        [variable("NVIDIA_VISIBLE_DEVICES", visible), variable("NVIDIA_DRIVER_CAPABILITIES", capabilities)];
    let own = std::env::vars().map(|(name, value)| format!("{name}={value}"));
    Edits {
        env: env.into_iter().flatten().collect(),
        hooks: vec![Hook {
            hook_name: "prestart".to_owned(),
            path: hook.to_string_lossy().into_owned(),
            args: vec![HOOK.to_owned(), "prestart".to_owned()],
            env: own.collect(),
            timeout: None,
        }],
        ..Edits::default()
    }
}
