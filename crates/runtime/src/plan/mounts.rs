//! The mounts of a spec: what, where and how.

use std::path::{Path, PathBuf};

use hull_oci::runtime::{LinuxIdMapping, Mount};

use crate::Failure;
use crate::options::Options;

/// One mount.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// Where it goes, in the container.
    pub(crate) target: PathBuf,
    /// What it is.
    pub(crate) what: What,
    /// How.
    pub(crate) options: Options,
    /// The ids that its files are shown with, if not their own.
    pub(crate) idmap: Option<Idmap>,
}

/// How the ids of an idmapped mount are found; mount_setattr(2).
#[derive(Debug)]
pub(crate) struct Idmap {
    /// Whether what is mounted below is mapped, too.
    pub(crate) recursive: bool,
    /// Its own maps, of users and groups; those of the container's user namespace without.
    pub(crate) maps: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum What {
    /// A directory or file of the host.
    Bind(PathBuf),
    /// What is mounted there already, with other attributes.
    Remount,
    /// The container's own cgroup, as this host has them.
    Cgroup,
    /// A file system of this type.
    Filesystem {
        /// The type.
        fstype: String,
        /// The device or name it is made from.
        source: String,
    },
}

impl MountPlan {
    /// Reads one; `label` is that of the container's own file systems. A relative destination is one below the root, as for other runtimes.
    pub(super) fn of(mount: &Mount, label: Option<&str>) -> Result<Self, Failure> {
        let target = Path::new("/").join(mount.destination());
        let fail = |text: String| Failure::text("mounts", format!("mount on {}: {text}", target.display()));
        let mut options = Options::parse(mount.options().iter().flatten())
            .map_err(|word| fail(format!("the option {word:?} is not supported")))?;
        let source = mount.source().clone();
        let fstype = mount.typ().as_deref().unwrap_or_default();
        let what = match (options.bind, fstype) {
            _ if options.remount => What::Remount,
            (Some(_), _) | (None, "bind" | "rbind") => {
                What::Bind(source.ok_or_else(|| fail("a bind mount needs a source".to_owned()))?)
            }
            (None, "cgroup" | "cgroup2") => What::Cgroup,
            (None, "" | "none") => return Err(fail("the type of the file system is missing".to_owned())),
            (None, fstype) => {
                let source = source.map_or(fstype.to_owned(), |source| source.to_string_lossy().into_owned());
                What::Filesystem { fstype: fstype.to_owned(), source }
            }
        };
        // The kernel's own file systems have labels of their own.
        let labelled =
            matches!(&what, What::Filesystem { fstype, .. } if !matches!(fstype.as_str(), "proc" | "sysfs"));
        if let (Some(label), true) = (label, labelled) {
            options.data.push(("context".to_owned(), Some(label.to_owned())));
        }
        let idmap = Idmap::of(mount, &options).map_err(|text| fail(text.to_owned()))?;
        if idmap.is_some() && !matches!(what, What::Bind(_)) {
            return Err(fail("only bind mounts can be idmapped".to_owned()));
        }
        if options.copy_up && !matches!(&what, What::Filesystem { fstype, .. } if fstype == "tmpfs") {
            return Err(fail("tmpcopyup is for tmpfs".to_owned()));
        }
        Ok(Self { target, what, options, idmap })
    }

    /// Whether this shows the kernel rather than files, so that its place must be an ordinary directory: a symbolic
    /// link in the image would put it elsewhere, and what is masked below it would stay open (CVE-2019-16884,
    /// CVE-2023-27561, CVE-2026-41579).
    pub(crate) fn is_kernel(&self) -> bool {
        let of_kernel = |fstype: &str| matches!(fstype, "proc" | "sysfs" | "devpts" | "mqueue");
        match &self.what {
            What::Bind(_) | What::Remount => self.target == Path::new("/dev"),
            What::Cgroup => true,
            What::Filesystem { fstype, .. } => of_kernel(fstype) || self.target == Path::new("/dev"),
        }
    }
}

impl Idmap {
    fn of(mount: &Mount, options: &Options) -> Result<Option<Self>, &'static str> {
        let list = |maps: &Option<Vec<LinuxIdMapping>>| maps.clone().filter(|maps| !maps.is_empty());
        let maps = match (list(mount.uid_mappings()), list(mount.gid_mappings())) {
            (Some(users), Some(groups)) => Some((users, groups)),
            (None, None) => None,
            _ => return Err("uidMappings and gidMappings go together"),
        };
        match (options.idmap, maps) {
            (None, None) => Ok(None),
            (recursive, maps) => Ok(Some(Self { recursive: recursive.unwrap_or(false), maps })),
        }
    }
}
