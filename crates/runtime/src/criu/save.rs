//! Saving a container that runs.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use hull_cgroup::Cgroup;
use hull_oci::runtime::Spec;
use hull_sys::root::Root;
use rustix::fs::{Mode, OFlags};

use super::{
    Call, DESCRIPTORS, Error, NETWORK, Result, SHARED, Settings, check, external_mounts, make_directory,
    remove_yard,
};

/// What is saved, and what becomes of the container then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// All of it, and its processes end.
    End,
    /// All of it, and it runs on.
    LeaveRunning,
    /// Its memory only, and it runs on.
    PreDump,
}

/// A container that runs.
#[derive(Debug)]
pub struct Save<'a> {
    /// Its first process.
    pub pid: i32,
    /// What it was made of.
    pub spec: &'a Spec,
    /// The directory that is its root, if it is one of the host's.
    pub rootfs: Option<&'a Path>,
    /// Its cgroup, if it has one.
    pub cgroup: Option<&'a Cgroup>,
    /// Where it has mounts from outside that the specification does not tell as such.
    pub given: &'a [PathBuf],
    /// Whether its network namespace is from outside, whatever the specification says.
    pub network_given: bool,
    /// A directory of ours, for a directory during the call.
    pub dir: &'a Path,
}

/// Saves all processes. `meanwhile` is done again and again: a pid namespace ends only when the parents of all its
/// processes have waited for them, and some may be our children that are not the container's.
///
/// # Errors
/// criu is not there or has failed: the container runs on.
pub fn save(settings: &Settings, what: &Save<'_>, action: Action, meanwhile: &mut dyn FnMut()) -> Result<()> {
    check(what.spec)?;
    let name = if action == Action::PreDump { "pre-dump" } else { "dump" };
    let mut call = Call::new(settings, name, "dump.log")?;
    make_directory(&settings.images)?;
    call.args(["--tree", &what.pid.to_string(), "--network-lock", "nftables"]);
    let yard = what.dir.join("yard");
    if let Some(cgroup) = what.cgroup {
        let freezer = cgroup.directories().into_iter().find(|(controllers, _)| {
            controllers.is_empty() || controllers.iter().any(|name| name == "freezer")
        });
        if let Some((_, directory)) = freezer {
            call.args(["--freeze-cgroup".as_ref(), directory.as_os_str()]);
        }
        call.cgroup(settings, cgroup, &yard, link)?;
    }
    call.args((action == Action::LeaveRunning).then_some("--leave-running"));
    if let Some(rootfs) = what.rootfs {
        call.args(["--root".as_ref(), rootfs.as_os_str()]);
    }
    let inside = Inside::of(what.pid)?;
    for (place, name) in inside.external_mounts(what)? {
        call.args(["--external".to_owned(), format!("mnt[{place}]:{name}")]);
    }
    for (kind, key) in shared(settings, what) {
        let path = format!("/proc/{}/ns/{kind}", what.pid);
        let inode = fs::metadata(&path).map_err(|e| Error::file("stat", &path, e))?.ino();
        call.args(["--external".to_owned(), format!("{kind}[{inode}]:{key}")]);
    }
    let descriptors = inside.descriptors()?;
    for file in descriptors.iter().filter(|name| name.starts_with("file[")) {
        call.args(["--external", file]);
    }
    remember(&descriptors, &settings.images)?;
    let saved = call.run(meanwhile);
    remove_yard(&yard);
    saved
}

/// The namespaces from outside, with the names of [`SHARED`].
fn shared(settings: &Settings, what: &Save<'_>) -> Vec<(&'static str, &'static str)> {
    let mut named: Vec<_> =
        settings.shared(what.spec).into_iter().map(|(_, kind, key)| (kind, key)).collect();
    if what.network_given && !named.iter().any(|(kind, _)| *kind == NETWORK) {
        named.extend(
            SHARED.iter().filter(|(_, kind, _)| *kind == NETWORK).map(|(_, kind, key)| (*kind, *key)),
        );
    }
    named
}

fn link(hierarchy: &Path, place: &Path) -> Result<()> {
    symlink(hierarchy, place).map_err(|e| Error::file("symlink", place, e))
}

/// Writes down what `restore` is to give the process in their place.
fn remember(descriptors: &[String], images: &Path) -> Result<()> {
    let path = images.join(DESCRIPTORS);
    fs::write(&path, serde_json::json!(descriptors).to_string()).map_err(|e| Error::file("write", &path, e))
}

/// A container's process and its mounts.
struct Inside {
    pid: i32,
    root: Root,
    /// Number, place and type of file system of each.
    mounts: Vec<(u64, String, String)>,
}

impl Inside {
    fn of(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/mountinfo");
        let text = fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
        let mounts = text.lines().filter_map(mount).collect();
        Ok(Self { pid, root: Root::open(format!("/proc/{pid}/root"))?, mounts })
    }

    /// The places of the mounts that lead outside, with their names in the images: the destinations of the spec.
    fn external_mounts(&self, what: &Save<'_>) -> Result<Vec<(String, String)>> {
        let mut found: Vec<(String, String)> = Vec::new();
        let named = external_mounts(what.spec);
        let given = what.given.iter().map(|place| (place.as_path(), Some(place.as_path())));
        for (destination, source) in named.into_iter().chain(given) {
            let Ok(place) = self.root.open_at(destination, OFlags::PATH, Mode::empty()) else {
                // The container has removed it.
                continue;
            };
            let number = mount_of("/proc/self", place.as_raw_fd())?;
            let Some((_, place, fstype)) = self.mounts.iter().find(|(known, ..)| *known == number) else {
                continue;
            };
            // Those of version 1 are known to criu.
            let external = source.is_some() || fstype == "cgroup2";
            if external && !found.iter().any(|(known, _)| known == place) {
                found.push((place.clone(), destination.display().to_string()));
            }
        }
        Ok(found)
    }

    /// What the first three descriptors are; `file[MOUNT:INODE]` (criu's name, in hexadecimal) where it is a file of
    /// the host.
    fn descriptors(&self) -> Result<[String; 3]> {
        let mut names = [const { String::new() }; 3];
        for (number, name) in (0_i32..).zip(&mut names) {
            let path = format!("/proc/{}/fd/{number}", self.pid);
            let Ok(target) = fs::read_link(&path) else {
                // It is closed.
                continue;
            };
            *name = target.to_string_lossy().into_owned();
            let terminal = ["/dev/pts/", "/dev/tty", "/dev/console"].iter().any(|dir| name.starts_with(dir));
            if name.starts_with('/') && !terminal {
                let mount = mount_of(&format!("/proc/{}", self.pid), number)?;
                let inode = fs::metadata(&path).map_err(|e| Error::file("stat", &path, e))?.ino();
                if !self.mounts.iter().any(|(known, ..)| *known == mount) {
                    *name = format!("file[{mount:x}:{inode:x}]");
                }
            }
        }
        Ok(names)
    }
}

/// One line of proc_pid_mountinfo(5).
fn mount(line: &str) -> Option<(u64, String, String)> {
    let (before, after) = line.split_once(" - ")?;
    let number = before.split(' ').next()?.parse().ok()?;
    let place = before.split(' ').nth(4)?.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    Some((number, place, after.split(' ').next()?.to_owned()))
}

/// The number of the mount that a descriptor of a process is on: proc_pid_fdinfo(5).
fn mount_of(process: &str, descriptor: i32) -> Result<u64> {
    let path = format!("{process}/fdinfo/{descriptor}");
    let text = fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
    let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    number.ok_or_else(|| Error::new(format!("{path} has no mnt_id")))
}
