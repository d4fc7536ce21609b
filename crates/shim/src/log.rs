//! Where a container's output goes, as the daemon tells a supervisor.
//!
//! A file is written by the supervisor itself. Everything that is not a file is reached by the *logger*: the same program
//! under another name, one process beside the supervisor, fed by a pipe of entries ([`crate::entry`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a supervisor keeps the container's output; nowhere, if it has neither: only attached clients see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The file that `logs` reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<LogFile>,
    /// Who else gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteLog>,
}

impl From<LogFile> for LogConfig {
    fn from(file: LogFile) -> Self {
        Self { file: Some(file), remote: None }
    }
}

/// How a file looks inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Docker's `json-file`: `{"log":"line\n","stream":"stdout","time":"RFC 3339"}` lines.
    #[default]
    JsonFile,
    /// Docker's `local`: binary entries; see [`crate::entry`].
    Entries,
}

/// A log in files, bounded unless told otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The file that is written; older ones have `.1`, `.2`, … behind the name, `.1` the youngest.
    pub path: PathBuf,
    /// How it looks inside.
    #[serde(default)]
    pub format: LogFormat,
    /// Bytes after which the file is rotated; `None` never rotates.
    pub max_size: Option<u64>,
    /// How many files are kept, the current one included; at least 1.
    pub max_file: u32,
    /// Whether older files are packed by gzip, and have `.gz` behind the name.
    #[serde(default)]
    pub compress: bool,
    /// What Docker's `labels`, `env` and `tag` options put into the `attrs` of each line of [`LogFormat::JsonFile`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

impl LogFile {
    /// The bounds of a log nobody gave bounds to: five files of 20 MiB.
    pub fn bounded(path: PathBuf) -> Self {
        Self {
            path,
            format: LogFormat::JsonFile,
            max_size: Some(20 << 20),
            max_file: 5,
            compress: false,
            attrs: BTreeMap::new(),
        }
    }
}

/// Output that leaves the machine, or goes to another service on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteLog {
    /// Who gets it.
    pub destination: Destination,
    /// Bytes that may wait for a slow one before what is new is dropped; `None`: the container waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_buffer: Option<u64>,
    /// The destination was reached before: one that is away now is waited for.
    #[serde(default)]
    pub waits: bool,
}

/// A socket's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// "tcp", "tcp+tls", "udp", "unix", "unixgram".
    pub network: String,
    /// "host:port", "[v6]:port" or a path.
    pub target: String,
    /// For "tcp+tls".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// How TLS is spoken: by a program that is run as [`Tls::NAME`], since there is none in the logger.
///
/// Its arguments are the target, the three files (empty where there is none) and [`Tls::SKIP`] or nothing. Its standard
/// input is a stream socket: the program writes one line there, empty or why the target was not reached, and then passes
/// on what it reads. It ends with the socket, or with the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The program.
    pub program: PathBuf,
    /// Certificates of authorities, instead of the system's.
    pub authorities: Option<PathBuf>,
    /// Our own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Any certificate will do.
    pub skip_verify: bool,
}

impl Tls {
    /// The name that the program goes by.
    pub const NAME: &str = "hull-tls";
    /// The argument that says that any certificate will do.
    pub const SKIP: &str = "skip-verify";
}

/// Who gets the output, and how it is told. Tags and attributes are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// systemd's journal, by its native protocol.
    Journald {
        /// What each record tells of its container, by the journal's names.
        fields: BTreeMap<String, String>,
    },
    /// syslog.
    Syslog(Syslog),
    /// Graylog's extended log format, version 1.1.
    Gelf(Gelf),
    /// Fluentd's forward protocol.
    Fluentd(Fluentd),
}

/// How syslog is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syslog {
    /// `None`: the one of this machine.
    pub address: Option<Address>,
    /// The number of the facility, 0 to 23.
    pub facility: u8,
    /// The form of a message.
    pub format: SyslogFormat,
    /// The name of the program.
    pub tag: String,
}

/// The form of a message of syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogFormat {
    /// As programs tell their own machine's: RFC 3164 without a host.
    Local,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424 with whole seconds.
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

/// How Graylog is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gelf {
    /// By udp or tcp.
    pub address: Address,
    /// What each message tells of its container, by names that begin with "_".
    pub extra: BTreeMap<String, String>,
    /// For udp.
    pub compression: Compression,
    /// 0 to 9; -1 is the library's own choice.
    pub level: i32,
    /// For tcp: how often a lost connection is made anew before a message is given up.
    pub max_reconnect: u32,
    /// For tcp: seconds between two attempts.
    pub reconnect_delay: u64,
}

/// How a datagram is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// Not at all.
    None,
}

/// How Fluentd is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fluentd {
    /// By tcp or unix.
    pub address: Address,
    /// The tag of each event.
    pub tag: String,
    /// What each event tells of its container.
    pub record: BTreeMap<String, String>,
    /// The connection is not waited for at the start.
    pub connects_later: bool,
    /// Times have nanoseconds.
    pub sub_second: bool,
    /// Each event is waited for to be acknowledged.
    pub request_ack: bool,
    /// Milliseconds before the second attempt; each further one waits half as long again.
    pub retry_wait: u64,
    /// Attempts before an event is given up.
    pub max_retries: u64,
}
