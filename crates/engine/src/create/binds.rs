//! `-v`, `--mount` and the like, read into mount points. Pure.

use std::path::{Component, Path};

use crate::model::{MountKind, MountPoint, MountSpec, TmpfsOptions};
use crate::{Error, Result};

/// Reads one `-v`: "source:destination[:options]"; a volume that it makes has the driver `driver`.
pub(super) fn bind(text: &str, driver: &str) -> Result<MountPoint> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [""] | ["", ..] => return Err(invalid()),
        [destination] => ("", destination, ""),
        // A mode without a destination.
        [_, mode] if Modes::parse(mode).is_some() => return Err(invalid()),
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(invalid()),
    };
    let modes = Modes::parse(mode).ok_or_else(|| Error::invalid(format!("invalid mode: {mode}")))?;
    let kind = if source.starts_with('/') { MountKind::Bind } else { MountKind::Volume };
    let within = |error: Error| error.within(format!("invalid volume specification: '{text}'"));
    let foreign = match kind {
        MountKind::Bind => modes.nocopy.then_some("VolumeOptions"),
        _ => modes.propagation.is_some().then_some("BindOptions"),
    };
    let destination = destination_of(kind, destination).map_err(within)?;
    if let Some(field) = foreign {
        return Err(within(extra(kind, field)));
    }
    let mut mount = MountPoint {
        kind,
        destination,
        mode: mode.into(),
        rw: !modes.read_only,
        copy: kind == MountKind::Volume && !modes.nocopy,
        create_source: kind == MountKind::Bind,
        ..MountPoint::default()
    };
    match kind {
        MountKind::Bind => {
            mount.source = clean(source);
            mount.propagation = modes.propagation.unwrap_or("rprivate").into();
        }
        _ => (mount.name, mount.driver) = (source.into(), driver.into()),
    }
    Ok(mount)
}

/// The propagation that somebody asked for a bind; empty if nobody did.
pub(super) fn wanted_propagation(mount: &MountPoint) -> &str {
    match mount.spec.as_ref().and_then(|spec| spec.bind.as_ref()) {
        Some(bind) => &bind.propagation,
        None => Modes::parse(&mount.mode).and_then(|modes| modes.propagation).unwrap_or_default(),
    }
}

/// The words behind the second colon; of each kind at most one.
#[derive(Default)]
struct Modes<'a> {
    read_only: bool,
    nocopy: bool,
    propagation: Option<&'a str>,
}

impl<'a> Modes<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut modes = Self::default();
        let mut seen = Vec::new();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let kind = match word {
                "rw" | "ro" => 0,
                // Labels of SELinux.
                "z" | "Z" => 1,
                "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => 2,
                "nocopy" => 3,
                // Of other systems' file sharing.
                "consistent" | "cached" | "delegated" => 4,
                _ => return None,
            };
            if seen.contains(&kind) {
                return None;
            }
            seen.push(kind);
            modes.read_only |= word == "ro";
            modes.nocopy |= kind == 3;
            modes.propagation = modes.propagation.or((kind == 2).then_some(word));
        }
        Some(modes)
    }
}

/// Takes "X[:mode]" of `--volumes-from` apart: whose mounts, and whether they may be written.
pub(super) fn volumes_from(text: &str) -> Result<(&str, bool)> {
    if text.is_empty() {
        return Err(Error::invalid("volumes-from specification cannot be an empty string"));
    }
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    match Modes::parse(mode) {
        Some(modes) if modes.propagation.is_none() && !modes.nocopy => Ok((name, !modes.read_only)),
        _ => Err(Error::invalid(format!("invalid mode: {mode}"))),
    }
}

/// Reads one `--mount`.
pub(super) fn mount(spec: &MountSpec) -> Result<MountPoint> {
    if spec.target.is_empty() {
        return Err(wrong(spec.kind, "field Target must not be empty"));
    }
    let mut mount = MountPoint {
        kind: spec.kind,
        destination: destination_of(spec.kind, &spec.target)?,
        rw: !spec.read_only,
        spec: Some(spec.clone()),
        ..MountPoint::default()
    };
    match spec.kind {
        MountKind::Bind => bind_spec(spec, &mut mount)?,
        MountKind::Volume => volume_spec(spec, &mut mount)?,
        MountKind::Tmpfs => tmpfs_spec(spec)?,
        MountKind::Image => image_spec(spec, &mut mount)?,
        MountKind::NamedPipe | MountKind::Cluster => return Err(wrong(spec.kind, "mount type unknown")),
    }
    Ok(mount)
}

/// The first option given that is not one of this kind.
fn only(spec: &MountSpec) -> Result<()> {
    let given = [
        ("BindOptions", spec.bind.is_some(), MountKind::Bind),
        ("VolumeOptions", spec.volume.is_some(), MountKind::Volume),
        ("ImageOptions", spec.image_subpath.is_some(), MountKind::Image),
        ("TmpfsOptions", spec.tmpfs.is_some(), MountKind::Tmpfs),
    ];
    match given.iter().find(|(_, given, kind)| *given && *kind != spec.kind) {
        Some((field, ..)) => Err(extra(spec.kind, field)),
        None => Ok(()),
    }
}

fn bind_spec(spec: &MountSpec, mount: &mut MountPoint) -> Result<()> {
    const PROPAGATION: [&str; 7] = ["", "private", "rprivate", "slave", "rslave", "shared", "rshared"];
    if spec.source.is_empty() {
        return Err(wrong(spec.kind, "field Source must not be empty"));
    }
    let bind = spec.bind.clone().unwrap_or_default();
    if !PROPAGATION.contains(&bind.propagation.as_str()) {
        return Err(wrong(spec.kind, &format!("invalid propagation mode: {}", bind.propagation)));
    }
    only(spec)?;
    if !spec.source.starts_with('/') {
        let text = format!("invalid mount path: '{}' mount path must be absolute", spec.source);
        return Err(wrong(spec.kind, &text));
    }
    if bind.read_only_non_recursive && bind.read_only_force_recursive {
        return Err(Error::invalid("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive"));
    }
    let recursion = [
        (bind.read_only_force_recursive, "ReadOnlyForceRecursive"),
        (bind.read_only_non_recursive, "ReadOnlyNonRecursive"),
    ];
    if let Some((_, option)) = recursion.iter().find(|(given, _)| *given && !spec.read_only) {
        return Err(Error::invalid(format!("mount options conflict: !ReadOnly && BindOptions.{option}")));
    }
    mount.source = clean(&spec.source);
    mount.create_source = bind.create_mountpoint;
    mount.propagation = if bind.propagation.is_empty() { "rprivate".into() } else { bind.propagation };
    Ok(())
}

fn volume_spec(spec: &MountSpec, mount: &mut MountPoint) -> Result<()> {
    only(spec)?;
    let volume = spec.volume.clone().unwrap_or_default();
    if !volume.subpath.is_empty() {
        if spec.source.is_empty() {
            return Err(wrong(spec.kind, "must not set Subpath when using anonymous volumes"));
        }
        check_subpath(spec.kind, &volume.subpath)?;
    }
    mount.name.clone_from(&spec.source);
    mount.driver = volume.driver;
    mount.copy = !volume.no_copy;
    Ok(())
}

fn image_spec(spec: &MountSpec, mount: &mut MountPoint) -> Result<()> {
    only(spec)?;
    if spec.source.is_empty() {
        return Err(wrong(spec.kind, "field Source must not be empty"));
    }
    if let Some(subpath) = spec.image_subpath.as_ref().filter(|subpath| !subpath.is_empty()) {
        check_subpath(spec.kind, subpath)?;
    }
    mount.name.clone_from(&spec.source);
    mount.rw = false;
    Ok(())
}

/// A path that does not leave the directory it begins in, whatever is there.
fn check_subpath(kind: MountKind, subpath: &str) -> Result<()> {
    let mut depth = 0i32;
    for part in Path::new(subpath).components() {
        depth += match part {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            _ => -1,
        };
        if depth < 0 {
            break;
        }
    }
    match depth >= 0 && !subpath.starts_with('/') {
        true => Ok(()),
        false => Err(wrong(kind, "subpath must be a relative path within the volume")),
    }
}

fn tmpfs_spec(spec: &MountSpec) -> Result<()> {
    only(spec)?;
    if !spec.source.is_empty() {
        return Err(extra(spec.kind, "Source"));
    }
    let options = |tmpfs: &TmpfsOptions| tmpfs.options.clone();
    for option in spec.tmpfs.iter().flat_map(options) {
        match option.as_slice() {
            [name] | [name, _] if !matches!(name.as_str(), "exec" | "noexec") => {
                return Err(wrong(spec.kind, &format!("invalid option: {name}")));
            }
            [_] | [_, _] => {}
            _ => return Err(wrong(spec.kind, "invalid option array length")),
        }
    }
    Ok(())
}

fn wrong(kind: MountKind, text: &str) -> Error {
    Error::invalid(format!("invalid mount config for type \"{}\": {text}", kind.name()))
}

fn extra(kind: MountKind, field: &str) -> Error {
    wrong(kind, &format!("field {field} must not be specified"))
}

/// The anonymous volume of an image's VOLUME or of `-v /path`.
pub(super) fn anonymous(destination: &str, driver: &str) -> Result<MountPoint> {
    let kind = MountKind::Volume;
    let destination = destination_of(kind, destination)?;
    Ok(MountPoint { kind, destination, rw: true, copy: true, driver: driver.into(), ..MountPoint::default() })
}

fn destination_of(kind: MountKind, text: &str) -> Result<String> {
    if text.is_empty() {
        return Err(wrong(kind, "field Target must not be empty"));
    }
    destination_path(text)
        .map_err(|error| error.within(format!("invalid mount config for type \"{}\"", kind.name())))
}

/// Files of /proc that programs emulate for containers: these alone may be covered there.
const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// A path in the container that may be mounted on.
pub(super) fn destination_path(text: &str) -> Result<String> {
    let path = clean(text);
    if path == "/" && text.starts_with('/') {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{text}' mount path must be absolute")));
    }
    // A volume below /proc would take the masks away that hide the host (CVE-2019-16884).
    if path.starts_with("/proc/") && !PROC_FILES.contains(&path.as_str()) {
        return Err(Error::invalid(format!("\"{path}\" cannot be mounted because it is inside \"/proc\"")));
    }
    Ok(path)
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
    use crate::model::{BindOptions, VolumeOptions};

    #[test]
    fn the_forms_of_a_bind() {
        let found = bind("/src/../a:/b/:ro,rslave", "").unwrap();
        assert_eq!(
            (found.kind, found.source.as_str(), found.destination.as_str()),
            (MountKind::Bind, "/a", "/b")
        );
        assert_eq!((found.rw, found.propagation.as_str(), found.create_source), (false, "rslave", true));
        let found = bind("data:/var/lib/x:nocopy", "nfs").unwrap();
        assert_eq!((found.kind, found.name.as_str(), found.copy), (MountKind::Volume, "data", false));
        assert_eq!(found.driver, "nfs");
        assert!(bind("/only", "").unwrap().name.is_empty());
    }

    #[test]
    fn wrong_binds_are_refused_in_dockers_words() {
        let message = |text: &str| bind(text, "").unwrap_err().message;
        for text in ["a:b:c:d", "", ":/b", "::", "/foo:rw"] {
            assert_eq!(message(text), format!("invalid volume specification: '{text}'"));
        }
        for mode in ["frob", "ro,rw", "z,Z", "rw,", "default"] {
            assert_eq!(message(&format!("/a:/b:{mode}")), format!("invalid mode: {mode}"));
        }
        let within = |text: &str, kind: &str| {
            format!("invalid volume specification: '{text}': invalid mount config for type \"{kind}\": ")
        };
        assert_eq!(
            message("/a:b"),
            within("/a:b", "bind") + "invalid mount path: 'b' mount path must be absolute"
        );
        assert_eq!(
            message("/a:/"),
            within("/a:/", "bind") + "invalid specification: destination can't be '/'"
        );
        assert_eq!(
            message("data:/b:rshared"),
            within("data:/b:rshared", "volume") + "field BindOptions must not be specified"
        );
        assert_eq!(
            message("/a:/b:nocopy"),
            within("/a:/b:nocopy", "bind") + "field VolumeOptions must not be specified"
        );
        assert!(bind("/x:/proc/sys", "").is_err() && bind("/x:/proc/meminfo", "").is_ok());
    }

    #[test]
    fn the_modes_of_volumes_from() {
        assert_eq!(volumes_from("x").unwrap(), ("x", true));
        assert_eq!(volumes_from("x:ro,z").unwrap(), ("x", false));
        for wrong in ["", "x:rslave", "x:nocopy", "x:frob"] {
            assert!(volumes_from(wrong).is_err(), "{wrong}");
        }
    }

    fn spec(kind: MountKind, source: &str) -> MountSpec {
        MountSpec { kind, source: source.into(), target: "/t".into(), ..MountSpec::default() }
    }

    fn message(spec: MountSpec) -> String {
        let message = mount(&spec).unwrap_err().message;
        let front = format!("invalid mount config for type \"{}\": ", spec.kind.name());
        message.strip_prefix(&front).unwrap_or(&message).to_owned()
    }

    #[test]
    fn wrong_mounts_are_refused() {
        use MountKind::*;
        assert_eq!(
            message(MountSpec { target: String::new(), ..spec(Bind, "/a") }),
            "field Target must not be empty"
        );
        assert_eq!(message(spec(Bind, "")), "field Source must not be empty");
        assert_eq!(message(spec(Bind, "a")), "invalid mount path: 'a' mount path must be absolute");
        assert_eq!(message(spec(Tmpfs, "/a")), "field Source must not be specified");
        assert_eq!(message(spec(Image, "")), "field Source must not be empty");
        assert_eq!(message(spec(NamedPipe, "x")), "mount type unknown");
        let bind = |options| MountSpec { bind: Some(options), ..spec(Bind, "/a") };
        let odd = BindOptions { propagation: "frob".into(), ..BindOptions::default() };
        assert_eq!(message(bind(odd)), "invalid propagation mode: frob");
        let both = BindOptions {
            read_only_non_recursive: true,
            read_only_force_recursive: true,
            ..BindOptions::default()
        };
        assert!(message(bind(both)).starts_with("mount options conflict"));
        assert_eq!(
            message(MountSpec { bind: Some(BindOptions::default()), ..spec(Volume, "v1") }),
            "field BindOptions must not be specified"
        );
        assert!(mount(&spec(Tmpfs, "")).is_ok());
    }

    #[test]
    fn a_part_of_a_volume_is_below_it() {
        let below = |source: &str, subpath: &str| {
            let volume = Some(VolumeOptions { subpath: subpath.into(), ..VolumeOptions::default() });
            mount(&MountSpec { volume, ..spec(MountKind::Volume, source) })
        };
        assert!(below("v1", "a/../b").is_ok());
        for wrong in ["..", "/a", "a/../../b"] {
            let message = below("v1", wrong).unwrap_err().message;
            assert!(message.ends_with("subpath must be a relative path within the volume"), "{wrong}");
        }
        assert!(below("", "a").unwrap_err().message.ends_with("when using anonymous volumes"));
    }

    #[test]
    fn options_of_a_tmpfs_are_few() {
        let with = |options: &[&[&str]]| {
            let options =
                options.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect();
            let tmpfs = Some(TmpfsOptions { options, ..TmpfsOptions::default() });
            mount(&MountSpec { tmpfs, ..spec(MountKind::Tmpfs, "") })
        };
        assert!(with(&[&["exec"]]).is_ok());
        assert!(with(&[&["uid", "5"]]).unwrap_err().message.ends_with("invalid option: uid"));
        assert!(with(&[&[]]).unwrap_err().message.ends_with("invalid option array length"));
    }
}
