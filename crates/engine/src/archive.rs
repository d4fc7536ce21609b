//! Files of containers, running or not: what `docker cp`, `diff` and `export` are made of.
//!
//! A running container's files are seen through its process's root, with everything that is mounted there; those of
//! a stopped one through a [`view`]. Every path is resolved below that root.

mod place;
mod view;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use hull_snapshot::{Change, Extraction, Limits};
use hull_sys::{Error as SysError, mntns};
use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::io::{AsyncRead, DuplexStream};
use tokio_util::io::SyncIoBridge;

use crate::model::{Container, PathStat};
use crate::{Engine, Error, Kind, Result};
use place::Place;

/// Bytes between the archive's writer and the client.
const PIPE: usize = 256 << 10;

impl Engine {
    /// What a container changed on top of its image, sorted by path.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let entry = self.containers.find(name)?;
        let mounts = self.snapshots.mounts(&entry.id)?;
        let changes =
            async { Ok(tokio::task::spawn_blocking(move || hull_snapshot::changes(&mounts)).await??) };
        entry.unless_over(changes).await
    }

    /// A tar archive of a container's whole root, without its volumes.
    pub async fn export(&self, name: &str) -> Result<DuplexStream> {
        let entry = self.containers.find(name)?;
        let container = entry.now();
        let mounts = self.snapshots.mounts(&container.id)?;
        let pid = container.state.status.is_running().then_some(container.state.pid);
        let open = async { tokio::task::spawn_blocking(move || own_files(&mounts, pid)).await? };
        let root = entry.unless_over(open).await?;
        self.emit(&container, "export");
        Ok(piped(container.id.clone(), move |writer| hull_snapshot::export(root.as_fd(), writer)))
    }

    /// A path in a container, running or not, also if it ends just now.
    async fn place_in(&self, name: &str, path: &str, write: bool) -> Result<(Arc<Container>, Place)> {
        let entry = self.containers.find(name)?;
        let (moment, container) = (entry.moment(), entry.now());
        let container = match self.place(&container, path, write).await {
            Ok(place) => return Ok((container, place)),
            Err(error) => match moment.explain(error).await {
                ended if ended.kind == Kind::Conflict => entry.now(),
                error => return Err(error),
            },
        };
        let place = entry.unless_over(self.place(&container, path, write)).await?;
        Ok((container, place))
    }

    /// What a path in a container is.
    pub async fn archive_stat(&self, name: &str, path: &str) -> Result<PathStat> {
        let (_, place) = self.place_in(name, path, false).await?;
        tokio::task::spawn_blocking(move || place.stat()).await?.map_err(|why| absent(&why, name, path))
    }

    /// A path in a container, and a tar archive of it under its last name.
    pub async fn archive_get(&self, name: &str, path: &str) -> Result<(PathStat, DuplexStream)> {
        let (container, place) = self.place_in(name, path, false).await?;
        let stat = place.stat().map_err(|why| absent(&why, name, path))?;
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
        let (container, place) = self.place_in(name, path, true).await?;
        let reader = SyncIoBridge::new(tar);
        let target = Arc::clone(&container);
        let outcome = tokio::task::spawn_blocking(move || {
            let owner = destination(&target, &place, copy_uid_gid)?;
            let how = Extraction { keep_kinds: no_overwrite_dir_non_dir, owner };
            let tar = hull_image::decompressed(reader)
                .map_err(|why| hull_snapshot::Error::Invalid(why.to_string()))?;
            let limits = Limits::default();
            hull_snapshot::extract(place.root.as_fd(), &place.path, tar, &limits, how)?;
            Ok::<_, Unpacking>(())
        })
        .await?;
        outcome.map_err(|why| match why {
            Unpacking::Refused(error) => error,
            Unpacking::Failed(hull_snapshot::Error::System(why)) => absent(&why, name, path),
            Unpacking::Failed(other) => other.into(),
        })?;
        self.emit(&container, "extract-to-dir");
        Ok(())
    }
}

/// A container's files without what is mounted into them. Those of one that runs are seen as it sees them: the kernel
/// promises nothing of a second mount of what it writes to.
fn own_files(mounts: &hull_snapshot::Mounts, pid: Option<i32>) -> Result<OwnedFd> {
    let running = pid.and_then(|pid| File::open(format!("/proc/{pid}/ns/mnt")).ok());
    // One that ends in this moment, or whose mounts its own user namespace holds fast, is mounted once more.
    if let Some(root) = running.and_then(|namespace| mntns::bare_root(namespace.as_fd()).ok()) {
        return Ok(root);
    }
    Ok(mounts.mount_readonly()?)
}

/// Why nothing was unpacked.
enum Unpacking {
    Refused(Error),
    Failed(hull_snapshot::Error),
}

impl From<hull_snapshot::Error> for Unpacking {
    fn from(error: hull_snapshot::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<SysError> for Unpacking {
    fn from(error: SysError) -> Self {
        Self::Failed(error.into())
    }
}

/// Looks at where an archive is to be unpacked; returns whose its files are to be, if not who the archive says.
fn destination(
    container: &Container,
    place: &Place,
    copy_uid_gid: bool,
) -> Result<Option<(u32, u32)>, Unpacking> {
    let root = place.below()?;
    let stat = root.stat(&place.path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Unpacking::Refused(Error::invalid("extraction point is not a directory")));
    }
    refuse_read_only(container, &place.evaluated()?).map_err(Unpacking::Refused)?;
    let user = &container.config.user;
    match copy_uid_gid && !user.is_empty() {
        false => Ok(None),
        true => match hull_runtime::owner(&root, user) {
            Ok(owner) => Ok(Some(owner)),
            Err(why) => Err(Unpacking::Refused(Error::invalid(why.to_string()))),
        },
    }
}

/// `path` has no links in it any more, so that none leads from a volume back into the container's own files.
fn refuse_read_only(container: &Container, path: &Path) -> Result<()> {
    let within = container.mounts.iter().filter(|mount| path.starts_with(&mount.destination));
    let why = match within.max_by_key(|mount| mount.destination.len()) {
        Some(mount) if !mount.rw => "mounted volume is marked read-only",
        None if container.host.readonly_rootfs => "container rootfs is marked read-only",
        _ => return Ok(()),
    };
    Err(Error::invalid(why))
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

fn absent(why: &SysError, name: &str, path: &str) -> Error {
    if why.is(Errno::NOENT) {
        return Error::not_found(format!("Could not find the file {path} in container {name}"));
    }
    if why.is(Errno::NOTDIR) {
        return Error::invalid(format!("lstat {path}: not a directory"));
    }
    why.clone().into()
}
