//! Files of containers, running or not: what `docker cp`, `diff` and `export` are made of.
//!
//! A running container's files are seen through its process's root, with everything that is mounted there. Those of
//! a stopped one are seen through a detached mount of its overlay; a path in one of its volumes, through the volume.
//! Every path is resolved below that root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use hull_snapshot::{Change, Extraction, Limits};
use hull_sys::root::Root;
use hull_sys::{Context, Error as SysError};
use jiff::Timestamp;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::io::{AsyncRead, DuplexStream};
use tokio_util::io::SyncIoBridge;

use crate::model::{Container, MountKind, PathStat};
use crate::{Engine, Error, Result};

/// Bytes between the archive's writer and the client.
const PIPE: usize = 256 << 10;

/// The root that a path is to be resolved below, and the path there.
struct Place {
    root: OwnedFd,
    path: PathBuf,
    /// What was asked for ends with a slash or a dot: the directory itself, a link to it followed.
    directory: bool,
}

impl Engine {
    /// What a container changed on top of its image, sorted by path.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let container = self.container(name)?;
        let mounts = self.snapshots.mounts(&container.id)?;
        Ok(tokio::task::spawn_blocking(move || hull_snapshot::changes(&mounts)).await??)
    }

    /// A tar archive of a container's whole root, without its volumes.
    pub async fn export(&self, name: &str) -> Result<DuplexStream> {
        let container = self.container(name)?;
        let mounts = self.snapshots.mounts(&container.id)?;
        let root = tokio::task::spawn_blocking(move || mounts.mount_readonly()).await??;
        self.emit(&container, "export");
        Ok(piped(container.id.clone(), move |writer| hull_snapshot::export(root.as_fd(), writer)))
    }

    /// A path in a container.
    pub async fn archive_stat(&self, name: &str, path: &str) -> Result<PathStat> {
        let container = self.container(name)?;
        let (place, asked) = (self.place(&container, path, false).await?, path.to_owned());
        tokio::task::spawn_blocking(move || place.stat(&asked)).await?.map_err(|why| absent(&why, name, path))
    }

    /// A path in a container, and a tar archive of it under its last name.
    pub async fn archive_get(&self, name: &str, path: &str) -> Result<(PathStat, DuplexStream)> {
        let container = self.container(name)?;
        let place = self.place(&container, path, false).await?;
        let stat = place.stat(path).map_err(|why| absent(&why, name, path))?;
        self.emit(&container, "archive-path");
        let archive = piped(container.id.clone(), move |writer| place.pack(writer));
        Ok((stat, archive))
    }

    /// Unpacks a tar archive into a directory of a container.
    pub async fn archive_put(
        &self,
        name: &str,
        path: &str,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
        tar: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<()> {
        let container = self.container(name)?;
        if container.host.readonly_rootfs && !self.in_writable_mount(&container, path) {
            return Err(Error::new(crate::Kind::Forbidden, "container rootfs is marked read-only"));
        }
        let place = self.place(&container, path, true).await?;
        let how = Extraction {
            keep_kinds: no_overwrite_dir_non_dir,
            owner: copy_uid_gid.then_some(()).and_then(|()| numeric_owner(&container.config.user)),
        };
        let reader = SyncIoBridge::new(tar);
        let outcome = tokio::task::spawn_blocking(move || {
            let stat = place.below()?.stat(&place.path)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(hull_snapshot::Error::Invalid("extraction point is not a directory".to_owned()));
            }
            let tar = hull_image::decompressed(reader)
                .map_err(|why| hull_snapshot::Error::Invalid(why.to_string()))?;
            hull_snapshot::extract(place.root.as_fd(), &place.path, tar, &Limits::default(), how)
        })
        .await?;
        outcome.map_err(|why| match why {
            hull_snapshot::Error::System(why) => absent(&why, name, path),
            other => other.into(),
        })?;
        self.emit(&container, "extract-to-dir");
        Ok(())
    }

    fn in_writable_mount(&self, container: &Container, path: &str) -> bool {
        let path = normal(path);
        container.mounts.iter().any(|mount| mount.rw && path.starts_with(&mount.destination))
    }

    /// Where `path` of a container is to be looked for.
    async fn place(&self, container: &Container, path: &str, write: bool) -> Result<Place> {
        let directory = path.ends_with('/') || path.ends_with("/.");
        let path = normal(path);
        if container.state.status.is_running() {
            let process = PathBuf::from(format!("/proc/{}/root", container.state.pid));
            return Ok(Place { root: open_root(&process)?, path, directory });
        }
        let volumes = container.mounts.iter().filter(|mount| mount.kind != MountKind::Tmpfs);
        let within = volumes.filter(|mount| {
            let is_directory = mount.directory().is_none_or(|directory| Path::new(directory).is_dir());
            path.starts_with(&mount.destination) && is_directory
        });
        if let Some(mount) = within.max_by_key(|mount| mount.destination.len()) {
            let source = mount.directory().ok_or_else(|| {
                let name = &mount.name;
                Error::conflict(format!("the files of volume {name} are there only while the container runs"))
            })?;
            let rest = path.strip_prefix(&mount.destination).unwrap_or(&path);
            let path = Path::new("/").join(rest);
            return Ok(Place { root: open_root(Path::new(source))?, path, directory });
        }
        let mounts = self.snapshots.mounts(&container.id)?;
        let mount = move || if write { mounts.mount() } else { mounts.mount_readonly() };
        Ok(Place { root: tokio::task::spawn_blocking(mount).await??, path, directory })
    }
}

impl Place {
    fn below(&self) -> hull_sys::Result<Root> {
        Ok(Root::from(self.root.try_clone().on("dup", &self.path)?))
    }

    /// What the path is; `asked` gives the name.
    fn stat(&self, asked: &str) -> hull_sys::Result<PathStat> {
        let root = self.below()?;
        let stat = if self.directory { root.stat(&self.path)? } else { root.lstat(&self.path)? };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.directory && kind != FileType::Directory {
            return Err(SysError::new("open", asked, Errno::NOTDIR));
        }
        let link_target = match kind {
            FileType::Symlink => absolute_target(&root, &self.path)?,
            _ => String::new(),
        };
        let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok(PathStat {
            name: last_name(&self.path),
            size: stat.st_size,
            mode: stat.st_mode,
            mtime: Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or_default(),
            link_target,
        })
    }

    /// Writes the archive. A directory that was asked for by `dir/.` is the archive's root.
    fn pack(self, writer: impl std::io::Write) -> hull_snapshot::Result<()> {
        if !self.directory {
            let name = last_name(&self.path);
            let name = if name == "/" { "" } else { &name };
            return hull_snapshot::archive(self.root.as_fd(), &self.path, Path::new(name), writer);
        }
        let directory = self.below()?.open_dir(&self.path)?;
        hull_snapshot::archive(directory.as_fd(), Path::new("/"), Path::new(""), writer)
    }
}

/// Runs `pack` on a thread, with a pipe to the client. A failure cuts the archive short.
fn piped<E: std::fmt::Display>(
    id: String,
    pack: impl FnOnce(SyncIoBridge<DuplexStream>) -> std::result::Result<(), E> + Send + 'static,
) -> DuplexStream {
    let (writer, reader) = tokio::io::duplex(PIPE);
    let writer = SyncIoBridge::new(writer);
    tokio::task::spawn_blocking(move || {
        if let Err(why) = pack(writer) {
            // Usually the client that left in the middle.
            tracing::debug!("archive of container {id}: {why}");
        }
    });
    reader
}

fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty()).on("open", path)?)
}

/// An absolute path without `.`, `..` and double slashes; `..` at the root stays there.
fn normal(path: &str) -> PathBuf {
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

/// Where a link points, seen from the container's root.
fn absolute_target(root: &Root, path: &Path) -> hull_sys::Result<String> {
    let target = root.read_link(path)?;
    let from = path.parent().unwrap_or(Path::new("/"));
    Ok(normal(&from.join(target).to_string_lossy()).to_string_lossy().into_owned())
}

fn absent(why: &SysError, name: &str, path: &str) -> Error {
    match why.is(Errno::NOENT) {
        true => Error::not_found(format!("Could not find the file {path} in container {name}")),
        false => why.clone().into(),
    }
}

/// The user and group of a container whose user is given by numbers; names would have to be looked up in its files.
fn numeric_owner(user: &str) -> Option<(u32, u32)> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, user));
    Some((uid.parse().ok()?, gid.parse().ok()?))
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
    fn a_user_of_numbers_owns_what_is_copied() {
        assert_eq!(numeric_owner("1000:50"), Some((1000, 50)));
        assert_eq!(numeric_owner("1000"), Some((1000, 1000)));
        assert_eq!(numeric_owner("nobody"), None);
    }
}
