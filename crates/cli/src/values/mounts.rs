//! Mounts: `--mount`, `-v`, `--tmpfs`.

use super::numbers;
use hull_api::wire::mount::{BindOptions, ImageOptions, Mount, TmpfsOptions, VolumeOptions};
use hull_api::wire::{Empty, Labels, Set};
use std::path::Path;

/// Sorts `-v` into mounts (`source:target[:mode]`) and anonymous volumes (`target`). A source that begins with a
/// dot is a path from here.
pub(crate) fn volumes(given: &[String]) -> Result<(Vec<String>, Set), String> {
    let (mut binds, mut anonymous) = (Vec::new(), Set::new());
    for volume in given {
        match volume.split_once(':') {
            Some((source, rest)) if source.starts_with('.') => {
                binds.push(format!("{}:{rest}", absolute(source)?))
            }
            Some(_) => binds.push(volume.clone()),
            None => {
                anonymous.insert(volume.clone(), Empty {});
            }
        }
    }
    Ok((binds, anonymous))
}

/// `--tmpfs`: `target[:options]`.
pub(crate) fn tmpfs(given: &[String]) -> Labels {
    given
        .iter()
        .map(|t| t.split_once(':').unwrap_or((t, "")))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn absolute(source: &str) -> Result<String, String> {
    let path = std::path::absolute(Path::new(source)).map_err(|reason| format!("{source}: {reason}"))?;
    let mut clean = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => _ = clean.pop(),
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    Ok(clean.to_string_lossy().into_owned())
}

/// One `--mount`: `type=bind,source=/a,target=/b,readonly`.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        set(&mut mount, &key, value, &field)?;
    }
    check(&mount)?;
    Ok(mount)
}

/// The fields of one line of comma-separated values; one in quotes may contain commas.
pub(super) fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut in_quotes = false;
    for c in text.chars() {
        match (c, fields.last_mut()) {
            ('"', _) => in_quotes = !in_quotes,
            (',', _) if !in_quotes => fields.push(String::new()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    if in_quotes { Err(format!("parse error: extraneous or missing \" in {text}")) } else { Ok(fields) }
}

fn set(mount: &mut Mount, key: &str, value: Option<&str>, field: &str) -> Result<(), String> {
    // What may stand alone is a switch.
    let switch = |value: Option<&str>| match value {
        None | Some("1" | "true" | "True" | "TRUE" | "t" | "T") => Ok(true),
        Some("0" | "false" | "False" | "FALSE" | "f" | "F") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}")),
    };
    match key {
        "readonly" | "ro" => return switch(value).map(|set| mount.read_only = set),
        "volume-nocopy" => return switch(value).map(|set| of_volume(mount).no_copy = set),
        "bind-nonrecursive" => return switch(value).map(|set| of_bind(mount).non_recursive = set),
        _ => {}
    }
    let value = value.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src"
            if value.starts_with("./") || value.starts_with("../") || value == "." || value == ".." =>
        {
            mount.source = absolute(value)?;
        }
        "source" | "src" => mount.source = value.to_owned(),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => of_bind(mount).propagation = value.to_lowercase(),
        "bind-recursive" => recursive(of_bind(mount), value)?,
        "volume-subpath" => of_volume(mount).subpath = value.to_owned(),
        "volume-label" => add(&mut of_volume(mount).labels, value),
        "volume-driver" => of_volume(mount).driver_config.get_or_insert_default().name = value.to_owned(),
        "volume-opt" => add(&mut of_volume(mount).driver_config.get_or_insert_default().options, value),
        "image-subpath" => {
            mount.image_options.get_or_insert_with(ImageOptions::default).subpath = value.to_owned()
        }
        "tmpfs-size" => {
            of_tmpfs(mount).size_bytes =
                numbers::bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-mode" => {
            of_tmpfs(mount).mode =
                u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn recursive(options: &mut BindOptions, value: &str) -> Result<(), String> {
    match value {
        "enabled" => {}
        "disabled" => options.non_recursive = true,
        "writable" => options.read_only_non_recursive = true,
        "readonly" => options.read_only_force_recursive = true,
        _ => {
            return Err(format!(
                "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
            ));
        }
    }
    Ok(())
}

fn check(mount: &Mount) -> Result<(), String> {
    if mount.kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    for (given, group, kind) in [
        (mount.volume_options.is_some(), "volume-*", "volume"),
        (mount.bind_options.is_some(), "bind-*", "bind"),
        (mount.image_options.is_some(), "image-*", "image"),
        (mount.tmpfs_options.is_some(), "tmpfs-*", "tmpfs"),
    ] {
        if given && mount.kind != kind {
            return Err(format!("cannot mix '{group}' options with mount type '{}'", mount.kind));
        }
    }
    Ok(())
}

fn of_bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn of_volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_default()
}

fn of_tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn add(map: &mut Labels, pair: &str) {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    map.insert(key.to_owned(), value.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let bind = mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").unwrap();
        assert_eq!((bind.kind.as_str(), bind.source.as_str(), bind.target.as_str()), ("bind", "/a", "/b"));
        assert!(bind.read_only);
        assert_eq!(bind.bind_options.unwrap().propagation, "rslave");
        let volume = mount("source=v,target=/v,volume-nocopy,\"volume-opt=o=a,b\"").unwrap();
        assert_eq!(volume.kind, "volume");
        let options = volume.volume_options.unwrap();
        assert!(options.no_copy);
        assert_eq!(options.driver_config.unwrap().options["o"], "a,b");
        let tmpfs =
            mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap().tmpfs_options.unwrap();
        assert_eq!((tmpfs.size_bytes, tmpfs.mode), (1 << 20, 0o1770));
    }

    #[test]
    fn what_is_no_mount() {
        for (text, reason) in [
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("type=bind,src=/a", "target is required"),
            ("type=,target=/a", "type is required"),
            ("target=/a,colour=red", "unexpected key 'colour' in 'colour=red'"),
            ("target=/a,ro=maybe", "invalid value for ro: maybe"),
            ("type=tmpfs,target=/a,tmpfs-size=x", "invalid value for tmpfs-size: x"),
            (
                "type=bind,src=/a,target=/a,tmpfs-size=1",
                "cannot mix 'tmpfs-*' options with mount type 'bind'",
            ),
        ] {
            assert_eq!(mount(text).unwrap_err(), reason);
        }
    }

    #[test]
    fn volumes_are_sorted() {
        let given = ["/a:/b:ro", "name:/c", "/anonymous", "./here:/d"].map(str::to_owned);
        let (binds, anonymous) = volumes(&given).unwrap();
        let here = std::env::current_dir().unwrap().join("here");
        assert_eq!(binds, ["/a:/b:ro".to_owned(), "name:/c".to_owned(), format!("{}:/d", here.display())]);
        assert!(anonymous.contains_key("/anonymous"));
        assert_eq!(tmpfs(&["/t:size=1m".to_owned(), "/u".to_owned()])["/t"], "size=1m");
    }
}
