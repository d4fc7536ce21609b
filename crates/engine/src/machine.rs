//! What the engine has to know of the machine it runs on.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use hull_oci::runtime::Capability::{self, *};
use hull_sys::Context;

use crate::error::said;
use crate::model::{BlkioDeviceRate, DeviceMapping, Resources};
use crate::spec::{Devices, HostDevice, Throttles};
use crate::{Error, Result};

/// Capabilities by their numbers (capabilities(7), linux/capability.h).
const BY_NUMBER: [Capability; 41] = [
    Chown,
    DacOverride,
    DacReadSearch,
    Fowner,
    Fsetid,
    Kill,
    Setgid,
    Setuid,
    Setpcap,
    LinuxImmutable,
    NetBindService,
    NetBroadcast,
    NetAdmin,
    NetRaw,
    IpcLock,
    IpcOwner,
    SysModule,
    SysRawio,
    SysChroot,
    SysPtrace,
    SysPacct,
    SysAdmin,
    SysBoot,
    SysNice,
    SysResource,
    SysTime,
    SysTtyConfig,
    Mknod,
    Lease,
    AuditWrite,
    AuditControl,
    Setfcap,
    MacOverride,
    MacAdmin,
    Syslog,
    WakeAlarm,
    BlockSuspend,
    AuditRead,
    Perfmon,
    Bpf,
    CheckpointRestore,
];

/// The machine, as it was when the engine was opened.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The capabilities that the engine has itself, and so can give.
    pub(crate) capabilities: Vec<Capability>,
    /// What its cgroups can limit.
    pub(crate) limits: hull_cgroup::Support,
    /// Processors on line: "0-3".
    pub(crate) cpus: String,
    /// Nodes of memory on line: "0".
    pub(crate) memory_nodes: String,
    /// Whether AppArmor is on.
    pub(crate) apparmor: bool,
    /// Whether cgroup v2 is all there is.
    pub(crate) cgroup_v2: bool,
    /// Processors on line.
    pub(crate) processors: u32,
    /// Bytes of memory.
    pub(crate) memory: u64,
}

impl Machine {
    /// Looks at the machine.
    pub(crate) fn look() -> Result<Self> {
        let own = own_capabilities(&fs::read_to_string("/proc/self/status").on("read", "/proc/self/status")?);
        let info = rustix::system::sysinfo();
        let limits = hull_cgroup::support()?;
        // A kernel without nodes has one.
        let list =
            |path: &str| fs::read_to_string(path).map_or("0".to_owned(), |text| text.trim().to_owned());
        Ok(Self {
            capabilities: own,
            cgroup_v2: limits.version == hull_cgroup::Version::V2,
            limits,
            cpus: list("/sys/devices/system/cpu/online"),
            memory_nodes: list("/sys/devices/system/node/online"),
            apparmor: list("/sys/module/apparmor/parameters/enabled") == "Y",
            processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
            memory: info.totalram.saturating_mul(info.mem_unit.into()),
        })
    }
}

/// Whether packets for others are forwarded, at this moment.
pub(crate) fn forwards() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() != "0")
}

/// The permitted capabilities in a proc_pid_status(5); all that the engine knows, if it cannot be read.
fn own_capabilities(status: &str) -> Vec<Capability> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    let bits = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(u64::MAX);
    BY_NUMBER
        .iter()
        .enumerate()
        .filter(|(number, _)| bits >> number & 1 == 1)
        .map(|(_, known)| *known)
        .collect()
}

/// The devices that a container gets of this host: those it names, or all of them.
pub(crate) fn devices(resources: &Resources, privileged: bool) -> Result<Devices> {
    let mut devices =
        Devices { nodes: Vec::new(), rules: resources.device_cgroup_rules.clone().unwrap_or_default() };
    if privileged {
        gather(Path::new("/dev"), Path::new("/dev"), "rwm", &mut devices.nodes);
        return Ok(devices);
    }
    for mapping in resources.devices.iter().flatten() {
        map_device(mapping, &mut devices.nodes)?;
    }
    Ok(devices)
}

fn map_device(mapping: &DeviceMapping, nodes: &mut Vec<HostDevice>) -> Result<()> {
    let inside = match mapping.path_in_container.as_str() {
        "" => Path::new(&mapping.path_on_host),
        path => Path::new(path),
    };
    let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
    let gone = |why: std::io::Error| {
        let why = said(&why);
        Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": {why}",
            mapping.path_on_host
        ))
    };
    // Symbolic links are the administrator's own way of naming devices.
    let host = fs::canonicalize(&mapping.path_on_host).map_err(gone)?;
    let before = nodes.len();
    match host.is_dir() {
        true => gather(&host, inside, access, nodes),
        false => nodes.extend(device(&host, inside, access)),
    }
    if nodes.len() == before {
        return Err(Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": not a device node",
            mapping.path_on_host
        )));
    }
    Ok(())
}

/// Every device below a directory. The kernel's own pseudo-directories and what each container has anyway are left
/// out, as Docker does.
fn gather(directory: &Path, inside: &Path, access: &str, nodes: &mut Vec<HostDevice>) {
    const OWN: [&str; 8] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        let (path, inside) = (entry.path(), inside.join(&name));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => gather(&path, &inside, access, nodes),
            Ok(kind) if kind.is_block_device() || kind.is_char_device() => {
                nodes.extend(device(&path, &inside, access));
            }
            _ => {}
        }
    }
}

/// A device node of the host, as it is to be in a container.
pub(crate) fn device(path: &Path, inside: &Path, access: &str) -> Option<HostDevice> {
    let facts = fs::metadata(path).ok()?;
    let block = facts.file_type().is_block_device();
    if !block && !facts.file_type().is_char_device() {
        return None;
    }
    Some(HostDevice {
        path: inside.to_owned(),
        block,
        major: i64::from(rustix::fs::major(facts.rdev())),
        minor: i64::from(rustix::fs::minor(facts.rdev())),
        mode: facts.mode() & 0o777,
        uid: facts.uid(),
        gid: facts.gid(),
        access: access.to_owned(),
    })
}

/// The block devices that limits name, by their numbers.
pub(crate) fn throttles(resources: &Resources) -> Result<Throttles> {
    let rates = |wanted: &Option<Vec<BlkioDeviceRate>>| -> Result<Vec<(i64, i64, u64)>> {
        wanted
            .iter()
            .flatten()
            .map(|rate| numbers(&rate.path).map(|(major, minor)| (major, minor, rate.rate)))
            .collect()
    };
    let weights = resources.blkio_weight_device.iter().flatten();
    Ok(Throttles {
        weights: weights
            .map(|wanted| numbers(&wanted.path).map(|(major, minor)| (major, minor, wanted.weight)))
            .collect::<Result<_>>()?,
        read_bps: rates(&resources.blkio_device_read_bps)?,
        write_bps: rates(&resources.blkio_device_write_bps)?,
        read_iops: rates(&resources.blkio_device_read_iops)?,
        write_iops: rates(&resources.blkio_device_write_iops)?,
    })
}

fn numbers(path: &str) -> Result<(i64, i64)> {
    let device = device(Path::new(path), &PathBuf::new(), "")
        .ok_or_else(|| Error::invalid(format!("stat {path}: no such file or directory")))?;
    Ok((device.major, device.minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_bits() {
        assert_eq!(own_capabilities("Name:\tx\nCapPrm:\t0000000000000021\n"), [Chown, Kill]);
        assert_eq!(own_capabilities("").len(), BY_NUMBER.len());
    }
}
