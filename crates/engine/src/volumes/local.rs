//! The driver of our own: names, options, and directories below the data root.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::Path;

use hull_snapshot::Quotas;
use hull_sys::Context;

use crate::model::Device;
use crate::store::Store;
use crate::{Error, Result};

/// What begins the name of the directory of a volume that is being removed.
const REMOVING: &str = ".removing-";

pub(super) fn check_name(name: &str) -> Result<()> {
    let mut letters = name.bytes();
    let well_begun = letters.next().is_some_and(|letter| letter.is_ascii_alphanumeric());
    if name.len() == 1 {
        return Err(Error::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    if well_begun && letters.all(|letter| letter.is_ascii_alphanumeric() || b"_.-".contains(&letter)) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )))
}

/// What the options of a local volume mount.
pub(crate) fn device(options: Option<&BTreeMap<String, String>>) -> Result<Option<Device>> {
    let Some(options) = options.filter(|options| !options.is_empty()) else { return Ok(None) };
    if let Some(name) = options.keys().find(|name| !["type", "device", "o", "size"].contains(&name.as_str()))
    {
        return Err(Error::invalid(format!("invalid option: {name:?}")));
    }
    size(Some(options))?;
    let requires = [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")];
    if let Some((_, other)) = requires
        .into_iter()
        .find(|(option, other)| options.contains_key(*option) && !options.contains_key(*other))
    {
        return Err(Error::invalid(format!("missing required option: {other:?}")));
    }
    let value = |name: &str| options.get(name).cloned().unwrap_or_default();
    let (filesystem, device) = (value("type"), value("device"));
    if filesystem == "cifs" && has_port(&device) {
        return Err(Error::invalid("port not allowed in CIFS device URL, include 'port' in 'o='"));
    }
    if filesystem.is_empty() && device.is_empty() {
        return Ok(None);
    }
    let words = value("o");
    let options = words.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Ok(Some(Device { filesystem, device, options }))
}

/// How much a volume may hold; `None`: as much as there is.
pub(super) fn size(options: Option<&BTreeMap<String, String>>) -> Result<Option<u64>> {
    let size = options.and_then(|options| options.get("size"));
    Ok(size.map(|text| bytes(text)).transpose()?.filter(|bytes| *bytes > 0))
}

/// What can bound a volume of that size, if it has one.
pub(super) fn quotas(root: &Path, size: Option<u64>) -> Result<Option<(Quotas, u64)>> {
    let Some(size) = size else { return Ok(None) };
    match Quotas::of(root)? {
        Some(quotas) => Ok(Some((quotas, size))),
        None => Err(Error::invalid("quota size requested but no quota support")),
    }
}

/// A size as people write it: "10G", units are powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.strip_suffix("ib").or(lower.strip_suffix('b')).unwrap_or(&lower);
    let shift = match number.chars().last() {
        Some('k') => 10,
        Some('m') => 20,
        Some('g') => 30,
        Some('t') => 40,
        Some('p') => 50,
        _ => 0,
    };
    let digits = if shift > 0 { &number[..number.len() - 1] } else { number };
    let value: Option<f64> = digits.trim().parse().ok().filter(|value: &f64| *value >= 0.0);
    let value = value.ok_or_else(|| Error::invalid(format!("invalid size: '{text}'")))?;
    Ok((value * f64::from(shift).exp2()) as u64)
}

/// Whether "//server:445/share" names a port.
fn has_port(device: &str) -> bool {
    let host = device.trim_start_matches('/').split('/').next().unwrap_or_default();
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// The options of mount(8) with the name of a server in `addr=` resolved, which the kernel does not do.
pub(super) fn mount_options(device: &Device) -> Result<Vec<String>> {
    let mut options = device.options.clone();
    if matches!(device.filesystem.as_str(), "nfs" | "nfs4" | "cifs") {
        for option in &mut options {
            if let Some(name) = option.strip_prefix("addr=").filter(|name| !name.is_empty()) {
                *option = format!("addr={}", resolve(name)?);
            }
        }
    }
    Ok(options)
}

fn resolve(name: &str) -> Result<IpAddr> {
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Ok(address.into());
    }
    let failed = |why: &str| {
        Error::invalid(format!("error resolving passed in network volume address: lookup {name}: {why}"))
    };
    let addresses: Vec<_> =
        (name, 0).to_socket_addrs().map_err(|_| failed("no such host"))?.map(|one| one.ip()).collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| failed("no such host"))
}

/// The data directory. Its owner is set by the first container's image.
pub(super) fn make_data(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.on("mkdir", path)?,
    }
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755)).on("chmod", path)?)
}

/// Removes a volume's directory and row so that a crash at any point leaves the whole volume or none.
pub(super) fn discard(store: &Store, root: &Path, name: &str) -> Result<()> {
    let (directory, removing) = (root.join(name), root.join(format!("{REMOVING}{name}")));
    match fs::rename(&directory, &removing) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        renamed => renamed.on("rename", &directory)?,
    }
    if let Ok(Some(quotas)) = Quotas::of(root) {
        // A limit that stays bounds nobody.
        let _ = quotas.lift(&removing.join("_data"));
    }
    store.delete_volume(name)?;
    match fs::remove_dir_all(&removing) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => Ok(removed.on("remove", &removing)?),
    }
}

/// Goes on with the removals that a crash has cut.
pub(super) fn finish_removals(store: &Store, root: &Path) -> Result<()> {
    for entry in fs::read_dir(root).on("open", root)?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if let Some(name) = name.strip_prefix(REMOVING) {
            store.delete_volume(name)?;
            fs::remove_dir_all(entry.path()).on("remove", entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_the_local_driver() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            device(Some(&pairs.collect())).map_err(|error| error.message)
        };
        assert_eq!(read(&[]), Ok(None));
        let bind = read(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]).unwrap().unwrap();
        assert!(bind.is_bind() && !bind.is_memory());
        assert_eq!(bind.options, ["bind", "ro"]);
        let memory = read(&[("type", "tmpfs"), ("device", "tmpfs")]).unwrap().unwrap();
        assert!(memory.is_memory());
        assert_eq!(read(&[("type", ""), ("device", "")]), Ok(None));
        let refused = [
            (&[("frob", "1")][..], "invalid option: \"frob\""),
            (&[("o", "bind")], "missing required option: \"device\""),
            (&[("o", "bind"), ("device", "/x")], "missing required option: \"type\""),
            (&[("type", "none")], "missing required option: \"device\""),
            (&[("device", "/srv")], "missing required option: \"type\""),
            (&[("size", "much")], "invalid size: 'much'"),
            (
                &[("type", "cifs"), ("device", "//server:445/share")],
                "port not allowed in CIFS device URL, include 'port' in 'o='",
            ),
        ];
        for (options, message) in refused {
            assert_eq!(read(options), Err(message.to_owned()), "{options:?}");
        }
        assert_eq!(read(&[("size", "0")]), Ok(None));
    }

    #[test]
    fn names_are_dockers() {
        for right in ["ab", "a.b", "A_b-c", "0x"] {
            assert_eq!(check_name(right), Ok(()));
        }
        for wrong in ["a", "", "-ab", "a/b", "a b", ".removing-x", "ä1"] {
            assert!(check_name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_of_servers_are_resolved_for_the_kernel() {
        let of = |filesystem: &str, options: &str| {
            let options = options.split(',').map(str::to_owned).collect();
            mount_options(&Device { filesystem: filesystem.into(), device: ":/x".into(), options })
        };
        assert_eq!(of("nfs", "addr=10.0.0.1,ro").unwrap(), ["addr=10.0.0.1", "ro"]);
        assert_eq!(of("nfs", "ro,addr=localhost").unwrap(), ["ro", "addr=127.0.0.1"]);
        assert_eq!(of("ext4", "addr=localhost").unwrap(), ["addr=localhost"]);
    }
}
