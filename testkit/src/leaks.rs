//! What may be left behind: processes, cgroups, mounts, links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::namespaces;
use crate::output::eventually;

/// How long what is on its way out may take.
const MOMENT: Duration = Duration::from_secs(5);

/// A process that carries a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line.
    pub command: String,
}

/// The state of the host before a test, to compare with.
#[derive(Debug)]
pub struct Before {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
}

impl Before {
    /// Looks at what this thread's namespaces have.
    pub fn look() -> Self {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        Self {
            mounts: mounts.lines().map(str::to_owned).collect(),
            links: namespaces::links().into_iter().collect(),
        }
    }

    /// What is there now and was not before: mounts, and links of containers. The daemon's own bridges may stay.
    pub fn added(&self) -> Vec<String> {
        let links =
            || namespaces::links().into_iter().filter(|link| !self.links.contains(link) && !is_bridge(link));
        // The kernel removes the links of a network namespace some time after its last process.
        eventually(MOMENT, || links().next().is_none());
        let now = Self::look();
        let mounts = now.mounts.difference(&self.mounts).map(|mount| format!("mount {mount}"));
        mounts.chain(links().map(|link| format!("link {link}"))).collect()
    }
}

fn is_bridge(link: &str) -> bool {
    link.starts_with("hull0") || link.starts_with("br-")
}

/// The processes that carry `mark` in their command line or the name of their cgroup. The test itself does not
/// count; what has ended and was not waited for does not, either.
pub fn processes(mark: &str) -> Vec<Process> {
    let own = std::process::id().cast_signed();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let marked = command.contains(mark) || String::from_utf8_lossy(&read("cgroup")).contains(mark);
        if pid != own && marked && !is_zombie(&entry.path()) {
            found.push(Process { pid, command });
        }
    }
    found
}

fn is_zombie(process: &Path) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tZ"))
}

/// Kills all processes that carry `mark`, until there are none.
///
/// # Panics
/// If some do not end.
pub fn kill(mark: &str) {
    let gone = eventually(MOMENT, || {
        let found = processes(mark);
        for process in &found {
            let _ = rustix::process::kill_process(Pid::from_raw(process.pid).unwrap(), Signal::KILL);
        }
        found.is_empty()
    });
    assert!(gone, "not killed: {:?}", processes(mark));
}

/// The processes that carry `mark`, after those on their way out had a moment.
pub fn lingering(mark: &str) -> Vec<Process> {
    eventually(MOMENT, || processes(mark).is_empty());
    processes(mark)
}

/// The cgroups named `parent` of all hierarchies.
pub fn cgroups(parent: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path().join(parent));
    below.chain([top.join(parent)]).filter(|path| path.is_dir()).collect()
}

/// The cgroups below those named `parent`: one per container that is still there.
pub fn cgroups_below(parent: &str) -> Vec<PathBuf> {
    let below = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    cgroups(parent).into_iter().flat_map(below).filter(|path| path.is_dir()).collect()
}

/// Removes the cgroups named `parent` and all below.
pub fn remove_cgroups(parent: &str) {
    cgroups(parent).iter().for_each(|path| remove_cgroup(path));
}

/// Removes the cgroups named `parent` if there are none below.
pub fn remove_empty_cgroups(parent: &str) {
    cgroups(parent).iter().for_each(|path| drop(fs::remove_dir(path)));
}

fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
