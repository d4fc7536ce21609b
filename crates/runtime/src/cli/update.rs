//! `update`: other limits for a container that exists. What is not named stays as it is.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use hull_oci::runtime::LinuxResources;
use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Value, json};

use super::container::Container;
use super::error::{Error, Result};
use super::{Global, place, require, take_id};

pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("-r, --resources FILE", "all limits, as linux.resources of config.json; - is standard input"),
    ("--blkio-weight N", "weight for block devices (10 to 1000)"),
    ("--cpu-period USECS", "period of the quota"),
    ("--cpu-quota USECS", "processor time in a period"),
    ("--cpu-burst USECS", "what may be saved up"),
    ("--cpu-share N", "weight for processors"),
    ("--cpu-rt-period USECS", "period of the realtime quota"),
    ("--cpu-rt-runtime USECS", "realtime quota"),
    ("--cpu-idle N", "1: only when nobody else wants the processor"),
    ("--cpuset-cpus LIST", "processors, as 0-2,5"),
    ("--cpuset-mems LIST", "memory nodes"),
    ("--memory BYTES", "memory, also as 64m; -1 is unlimited"),
    ("--memory-reservation BYTES", "soft limit"),
    ("--memory-swap BYTES", "memory and swap together"),
    ("--pids-limit N", "tasks; -1 is unlimited"),
];

/// What an option's value is.
enum Kind {
    Number,
    Bytes,
    Text,
}

/// Options with their place in `linux.resources`.
const LIMITS: [(&str, &str, &str, Kind); 14] = [
    ("blkio-weight", "blockIO", "weight", Kind::Number),
    ("cpu-period", "cpu", "period", Kind::Number),
    ("cpu-quota", "cpu", "quota", Kind::Number),
    ("cpu-burst", "cpu", "burst", Kind::Number),
    ("cpu-share", "cpu", "shares", Kind::Number),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Number),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Number),
    ("cpu-idle", "cpu", "idle", Kind::Number),
    ("cpuset-cpus", "cpu", "cpus", Kind::Text),
    ("cpuset-mems", "cpu", "mems", Kind::Text),
    ("memory", "memory", "limit", Kind::Bytes),
    ("memory-reservation", "memory", "reservation", Kind::Bytes),
    ("memory-swap", "memory", "swap", Kind::Bytes),
    ("pids-limit", "pids", "limit", Kind::Number),
];

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let (mut id, mut file, mut given) = (None, None::<PathBuf>, json!({}));
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('r') | Arg::Long("resources") => file = Some(parser.value()?.into()),
            Arg::Long(name @ ("kernel-memory" | "kernel-memory-tcp")) => {
                let name = name.to_owned();
                parser.value()?;
                global.log.warning(&format!("--{name} is ignored: the kernel has given up that limit"));
            }
            Arg::Long(name @ ("l3-cache-schema" | "mem-bw-schema")) => {
                return Err(Error::usage(format!("--{name} is not supported")));
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                set(&mut given, &name, &parser.value()?.string()?)?;
            }
            Arg::Value(value) => take_id(&mut id, value)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let container = Container::open(&global.root, &require(id)?)?;
    let record = container.load()?;
    let mut resources = match file {
        Some(path) => read(&path)?,
        None => serde_json::from_value(given).map_err(|e| Error::usage(e.to_string()))?,
    };
    // Which devices there are is settled when a container is made.
    resources.set_devices(None);
    match record.cgroup()? {
        Some(cgroup) if record.is_alive() => {
            place::update(container.id(), record.scope.as_deref(), &resources)?;
            cgroup.apply(&resources)?;
        }
        _ => return Err(Error::new(format!("container not running: {}", container.id()))),
    }
    Ok(ExitCode::SUCCESS)
}

fn set(given: &mut Value, option: &str, text: &str) -> Result<()> {
    let limit = LIMITS.iter().find(|(name, ..)| *name == option);
    let (_, section, key, kind) =
        limit.ok_or_else(|| Error::usage(format!("invalid option '--{option}'")))?;
    if text.is_empty() {
        return Ok(());
    }
    given[*section][*key] = match kind {
        Kind::Text => json!(text),
        Kind::Bytes => json!(bytes(text).ok_or_else(|| wrong(option, text))?),
        Kind::Number => json!(text.parse::<i64>().map_err(|_| wrong(option, text))?),
    };
    Ok(())
}

fn wrong(option: &str, text: &str) -> Error {
    Error::usage(format!("invalid value for --{option}: {text:?}"))
}

/// A number of bytes, with a unit (b, k, m, g, t; powers of 1024) or without.
fn bytes(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, shift) = match lower.as_bytes().last()? {
        b'k' => (&lower[..lower.len() - 1], 10),
        b'm' => (&lower[..lower.len() - 1], 20),
        b'g' => (&lower[..lower.len() - 1], 30),
        b't' => (&lower[..lower.len() - 1], 40),
        _ => (lower, 0),
    };
    number.parse::<i64>().ok()?.checked_mul(1 << shift)
}

fn read(path: &PathBuf) -> Result<LinuxResources> {
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(path).map_err(|e| Error::file("open", path, e))?),
    };
    serde_json::from_reader(BufReader::new(source))
        .map_err(|e| Error::new(format!("resources in {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_have_a_unit() {
        let all = ["-1", "12", "64k", "2M", "1gb", "3GiB"].map(|text| bytes(text).unwrap());
        assert_eq!(all, [-1, 12, 64 << 10, 2 << 20, 1 << 30, 3 << 30]);
        assert!(["", "k", "12x", "1.5g", "9999999999g"].iter().all(|text| bytes(text).is_none()));
    }

    #[test]
    fn options_are_fields_of_the_specification() {
        let mut given = json!({});
        for (option, _, _, kind) in LIMITS {
            set(&mut given, option, if matches!(kind, Kind::Text) { "0" } else { "1" }).unwrap();
        }
        let resources: LinuxResources = serde_json::from_value(given.clone()).unwrap();
        assert_eq!(serde_json::to_value(resources).unwrap(), given);
    }
}
