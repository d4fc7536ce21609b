//! The options of `syslog`.

use std::fs::File;
use std::path::{Path, PathBuf};

use hull_shim::log::{Address, Syslog, SyslogFormat, Tls};

use super::attributes::{DEFAULT_TAG, tag};
use super::values::{host_and_port, transport};
use super::{Options, TELLING, known};
use crate::error::said;
use crate::model::Container;
use crate::{Error, Result};

const OPTIONS: [&str; 7] = [
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
];
/// By number.
const FACILITIES: [&str; 12] =
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
const DAEMON: u8 = 3;
const LOCAL0: u8 = 16;

pub(super) fn check(options: &Options) -> Result<()> {
    known(options, &[&OPTIONS, &TELLING], |name| format!("unknown log opt '{name}' for syslog log driver"))?;
    address(options)?;
    facility(options)?;
    format(options).map(drop)
}

pub(super) fn config(container: &Container, tls_program: &Path) -> Result<Syslog> {
    let options = &container.host.log_config.options;
    let mut address = address(options)?;
    if let Some(address) = address.as_mut().filter(|address| address.network == "tcp+tls") {
        address.tls = Some(tls(options, tls_program)?);
    }
    Ok(Syslog {
        address,
        facility: facility(options)?,
        format: format(options)?,
        tag: tag(container, DEFAULT_TAG)?,
    })
}

fn address(options: &Options) -> Result<Option<Address>> {
    let Some(text) = options.get("syslog-address").filter(|text| !text.is_empty()) else { return Ok(None) };
    let (network, rest) = transport(text).ok_or_else(|| {
        Error::invalid(format!("syslog-address should be in form proto://address, got {text}"))
    })?;
    let target = match network {
        "unix" | "unixgram" => {
            std::fs::metadata(rest).map_err(|error| {
                let error = error.to_string().to_lowercase();
                Error::invalid(format!("stat {rest}: {}", error.split(" (os").next().unwrap_or_default()))
            })?;
            rest.to_owned()
        }
        _ => match host_and_port(rest.split('/').next().unwrap_or_default()) {
            Some(_) => rest.trim_end_matches('/').to_owned(),
            None => format!("{rest}:514"),
        },
    };
    Ok(Some(Address { network: network.to_owned(), target, tls: None }))
}

/// The files of TLS, which must be readable: what they hold is read by who connects.
fn tls(options: &Options, program: &Path) -> Result<Tls> {
    let file = |name: &str| options.get(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let check = |path: &Path, what: &str| match File::open(path) {
        Ok(_) => Ok(()),
        Err(why) => Err(Error::invalid(format!("{what}: open {}: {}", path.display(), said(&why)))),
    };
    let authorities = file("syslog-tls-ca-cert");
    if let Some(path) = &authorities {
        check(path, &format!("could not read CA certificate {path:?}"))?;
    }
    let identity = match (file("syslog-tls-cert"), file("syslog-tls-key")) {
        (None, None) => None,
        (own, key) => Some((own.unwrap_or_default(), key.unwrap_or_default())),
    };
    for path in identity.iter().flat_map(|(own, key)| [own, key]) {
        check(path, "could not load X509 key pair")?;
    }
    let skip_verify = options.contains_key("syslog-tls-skip-verify");
    Ok(Tls { program: program.to_owned(), authorities, identity, skip_verify })
}

fn facility(options: &Options) -> Result<u8> {
    let text = options.get("syslog-facility").map_or("", String::as_str);
    let local = || text.strip_prefix("local")?.parse().ok().filter(|number| *number < 8);
    let named = || FACILITIES.iter().position(|name| *name == text).map(|number| number as u8);
    match text {
        "" => Some(DAEMON),
        _ => named()
            .or_else(|| local().map(|number: u8| LOCAL0 + number))
            .or_else(|| text.parse().ok().filter(|number| *number <= 23)),
    }
    .ok_or_else(|| Error::invalid("invalid syslog facility"))
}

fn format(options: &Options) -> Result<SyslogFormat> {
    match options.get("syslog-format").map_or("", String::as_str) {
        "" => Ok(SyslogFormat::Local),
        "rfc3164" => Ok(SyslogFormat::Rfc3164),
        "rfc5424" => Ok(SyslogFormat::Rfc5424),
        "rfc5424micro" => Ok(SyslogFormat::Rfc5424Micro),
        _ => Err(Error::invalid("Invalid syslog format")),
    }
}
