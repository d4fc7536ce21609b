//! A path of a container, and what it names. The rules are Docker's: `dir/` follows a link at the end and is named
//! after it, `dir/.` is a directory's content.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use hull_sys::root::Root;
use hull_sys::{Context, Error as SysError};
use jiff::Timestamp;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::view::{self, View};
use crate::model::{Container, PathStat};
use crate::{Engine, Error, Result};

/// As many links are followed as the kernel follows.
const MAX_LINKS: usize = 40;

/// The root that a path is to be resolved below, and the path there.
pub(super) struct Place {
    pub(super) root: OwnedFd,
    pub(super) path: PathBuf,
    /// How the path ended.
    ending: Ending,
    /// The last name in the archive.
    name: String,
    /// Holds together what is mounted below the root.
    _namespace: Option<OwnedFd>,
}

/// What the end of a path says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// `a/b`: whatever it is, a link itself.
    Plain,
    /// `a/b/`: the directory, a link to it followed.
    Slash,
    /// `a/b/.`: what is in the directory.
    Dot,
}

impl Ending {
    fn of(path: &str) -> Self {
        let trimmed = path.trim_end_matches('/');
        if trimmed == "." || trimmed.ends_with("/.") {
            return Self::Dot;
        }
        match path.ends_with('/') && !trimmed.is_empty() {
            true => Self::Slash,
            false => Self::Plain,
        }
    }
}

impl Engine {
    /// Where `asked` of a container is to be looked for.
    pub(super) async fn place(&self, container: &Container, asked: &str, write: bool) -> Result<Place> {
        let (ending, path) = (Ending::of(asked), normal(asked));
        let name = match ending {
            Ending::Dot => ".".to_owned(),
            _ => last_name(&path),
        };
        if container.state.status.is_running() {
            let root = open_root(Path::new(&format!("/proc/{}/root", container.state.pid)))?;
            return Ok(Place { root, path, ending, name, _namespace: None });
        }
        refuse_unreachable(container, &path)?;
        let (mounts, inner) = (self.snapshots.mounts(&container.id)?, view::inner_mounts(container));
        let view = tokio::task::spawn_blocking(move || View::open(&mounts, &inner, write)).await??;
        let missing = view.missing.iter().rev().find(|inner| path.starts_with(&inner.destination));
        let Some(inner) = missing else {
            return Ok(Place { root: view.root, path, ending, name, _namespace: Some(view.namespace) });
        };
        let (root, path) = inner.elsewhere(&path)?;
        Ok(Place { root, path, ending, name, _namespace: None })
    }
}

/// Some volumes are there only while somebody has mounted them.
fn refuse_unreachable(container: &Container, path: &Path) -> Result<()> {
    let elsewhere = |mount: &&crate::model::MountPoint| {
        mount.kind == crate::model::MountKind::Volume
            && mount.directory().is_none()
            && path.starts_with(&mount.destination)
    };
    match container.mounts.iter().find(elsewhere) {
        None => Ok(()),
        Some(mount) => {
            let name = &mount.name;
            Err(Error::conflict(format!(
                "the files of volume {name} are there only while the container runs"
            )))
        }
    }
}

impl Place {
    pub(super) fn below(&self) -> hull_sys::Result<Root> {
        Ok(Root::from(self.root.try_clone().on("dup", &self.path)?))
    }

    /// What the path is.
    pub(super) fn stat(&self) -> hull_sys::Result<PathStat> {
        let root = self.below()?;
        let follows = self.ending != Ending::Plain;
        let stat = if follows { root.stat(&self.path)? } else { root.lstat(&self.path)? };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if follows && kind != FileType::Directory {
            return Err(SysError::new("lstat", self.path.to_string_lossy(), Errno::NOTDIR));
        }
        let link_target = match kind {
            FileType::Symlink => evaluate(&root, &self.path).to_string_lossy().into_owned(),
            _ => String::new(),
        };
        let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok(PathStat {
            name: self.name.clone(),
            size: stat.st_size,
            mode: stat.st_mode,
            mtime: Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or_default(),
            link_target,
        })
    }

    /// Writes the archive, under the path's last name.
    pub(super) fn pack(self, writer: impl std::io::Write) -> hull_snapshot::Result<()> {
        let name = Path::new(&self.name);
        if self.ending == Ending::Plain {
            return hull_snapshot::archive(self.root.as_fd(), &self.path, name, writer);
        }
        let directory = self.below()?.open_dir(&self.path)?;
        hull_snapshot::archive(directory.as_fd(), Path::new("/"), name, writer)
    }

    /// The path with every link in it followed.
    pub(super) fn evaluated(&self) -> hull_sys::Result<PathBuf> {
        Ok(evaluate(&self.below()?, &self.path))
    }
}

fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty()).on("open", path)?)
}

/// An absolute path without `.`, `..` and double slashes; `..` at the root stays there.
pub(super) fn normal(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

fn last_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Where `path` leads below `root` when every link is followed. What is not there is taken as it is written.
fn evaluate(root: &Root, path: &Path) -> PathBuf {
    let names = |path: &Path| -> Vec<OsString> {
        let named =
            path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        named.map(|part| part.as_os_str().to_owned()).rev().collect()
    };
    let (mut done, mut rest, mut links) = (PathBuf::from("/"), names(path), 0);
    while let Some(name) = rest.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&name);
        match root.read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                rest.extend(names(&target));
            }
            _ => done = next,
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_do_not_leave_the_root() {
        assert_eq!(normal("../../etc//passwd"), Path::new("/etc/passwd"));
        assert_eq!(normal("/a/./b/../c/."), Path::new("/a/c"));
        assert_eq!(normal(""), Path::new("/"));
    }

    #[test]
    fn the_end_of_a_path_says_what_is_meant() {
        for (path, ending) in [
            ("/", Ending::Plain),
            (".", Ending::Dot),
            ("./", Ending::Dot),
            ("/./", Ending::Dot),
            ("a/b", Ending::Plain),
            ("a/b/", Ending::Slash),
            ("a/b/.", Ending::Dot),
            ("a/..", Ending::Plain),
            ("a/.hidden", Ending::Plain),
        ] {
            assert_eq!(Ending::of(path), ending, "{path}");
        }
    }
}
