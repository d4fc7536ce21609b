//! Making a container: everything but its process.
//!
//! The record is written last: until then all that was made is undone when a step fails, and what a crash leaves
//! is swept at the next opening, because nothing points to it.

mod binds;
pub(crate) mod check;
pub(crate) mod merge;
mod mounts;
mod storage;

pub(crate) use binds::clean;
pub(crate) use mounts::is_at;
pub(crate) use storage::check_default_size;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hull_image::Image;
use hull_oci::Platform;
use hull_snapshot::Snapshotter;
use hull_sys::root::Root;
use jiff::Timestamp;
use rustix::io::Errno;

use crate::containers::{Entry, ReservedName};
use crate::engine::private_directory;
use crate::model::{
    Container, ContainerConfig, CreateRequest, Created, EndpointSettings, HostConfig, MountPoint,
    NetworkMode, NetworkSettings, State,
};
use crate::spec::{self, SecurityOptions};
use crate::{Engine, Error, Result, identity, names};

/// How often another random name is tried before giving up.
const NAME_ATTEMPTS: u32 = 16;

impl Engine {
    /// Makes a container. Nothing runs yet.
    pub async fn create(self: &Arc<Self>, request: CreateRequest) -> Result<Created> {
        let engine = Arc::clone(self);
        // Directories are made and an image may be copied into volumes: that blocks.
        tokio::task::spawn_blocking(move || engine.create_now(request)).await?
    }

    fn create_now(&self, request: CreateRequest) -> Result<Created> {
        let CreateRequest { name, platform, mut config, mut host, networking, shallow_read_only, .. } =
            request;
        if request.hosts_cgroups && !self.machine.cgroup_v2 && host.cgroupns_mode.is_empty() {
            host.cgroupns_mode = "host".to_owned();
        }
        let mut warnings = check::request(&config, &mut host, &self.machine)?;
        self.check_runtime(&mut host.runtime)?;
        self.check_users(&host)?;
        let image = match config.image.as_str() {
            // It has what is mounted into it, and nothing else.
            "" => None,
            name => Some(self.images.get_for(name, platform.as_ref())?),
        };
        let id = identity::fresh()?;
        if let Some(image) = &image {
            warnings.extend(platform_warning(&config.image, image, platform.as_ref())?);
        }
        let nothing = hull_image::Config::default();
        merge::defaults(&mut config, image.as_ref().map_or(&nothing, |image| &image.config.config))?;
        self.adapt(&id, &mut config, &mut host)?;
        let name = self.reserve_name(name.as_deref(), &id)?;
        let mut container = self.draft(&id, name.text(), image.as_ref(), config, host)?;
        container.network.networks = self.wanted_networks(&container, networking)?;

        let directory = Directory::make(&container.directory)?;
        let wanted = container.host.storage_opt.as_ref();
        let size = storage::size(wanted, self.options.default_storage_size, &self.snapshots)?;
        let snapshot = Snapshot::of_container(&self.snapshots, &id, &container.layers, size)?;
        let (mounts, volumes) = self.resolve_mounts(&container, shallow_read_only)?;
        container.mounts = mounts;
        let images = self.hold_images(&container)?;
        self.fill_new_volumes(&container)?;
        self.make_working_dir(&container)?;
        self.record_created(&container)?;

        self.containers.add(&Entry::new(container.clone()));
        name.keep();
        directory.keep();
        snapshot.keep();
        images.into_iter().for_each(Snapshot::keep);
        volumes.keep();
        self.emit(&container, "create");
        Ok(Created { id, warnings })
    }

    /// A working directory that is not there is made now, as in Docker: it may be copied into before the start.
    fn make_working_dir(&self, container: &Container) -> Result<()> {
        let dir = Path::new(&container.config.working_dir);
        if dir.parent().is_none() {
            return Ok(());
        }
        let root = Root::from(self.snapshots.mounts(&container.id)?.mount()?);
        match root.mkdir_all(dir, 0o755) {
            Err(why) if why.is(Errno::NOTDIR) => {
                Err(Error::invalid(format!("Cannot mkdir: {} is not a directory", dir.display())))
            }
            // What leads nowhere, the start finds out.
            Err(why) if why.is(Errno::EXIST) => Ok(()),
            made => Ok(made.map(drop)?),
        }
    }

    /// Fills in what the daemon decides.
    fn adapt(&self, id: &str, config: &mut ContainerConfig, host: &mut HostConfig) -> Result<()> {
        if config.hostname.is_empty() {
            config.hostname = match NetworkMode::parse(&host.network_mode) {
                NetworkMode::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
                _ => id.get(..12).unwrap_or(id).to_owned(),
            };
        }
        if host.network_mode.is_empty() {
            host.network_mode = "default".into();
        }
        if host.resources.memory > 0 && host.resources.memory_swap == 0 {
            host.resources.memory_swap = host.resources.memory.saturating_mul(2);
        }
        if host.shm_size == 0 {
            host.shm_size = self.default_shm_size.load(Ordering::Relaxed);
        }
        if host.ipc_mode.is_empty() {
            host.ipc_mode.clone_from(&self.options.default_ipc_mode);
        }
        if host.cgroupns_mode.is_empty() {
            host.cgroupns_mode = self.cgroupns_mode(host.privileged);
        }
        if !config.working_dir.is_empty() {
            config.working_dir = clean(&config.working_dir);
        }
        if !self.machine.cgroup_v2 {
            host.resources.oom_kill_disable.get_or_insert(false);
        }
        hide_paths(host, self.machine.processors)?;
        self.adapt_log(host)?;
        self.adapt_links(host)?;
        if let NetworkMode::Container(other) = NetworkMode::parse(&host.network_mode) {
            // One that is not there is an error of the start, as in Docker: here it would read as a missing image.
            if let Ok(other) = self.container(&other) {
                host.network_mode = format!("container:{}", other.id);
            }
        }
        for mode in [&mut host.pid_mode, &mut host.ipc_mode] {
            if let Some(other) = mode.strip_prefix("container:") {
                let other = self.container(other).map_err(|error| Error::invalid(error.message))?;
                *mode = format!("container:{}", other.id);
            }
        }
        label_security(host);
        Ok(())
    }

    /// The cgroup namespace of a container that names none: as Docker's, also a privileged one's is its own on version 2.
    pub fn cgroupns_mode(&self, privileged: bool) -> String {
        match &self.options.default_cgroupns_mode {
            _ if privileged && !self.machine.cgroup_v2 => "host".to_owned(),
            Some(mode) => mode.clone(),
            None => if self.machine.cgroup_v2 { "private" } else { "host" }.to_owned(),
        }
    }

    fn adapt_log(&self, host: &mut HostConfig) -> Result<()> {
        let log = &mut host.log_config;
        if log.driver.is_empty() {
            let options = std::mem::take(&mut log.options);
            *log = self.options.default_log.clone();
            log.options.extend(options);
        }
        if log.driver.is_empty() {
            log.driver = "json-file".into();
        }
        crate::start::check_log(log)
    }

    /// Keeps the layers of mounted images as long as the container is there.
    fn hold_images(&self, container: &Container) -> Result<Vec<Snapshot<'_>>> {
        let hold =
            |(key, mount): (String, &MountPoint)| Snapshot::of_layers(&self.snapshots, key, &mount.layers);
        container.image_mounts().map(hold).collect()
    }

    fn reserve_name(&self, wanted: Option<&str>, id: &str) -> Result<ReservedName<'_>> {
        if let Some(wanted) = wanted.filter(|name| !name.is_empty()) {
            return self.containers.reserve(names::check(wanted)?, id);
        }
        for attempt in 0..NAME_ATTEMPTS {
            if let Ok(name) = self.containers.reserve(&names::random(attempt)?, id) {
                return Ok(name);
            }
        }
        self.containers.reserve(id, id)
    }

    fn draft(
        &self,
        id: &str,
        name: &str,
        image: Option<&Image>,
        config: ContainerConfig,
        host: HostConfig,
    ) -> Result<Container> {
        let (path, args) = merge::command(&config).ok_or_else(no_command)?;
        let directory = self.options.data_root.join("containers").join(id);
        let file = |name: &str| directory.join(name);
        let logged = host.log_config.driver == "json-file";
        let mut container = Container {
            id: id.into(),
            name: name.into(),
            created: Timestamp::now(),
            path,
            args,
            image_id: image.map(|image| image.id.to_string()).unwrap_or_default(),
            image_manifest: image.map(|image| image.target.digest.to_string()).unwrap_or_default(),
            platform: "linux".into(),
            layers: image.map(|image| image.chain_ids.to_vec()).unwrap_or_default(),
            mounts: Vec::new(),
            network: NetworkSettings::default(),
            state: State::default(),
            restart_count: 0,
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: if logged { file(&format!("{id}-json.log")) } else { "".into() },
            exec_ids: Vec::new(),
            directory,
            config,
            host,
        };
        self.share_files(&mut container);
        Ok(container)
    }

    /// In another container's network, its files apply; without one the start fails.
    fn share_files(&self, container: &mut Container) {
        if let NetworkMode::Container(other) = NetworkMode::parse(&container.host.network_mode)
            && let Ok(other) = self.container(&other)
        {
            container.resolv_conf_path.clone_from(&other.resolv_conf_path);
            container.hosts_path.clone_from(&other.hosts_path);
            container.hostname_path.clone_from(&other.hostname_path);
            container.config.hostname.clone_from(&other.config.hostname);
        }
    }
}

fn no_command() -> Error {
    Error::invalid("no command specified")
}

/// Says what is hidden in it, so that inspect can tell.
fn hide_paths(host: &mut HostConfig, processors: u32) -> Result<()> {
    let security = SecurityOptions::parse(host.security_opt.as_deref().unwrap_or_default())?;
    if security.system_paths_unconfined {
        (host.masked_paths, host.readonly_paths) = (Some(Vec::new()), Some(Vec::new()));
    }
    if !host.privileged {
        host.masked_paths.get_or_insert_with(|| spec::masked_paths(processors));
        host.readonly_paths.get_or_insert_with(spec::read_only_paths);
    }
    Ok(())
}

/// Who shares processes or memory with others has no label of his own; Docker says so.
fn label_security(host: &mut HostConfig) {
    let shares = host.ipc_mode == "host" || host.pid_mode == "host" || host.privileged;
    let labelled = host.security_opt.iter().flatten().any(|option| option.starts_with("label"));
    if shares && !labelled {
        host.security_opt.get_or_insert_default().push("label=disable".to_owned());
    }
}

/// An image of another platform is used all the same, unless the user asked for a certain one.
fn platform_warning(name: &str, image: &Image, wanted: Option<&Platform>) -> Result<Option<String>> {
    let (found, host) = (image.platform(), Platform::host());
    if let Some(wanted) = wanted.filter(|wanted| !wanted.matches(&found)) {
        return Err(Error::not_found(format!(
            "image with reference {name} was found but its platform ({found}) does not match the specified platform \
             ({wanted})"
        )));
    }
    let warns = wanted.is_none() && !host.matches(&found);
    Ok(warns.then(|| {
        // As the image says, and with what this machine's processor can do.
        let (said, host) = (&image.config, Platform::host_in_full());
        let parts = [&said.os, &said.architecture, &said.variant].map(String::as_str);
        let found = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
        format!(
            "The requested image's platform ({found}) does not match the detected host platform ({host}) and no \
             specific platform was requested"
        )
    }))
}

impl EndpointSettings {
    /// Whether the user asked for something that only his own networks have.
    pub(crate) fn wants_address(&self) -> bool {
        self.wanted_ipv4.is_some() || self.wanted_ipv6.is_some()
    }
}

/// A container's directory; removed unless kept.
struct Directory(Option<PathBuf>);

impl Directory {
    fn make(path: &Path) -> Result<Self> {
        private_directory(path)?;
        Ok(Self(Some(path.to_owned())))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Left behind, it is swept at the next opening.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// A container's snapshot; removed unless kept.
struct Snapshot<'a> {
    snapshots: &'a Snapshotter,
    key: Option<String>,
}

impl<'a> Snapshot<'a> {
    fn of_container(
        snapshots: &'a Snapshotter,
        id: &str,
        layers: &[hull_oci::Digest],
        size: Option<u64>,
    ) -> Result<Self> {
        snapshots.prepare_container(id, layers, size)?;
        Ok(Self { snapshots, key: Some(id.to_owned()) })
    }

    fn of_layers(snapshots: &'a Snapshotter, key: String, layers: &[hull_oci::Digest]) -> Result<Self> {
        snapshots.prepare(&key, layers)?;
        Ok(Self { snapshots, key: Some(key) })
    }

    fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            // Left behind, it is swept at the next opening.
            let _ = self.snapshots.remove(key);
        }
    }
}
