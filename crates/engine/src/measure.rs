//! What containers use: counters of the kernel, disk. Nothing is measured unless somebody asks.

mod ticks;

pub(crate) use ticks::Ticks;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_cgroup::Cgroup;
use jiff::Timestamp;

use crate::model::{Container, DiskUsage, Info, NetworkMode, Status, Volume, VolumeUsage};
use crate::{Engine, Error, Result};

/// Nanoseconds of one tick of proc_stat(5): USER_HZ is 100 on every architecture.
const TICK: u64 = 10_000_000;

/// What one container uses now; for differences ask twice.
#[derive(Debug, Clone)]
pub struct StatsSample {
    /// When; `None` if it does not run, and all else is zero.
    pub read: Option<Timestamp>,
    /// Whether the kernel counts by cgroup v2.
    pub cgroup_v2: bool,
    /// Its cgroup's counters; zeros if it does not run.
    pub cgroup: hull_cgroup::Stats,
    /// Processor time of the whole machine, nanoseconds.
    pub system_cpu: u64,
    /// Processors on line.
    pub online_cpus: u32,
    /// By interface; empty if it shares its network with others.
    pub networks: BTreeMap<String, InterfaceStats>,
}

/// Traffic of one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Packets dropped at receipt.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors.
    pub tx_errors: u64,
    /// Packets dropped at sending.
    pub tx_dropped: u64,
}

impl Engine {
    /// What a container uses at the next tick, at least half a second from now; all who watch it get the same.
    pub async fn next_stats(&self, name: &str) -> Result<Arc<StatsSample>> {
        let tick = self.ticks.next().await;
        let id = self.container(name)?.id.clone();
        let cell = self.ticks.cell(tick, &id);
        let mut own = None;
        let measure = async || {
            let _permit = self.ticks.permits.acquire().await;
            let sample = own.insert(Arc::new(self.stats(&id).await?));
            Ok::<_, Error>(Arc::downgrade(sample))
        };
        match cell.get_or_try_init(measure).await?.upgrade() {
            Some(sample) => Ok(sample),
            None => Ok(Arc::new(self.stats(&id).await?)),
        }
    }

    /// What a container uses now.
    pub async fn stats(&self, name: &str) -> Result<StatsSample> {
        let container = self.container(name)?;
        let mut sample = StatsSample {
            read: None,
            cgroup_v2: self.machine.cgroup_v2,
            cgroup: hull_cgroup::Stats::default(),
            system_cpu: 0,
            online_cpus: self.machine.processors,
            networks: BTreeMap::new(),
        };
        if !container.state.status.is_running() {
            return Ok(sample);
        }
        sample.read = Some(Timestamp::now());
        sample.cgroup = self.on_cgroup(&container, Cgroup::stats).await?;
        if sample.cgroup.memory.limit.is_none() {
            sample.cgroup.memory.limit = Some(self.machine.memory);
        }
        sample.system_cpu = system_cpu(&fs::read_to_string("/proc/stat").unwrap_or_default());
        if matches!(NetworkMode::parse(&container.host.network_mode), NetworkMode::Network(_)) {
            let table = fs::read_to_string(format!("/proc/{}/net/dev", container.state.pid));
            sample.networks = interfaces(&table.unwrap_or_default());
        }
        Ok(sample)
    }

    /// Bytes in a container's writable layer, and with its image.
    pub async fn container_size(&self, name: &str) -> Result<(u64, u64)> {
        let (snapshots, container) = (Arc::clone(&self.snapshots), self.container(name)?);
        tokio::task::spawn_blocking(move || {
            let own = snapshots.usage(&container.id)?.bytes;
            let layers = container.layers.iter().map(|layer| snapshots.layer_size(layer));
            let image: u64 = layers.sum::<std::result::Result<u64, _>>()?;
            Ok((own, own + image))
        })
        .await?
    }

    /// The sizes of all containers, as [`Engine::container_size`] tells them of one.
    async fn container_sizes(&self) -> Result<BTreeMap<String, (u64, u64)>> {
        let (snapshots, containers) = (Arc::clone(&self.snapshots), self.containers());
        Ok(tokio::task::spawn_blocking(move || {
            let (mut images, mut sizes) = (HashMap::new(), BTreeMap::new());
            for container in containers {
                // One that is removed meanwhile uses nothing.
                let Ok(own) = snapshots.usage(&container.id) else { continue };
                let image = images.entry(container.layers.clone()).or_insert_with(|| {
                    container.layers.iter().filter_map(|layer| snapshots.layer_size(layer).ok()).sum::<u64>()
                });
                sizes.insert(container.id.clone(), (own.bytes, own.bytes + *image));
            }
            sizes
        })
        .await?)
    }

    /// What `docker system df` needs besides the images; looked up only for those that are `wanted`: containers, volumes.
    pub async fn disk_usage(&self, wanted: (bool, bool)) -> Result<DiskUsage> {
        let (layers_size, _) = self.images.disk_usage()?;
        let containers = if wanted.0 { self.container_sizes().await? } else { BTreeMap::new() };
        let mut volumes = Vec::new();
        if !wanted.1 {
            return Ok(DiskUsage { layers_size, volumes, containers });
        }
        let references = self.volume_references();
        // As in Docker: what is elsewhere uses nothing here.
        let here = |volume: &Volume| volume.driver == "local" && volume.options.is_none();
        for volume in self.recorded_volumes().into_iter().filter(here) {
            let size = bytes_below(volume.mountpoint.clone()).await?;
            let ref_count = references.get(&volume.name).map_or(0, Vec::len);
            volumes.push(VolumeUsage { volume, size, ref_count });
        }
        Ok(DiskUsage { layers_size, volumes, containers })
    }

    /// Facts for `docker info`.
    pub async fn info(&self) -> Result<Info> {
        let containers = self.containers();
        let count = |status: Status| {
            let has = |container: &&Arc<Container>| container.state.status == status;
            containers.iter().filter(has).count()
        };
        let (running, paused) = (count(Status::Running), count(Status::Paused));
        let driver = self.options.default_log.driver.as_str();
        Ok(Info {
            id: self.id.clone(),
            containers: containers.len(),
            running,
            paused,
            stopped: containers.len() - running - paused,
            images: self.images.list(true)?.len(),
            storage_driver: "overlay2".into(),
            storage_status: vec![("Backing Filesystem".into(), backing(&self.options.data_root))],
            log_driver: if driver.is_empty() { "json-file" } else { driver }.into(),
            cgroup_version: if self.machine.cgroup_v2 { "2" } else { "1" }.into(),
            cgroup_driver: "cgroupfs".into(),
            data_root: self.options.data_root.clone(),
            default_runtime: self.runtimes().default,
            security_options: self.security_options(),
            limits: hull_cgroup::support().ok(),
            event_listeners: self.events.listeners(),
        })
    }

    fn security_options(&self) -> Vec<String> {
        let profile = match &self.options.seccomp_profile {
            Some(profile) => profile.to_string_lossy().into_owned(),
            None => "builtin".to_owned(),
        };
        let mut options = vec![format!("name=seccomp,profile={profile}")];
        if self.machine.cgroup_v2 {
            options.push("name=cgroupns".to_owned());
        }
        if self.options.remap.is_some() {
            options.push("name=userns".to_owned());
        }
        if self.options.no_new_privileges {
            options.push("name=no-new-privileges".to_owned());
        }
        options
    }
}

/// Busy and idle time of all processors, from the first line of proc_stat(5), in nanoseconds.
fn system_cpu(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guests are counted in user already.
    let ticks = line.split_ascii_whitespace().skip(1).take(8).filter_map(|word| word.parse::<u64>().ok());
    ticks.sum::<u64>() * TICK
}

/// The interfaces of proc_pid_net(5), without loopback.
fn interfaces(table: &str) -> BTreeMap<String, InterfaceStats> {
    let row = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> =
            counters.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        let at = |index: usize| counters.get(index).copied().unwrap_or(0);
        let stats = InterfaceStats {
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        };
        Some((name.trim().to_owned(), stats)).filter(|(name, _)| name != "lo")
    };
    table.lines().skip(2).filter_map(row).collect()
}

/// Bytes on disk below a directory; what cannot be read counts nothing. Links are not followed.
pub(crate) async fn bytes_below(directory: PathBuf) -> Result<u64> {
    Ok(tokio::task::spawn_blocking(move || {
        let (mut open, mut bytes) = (vec![directory], 0);
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let Ok(facts) = entry.metadata() else { continue };
                bytes += facts.blocks() * 512;
                if facts.is_dir() {
                    open.push(entry.path());
                }
            }
        }
        bytes
    })
    .await?)
}

/// The name of the file system that a directory is on.
fn backing(path: &Path) -> String {
    let magic = rustix::fs::statfs(path).map(|facts| facts.f_type).unwrap_or(0);
    match magic {
        0xef53 => "extfs".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0xf2f5_2010 => "f2fs".to_owned(),
        0x2fc1_2fc1 => "zfs".to_owned(),
        other => format!("{other:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 2 0 0 0 0 0 0 1 2 0 0 0 0 0 0\n  eth0: \
                     100 2 0 1 0 0 0 0 50 1 0 0 0 0 0 0\n";
        let found = interfaces(table);
        assert_eq!(found.len(), 1);
        let eth0 = found["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_packets), (100, 1, 50, 1));
        assert_eq!(system_cpu("cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 9"), 360_000_000);
    }
}
