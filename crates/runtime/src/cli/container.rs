//! What is remembered of a container between two commands: the directory `<root>/<id>`, mode 0700, with
//!
//! - `state.json`, a [`Record`], written once, when the container was created;
//! - `start`, the socket that the container's process waits at; `start` removes it.
//!
//! Whether a container runs is asked of the kernel each time: its process is named by pid *and* start time, so that
//! a pid that was given away is not taken for it. A directory without a readable record is one whose `create` was
//! cut; `delete --force` removes it.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use hull_cgroup::Cgroup;
use hull_oci::runtime::{ContainerState, Process, Spec, State};
use hull_sys::Context;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

const RECORD: &str = "state.json";
const GATE: &str = "start";

/// A container as it was created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) pid: i32,
    /// When the process began, in clock ticks since boot.
    start_time: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    /// `None` if it has none.
    pub(crate) cgroup: Option<String>,
    #[serde(default)]
    pub(crate) annotations: HashMap<String, String>,
    /// What the container runs: the pattern for `exec`.
    pub(crate) process: Option<Process>,
    /// The version of its spec.
    #[serde(default)]
    version: String,
    /// What its processes share, for `exec`.
    #[serde(default)]
    pub(crate) common: Option<hull_runtime::Common>,
    /// Its share of caches and memory bandwidth, to be removed with it.
    #[serde(default)]
    pub(crate) rdt: Option<hull_runtime::rdt::Group>,
    /// What is left to run for the container when it is started and deleted.
    #[serde(default)]
    pub(crate) hooked: Option<hull_runtime::hooks::Hooked>,
    /// The container's own filter, for `exec`.
    pub(crate) seccomp: Option<hull_runtime::seccomp::Program>,
    /// The `cgroupsPath` of a container whose cgroup is systemd's.
    #[serde(default)]
    pub(crate) scope: Option<String>,
    /// The name of the container's session keyring.
    #[serde(default)]
    pub(crate) keyring: Option<String>,
}

/// A container's directory.
#[derive(Debug)]
pub(crate) struct Container {
    dir: PathBuf,
    id: String,
}

/// A directory that is removed again, unless its container comes to be.
pub(crate) struct New(Option<Container>);

impl Container {
    /// Makes the directory of a new container.
    pub(crate) fn create(root: &Path, id: &str) -> Result<New> {
        let container = Self::at(root, id)?;
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).recursive(true).create(root).map_err(|e| Error::file("mkdir", root, e))?;
        match builder.recursive(false).create(&container.dir) {
            Ok(()) => Ok(New(Some(container))),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::new(format!("container with id exists: {id}")))
            }
            Err(e) => Err(Error::file("mkdir", &container.dir, e)),
        }
    }

    /// The directory of a container that exists.
    pub(crate) fn open(root: &Path, id: &str) -> Result<Self> {
        let container = Self::at(root, id)?;
        match container.dir.is_dir() {
            true => Ok(container),
            false => Err(absent(id)),
        }
    }

    /// All containers, by name.
    pub(crate) fn all(root: &Path) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|e| Error::file("read", root, e))?,
        };
        let mut ids: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        ids.sort();
        Ok(ids.iter().filter_map(|id| Self::open(root, id).ok()).collect())
    }

    fn at(root: &Path, id: &str) -> Result<Self> {
        let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
        if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.chars().all(sane) {
            return Err(Error::usage(format!("invalid container id {id:?}")));
        }
        Ok(Self { dir: root.join(id), id: id.to_owned() })
    }

    /// Remembers a container whose process is `pid`.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let path = self.dir.join(RECORD);
        let text =
            serde_json::to_vec(record).map_err(|e| Error::new(format!("state of {}: {e}", self.id)))?;
        let temporary = self.dir.join(".state.json");
        fs::write(&temporary, text).map_err(|e| Error::file("write", &temporary, e))?;
        fs::rename(&temporary, &path).map_err(|e| Error::file("rename", &path, e))
    }

    pub(crate) fn load(&self) -> Result<Record> {
        let path = self.dir.join(RECORD);
        let text = fs::read(&path).map_err(|e| match e.kind() {
            // It is being created, or deleted.
            std::io::ErrorKind::NotFound => absent(&self.id),
            _ => Error::file("read", &path, e),
        })?;
        serde_json::from_slice(&text).map_err(|e| Error::new(format!("read {}: {e}", path.display())))
    }

    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.dir).map_err(|e| Error::file("remove", &self.dir, e))
    }

    /// Where it is remembered.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The user whose container it is.
    pub(crate) fn owner(&self) -> Option<u32> {
        fs::metadata(&self.dir).ok().map(|of| of.uid())
    }

    /// What the kernel says of it.
    pub(crate) fn status(&self, record: &Record) -> ContainerState {
        match record.is_alive() {
            false => ContainerState::Stopped,
            true if self.dir.join(GATE).exists() => ContainerState::Created,
            true => ContainerState::Running,
        }
    }

    /// The socket that the container's process is to wait at.
    pub(crate) fn listen(&self) -> Result<OwnedFd> {
        let socket = gate_socket()?;
        let (dir, address) = self.gate_address()?;
        rustix::net::bind(&socket, &address).on("bind", self.dir.join(GATE))?;
        rustix::net::listen(&socket, 1).on("listen", self.dir.join(GATE))?;
        drop(dir);
        Ok(socket)
    }

    /// Lets the container's process go on; it answers over the connection.
    pub(crate) fn connect(&self) -> Result<OwnedFd> {
        let socket = gate_socket()?;
        let (dir, address) = self.gate_address()?;
        rustix::net::connect(&socket, &address).on("connect", self.dir.join(GATE))?;
        drop(dir);
        Ok(socket)
    }

    /// The container has been started, for good or bad.
    pub(crate) fn forget_gate(&self) -> Result<()> {
        let path = self.dir.join(GATE);
        fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))
    }

    /// The address by way of the open directory: paths of sockets may have 107 bytes only.
    fn gate_address(&self) -> Result<(OwnedFd, SocketAddrUnix)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&self.dir, flags, Mode::empty()).on("open", &self.dir)?;
        let path = format!("/proc/self/fd/{}/{GATE}", dir.as_raw_fd());
        Ok((dir, SocketAddrUnix::new(path.as_str()).on("address", &path)?))
    }
}

fn absent(id: &str) -> Error {
    Error::new(format!("container does not exist: {id}"))
}

fn gate_socket() -> Result<OwnedFd> {
    let made =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    Ok(made.op("socket")?)
}

impl Record {
    /// What is to be remembered of a container that was made a moment ago.
    pub(crate) fn new(
        id: &str,
        pid: i32,
        bundle: PathBuf,
        rootfs: PathBuf,
        cgroup: Option<String>,
        spec: &Spec,
    ) -> Self {
        Self {
            id: id.to_owned(),
            pid,
            start_time: start_time(pid).unwrap_or(0),
            bundle,
            rootfs,
            created: super::clock::now(),
            cgroup,
            annotations: spec.annotations().clone().unwrap_or_default(),
            process: spec.process().clone(),
            version: spec.version().clone(),
            common: hull_runtime::Common::of(spec),
            rdt: None,
            hooked: None,
            seccomp: None,
            scope: None,
            keyring: None,
        }
    }

    /// Whether the container's first process has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    /// Its state, but for the status, as agents are told it.
    pub(crate) fn state(&self) -> State {
        let mut state = State::default();
        state.set_version(self.version.clone()).set_id(self.id.clone()).set_bundle(self.bundle.clone());
        state.set_pid(Some(self.pid)).set_annotations(Some(self.annotations.clone()));
        state
    }

    /// Names the container's process, if it has not ended.
    pub(crate) fn pidfd(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // Looked at after the open: now it cannot become another one.
            Ok(pidfd) if self.is_alive() => Ok(Some(pidfd)),
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(Error::file("pidfd_open", self.pid.to_string(), errno)),
        }
    }

    /// Sends a signal to the container's first process. One that is paused ends by SIGKILL all the same.
    pub(crate) fn signal(&self, pidfd: &OwnedFd, number: i32) -> Result<()> {
        hull_sys::signal::send(pidfd.as_fd(), number)?;
        if number == hull_sys::signal::SIGKILL { self.wake() } else { Ok(()) }
    }

    /// Thaws it, if it is frozen: what version 1 has frozen dies only when it runs again.
    pub(crate) fn wake(&self) -> Result<()> {
        let woken = self.cgroup()?.map_or(Ok(()), |cgroup| match cgroup.frozen()? {
            true => cgroup.thaw(),
            false => Ok(()),
        });
        match woken {
            // Whoever waited for its end has cleared up after it already.
            Err(hull_cgroup::Error::NotFound(_)) => Ok(()),
            woken => Ok(woken?),
        }
    }

    /// Its processes. Of one without a cgroup only the first is known.
    pub(crate) fn pids(&self) -> Result<Vec<i32>> {
        match self.cgroup()? {
            Some(cgroup) => Ok(cgroup.pids()?),
            None => Ok(if self.is_alive() { vec![self.pid] } else { Vec::new() }),
        }
    }

    /// Its cgroup, if it still exists.
    pub(crate) fn cgroup(&self) -> Result<Option<Cgroup>> {
        let Some(cgroup) = &self.cgroup else { return Ok(None) };
        match Cgroup::open(cgroup) {
            Err(hull_cgroup::Error::NotFound(_)) => Ok(None),
            opened => Ok(Some(opened?)),
        }
    }
}

impl New {
    /// The directory to be.
    pub(crate) fn container(&self) -> Result<&Container> {
        self.0.as_ref().ok_or_else(|| Error::new("the container is gone"))
    }

    /// The container has come to be.
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if let Some(container) = self.0.take() {
            // The failure that led here is the one to be told.
            let _ = container.remove();
        }
    }
}

/// When a process that has not ended began: field 22 of proc_pid_stat(5).
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let time = fields.nth(18)?.parse().ok()?;
    (!ended).then_some(time)
}
