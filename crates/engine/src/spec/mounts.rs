//! The mounts: the kernel's file systems, the container's own files, and what the user asked for.

use std::path::{Path, PathBuf};

use hull_oci::runtime::{Mount, MountBuilder};

use super::process::INIT;
use super::{Facts, SecurityOptions, built};
use crate::model::{Container, Device, MountKind, MountPoint, MountSpec};
use crate::{Error, Result};

/// Where shared memory is.
pub(crate) const SHM: &str = "/dev/shm";

/// One mount on its way.
struct Draft {
    destination: String,
    kind: String,
    source: PathBuf,
    options: Vec<String>,
}

impl Draft {
    fn new(destination: &str, kind: &'static str, source: impl Into<PathBuf>, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { destination: destination.into(), kind: kind.into(), source: source.into(), options }
    }

    fn build(self) -> Result<Mount> {
        built(
            MountBuilder::default()
                .destination(self.destination)
                .typ(self.kind)
                .source(self.source)
                .options(self.options)
                .build(),
        )
    }
}

/// Every mount of a container, in the order of their making.
pub(super) fn of(container: &Container, security: &SecurityOptions, facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let wanted = user_mounts(container, facts.users.is_some())?;
    let replaced: Vec<String> = wanted.iter().map(|mount| mount.destination.clone()).collect();
    let is_replaced = |destination: &str| {
        replaced
            .iter()
            .any(|other| other == destination || (other == "/dev" && destination.starts_with("/dev/")))
    };
    let mut mounts = kernel_mounts(container, security, facts);
    mounts.retain(|mount| !is_replaced(&mount.destination));
    let mut others = own_files(container);
    others.retain(|mount| !is_replaced(&mount.destination));
    others.extend(wanted);
    if let Some(init) = facts.init {
        mounts.push(Draft::new(INIT, "bind", init, &["bind", "ro"]));
    }
    // Parents before what is mounted in them: a volume at /etc does not hide the files that are the engine's.
    others.sort_by_key(|mount| mount.destination.matches('/').count());
    mounts.extend(others);
    mounts.into_iter().map(Draft::build).collect()
}

fn kernel_mounts(container: &Container, security: &SecurityOptions, facts: &Facts<'_>) -> Vec<Draft> {
    let host = &container.host;
    // Privileged containers may change the kernel's files, unless everything is read-only.
    let access = if host.privileged && !host.readonly_rootfs { "rw" } else { "ro" };
    let cgroups = if security.writable_cgroups == Some(true) { "rw" } else { access };
    let mut mounts = vec![
        Draft::new("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        Draft::new("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        Draft::new(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        Draft::new("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        Draft::new("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", cgroups]),
    ];
    if host.ipc_mode == "host" {
        mounts.push(Draft::new(
            "/dev/mqueue",
            "bind",
            "/dev/mqueue",
            &["rbind", "nosuid", "noexec", "nodev"],
        ));
        mounts.push(Draft::new("/dev/shm", "bind", "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]));
        return mounts;
    }
    mounts.push(Draft::new("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    if facts.ipc_of.is_some() {
        // That of the other container: see `sources`.
        let shared = &["bind", "rprivate", "nosuid", "noexec", "nodev"];
        mounts.push(Draft::new(SHM, "bind", "shm", shared));
    } else if host.ipc_mode != "none" {
        let size = if host.shm_size > 0 { host.shm_size } else { facts.shm_size };
        let size = format!("size={size}");
        mounts.push(Draft::new(SHM, "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
    }
    mounts
}

/// The files that the engine writes for each container.
fn own_files(container: &Container) -> Vec<Draft> {
    let access = if container.host.readonly_rootfs { "ro" } else { "rw" };
    let file =
        |destination, source: &Path| Draft::new(destination, "bind", source, &["rbind", "rprivate", access]);
    vec![
        file("/etc/resolv.conf", &container.resolv_conf_path),
        file("/etc/hostname", &container.hostname_path),
        file("/etc/hosts", &container.hosts_path),
    ]
}

/// `mapped`: the container's users are not the host's.
fn user_mounts(container: &Container, mapped: bool) -> Result<Vec<Draft>> {
    let mut mounts = container.mounts.iter().map(user_mount).collect::<Result<Vec<_>>>()?;
    for (mount, draft) in container.mounts.iter().zip(&mut mounts).filter(|_| mapped) {
        // Ours, so with the ids of inside; what is bound from the host has the host's.
        if mount.kind == MountKind::Volume && mount.device.is_none() && mount.driver == "local" {
            draft.options.push("idmap".to_owned());
        }
    }
    for (destination, options) in container.host.tmpfs.iter().flatten() {
        mounts.push(Draft {
            destination: destination.clone(),
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            options: tmpfs_options(options)?,
        });
    }
    Ok(mounts)
}

fn user_mount(mount: &MountPoint) -> Result<Draft> {
    if mount.kind == MountKind::Tmpfs {
        return Ok(Draft {
            destination: mount.destination.clone(),
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            options: mount.spec.as_ref().map(spec_tmpfs_options).unwrap_or_default(),
        });
    }
    if mount.kind == MountKind::Image {
        // Its files come from layers: see `sources`.
        return Ok(Draft::new(&mount.destination, "bind", "image", &["bind", "rprivate", "ro"]));
    }
    if let Some(device) = &mount.device {
        return Ok(device_mount(mount, device));
    }
    let bind = mount.spec.as_ref().and_then(|spec| spec.bind.as_ref());
    let recursive = !bind.is_some_and(|bind| bind.non_recursive);
    let propagation = if mount.propagation.is_empty() { "rprivate" } else { &mount.propagation };
    let mut options = vec![if recursive { "rbind" } else { "bind" }.to_owned(), propagation.to_owned()];
    if !mount.rw {
        // What is mounted below a read-only mount is read-only too, as in Docker since 25.
        let asked = bind.is_some_and(|bind| bind.read_only_non_recursive);
        let forced = bind.is_some_and(|bind| bind.read_only_force_recursive);
        let shallow = !recursive || asked || (mount.shallow_read_only && !forced);
        options.push(if shallow { "ro" } else { "rro" }.to_owned());
    }
    Ok(Draft {
        destination: mount.destination.clone(),
        kind: "bind".into(),
        source: mount.source.clone().into(),
        options,
    })
}

/// What a volume's options mount: a directory of the host here and now, a file system as the engine has made it.
fn device_mount(mount: &MountPoint, device: &Device) -> Draft {
    let mut options = if device.is_bind() { device.options.clone() } else { Vec::new() };
    options.push("rprivate".to_owned());
    if !mount.rw {
        options.push("ro".to_owned());
    }
    Draft {
        destination: mount.destination.clone(),
        kind: if device.is_bind() { "bind".to_owned() } else { device.filesystem.clone() },
        source: device.device.clone().into(),
        options,
    }
}

/// What a tmpfs can be told, beside the attributes of every mount.
const TMPFS: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
/// Attributes, propagation, and words that change nothing here.
const WORDS: [&str; 36] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "private",
    "rbind",
    "relatime",
    "remount",
    "ro",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "sync",
];

/// The options of `--tmpfs`: Docker's own first, the user's may take them back.
fn tmpfs_options(text: &str) -> Result<Vec<String>> {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(String::from).to_vec();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let (name, known) = match option.split_once('=') {
            Some((name, _)) => (name, TMPFS.contains(&name)),
            None => (option, WORDS.contains(&option) || option == "unbindable"),
        };
        if !known {
            return Err(Error::invalid(format!("invalid tmpfs option \"{name}\"")));
        }
        let opposite = match option {
            "exec" | "suid" | "dev" => format!("no{option}"),
            "rw" => "ro".to_owned(),
            "ro" => "rw".to_owned(),
            _ => String::new(),
        };
        options.retain(|old| *old != opposite && old != option);
        options.push(option.to_owned());
    }
    Ok(options)
}

/// The options of `--mount type=tmpfs`.
fn spec_tmpfs_options(spec: &MountSpec) -> Vec<String> {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(String::from).to_vec();
    if spec.read_only {
        options.push("ro".to_owned());
    }
    let Some(tmpfs) = &spec.tmpfs else { return options };
    if tmpfs.mode != 0 {
        options.push(format!("mode={:o}", tmpfs.mode));
    }
    if tmpfs.size_bytes > 0 {
        options.push(format!("size={}", tmpfs.size_bytes));
    }
    for option in &tmpfs.options {
        if let Some(opposite) = option.first().map(|name| format!("no{name}")) {
            options.retain(|old| *old != opposite);
        }
        options.push(option.join("="));
    }
    options
}

/// How mounts travel between the container's root and the host's: as far as its most open mount needs.
pub(super) fn root_propagation(container: &Container) -> Option<String> {
    let any = |word: &str| container.mounts.iter().any(|mount| mount.propagation.ends_with(word));
    match () {
        () if any("shared") => Some("rshared".to_owned()),
        () if any("slave") => Some("rslave".to_owned()),
        () => None,
    }
}
