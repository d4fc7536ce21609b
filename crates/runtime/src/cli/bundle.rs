//! A bundle: the directory with `config.json`, and what `create` and `run` say of the container beside it.

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use hull_oci::runtime::{LinuxResources, Spec};
use hull_runtime::{Create, Rootfs, Stdio, config, seccomp};
use lexopt::{Arg, Parser, ValueExt};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::{Error, Result};
use super::log::Log;
use super::{path, switch};

/// The options that `create` and `run` share.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) id: Option<String>,
    pub(crate) bundle: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    preserve_fds: u32,
    no_pivot: bool,
    keep_keyring: bool,
    pub(crate) detach: bool,
    pub(crate) keep: bool,
    /// Whether the command is `run`.
    pub(crate) is_run: bool,
}

/// A bundle, read and made absolute.
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) terminal: bool,
    spec: Spec,
}

impl Options {
    pub(crate) fn parse(parser: &mut Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Short('b') | Arg::Long("bundle") => options.bundle = Some(parser.value()?.into()),
                Arg::Long("pid-file") => options.pid_file = Some(path(parser)?),
                Arg::Long("console-socket") => options.console_socket = Some(path(parser)?),
                Arg::Long("preserve-fds") => options.preserve_fds = parser.value()?.parse()?,
                Arg::Short('d') | Arg::Long("detach") => options.detach = switch(parser)?,
                Arg::Long("keep") => options.keep = switch(parser)?,
                Arg::Long("no-new-keyring") => options.keep_keyring = switch(parser)?,
                Arg::Long("no-pivot") => options.no_pivot = switch(parser)?,
                Arg::Long("pidfd-socket") => options.pidfd_socket = Some(path(parser)?),
                // Orphans of the container go to whoever takes them above us, as that option wants it.
                Arg::Long("no-subreaper") => drop(switch(parser)?),
                Arg::Value(value) => super::take_id(&mut options.id, value)?,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

impl Bundle {
    /// Reads the bundle and goes there: what is relative in it is relative to it.
    pub(crate) fn open(log: &Log, options: &Options) -> Result<Self> {
        let given = options.bundle.as_deref().unwrap_or(Path::new("."));
        let path = given.canonicalize().map_err(|e| Error::file("bundle", given, e))?;
        std::env::set_current_dir(&path).map_err(|e| Error::file("chdir", &path, e))?;
        let spec = read_spec(log, &path.join("config.json"))?;
        let root = spec.root().as_ref().ok_or_else(|| Error::new("config.json has no root"))?;
        let rootfs = root.path().canonicalize().map_err(|e| Error::file("root", root.path(), e))?;
        let process = spec.process().as_ref().ok_or_else(|| Error::new("config.json has no process"))?;
        let terminal = process.terminal().unwrap_or(false);
        Ok(Self { path, rootfs, terminal, spec })
    }

    /// The container that the bundle describes.
    pub(crate) fn into_create(
        mut self,
        id: &str,
        cgroup: Option<String>,
        options: &Options,
    ) -> Result<Create> {
        let sockets = listening();
        if sockets > 0 {
            let env = self.spec.process_mut().get_or_insert_default().env_mut().get_or_insert_default();
            env.extend([format!("LISTEN_FDS={sockets}"), "LISTEN_PID=1".to_owned()]);
        }
        let linux = self.spec.linux().as_ref();
        let policy = linux.and_then(|linux| linux.seccomp().as_ref());
        let seccomp = policy.map(seccomp::compile).transpose().map_err(|e| Error::new(e.to_string()))?;
        let stdio = if self.terminal { terminal(&self.spec) } else { Stdio::Inherit };
        Ok(Create {
            stdio,
            seccomp,
            cgroup,
            preserve_fds: options.preserve_fds + sockets,
            keyring: (!options.keep_keyring).then(|| keyring(id)),
            no_pivot: options.no_pivot,
            bundle: self.path,
            ..Create::new(id, self.spec, Rootfs::Directory(self.rootfs))
        })
    }

    /// What the specification says of the cgroup; empty if nothing.
    pub(crate) fn cgroups_path(&self) -> String {
        let given = self.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
        given.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The limits that the specification sets.
    pub(crate) fn resources(&self) -> Option<&LinuxResources> {
        self.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref())
    }

    /// What it asks for and no kernel of today can give.
    pub(crate) fn ignored(&self) -> impl Iterator<Item = &'static str> {
        let memory = self.resources().and_then(|resources| *resources.memory());
        #[allow(deprecated, reason = "it is asked for only to be refused")]
        let kernel = memory.and_then(|memory| memory.kernel()).is_some_and(|limit| limit != 0);
        kernel.then_some("linux.resources.memory.kernel").into_iter()
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }
}

/// How many sockets systemd has handed to this process for the container: sd_listen_fds(3).
fn listening() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0),
        _ => 0,
    }
}

/// The name of a container's session keyring; `exec` joins it by that.
pub(crate) fn keyring(id: &str) -> String {
    format!("_ses.{id}")
}

fn terminal(spec: &Spec) -> Stdio {
    let size = spec.process().as_ref().and_then(|process| process.console_size());
    let small = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let (rows, cols) = size.map_or((0, 0), |size| (small(size.height()), small(size.width())));
    Stdio::Terminal { rows, cols }
}

/// Reads a `config.json`.
pub(crate) fn read_spec(log: &Log, path: &Path) -> Result<Spec> {
    let text = std::fs::read(path).map_err(|e| Error::file("read", path, e))?;
    let read = config::parse_spec(&text).map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
    super::warn(log, &read.warnings);
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

/// Hands a descriptor to whoever listens at `path`, with a word.
pub(crate) fn send_descriptor(path: &Path, word: &str, descriptor: BorrowedFd<'_>) -> Result<()> {
    let fail = |errno: rustix::io::Errno| Error::file("connect to socket", path, errno);
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(fail)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).map_err(fail)?).map_err(fail)?;
    hull_sys::scm::send(&socket, word.as_bytes(), &[descriptor])?;
    Ok(())
}

/// Hands out the terminal of a process.
pub(crate) fn send_console(path: &Path, master: BorrowedFd<'_>) -> Result<()> {
    send_descriptor(path, "/dev/ptmx", master)
}
