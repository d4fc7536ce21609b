//! Which hierarchies the host has mounted, and which controller lives where.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::file;

/// Which kind of host this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Every controller has a hierarchy of version 1.
    V1,
    /// Version 1 for the controllers, with a version 2 hierarchy beside it.
    Hybrid,
    /// One hierarchy of version 2 for everything.
    V2,
}

/// The file format of one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    dialect: Dialect,
    /// Version 1: from the mount's options. Version 2: empty, asked at the root when needed.
    controllers: Vec<String>,
    mount: PathBuf,
}

/// One cgroup's directory in one hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) hierarchy: &'static Hierarchy,
    pub(crate) dir: PathBuf,
}

/// All hierarchies of the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    list: Vec<Hierarchy>,
    /// The controllers of the version 2 hierarchy.
    unified: Vec<String>,
}

impl Hierarchy {
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn mount(&self) -> &Path {
        &self.mount
    }

    /// The controllers of a version 1 hierarchy; empty for version 2.
    pub(crate) fn v1_controllers(&self) -> &[String] {
        &self.controllers
    }

    /// Where the cgroup `path` lies here.
    pub(crate) fn place(&'static self, path: &str) -> Place {
        Place { hierarchy: self, dir: self.mount.join(path.trim_start_matches('/')) }
    }
}

impl Hierarchies {
    /// The hierarchies of this host, looked up once in a process's life.
    pub(crate) fn of_host() -> Result<&'static Self> {
        static HOST: OnceLock<Result<Hierarchies>> = OnceLock::new();
        HOST.get_or_init(|| {
            let list = match usual(&file::read(Path::new("/proc/self"), "cgroup")?) {
                Some(list) => list,
                None => parse(&file::read(Path::new("/proc/self"), "mountinfo")?),
            };
            if list.is_empty() {
                return Err(Error::Unsupported("no cgroup hierarchy is mounted on this host".to_owned()));
            }
            let unified = match list.iter().find(|h| h.dialect == Dialect::V2) {
                Some(v2) => file::words(&v2.mount, "cgroup.controllers")?,
                None => Vec::new(),
            };
            Ok(Self { list, unified })
        })
        .as_ref()
        .map_err(Clone::clone)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Hierarchy> {
        self.list.iter()
    }

    pub(crate) fn version(&self) -> Version {
        let has = |dialect| self.list.iter().any(|h| h.dialect == dialect);
        match (has(Dialect::V1), has(Dialect::V2)) {
            (true, true) => Version::Hybrid,
            (true, false) => Version::V1,
            _ => Version::V2,
        }
    }

    /// The hierarchy that `controller` is attached to.
    pub(crate) fn with(&self, controller: &str) -> Option<&Hierarchy> {
        let here = |h: &&Hierarchy| match h.dialect {
            Dialect::V1 => h.controllers.iter().any(|c| c == controller),
            Dialect::V2 => self.unified.iter().any(|c| c == controller),
        };
        self.list.iter().find(here)
    }
}

/// Where systemd, and all who mount cgroups as it does, have them.
const TOP: &str = "/sys/fs/cgroup";

/// The hierarchies of `/proc/self/cgroup` (cgroups(7)) if they are mounted where they usually are: what is mounted
/// elsewhere, and how much, is not looked at. `None` if one is not there.
fn usual(cgroups: &str) -> Option<Vec<Hierarchy>> {
    if is_mount(Path::new(TOP), Dialect::V2) {
        return Some(vec![Hierarchy { dialect: Dialect::V2, controllers: Vec::new(), mount: TOP.into() }]);
    }
    let hierarchy = |line: &str| {
        let controllers = line.split(':').nth(1)?;
        let (dialect, name) = match controllers {
            "" => (Dialect::V2, "unified"),
            name => (Dialect::V1, name.strip_prefix("name=").unwrap_or(name)),
        };
        let mount = Path::new(TOP).join(name);
        let controllers = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        is_mount(&mount, dialect).then_some(Hierarchy { dialect, controllers, mount })
    };
    cgroups.lines().map(hierarchy).collect()
}

fn is_mount(path: &Path, dialect: Dialect) -> bool {
    /// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
    const MAGIC: [u64; 2] = [0x0027_e0eb, 0x6367_7270];
    let magic = MAGIC[usize::from(dialect == Dialect::V2)];
    rustix::fs::statfs(path).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(magic))
}

/// The cgroup mounts in a `mountinfo` (proc_pid_mountinfo(5)), the first mount of each hierarchy only.
fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut list: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some(hierarchy) = parse_line(line) else { continue };
        if !list.iter().any(|h| (h.dialect, &h.controllers) == (hierarchy.dialect, &hierarchy.controllers)) {
            list.push(hierarchy);
        }
    }
    list
}

fn parse_line(line: &str) -> Option<Hierarchy> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mount = PathBuf::from(unescape(mount.split(' ').nth(4)?));
    let mut fields = filesystem.split(' ');
    match fields.next()? {
        "cgroup2" => Some(Hierarchy { dialect: Dialect::V2, controllers: Vec::new(), mount }),
        "cgroup" => {
            let options = fields.nth(1)?.split(',');
            let controllers = options.filter(|o| !is_mount_option(o)).map(str::to_owned).collect();
            Some(Hierarchy { dialect: Dialect::V1, controllers, mount })
        }
        _ => None,
    }
}

/// What stands in a version 1 superblock's options and is no controller.
fn is_mount_option(option: &str) -> bool {
    let flags =
        ["rw", "ro", "seclabel", "noprefix", "clone_children", "xattr", "favordynmods", "nofavordynmods"];
    flags.contains(&option) || option.starts_with("release_agent=") || option.starts_with("cpuset_")
}

/// Undoes the octal escapes of mountinfo: `\040` and the like.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => out.push(char::from(code)),
            None => out.push('\\'),
        }
        rest = &rest[at + if code.is_some() { 4 } else { 1 }..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(mountinfo: &str) -> Vec<(Dialect, String, PathBuf)> {
        parse(mountinfo).into_iter().map(|h| (h.dialect, h.controllers.join(","), h.mount)).collect()
    }

    #[test]
    fn finds_each_hierarchy_of_a_hybrid_host_once() {
        let found = kinds(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             99 31 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let expected = [
            (Dialect::V1, "cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
            (Dialect::V1, "name=systemd", "/sys/fs/cgroup/systemd"),
            (Dialect::V2, "", "/sys/fs/cgroup/unified"),
        ];
        assert_eq!(found, expected.map(|(d, c, m)| (d, c.to_owned(), PathBuf::from(m))));
    }

    /// On this host, whatever it is; unless its hierarchies are somewhere else.
    #[test]
    fn the_usual_places_are_those_of_the_mount_table() {
        let read = |file| file::read(Path::new("/proc/self"), file).unwrap();
        let sorted = |list: Vec<Hierarchy>| {
            let mut list: Vec<_> = list.into_iter().map(|h| (h.mount, h.controllers, h.dialect)).collect();
            list.sort_by(|one, other| one.0.cmp(&other.0));
            list
        };
        if let Some(list) = usual(&read("cgroup")) {
            assert_eq!(sorted(list), sorted(parse(&read("mountinfo"))));
        }
        assert_eq!(usual("3:nonsense:/\n"), None);
    }

    #[test]
    fn finds_version_2_alone() {
        let found = kinds("25 22 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(found, [(Dialect::V2, String::new(), PathBuf::from("/sys/fs/cgroup"))]);
    }

    #[test]
    fn tells_the_versions_apart() {
        let host = |text| Hierarchies { list: parse(text), unified: Vec::new() }.version();
        let v1 = "32 31 0:29 / /c/cpu rw - cgroup cgroup rw,cpu\n";
        let v2 = "25 22 0:23 / /c/u rw - cgroup2 cgroup2 rw\n";
        assert_eq!(host(v1), Version::V1);
        assert_eq!(host(v2), Version::V2);
        assert_eq!(host(&format!("{v1}{v2}")), Version::Hybrid);
    }

    #[test]
    fn undoes_escapes_in_mount_points() {
        assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescape(r"/odd\"), r"/odd\");
    }
}
