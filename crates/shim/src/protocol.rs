//! What the daemon and a supervisor say to each other.
//!
//! The directory `<exec-root>/shim/<container-id>` (mode 0700) holds [`CONFIG`] (a [`Config`], written
//! before the supervisor is spawned), [`SOCKET`], [`PID`] (the supervisor's pid) and, once the container
//! has ended, [`EXIT`] (an [`Exit`], written atomically).
//!
//! The supervisor prints one line, an [`Answer`] (`Created` or `Failed`), on its standard output. From then
//! on it listens on the socket. A connection carries one [`Request`] as a line of JSON and gets one
//! [`Answer`] as a line of JSON. After `Attach` and `Exec` the connection is a stream: towards the daemon
//! frames with Docker's own header ([`Header`]), towards the container the bare bytes of its standard
//! input, ended by `shutdown(SHUT_WR)`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hull_oci::runtime::{Process, Spec};
pub use hull_runtime::seccomp::Program;
pub use hull_runtime::{Failure, Rootfs, Source};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::log::{Destination, LogConfig, LogFile, LogFormat, RemoteLog};

/// The file of the supervisor's [`Config`].
pub const CONFIG: &str = "config.json";
/// The supervisor's stream socket, mode 0600.
pub const SOCKET: &str = "sock";
/// The file with the supervisor's pid in decimal.
pub const PID: &str = "shim.pid";
/// The file of the container's [`Exit`]; its presence means that the container has ended.
pub const EXIT: &str = "exit.json";
/// The daemon's file in a [`Checkpoint`].
pub const NOTES: &str = "hull.json";
/// The file of the exit code, in decimal, of an exec session `id` that ended while no client listened to it.
pub fn exec_exit(id: &str) -> String {
    format!("exec-{id}.exit")
}

/// The longest request line a supervisor reads, in bytes.
pub const MAX_REQUEST: usize = 1 << 20;
/// How many descriptors a supervisor keeps.
pub const MAX_HELD: usize = 4;
/// The largest payload of a frame, in bytes.
pub const MAX_FRAME: usize = 1 << 20;

/// Everything a supervisor must know of its container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The container's full id.
    pub id: String,
    /// The directory that hooks are told of; empty where there are none.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub bundle: PathBuf,
    /// The OCI configuration; namespaces, mounts and the process are taken from it.
    pub spec: Spec,
    /// What becomes the container's `/`.
    pub rootfs: Rootfs,
    /// Docker's `--user` or the image's `USER`, resolved inside the new root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Docker's `--group-add`, resolved inside the new root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_groups: Vec<String>,
    /// The initial size of the terminal; `None` gives the container pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
    /// Docker's `OpenStdin`: the container's standard input can be attached to. Without it, it is `/dev/null`.
    #[serde(default)]
    pub open_stdin: bool,
    /// Docker's `StdinOnce`: standard input is closed when the first client attached to it has left.
    #[serde(default)]
    pub stdin_once: bool,
    /// The container's cgroup ("/hull/<id>"), made by the supervisor and removed after the exit.
    pub cgroup: String,
    /// The compiled seccomp policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Program>,
    /// The inherited descriptor of the network namespace to join ([`crate::client::spawn`] passes 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_fd: Option<i32>,
    /// As in [`hull_runtime::Create::sources`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<PathBuf, Source>,
    /// Where the output is kept.
    pub log: LogConfig,
    /// File systems that several containers have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<Shared>,
    /// The program that makes the container instead of the library here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<ForeignRuntime>,
    /// The directory of a [`Checkpoint`] that the container is made from, instead of being made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
}

/// Another OCI runtime: a program with runc's command line. The seccomp policy is in the specification then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignRuntime {
    /// Its path, or its name in the usual directories.
    pub program: PathBuf,
    /// What stands before the action on its command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
}

/// A file system that several containers have: a volume in memory, or of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Its name.
    pub name: String,
    /// Where the specification has it.
    pub target: PathBuf,
    /// The path of a descriptor of the daemon's: the detached mount that is placed there.
    pub mount: PathBuf,
    /// The path of a descriptor of the daemon's: the mount namespace that keeps the file system. The supervisor holds it,
    /// so that another daemon finds it there: [`State::shared`].
    pub namespace: PathBuf,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// A terminal's size in characters; 0 × 0 leaves it to the first resize.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// What a daemon asks for: one line of JSON, the first thing on a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Lets init execute the container's program. Answers `Started` or `Failed`.
    Start,
    /// Blocks until the container has ended, its output is in the log and [`EXIT`] is written. Answers `Exited`; before
    /// that `Oom` each time when the container has run out of memory.
    Wait,
    /// Answers `Ok`, then streams: the output from here on, and input if asked for.
    Attach(Attach),
    /// Runs another process in the container. Answers `Started` or `Failed`, then streams as `Attach` does,
    /// and ends with a frame of [`Stream::Exit`].
    Exec(Box<Exec>),
    /// Blocks until the exec session of that name has ended. Answers `Exited`, also when it ended while no client
    /// listened to it, or `NotRunning`.
    WaitExec(String),
    /// Sets the size of the container's or an exec session's terminal, before or after the start. Answers `Ok`.
    Resize(Resize),
    /// Sends a signal. Answers `Ok` or `NotRunning`.
    Kill(Kill),
    /// Closes the container's standard input. Answers `Ok`.
    CloseStdin,
    /// Answers `State`.
    State,
    /// Saves the container that runs. Answers `Ok` when all of it is on the disk, or `Failed`, and it runs on.
    Checkpoint(Checkpoint),
    /// Keeps the descriptors that came with this line (SCM_RIGHTS), at most [`MAX_HELD`], in the place of those kept
    /// before; they are sockets of the container's that must not end with the daemon. Answers `Ok`.
    Hold,
    /// Answers `Ok`, and with it copies of the descriptors that are kept.
    Held,
}

/// The streams a client attaches to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Send what arrives on the connection to the container's standard input.
    #[serde(default)]
    pub stdin: bool,
    /// Send the container's standard output (for a terminal: everything).
    #[serde(default)]
    pub stdout: bool,
    /// Send the container's standard error.
    #[serde(default)]
    pub stderr: bool,
}

/// A further process in a running container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// The name that `Resize` and `Kill` use for it.
    pub id: String,
    /// Arguments, environment, directory, user, capabilities.
    pub process: Process,
    /// As in [`Config::user`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// As in [`Config::extra_groups`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_groups: Vec<String>,
    /// As in [`Config::terminal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
    /// Whether the connection's bytes are its standard input; without it, it is `/dev/null`.
    #[serde(default)]
    pub stdin: bool,
    /// Whether its standard output is sent; without it, it is read and dropped.
    #[serde(default = "yes")]
    pub stdout: bool,
    /// The same for its standard error.
    #[serde(default = "yes")]
    pub stderr: bool,
    /// The compiled seccomp policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Program>,
}

fn yes() -> bool {
    true
}

/// A new size for a terminal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resize {
    /// The exec session; `None` is the container.
    #[serde(default)]
    pub exec: Option<String>,
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// A signal to deliver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kill {
    /// Its number, as in signal(7).
    pub signal: i32,
    /// The exec session; `None` is the container's init.
    #[serde(default)]
    pub exec: Option<String>,
    /// To every process of the container.
    #[serde(default)]
    pub all: bool,
}

/// A container's processes and memory in files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The directory to be made, in one that is there; absolute. It has this name when all of it is written: before,
    /// that of [`unfinished`].
    pub directory: PathBuf,
    /// Whether the container ends with it.
    pub exit: bool,
    /// What the daemon wants to know of it later: the content of [`NOTES`].
    #[serde(default)]
    pub notes: String,
}

/// The name of a checkpoint's directory while it is written; no checkpoint may be named so.
pub fn unfinished(directory: &Path) -> PathBuf {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    directory.with_file_name(format!(".{name}"))
}

/// What a supervisor answers: one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// The container exists and its init waits for `Start` (on the supervisor's standard output only).
    Created {
        /// The container's init, as the host sees it.
        pid: i32,
        /// The supervisor.
        shim_pid: i32,
    },
    /// Done.
    Ok,
    /// The program is executing.
    Started {
        /// Its process id as the host sees it.
        pid: i32,
        /// RFC 3339 with nanoseconds, UTC.
        started_at: String,
    },
    /// The container could not be created or started, or the exec session not begun.
    Failed(Failure),
    /// The container has ended.
    Exited(Exit),
    /// The container has run out of memory, and the kernel kills in it.
    Oom,
    /// There is no such process (any more), or it is not started yet.
    NotRunning,
    /// The container at this moment.
    State(State),
    /// The request makes no sense here (a second start, an unknown exec session, not JSON): why.
    Invalid(String),
}

/// How a container ended; also what [`EXIT`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Docker's exit code: the process's own, or 128 + the number of the signal that ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When, RFC 3339 with nanoseconds, UTC.
    pub at: String,
    /// Whether the kernel killed a process of it for lack of memory.
    pub oom: bool,
    /// When it was started, if it was.
    pub started_at: Option<String>,
    /// Bytes of output that could not be logged (full disk).
    #[serde(default)]
    pub log_dropped: u64,
}

/// A container at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where in its life it is.
    pub status: Status,
    /// The container's init as the host sees it; 0 when it has ended.
    pub pid: i32,
    /// The supervisor.
    pub shim_pid: i32,
    /// When it was started, if it was.
    pub started_at: Option<String>,
    /// The ids of the exec sessions that run.
    pub execs: Vec<String>,
    /// For each name of [`Config::shared`] the supervisor's descriptor of its mount namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shared: BTreeMap<String, i32>,
}

/// The life of a container as its supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Init waits for `Start`.
    Created,
    /// The program executes.
    Running,
    /// Init has ended; its output may still be on its way to attached clients.
    Exited,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or everything a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of an exec session: four bytes, its exit code (as [`Exit::code`]), big endian.
    Exit,
}

/// The header of a frame: Docker's, `[stream, 0, 0, 0, length as four bytes big endian]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub stream: Stream,
    /// How many bytes of it follow, at most [`MAX_FRAME`].
    pub length: usize,
}

impl Header {
    /// Bytes of an encoded header.
    pub const SIZE: usize = 8;

    /// The header as it is sent.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let kind = match self.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
            Stream::Exit => 255,
        };
        let [a, b, c, d] = (self.length as u32).to_be_bytes();
        [kind, 0, 0, 0, a, b, c, d]
    }

    /// Reads a header; `None` if no supervisor of ours sent it.
    pub fn decode(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let [kind, 0, 0, 0, a, b, c, d] = bytes else { return None };
        let stream = match kind {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            255 => Stream::Exit,
            _ => return None,
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        (length <= MAX_FRAME).then_some(Self { stream, length })
    }
}

/// A message as its line, newline included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a message from its line, with or without the newline.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_wire() {
        for stream in [Stream::Stdout, Stream::Stderr, Stream::Exit] {
            let header = Header { stream, length: 0x0102 };
            assert_eq!(Header::decode(header.encode()), Some(header));
        }
        assert_eq!(Header { stream: Stream::Stderr, length: 258 }.encode(), [2, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn foreign_headers_are_refused() {
        assert_eq!(Header::decode([3, 0, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(Header::decode([1, 1, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(Header::decode([1, 0, 0, 0, 255, 0, 0, 0]), None);
    }

    #[test]
    fn messages_are_single_lines() {
        let kill = Request::Kill(Kill { signal: 15, exec: Some("a\nb".into()), all: false });
        let line = encode(&kill).expect("a request is JSON");
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(matches!(decode(&line), Ok(Request::Kill(Kill { signal: 15, .. }))));
    }
}
