//! `linux.intelRdt`: the container's share of the processor's caches and memory bandwidth, by the resctrl file system
//! (`Documentation/filesystems/resctrl.rst` of the kernel; config-linux.md, "IntelRdt").

use std::fs;
use std::path::{Path, PathBuf};

use hull_oci::runtime::LinuxIntelRdt;
use hull_sys::{Context, Error, Result};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The directories of one container: what it was put into, and what was made for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    joined: Vec<PathBuf>,
    /// Removed at the end, the newest first.
    made: Vec<PathBuf>,
}

/// Where resctrl is mounted on this host. Mounting it is its owner's decision.
pub(crate) fn mount_point() -> Result<PathBuf> {
    let path = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(path).on("read", path)?;
    let found = mounts.lines().find(|line| line.contains(" - resctrl "));
    let found = found.and_then(|line| line.split(' ').nth(4)).map(PathBuf::from);
    found.ok_or_else(|| Error::new("use linux.intelRdt: resctrl is not mounted on this host", "", 0))
}

/// Makes what `wanted` describes for the container `id`, below the mount `root`. If that fails, nothing is left.
pub(crate) fn create(wanted: &LinuxIntelRdt, id: &str, root: &Path) -> Result<Group> {
    let mut group = Group::default();
    match fill(&mut group, wanted, id, root) {
        Ok(()) => Ok(group),
        Err(error) => {
            // The failure that led here is the one to be told.
            let _ = group.remove();
            Err(error)
        }
    }
}

fn fill(group: &mut Group, wanted: &LinuxIntelRdt, id: &str, root: &Path) -> Result<()> {
    let lines = schemata(wanted);
    let dir = match wanted.clos_id().as_deref() {
        Some("/") => root.to_owned(),
        Some(name) => root.join(plain(name)?),
        None => root.join(plain(id)?),
    };
    match (wanted.clos_id().is_some(), dir.is_dir()) {
        // Somebody else's, which has to be what was asked for.
        (true, true) => compare(&dir, &lines)?,
        (true, false) if lines.is_empty() => return Err(Errno::NOENT).on("join resctrl group", &dir),
        (false, true) => return Err(Errno::EXIST).on("make resctrl group", &dir),
        (_, false) => {
            group.make(&dir)?;
            if !lines.is_empty() {
                write(&dir.join("schemata"), &(lines.join("\n") + "\n"))?;
            }
        }
    }
    group.joined.push(dir.clone());
    if wanted.enable_monitoring().unwrap_or(false) {
        let monitor = dir.join("mon_groups").join(plain(id)?);
        group.make(&monitor)?;
        group.joined.push(monitor);
    }
    Ok(())
}

/// What is to stand in the group's file, in the order of the specification.
fn schemata(wanted: &LinuxIntelRdt) -> Vec<String> {
    let single = [wanted.l3_cache_schema(), wanted.mem_bw_schema()].into_iter().flatten();
    let lines =
        single.flat_map(|text| text.lines()).chain(wanted.schemata().iter().flatten().map(String::as_str));
    lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn plain(name: &str) -> Result<&str> {
    let reserved = ["", ".", "..", "info", "mon_groups", "mon_data"];
    match reserved.contains(&name) || name.contains(['/', '\0', '\n']) {
        true => Err(Error::new("name a resctrl group", name, Errno::INVAL)),
        false => Ok(name),
    }
}

fn compare(dir: &Path, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = dir.join("schemata");
    let there = fs::read_to_string(&path).on("read", &path)?;
    let missing = lines.iter().find(|line| !there.lines().any(|other| other.trim() == line.as_str()));
    match missing {
        Some(line) => Err(Error::new(
            "join resctrl group with another schema than",
            format!("{line} in {}", dir.display()),
            Errno::EXIST,
        )),
        None => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path).on("open", path)?;
    // The kernel takes each write as a whole.
    std::io::Write::write_all(&mut file, text.as_bytes()).on("write", path)
}

impl Group {
    fn make(&mut self, dir: &Path) -> Result<()> {
        fs::create_dir(dir).on("mkdir", dir)?;
        self.made.push(dir.to_owned());
        Ok(())
    }

    /// Puts a process into the group.
    pub(crate) fn enter(&self, pid: i32) -> Result<()> {
        self.joined.iter().try_for_each(|dir| write(&dir.join("tasks"), &pid.to_string()))
    }

    /// Removes what was made, when no process is left in it.
    pub fn remove(&self) -> Result<()> {
        self.made.iter().rev().try_for_each(|dir| match fs::remove_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.on("rmdir", dir),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A directory in the place of resctrl, which few machines have. What the kernel would make in it is made here.
    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("hull-rdt-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("mon_groups")).unwrap();
        fs::write(root.join("tasks"), "").unwrap();
        root
    }

    fn wanted(value: serde_json::Value) -> LinuxIntelRdt {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn all_schemata_are_written_in_order() {
        let wanted = wanted(json!({
            "l3CacheSchema": "L3:0=ff;1=c0", "memBwSchema": "MB:0=20;1=70\n", "schemata": ["L2:0=3"],
        }));
        assert_eq!(schemata(&wanted), ["L3:0=ff;1=c0", "MB:0=20;1=70", "L2:0=3"]);
    }

    #[test]
    fn a_group_of_others_is_joined_if_it_is_what_was_asked_for() {
        let root = root("others");
        fs::create_dir(root.join("gold")).unwrap();
        fs::write(root.join("gold/schemata"), "    L3:0=ff\n").unwrap();
        fs::write(root.join("gold/tasks"), "").unwrap();
        let group =
            create(&wanted(json!({ "closID": "gold", "l3CacheSchema": "L3:0=ff" })), "c", &root).unwrap();
        group.enter(77).unwrap();
        assert_eq!(fs::read_to_string(root.join("gold/tasks")).unwrap(), "77");
        group.remove().unwrap();
        assert!(root.join("gold").is_dir());
        let other = create(&wanted(json!({ "closID": "gold", "l3CacheSchema": "L3:0=f" })), "c", &root);
        assert!(other.unwrap_err().is(Errno::EXIST));
        let missing = create(&wanted(json!({ "closID": "silver" })), "c", &root);
        assert!(missing.unwrap_err().is(Errno::NOENT));
        for name in ["..", "a/b", "info", ""] {
            let wanted = wanted(json!({ "closID": name, "l3CacheSchema": "L3:0=ff" }));
            assert!(create(&wanted, "c", &root).unwrap_err().is(Errno::INVAL), "{name}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_cannot_be_filled_is_removed() {
        let root = root("undone");
        // Nobody makes the file here, so it cannot be written.
        let failed = create(&wanted(json!({ "l3CacheSchema": "L3:0=ff" })), "c", &root);
        assert!(failed.unwrap_err().is(Errno::NOENT));
        assert!(!root.join("c").exists());
        let group = create(&wanted(json!({ "closID": "/", "enableMonitoring": true })), "c", &root).unwrap();
        assert!(root.join("mon_groups/c").is_dir());
        group.remove().unwrap();
        assert!(!root.join("mon_groups/c").exists() && root.is_dir());
        fs::remove_dir_all(root).unwrap();
    }
}
