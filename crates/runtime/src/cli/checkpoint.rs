//! `checkpoint`: saves a running container to files.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hull_oci::runtime::{ContainerState, Spec};
use hull_sys::root::Root;
use lexopt::{Arg, Parser};
use rustix::fs::{Mode, OFlags};

use super::bundle::read_spec;
use super::container::{Container, Record};
use super::criu::{self, Criu};
use super::error::{Error, Result};
use super::{Global, delete, exec, require, switch, take_id};

pub(super) const OPTIONS: &[(&str, &str)] = &[
    criu::IMAGES,
    criu::WORK,
    ("--parent-path DIR", "images of an earlier --pre-dump, relative to the image path"),
    ("--leave-running", "let the container run on"),
    ("--pre-dump", "save its memory only, and let it run on"),
    criu::TCP,
    ("--tcp-skip-in-flight", "leave out TCP connections that are not established yet"),
    criu::UNIX,
    criu::SHELL,
    criu::LOCKS,
    criu::CGROUPS,
    criu::EMPTY,
    criu::DEDUP,
    criu::REMAP,
];

#[derive(Default)]
struct Options {
    id: Option<String>,
    criu: criu::Options,
    parent: Option<PathBuf>,
    leave_running: bool,
    pre_dump: bool,
    skip_in_flight: bool,
}

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let mut options = Options::parse(parser)?;
    options.criu.make_absolute()?;
    let container = Container::open(&global.root, &require(options.id.take())?)?;
    let record = container.load()?;
    if container.status(&record) != ContainerState::Running {
        return Err(Error::new(format!(
            "cannot checkpoint a container that is {}",
            container.status(&record)
        )));
    }
    let spec = read_spec(&global.log, &record.bundle.join("config.json"))?;
    criu::check(&spec)?;
    save(global, &container, &record, &spec, &options)?;
    if !options.leave_running && !options.pre_dump {
        delete::remove(global, &container, &record, true)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn parse(parser: &mut Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(value) => take_id(&mut options.id, value)?,
                other => match exec::owned(other)?.as_str() {
                    "parent-path" => options.parent = Some(parser.value()?.into()),
                    "leave-running" => options.leave_running = switch(parser)?,
                    "pre-dump" => options.pre_dump = switch(parser)?,
                    "tcp-skip-in-flight" => options.skip_in_flight = switch(parser)?,
                    name => options.criu.take(name, parser)?,
                },
            }
        }
        if options.parent.as_ref().is_some_and(|path| path.is_absolute()) {
            return Err(Error::usage("--parent-path is relative to the image path"));
        }
        Ok(options)
    }
}

/// Lets criu save all processes. If that fails, they run on.
fn save(
    global: &Global,
    container: &Container,
    record: &Record,
    spec: &Spec,
    options: &Options,
) -> Result<()> {
    let action = if options.pre_dump { "pre-dump" } else { "dump" };
    let mut criu = Criu::new(global, action, "dump.log", &options.criu)?;
    criu::make_directory(options.criu.images())?;
    criu.args(["--tree", &record.pid.to_string(), "--network-lock", "nftables"]);
    let yard = container.dir().join("yard");
    if let Some(cgroup) = record.cgroup()? {
        let freezer = cgroup.directories().into_iter().find(|(controllers, _)| {
            controllers.is_empty() || controllers.iter().any(|name| name == "freezer")
        });
        if let Some((_, directory)) = freezer {
            criu.args(["--freeze-cgroup".as_ref(), directory.as_os_str()]);
        }
        criu.cgroup(&options.criu, &cgroup, &yard, link)?;
    }
    if let Some(parent) = &options.parent {
        criu.args(["--prev-images-dir".as_ref(), parent.as_os_str()]);
    }
    for (wanted, word) in [
        (options.pre_dump || options.parent.is_some(), "--track-mem"),
        (options.leave_running && !options.pre_dump, "--leave-running"),
        (options.skip_in_flight, "--skip-in-flight"),
    ] {
        criu.args(wanted.then_some(word));
    }
    criu.args(["--root".as_ref(), record.rootfs.as_os_str()]);
    let inside = Inside::of(record.pid)?;
    for (place, name) in inside.external_mounts(spec)? {
        criu.args(["--external".to_owned(), format!("mnt[{place}]:{name}")]);
    }
    for (_, kind, key) in options.criu.shared(spec) {
        let path = format!("/proc/{}/ns/{kind}", record.pid);
        let inode = fs::metadata(&path).map_err(|e| Error::file("stat", &path, e))?.ino();
        criu.args(["--external".to_owned(), format!("{kind}[{inode}]:{key}")]);
    }
    let descriptors = inside.descriptors()?;
    for file in descriptors.iter().filter(|name| name.starts_with("file[")) {
        criu.args(["--external", file]);
    }
    remember(&descriptors, options.criu.images())?;
    let saved = criu.run();
    criu::remove_yard(&yard);
    saved
}

fn link(hierarchy: &Path, place: &Path) -> Result<()> {
    symlink(hierarchy, place).map_err(|e| Error::file("symlink", place, e))
}

/// Writes down what `restore` is to give the process in their place.
fn remember(descriptors: &[String], images: &Path) -> Result<()> {
    let path = images.join(criu::DESCRIPTORS);
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
    fn external_mounts(&self, spec: &Spec) -> Result<Vec<(String, String)>> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (destination, source) in criu::external_mounts(spec) {
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
