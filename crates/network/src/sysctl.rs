//! The switches under /proc/sys/net of the calling thread's network namespace.

use std::fs;
use std::path::{Path, PathBuf};

use hull_sys::{Context, Result};

/// Whether the kernel has IPv6 at all (`ipv6.disable=1` takes it away).
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Reads a switch; its name is given with slashes, as interface names may contain dots.
pub(crate) fn read(name: &str) -> Result<String> {
    let path = path(name);
    Ok(fs::read_to_string(&path).on("read", &path)?.trim().to_owned())
}

/// Sets a switch.
pub(crate) fn write(name: &str, value: &str) -> Result<()> {
    let path = path(name);
    fs::write(&path, value).on("write", &path)
}

/// Whether frames between the ports of a bridge pass the IP firewall (br_netfilter), as if they were routed.
pub(crate) fn filters_bridges() -> bool {
    read("bridge/bridge-nf-call-iptables").is_ok_and(|value| value != "0")
}

/// The ports that the kernel gives to whom asks for none, and Docker to `-p 80`.
pub(crate) fn ephemeral_ports() -> std::ops::RangeInclusive<u16> {
    let text = read("ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().filter_map(|end| end.parse().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if first <= last => first..=last,
        _ => 32768..=60999,
    }
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(name)
}
