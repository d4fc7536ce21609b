//! The daemon's side of a supervisor.
//!
//! Everything here blocks for as long as the supervisor takes to answer (a few milliseconds); an async
//! caller uses [`connect`] and [`protocol::encode`] and awaits the line by itself.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hull_sys::{Context, Error, Result, scm};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::protocol::{self, Answer, Config, Exit, Request};

/// The longest answer line that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// The program `hull-shim`, opened once for all containers.
///
/// By way of a read-only mount: until it executes a program, the container's process is a copy of the supervisor, and
/// that program may be `/proc/self/exe` (CVE-2019-5736).
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    file: OwnedFd,
}

impl Program {
    /// Opens the program at `path`. What is put in its place later is not executed by way of this.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: hull_sys::clone::read_only_program(path)? })
    }
}

/// Writes `config` into `dir`, starts a supervisor there and returns its first word: `Created` or `Failed`.
///
/// `network` is the network namespace the container joins; it travels as the supervisor's standard input.
/// The supervisor is no child of the caller when this returns, whatever it answered.
pub fn spawn(
    program: &Program,
    dir: &Path,
    mut config: Config,
    network: Option<BorrowedFd<'_>>,
) -> Result<Answer> {
    config.netns_fd = network.map(|_| 0);
    write_private(&dir.join(protocol::CONFIG), &to_line(&config)?)?;
    let stdin = match network {
        Some(fd) => Stdio::from(fd.try_clone_to_owned().op("dup network namespace")?),
        None => Stdio::null(),
    };
    let mut child = Command::new(format!("/proc/self/fd/{}", program.file.as_raw_fd()))
        .arg0(&program.path)
        .arg(dir)
        .env_clear()
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .on("execute", &program.path)?;
    let answer = first_word(&mut child, dir);
    // The process we spawned only forked the supervisor; it is already gone.
    child.wait().op("wait for hull-shim")?;
    answer
}

fn first_word(child: &mut Child, dir: &Path) -> Result<Answer> {
    match child.stdout.take() {
        Some(stdout) => read_line(BufReader::new(stdout), dir),
        None => Err(Error::new("read from", "hull-shim", Errno::BADF)),
    }
}

/// The name under which the program makes [`namespaces`].
pub const NAMESPACES: &str = "hull-namespaces";

/// What user namespace a network namespace is to belong to.
#[derive(Debug)]
pub enum Owner<'a> {
    /// A new one, with these maps of users and groups, as in user_namespaces(7).
    New(&'a str, &'a str),
    /// That of a process.
    Of(i32),
}

/// A user namespace, and a new network namespace that belongs to it. They live as long as the descriptors do.
pub fn namespaces(program: &Program, owner: &Owner<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let mut command = Command::new(format!("/proc/self/fd/{}", program.file.as_raw_fd()));
    command.arg0(NAMESPACES).env_clear();
    if let Owner::Of(pid) = owner {
        command.arg(format!("/proc/{pid}/ns/user"));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().on("execute", &program.path)?;
    let made = take_namespaces(&mut child, owner);
    // It ends with its standard input.
    drop(child.stdin.take());
    child.wait().op("wait for hull-shim")?;
    made
}

fn take_namespaces(child: &mut Child, owner: &Owner<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let mut said = [0];
    let heard = child.stdout.as_mut().is_some_and(|out| out.read_exact(&mut said).is_ok());
    if !heard {
        let mut why = String::new();
        let _ = child.stderr.as_mut().map(|err| err.read_to_string(&mut why));
        return Err(Error::new("make the namespaces of users and network", why, 0));
    }
    let path = |name: &str| format!("/proc/{}/{name}", child.id());
    if let Owner::New(users, groups) = owner {
        for (file, map) in [(path("uid_map"), users), (path("gid_map"), groups)] {
            fs::write(&file, map).on("write", &file)?;
        }
    }
    let open = |name: &str| {
        let path = path(name);
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)
    };
    Ok((open("ns/user")?, open("ns/net")?))
}

/// Connects to the supervisor of `dir`. `ENOENT` or `ECONNREFUSED`: there is none (any more).
pub fn connect(dir: &Path) -> Result<UnixStream> {
    let handle = open_directory(dir)?;
    // A socket's address holds 107 bytes; through the descriptor the directory may be of any length.
    let address = format!("/proc/self/fd/{}/{}", handle.as_raw_fd(), protocol::SOCKET);
    UnixStream::connect(address).on("connect to the supervisor in", dir)
}

fn open_directory(dir: &Path) -> Result<OwnedFd> {
    rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).on("open", dir)
}

/// Sends one request and returns its answer; the connection stays usable as a stream.
pub fn ask(stream: &mut UnixStream, dir: &Path, request: &Request) -> Result<Answer> {
    stream.write_all(&to_line(request)?).on("write to the supervisor in", dir)?;
    read_answer(stream, dir)
}

/// Connects, sends one request and returns its answer and the connection.
pub fn request(dir: &Path, request: &Request) -> Result<(Answer, UnixStream)> {
    let mut stream = connect(dir)?;
    let answer = ask(&mut stream, dir, request)?;
    Ok((answer, stream))
}

/// Waits for the end of the container of `dir`: `Exited`, if the supervisor tells it.
pub fn wait(stream: &mut UnixStream, dir: &Path) -> Result<Answer> {
    let mut answer = ask(stream, dir, &Request::Wait)?;
    while matches!(answer, Answer::Oom) {
        answer = read_answer(&mut *stream, dir)?;
    }
    Ok(answer)
}

/// Has the supervisor of `dir` keep descriptors, in the place of those it kept before.
pub fn hold(dir: &Path, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let stream = connect(dir)?;
    scm::send(&stream, &to_line(&Request::Hold)?, descriptors)?;
    match read_answer(&stream, dir)? {
        Answer::Ok => Ok(()),
        _ => Err(Error::new("keep descriptors in", dir.to_string_lossy(), Errno::INVAL)),
    }
}

/// Copies of the descriptors that the supervisor of `dir` keeps.
pub fn held(dir: &Path) -> Result<Vec<OwnedFd>> {
    let mut stream = connect(dir)?;
    stream.write_all(&to_line(&Request::Held)?).on("write to the supervisor in", dir)?;
    // The answer is short, and they come with its beginning.
    let mut line = [0; 64];
    let (_, descriptors) = scm::receive(&stream, &mut line)?;
    Ok(descriptors)
}

/// How the container of `dir` ended; `None` while it runs, or if its supervisor died before it could tell.
pub fn exit_record(dir: &Path) -> Result<Option<Exit>> {
    let path = dir.join(protocol::EXIT);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).on("read", &path),
    };
    protocol::decode(&bytes).map(Some).map_err(io::Error::from).on("parse", &path)
}

/// Reads one line byte by byte: what follows it belongs to whoever streams next.
fn read_answer(from: impl Read, dir: &Path) -> Result<Answer> {
    read_line(BufReader::with_capacity(1, from), dir)
}

fn read_line(from: impl BufRead, dir: &Path) -> Result<Answer> {
    let mut line = Vec::new();
    from.take(MAX_ANSWER).read_until(b'\n', &mut line).on("read from the supervisor in", dir)?;
    protocol::decode(&line).map_err(io::Error::from).on("parse the answer of the supervisor in", dir)
}

fn to_line<T: serde::Serialize>(message: &T) -> Result<Vec<u8>> {
    protocol::encode(message).map_err(io::Error::from).op("encode for the supervisor")
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file: File =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(path).on("create", path)?;
    file.write_all(bytes).on("write", path)
}
