//! Values of flags that are more than a word.

use super::{AddressPool, Runtime, Ulimit};

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("invalid key=value pair {text:?}"))?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn feature(text: &str) -> Result<(String, bool), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    let value = value.parse().map_err(|_| format!("invalid boolean value {value:?} for feature {name:?}"))?;
    Ok((name.to_owned(), value))
}

pub(super) fn runtime(text: &str) -> Result<(String, Runtime), String> {
    let invalid = || format!("invalid runtime argument: {text}");
    let (name, path) = text.split_once('=').ok_or_else(invalid)?;
    let (name, path) = (name.trim().to_lowercase(), path.trim());
    if name.is_empty() || path.is_empty() {
        return Err(invalid());
    }
    Ok((name, Runtime { path: path.into(), ..Runtime::default() }))
}

pub(super) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let invalid = || format!("invalid ulimit argument: {text}");
    let (name, values) = text.split_once('=').ok_or_else(invalid)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |value: &str| value.parse().map_err(|_| invalid());
    Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

pub(super) fn network_opt(text: &str) -> Result<(String, String, String), String> {
    let parts = text.split_once('=').and_then(|(driver, option)| Some((driver, option.split_once('=')?)));
    let (driver, (name, value)) = parts
        .ok_or_else(|| format!("invalid default network option {text:?}: wanted DRIVER=OPTION=VALUE"))?;
    Ok((driver.to_owned(), name.to_owned(), value.to_owned()))
}

pub(super) fn pool(text: &str) -> Result<AddressPool, String> {
    let mut base = None;
    let mut size = None;
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("base", value)) => base = Some(value.to_owned()),
            Some(("size", value)) => size = value.parse().ok(),
            _ => return Err(format!("invalid field {field:?}: wanted base=CIDR,size=BITS")),
        }
    }
    match (base, size) {
        (Some(base), Some(size)) => Ok(AddressPool { base, size }),
        _ => Err("an address pool has a base and a size".to_owned()),
    }
}
