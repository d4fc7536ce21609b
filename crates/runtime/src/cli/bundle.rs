//! A bundle: the directory with `config.json`, and what `create` and `run` say of the container beside it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use hull_oci::runtime::Spec;
use hull_runtime::{Create, Rootfs, Stdio, config, seccomp};
use lexopt::{Arg, Parser, ValueExt};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::{Error, Result};

/// The options that `create` and `run` share.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) id: Option<String>,
    bundle: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    preserve_fds: u32,
    pub(crate) detach: bool,
    pub(crate) keep: bool,
    /// Whether the command is `run`.
    pub(crate) is_run: bool,
}

/// A bundle, read and made absolute.
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) terminal: bool,
    spec: Spec,
}

impl Options {
    pub(crate) fn parse(parser: &mut Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Short('b') | Arg::Long("bundle") => options.bundle = Some(parser.value()?.into()),
                Arg::Long("pid-file") => options.pid_file = Some(parser.value()?.into()),
                Arg::Long("console-socket") => options.console_socket = Some(parser.value()?.into()),
                Arg::Long("preserve-fds") => options.preserve_fds = parser.value()?.parse()?,
                Arg::Short('d') | Arg::Long("detach") => options.detach = true,
                Arg::Long("keep") => options.keep = true,
                Arg::Long("no-new-keyring") => {}
                Arg::Long(name @ ("no-pivot" | "pidfd-socket" | "no-subreaper")) => {
                    return Err(Error::usage(format!("--{name} is not supported")));
                }
                Arg::Value(value) => super::take_id(&mut options.id, value)?,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

impl Bundle {
    /// Reads the bundle and goes there: what is relative in it is relative to it.
    pub(crate) fn open(options: &Options, id: &str) -> Result<Self> {
        let given = options.bundle.as_deref().unwrap_or(Path::new("."));
        let path = given.canonicalize().map_err(|e| Error::file("bundle", given, e))?;
        std::env::set_current_dir(&path).map_err(|e| Error::file("chdir", &path, e))?;
        let spec = read_spec(&path.join("config.json"))?;
        let root = spec.root().as_ref().ok_or_else(|| Error::new("config.json has no root"))?;
        let rootfs = root.path().canonicalize().map_err(|e| Error::file("root", root.path(), e))?;
        let process = spec.process().as_ref().ok_or_else(|| Error::new("config.json has no process"))?;
        let terminal = process.terminal().unwrap_or(false);
        let cgroup = cgroup_path(&spec, id);
        Ok(Self { path, rootfs, cgroup, terminal, spec })
    }

    /// The container that the bundle describes.
    pub(crate) fn into_create(self, id: &str, options: &Options) -> Result<Create> {
        let linux = self.spec.linux().as_ref();
        let policy = linux.and_then(|linux| linux.seccomp().as_ref());
        let seccomp = policy.map(seccomp::compile).transpose().map_err(|e| Error::new(e.to_string()))?;
        let stdio = if self.terminal { terminal(&self.spec) } else { Stdio::Inherit };
        Ok(Create {
            stdio,
            seccomp,
            cgroup: Some(self.cgroup),
            preserve_fds: options.preserve_fds,
            bundle: self.path,
            ..Create::new(id, self.spec, Rootfs::Directory(self.rootfs))
        })
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }
}

fn terminal(spec: &Spec) -> Stdio {
    let size = spec.process().as_ref().and_then(|process| process.console_size());
    let small = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let (rows, cols) = size.map_or((0, 0), |size| (small(size.height()), small(size.width())));
    Stdio::Terminal { rows, cols }
}

/// Where the container's cgroup lies in every hierarchy.
fn cgroup_path(spec: &Spec, id: &str) -> String {
    let given = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    match given.map(|path| path.to_string_lossy()).filter(|path| !path.is_empty()) {
        Some(path) => format!("/{}", path.trim_matches('/')),
        None => format!("/{id}"),
    }
}

fn read_spec(path: &Path) -> Result<Spec> {
    let text = std::fs::read(path).map_err(|e| Error::file("read", path, e))?;
    let read = config::parse_spec(&text).map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
    super::warn(&read.warnings);
    Ok(read.value)
}

/// Writes a process id where it is asked for; readers never see half of it.
pub(crate) fn write_pid(path: Option<&Path>, pid: i32) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let name = path.file_name().ok_or_else(|| Error::usage(format!("{} is no file name", path.display())))?;
    let temporary = path.with_file_name(format!(".{}", name.to_string_lossy()));
    let written = File::create(&temporary).and_then(|mut file| write!(file, "{pid}"));
    written.map_err(|e| Error::file("write", &temporary, e))?;
    std::fs::rename(&temporary, path).map_err(|e| Error::file("rename", path, e))
}

/// Hands the master side of a terminal to whoever listens at `path`.
pub(crate) fn send_console(path: &Path, master: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    let fail = |errno: rustix::io::Errno| Error::file("console socket", path, errno);
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(fail)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).map_err(fail)?).map_err(fail)?;
    hull_sys::scm::send(&socket, b"/dev/ptmx", &[master])?;
    Ok(())
}
