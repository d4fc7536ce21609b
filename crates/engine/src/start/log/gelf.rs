//! The options of `gelf`.

use hull_shim::log::{Address, Compression, Gelf};

use super::attributes::{DEFAULT_TAG, command, of_container, tag};
use super::values::{host_and_port, integer, transport};
use super::{COMMON, Options, TELLING};
use crate::model::Container;
use crate::{Error, Result};

pub(super) fn check(options: &Options) -> Result<()> {
    let address = address(options)?;
    let unknown_value = |name: &str, value: &str| {
        Error::invalid(format!("unknown value {value:?} for log opt {name:?} for gelf log driver"))
    };
    for (name, value) in options {
        match name.as_str() {
            "gelf-address" => {}
            "gelf-compression-level" | "gelf-compression-type" if address.network != "udp" => {
                return Err(Error::invalid("compression is only supported on UDP"));
            }
            "gelf-compression-level" => {
                integer(value)
                    .ok()
                    .filter(|level| (-1..=9).contains(level))
                    .ok_or_else(|| unknown_value(name, value))?;
            }
            "gelf-compression-type" => {
                compression(value).ok_or_else(|| unknown_value(name, value))?;
            }
            "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay" => {
                if address.network != "tcp" {
                    return Err(Error::invalid(format!("{name:?} is only valid for TCP")));
                }
                integer(value)
                    .ok()
                    .filter(|number| *number >= 0)
                    .ok_or_else(|| Error::invalid(format!("{name:?} must be a positive integer")))?;
            }
            known if TELLING.contains(&known) || COMMON.contains(&known) => {}
            _ => return Err(Error::invalid(format!("unknown log opt {name:?} for gelf log driver"))),
        }
    }
    Ok(())
}

pub(super) fn config(container: &Container) -> Result<Gelf> {
    let options = &container.host.log_config.options;
    let number = |name: &str, default: i64| match options.get(name) {
        Some(text) => integer(text),
        None => Ok(default),
    };
    let mut extra = of_container(container, |name| match name.starts_with('_') {
        true => name.to_owned(),
        false => format!("_{name}"),
    })?;
    for (name, value) in [
        ("_container_id", container.id.clone()),
        ("_container_name", container.name.clone()),
        ("_image_id", container.image_id.clone()),
        ("_image_name", container.config.image.clone()),
        ("_command", command(container)),
        ("_tag", tag(container, DEFAULT_TAG)?),
        ("_created", container.created.to_string()),
    ] {
        extra.entry(name.to_owned()).or_insert(value);
    }
    let compression = options.get("gelf-compression-type").and_then(|text| compression(text));
    Ok(Gelf {
        address: address(options)?,
        extra,
        compression: compression.unwrap_or(Compression::Gzip),
        level: number("gelf-compression-level", 1)? as i32,
        max_reconnect: u32::try_from(number("gelf-tcp-max-reconnect", 3)?).unwrap_or(u32::MAX),
        reconnect_delay: number("gelf-tcp-reconnect-delay", 1)?.unsigned_abs(),
    })
}

fn compression(text: &str) -> Option<Compression> {
    match text {
        "gzip" => Some(Compression::Gzip),
        "zlib" => Some(Compression::Zlib),
        "none" => Some(Compression::None),
        _ => None,
    }
}

fn address(options: &Options) -> Result<Address> {
    let text = options.get("gelf-address").map_or("", String::as_str);
    if text.is_empty() {
        return Err(Error::invalid("gelf-address is a required parameter"));
    }
    let (network, rest) = transport(text).ok_or_else(|| {
        Error::invalid(format!("gelf-address should be in form proto://address, got {text}"))
    })?;
    if !matches!(network, "udp" | "tcp") {
        return Err(Error::invalid("gelf: endpoint needs to be TCP or UDP"));
    }
    let target = rest.split('/').next().unwrap_or_default();
    host_and_port(target)
        .ok_or_else(|| Error::invalid("gelf: please provide gelf-address as proto://host:port"))?;
    Ok(Address { network: network.to_owned(), target: target.to_owned(), tls: None })
}
