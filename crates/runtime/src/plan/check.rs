//! What a spec must not say, whatever else is in it.

use std::collections::HashSet;

use hull_oci::runtime::{Process, Spec};

use crate::create::Common;
use crate::init::attributes;
use crate::{Failure, hooks, options};

/// Checks a whole spec.
pub(super) fn spec(spec: &Spec) -> Result<(), Failure> {
    version(spec.version())?;
    process(super::process(spec)?)?;
    propagation(spec)?;
    Common::of(spec).map_or(Ok(()), |common| common.check()).map_err(|text| Failure::text("spec", text))?;
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

fn propagation(spec: &Spec) -> Result<(), Failure> {
    let word = spec.linux().as_ref().and_then(|linux| attributes::given(linux.rootfs_propagation()));
    match word.filter(|word| options::propagation(word).is_none()) {
        Some(word) => Err(Failure::text("rootfs", format!("the propagation {word:?} is not known"))),
        None => Ok(()),
    }
}

/// The label of the container's own file systems, if it is to have one.
pub(super) fn mount_label(spec: &Spec) -> Result<Option<&str>, Failure> {
    let label = spec.linux().as_ref().and_then(|linux| attributes::given(linux.mount_label()));
    match label {
        Some(label) if !attributes::has_selinux() => {
            let text = format!("the label {label:?}: SELinux is not enabled on this host");
            Err(Failure::text("mounts", text))
        }
        label => Ok(label),
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
    attributes::check_modules(process).map_err(|(step, text)| Failure::text(step, text))
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
