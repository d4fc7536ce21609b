//! What a spec must not say, whatever else is in it.

use std::collections::HashSet;

use hull_oci::runtime::{Process, Spec};

use crate::{Failure, hooks};

/// Checks a whole spec.
pub(super) fn spec(spec: &Spec) -> Result<(), Failure> {
    version(spec.version())?;
    process(super::process(spec)?)?;
    refuse_unsupported(spec)?;
    spec.hooks().as_ref().map_or(Ok(()), hooks::check)
}

/// The specification's own version: everything of the first major version is compatible.
fn version(version: &str) -> Result<(), Failure> {
    let mut numbers = version.split(['-', '+']).next().unwrap_or_default().split('.');
    let major = numbers.next().and_then(|major| major.parse::<u32>().ok());
    let rest: Vec<_> = numbers.map(str::parse::<u32>).collect();
    match (major, rest.as_slice()) {
        (Some(1), [Ok(_), Ok(_)]) => Ok(()),
        _ => Err(Failure::text("spec", format!("ociVersion {version:?} is not supported, only 1.x.y is"))),
    }
}

/// Checks what every process must keep to.
pub(crate) fn process(process: &Process) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for limit in process.rlimits().iter().flatten() {
        if !seen.insert(limit.typ().to_string()) {
            return Err(Failure::text("limits", format!("{} is given twice", limit.typ())));
        }
    }
    Ok(())
}

/// What the specification knows and this runtime does not, rather than to leave it out silently.
fn refuse_unsupported(spec: &Spec) -> Result<(), Failure> {
    let process = super::process(spec)?;
    let linux = spec.linux().as_ref();
    let asked = [
        ("process.scheduler", process.scheduler().is_some()),
        ("process.ioPriority", process.io_priority().is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
        ("process.selinuxLabel", process.selinux_label().as_ref().is_some_and(|label| !label.is_empty())),
        ("linux.personality", linux.is_some_and(|linux| linux.personality().is_some())),
        ("linux.intelRdt", linux.is_some_and(|linux| linux.intel_rdt().is_some())),
        ("linux.memoryPolicy", linux.is_some_and(|linux| linux.memory_policy().is_some())),
        (
            "linux.netDevices",
            linux.is_some_and(|linux| linux.net_devices().iter().flatten().next().is_some()),
        ),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(Failure::text("spec", format!("{what} is not supported yet"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_first_major_version_is_taken() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.2.1+dev"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.0", "1.x.0", "one"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
