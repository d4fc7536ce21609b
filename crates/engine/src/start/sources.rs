//! `-v` of a path that is not there makes a directory, as in Docker.

use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use hull_sys::Context;
use rustix::io::Errno;

use crate::model::{Container, MountKind};
use crate::{Error, Result};

/// Makes the missing sources of binds; `owner`: the user and group on the host who are root in the container, if they
/// are others.
pub(super) fn make(container: &Container, owner: Option<(u32, u32)>) -> Result<()> {
    for mount in container.mounts.iter().filter(|mount| mount.kind == MountKind::Bind) {
        let source = Path::new(&mount.source);
        if source.symlink_metadata().is_ok() {
            continue;
        }
        if !mount.create_source {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source
            )));
        }
        make_one(source, owner)?;
    }
    Ok(())
}

fn make_one(source: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let missing: Vec<_> = source.ancestors().take_while(|path| path.symlink_metadata().is_err()).collect();
    std::fs::create_dir_all(source).map_err(|error| not_made(source, &error))?;
    if let Some((user, group)) = owner {
        missing.into_iter().try_for_each(|path| chown(path, Some(user), Some(group)).on("chown", path))?;
    }
    Ok(())
}

/// A full or broken disk is the machine's fault; another path would do otherwise.
fn not_made(source: &Path, error: &io::Error) -> Error {
    let text = error.to_string().to_lowercase();
    let text = format!("error while creating mount source path '{}': mkdir: {text}", source.display());
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::IO) | None => Error::system(text),
        Some(_) => Error::invalid(text),
    }
}
