//! The engine itself: what it is opened with and what it holds.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use hull_cgroup::Cgroup;
use hull_image::ImageStore;
use hull_network::Networks;
use hull_plugin::Plugins;
use hull_shim::client::Program;
use hull_snapshot::{Reaper, Snapshotter};
use hull_sys::Context;

use crate::containers::{Containers, Entry};
use crate::create;
use crate::events::{EventKind, Events};
use crate::exec::Execs;
use crate::machine::Machine;
use crate::measure::Ticks;
use crate::model::{Container, LogConfig, Ulimit};
use crate::runtimes::Runtimes;
use crate::seccomp::Filters;
use crate::store::Store;
use crate::userns::Remap;
use crate::volumes::Volumes;
use crate::{Result, identity, supervisor};

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of everything that survives a boot.
    pub data_root: PathBuf,
    /// Directory of what does not: sockets of supervisors.
    pub exec_root: PathBuf,
    /// The `hull-shim` program.
    pub shim: PathBuf,
    /// The program that speaks TLS for loggers, which have none: see [`hull_shim::log::Tls`].
    pub tls: PathBuf,
    /// The program that is process 1 with `--init`; `None`: `shim` under its other name.
    pub init: Option<PathBuf>,
    /// Whether containers that say nothing get an init.
    pub init_by_default: bool,
    /// Cgroup that the containers' ones are made in.
    pub cgroup_parent: String,
    /// The runtimes that containers may name, at the beginning.
    pub runtimes: Runtimes,
    /// What the users of containers are on the host; `None`: themselves.
    pub remap: Option<Remap>,
    /// IPC mode of containers that name none: "private" or "shareable".
    pub default_ipc_mode: String,
    /// Cgroup namespace of containers that name none, "private" or "host"; `None`: as the version of cgroups wants it.
    pub default_cgroupns_mode: Option<String>,
    /// Resource limits of containers that name none.
    pub default_ulimits: Vec<Ulimit>,
    /// Log driver and options of containers that name none.
    pub default_log: LogConfig,
    /// Bytes of /dev/shm of containers that say nothing.
    pub default_shm_size: i64,
    /// Bytes that containers may write that say nothing; `None`: as much as there is.
    pub default_storage_size: Option<u64>,
    /// Whether every container gets no-new-privileges.
    pub no_new_privileges: bool,
    /// File with the seccomp policy of containers that name none; `None`: the built-in one.
    pub seccomp_profile: Option<PathBuf>,
    /// DNS servers of containers that name none.
    pub dns: Vec<String>,
    /// DNS options of containers that name none.
    pub dns_options: Vec<String>,
    /// DNS search domains of containers that name none.
    pub dns_search: Vec<String>,
    /// Whether containers that a former daemon left are to run on; those that do not are ended by the opening.
    pub live_restore: bool,
    /// How networks are made.
    pub network: hull_network::Config,
    /// How registries are reached.
    pub images: hull_image::Settings,
    /// Directories with plugins, or with files that say where they listen; empty: Hull's own and Docker's.
    pub plugin_directories: Vec<PathBuf>,
    /// Directories with specifications of CDI devices; of two devices of one name the later counts.
    pub cdi_directories: Vec<PathBuf>,
    /// The addresses that "host-gateway" means in extra hosts; empty: the default bridge's.
    pub host_gateways: Vec<std::net::IpAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_root: "/var/lib/hull".into(),
            exec_root: "/run/hull".into(),
            shim: "hull-shim".into(),
            tls: "hulld".into(),
            init: None,
            init_by_default: false,
            cgroup_parent: "hull".into(),
            runtimes: Runtimes::default(),
            remap: None,
            default_ipc_mode: "private".into(),
            default_cgroupns_mode: None,
            default_ulimits: Vec::new(),
            default_log: LogConfig::default(),
            default_shm_size: 64 << 20,
            default_storage_size: None,
            no_new_privileges: false,
            seccomp_profile: None,
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            live_restore: true,
            network: hull_network::Config::default(),
            images: hull_image::Settings::default(),
            plugin_directories: Vec::new(),
            cdi_directories: crate::cdi::DIRECTORIES.map(PathBuf::from).to_vec(),
            host_gateways: Vec::new(),
        }
    }
}

/// The owner of all containers. Shared by reference; every method may be called at any time by anyone.
pub struct Engine {
    pub(crate) options: Options,
    pub(crate) id: String,
    pub(crate) machine: Machine,
    pub(crate) store: Store,
    pub(crate) snapshots: Arc<Snapshotter>,
    pub(crate) images: ImageStore,
    pub(crate) networks: Arc<Networks>,
    pub(crate) containers: Containers,
    pub(crate) execs: Execs,
    pub(crate) volumes: Volumes,
    pub(crate) filters: Filters,
    pub(crate) runtimes: RwLock<Runtimes>,
    /// Bytes of /dev/shm of containers that name none.
    pub(crate) default_shm_size: AtomicI64,
    pub(crate) events: Events,
    pub(crate) ticks: Ticks,
    /// Directories that nobody names any more.
    pub(crate) reaper: Reaper,
    /// Health checks that ran, and that failed.
    pub(crate) probes: AtomicU64,
    pub(crate) failed_probes: AtomicU64,
    /// Whether all containers are being ended: no policy starts one again.
    pub(crate) ending: AtomicBool,
    shim: OnceLock<Program>,
}

impl Engine {
    /// Opens the state below the roots, finds the containers that run and watches them again, and starts those
    /// whose restart policy says so.
    pub async fn open(options: Options) -> Result<Arc<Self>> {
        let engine = Arc::new(tokio::task::spawn_blocking(|| Self::load(options)).await??);
        engine.reconcile().await?;
        engine.watch_firewall()?;
        Ok(engine)
    }

    fn load(options: Options) -> Result<Self> {
        let (data, exec) = (options.data_root.clone(), options.exec_root.clone());
        // The socket may be in there, for a group that may pass and not look.
        make_directory(&exec, 0o711)?;
        for directory in [data.clone(), data.join("containers"), data.join("volumes"), exec.join("shim")] {
            private_directory(&directory)?;
        }
        let store = Store::open(&data.join("hull.db"))?;
        let id = store.fact("id", || uuid().unwrap_or_default())?;
        let snapshots = Arc::new(Snapshotter::open(&data.join("snapshots"))?);
        create::check_default_size(&snapshots, options.default_storage_size)?;
        let images = ImageStore::open(&data.join("images"), Arc::clone(&snapshots), options.images.clone())?;
        let cgroups = hull_cgroup::unified_mount().map(Path::to_owned);
        let network = hull_network::Config { cgroups, ..options.network.clone() };
        let networks = Arc::new(Networks::open(store.connection(), network)?);
        let recorded = store.containers()?;
        let plugins = Plugins::new(plugin_directories(&options));
        let volumes = Volumes::load(&store, &data.join("volumes"), &recorded, plugins)?;
        let containers = Containers::default();
        for container in recorded {
            containers.add(&Entry::new(container));
        }
        let (execs, events) = (Execs::default(), Events::open(options.data_root.join("events")));
        let machine = Machine::look()?;
        let filters = Filters::new(options.seccomp_profile.as_deref())?;
        let runtimes = RwLock::new(options.runtimes.clone());
        let default_shm_size = AtomicI64::new(options.default_shm_size);
        Ok(Self {
            options,
            runtimes,
            default_shm_size,
            id,
            machine,
            store,
            snapshots,
            images,
            networks,
            containers,
            execs,
            volumes,
            filters,
            events,
            ticks: Ticks::default(),
            reaper: Reaper::default(),
            probes: AtomicU64::new(0),
            failed_probes: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            shim: OnceLock::new(),
        })
    }

    /// A random id of its own, which stays.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the engine was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Processors, and bytes of memory, of this machine.
    pub fn size_of_machine(&self) -> (u32, u64) {
        (self.machine.processors, self.machine.memory)
    }

    /// How many health checks ran, and how many of them failed.
    pub fn health_checks(&self) -> (u64, u64) {
        (self.probes.load(Ordering::Relaxed), self.failed_probes.load(Ordering::Relaxed))
    }

    /// What happened and happens.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Stops watching. Containers go on running and are found again at the next [`Engine::open`]: their supervisors
    /// need nobody.
    pub async fn shutdown(&self) {
        self.store.checkpoint();
        self.reaper.wait();
        let runs = self.containers().iter().any(|container| container.state.status.is_running());
        let parent = format!("/{}", self.options.cgroup_parent.trim_matches('/'));
        if let (false, Ok(cgroup)) = (runs, Cgroup::open(&parent)) {
            // Nothing is in it; one that stays is used again.
            let _ = cgroup.remove();
        }
    }

    /// The supervisor's program.
    pub(crate) fn shim(&self) -> Result<&Program> {
        match self.shim.get() {
            Some(program) => Ok(program),
            None => {
                let program = Program::open(&self.options.shim)?;
                Ok(self.shim.get_or_init(|| program))
            }
        }
    }

    /// Where the supervisor of a container lives.
    pub(crate) fn shim_dir(&self, id: &str) -> PathBuf {
        supervisor::directory(&self.options.exec_root, id)
    }

    /// Tells that `action` happened to a container.
    pub(crate) fn emit(&self, container: &Container, action: impl Into<String>) {
        self.emit_with(container, action, []);
    }

    /// The same with further attributes.
    pub(crate) fn emit_with(
        &self,
        container: &Container,
        action: impl Into<String>,
        more: impl IntoIterator<Item = (String, String)>,
    ) {
        let mut attributes = container.config.labels.clone();
        if !container.config.image.is_empty() {
            attributes.insert("image".into(), container.config.image.clone());
        }
        attributes.insert("name".into(), container.name.clone());
        attributes.extend(more);
        self.events.emit(EventKind::Container, action, &container.id, attributes);
    }
}

/// Where plugins are looked for.
fn plugin_directories(options: &Options) -> Vec<PathBuf> {
    if !options.plugin_directories.is_empty() {
        return options.plugin_directories.clone();
    }
    let own = options.exec_root.join("plugins");
    let fixed = [
        "/run/docker/plugins",
        "/etc/hull/plugins",
        "/usr/lib/hull/plugins",
        "/etc/docker/plugins",
        "/usr/lib/docker/plugins",
    ];
    std::iter::once(own).chain(fixed.map(PathBuf::from)).collect()
}

/// Makes a directory that only root may enter, if it is missing.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    make_directory(path, 0o700)
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    Ok(std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).on("mkdir", path)?)
}

/// A random id in the form of RFC 4122, as `docker info` shows it.
fn uuid() -> Result<String> {
    let mut bytes = [0; 16];
    identity::random(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    Ok(parts.join("-"))
}
