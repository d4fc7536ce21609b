//! The file that says which process the daemon is. Removed when it ends in order; a stale one is replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Removes the file when the daemon ends.
pub(crate) struct Pidfile(PathBuf);

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes our process id to `path`, unless a living hulld stands there.
///
/// # Errors
/// A message that names the file, and the process that holds it.
pub(crate) fn claim(path: Option<&Path>) -> Result<Option<Pidfile>, String> {
    let Some(path) = path else { return Ok(None) };
    if let Some(pid) = holder(path) {
        return Err(format!(
            "process with PID {pid} is still running: {} is its pidfile; stop it first",
            path.display()
        ));
    }
    let failed = |why: io::Error| format!("write pidfile {}: {why}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    fs::write(path, std::process::id().to_string()).map_err(failed)?;
    Ok(Some(Pidfile(path.to_owned())))
}

/// The process that wrote the file, if it lives and is a hulld: a reused process id holds nothing.
fn holder(path: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (pid != std::process::id() && name.trim() == "hulld").then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_pidfile_is_replaced_and_removed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("run/hulld.pid");
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(&path, "1\n").expect("write");
        let claimed = claim(Some(&path)).expect("process 1 is no hulld");
        assert_eq!(fs::read_to_string(&path).expect("read"), std::process::id().to_string());
        drop(claimed);
        assert!(!path.exists());
    }
}
