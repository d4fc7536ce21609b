//! CRIU, the program that saves the processes of a container to files and makes them again from there: what
//! `checkpoint` and `restore` share. Its words are those of criu(8).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_cgroup::Cgroup;
use hull_oci::runtime::{LinuxNamespaceType, Spec};
use lexopt::{Parser, ValueExt};

use super::error::{Error, Result};
use super::{Global, switch};

/// Among the images: what the first three descriptors of the container's process were, as runc writes it.
pub(super) const DESCRIPTORS: &str = "descriptors.json";

/// The options of both commands, for their help.
pub(super) const IMAGES: (&str, &str) = ("--image-path DIR", "the saved container (default: checkpoint)");
pub(super) const WORK: (&str, &str) =
    ("--work-path DIR", "where criu writes its log (default: the image path)");
pub(super) const TCP: (&str, &str) = ("--tcp-established", "also established TCP connections");
pub(super) const UNIX: (&str, &str) = ("--ext-unix-sk", "also unix sockets to processes outside");
pub(super) const SHELL: (&str, &str) = ("--shell-job", "also what belongs to the session of a shell outside");
pub(super) const LOCKS: (&str, &str) = ("--file-locks", "also file locks");
pub(super) const CGROUPS: (&str, &str) =
    ("--manage-cgroups-mode MODE", "soft, full or strict: what of the cgroup is restored (default: soft)");
pub(super) const EMPTY: (&str, &str) = ("--empty-ns network", "the network namespace without what is in it");
pub(super) const DEDUP: (&str, &str) = ("--auto-dedup", "keep memory once over several images");
pub(super) const REMAP: (&str, &str) = ("--link-remap", "also deleted files that have another name");

/// What is said to criu in the same words as to us.
const PASSED_ON: [&str; 6] =
    ["tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "link-remap"];

/// Namespaces that a container shares, by their names in `/proc/PID/ns`, and the names that the images have for them.
const SHARED: [(LinuxNamespaceType, &str, &str); 2] =
    [(LinuxNamespaceType::Network, "net", "extRootNetNS"), (LinuxNamespaceType::Pid, "pid", "extRootPidNS")];

/// What both commands are told.
pub(super) struct Options {
    images: PathBuf,
    work: Option<PathBuf>,
    cgroups: String,
    words: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Self { images: "checkpoint".into(), work: None, cgroups: "soft".to_owned(), words: Vec::new() }
    }
}

impl Options {
    /// Takes the option `name` with its value.
    pub(super) fn take(&mut self, name: &str, parser: &mut Parser) -> Result<()> {
        match name {
            "image-path" => self.images = parser.value()?.into(),
            "work-path" => self.work = Some(parser.value()?.into()).filter(|path| path != Path::new("")),
            "manage-cgroups-mode" => self.cgroups = mode(&parser.value()?.string()?)?,
            "empty-ns" => match parser.value()?.to_str() {
                Some("network") => self.words.extend(["--empty-ns".into(), "net".into()]),
                _ => return Err(Error::usage("--empty-ns is for network only")),
            },
            "lazy-pages" | "page-server" | "status-fd" => {
                return Err(Error::usage(format!(
                    "--{name} is not supported: memory is saved to files, not sent"
                )));
            }
            name if PASSED_ON.contains(&name) => {
                if switch(parser)? {
                    self.words.push(format!("--{name}").into());
                }
            }
            name => return Err(Error::usage(format!("invalid option {name:?}"))),
        }
        Ok(())
    }

    /// Makes relative paths independent of where this process goes.
    pub(super) fn make_absolute(&mut self) -> Result<()> {
        for path in std::iter::once(&mut self.images).chain(&mut self.work) {
            *path = std::path::absolute(&*path).map_err(|e| Error::file("find", &*path, e))?;
        }
        Ok(())
    }

    pub(super) fn images(&self) -> &Path {
        &self.images
    }

    /// The namespaces that the container was given by path and that come back with it: their paths, with the names of
    /// [`SHARED`].
    pub(super) fn shared(&self, spec: &Spec) -> Vec<(PathBuf, &'static str, &'static str)> {
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

fn mode(word: &str) -> Result<String> {
    match word {
        "soft" | "full" | "strict" => Ok(word.to_owned()),
        "ignore" => Err(Error::usage(
            "--manage-cgroups-mode ignore is not supported: a container is kept by its cgroup",
        )),
        _ => Err(Error::usage(format!("invalid value for --manage-cgroups-mode: {word:?}"))),
    }
}

/// One call of the program.
pub(super) struct Criu {
    command: Command,
    action: &'static str,
    log: PathBuf,
}

impl Criu {
    /// `action` is one of criu's own commands; `log` the name of its log. That the program is there is found out first.
    pub(super) fn new(
        global: &Global,
        action: &'static str,
        log: &'static str,
        options: &Options,
    ) -> Result<Self> {
        find(&global.criu)?;
        let work = options.work.as_ref().unwrap_or(&options.images);
        make_directory(work)?;
        let mut command = Command::new(&global.criu);
        command.args([action, "-v4", "--log-file", log]);
        command.arg("--images-dir").arg(&options.images).arg("--work-dir").arg(work);
        command.args(&options.words);
        Ok(Self { command, action, log: work.join(log) })
    }

    pub(super) fn args(&mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.command.args(words);
        self
    }

    /// The container's cgroup, by which its images know those below it. `yard` is a new directory by which criu finds
    /// the hierarchies, each put there by `place`: its own mounts of them would change the options of the host's.
    pub(super) fn cgroup(
        &mut self,
        options: &Options,
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
            .arg(format!("--manage-cgroups={}", options.cgroups))
            .args(["--cgroup-root", cgroup.path()]);
        Ok(())
    }

    /// Runs it to its end.
    pub(super) fn run(mut self) -> Result<()> {
        // What an earlier run wrote explains nothing.
        let _ = fs::remove_file(&self.log);
        let output = self.command.output();
        let output = output.map_err(|e| Error::new(format!("execute criu: {e}")))?;
        if output.status.success() {
            return Ok(());
        }
        let log = fs::read(&self.log).unwrap_or_default();
        let why = reasons(&String::from_utf8_lossy(&log))
            .or_else(|| reasons(&String::from_utf8_lossy(&output.stderr)))
            .unwrap_or_else(|| output.status.to_string());
        Err(Error::new(format!("criu {}: {why} (its log is {})", self.action, self.log.display())))
    }
}

/// Removes the directory of [`Criu::cgroup`]; only names, nothing below them. What is left goes with the container.
pub(super) fn remove_yard(yard: &Path) {
    for entry in fs::read_dir(yard).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir(entry.path()));
    }
    let _ = fs::remove_dir(yard);
}

/// Finds the program, or says which package has it.
fn find(program: &OsStr) -> Result<()> {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Error::new(format!("{} --version: {}", program.display(), output.status))),
        Err(e) => Err(Error::new(format!(
            "execute {}: {e} (checkpoint and restore need the program criu; Debian's package is criu)",
            program.display()
        ))),
    }
}

/// Makes a directory for the memory of a container, which is nobody else's to read.
pub(super) fn make_directory(path: &Path) -> Result<()> {
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
pub(super) fn external_mounts(spec: &Spec) -> Vec<(&Path, Option<&Path>)> {
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

/// What of a container's specification cannot be saved or made again.
pub(super) fn check(spec: &Spec) -> Result<()> {
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
