//! `-v`, `--mount` and the like, read into mount points. Pure.

use crate::model::{MountKind, MountPoint, MountSpec};
use crate::{Error, Result};

/// Reads one `-v`: "source:destination[:options]".
pub(super) fn bind(text: &str) -> Result<MountPoint> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let within = |error: Error| error.within(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] => ("", destination, ""),
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(invalid()),
    };
    if parts.len() > 1 && source.is_empty() {
        return Err(invalid());
    }
    let kind = if source.starts_with('/') { MountKind::Bind } else { MountKind::Volume };
    let mut mount = MountPoint {
        kind,
        destination: destination_of(kind, destination).map_err(within)?,
        mode: mode.into(),
        rw: true,
        copy: kind == MountKind::Volume,
        create_source: kind == MountKind::Bind,
        ..MountPoint::default()
    };
    match kind {
        MountKind::Bind => {
            mount.source = clean(source);
            mount.propagation = "rprivate".into();
        }
        _ => mount.name = source.into(),
    }
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        option(&mut mount, word).ok_or_else(|| Error::invalid(format!("invalid mode: {mode}")))?;
    }
    Ok(mount)
}

fn option(mount: &mut MountPoint, word: &str) -> Option<()> {
    let is_bind = mount.kind == MountKind::Bind;
    match word {
        "rw" => mount.rw = true,
        "ro" => mount.rw = false,
        "nocopy" if !is_bind => mount.copy = false,
        // Labels of SELinux, and the consistency of other systems' file sharing.
        "z" | "Z" | "consistent" | "cached" | "delegated" | "default" => {}
        "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" if is_bind => {
            mount.propagation = word.into();
        }
        _ => return None,
    }
    Some(())
}

/// Reads one `--mount`.
pub(super) fn mount(spec: &MountSpec) -> Result<MountPoint> {
    let within =
        |error: Error| error.within(format!("invalid mount config for type \"{}\"", spec.kind.name()));
    if spec.target.is_empty() {
        return Err(within(Error::invalid("field Target must not be empty")));
    }
    let destination = destination_path(&spec.target).map_err(within)?;
    let mut mount = MountPoint {
        kind: spec.kind,
        destination,
        rw: !spec.read_only,
        spec: Some(spec.clone()),
        ..MountPoint::default()
    };
    match spec.kind {
        MountKind::Bind => {
            if spec.source.is_empty() {
                return Err(within(Error::invalid("field Source must not be empty")));
            }
            if !spec.source.starts_with('/') {
                return Err(within(Error::invalid(format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    spec.source
                ))));
            }
            mount.source = clean(&spec.source);
            let bind = spec.bind.clone().unwrap_or_default();
            mount.create_source = bind.create_mountpoint;
            mount.propagation =
                if bind.propagation.is_empty() { "rprivate".into() } else { bind.propagation };
        }
        MountKind::Volume => {
            let volume = spec.volume.clone().unwrap_or_default();
            if !volume.subpath.is_empty() {
                return Err(Error::not_implemented("mounting a part of a volume is not supported yet"));
            }
            mount.name.clone_from(&spec.source);
            mount.driver = volume.driver;
            mount.copy = !volume.no_copy;
        }
        MountKind::Tmpfs => {
            if !spec.source.is_empty() {
                return Err(within(Error::invalid("field Source must not be specified")));
            }
        }
        MountKind::Image | MountKind::NamedPipe | MountKind::Cluster => {
            return Err(Error::not_implemented(format!(
                "mounts of type {} are not supported yet",
                spec.kind.name()
            )));
        }
    }
    Ok(mount)
}

/// The anonymous volume of an image's VOLUME or of `-v /path`.
pub(super) fn anonymous(destination: &str) -> Result<MountPoint> {
    let kind = MountKind::Volume;
    let destination = destination_of(kind, destination)?;
    Ok(MountPoint { kind, destination, rw: true, copy: true, ..MountPoint::default() })
}

fn destination_of(kind: MountKind, text: &str) -> Result<String> {
    destination_path(text)
        .map_err(|error| error.within(format!("invalid mount config for type \"{}\"", kind.name())))
}

/// A path in the container that may be mounted on.
pub(super) fn destination_path(text: &str) -> Result<String> {
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{text}' mount path must be absolute")));
    }
    let path = clean(text);
    // A volume below /proc would take the masks away that hide the host (CVE-2019-16884).
    match path.as_str() {
        "/" => Err(Error::invalid("invalid specification: destination can't be '/'")),
        path if path.starts_with("/proc/") => {
            Err(Error::invalid(format!("\"{path}\" cannot be mounted because it is inside \"/proc\"")))
        }
        _ => Ok(path),
    }
}

/// The same path without "//", ".", ".." and a slash at the end.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_bind() {
        let found = bind("/src/../a:/b/:ro,rslave").unwrap();
        assert_eq!(
            (found.kind, found.source.as_str(), found.destination.as_str()),
            (MountKind::Bind, "/a", "/b")
        );
        assert_eq!((found.rw, found.propagation.as_str(), found.create_source), (false, "rslave", true));
        let found = bind("data:/var/lib/x:nocopy").unwrap();
        assert_eq!((found.kind, found.name.as_str(), found.copy), (MountKind::Volume, "data", false));
        assert!(bind("/only").unwrap().name.is_empty());
    }

    #[test]
    fn wrong_binds_are_refused_in_dockers_words() {
        let message = |text: &str| bind(text).unwrap_err().message;
        assert_eq!(message("a:b:c:d"), "invalid volume specification: 'a:b:c:d'");
        assert_eq!(message("/a:/b:frob"), "invalid mode: frob");
        assert_eq!(
            message("/a:b"),
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' \
             mount path must be absolute"
        );
        assert!(message("/a:/").ends_with("invalid specification: destination can't be '/'"));
        assert!(bind("data:/b:rshared").is_err());
        assert!(bind("/x:/proc/sys").is_err());
    }

    #[test]
    fn wrong_mounts_are_refused() {
        let spec = |kind, source: &str, target: &str| MountSpec {
            kind,
            source: source.into(),
            target: target.into(),
            ..MountSpec::default()
        };
        for wrong in [
            spec(MountKind::Bind, "", "/a"),
            spec(MountKind::Bind, "a", "/a"),
            spec(MountKind::Bind, "/a", ""),
            spec(MountKind::Tmpfs, "/a", "/a"),
            spec(MountKind::Volume, "a", "b"),
        ] {
            assert!(mount(&wrong).is_err(), "{wrong:?}");
        }
        assert!(mount(&spec(MountKind::Tmpfs, "", "/a")).is_ok());
    }
}
