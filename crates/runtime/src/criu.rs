//! CRIU, the program that saves the processes of a container to files and makes them again from there: [`save`] and
//! [`restore`]. Its words are those of criu(8).
//!
//! ```text
//! running ──save()──► images ──restore()──► stopped ──go_on()──► running
//!    │ └─ Error: runs on        └─ Error: nothing is left
//!    └─ running or ended, as was asked for
//! ```
//!
//! What leads out of a container is not saved: mounts of the host's files, the namespaces it was given, the other ends
//! of its standard streams. The images know these by names, and whoever restores says what they are then.
//!
//! Synchronous; the caller of [`restore`] must have a single thread, since it is for a moment in another mount namespace.

mod restore;
mod save;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hull_cgroup::Cgroup;
use hull_oci::runtime::{LinuxNamespaceType, Spec};
use hull_sys::clone;

pub use restore::{Restore, Restored, Tree, go_on, restore};
pub use save::{Action, Save, save};

/// Among the images: what the first three descriptors of the container's process were, as runc writes it.
pub const DESCRIPTORS: &str = "descriptors.json";

/// Where the program and what it executes are looked for by a process without a search path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Between two looks at whether it has ended, which takes it many times as long.
const PAUSE: Duration = Duration::from_millis(5);

/// Namespaces that a container shares, by their names in `/proc/PID/ns`, and the names that the images have for them.
const SHARED: [(LinuxNamespaceType, &str, &str); 2] = [
    (LinuxNamespaceType::Network, NETWORK, "extRootNetNS"),
    (LinuxNamespaceType::Pid, "pid", "extRootPidNS"),
];

/// The name of network namespaces in `/proc/PID/ns`.
const NETWORK: &str = "net";

/// Why a container was not saved or not made again, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// The outcome of saving and restoring.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A failed operation on a file.
    fn file(op: &str, path: impl AsRef<Path>, error: impl Into<std::io::Error>) -> Self {
        let error: std::io::Error = error.into();
        Self::new(format!("{op} {}: {error}", path.as_ref().display()))
    }
}

impl From<hull_sys::Error> for Error {
    fn from(error: hull_sys::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<hull_cgroup::Error> for Error {
    fn from(error: hull_cgroup::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// How criu is called.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its path, or its name in the search path.
    pub program: OsString,
    /// The directory of the images, absolute.
    pub images: PathBuf,
    /// Where it writes its log; `None`: beside the images.
    pub work: Option<PathBuf>,
    /// What of the cgroup is restored: `soft`, `full` or `strict`.
    pub cgroups: String,
    /// Options in criu's own words.
    pub words: Vec<OsString>,
}

impl Settings {
    /// The program `criu`, with `images`.
    pub fn new(images: PathBuf) -> Self {
        Self { program: "criu".into(), images, work: None, cgroups: "soft".to_owned(), words: Vec::new() }
    }

    /// Finds the program, before anything is made for it.
    ///
    /// # Errors
    /// It is not there, or does not run.
    pub fn find(&self) -> Result<()> {
        find(&self.program)
    }

    /// The namespaces that the container was given by path and that come back with it: their paths, with the names of
    /// [`SHARED`].
    fn shared(&self, spec: &Spec) -> Vec<(PathBuf, &'static str, &'static str)> {
        let empty = self.words.iter().any(|word| word == "--empty-ns");
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let named = namespaces.into_iter().flatten().filter_map(|namespace| {
            let (kind, name, key) = SHARED.iter().find(|(kind, ..)| *kind == namespace.typ())?;
            let left_out = empty && *kind == LinuxNamespaceType::Network;
            Some((namespace.path().clone().filter(|_| !left_out)?, *name, *key))
        });
        named.collect()
    }
}

/// One call of the program.
struct Call {
    command: Command,
    action: &'static str,
    log: PathBuf,
}

impl Call {
    /// `action` is one of criu's own commands; `log` the name of its log. That the program is there is found out first.
    fn new(settings: &Settings, action: &'static str, log: &'static str) -> Result<Self> {
        find(&settings.program)?;
        let work = settings.work.as_ref().unwrap_or(&settings.images);
        make_directory(work)?;
        let mut command = program(&settings.program);
        command.args([action, "-v4", "--log-file", log]);
        command.arg("--images-dir").arg(&settings.images).arg("--work-dir").arg(work);
        command.args(&settings.words);
        Ok(Self { command, action, log: work.join(log) })
    }

    fn args(&mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.command.args(words);
        self
    }

    /// The container's cgroup, by which its images know those below it. `yard` is a new directory by which criu finds
    /// the hierarchies, each put there by `place`: its own mounts of them would change the options of the host's.
    fn cgroup(
        &mut self,
        settings: &Settings,
        cgroup: &Cgroup,
        yard: &Path,
        place: fn(&Path, &Path) -> Result<()>,
    ) -> Result<()> {
        // That of a call that was cut.
        remove_yard(yard);
        make_directory(yard)?;
        let depth = Path::new(cgroup.path()).components().count() - 1;
        for (controllers, directory) in cgroup.directories() {
            let names: Vec<_> = controllers.iter().map(|name| name.trim_start_matches("name=")).collect();
            let name = if names.is_empty() { "unified".to_owned() } else { names.join(",") };
            place(directory.ancestors().nth(depth).unwrap_or(&directory), &yard.join(name))?;
        }
        self.command.arg("--cgroup-yard").arg(yard);
        self.command
            .arg(format!("--manage-cgroups={}", settings.cgroups))
            .args(["--cgroup-root", cgroup.path()]);
        Ok(())
    }

    /// Runs it to its end; `meanwhile` is done again and again.
    fn run(mut self, meanwhile: &mut dyn FnMut()) -> Result<()> {
        // What an earlier run wrote explains nothing.
        let _ = fs::remove_file(&self.log);
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let failed = |e: std::io::Error| Error::new(format!("execute criu: {e}"));
        let mut child = self.command.spawn().map_err(failed)?;
        let status = loop {
            match child.try_wait().map_err(failed)? {
                Some(status) => break status,
                None => meanwhile(),
            }
            std::thread::sleep(PAUSE);
        };
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        // Little: the rest of it is in its log.
        let _ = child.stderr.take().map(|mut stderr| stderr.read_to_end(&mut said));
        let log = fs::read(&self.log).unwrap_or_default();
        let why = reasons(&String::from_utf8_lossy(&log))
            .or_else(|| reasons(&String::from_utf8_lossy(&said)))
            .unwrap_or_else(|| status.to_string());
        Err(Error::new(format!("criu {}: {why} (its log is {})", self.action, self.log.display())))
    }
}

/// A call of the program, whatever signals and search path this process has.
fn program(name: &OsStr) -> Command {
    let mut command = Command::new(name);
    if std::env::var_os("PATH").is_none() {
        command.env("PATH", PATH);
    }
    clone::with_clean_signals(&mut command);
    command
}

/// Removes the directory of [`Call::cgroup`]; only names, nothing below them. What is left goes with the container.
fn remove_yard(yard: &Path) {
    for entry in fs::read_dir(yard).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir(entry.path()));
    }
    let _ = fs::remove_dir(yard);
}

/// Finds the program, or says which package has it.
fn find(name: &OsStr) -> Result<()> {
    match program(name).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Error::new(format!("{} --version: {}", name.display(), output.status))),
        Err(e) => Err(Error::new(format!(
            "execute {}: {e} (checkpoint and restore need the program criu; Debian's package is criu)",
            name.display()
        ))),
    }
}

/// Makes a directory for the memory of a container, which is nobody else's to read.
fn make_directory(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Error::file("mkdir", path, e))
}

/// The last errors of a log; its very last line says no more than that there are some.
fn reasons(log: &str) -> Option<String> {
    let errors = log.lines().filter_map(|line| line.split_once("Error (").map(|(_, error)| error));
    let errors = errors.filter_map(|error| error.split_once("): ").map(|(_, text)| text.trim()));
    let said: Vec<&str> = errors.filter(|text| !text.ends_with("FAILED.")).collect();
    (!said.is_empty()).then(|| said[said.len().saturating_sub(2)..].join("; "))
}

/// The mounts that lead outside, by their destinations: with the source if it is a path of the host, without if it is
/// the container's own cgroup.
fn external_mounts(spec: &Spec) -> Vec<(&Path, Option<&Path>)> {
    let mounts = spec.mounts().iter().flatten();
    let external = mounts.filter_map(|mount| {
        let options = mount.options().iter().flatten();
        let bound = options.map(String::as_str).any(|option| matches!(option, "bind" | "rbind"));
        match mount.typ().as_deref().unwrap_or_default() {
            "cgroup" | "cgroup2" => Some((mount.destination().as_path(), None)),
            kind if bound || matches!(kind, "bind" | "rbind") => {
                Some((mount.destination().as_path(), Some(mount.source().as_deref()?)))
            }
            _ => None,
        }
    });
    external.collect()
}

/// Whether a container can be saved and made again, as far as its specification tells.
///
/// # Errors
/// It has a terminal or a share of caches, or we are not root.
pub fn check(spec: &Spec) -> Result<()> {
    let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    let rdt = spec.linux().as_ref().is_some_and(|linux| linux.intel_rdt().is_some());
    match (rustix::process::geteuid().is_root(), terminal, rdt) {
        (false, ..) => Err(Error::new("checkpoint and restore are for root only: criu needs it")),
        (_, true, _) => {
            Err(Error::new("checkpoint and restore of a container with a terminal is not supported"))
        }
        (_, _, true) => Err(Error::new("checkpoint and restore with linux.intelRdt is not supported")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_are_the_last_errors_but_the_summary() {
        let log = "(00.01) Error (criu/util.c:642): exited, status=1\n\
                   (01.24) Error (criu/files-reg.c:1710): Can't lookup mount=23 for fd=0 path=/dev/null\n\
                   (01.24) pie: 1: fine\n\
                   (01.25) Error (criu/cr-dump.c:1635): Dump files (pid: 155) failed with -1\n\
                   (01.31) Error (criu/cr-dump.c:2053): Dumping FAILED.\n";
        let expected = "Can't lookup mount=23 for fd=0 path=/dev/null; Dump files (pid: 155) failed with -1";
        assert_eq!(reasons(log).unwrap(), expected);
        assert_eq!(reasons("(00.1) all is well\n"), None);
    }
}
